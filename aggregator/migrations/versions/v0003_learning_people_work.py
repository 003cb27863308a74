"""The third version: learning that survives everything, staged rollout, people with roles, work on cases."""

revision = "v0003"
down_revision = "v0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what each part needs; what is there already stays as it is."""
    _learning()
    _rollout()
    _people()
    _work()


def _learning() -> None:
    """Nothing yet."""


def _rollout() -> None:
    """Nothing yet."""


def _people() -> None:
    """Nothing yet."""


def _work() -> None:
    """Nothing yet."""
