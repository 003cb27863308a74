"""The third version: learning that survives everything, staged rollout, people with roles, work on cases."""

import sqlalchemy as sa
from alembic import op

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
    _history()
    _fleet()


def _learning() -> None:
    op.create_table(
        "waiting_update",
        sa.Column("update_id", _key(), autoincrement=True, nullable=False),
        sa.Column(
            "level", sa.String(length=16), nullable=False,
            comment="site: a gateway's late answer | enterprise: an offer",
        ),
        sa.Column("member", sa.String(length=32), nullable=False),
        sa.Column(
            "key", sa.String(length=64), nullable=False,
            comment="number of the round it answers, or name of the offer",
        ),
        sa.Column("base_version", sa.BigInteger(), nullable=False),
        sa.Column("received_at_us", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="waiting | taken | merged | refused"),
        sa.Column("round_id", sa.BigInteger(), nullable=True, comment="the round that has taken it"),
        sa.Column("reason", sa.String(length=32), nullable=False, comment="why it was refused"),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("delta", sa.LargeBinary(), nullable=True, comment="float32, kept until it is merged or refused"),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("update_id", name=op.f("pk_waiting_update")),
        sa.UniqueConstraint("level", "member", "key", name=op.f("uq_waiting_update_level_member_key")),
    )  # fmt: skip
    op.create_index("ix_waiting_update_level_state", "waiting_update", ["level", "state"], unique=False)
    op.create_table(
        "site_offer",
        sa.Column("offer_id", _key(), autoincrement=True, nullable=False),
        sa.Column(
            "key", sa.String(length=64), nullable=False,
            comment="empty until it is sent; then nothing is added to it",
        ),
        sa.Column("state", sa.String(length=16), nullable=False, comment="waiting | stored | refused | given_up"),
        sa.Column("first_round", sa.BigInteger(), nullable=False),
        sa.Column("last_round", sa.BigInteger(), nullable=False),
        sa.Column("rounds", sa.Integer(), nullable=False),
        sa.Column("base_version", sa.BigInteger(), nullable=False, comment="of the fleet"),
        sa.Column("base_digest", sa.String(length=64), nullable=False, comment="sha256 of the fleet's parameters"),
        sa.Column("made_at_us", sa.BigInteger(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column(
            "delta", sa.LargeBinary(), nullable=True, comment="float32, kept until the enterprise has answered"
        ),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("offer_id", name=op.f("pk_site_offer")),
    )  # fmt: skip
    op.create_index("ix_site_offer_state", "site_offer", ["state"], unique=False)
    op.create_table(
        "member_standing",
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.Column("member", sa.String(length=32), nullable=False),
        sa.Column("machine_type", sa.String(length=64), nullable=False),
        sa.Column(
            "rounds_passed", sa.BigInteger(), nullable=False, comment="in which nobody of its machine type was asked"
        ),
        sa.Column("wins", sa.Float(), nullable=False, comment="duels of contribution, older ones fade"),
        sa.Column("losses", sa.Float(), nullable=False),
        sa.Column("contribution", sa.Float(), nullable=True, comment="cosine of its last update with the merged one"),
        sa.Column("condition", sa.JSON(), nullable=False, comment="what it last said of power, link, load and data"),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("level", "member", name=op.f("pk_member_standing")),
    )


def _rollout() -> None:
    for column in (
        sa.Column(
            "stage", sa.String(length=16), nullable=True,
            comment="shadow | canary | staged | everywhere | withdrawn",
        ),
        sa.Column("stage_share", sa.Float(), nullable=True, comment="of the gateways, in staged"),
        sa.Column("stage_at_us", sa.BigInteger(), nullable=True),
        sa.Column("stage_text", sa.Text(), nullable=True, comment="what it waits for, or why it came here"),
        sa.Column("paused", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("asked", sa.JSON(), nullable=True, comment="what a person wants: action, actor, note"),
        sa.Column(
            "evidence", sa.JSON(), nullable=True, comment="order of the gateways, and the figures of this stage"
        ),
    ):  # fmt: skip
        op.add_column("release", column)
    for column in (
        sa.Column("gate", sa.JSON(), nullable=True, comment="messages.GateReport"),
        sa.Column(
            "shadow", sa.JSON(), nullable=True,
            comment="messages.ShadowSummary of the candidate, before it is in use",
        ),
        sa.Column(
            "watched", sa.JSON(), nullable=True, comment="messages.ShadowSummary with the release before, in use"
        ),
    ):  # fmt: skip
        op.add_column("rollout", column)
    op.create_table(
        "release_event",
        sa.Column("event_id", _key(), autoincrement=True, nullable=False),
        sa.Column("release_version", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False, comment="a person, or: rollout"),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_release_event")),
    )
    op.create_index(op.f("ix_release_event_release_version"), "release_event", ["release_version"], unique=False)
    op.create_table(
        "machine_fit",
        sa.Column("machine", sa.String(length=32), nullable=False),
        sa.Column("gateway", sa.String(length=32), nullable=False),
        sa.Column("release_version", sa.BigInteger(), nullable=False),
        sa.Column("auroc", sa.Float(), nullable=False, comment="of the fleet's model, on synthetic faults"),
        sa.Column("auroc_local", sa.Float(), nullable=False, comment="of one that learnt from this machine alone"),
        sa.Column("loss", sa.Float(), nullable=False),
        sa.Column("loss_local", sa.Float(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("machine", "gateway", name=op.f("pk_machine_fit")),
    )


def _people() -> None:
    for column in (
        sa.Column("about", sa.Text(), server_default="", nullable=False, comment="machine, case, person ..."),
        sa.Column("came_from", sa.String(length=64), server_default="", nullable=False),
        sa.Column("seal", sa.String(length=64), nullable=True, comment="sha256 over the seal before and this row"),
    ):
        op.add_column("audit", column)
    op.create_table(
        "person",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="active | barred"),
        sa.Column("source", sa.String(length=16), nullable=False, comment="local | oidc"),
        sa.Column("password_hash", sa.Text(), nullable=True, comment="argon2id; none until the link was used"),
        sa.Column("must_change", sa.Boolean(), nullable=False),
        sa.Column(
            "link_digest", sa.String(length=64), nullable=True, comment="sha256 of the word that sets a password once"
        ),
        sa.Column("link_until_us", sa.BigInteger(), nullable=True),
        sa.Column("sessions_from_us", sa.BigInteger(), nullable=False, comment="sessions opened before are over"),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_person")),
    )
    op.create_table(
        "api_token",
        sa.Column("token_digest", sa.String(length=64), nullable=False, comment="sha256 of the token"),
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False, comment="never more than the person's"),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_digest", name=op.f("pk_api_token")),
    )
    op.create_index(op.f("ix_api_token_person"), "api_token", ["person"], unique=False)


def _work() -> None:
    op.add_column(
        "machine",
        sa.Column("area", sa.Text(), server_default="", nullable=False, comment="line or part of the plant"),
    )
    op.add_column(
        "machine",
        sa.Column(
            "asset_version", sa.BigInteger(), nullable=True, comment="table_version that set it; else the settings"
        ),
    )
    op.add_column(
        "machine_case",
        sa.Column(
            "shelved_until_us", sa.BigInteger(), nullable=True, comment="on the shelf until then; all three or none"
        ),
    )
    op.add_column("machine_case", sa.Column("shelved_by", sa.Text(), nullable=True))
    op.add_column("machine_case", sa.Column("shelved_reason", sa.Text(), nullable=True))
    op.create_index("ix_alarm_received_at_us", "alarm", ["received_at_us"], unique=False)
    op.create_index("ix_case_event_at_us", "case_event", ["at_us"], unique=False)
    op.create_index("ix_case_event_kind_at_us", "case_event", ["kind", "at_us"], unique=False)
    op.create_table(
        "table_version",
        sa.Column("version_id", _key(), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="assets | limits | routes | bearings"),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("rows", sa.JSON(), nullable=False, comment="the whole table; the newest of a kind is in force"),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_table_version")),
    )
    op.create_index("ix_table_version_kind_version_id", "table_version", ["kind", "version_id"], unique=False)
    op.create_table(
        "work_order",
        sa.Column("order_id", _key(), autoincrement=True, nullable=False),
        sa.Column("number", sa.String(length=64), nullable=False),
        sa.Column("case_id", sa.BigInteger(), nullable=True),
        sa.Column("machine", sa.String(length=32), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("due_date", sa.String(length=10), nullable=False, comment="ISO 8601, the plant's calendar"),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_work_order")),
        sa.UniqueConstraint("number", name=op.f("uq_work_order_number")),
    )
    op.create_index(op.f("ix_work_order_case_id"), "work_order", ["case_id"], unique=False)
    op.create_index(op.f("ix_work_order_machine"), "work_order", ["machine"], unique=False)
    op.create_table(
        "notice_channel",
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="message | webhook"),
        sa.Column("delivered_at_us", sa.BigInteger(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("problem_at_us", sa.BigInteger(), nullable=True),
        sa.Column("dropped", sa.BigInteger(), nullable=False, comment="did not fit into the queue, ever"),
        sa.PrimaryKeyConstraint("channel", name=op.f("pk_notice_channel")),
        comment="the address is in a file of the aggregator, never here",
    )
    op.create_table(
        "delivery",
        sa.Column("delivery_id", _key(), autoincrement=True, nullable=False),
        sa.Column(
            "key", sa.String(length=32), nullable=False, comment="told to the receiver, the same at each try"
        ),
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column(
            "kind", sa.String(length=16), nullable=False,
            comment="opened | reopened | ... | test | work_order | summary",
        ),
        sa.Column("priority", sa.String(length=16), nullable=False),
        sa.Column("case_id", sa.BigInteger(), nullable=True),
        sa.Column("machine", sa.String(length=32), nullable=True),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column(
            "state", sa.String(length=16), nullable=False,
            comment="waiting | sending | sent | merged | dropped | dead",
        ),
        sa.Column("due_at_us", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("done_at_us", sa.BigInteger(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False, comment="why it is not delivered yet, or never will be"),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("key", name=op.f("uq_delivery_key")),
    )  # fmt: skip
    op.create_index(op.f("ix_delivery_case_id"), "delivery", ["case_id"], unique=False)
    op.create_index("ix_delivery_channel_done_at_us", "delivery", ["channel", "done_at_us"], unique=False)
    op.create_index("ix_delivery_state_due_at_us", "delivery", ["state", "due_at_us"], unique=False)
    op.create_table(
        "limit_watch",
        sa.Column("point", sa.String(length=65), nullable=False),
        sa.Column("quantity", sa.String(length=32), nullable=False),
        sa.Column("through_us", sa.BigInteger(), nullable=False, comment="captures up to this time are judged"),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("point", "quantity", name=op.f("pk_limit_watch")),
    )
    op.add_column(
        "machine",
        sa.Column("stop_cost_per_h", sa.Float(), nullable=True, comment="what an hour of an unplanned stop costs"),
    )
    op.add_column(
        "machine", sa.Column("currency", sa.String(length=3), nullable=True, comment="of that cost, ISO 4217")
    )
    op.add_column("machine", sa.Column("stop_h", sa.Float(), nullable=True, comment="how long an unplanned stop lasts"))
    op.add_column(
        "machine_case",
        sa.Column("cause", sa.String(length=32), nullable=True, comment="what a person named, else the likeliest"),
    )
    op.create_index("ix_machine_case_cause_case_id", "machine_case", ["cause", "case_id"], unique=False)
    op.create_table(
        "limit_alarm",
        sa.Column("limit_alarm_id", _key(), autoincrement=True, nullable=False),
        sa.Column("point", sa.String(length=65), nullable=False),
        sa.Column("machine", sa.String(length=32), nullable=False),
        sa.Column("quantity", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="unacknowledged | normal"),
        sa.Column("priority", sa.String(length=16), nullable=False),
        sa.Column("value", sa.Float(), nullable=True, comment="none where the limit was taken away"),
        sa.Column("bound", sa.Float(), nullable=True),
        sa.Column("measured_at_us", sa.BigInteger(), nullable=False),
        sa.Column("told_at_us", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("limit_alarm_id", name=op.f("pk_limit_alarm")),
        comment="changes of alarms of the plant's own limits, which the site judges",
    )
    op.create_index("ix_limit_alarm_told_at_us", "limit_alarm", ["told_at_us"], unique=False)


def _key() -> sa.BigInteger:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _history() -> None:
    op.add_column(
        "evidence",
        sa.Column(
            "waveform_samples", sa.Integer(), nullable=True, comment="none where it was not sent, or is not kept"
        ),
    )
    of_bands = "of the bands of vibration.features"
    op.add_column("health", sa.Column("band_low_rms_g", sa.Float(), nullable=True, comment=of_bands))
    op.add_column("health", sa.Column("band_middle_rms_g", sa.Float(), nullable=True))
    op.add_column("health", sa.Column("band_high_rms_g", sa.Float(), nullable=True))
    for name, meaning in (
        ("baseline_from_us", "first capture healthy was learnt from"),
        ("baseline_until_us", "the last; none while still learning"),
    ):
        op.add_column("point", sa.Column(name, sa.BigInteger(), nullable=True, comment=meaning))
    quantities = (
        "score", "score_limit", "velocity_rms_mm_s", "envelope_rms_g", "acceleration_peak_g", "kurtosis",
        "temperature_c", "rpm", "acceleration_rms_g", "crest_factor", "band_low_rms_g", "band_middle_rms_g",
        "band_high_rms_g",
    )  # fmt: skip
    op.create_table(
        "history_hour",
        sa.Column("point", sa.String(length=65), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False, comment="hours since 1970 UTC"),
        sa.Column("first_us", sa.BigInteger(), nullable=False),
        sa.Column("last_us", sa.BigInteger(), nullable=False),
        sa.Column("captures", sa.Integer(), nullable=False),
        sa.Column("believed", sa.Integer(), nullable=False),
        *(
            sa.Column(f"{quantity}_{end}", sa.Float(), nullable=True)
            for quantity in quantities
            for end in ("lowest", "highest")
        ),
        sa.PrimaryKeyConstraint("point", "hour", name=op.f("pk_history_hour")),
        comment="extremes of the believed captures of full hours, made of health; so that a year can be drawn",
        sqlite_with_rowid=False,  # a year of a point lies together
    )
    op.create_table(
        "history_mark",
        sa.Column("point", sa.String(length=65), nullable=False),
        sa.Column(
            "summed_until_us", sa.BigInteger(), nullable=False, comment="before it, all hours are in history_hour"
        ),
        sa.PrimaryKeyConstraint("point", name=op.f("pk_history_mark")),
    )
    op.add_column(
        "request",
        sa.Column(
            "machine", sa.String(length=32), nullable=True, comment="as the seal says, so that its page finds its own"
        ),
    )
    for table, columns in (
        ("request", ["machine", "created_at_us"]), ("learning_round", ["started_at_us"]), ("gap", ["at_us"]),
        ("audit", ["at_us"]), ("audit", ["actor", "audit_id"]), ("audit", ["action", "audit_id"]),
        ("machine_case", ["state", "case_id"]),
    ):  # fmt: skip
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns, unique=False)
    op.create_table(
        "site_summary",
        sa.Column("site", sa.String(length=32), nullable=False),
        sa.Column("received_at_us", sa.BigInteger(), nullable=False, comment="by the enterprise's clock"),
        sa.Column("summary", sa.JSON(), nullable=False, comment="the last SiteSummary; an enterprise's database alone"),
        sa.PrimaryKeyConstraint("site", name=op.f("pk_site_summary")),
    )


def _fleet() -> None:
    op.add_column(
        "gateway",
        sa.Column(
            "clock_ahead_s", sa.Float(), nullable=True, comment="of the site's, at its last status but a retained one"
        ),
    )
    op.add_column("health", sa.Column("rssi_dbm", sa.Float(), nullable=True, comment="of the sensor's radio signal"))
    op.create_table(
        "plate_sending",
        sa.Column("gateway", sa.String(length=32), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False, comment="of the nameplates sent to it; never falls"),
        sa.Column("digest", sa.String(length=64), nullable=False, comment="sha256 of them"),
        sa.Column("machines", sa.Integer(), nullable=False),
        sa.Column("asset_version", sa.BigInteger(), nullable=False, comment="the newest table_version among them"),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("in_force", sa.BigInteger(), nullable=True, comment="revision it last said, if it takes any"),
        sa.PrimaryKeyConstraint("gateway", name=op.f("pk_plate_sending")),
    )
    op.create_table(
        "enrolled",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="gateway | sensors | dashboard | site | ..."),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("key_known", sa.Boolean(), nullable=False, comment="what it signs is believed"),
        sa.Column(
            "certificate_until_us", sa.BigInteger(), nullable=True, comment="none where the broker asks a password"
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_enrolled")),
        comment="who may speak, as the aggregator's own lists have it; no secret of theirs",
    )
