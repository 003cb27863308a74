"""This file knows how the state of the learning is asked for: rounds, members, benefit, releases, and what left.

Every list is bounded, newest or worst first, and read along a key or an index; the numbers stand beside the limits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from sqlalchemy.engine import Connection, Row

from dashboard.queries.fleet import sender_of
from dashboard.queries.plant import read_gateways, round_record
from dashboard.queries.records import GatewayRecord, RoundRecord
from schemas.messages import GateReport, ShadowSummary
from schemas.site_tables import (
    dead_letter,
    learning_round,
    ledger,
    machine,
    machine_fit,
    release,
    release_event,
    rollout,
    round_update,
    site_offer,
    waiting_update,
)
from schemas.topics import ROOT

ROUNDS = 30  # by key
UPDATES = 2_000  # of the round that is shown, and as many of the others, newest first; by key
RELEASES = 20  # by key; their parameters are not read
EVENTS = 100  # of one release, by its index
LEDGER_ROWS = 400  # three classes: four months
ROLLOUT_ROWS = 500
FITS = 1_000  # those worse off first; the table has one row a machine and gateway
OFFERS = 20
REFUSED = 20
LEARNING_TOPICS = f"{ROOT}/%/learning/%"
SHOWN_NUMBERS = 8  # of an update, in its example

_Said = TypeVar("_Said", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class RoundEntry:
    """One round with what was noted of it.

    Attributes:
        invited: Names of those that were asked.
        why: Name of each that was there, to why it was asked or not; empty where all were.
        late: What had waited and was merged with it: member, staleness and share, as they were noted.
        figures: Losses and counts, those that are numbers.
        for_enterprise: Whether the enterprise asked for it.
        from_buffer: Whether nobody was asked to learn.
        late_answers: How many answered after its end.
        no_answers: How many never did.
    """

    row: RoundRecord
    invited: tuple[str, ...]
    why: Mapping[str, str]
    late: tuple[Mapping[str, Any], ...]
    figures: Mapping[str, float]
    for_enterprise: bool
    from_buffer: bool
    late_answers: int = 0
    no_answers: int = 0


@dataclass(frozen=True, slots=True)
class UpdateRecord:
    """What became of one member's update.

    Attributes:
        figures: Losses on what the member held back, its staleness, and its cosine with the merged update.
        text: Why it was rejected, in the site's words.
    """

    round_id: int
    member: str
    received_at_us: int
    accepted: bool
    reason: str
    weight: float
    norm: float | None
    size_bytes: int
    figures: Mapping[str, float]
    text: str


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """One model release and how far it has come; `order` is that of the gateways, canaries first."""

    version: int
    digest: str
    level: str
    state: str
    created_at_us: int
    size_bytes: int
    stage: str | None
    share: float | None
    stage_at_us: int | None
    stage_text: str
    paused: bool
    asked: Mapping[str, Any]
    order: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReleaseEvent:
    """One line of a release's history."""

    at_us: int
    stage: str
    actor: str
    text: str
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """Where a release has got to on one gateway, and what that gateway says of it."""

    version: int
    gateway: str
    state: str
    text: str
    at_us: int
    gate: GateReport | None = None
    shadow: ShadowSummary | None = None
    watched: ShadowSummary | None = None


@dataclass(frozen=True, slots=True)
class FitRecord:
    """The fleet's model against one that learnt from this machine alone."""

    machine: str
    title: str
    gateway: str
    release_version: int
    auroc: float
    auroc_local: float
    loss: float
    loss_local: float
    rows: int
    at_us: int

    @property
    def gain(self) -> float:
        """What the machine gains by the fleet, in AUROC; below 0 it is worse off."""
        return self.auroc - self.auroc_local


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What left the plant on one day in one class of message."""

    day: str
    topic: str
    messages: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class OfferRecord:
    """What the site has offered to the enterprise; `head` are the first numbers of its update while it is kept."""

    key: str
    state: str
    first_round: int
    last_round: int
    rounds: int
    base_version: int
    base_digest: str
    made_at_us: int
    weight: float
    figures: Mapping[str, float]
    text: str
    delta_bytes: int
    head: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """A message of the learning that no round could use, with the member in whose name it came."""

    member: str
    reason: str
    text: str
    size_bytes: int
    at_us: int


@dataclass(frozen=True, slots=True)
class Federation:
    """What every part of the federation page needs."""

    rounds: tuple[RoundEntry, ...]
    updates: tuple[UpdateRecord, ...]
    releases: tuple[ReleaseRecord, ...]
    gateways: tuple[GatewayRecord, ...]
    offers: tuple[OfferRecord, ...]
    waiting: int
    refused: tuple[RefusedMessage, ...] = ()

    def of_round(self, round_id: int) -> tuple[UpdateRecord, ...]:
        """The updates of one round, by name of the member."""
        return tuple(update for update in self.updates if update.round_id == round_id)


def read_federation(connection: Connection, *, round_id: int | None = None) -> Federation:
    """Read the newest rounds with their updates, and one more where it is named; releases, gateways and offers."""
    query = sa.select(learning_round).order_by(learning_round.c.round_id.desc()).limit(ROUNDS)
    rows = list(connection.execute(query))
    if round_id is not None and round_id not in {row.round_id for row in rows}:
        rows += connection.execute(sa.select(learning_round).where(learning_round.c.round_id == round_id))
    numbers = [row.round_id for row in rows]
    shown = [number for number in numbers if number == round_id] or numbers[:1]
    others = [number for number in numbers if number not in shown]
    counted = _count_reasons(connection, numbers)
    waits = sa.select(sa.func.count()).select_from(waiting_update)
    waits = waits.where(waiting_update.c.level.in_(("site", "enterprise")), waiting_update.c.state == "waiting")
    return Federation(
        rounds=tuple(_round(row, counted) for row in rows),
        updates=(*read_updates(connection, shown), *read_updates(connection, others)),
        releases=read_releases(connection),
        gateways=read_gateways(connection),
        offers=read_offers(connection),
        waiting=connection.execute(waits).scalar_one(),
        refused=read_refused(connection),
    )


def read_refused(connection: Connection) -> tuple[RefusedMessage, ...]:
    """Read the messages of the learning that were refused outside of a merge, newest first; the table is bounded."""
    c = dead_letter.c
    query = sa.select(c.topic, c.reason, c.text, c.size_bytes, c.at_us).where(c.topic.like(LEARNING_TOPICS))
    rows = connection.execute(query.order_by(c.letter_id.desc()).limit(REFUSED))
    return tuple(RefusedMessage(sender_of(row.topic), *row[1:]) for row in rows)


def read_updates(connection: Connection, rounds: Sequence[int]) -> tuple[UpdateRecord, ...]:
    """Read what became of each member's update in some rounds, without the updates themselves."""
    c = round_update.c
    query = (
        sa.select(
            c.round_id, c.member, c.received_at_us, c.accepted, c.reason, c.weight, c.norm, c.bytes, c.metrics
        )
        .where(c.round_id.in_(list(rounds)))
        .order_by(c.round_id.desc(), c.member)
        .limit(UPDATES)
    )  # fmt: skip
    return tuple(
        UpdateRecord(*row[:8], figures=_figures(row.metrics), text=str(_named(row.metrics).get("text", "")))
        for row in connection.execute(query)
    )


def read_releases(connection: Connection) -> tuple[ReleaseRecord, ...]:
    """Read the newest releases; of their parameters the size alone."""
    c = release.c
    query = sa.select(
        c.release_version, c.digest, c.level, c.state, c.created_at_us, sa.func.length(c.bundle), c.stage,
        c.stage_share, c.stage_at_us, c.stage_text, c.paused, c.asked, c.evidence,
    ).order_by(c.release_version.desc()).limit(RELEASES)  # fmt: skip
    return tuple(
        ReleaseRecord(
            *row[:9], stage_text=row.stage_text or "", paused=bool(row.paused), asked=_named(row.asked),
            order=tuple(str(name) for name in _named(row.evidence).get("order", ())),
        )
        for row in connection.execute(query)
    )  # fmt: skip


def read_release_events(connection: Connection, version: int) -> tuple[ReleaseEvent, ...]:
    """Read the history of one release, newest first."""
    c = release_event.c
    query = (
        sa.select(c.at_us, c.stage, c.actor, c.text, c.evidence)
        .where(c.release_version == version)
        .order_by(c.event_id.desc())
        .limit(EVENTS)
    )
    return tuple(ReleaseEvent(*row[:4], figures=_figures(row.evidence)) for row in connection.execute(query))


def read_rollouts(connection: Connection, version: int) -> tuple[RolloutRecord, ...]:
    """Read how far one release has come on each gateway, by the key."""
    query = sa.select(rollout).where(rollout.c.release_version == version).order_by(rollout.c.gateway)
    return tuple(
        RolloutRecord(
            row.release_version, row.gateway, row.state, row.text, row.at_us, _read(GateReport, row.gate),
            _read(ShadowSummary, row.shadow), _read(ShadowSummary, row.watched),
        )
        for row in connection.execute(query.limit(ROLLOUT_ROWS))
    )  # fmt: skip


def read_fits(connection: Connection) -> tuple[FitRecord, ...]:
    """Read what each machine gains by the fleet, those worse off first."""
    c = machine_fit.c
    query = (
        sa.select(
            c.machine, sa.func.coalesce(machine.c.title, "").label("title"), c.gateway, c.release_version, c.auroc,
            c.auroc_local, c.loss, c.loss_local, c.rows, c.at_us,
        )
        .select_from(machine_fit.outerjoin(machine, machine.c.machine == c.machine))
        .order_by(c.auroc - c.auroc_local, c.machine, c.gateway)
        .limit(FITS)
    )  # fmt: skip
    return tuple(FitRecord(*row[:10]) for row in connection.execute(query))


def count_machines(connection: Connection) -> int:
    """How many machines the site knows."""
    return connection.execute(sa.select(sa.func.count()).select_from(machine)).scalar_one()


def read_offers(connection: Connection) -> tuple[OfferRecord, ...]:
    """Read the newest offers to the enterprise, newest first."""
    c = site_offer.c
    query = sa.select(
        c.key, c.state, c.first_round, c.last_round, c.rounds, c.base_version, c.base_digest, c.made_at_us, c.weight,
        c.metrics, c.text, sa.func.length(c.delta).label("size"),
        sa.func.substr(c.delta, 1, 4 * SHOWN_NUMBERS).label("head"),
    ).order_by(c.offer_id.desc()).limit(OFFERS)  # fmt: skip
    return tuple(
        OfferRecord(
            *row[:9], figures=_figures(row.metrics), text=row.text, delta_bytes=row.size or 0,
            head=np.frombuffer(row.head or b"", "<f4"),
        )
        for row in connection.execute(query)
    )  # fmt: skip


def read_ledger(connection: Connection) -> tuple[LedgerRow, ...]:
    """Read what left the plant, newest day first."""
    c = ledger.c
    query = sa.select(c.day, c.topic, c.messages, c.bytes).order_by(c.day.desc(), c.topic).limit(LEDGER_ROWS)
    return tuple(LedgerRow(*row) for row in connection.execute(query))


def read_ledger_total(connection: Connection) -> tuple[LedgerRow, ...]:
    """Sum up each class since the first day, with that day: a row of the table a class and day."""
    c = ledger.c
    query = sa.select(sa.func.min(c.day), c.topic, sa.func.sum(c.messages), sa.func.sum(c.bytes))
    rows = connection.execute(query.group_by(c.topic).order_by(c.topic))
    return tuple(LedgerRow(day, topic, int(messages), int(size)) for day, topic, messages, size in rows)


def _count_reasons(connection: Connection, rounds: Sequence[int]) -> dict[tuple[int, str], int]:
    c = round_update.c
    query = sa.select(c.round_id, c.reason, sa.func.count()).where(c.round_id.in_(list(rounds)))
    return {
        (number, reason): count
        for number, reason, count in connection.execute(query.group_by(c.round_id, c.reason))
    }  # fmt: skip


def _round(row: Row[Any], counted: Mapping[tuple[int, str], int]) -> RoundEntry:
    noted = _named(row.metrics)
    late = noted.get("late")
    return RoundEntry(
        row=round_record(row),
        invited=tuple(str(name) for name in noted.get("invited", ())),
        why={str(name): str(why) for name, why in _named(noted.get("why")).items()},
        late=tuple(one for one in late if isinstance(one, dict)) if isinstance(late, list) else (),
        figures=_figures(noted),
        for_enterprise=bool(noted.get("for_enterprise", False)),
        from_buffer=bool(noted.get("from_buffer", False)),
        late_answers=counted.get((row.round_id, "late"), 0),
        no_answers=counted.get((row.round_id, "no_reply"), 0),
    )


def _named(noted: object) -> dict[str, Any]:
    return noted if isinstance(noted, dict) else {}


def _figures(noted: object) -> dict[str, float]:
    items: Iterable[tuple[str, object]] = _named(noted).items()
    return {
        name: float(value) for name, value in items if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _read(kind: type[_Said], said: object) -> _Said | None:
    """Read a column of JSON; None where there is nothing, or nothing that is understood."""
    if said is None:
        return None
    try:
        return kind.model_validate(said)
    except ValidationError:
        return None
