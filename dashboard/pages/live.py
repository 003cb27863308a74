"""This file knows what all live parts share: the plant in numbers and the machines of a list, a few seconds old."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dashboard import words
from dashboard.condition import Condition, Staleness, in_order, judge, position
from dashboard.languages import language, tr
from dashboard.queries.plant import (
    read_last_round,
    read_machines,
    read_plant,
    read_point_titles,
    read_small_trends,
)
from dashboard.queries.records import MachineRecord, Plant, RoundRecord, Trend
from dashboard.queries.standing import (
    Area,
    Blind,
    Totals,
    View,
    count_machines,
    read_areas,
    read_blind,
    read_names,
    read_totals,
)
from dashboard.runtime import Dashboard

LISTED = 100  # machines of one page of the list
TRENDS_AGE_S = 30.0  # the small trends are most of what is read, and change least
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Summary:
    """What stands above and beside the list: the plant in numbers, its lines, what is not watched."""

    totals: Totals
    areas: tuple[Area, ...]
    all_areas: int
    blind: tuple[Blind, ...]
    last_round: RoundRecord | None


@dataclass(frozen=True, slots=True)
class Listed:
    """The machines of one page of a list, worst first, and how many the list has in all."""

    conditions: tuple[Condition, ...]
    trends: dict[str, Trend]
    matching: int


def staleness(board: Dashboard) -> Staleness:
    """When a point counts as silent, by the settings."""
    live = board.settings.live
    return Staleness(live.stale_after_intervals, live.stale_floor_s, live.assumed_interval_s)


def read_summary(board: Dashboard) -> Summary:
    """Read the plant in numbers, or take what another viewer has just read.

    Raises:
        DatabaseUnavailable: The database cannot be read.
    """

    def read() -> Summary:
        limits, now_us = staleness(board), board.now_us()
        with board.reader.read() as connection:
            areas, all_areas = read_areas(connection, limits, now_us)
            return Summary(
                totals=read_totals(connection, limits, now_us), areas=tuple(areas), all_areas=all_areas,
                blind=tuple(read_blind(connection, limits, now_us)), last_round=read_last_round(connection),
            )  # fmt: skip

    return board.shared.get("summary", 0.8 * board.settings.live.refresh_s, read)


def read_listed(board: Dashboard, view: View) -> Listed:
    """Read one page of a list of machines, and judge them; viewers of the same page share the answer.

    Raises:
        DatabaseUnavailable: The database cannot be read.
    """
    limits = staleness(board)

    def read() -> tuple[tuple[MachineRecord, ...], int]:
        now_us = board.now_us()
        with board.reader.read() as connection:
            names = [name for name, _ in read_names(connection, limits, now_us, view, limit=LISTED)]
            matching = len(names)
            if view.first or matching == LISTED:
                matching = count_machines(connection, limits, now_us, view)
            return read_machines(connection, names), matching

    def trends() -> dict[str, Trend]:
        with board.reader.read() as connection:
            return read_small_trends(connection, machines)

    refresh_s = 0.8 * board.settings.live.refresh_s
    machines, matching = _shared(board, view, "machines", refresh_s, read)
    rising = _shared(board, view, "trends", TRENDS_AGE_S, trends)

    def judged() -> tuple[Condition, ...]:
        now_us = board.now_us()
        return tuple(in_order(judge(found, rising.get(found.machine), limits, now_us) for found in machines))

    conditions = _shared(board, view, f"conditions:{language()}", refresh_s, judged)
    if {found.machine for found in conditions} != {found.machine for found in machines}:
        conditions = judged()
    return Listed(conditions, rising, matching)


def machine_titles(board: Dashboard) -> dict[str, str]:
    """Every machine's name and how it is called, those that need attention most first: to choose one.

    Raises:
        DatabaseUnavailable: The database cannot be read.
    """
    with board.reader.read() as connection:
        names = read_names(connection, staleness(board), board.now_us(), View(), limit=None)
    return {name: f"{title} ({name})" for name, title in names}


def point_titles(board: Dashboard) -> dict[str, str]:
    """Every measurement point's name and where it is, by name: to choose one.

    Raises:
        DatabaseUnavailable: The database cannot be read.
    """
    with board.reader.read() as connection:
        found = read_point_titles(connection)
    return {name: f"{title}, {position(name)} ({name})" for name, title in found}


def read_live_plant(board: Dashboard) -> Plant:
    """Read all machines with everything, or take what another viewer has just read; for answers that list them all.

    Raises:
        DatabaseUnavailable: The database cannot be read.
    """

    def read() -> Plant:
        with board.reader.read() as connection:
            return read_plant(connection, with_trends=False)

    return board.shared.get("plant", 0.8 * board.settings.live.refresh_s, read)


def judge_plant(board: Dashboard, plant: Plant) -> list[Condition]:
    """Say how every machine stands, worst first."""
    limits, now_us = staleness(board), board.now_us()
    return in_order(judge(found, plant.trends.get(found.machine), limits, now_us) for found in plant.machines)


def newest_words(totals: Totals, now_us: int) -> str:
    """Say how old the newest data of the plant is."""
    if totals.newest_received_us is None:
        return tr("no data yet")
    return tr("newest data {age}", age=words.age((now_us - totals.newest_received_us) / 1e6))


def _shared(board: Dashboard, view: View, what: str, max_age_s: float, compute: Callable[[], _T]) -> _T:
    """Share an answer among viewers; what somebody searches for, or an address names, is kept nowhere."""
    if view.find or view.area is not None:
        return compute()
    return board.shared.get(f"{what}:{view.needing}:{view.first}", max_age_s, compute)
