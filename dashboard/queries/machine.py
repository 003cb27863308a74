"""This file knows how everything about one machine is asked for: history, evidence, and what was done about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.engine import Connection

from dashboard.queries.plant import case_record
from dashboard.queries.records import CaseRecord
from schemas.messages import Alarm, Evidence
from schemas.site_tables import (
    HISTORY_QUANTITIES,
    alarm,
    case_event,
    evidence,
    health,
    history_hour,
    history_mark,
    machine_case,
    point,
    rollout,
)

BUCKETS = 700  # about two values a pixel of a wide screen
LISTED = 20
EVENTS = 200

HOUR_US = 3_600_000_000
QUANTITIES = HISTORY_QUANTITIES


@dataclass(frozen=True, slots=True)
class Bucket:
    """Captures that fall on one pixel of a trend.

    Attributes:
        lowest: Per quantity of `QUANTITIES`; None where no believable capture had one.
        highest: Likewise.
        believed: How many captures could be believed.
    """

    first_us: int
    last_us: int
    captures: int
    believed: int
    lowest: tuple[float | None, ...]
    highest: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class EvidenceEntry:
    """One row of the list of evidence; `waveform_samples` says whether, and how long, the waveform is there."""

    gateway: str
    boot: int
    sequence: int
    point: str
    measured_at_us: int
    why: str
    waveform_samples: int | None = None

    @property
    def name(self) -> str:
        """By which an address names it: `gateway:boot:sequence`."""
        return f"{self.gateway}:{self.boot}:{self.sequence}"


@dataclass(frozen=True, slots=True)
class CaseEvent:
    """One line of a case's history."""

    at_us: int
    kind: str
    actor: str
    text: str


@dataclass(frozen=True, slots=True)
class Landmark:
    """Something that was done, at which a trend may turn; `release_version` of a model."""

    kind: Literal["maintenance", "model"]
    at_us: int
    release_version: int = 0


def read_span_us(connection: Connection, point_name: str) -> tuple[int, int] | None:
    """First and last capture of a point; None if there is none."""
    query = sa.select(sa.func.min(health.c.measured_at_us), sa.func.max(health.c.measured_at_us)).where(
        health.c.point == point_name
    )
    first, last = connection.execute(query).one()
    return None if first is None else (first, last)


def read_buckets(
    connection: Connection, point_name: str, *, since_us: int, until_us: int, quantities: Sequence[str] = QUANTITIES
) -> list[Bucket]:
    """Read a point's history, gathered so that no more is sent than can be seen; extremes are kept.

    Captures that could not be believed count, but give no values. Where an hour is no wider than a pixel, the hours
    that the site has summed up are read instead of their captures.

    Args:
        connection: To the site's database.
        point_name: Whose history.
        since_us: From when on.
        until_us: Up to when.
        quantities: Those that are wanted; the others are None in every bucket.
    """
    width_us = max(1, (until_us - since_us) // BUCKETS)
    summed_until_us = since_us
    buckets: list[Bucket] = []
    if width_us >= HOUR_US:
        mark = sa.select(history_mark.c.summed_until_us).where(history_mark.c.point == point_name)
        summed_until_us = min(until_us, max(since_us, connection.scalar(mark) or 0))
        buckets = _read_hours(connection, point_name, since_us, summed_until_us, width_us, quantities)
    believed = health.c.quality == "ok"
    columns = [
        reduce(sa.case((believed, health.c[name]), else_=None)).label(f"{name}_{label}")
        for name in quantities
        for label, reduce in (("lowest", sa.func.min), ("highest", sa.func.max))
    ]
    bucket = (health.c.measured_at_us - since_us) // width_us
    query = (
        sa.select(
            sa.func.min(health.c.measured_at_us).label("first_us"),
            sa.func.max(health.c.measured_at_us).label("last_us"),
            sa.func.count().label("captures"),
            sa.func.sum(sa.case((believed, 1), else_=0)).label("believed"),
            *columns,
        )
        .where(health.c.point == point_name, health.c.measured_at_us.between(summed_until_us, until_us))
        .group_by(bucket)
        .order_by(sa.func.min(health.c.measured_at_us))
    )
    return buckets + [_bucket(tuple(row), quantities) for row in connection.execute(query)]


def _read_hours(
    connection: Connection, point_name: str, since_us: int, until_us: int, width_us: int, quantities: Sequence[str]
) -> list[Bucket]:
    c = history_hour.c
    columns = [
        reduce(c[f"{name}_{label}"])
        for name in quantities
        for label, reduce in (("lowest", sa.func.min), ("highest", sa.func.max))
    ]
    bucket = (c.hour * HOUR_US - since_us // HOUR_US * HOUR_US) // width_us
    query = (
        sa.select(
            sa.func.min(c.first_us), sa.func.max(c.last_us), sa.func.sum(c.captures), sa.func.sum(c.believed), *columns
        )
        .where(c.point == point_name, c.hour >= since_us // HOUR_US, c.hour < until_us // HOUR_US)
        .group_by(bucket)
        .order_by(sa.func.min(c.first_us))
    )
    return [_bucket(tuple(row), quantities) for row in connection.execute(query)]


def _bucket(row: tuple[Any, ...], quantities: Sequence[str]) -> Bucket:
    lowest, highest = dict(zip(quantities, row[4::2], strict=True)), dict(zip(quantities, row[5::2], strict=True))
    return Bucket(
        row[0], row[1], int(row[2]), int(row[3]), tuple(lowest.get(name) for name in QUANTITIES),
        tuple(highest.get(name) for name in QUANTITIES),
    )  # fmt: skip


def read_baseline(connection: Connection, point_name: str) -> tuple[int, int | None] | None:
    """From when to when the point learnt what healthy is; to None while it still learns, None where nobody knows."""
    columns = (point.c.baseline_from_us, point.c.baseline_until_us)
    row = connection.execute(sa.select(*columns).where(point.c.point == point_name)).one_or_none()
    return None if row is None or row[0] is None else (row[0], row[1])


def read_evidence_list(connection: Connection, machine_name: str) -> list[EvidenceEntry]:
    """Read which spectra there are of a machine, newest first, without their content."""
    query = (
        sa.select(
            evidence.c.gateway, evidence.c.boot, evidence.c.sequence, evidence.c.point, evidence.c.measured_at_us,
            evidence.c.why, evidence.c.waveform_samples,
        )
        .join(point, point.c.point == evidence.c.point)
        .where(point.c.machine == machine_name)
        .order_by(evidence.c.measured_at_us.desc(), evidence.c.sequence.desc())
        .limit(LISTED)
    )  # fmt: skip
    return [EvidenceEntry(*row) for row in connection.execute(query)]


def read_entry(connection: Connection, name: str) -> EvidenceEntry | None:
    """Read the piece of evidence that an address names, without its content; None where it names none."""
    source, _, numbers = name.partition(":")
    boot, colon, sequence = numbers.partition(":")
    if not (colon and boot.isdecimal() and sequence.isdecimal()) or max(len(boot), len(sequence)) > 18:
        return None
    c = evidence.c
    query = sa.select(
        c.gateway, c.boot, c.sequence, c.point, c.measured_at_us, c.why, c.waveform_samples
    ).where(c.gateway == source, c.boot == int(boot), c.sequence == int(sequence))  # fmt: skip
    row = connection.execute(query).one_or_none()
    return None if row is None else EvidenceEntry(*row)


def read_evidence(connection: Connection, entry: EvidenceEntry) -> Evidence | None:
    """Read one piece of evidence; None where it is gone or cannot be read."""
    query = sa.select(evidence.c.detail).where(
        evidence.c.gateway == entry.gateway, evidence.c.boot == entry.boot, evidence.c.sequence == entry.sequence
    )
    detail = connection.execute(query).scalar_one_or_none()
    try:
        return None if detail is None else Evidence.model_validate(detail)
    except ValidationError:
        return None


def read_verdict(connection: Connection, machine_name: str, case_id: int | None) -> Alarm | None:
    """Read the newest alarm of a case that says why: with findings for and against."""
    query = (
        sa.select(alarm.c.detail)
        .where(alarm.c.machine == machine_name)
        .order_by(alarm.c.received_at_us.desc(), alarm.c.boot.desc(), alarm.c.sequence.desc())
        .limit(LISTED)
    )
    if case_id is not None:
        query = query.where(alarm.c.case_id == case_id)
    fallback: Alarm | None = None
    for detail in connection.execute(query).scalars():
        found = _alarm(detail)
        if found is not None and found.findings:
            return found
        fallback = fallback or found
    return fallback


def read_cases(connection: Connection, machine_name: str) -> list[CaseRecord]:
    """Read the machine's cases, newest first."""
    query = (
        sa.select(machine_case)
        .where(machine_case.c.machine == machine_name)
        .order_by(machine_case.c.case_id.desc())
        .limit(LISTED)
    )
    return [case_record(row) for row in connection.execute(query)]


def read_events(connection: Connection, case_id: int) -> list[CaseEvent]:
    """Read the history of a case, newest first."""
    query = (
        sa.select(case_event.c.at_us, case_event.c.kind, case_event.c.actor, case_event.c.text)
        .where(case_event.c.case_id == case_id)
        .order_by(case_event.c.event_id.desc())
        .limit(EVENTS)
    )
    return [CaseEvent(*row) for row in connection.execute(query)]


def read_landmarks(connection: Connection, machine_name: str, *, since_us: int) -> list[Landmark]:
    """Read what may have changed the course of a machine's trends: maintenance, and other models on its gateways."""
    repairs = (
        sa.select(case_event.c.at_us)
        .join(machine_case, machine_case.c.case_id == case_event.c.case_id)
        .where(
            machine_case.c.machine == machine_name, case_event.c.kind == "maintenance", case_event.c.at_us >= since_us
        )
    )
    models = sa.select(rollout.c.release_version, sa.func.min(rollout.c.at_us)).where(
        rollout.c.gateway.in_(sa.select(point.c.gateway).where(point.c.machine == machine_name)),
        rollout.c.state == "running", rollout.c.at_us >= since_us,
    ).group_by(rollout.c.release_version)  # fmt: skip
    found = [Landmark("maintenance", at_us) for at_us in connection.execute(repairs).scalars()]
    found += [Landmark("model", at_us, version) for version, at_us in connection.execute(models)]
    return sorted(found, key=lambda one: one.at_us)[-LISTED:]


def count_newer(connection: Connection, machine_name: str, *, received_after_us: int) -> tuple[int, int | None]:
    """How many points have newer data than a snapshot, and when the newest arrived."""
    query = sa.select(sa.func.count(), sa.func.max(point.c.last_received_us)).where(
        point.c.machine == machine_name, point.c.last_received_us > received_after_us
    )
    count, newest = connection.execute(query).one()
    return count, newest


def _alarm(detail: Any) -> Alarm | None:
    try:
        return Alarm.model_validate(detail)
    except ValidationError:
        return None
