"""The second version: a health record says how long the machine may last, and why, or why not."""

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what is there already has said nothing."""
    for column in (
        sa.Column(
            "remaining_life_low_s", sa.Float(), nullable=True, comment="all three or none; counted from the capture"
        ),
        sa.Column("remaining_life_median_s", sa.Float(), nullable=True),
        sa.Column("remaining_life_high_s", sa.Float(), nullable=True),
        # By the server: rows that are there must have it too, and neither database rewrites the table for it.
        sa.Column("remaining_life_basis", sa.Text(), server_default="", nullable=False),
    ):
        op.add_column("health", column)
