"""This file knows what all live parts share: the plant's state at most a few seconds old, and how old that is."""

from dataclasses import replace

from dashboard import words
from dashboard.condition import Condition, Staleness, in_order, judge
from dashboard.languages import language, tr
from dashboard.queries.plant import read_plant, read_small_trends
from dashboard.queries.records import Plant, Trend
from dashboard.runtime import Dashboard

TRENDS_AGE_S = 30.0  # the small trends are most of what is read, and change least


def staleness(board: Dashboard) -> Staleness:
    """When a point counts as silent, by the settings."""
    live = board.settings.live
    return Staleness(live.stale_after_intervals, live.stale_floor_s, live.assumed_interval_s)


def read_live_plant(board: Dashboard) -> Plant:
    """Read the plant, or take what another viewer has just read.

    Raises:
        DatabaseUnavailable: The database cannot be read.
    """

    def read() -> Plant:
        with board.reader.read() as connection:
            return read_plant(connection, with_trends=False)

    def trends() -> dict[str, Trend]:
        with board.reader.read() as connection:
            return read_small_trends(connection, plant.machines)

    plant = board.shared.get("plant", 0.8 * board.settings.live.refresh_s, read)
    return replace(plant, trends=board.shared.get("trends", TRENDS_AGE_S, trends))


def judge_plant(board: Dashboard, plant: Plant) -> list[Condition]:
    """Say how every machine stands, worst first; strip and list, and all viewers of a language, share the answer."""

    def all_judged() -> tuple[Plant, list[Condition]]:
        limits, now_us = staleness(board), board.now_us()
        judged = (judge(found, plant.trends.get(found.machine), limits, now_us) for found in plant.machines)
        return plant, in_order(judged)

    max_age_s = 0.8 * board.settings.live.refresh_s
    of, conditions = board.shared.get(f"conditions:{language()}", max_age_s, all_judged)
    return conditions if of.machines is plant.machines else all_judged()[1]


def newest_words(plant: Plant, now_us: int) -> str:
    """Say how old the newest data of the plant is."""
    if plant.newest_received_us is None:
        return tr("no data yet")
    return tr("newest data {age}", age=words.age((now_us - plant.newest_received_us) / 1e6))
