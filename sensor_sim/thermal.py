"""This file knows a housing's temperature: it follows what heats it, late."""

import math
from collections.abc import Callable

STEPS_A_TIME_CONSTANT = 20


class LaggingTemperature:
    """A first-order lag, stepped from the scenario's start as far as anybody asks; earlier times are remembered.

    Args:
        target_c: Temperature that would settle, over time in seconds.
        time_constant_s: Of the lag.
    """

    def __init__(self, target_c: Callable[[float], float], time_constant_s: float) -> None:
        self._target_c = target_c
        self._step_s = time_constant_s / STEPS_A_TIME_CONSTANT
        self._share = 1.0 - math.exp(-1.0 / STEPS_A_TIME_CONSTANT)
        self._steps_c = [target_c(0.0)]

    def at(self, at_s: float) -> float:
        """Return the temperature in degrees C."""
        place = max(0.0, at_s) / self._step_s
        first = int(place)
        while len(self._steps_c) < first + 2:
            last_c = self._steps_c[-1]
            goal_c = self._target_c(len(self._steps_c) * self._step_s)
            self._steps_c.append(last_c + self._share * (goal_c - last_c))
        share = place - first
        return (1.0 - share) * self._steps_c[first] + share * self._steps_c[first + 1]
