"""This file knows how the state of the learning is asked for: rounds, members, releases, and what left the plant."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dashboard.queries.plant import read_gateways, round_record
from dashboard.queries.records import GatewayRecord, RoundRecord
from schemas.site_tables import learning_round, ledger, release, rollout, round_update

ROUNDS = 30
RELEASES = 20
LEDGER_ROWS = 400
ROLLOUT_ROWS = 200


@dataclass(frozen=True, slots=True)
class UpdateRecord:
    """What became of one member's update."""

    round_id: int
    member: str
    received_at_us: int
    accepted: bool
    reason: str
    weight: float
    norm: float | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """One model release."""

    version: int
    digest: str
    level: str
    state: str
    created_at_us: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """Where a release has got to on one gateway."""

    version: int
    gateway: str
    state: str
    text: str
    at_us: int


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What left the plant on one day in one class of message."""

    day: str
    topic: str
    messages: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Federation:
    """Everything the federation page is made of."""

    rounds: tuple[RoundRecord, ...]
    updates: tuple[UpdateRecord, ...]
    releases: tuple[ReleaseRecord, ...]
    rollouts: tuple[RolloutRecord, ...]
    ledger: tuple[LedgerRow, ...]
    gateways: tuple[GatewayRecord, ...]


def read_federation(connection: Connection) -> Federation:
    """Read the newest rounds with their updates, releases with their rollouts, and the ledger."""
    rounds = tuple(
        round_record(row)
        for row in connection.execute(
            sa.select(learning_round).order_by(learning_round.c.round_id.desc()).limit(ROUNDS)
        )
    )  # fmt: skip
    oldest = min((found.round_id for found in rounds), default=0)
    updates = connection.execute(
        sa.select(
            round_update.c.round_id, round_update.c.member, round_update.c.received_at_us, round_update.c.accepted,
            round_update.c.reason, round_update.c.weight, round_update.c.norm, round_update.c.bytes,
        )
        .where(round_update.c.round_id >= oldest)
        .order_by(round_update.c.round_id.desc(), round_update.c.member)
    )  # fmt: skip
    releases = connection.execute(
        sa.select(
            release.c.release_version, release.c.digest, release.c.level, release.c.state, release.c.created_at_us,
            sa.func.length(release.c.bundle),
        )
        .order_by(release.c.release_version.desc())
        .limit(RELEASES)
    )  # fmt: skip
    rollouts = connection.execute(
        sa.select(rollout.c.release_version, rollout.c.gateway, rollout.c.state, rollout.c.text, rollout.c.at_us)
        .order_by(rollout.c.release_version.desc(), rollout.c.gateway)
        .limit(ROLLOUT_ROWS)
    )
    left = connection.execute(
        sa.select(ledger.c.day, ledger.c.topic, ledger.c.messages, ledger.c.bytes)
        .order_by(ledger.c.day.desc(), ledger.c.topic)
        .limit(LEDGER_ROWS)
    )
    return Federation(
        rounds=rounds,
        updates=tuple(UpdateRecord(*row) for row in updates),
        releases=tuple(ReleaseRecord(*row) for row in releases),
        rollouts=tuple(RolloutRecord(*row) for row in rollouts),
        ledger=tuple(LedgerRow(*row) for row in left),
        gateways=read_gateways(connection),
    )
