"""This file knows how a machine's speed and load are told over its life: constant, ramp, steps, random walk, day."""

import bisect
import math
from collections.abc import Callable
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from schemas.settings import Settings
from sensor_sim.randomness import Seed, stream

Course = Callable[[float], float]
"""A value over time: seconds since the scenario's start in, value out."""

_BLOCK = 256  # knots drawn at once


class Constant(Settings):
    """The same value always."""

    kind: Literal["constant"] = "constant"
    value: float = Field(ge=0)


class Ramp(Settings):
    """From one value to another between two times, held before and after."""

    kind: Literal["ramp"] = "ramp"
    start: float = Field(ge=0)
    end: float = Field(ge=0)
    from_s: float = Field(default=0.0, ge=0)
    to_s: float = Field(gt=0)

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.to_s <= self.from_s:
            raise ValueError(f"ramp ends at {self.to_s} s, after its start at {self.from_s} s expected")
        return self


class Steps(Settings):
    """Values that hold from their time on; the first one also before."""

    kind: Literal["steps"] = "steps"
    at_s: tuple[float, ...] = Field(min_length=1, max_length=1000)
    values: tuple[Annotated[float, Field(ge=0)], ...]
    repeat_s: float | None = Field(default=None, gt=0, description="Begin again after so long.")

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if len(self.values) != len(self.at_s):
            raise ValueError(f"{len(self.at_s)} times and {len(self.values)} values found; equally many needed")
        if list(self.at_s) != sorted(set(self.at_s)):
            raise ValueError("times of steps must rise")
        return self


class RandomWalk(Settings):
    """A value that wanders and is drawn back to its mean, between two limits."""

    kind: Literal["random_walk"] = "random_walk"
    mean: float = Field(ge=0)
    step: float = Field(ge=0, description="Standard deviation of one step.")
    every_s: float = Field(default=10.0, gt=0, description="Time of one step; between steps the value is a line.")
    persistence: float = Field(default=0.9, ge=0, le=1, description="Share of the distance to the mean kept a step.")
    low: float = Field(default=0.0, ge=0)
    high: float = Field(gt=0)

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if not self.low <= self.mean <= self.high:
            raise ValueError(f"mean {self.mean} is not between {self.low} and {self.high}")
        return self


class Daily(Settings):
    """A working day: high between two hours of it, low otherwise, with a slow change between."""

    kind: Literal["daily"] = "daily"
    low: float = Field(ge=0)
    high: float = Field(ge=0)
    from_h: float = Field(default=6.0, ge=0, le=24)
    to_h: float = Field(default=22.0, ge=0, le=24)
    change_h: float = Field(default=0.25, gt=0, le=6)
    day_s: float = Field(default=86_400.0, gt=0, description="Shorter for a demonstration.")

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.to_h <= self.from_h:
            raise ValueError(f"day ends at {self.to_h} h, after its start at {self.from_h} h expected")
        return self


Schedule = Annotated[Constant | Ramp | Steps | RandomWalk | Daily, Field(discriminator="kind")]


def course_of(schedule: Schedule, seed: Seed) -> Course:
    """Make the value over time that a schedule describes.

    Args:
        schedule: As in the scenario.
        seed: Names the stream of a random walk; the same seed is the same walk however it is asked.
    """
    match schedule:
        case Constant():
            value = schedule.value
            return lambda _: value
        case Ramp():
            return lambda at_s: float(np.interp(at_s, (schedule.from_s, schedule.to_s), (schedule.start, schedule.end)))
        case Steps():
            return lambda at_s: _step_value(schedule, at_s)
        case RandomWalk():
            return _Walk(schedule, seed).at
        case Daily():
            return lambda at_s: _day_value(schedule, at_s)


def _step_value(steps: Steps, at_s: float) -> float:
    if steps.repeat_s is not None:
        at_s %= steps.repeat_s
    return steps.values[max(0, bisect.bisect_right(steps.at_s, at_s) - 1)]


def _day_value(day: Daily, at_s: float) -> float:
    hour = (at_s / day.day_s * 24.0) % 24.0
    rising = 0.5 * (1.0 + math.tanh(2.0 * (hour - day.from_h) / day.change_h))
    falling = 0.5 * (1.0 + math.tanh(2.0 * (day.to_h - hour) / day.change_h))
    return day.low + (day.high - day.low) * rising * falling


class _Walk:
    def __init__(self, walk: RandomWalk, seed: Seed) -> None:
        self._walk = walk
        self._chance = stream(seed)
        self._knots = [walk.mean]

    def at(self, at_s: float) -> float:
        place = max(0.0, at_s) / self._walk.every_s
        first = int(place)
        while len(self._knots) < first + 2:
            self._extend()
        share = place - first
        return (1.0 - share) * self._knots[first] + share * self._knots[first + 1]

    def _extend(self) -> None:
        walk, value = self._walk, self._knots[-1]
        for push in self._chance.standard_normal(_BLOCK).tolist():
            value = walk.mean + walk.persistence * (value - walk.mean) + walk.step * push
            value = min(max(value, walk.low), walk.high)
            self._knots.append(value)
