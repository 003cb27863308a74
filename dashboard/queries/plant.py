"""This file knows how the state of the whole plant is asked for, in few queries whatever the number of machines."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.engine import Connection, Row

from dashboard.queries.records import (
    CaseRecord,
    GatewayRecord,
    LatestHealth,
    MachineRecord,
    Plant,
    PointRecord,
    RoundRecord,
    Trend,
)
from schemas.asset_table import StopCost
from schemas.messages import Diagnosis, RemainingLife
from schemas.nameplate import Nameplate
from schemas.site_tables import case_event, gateway, health, learning_round, machine, machine_case, point

TREND_CAPTURES = 120
TREND_POINTS = 40  # so many machines get a small trend: those with a case first
TREND_MIN = 8  # captures, below which a slope says nothing
TREND_MIN_US = 6 * 3_600_000_000  # a rate a day from less than a quarter of a day is an invention
DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class PlantEvent:
    """One line of the history of any case."""

    at_us: int
    machine: str
    kind: str
    actor: str
    text: str
    title: str
    """How the machine is called; empty where it has no title."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a machine stands, and how it is called."""

    machine: str
    title: str = ""
    area: str = ""


_diagnoses: TypeAdapter[tuple[Diagnosis, ...]] = TypeAdapter(tuple[Diagnosis, ...])


def read_plant(connection: Connection, *, with_trends: bool = True) -> Plant:
    """Read machines with points, latest judgements, open cases, gateways and the last round."""
    machines = read_machines(connection, None)
    arrivals = [p.last_received_us for found in machines for p in found.points if p.last_received_us is not None]
    return Plant(
        machines=machines,
        gateways=read_gateways(connection),
        trends=read_small_trends(connection, machines) if with_trends else {},
        last_round=read_last_round(connection),
        newest_received_us=max(arrivals, default=None),
    )


def read_machines(connection: Connection, names: Sequence[str] | None) -> tuple[MachineRecord, ...]:
    """Read some machines with points, latest judgements and open cases, by name; None for all."""
    points = _with_latest(read_points(connection, machines=names), read_latest(connection, machines=names))
    by_machine: dict[str, list[PointRecord]] = {}
    for found in points:
        by_machine.setdefault(found.machine, []).append(found)
    cases = {found.machine: found for found in read_open_cases(connection, machines=names)}
    query = _of(sa.select(machine).order_by(machine.c.machine), machine.c.machine, names)
    return tuple(
        _machine(row, tuple(by_machine.get(row.machine, ())), cases.get(row.machine))
        for row in connection.execute(query)
    )


def read_machine(connection: Connection, name: str) -> MachineRecord | None:
    """Read one machine; None if the site knows none of this name."""
    found = read_machines(connection, [name])
    return found[0] if found else None


def read_points(connection: Connection, *, machines: Sequence[str] | None = None) -> tuple[PointRecord, ...]:
    """Read measurement points, without their latest judgement; None for those of all machines."""
    rows = connection.execute(_of(sa.select(point).order_by(point.c.point), point.c.machine, machines)).all()
    captures = _captures_learnt(connection, {row.gateway for row in rows if row.learning == "learning"})
    return tuple(
        PointRecord(
            point=row.point, machine=row.machine, gateway=row.gateway, learning=row.learning,
            learning_share=row.learning_share,
            learning_captures=captures.get(row.point) if row.learning == "learning" else None, quality=row.quality,
            notice=row.notice, last_measured_us=row.last_measured_us, last_received_us=row.last_received_us,
            interval_s=row.interval_s,
        )
        for row in rows
    )  # fmt: skip


def read_place(connection: Connection, name: str) -> Place | None:
    """Read where one machine stands; None if the site knows none of this name."""
    query = sa.select(machine.c.machine, machine.c.title, machine.c.area).where(machine.c.machine == name)
    row = connection.execute(query).one_or_none()
    return None if row is None else Place(*row)


def read_point_titles(connection: Connection) -> list[tuple[str, str]]:
    """Read every measurement point's name, and how its machine is called."""
    query = (
        sa.select(point.c.point, point.c.machine, machine.c.title)
        .join(machine, machine.c.machine == point.c.machine, isouter=True)
        .order_by(point.c.point)
    )
    return [(row.point, row.title or row.machine) for row in connection.execute(query)]


def _captures_learnt(connection: Connection, gateways: Collection[str]) -> dict[str, int | None]:
    """How many captures each point has learnt from, as its gateway said last."""
    if not gateways:
        return {}
    said = connection.execute(sa.select(gateway.c.status).where(gateway.c.gateway.in_(sorted(gateways)))).scalars()
    return {
        str(status.get("point")): status.get("captures")
        for found in said
        if isinstance(found, dict)
        for status in found.get("points", ())
        if isinstance(status, dict)
    }


def _of(query: sa.Select[Any], column: sa.Column[str], names: Sequence[str] | None) -> sa.Select[Any]:
    return query if names is None else query.where(column.in_(list(names)))


def read_latest(connection: Connection, *, machines: Sequence[str] | None = None) -> dict[str, LatestHealth]:
    """Read the newest judgement of each point: one step down the index of each."""
    newest_us = sa.func.max(health.c.measured_at_us)
    newest = sa.select(
        point.c.point,
        sa.select(newest_us).where(health.c.point == point.c.point).scalar_subquery().label("measured_at_us"),
    )
    newest = _of(newest, point.c.machine, machines)
    # Materialized: else SQLite turns it inside out and walks the whole history.
    seeds = newest.cte("newest").prefix_with("MATERIALIZED")
    query = (
        sa.select(health)
        .select_from(seeds)
        .join(health, sa.and_(health.c.point == seeds.c.point, health.c.measured_at_us == seeds.c.measured_at_us))
        .order_by(health.c.boot, health.c.sequence)
    )
    return {row.point: latest_of(row) for row in connection.execute(query)}


def read_open_cases(connection: Connection, *, machines: Sequence[str] | None = None) -> list[CaseRecord]:
    """Read cases that are not closed."""
    query = sa.select(machine_case).where(machine_case.c.state != "closed").order_by(machine_case.c.case_id)
    return [case_record(row) for row in connection.execute(_of(query, machine_case.c.machine, machines))]


def read_plant_events(connection: Connection, *, since_us: int, limit: int) -> list[PlantEvent]:
    """Read what happened to cases since a time, newest first."""
    query = (
        sa.select(
            case_event.c.at_us, machine_case.c.machine, case_event.c.kind, case_event.c.actor, case_event.c.text,
            sa.func.coalesce(machine.c.title, ""),
        )
        .join(machine_case, machine_case.c.case_id == case_event.c.case_id)
        .join(machine, machine.c.machine == machine_case.c.machine, isouter=True)
        .where(case_event.c.at_us >= since_us)
        .order_by(case_event.c.at_us.desc(), case_event.c.event_id.desc())
        .limit(limit)
    )  # fmt: skip
    return [PlantEvent(*row) for row in connection.execute(query)]


def read_gateways(connection: Connection) -> tuple[GatewayRecord, ...]:
    """Read all gateways."""
    return tuple(
        GatewayRecord(
            row.gateway,
            row.online,
            row.last_seen_us,
            row.release_version,
            row.status if isinstance(row.status, dict) else {},
        )
        for row in connection.execute(sa.select(gateway).order_by(gateway.c.gateway))
    )


def read_last_round(connection: Connection) -> RoundRecord | None:
    """Read the newest round of learning."""
    query = sa.select(learning_round).order_by(learning_round.c.round_id.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else round_record(row)


def round_record(row: Row[Any]) -> RoundRecord:
    """Make a record of a row of `learning_round`."""
    return RoundRecord(
        row.round_id, row.level, row.state, row.base_version, row.release_version, row.started_at_us,
        row.ended_at_us, row.invited, row.accepted, row.rejected, row.bytes_down, row.bytes_up, row.rule,
        row.digest, row.text,
    )  # fmt: skip


def case_record(row: Row[Any]) -> CaseRecord:
    """Make a record of a row of `machine_case`."""
    return CaseRecord(
        row.case_id, row.machine, row.state, row.priority, row.title, read_diagnosis(row.diagnosis),
        row.opened_at_us, row.changed_at_us, row.closed_at_us, row.acknowledged_by, row.shelved_until_us,
        row.shelved_by, row.shelved_reason, dict(row.points or {}),
    )  # fmt: skip


def read_diagnosis(value: object) -> tuple[Diagnosis, ...]:
    """Read a column of diagnoses; nothing where it cannot be read."""
    try:
        return _diagnoses.validate_python(value or ())
    except ValidationError:
        return ()


def read_remaining_life(low_s: float | None, median_s: float | None, high_s: float | None) -> RemainingLife | None:
    """Read the columns of a remaining life; None where there is none or they are no band."""
    if low_s is None or median_s is None or high_s is None:
        return None
    try:
        return RemainingLife(low_s=low_s, median_s=median_s, high_s=high_s)
    except ValidationError:
        return None


def slope_a_day(at_us: Sequence[int], ratios: Sequence[float]) -> float | None:
    """Fit a straight line; None with too few values or too short a time between them."""
    if len(ratios) < TREND_MIN or max(at_us) - min(at_us) < TREND_MIN_US:
        return None
    days = (np.asarray(at_us, dtype=np.float64) - at_us[0]) / DAY_US
    centred = days - days.mean()
    values = np.asarray(ratios, dtype=np.float64)
    return float((centred * (values - values.mean())).sum() / (centred**2).sum())


def _machine(row: Row[Any], points: tuple[PointRecord, ...], case: CaseRecord | None) -> MachineRecord:
    try:
        plate = Nameplate.model_validate(row.nameplate) if row.nameplate else None
    except ValidationError:
        plate = None
    return MachineRecord(
        row.machine, row.title, row.criticality, plate, row.first_seen_us, points, case, row.area,
        StopCost(row.stop_cost_per_h, row.currency, row.stop_h),
    )  # fmt: skip


def _with_latest(points: Iterable[PointRecord], latest: dict[str, LatestHealth]) -> tuple[PointRecord, ...]:
    return tuple(_replace_latest(found, latest.get(found.point)) for found in points)


def _replace_latest(found: PointRecord, latest: LatestHealth | None) -> PointRecord:
    values = {name: getattr(found, name) for name in PointRecord.__slots__ if name != "latest"}
    return PointRecord(**values, latest=latest)


def latest_of(row: Row[Any]) -> LatestHealth:
    """Make a record of a row of `health`."""
    return LatestHealth(
        measured_at_us=row.measured_at_us, quality=row.quality, score=row.score, limit=row.score_limit,
        exceeds=row.exceeds, alarm=row.alarm, zone=row.zone, zone_basis=row.zone_basis,
        velocity_rms_mm_s=row.velocity_rms_mm_s, acceleration_rms_g=row.acceleration_rms_g,
        acceleration_peak_g=row.acceleration_peak_g, envelope_rms_g=row.envelope_rms_g, kurtosis=row.kurtosis,
        crest_factor=row.crest_factor, rpm=row.rpm, rpm_source=row.rpm_source, rpm_confidence=row.rpm_confidence,
        temperature_c=row.temperature_c, battery_v=row.battery_v, diagnosis=read_diagnosis(row.diagnosis),
        model_version=row.model_version,
        remaining_life=read_remaining_life(
            row.remaining_life_low_s, row.remaining_life_median_s, row.remaining_life_high_s
        ),
        remaining_life_basis=row.remaining_life_basis,
    )  # fmt: skip


def read_small_trends(connection: Connection, machines: Sequence[MachineRecord]) -> dict[str, Trend]:
    """Read how the scores of the machines develop that need attention most, each at its worst point."""
    chosen = sorted(machines, key=lambda found: (found.case is None, -_worst_ratio(found)[0], found.machine))
    names = {worst: found.machine for found in chosen[:TREND_POINTS] if (worst := _worst_ratio(found)[1])}
    return {names[trend.point]: trend for trend in read_trends(connection, list(names))}


def _worst_ratio(found: MachineRecord) -> tuple[float, str]:
    ratios = [(entry.latest.times_limit, entry.point) for entry in found.points if entry.latest is not None]
    return max(ratios, default=(0.0, ""))


def read_trends(connection: Connection, points: Sequence[str]) -> list[Trend]:
    """Read the last scores of some points, each from the end of its index."""
    if not points:
        return []
    parts = [
        sa.select(
            sa.select(health.c.point, health.c.measured_at_us, (health.c.score / health.c.score_limit).label("ratio"))
            .where(health.c.point == name, health.c.score.is_not(None), health.c.score_limit > 0.0)
            .order_by(health.c.measured_at_us.desc())
            .limit(TREND_CAPTURES)
            .subquery()
        )
        for name in points
    ]
    rows = sorted((row.point, row.measured_at_us, row.ratio) for row in connection.execute(sa.union_all(*parts)))
    trends = []
    for name, group in groupby(rows, key=lambda row: row[0]):
        at_us, ratios = zip(*((row[1], float(row[2])) for row in group), strict=True)
        trends.append(Trend(name, tuple(ratios), slope_a_day(at_us, ratios)))
    return trends
