"""This file knows how all machines are judged inside the database, so that a page reads no more of them than it shows.

The same judgement as `dashboard.condition.judge`, as one expression; a test holds both to each other. Only how steeply
a score rises is left to the page: it moves a machine among those shown beside it.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dashboard.condition import (
    BELIEVED,
    LEVELS,
    OPEN_BEFORE_ACKNOWLEDGED,
    QUIET,
    SHARE_OF_CONFIDENCE,
    STEP_OF_CRITICALITY,
    STOPPED,
    LevelName,
    Staleness,
)
from dashboard.queries.cases import search_pattern
from schemas.site_tables import gateway, machine, machine_case, point

AREAS = 60  # cards of the map; the others are counted
BLIND_NAMED = 6  # machines told by name for each reason


@dataclass(frozen=True, slots=True)
class View:
    """Which machines a list shows.

    Attributes:
        needing: Only those that need somebody.
        area: Only of this line; None for all, empty for those without one.
        find: Only those whose name, title or line contains this.
        first: So many are passed over.
    """

    needing: bool = False
    area: str | None = None
    find: str = ""
    first: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """The plant in numbers.

    Attributes:
        levels: Machines of each level; a level nobody has is missing.
        silent: Machines of which nothing arrives.
        newest_received_us: When the newest data arrived; None if there never was any.
    """

    levels: dict[LevelName, int] = field(default_factory=dict)
    points: int = 0
    assessable: int = 0
    silent: int = 0
    newest_received_us: int | None = None
    gateways: int = 0
    gateways_online: int = 0

    @property
    def machines(self) -> int:
        """All of them."""
        return sum(self.levels.values())

    @property
    def needing(self) -> int:
        """Machines that need somebody."""
        return sum(count for name, count in self.levels.items() if name not in QUIET)


@dataclass(frozen=True, slots=True)
class Area:
    """One line of the plant: its worst level, and how many machines have which."""

    name: str
    worst: LevelName
    levels: dict[LevelName, int]
    points: int
    assessable: int

    @property
    def machines(self) -> int:
        """All of them."""
        return sum(self.levels.values())


@dataclass(frozen=True, slots=True)
class Blind:
    """Machines that are not, or not fully, watched for one reason; `named` are some of them, name and title."""

    reason: str
    count: int
    named: tuple[tuple[str, str], ...]


def read_totals(connection: Connection, staleness: Staleness, now_us: int) -> Totals:
    """Count the plant."""
    each = _standing(staleness, now_us)
    query = sa.select(
        each.c.level, sa.func.count().label("machines"), _sum(each.c.points).label("points"),
        _sum(each.c.assessable).label("assessable"), _count(each.c.silent).label("silent"),
        sa.func.max(each.c.newest_received_us).label("newest_received_us"),
    ).group_by(each.c.level)  # fmt: skip
    rows = connection.execute(query).all()
    online = sa.select(sa.func.count(), _count(gateway.c.online)).select_from(gateway)
    gateways, gateways_online = connection.execute(online).one()
    return Totals(
        levels={row.level: row.machines for row in rows},
        points=sum(int(row.points) for row in rows),
        assessable=sum(int(row.assessable) for row in rows),
        silent=sum(int(row.silent) for row in rows),
        newest_received_us=max((row.newest_received_us for row in rows if row.newest_received_us), default=None),
        gateways=gateways,
        gateways_online=int(gateways_online or 0),
    )


def read_areas(connection: Connection, staleness: Staleness, now_us: int) -> tuple[list[Area], int]:
    """Read the lines of the plant, the worst first, and how many there are."""
    each = _standing(staleness, now_us)
    counts = [_count(each.c.level == name).label(f"of_{name}") for name in LEVELS]
    worst = sa.func.max(_weight(each.c.level)).label("worst")
    query = (
        sa.select(
            each.c.area, worst, _sum(each.c.points).label("points"), _sum(each.c.assessable).label("assessable"),
            sa.func.count().over().label("areas"), *counts,
        )
        .group_by(each.c.area)
        .order_by(worst.desc(), each.c.area)
        .limit(AREAS)
    )  # fmt: skip
    rows = connection.execute(query).all()
    by_weight: dict[float, LevelName] = {level.weight: level.name for level in LEVELS.values()}
    found = [
        Area(
            row.area, by_weight[float(row.worst)],
            {name: int(count) for name in LEVELS if (count := getattr(row, f"of_{name}"))},
            int(row.points), int(row.assessable),
        )
        for row in rows
    ]  # fmt: skip
    return found, rows[0].areas if rows else 0


def read_names(
    connection: Connection, staleness: Staleness, now_us: int, view: View, *, limit: int | None
) -> list[tuple[str, str]]:
    """Read name and title of the machines of a view, those that need attention most first."""
    each = _standing(staleness, now_us)
    query = sa.select(each.c.machine, each.c.title).where(*_of_view(each, view))
    query = query.order_by(each.c.attention.desc(), each.c.machine)
    if limit is not None:
        query = query.limit(limit).offset(view.first)
    return [(row.machine, row.title or row.machine) for row in connection.execute(query)]


def count_machines(connection: Connection, staleness: Staleness, now_us: int, view: View) -> int:
    """How many machines a view has."""
    each = _standing(staleness, now_us)
    query = sa.select(sa.func.count()).select_from(each).where(*_of_view(each, view))
    return int(connection.execute(query).scalar_one())


def read_blind(connection: Connection, staleness: Staleness, now_us: int) -> list[Blind]:
    """Read which machines are not fully watched: `silent`, `sensor`, `learning`, `stopped` or `some` points."""
    each = _standing(staleness, now_us)
    reason = sa.case(
        (each.c.silent, "silent"),
        (each.c.level.in_(("sensor", "learning", "stopped")), each.c.level),
        else_="some",
    )
    blind = (
        sa.select(each.c.machine, each.c.title, each.c.attention, reason.label("reason"))
        .where(sa.or_(each.c.assessable < each.c.points, each.c.points == 0))
        .subquery()
    )
    worst_first = (blind.c.attention.desc(), blind.c.machine)
    ranked = sa.select(
        blind.c.reason, blind.c.machine, blind.c.title,
        sa.func.count().over(partition_by=blind.c.reason).label("count"),
        sa.func.row_number().over(partition_by=blind.c.reason, order_by=worst_first).label("place"),
    ).subquery()  # fmt: skip
    query = sa.select(ranked).where(ranked.c.place <= BLIND_NAMED).order_by(ranked.c.reason, ranked.c.place)
    groups: dict[str, list[Any]] = {}
    for row in connection.execute(query):
        groups.setdefault(row.reason, []).append(row)
    found = {
        reason: Blind(reason, int(rows[0].count), tuple((row.machine, row.title or row.machine) for row in rows))
        for reason, rows in groups.items()
    }
    return [found[name] for name in ("silent", "sensor", "learning", "stopped", "some") if name in found]


def _standing(staleness: Staleness, now_us: int) -> sa.Subquery:
    """One row a machine: its level, how much attention it needs, and what it is made of."""
    points = _of_points(staleness, now_us)
    case = machine_case
    shelved = sa.and_(case.c.shelved_until_us.is_not(None), case.c.shelved_until_us > now_us)
    count, stale = sa.func.coalesce(points.c.points, 0), sa.func.coalesce(points.c.stale, 0)
    silent = stale == count
    without_case = sa.case(
        (silent, "unknown"),
        (points.c.suspects > 0, "sensor"),
        (stale > 0, "unknown"),
        (points.c.stopped == count, "stopped"),
        (points.c.learning > 0, "learning"),
        else_="normal",
    )
    of_case = sa.case((case.c.priority.in_(("danger", "alert", "sensor")), case.c.priority), else_="notice")
    louder = [name for name, level in LEVELS.items() if level.weight > LEVELS["shelved"].weight]
    level = sa.case(
        (case.c.case_id.is_(None), without_case),
        (sa.not_(shelved), of_case),
        (without_case.in_(louder), without_case),
        else_="shelved",
    )
    label = case.c.diagnosis[(0, "label")].as_string()
    confidence = case.c.diagnosis[(0, "confidence")].as_float()
    surely = sa.case((label != "unknown", sa.func.coalesce(confidence, 0.0)), else_=0.0)
    seen = sa.and_(case.c.state == "open", sa.not_(shelved))
    each = (
        sa.select(
            machine.c.machine, machine.c.title, machine.c.area, level.label("level"), silent.label("silent"),
            count.label("points"), sa.func.coalesce(points.c.assessable, 0).label("assessable"),
            points.c.newest_received_us, (STEP_OF_CRITICALITY * (machine.c.criticality - 3)).label("criticality"),
            (SHARE_OF_CONFIDENCE * surely).label("confidence"),
            sa.case((seen, OPEN_BEFORE_ACKNOWLEDGED), else_=0.0).label("unseen"),
        )
        .join_from(machine, points, points.c.machine == machine.c.machine, isouter=True)
        .join(case, sa.and_(case.c.machine == machine.c.machine, case.c.state != "closed"), isouter=True)
        .subquery("judged")
    )  # fmt: skip
    sure = sa.case((each.c.level.in_(("danger", "alert", "notice")), each.c.confidence), else_=0.0)
    attention = _weight(each.c.level) + each.c.criticality + sure + each.c.unseen
    return sa.select(each, attention.label("attention")).subquery("standing")


def _of_points(staleness: Staleness, now_us: int) -> sa.Subquery:
    newest_us = sa.func.coalesce(point.c.last_received_us, point.c.last_measured_us)
    interval_s = sa.case((point.c.interval_s > 0, point.c.interval_s), else_=staleness.assumed_interval_s)
    wanted_s = staleness.after_intervals * interval_s
    limit_s = sa.case((wanted_s > staleness.floor_s, wanted_s), else_=staleness.floor_s)
    stale = sa.or_(newest_us.is_(None), now_us - newest_us > 1e6 * limit_s)
    stopped = point.c.quality == STOPPED
    believed = point.c.quality.in_(sorted(BELIEVED))
    suspect = sa.or_(sa.not_(sa.or_(stopped, believed)), point.c.learning == "suspect")
    fresh = sa.not_(stale)
    return (
        sa.select(
            point.c.machine, sa.func.count().label("points"), _count(stale).label("stale"),
            _count(suspect).label("suspects"), _count(sa.and_(fresh, stopped)).label("stopped"),
            _count(sa.and_(fresh, point.c.learning == "learning")).label("learning"),
            _count(sa.and_(fresh, point.c.learning == "ready", believed)).label("assessable"),
            sa.func.max(point.c.last_received_us).label("newest_received_us"),
        )
        .group_by(point.c.machine)
        .subquery("of_points")
    )  # fmt: skip


def _of_view(each: sa.Subquery, view: View) -> Collection[sa.ColumnElement[bool]]:
    wanted: list[sa.ColumnElement[bool]] = []
    if view.needing:
        wanted.append(each.c.level.not_in(sorted(QUIET)))
    if view.area is not None:
        wanted.append(each.c.area == view.area)
    if view.find:
        pattern = search_pattern(view.find)
        columns = (each.c.machine, each.c.title, each.c.area)
        wanted.append(sa.or_(*(sa.func.lower(column).like(pattern, escape="\\") for column in columns)))
    return wanted or [sa.true()]


def _weight(level: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
    return sa.case({name: found.weight for name, found in LEVELS.items()}, value=level, else_=0.0)


def _count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


def _sum(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(column), 0)
