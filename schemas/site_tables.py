"""This file knows the tables of a site's database: written by the aggregator alone, read by the dashboard.

One exception: `request`, where the dashboard writes what a person asked for. Times are microseconds since 1970
UTC; order is by sequence, never by clock. `detail` columns hold JSON of the message that made the row.
"""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER

machine = sa.Table(
    "machine", metadata,
    sa.Column("machine", sa.String(32), primary_key=True),
    sa.Column("title", sa.Text, nullable=False, default=""),
    sa.Column("criticality", sa.Integer, nullable=False, default=3),
    sa.Column("nameplate", sa.JSON, nullable=True),
    sa.Column("first_seen_us", sa.BigInteger, nullable=False),
)  # fmt: skip

point = sa.Table(
    "point", metadata,
    sa.Column("point", sa.String(65), primary_key=True),
    sa.Column("machine", sa.String(32), nullable=False, index=True),
    sa.Column("gateway", sa.String(32), nullable=False),
    sa.Column("learning", sa.String(16), nullable=False, default="learning"),
    sa.Column("learning_share", sa.Float, nullable=False, default=0.0),
    sa.Column("quality", sa.String(32), nullable=False, default="ok"),
    sa.Column("notice", sa.Text, nullable=False, default=""),
    sa.Column("last_measured_us", sa.BigInteger, nullable=True),
    sa.Column("last_received_us", sa.BigInteger, nullable=True),
    sa.Column("interval_s", sa.Float, nullable=True, comment="median time between captures"),
)  # fmt: skip

gateway = sa.Table(
    "gateway", metadata,
    sa.Column("gateway", sa.String(32), primary_key=True),
    sa.Column("online", sa.Boolean, nullable=False, default=False),
    sa.Column("boot", sa.BigInteger, nullable=True),
    sa.Column("last_sequence", sa.BigInteger, nullable=False, default=-1),
    sa.Column("last_seen_us", sa.BigInteger, nullable=True),
    sa.Column("status", sa.JSON, nullable=True, comment="the last GatewayStatus"),
    sa.Column("release_version", sa.BigInteger, nullable=False, default=0),
)  # fmt: skip

uplink = sa.Table(
    "uplink", metadata,
    sa.Column("gateway", sa.String(32), primary_key=True),
    sa.Column("boot", sa.BigInteger, primary_key=True),
    sa.Column("through", sa.BigInteger, nullable=False, default=-1, comment="all up to here are stored"),
    sa.Column("stored", sa.BigInteger, nullable=False, default=0),
    sa.Column("duplicates", sa.BigInteger, nullable=False, default=0),
)  # fmt: skip

uplink_ahead = sa.Table(
    "uplink_ahead", metadata,
    sa.Column("gateway", sa.String(32), primary_key=True),
    sa.Column("boot", sa.BigInteger, primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    comment="stored beyond uplink.through: what overtook",
)  # fmt: skip


def _from_gateway() -> list[sa.Column[int] | sa.Column[str]]:
    return [
        sa.Column("gateway", sa.String(32), primary_key=True),
        sa.Column("boot", sa.BigInteger, primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
    ]


health = sa.Table(
    "health", metadata, *_from_gateway(),
    sa.Column("point", sa.String(65), nullable=False),
    sa.Column("capture_boot", sa.BigInteger, nullable=False),
    sa.Column("capture_sequence", sa.BigInteger, nullable=False),
    sa.Column("measured_at_us", sa.BigInteger, nullable=False),
    sa.Column("received_at_us", sa.BigInteger, nullable=False),
    sa.Column("quality", sa.String(32), nullable=False),
    sa.Column("learning", sa.String(16), nullable=False),
    sa.Column("score", sa.Float, nullable=True),
    sa.Column("score_limit", sa.Float, nullable=True),
    sa.Column("exceeds", sa.Boolean, nullable=False),
    sa.Column("alarm", sa.String(16), nullable=False),
    sa.Column("zone", sa.String(1), nullable=True),
    sa.Column("zone_basis", sa.Text, nullable=False, default=""),
    sa.Column("velocity_rms_mm_s", sa.Float, nullable=True),
    sa.Column("acceleration_rms_g", sa.Float, nullable=True),
    sa.Column("acceleration_peak_g", sa.Float, nullable=True),
    sa.Column("crest_factor", sa.Float, nullable=True),
    sa.Column("kurtosis", sa.Float, nullable=True),
    sa.Column("envelope_rms_g", sa.Float, nullable=True),
    sa.Column("rpm", sa.Float, nullable=True),
    sa.Column("rpm_source", sa.String(16), nullable=False, default="unknown"),
    sa.Column("rpm_confidence", sa.Float, nullable=False, default=0.0),
    sa.Column("temperature_c", sa.Float, nullable=True),
    sa.Column("battery_v", sa.Float, nullable=True),
    sa.Column("diagnosis", sa.JSON, nullable=False),
    sa.Column("model_version", sa.BigInteger, nullable=False, default=0),
    sa.Column("remaining_life_low_s", sa.Float, nullable=True, comment="all three or none; counted from the capture"),
    sa.Column("remaining_life_median_s", sa.Float, nullable=True),
    sa.Column("remaining_life_high_s", sa.Float, nullable=True),
    sa.Column("remaining_life_basis", sa.Text, nullable=False, server_default=""),
    sa.Index("ix_health_point_measured_at_us", "point", "measured_at_us"),
)  # fmt: skip

alarm = sa.Table(
    "alarm", metadata, *_from_gateway(),
    sa.Column("point", sa.String(65), nullable=False),
    sa.Column("machine", sa.String(32), nullable=False, index=True),
    sa.Column("alarm_id", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("priority", sa.String(16), nullable=False),
    sa.Column("measured_at_us", sa.BigInteger, nullable=False),
    sa.Column("received_at_us", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("case_id", sa.BigInteger, nullable=True, index=True),
    sa.Column("detail", sa.JSON, nullable=False),
)  # fmt: skip

evidence = sa.Table(
    "evidence", metadata, *_from_gateway(),
    sa.Column("point", sa.String(65), nullable=False),
    sa.Column("measured_at_us", sa.BigInteger, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Index("ix_evidence_point_measured_at_us", "point", "measured_at_us"),
)  # fmt: skip

gap = sa.Table(
    "gap", metadata, *_from_gateway(),
    sa.Column("what", sa.String(32), nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("last", sa.BigInteger, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
)  # fmt: skip

machine_case = sa.Table(
    "machine_case", metadata,
    sa.Column("case_id", _Key, primary_key=True, autoincrement=True),
    sa.Column("machine", sa.String(32), nullable=False, index=True),
    sa.Column("state", sa.String(16), nullable=False, comment="open | acknowledged | closed"),
    sa.Column("priority", sa.String(16), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("diagnosis", sa.JSON, nullable=False),
    sa.Column("opened_at_us", sa.BigInteger, nullable=False),
    sa.Column("changed_at_us", sa.BigInteger, nullable=False),
    sa.Column("closed_at_us", sa.BigInteger, nullable=True),
    sa.Column("acknowledged_by", sa.Text, nullable=True),
    sa.Column("points", sa.JSON, nullable=False, comment="point -> last alarm state"),
    sa.Index("uq_machine_case_open", "machine", unique=True,
             sqlite_where=sa.text("state <> 'closed'"), postgresql_where=sa.text("state <> 'closed'")),
)  # fmt: skip

case_event = sa.Table(
    "case_event", metadata,
    sa.Column("event_id", _Key, primary_key=True, autoincrement=True),
    sa.Column("case_id", sa.BigInteger, sa.ForeignKey("machine_case.case_id"), nullable=False, index=True),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(32), nullable=False, comment="alarm | acknowledged | note | maintenance | closed ..."),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("detail", sa.JSON, nullable=True),
)  # fmt: skip

request = sa.Table(
    "request", metadata,
    sa.Column("request_id", sa.String(32), primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False, comment="a sealed schemas.requests.Request"),
    sa.Column("created_at_us", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, default="new", comment="new | sent | done | refused"),
    sa.Column("actor", sa.Text, nullable=False, default=""),
    sa.Column("action", sa.String(32), nullable=False, default=""),
    sa.Column("answer", sa.Text, nullable=False, default=""),
    sa.Column("answered_at_us", sa.BigInteger, nullable=True),
    sa.Column("gateway", sa.String(32), nullable=True),
    sa.Column("command", sa.JSON, nullable=True),
    sa.Index("ix_request_state", "state"),
)  # fmt: skip

learning_round = sa.Table(
    "learning_round", metadata,
    sa.Column("round_id", _Key, primary_key=True, autoincrement=True),
    sa.Column("level", sa.String(16), nullable=False, comment="site | enterprise"),
    sa.Column("state", sa.String(16), nullable=False, comment="offered | merged | released | void"),
    sa.Column("base_version", sa.BigInteger, nullable=False),
    sa.Column("release_version", sa.BigInteger, nullable=True),
    sa.Column("started_at_us", sa.BigInteger, nullable=False),
    sa.Column("ended_at_us", sa.BigInteger, nullable=True),
    sa.Column("invited", sa.Integer, nullable=False, default=0),
    sa.Column("accepted", sa.Integer, nullable=False, default=0),
    sa.Column("rejected", sa.Integer, nullable=False, default=0),
    sa.Column("bytes_down", sa.BigInteger, nullable=False, default=0),
    sa.Column("bytes_up", sa.BigInteger, nullable=False, default=0),
    sa.Column("rule", sa.String(32), nullable=False, default=""),
    sa.Column("digest", sa.String(64), nullable=False, default="", comment="sha256 of the merged parameters"),
    sa.Column("text", sa.Text, nullable=False, default=""),
    sa.Column("metrics", sa.JSON, nullable=False, default=dict),
)  # fmt: skip

round_update = sa.Table(
    "round_update", metadata,
    sa.Column("round_id", sa.BigInteger, sa.ForeignKey("learning_round.round_id"), primary_key=True),
    sa.Column("member", sa.String(32), primary_key=True),
    sa.Column("received_at_us", sa.BigInteger, nullable=False),
    sa.Column("accepted", sa.Boolean, nullable=False),
    sa.Column("reason", sa.String(32), nullable=False, default="", comment="why it was rejected"),
    sa.Column("weight", sa.Float, nullable=False, default=0.0),
    sa.Column("norm", sa.Float, nullable=True),
    sa.Column("bytes", sa.BigInteger, nullable=False, default=0),
    sa.Column("digest", sa.String(64), nullable=False, default=""),
    sa.Column("delta", sa.LargeBinary, nullable=True, comment="float32, kept until the round has ended"),
    sa.Column("metrics", sa.JSON, nullable=False, default=dict),
)  # fmt: skip

release = sa.Table(
    "release", metadata,
    sa.Column("release_version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("level", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, comment="current | superseded | withdrawn"),
    sa.Column("created_at_us", sa.BigInteger, nullable=False),
    sa.Column("manifest", sa.JSON, nullable=False),
    sa.Column("bundle", sa.LargeBinary, nullable=False),
)  # fmt: skip

rollout = sa.Table(
    "rollout", metadata,
    sa.Column("release_version", sa.BigInteger, primary_key=True),
    sa.Column("gateway", sa.String(32), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False, comment="offered | running | refused"),
    sa.Column("text", sa.Text, nullable=False, default=""),
    sa.Column("at_us", sa.BigInteger, nullable=False),
)  # fmt: skip

dead_letter = sa.Table(
    "dead_letter", metadata,
    sa.Column("letter_id", _Key, primary_key=True, autoincrement=True),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("reason", sa.String(32), nullable=False, index=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("head", sa.LargeBinary, nullable=False, comment="first 256 bytes"),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
)  # fmt: skip

dead_letter_count = sa.Table(
    "dead_letter_count", metadata,
    sa.Column("reason", sa.String(32), primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False, comment="ever; of the letters themselves the newest are kept"),
)  # fmt: skip

ledger = sa.Table(
    "ledger", metadata,
    sa.Column("day", sa.String(10), primary_key=True, comment="UTC date"),
    sa.Column("topic", sa.String(32), primary_key=True, comment="row of schemas.topics that leaves the plant"),
    sa.Column("messages", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
)  # fmt: skip

audit = sa.Table(
    "audit", metadata,
    sa.Column("audit_id", _Key, primary_key=True, autoincrement=True),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)  # fmt: skip
