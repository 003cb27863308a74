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
HISTORY_QUANTITIES = (
    "score", "score_limit", "velocity_rms_mm_s", "envelope_rms_g", "acceleration_peak_g", "kurtosis",
    "temperature_c", "rpm", "acceleration_rms_g", "crest_factor", "band_low_rms_g", "band_middle_rms_g",
    "band_high_rms_g",
)  # fmt: skip
"""Columns of `health` whose extremes `history_hour` keeps."""

_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER

machine = sa.Table(
    "machine", metadata,
    sa.Column("machine", sa.String(32), primary_key=True),
    sa.Column("title", sa.Text, nullable=False, default=""),
    sa.Column("criticality", sa.Integer, nullable=False, default=3),
    sa.Column("nameplate", sa.JSON, nullable=True),
    sa.Column("first_seen_us", sa.BigInteger, nullable=False),
    sa.Column("area", sa.Text, nullable=False, server_default="", comment="line or part of the plant"),
    sa.Column("asset_version", sa.BigInteger, nullable=True, comment="table_version that set it; else the settings"),
    sa.Column("stop_cost_per_h", sa.Float, nullable=True, comment="what an hour of an unplanned stop costs"),
    sa.Column("currency", sa.String(3), nullable=True, comment="of that cost, ISO 4217"),
    sa.Column("stop_h", sa.Float, nullable=True, comment="how long an unplanned stop lasts"),
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
    sa.Column("baseline_from_us", sa.BigInteger, nullable=True, comment="first capture healthy was learnt from"),
    sa.Column("baseline_until_us", sa.BigInteger, nullable=True, comment="the last; none while still learning"),
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
    sa.Column("clock_ahead_s", sa.Float, nullable=True, comment="of the site's, at its last status but a retained one"),
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
    sa.Column("band_low_rms_g", sa.Float, nullable=True, comment="of the bands of vibration.features"),
    sa.Column("band_middle_rms_g", sa.Float, nullable=True),
    sa.Column("band_high_rms_g", sa.Float, nullable=True),
    sa.Column("rssi_dbm", sa.Float, nullable=True, comment="of the sensor's radio signal"),
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
    sa.Index("ix_alarm_received_at_us", "received_at_us"),
)  # fmt: skip

evidence = sa.Table(
    "evidence", metadata, *_from_gateway(),
    sa.Column("point", sa.String(65), nullable=False),
    sa.Column("measured_at_us", sa.BigInteger, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Column("waveform_samples", sa.Integer, nullable=True, comment="none where it was not sent, or is not kept"),
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
    sa.Index("ix_gap_at_us", "at_us"),
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
    sa.Column("shelved_until_us", sa.BigInteger, nullable=True, comment="on the shelf until then; all three or none"),
    sa.Column("shelved_by", sa.Text, nullable=True),
    sa.Column("shelved_reason", sa.Text, nullable=True),
    sa.Column("cause", sa.String(32), nullable=True, comment="what a person named, else the likeliest"),
    sa.Index("ix_machine_case_cause_case_id", "cause", "case_id"),
    sa.Index("ix_machine_case_state_case_id", "state", "case_id"),
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
    sa.Index("ix_case_event_at_us", "at_us"),
    sa.Index("ix_case_event_kind_at_us", "kind", "at_us"),
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
    sa.Column("machine", sa.String(32), nullable=True, comment="as the seal says, so that its page finds its own"),
    sa.Index("ix_request_state", "state"),
    sa.Index("ix_request_machine_created_at_us", "machine", "created_at_us"),
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
    sa.Index("ix_learning_round_started_at_us", "started_at_us"),
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
    sa.Column("stage", sa.String(16), nullable=True, comment="shadow | canary | staged | everywhere | withdrawn"),
    sa.Column("stage_share", sa.Float, nullable=True, comment="of the gateways, in staged"),
    sa.Column("stage_at_us", sa.BigInteger, nullable=True),
    sa.Column("stage_text", sa.Text, nullable=True, comment="what it waits for, or why it came here"),
    sa.Column("paused", sa.Boolean, server_default=sa.false(), nullable=False),
    sa.Column("asked", sa.JSON, nullable=True, comment="what a person wants: action, actor, note"),
    sa.Column("evidence", sa.JSON, nullable=True, comment="order of the gateways, and the figures of this stage"),
)  # fmt: skip

rollout = sa.Table(
    "rollout", metadata,
    sa.Column("release_version", sa.BigInteger, primary_key=True),
    sa.Column("gateway", sa.String(32), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False, comment="offered | running | refused"),
    sa.Column("text", sa.Text, nullable=False, default=""),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("gate", sa.JSON, nullable=True, comment="messages.GateReport"),
    sa.Column("shadow", sa.JSON, nullable=True, comment="messages.ShadowSummary of the candidate, before it is in use"),
    sa.Column("watched", sa.JSON, nullable=True, comment="messages.ShadowSummary with the release before, in use"),
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
    sa.Column("about", sa.Text, nullable=False, server_default="", comment="machine, case, person ..."),
    sa.Column("came_from", sa.String(64), nullable=False, server_default=""),
    sa.Column("seal", sa.String(64), nullable=True, comment="sha256 over the seal before and this row"),
    sa.Index("ix_audit_at_us", "at_us"),
    sa.Index("ix_audit_actor_audit_id", "actor", "audit_id"),
    sa.Index("ix_audit_action_audit_id", "action", "audit_id"),
)  # fmt: skip

table_version = sa.Table(
    "table_version", metadata,
    sa.Column("version_id", _Key, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String(16), nullable=False, comment="assets | limits | routes | bearings"),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("rows", sa.JSON, nullable=False, comment="the whole table; the newest of a kind is in force"),
    sa.Index("ix_table_version_kind_version_id", "kind", "version_id"),
)  # fmt: skip

work_order = sa.Table(
    "work_order", metadata,
    sa.Column("order_id", _Key, primary_key=True, autoincrement=True),
    sa.Column("number", sa.String(64), nullable=False, unique=True),
    sa.Column("case_id", sa.BigInteger, nullable=True, index=True),
    sa.Column("machine", sa.String(32), nullable=False, index=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("due_date", sa.String(10), nullable=False, comment="ISO 8601, the plant's calendar"),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("created_at_us", sa.BigInteger, nullable=False),
)  # fmt: skip

notice_channel = sa.Table(
    "notice_channel", metadata,
    sa.Column("channel", sa.String(32), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False, comment="message | webhook"),
    sa.Column("delivered_at_us", sa.BigInteger, nullable=True),
    sa.Column("problem", sa.Text, nullable=False, default=""),
    sa.Column("problem_at_us", sa.BigInteger, nullable=True),
    sa.Column("dropped", sa.BigInteger, nullable=False, default=0, comment="did not fit into the queue, ever"),
    comment="the address is in a file of the aggregator, never here",
)  # fmt: skip

delivery = sa.Table(
    "delivery", metadata,
    sa.Column("delivery_id", _Key, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(32), nullable=False, unique=True, comment="told to the receiver, the same at each try"),
    sa.Column("channel", sa.String(32), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False, comment="opened | reopened | ... | test | work_order | summary"),
    sa.Column("priority", sa.String(16), nullable=False),
    sa.Column("case_id", sa.BigInteger, nullable=True, index=True),
    sa.Column("machine", sa.String(32), nullable=True),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, comment="waiting | sending | sent | merged | dropped | dead"),
    sa.Column("due_at_us", sa.BigInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_at_us", sa.BigInteger, nullable=False),
    sa.Column("done_at_us", sa.BigInteger, nullable=True),
    sa.Column("text", sa.Text, nullable=False, comment="why it is not delivered yet, or never will be"),
    sa.Index("ix_delivery_state_due_at_us", "state", "due_at_us"),
    sa.Index("ix_delivery_channel_done_at_us", "channel", "done_at_us"),
)  # fmt: skip

limit_watch = sa.Table(
    "limit_watch", metadata,
    sa.Column("point", sa.String(65), primary_key=True),
    sa.Column("quantity", sa.String(32), primary_key=True),
    sa.Column("through_us", sa.BigInteger, nullable=False, comment="captures up to this time are judged"),
    sa.Column("state", sa.JSON, nullable=False),
)  # fmt: skip

person = sa.Table(
    "person", metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, comment="active | barred"),
    sa.Column("source", sa.String(16), nullable=False, comment="local | oidc"),
    sa.Column("password_hash", sa.Text, nullable=True, comment="argon2id; none until the link was used"),
    sa.Column("must_change", sa.Boolean, nullable=False),
    sa.Column("link_digest", sa.String(64), nullable=True, comment="sha256 of the word that sets a password once"),
    sa.Column("link_until_us", sa.BigInteger, nullable=True),
    sa.Column("sessions_from_us", sa.BigInteger, nullable=False, comment="sessions opened before are over"),
    sa.Column("created_at_us", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(64), nullable=False),
)  # fmt: skip

api_token = sa.Table(
    "api_token", metadata,
    sa.Column("token_digest", sa.String(64), primary_key=True, comment="sha256 of the token"),
    sa.Column("person", sa.String(64), nullable=False, index=True),
    sa.Column("title", sa.String(64), nullable=False),
    sa.Column("role", sa.String(16), nullable=False, comment="never more than the person's"),
    sa.Column("created_at_us", sa.BigInteger, nullable=False),
    sa.Column("expires_at_us", sa.BigInteger, nullable=False),
)  # fmt: skip

waiting_update = sa.Table(
    "waiting_update", metadata,
    sa.Column("update_id", _Key, primary_key=True, autoincrement=True),
    sa.Column("level", sa.String(16), nullable=False, comment="site: a gateway's late answer | enterprise: an offer"),
    sa.Column("member", sa.String(32), nullable=False),
    sa.Column("key", sa.String(64), nullable=False, comment="number of the round it answers, or name of the offer"),
    sa.Column("base_version", sa.BigInteger, nullable=False),
    sa.Column("received_at_us", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, comment="waiting | taken | merged | refused"),
    sa.Column("round_id", sa.BigInteger, nullable=True, comment="the round that has taken it"),
    sa.Column("reason", sa.String(32), nullable=False, comment="why it was refused"),
    sa.Column("weight", sa.Float, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("delta", sa.LargeBinary, nullable=True, comment="float32, kept until it is merged or refused"),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.UniqueConstraint("level", "member", "key"),
    sa.Index("ix_waiting_update_level_state", "level", "state"),
)  # fmt: skip

site_offer = sa.Table(
    "site_offer", metadata,
    sa.Column("offer_id", _Key, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(64), nullable=False, comment="empty until it is sent; then nothing is added to it"),
    sa.Column("state", sa.String(16), nullable=False, comment="waiting | stored | refused | given_up"),
    sa.Column("first_round", sa.BigInteger, nullable=False),
    sa.Column("last_round", sa.BigInteger, nullable=False),
    sa.Column("rounds", sa.Integer, nullable=False),
    sa.Column("base_version", sa.BigInteger, nullable=False, comment="of the fleet"),
    sa.Column("base_digest", sa.String(64), nullable=False, comment="sha256 of the fleet's parameters"),
    sa.Column("made_at_us", sa.BigInteger, nullable=False),
    sa.Column("weight", sa.Float, nullable=False),
    sa.Column("delta", sa.LargeBinary, nullable=True, comment="float32, kept until the enterprise has answered"),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Index("ix_site_offer_state", "state"),
)  # fmt: skip

member_standing = sa.Table(
    "member_standing", metadata,
    sa.Column("level", sa.String(16), primary_key=True),
    sa.Column("member", sa.String(32), primary_key=True),
    sa.Column("machine_type", sa.String(64), nullable=False),
    sa.Column("rounds_passed", sa.BigInteger, nullable=False, comment="in which nobody of its machine type was asked"),
    sa.Column("wins", sa.Float, nullable=False, comment="duels of contribution, older ones fade"),
    sa.Column("losses", sa.Float, nullable=False),
    sa.Column("contribution", sa.Float, nullable=True, comment="cosine of its last update with the merged one"),
    sa.Column("condition", sa.JSON, nullable=False, comment="what it last said of power, link, load and data"),
    sa.Column("at_us", sa.BigInteger, nullable=False),
)  # fmt: skip

history_hour = sa.Table(
    "history_hour", metadata,
    sa.Column("point", sa.String(65), primary_key=True),
    sa.Column("hour", sa.BigInteger, primary_key=True, comment="hours since 1970 UTC"),
    sa.Column("first_us", sa.BigInteger, nullable=False),
    sa.Column("last_us", sa.BigInteger, nullable=False),
    sa.Column("captures", sa.Integer, nullable=False),
    sa.Column("believed", sa.Integer, nullable=False),
    *(
        sa.Column(f"{quantity}_{end}", sa.Float, nullable=True)
        for quantity in HISTORY_QUANTITIES
        for end in ("lowest", "highest")
    ),
    comment="extremes of the believed captures of full hours, made of health; so that a year can be drawn",
    sqlite_with_rowid=False,
)  # fmt: skip

history_mark = sa.Table(
    "history_mark", metadata,
    sa.Column("point", sa.String(65), primary_key=True),
    sa.Column("summed_until_us", sa.BigInteger, nullable=False, comment="before it, all hours are in history_hour"),
)  # fmt: skip

release_event = sa.Table(
    "release_event", metadata,
    sa.Column("event_id", _Key, primary_key=True, autoincrement=True),
    sa.Column("release_version", sa.BigInteger, nullable=False, index=True),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("stage", sa.String(16), nullable=False),
    sa.Column("actor", sa.Text, nullable=False, comment="a person, or: rollout"),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
)  # fmt: skip

machine_fit = sa.Table(
    "machine_fit", metadata,
    sa.Column("machine", sa.String(32), primary_key=True),
    sa.Column("gateway", sa.String(32), primary_key=True),
    sa.Column("release_version", sa.BigInteger, nullable=False),
    sa.Column("auroc", sa.Float, nullable=False, comment="of the fleet's model, on synthetic faults"),
    sa.Column("auroc_local", sa.Float, nullable=False, comment="of one that learnt from this machine alone"),
    sa.Column("loss", sa.Float, nullable=False),
    sa.Column("loss_local", sa.Float, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("steps", sa.Integer, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
)  # fmt: skip

limit_alarm = sa.Table(
    "limit_alarm", metadata,
    sa.Column("limit_alarm_id", _Key, primary_key=True, autoincrement=True),
    sa.Column("point", sa.String(65), nullable=False),
    sa.Column("machine", sa.String(32), nullable=False),
    sa.Column("quantity", sa.String(32), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, comment="unacknowledged | normal"),
    sa.Column("priority", sa.String(16), nullable=False),
    sa.Column("value", sa.Float, nullable=True, comment="none where the limit was taken away"),
    sa.Column("bound", sa.Float, nullable=True),
    sa.Column("measured_at_us", sa.BigInteger, nullable=False),
    sa.Column("told_at_us", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("ix_limit_alarm_told_at_us", "told_at_us"),
    comment="changes of alarms of the plant's own limits, which the site judges",
)  # fmt: skip

plate_sending = sa.Table(
    "plate_sending", metadata,
    sa.Column("gateway", sa.String(32), primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False, comment="of the nameplates sent to it; never falls"),
    sa.Column("digest", sa.String(64), nullable=False, comment="sha256 of them"),
    sa.Column("machines", sa.Integer, nullable=False),
    sa.Column("asset_version", sa.BigInteger, nullable=False, comment="the newest table_version among them"),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("in_force", sa.BigInteger, nullable=True, comment="revision it last said, if it takes any"),
)  # fmt: skip

site_summary = sa.Table(
    "site_summary", metadata,
    sa.Column("site", sa.String(32), primary_key=True),
    sa.Column("received_at_us", sa.BigInteger, nullable=False, comment="by the enterprise's clock"),
    sa.Column("summary", sa.JSON, nullable=False, comment="the last SiteSummary; an enterprise's database alone"),
)  # fmt: skip

enrolled = sa.Table(
    "enrolled", metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False, comment="gateway | sensors | dashboard | site | ..."),
    sa.Column("revoked", sa.Boolean, nullable=False),
    sa.Column("key_known", sa.Boolean, nullable=False, comment="what it signs is believed"),
    sa.Column("certificate_until_us", sa.BigInteger, nullable=True, comment="none where the broker asks a password"),
    comment="who may speak, as the aggregator's own lists have it; no secret of theirs",
)  # fmt: skip
