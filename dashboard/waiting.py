"""This file knows what waiting with a repair may cost: the chance to fail meanwhile, times what a stop costs.

Pure. The chance follows from the band of the remaining life: one in ten fail before its low end, half before the
median, nine in ten before its high end; between them a straight line, beyond them nothing is said.
"""

from dataclasses import dataclass

import numpy as np

from schemas.asset_table import StopCost
from schemas.messages import RemainingLife

DAY_S = 86_400.0
WAITS_DAYS = (1.0, 3.0, 7.0, 14.0, 30.0, 90.0)
TOLD = 3


@dataclass(frozen=True, slots=True)
class Wait:
    """What waiting so long may cost; `cost` None where a stop's cost is not known."""

    days: float
    chance: float
    cost: float | None


def stop_cost(stop: StopCost) -> float | None:
    """What one unplanned stop costs as a whole; None unless an hour's cost and the hours are known."""
    return None if stop.per_h is None or stop.hours is None else stop.per_h * stop.hours


def chance_to_fail(life: RemainingLife, within_s: float) -> float:
    """The chance that a machine fails within a time, at most nine in ten: beyond that the band says nothing."""
    at_s = np.maximum.accumulate([0.0, life.low_s, life.median_s, life.high_s])
    return float(np.interp(within_s, at_s, [0.0, 0.1, 0.5, 0.9]))


def waits(life: RemainingLife, stop: StopCost) -> list[Wait]:
    """What some waits may cost, the shortest first: those between a chance worth telling and the end of the band."""
    whole = stop_cost(stop)
    found = []
    for days in WAITS_DAYS:
        chance = chance_to_fail(life, days * DAY_S)
        if chance >= 0.01:
            found.append(Wait(days, chance, None if whole is None else chance * whole))
        if days * DAY_S >= life.high_s:
            break
    return found[:TOLD]
