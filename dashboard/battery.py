"""This file knows when a sensor's battery will be low: a straight line through one voltage a day, or why there is none.

Pure. A lithium cell holds its voltage long and drops fast at the end, so a date is the latest to expect, not a promise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

LOW_V = 3.0  # of the lithium primary cells that wireless sensors carry; below, they say so themselves
FEWEST_DAYS = 7  # voltage follows the temperature of the day and the week
FARTHEST_DAYS = 730.0  # a line of a month says nothing beyond
SURE = 3.0  # standard errors by which the fall must differ from none
DAY_US = 86_400_000_000

Kind = Literal["none", "short", "low", "steady", "falling"]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What can be said of one battery.

    Attributes:
        kind: No battery told; too few days; low already; no fall that can be told from none; low at `low_at_us`.
        days: With a voltage.
        volts: The newest one.
        volts_a_day: Slope of the line, where there is one.
    """

    kind: Kind
    days: int = 0
    volts: float | None = None
    volts_a_day: float | None = None
    low_at_us: int | None = None


def forecast(battery: Sequence[tuple[int, float]]) -> Forecast:
    """Look ahead.

    Args:
        battery: Time in microseconds and voltage in V, one a day, oldest first.
    """
    if not battery:
        return Forecast("none")
    days, volts = len(battery), battery[-1][1]
    if volts < LOW_V:
        return Forecast("low", days, volts)
    if days < FEWEST_DAYS:
        return Forecast("short", days, volts)
    at_days = np.asarray([(at_us - battery[-1][0]) / DAY_US for at_us, _ in battery])
    values = np.asarray([value for _, value in battery])
    centred = at_days - at_days.mean()
    spread = float((centred**2).sum())
    slope = float((centred * (values - values.mean())).sum()) / spread
    residual = values - values.mean() - slope * centred
    error = math.sqrt(float((residual**2).sum()) / (days - 2) / spread)
    level = float(values.mean() - slope * at_days.mean())
    left_days = (level - LOW_V) / -slope if slope < 0 else math.inf
    if -slope <= SURE * error or left_days > FARTHEST_DAYS:
        return Forecast("steady", days, volts, slope)
    return Forecast("falling", days, volts, slope, battery[-1][0] + round(max(0.0, left_days) * DAY_US))
