"""This file knows the tables of a gateway's own database."""

import sqlalchemy as sa

store_metadata = sa.MetaData()
meta_table = sa.Table(
    "meta", store_metadata, sa.Column("key", sa.String, primary_key=True), sa.Column("value", sa.String, nullable=False)
)
counter_table = sa.Table(
    "counter", store_metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.Integer, nullable=False),
)  # fmt: skip
capture_table = sa.Table(
    "capture", store_metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("point", sa.String, nullable=False),
    sa.Column("boot", sa.BigInteger, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("measured_at_us", sa.BigInteger, nullable=False),
    sa.Column("received_at_us", sa.BigInteger, nullable=False),
    sa.Column("committed_at_us", sa.BigInteger, nullable=False),
    sa.Column("segment", sa.Integer, nullable=True),
    sa.Column("offset", sa.BigInteger, nullable=True),
    sa.Column("length", sa.BigInteger, nullable=True),
    sa.Column("quality", sa.String, nullable=False),
    sa.Column("healthy", sa.Boolean, nullable=False),
    sa.Column("score", sa.Float, nullable=True),
    sa.Column("model_features", sa.LargeBinary, nullable=True),
    sa.Column("health", sa.Text, nullable=False),
    sa.UniqueConstraint("point", "boot", "sequence"),
    sa.Index("ix_capture_point_id", "point", "id"),
    sa.Index("ix_capture_segment", "segment"),
)  # fmt: skip
point_table = sa.Table(
    "point_state", store_metadata,
    sa.Column("point", sa.String, primary_key=True),
    sa.Column("state", sa.LargeBinary, nullable=False),
)  # fmt: skip
outbox_table = sa.Table(
    "outbox", store_metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("size_bytes", sa.Integer, nullable=False),
    sa.Column("created_at_us", sa.BigInteger, nullable=False),
    sa.Index("ix_outbox_priority_sequence", "priority", "sequence"),
    sqlite_autoincrement=True,
)  # fmt: skip
dead_letter_table = sa.Table(
    "dead_letter", store_metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("topic", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("head", sa.LargeBinary, nullable=False),
    sa.Column("size_bytes", sa.Integer, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=True, comment="the whole, as long as there is room for it"),
    sa.Column("reinject_at_us", sa.BigInteger, nullable=True, comment="when a person asked to take it in again"),
    sa.Column("taken_at_us", sa.BigInteger, nullable=True, comment="when it was taken in after all"),
    sa.Index("ix_dead_letter_reinject", "reinject_at_us"),
)  # fmt: skip
pin_table = sa.Table(
    "pin", store_metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("point", sa.String, nullable=False),
    sa.Column("boot", sa.BigInteger, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("segment", sa.Integer, nullable=True, comment="in the ring; none once the bytes are here"),
    sa.Column("offset", sa.BigInteger, nullable=True),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("why", sa.String, nullable=False),
    sa.Column("alarm_id", sa.String, nullable=False),
    sa.Column("open", sa.Boolean, nullable=False, comment="the alarm it belongs to still stands"),
    sa.Column("pinned_at_us", sa.BigInteger, nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=True, comment="since its segment left the ring"),
    sa.UniqueConstraint("point", "boot", "sequence"),
    sa.Index("ix_pin_segment", "segment"),
)  # fmt: skip
command_table = sa.Table(
    "command_done", store_metadata,
    sa.Column("command_id", sa.String, primary_key=True),
    sa.Column("at_us", sa.BigInteger, nullable=False),
)  # fmt: skip
