"""The first version: everything in `schemas.site_tables` as it was then."""

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "alarm",
        sa.Column("gateway", sa.String(length=32), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("point", sa.String(length=65), nullable=False),
        sa.Column("machine", sa.String(length=32), nullable=False),
        sa.Column("alarm_id", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.String(length=16), nullable=False),
        sa.Column("measured_at_us", sa.BigInteger(), nullable=False),
        sa.Column("received_at_us", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("case_id", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "boot", "sequence", name=op.f("pk_alarm")),
    )
    op.create_index(op.f("ix_alarm_case_id"), "alarm", ["case_id"], unique=False)
    op.create_index(op.f("ix_alarm_machine"), "alarm", ["machine"], unique=False)
    op.create_table(
        "audit",
        sa.Column("audit_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_audit")),
    )
    op.create_table(
        "dead_letter",
        sa.Column(
            "letter_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False, comment="first 256 bytes"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("letter_id", name=op.f("pk_dead_letter")),
    )
    op.create_index(op.f("ix_dead_letter_reason"), "dead_letter", ["reason"], unique=False)
    op.create_table(
        "dead_letter_count",
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column(
            "count", sa.BigInteger(), nullable=False, comment="ever; of the letters themselves the newest are kept"
        ),
        sa.PrimaryKeyConstraint("reason", name=op.f("pk_dead_letter_count")),
    )
    op.create_table(
        "evidence",
        sa.Column("gateway", sa.String(length=32), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("point", sa.String(length=65), nullable=False),
        sa.Column("measured_at_us", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "boot", "sequence", name=op.f("pk_evidence")),
    )
    op.create_index("ix_evidence_point_measured_at_us", "evidence", ["point", "measured_at_us"], unique=False)
    op.create_table(
        "gap",
        sa.Column("gateway", sa.String(length=32), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("what", sa.String(length=32), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "boot", "sequence", name=op.f("pk_gap")),
    )
    op.create_table(
        "gateway",
        sa.Column("gateway", sa.String(length=32), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=True),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_us", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.JSON(), nullable=True, comment="the last GatewayStatus"),
        sa.Column("release_version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", name=op.f("pk_gateway")),
    )
    op.create_table(
        "health",
        sa.Column("gateway", sa.String(length=32), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("point", sa.String(length=65), nullable=False),
        sa.Column("capture_boot", sa.BigInteger(), nullable=False),
        sa.Column("capture_sequence", sa.BigInteger(), nullable=False),
        sa.Column("measured_at_us", sa.BigInteger(), nullable=False),
        sa.Column("received_at_us", sa.BigInteger(), nullable=False),
        sa.Column("quality", sa.String(length=32), nullable=False),
        sa.Column("learning", sa.String(length=16), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("score_limit", sa.Float(), nullable=True),
        sa.Column("exceeds", sa.Boolean(), nullable=False),
        sa.Column("alarm", sa.String(length=16), nullable=False),
        sa.Column("zone", sa.String(length=1), nullable=True),
        sa.Column("zone_basis", sa.Text(), nullable=False),
        sa.Column("velocity_rms_mm_s", sa.Float(), nullable=True),
        sa.Column("acceleration_rms_g", sa.Float(), nullable=True),
        sa.Column("acceleration_peak_g", sa.Float(), nullable=True),
        sa.Column("crest_factor", sa.Float(), nullable=True),
        sa.Column("kurtosis", sa.Float(), nullable=True),
        sa.Column("envelope_rms_g", sa.Float(), nullable=True),
        sa.Column("rpm", sa.Float(), nullable=True),
        sa.Column("rpm_source", sa.String(length=16), nullable=False),
        sa.Column("rpm_confidence", sa.Float(), nullable=False),
        sa.Column("temperature_c", sa.Float(), nullable=True),
        sa.Column("battery_v", sa.Float(), nullable=True),
        sa.Column("diagnosis", sa.JSON(), nullable=False),
        sa.Column("model_version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "boot", "sequence", name=op.f("pk_health")),
    )
    op.create_index("ix_health_point_measured_at_us", "health", ["point", "measured_at_us"], unique=False)
    op.create_table(
        "learning_round",
        sa.Column("round_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False, comment="site | enterprise"),
        sa.Column("state", sa.String(length=16), nullable=False, comment="offered | merged | released | void"),
        sa.Column("base_version", sa.BigInteger(), nullable=False),
        sa.Column("release_version", sa.BigInteger(), nullable=True),
        sa.Column("started_at_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_at_us", sa.BigInteger(), nullable=True),
        sa.Column("invited", sa.Integer(), nullable=False),
        sa.Column("accepted", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("bytes_down", sa.BigInteger(), nullable=False),
        sa.Column("bytes_up", sa.BigInteger(), nullable=False),
        sa.Column("rule", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False, comment="sha256 of the merged parameters"),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("round_id", name=op.f("pk_learning_round")),
    )
    op.create_table(
        "ledger",
        sa.Column("day", sa.String(length=10), nullable=False, comment="UTC date"),
        sa.Column("topic", sa.String(length=32), nullable=False, comment="row of schemas.topics that leaves the plant"),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "topic", name=op.f("pk_ledger")),
    )
    op.create_table(
        "machine",
        sa.Column("machine", sa.String(length=32), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("criticality", sa.Integer(), nullable=False),
        sa.Column("nameplate", sa.JSON(), nullable=True),
        sa.Column("first_seen_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("machine", name=op.f("pk_machine")),
    )
    op.create_table(
        "machine_case",
        sa.Column("case_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("machine", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="open | acknowledged | closed"),
        sa.Column("priority", sa.String(length=16), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("diagnosis", sa.JSON(), nullable=False),
        sa.Column("opened_at_us", sa.BigInteger(), nullable=False),
        sa.Column("changed_at_us", sa.BigInteger(), nullable=False),
        sa.Column("closed_at_us", sa.BigInteger(), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("points", sa.JSON(), nullable=False, comment="point -> last alarm state"),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_machine_case")),
    )
    op.create_index(op.f("ix_machine_case_machine"), "machine_case", ["machine"], unique=False)
    op.create_index(
        "uq_machine_case_open",
        "machine_case",
        ["machine"],
        unique=True,
        sqlite_where=sa.text("state <> 'closed'"),
        postgresql_where=sa.text("state <> 'closed'"),
    )
    op.create_table(
        "point",
        sa.Column("point", sa.String(length=65), nullable=False),
        sa.Column("machine", sa.String(length=32), nullable=False),
        sa.Column("gateway", sa.String(length=32), nullable=False),
        sa.Column("learning", sa.String(length=16), nullable=False),
        sa.Column("learning_share", sa.Float(), nullable=False),
        sa.Column("quality", sa.String(length=32), nullable=False),
        sa.Column("notice", sa.Text(), nullable=False),
        sa.Column("last_measured_us", sa.BigInteger(), nullable=True),
        sa.Column("last_received_us", sa.BigInteger(), nullable=True),
        sa.Column("interval_s", sa.Float(), nullable=True, comment="median time between captures"),
        sa.PrimaryKeyConstraint("point", name=op.f("pk_point")),
    )
    op.create_index(op.f("ix_point_machine"), "point", ["machine"], unique=False)
    op.create_table(
        "release",
        sa.Column("release_version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="current | superseded | withdrawn"),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("bundle", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("release_version", name=op.f("pk_release")),
    )
    op.create_table(
        "request",
        sa.Column("request_id", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False, comment="a sealed schemas.requests.Request"),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="new | sent | done | refused"),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("answered_at_us", sa.BigInteger(), nullable=True),
        sa.Column("gateway", sa.String(length=32), nullable=True),
        sa.Column("command", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_request")),
    )
    op.create_index("ix_request_state", "request", ["state"], unique=False)
    op.create_table(
        "rollout",
        sa.Column("release_version", sa.BigInteger(), nullable=False),
        sa.Column("gateway", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="offered | running | refused"),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("release_version", "gateway", name=op.f("pk_rollout")),
    )
    op.create_table(
        "uplink",
        sa.Column("gateway", sa.String(length=32), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("through", sa.BigInteger(), nullable=False, comment="all up to here are stored"),
        sa.Column("stored", sa.BigInteger(), nullable=False),
        sa.Column("duplicates", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "boot", name=op.f("pk_uplink")),
    )
    op.create_table(
        "uplink_ahead",
        sa.Column("gateway", sa.String(length=32), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "boot", "sequence", name=op.f("pk_uplink_ahead")),
        comment="stored beyond uplink.through: what overtook",
    )
    op.create_table(
        "case_event",
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column(
            "kind",
            sa.String(length=32),
            nullable=False,
            comment="alarm | acknowledged | note | maintenance | closed | ...",
        ),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["machine_case.case_id"], name=op.f("fk_case_event_case_id_machine_case")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_case_event")),
    )
    op.create_index(op.f("ix_case_event_case_id"), "case_event", ["case_id"], unique=False)
    op.create_table(
        "round_update",
        sa.Column("round_id", sa.BigInteger(), nullable=False),
        sa.Column("member", sa.String(length=32), nullable=False),
        sa.Column("received_at_us", sa.BigInteger(), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False, comment="why it was rejected"),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("norm", sa.Float(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("delta", sa.LargeBinary(), nullable=True, comment="float32, kept until the round has ended"),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["round_id"], ["learning_round.round_id"], name=op.f("fk_round_update_round_id_learning_round")
        ),
        sa.PrimaryKeyConstraint("round_id", "member", name=op.f("pk_round_update")),
    )
