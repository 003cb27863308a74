"""This file knows what all live parts share: the plant's state at most a few seconds old, and how old that is."""

from dashboard import words
from dashboard.condition import Condition, Staleness, in_order, judge
from dashboard.queries.plant import read_plant
from dashboard.queries.records import Plant
from dashboard.runtime import Dashboard


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
            return read_plant(connection)

    return board.shared.get("plant", 0.8 * board.settings.live.refresh_s, read)


def judge_plant(board: Dashboard, plant: Plant) -> list[Condition]:
    """Say how every machine stands, worst first."""
    limits, now_us = staleness(board), board.now_us()
    return in_order(judge(found, plant.trends.get(found.machine), limits, now_us) for found in plant.machines)


def newest_words(plant: Plant, now_us: int) -> str:
    """Say how old the newest data of the plant is."""
    if plant.newest_received_us is None:
        return "no data yet"
    return f"newest data {words.age((now_us - plant.newest_received_us) / 1e6)}"
