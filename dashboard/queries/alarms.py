"""This file knows how the history of alarms is asked for: counted in the database, and the captures behind it.

An alarm is counted when a person is told of it: each change into "unacknowledged", the step from alert to danger too;
of gateways, and of the plant's own limits, which the site judges.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from schemas.alarm_counting import Rule, Window
from schemas.site_tables import alarm, case_event, health, limit_alarm, machine_case

TEN_MINUTES_US = 600_000_000
MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
FLOOD = 10  # alarms in ten minutes
CHATTERING = 3  # of one point within a minute
TOP = 10
MOST_CAPTURES = 20_000  # of one point that could change the counting; of more the newest are read
Speeds = Sequence[tuple[float | None, float | None]]
_Capture = TypeVar("_Capture")


@dataclass(frozen=True, slots=True)
class AlarmCounts:
    """What the database has counted within a time.

    Attributes:
        alarms: So many were told.
        of_own_limits: Of these, those of the plant's own limits.
        worst_span: The most in any ten minutes by the clock.
        flood_spans: Spans of ten minutes with ten alarms and more.
        chattering: Points with three alarms and more within a minute.
        top: The points with most alarms, how many, and whether they chatter.
        priorities: Alarms of each priority.
        opened: Cases that were opened.
        stale: Cases that have stood for more than a day at the end of the time.
        labelled: Cases of which a person said what they were; the last word counts.
        false_labelled: Of these, those that were nothing.
    """

    alarms: int = 0
    of_own_limits: int = 0
    worst_span: int = 0
    flood_spans: int = 0
    chattering: int = 0
    top: tuple[tuple[str, int, bool], ...] = ()
    priorities: dict[str, int] = field(default_factory=dict)
    opened: int = 0
    stale: int = 0
    labelled: int = 0
    false_labelled: int = 0


@dataclass(frozen=True, slots=True)
class Value:
    """What was measured of one quantity at one believable capture."""

    at_us: int
    value: float
    rpm: float | None


@dataclass(frozen=True, slots=True)
class Seen(Generic[_Capture]):
    """Of a time, the captures of one point that could raise or end an alarm, and how many there were in all.

    Attributes:
        captures: Believable ones.
        exceeding: Of these, those that reach the limit asked about.
        read: Oldest first; calm captures far from any other are left out: they change nothing.
    """

    captures: int
    exceeding: int
    read: tuple[_Capture, ...]


def read_counts(connection: Connection, *, since_us: int, until_us: int) -> AlarmCounts:
    """Count what people were told, by when it arrived."""
    told = _told(since_us, until_us)
    span = ((told.c.at_us - since_us) // TEN_MINUTES_US).label("span")
    spans = sa.select(sa.func.count().label("alarms")).select_from(told).group_by(span).subquery()
    worst, flood = connection.execute(
        sa.select(sa.func.max(spans.c.alarms), _count(spans.c.alarms >= FLOOD)).select_from(spans)
    ).one()
    by_priority = sa.select(told.c.priority, sa.func.count(), _count(told.c.own)).group_by(told.c.priority)
    priorities = connection.execute(by_priority).all()
    chatters = _chattering(told)
    top = (
        sa.select(told.c.point, sa.func.count().label("alarms"), told.c.point.in_(sa.select(chatters.c.point)))
        .group_by(told.c.point)
        .order_by(sa.func.count().desc(), told.c.point)
        .limit(TOP)
    )
    labelled, false_labelled = _labelled(connection, since_us, until_us)
    return AlarmCounts(
        alarms=sum(row[1] for row in priorities),
        of_own_limits=sum(int(row[2]) for row in priorities),
        worst_span=int(worst or 0),
        flood_spans=int(flood or 0),
        chattering=int(connection.execute(sa.select(sa.func.count()).select_from(chatters)).scalar_one()),
        top=tuple((name, count, bool(often)) for name, count, often in connection.execute(top)),
        priorities={row[0]: row[1] for row in priorities},
        opened=_scalar(
            connection, case_event.c.event_id, case_event.c.kind == "opened",
            case_event.c.at_us.between(since_us, until_us),
        ),
        stale=_scalar(
            connection, machine_case.c.case_id, machine_case.c.state != "closed",
            machine_case.c.opened_at_us < until_us - DAY_US,
        ),
        labelled=labelled,
        false_labelled=false_labelled,
    )  # fmt: skip


def read_score_windows(
    connection: Connection, point_name: str, *, since_us: int, until_us: int, factor: float, reach: int
) -> Seen[Window]:  # fmt: skip
    """Read the captures of a point that could change what another limit of its score raises.

    Args:
        connection: The database.
        point_name: Which.
        since_us: Beginning of the time.
        until_us: Its end.
        factor: The limit that is asked about, in times of what it was.
        reach: After so many calm captures nothing is left of what was before (`Rule.reach`).
    """
    limit = factor * health.c.score_limit
    calm = sa.and_(
        sa.func.coalesce(health.c.score < (1.0 - Rule().dead_band) * limit, sa.true()),
        sa.func.coalesce(health.c.zone, "").not_in(("C", "D")),
    )
    of_point = _of_point(point_name, since_us, until_us)
    columns = (health.c.measured_at_us, health.c.score, health.c.score_limit, health.c.zone)
    captures, exceeding, rows = _read(connection, of_point, columns, calm, health.c.score > limit, reach)
    return Seen(captures, exceeding, tuple(Window(*row) for row in rows))


def read_value_windows(
    connection: Connection, point_name: str, quantity: str, *, since_us: int, until_us: int,
    bounds: Sequence[float], reach: int, speeds: Speeds | None = None,
) -> Seen[Value]:  # fmt: skip
    """Read the captures of a point that could change what limits of one quantity raise, likewise.

    Args:
        connection: The database.
        point_name: Which.
        quantity: A column of `health` that a plant may limit.
        since_us: Beginning of the time.
        until_us: Its end.
        bounds: The lower limits that are asked about, in the quantity's unit.
        reach: As above.
        speeds: Only captures at these speeds in rpm, each from and to; None for all, known or not.
    """
    value = health.c[quantity]
    of_point = [*_of_point(point_name, since_us, until_us), value.is_not(None)]
    if speeds is not None:
        of_point.append(sa.or_(sa.false(), *(_at_speed(low, high) for low, high in speeds)))
    calm = value < min(bound - Rule().dead_band * abs(bound) for bound in bounds)
    columns = (health.c.measured_at_us, value, health.c.rpm)
    captures, exceeding, rows = _read(connection, of_point, columns, calm, value >= min(bounds), reach)
    return Seen(captures, exceeding, tuple(Value(*row) for row in rows))


def read_highest(
    connection: Connection, point_name: str, quantity: str, *, since_us: int, until_us: int
) -> float | None:  # fmt: skip
    """The highest believable value of a quantity; None where it was not measured."""
    query = sa.select(sa.func.max(health.c[quantity])).where(*_of_point(point_name, since_us, until_us))
    found = connection.execute(query).scalar_one_or_none()
    return None if found is None else float(found)


def _read(
    connection: Connection, of_point: Sequence[sa.ColumnElement[bool]], columns: Sequence[sa.Column[Any]],
    calm: sa.ColumnElement[bool], exceeds: sa.ColumnElement[bool], reach: int,
) -> tuple[int, int, list[tuple[Any, ...]]]:  # fmt: skip
    """How many captures there are and exceed, and those with one that is not calm among the `reach` before them."""
    counts = sa.select(sa.func.count(), _count(exceeds)).select_from(health).where(*of_point)
    captures, exceeding = connection.execute(counts).one()
    loud = _count(sa.not_(calm)).over(order_by=health.c.measured_at_us, rows=(-reach, 0))
    marked = sa.select(*columns, loud.label("loud")).where(*of_point).subquery()
    wanted = [marked.c[column.name] for column in columns]
    query = sa.select(*wanted).where(marked.c.loud > 0).order_by(wanted[0].desc()).limit(MOST_CAPTURES)
    return captures, int(exceeding or 0), [tuple(row) for row in connection.execute(query)][::-1]


def _at_speed(low_rpm: float | None, high_rpm: float | None) -> sa.ColumnElement[bool]:
    if low_rpm is None and high_rpm is None:
        return sa.true()
    above = health.c.rpm >= (low_rpm or 0.0)
    return above if high_rpm is None else sa.and_(above, health.c.rpm < high_rpm)


def _of_point(point_name: str, since_us: int, until_us: int) -> list[sa.ColumnElement[bool]]:
    return [
        health.c.point == point_name, health.c.measured_at_us.between(since_us, until_us), health.c.quality == "ok",
    ]  # fmt: skip


def _told(since_us: int, until_us: int) -> sa.Subquery:
    of_gateways = sa.select(
        alarm.c.received_at_us.label("at_us"), alarm.c.point, alarm.c.priority, sa.false().label("own")
    ).where(alarm.c.received_at_us.between(since_us, until_us), alarm.c.state == "unacknowledged")
    of_limits = sa.select(limit_alarm.c.told_at_us, limit_alarm.c.point, limit_alarm.c.priority, sa.true()).where(
        limit_alarm.c.told_at_us.between(since_us, until_us), limit_alarm.c.state == "unacknowledged"
    )
    return sa.union_all(of_gateways, of_limits).subquery("told")


def _chattering(told: sa.Subquery) -> sa.Subquery:
    """Points of which some alarm came within a minute of the one two before it."""
    before = sa.func.lag(told.c.at_us, CHATTERING - 1).over(partition_by=told.c.point, order_by=told.c.at_us)
    spaced = sa.select(told.c.point, (told.c.at_us - before).label("apart_us")).subquery()
    return sa.select(spaced.c.point).where(spaced.c.apart_us <= MINUTE_US).distinct().subquery()


def _labelled(connection: Connection, since_us: int, until_us: int) -> tuple[int, int]:
    place = sa.func.row_number().over(
        partition_by=case_event.c.case_id, order_by=(case_event.c.at_us.desc(), case_event.c.event_id.desc())
    )
    # A label without detail is of an earlier version: its text begins with the word.
    said = sa.func.coalesce(case_event.c.detail["label"].as_string(), case_event.c.text)
    last = (
        sa.select(said.label("said"), place.label("place"))
        .where(case_event.c.kind == "label", case_event.c.at_us.between(since_us, until_us))
        .subquery()
    )
    query = sa.select(sa.func.count(), _count(last.c.said.like("healthy%"))).where(last.c.place == 1)
    labelled, false_labelled = connection.execute(query).one()
    return int(labelled), int(false_labelled or 0)


def _scalar(connection: Connection, column: sa.Column[Any], *where: sa.ColumnElement[bool]) -> int:
    return int(connection.execute(sa.select(sa.func.count(column)).where(*where)).scalar_one())


def _count(condition: sa.ColumnElement[bool]) -> Any:
    return sa.func.sum(sa.case((condition, 1), else_=0))
