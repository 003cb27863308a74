"""This file knows how everything about one measurement point is asked for: its captures, judgements and evidence."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.engine import Connection

from dashboard.queries.machine import EvidenceEntry, read_evidence
from dashboard.queries.plant import latest_of
from dashboard.queries.records import LatestHealth
from schemas.messages import Contribution, Evidence
from schemas.site_tables import alarm, evidence, health

LISTED = 60
WATERFALL = 16
SEARCHED_ALARMS = 50

_contributions: TypeAdapter[tuple[Contribution, ...]] = TypeAdapter(tuple[Contribution, ...])


@dataclass(frozen=True, slots=True)
class Explained:
    """What a score of the point came from, at the alarm that said so last."""

    measured_at_us: int
    contributions: tuple[Contribution, ...]


def read_point_evidence(connection: Connection, point_name: str, *, limit: int = LISTED) -> list[EvidenceEntry]:
    """Read which evidence there is of a point, newest first, without its content."""
    query = (
        sa.select(
            evidence.c.gateway, evidence.c.boot, evidence.c.sequence, evidence.c.point, evidence.c.measured_at_us,
            evidence.c.why, evidence.c.waveform_samples,
        )
        .where(evidence.c.point == point_name)
        .order_by(evidence.c.measured_at_us.desc(), evidence.c.sequence.desc())
        .limit(limit)
    )  # fmt: skip
    return [EvidenceEntry(*row) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class NamedCapture:
    """One capture as its sensor numbered it."""

    boot: int
    sequence: int
    measured_at_us: int


def read_arrived(connection: Connection, point_name: str, reasons: Sequence[str]) -> list[EvidenceEntry]:
    """Read which evidence came for some reasons, the latest to come first; of older captures too."""
    query = (
        sa.select(
            evidence.c.gateway, evidence.c.boot, evidence.c.sequence, evidence.c.point, evidence.c.measured_at_us,
            evidence.c.why, evidence.c.waveform_samples,
        )
        .where(evidence.c.point == point_name, evidence.c.why.in_(reasons))
        .order_by(evidence.c.boot.desc(), evidence.c.sequence.desc())
        .limit(LISTED)
    )  # fmt: skip
    return [EvidenceEntry(*row) for row in connection.execute(query)]


def read_nearest_capture(connection: Connection, point_name: str, at_us: int) -> NamedCapture | None:
    """Read which believable capture of a point lies nearest to a time; None where there is none."""
    columns = (health.c.capture_boot, health.c.capture_sequence, health.c.measured_at_us)
    of_point = sa.select(*columns).where(health.c.point == point_name, health.c.quality == "ok")
    before = of_point.where(health.c.measured_at_us <= at_us).order_by(health.c.measured_at_us.desc()).limit(1)
    after = of_point.where(health.c.measured_at_us > at_us).order_by(health.c.measured_at_us).limit(1)
    found = [NamedCapture(*row) for query in (before, after) for row in connection.execute(query)]
    return min(found, key=lambda one: abs(one.measured_at_us - at_us), default=None)


def read_capture_before(connection: Connection, point_name: str, measured_at_us: int) -> NamedCapture | None:
    """Read the capture that came before one; None where there is none."""
    query = (
        sa.select(health.c.capture_boot, health.c.capture_sequence, health.c.measured_at_us)
        .where(health.c.point == point_name, health.c.measured_at_us < measured_at_us)
        .order_by(health.c.measured_at_us.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else NamedCapture(*row)


def read_many(connection: Connection, entries: Sequence[EvidenceEntry]) -> list[tuple[EvidenceEntry, Evidence]]:
    """Read the content of some pieces of evidence; those that cannot be read are left out."""
    found = [(entry, read_evidence(connection, entry)) for entry in entries]
    return [(entry, content) for entry, content in found if content is not None]


def read_judgement(connection: Connection, point_name: str, measured_at_us: int) -> LatestHealth | None:
    """Read what the gateway judged of one capture; None if that has not arrived."""
    query = (
        sa.select(health)
        .where(health.c.point == point_name, health.c.measured_at_us == measured_at_us)
        .order_by(health.c.sequence.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else latest_of(row)


def read_explained(connection: Connection, machine_name: str, point_name: str, *, until_us: int) -> Explained | None:
    """Read the newest alarm of a point, up to a time, that says what its score comes from."""
    query = (
        sa.select(alarm.c.measured_at_us, alarm.c.detail)
        .where(alarm.c.machine == machine_name)
        .order_by(alarm.c.received_at_us.desc(), alarm.c.sequence.desc())
        .limit(SEARCHED_ALARMS)
    )
    for measured_at_us, detail in connection.execute(query):
        if not isinstance(detail, dict) or detail.get("point") != point_name or measured_at_us > until_us:
            continue
        try:
            found = _contributions.validate_python(detail.get("contributions") or ())
        except ValidationError:
            continue
        if found:
            return Explained(measured_at_us, found)
    return None


def newest_evidence(connection: Connection, point_name: str) -> EvidenceEntry | None:
    """Read the newest piece of evidence of a point, without its content."""
    found = read_point_evidence(connection, point_name, limit=1)
    return found[0] if found else None
