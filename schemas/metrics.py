"""This file knows what a service measures of itself: histograms that cost next to nothing, and figures read by name.

A figure of a status is written down once, in a table of `Figure`; metrics and `status --json` both come from it.
"""

import resource
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["counter", "gauge"]
Labels = tuple[tuple[str, str], ...]

DURATION_BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
COUNT_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


def memory_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Histogram:
    """How often values of each size came. One thread writes, any thread may read, nobody waits.

    A reader may see the newest value in `counts` and not yet in `total`: half a value in thousands.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Take one value in."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values came."""
        return sum(self.counts)

    def cumulative(self) -> list[tuple[float, int]]:
        """Upper bound and how many values lie at or below it; the last bound is infinity."""
        running, steps = 0, []
        for bound, count in zip((*self.bounds, float("inf")), tuple(self.counts), strict=True):
            running += count
            steps.append((bound, running))
        return steps


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with its samples. A counter's name ends in `_total`, a duration's in `_seconds`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    samples: tuple[tuple[Labels, float], ...] = ()
    histogram: Histogram | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """Where a figure stands in `status --json`, and what it is called as a metric.

    Attributes:
        name: Of the metric, without the service's prefix.
        path: Keys that lead to it in the status.
        label: When set, the path leads to an object, and its keys are values of this label.
        entry: When set, each value of that object is an object in turn, and this key of it is the figure.
    """

    name: str
    kind: Kind
    path: tuple[str, ...]
    text: str
    label: str = ""
    entry: str = ""

    def samples(self, status: Mapping[str, Any]) -> tuple[tuple[Labels, float], ...]:
        """Read it from a status."""
        found: Any = status
        for key in self.path:
            found = found[key]
        if not self.label:
            found = {"": found}
        values = ((label, value[self.entry] if self.entry else value) for label, value in found.items())
        return tuple((((self.label, label),) if self.label else (), float(value)) for label, value in values)


def families_of(figures: Iterable[Figure], status: Mapping[str, Any], *, prefix: str) -> list[Family]:
    """Say a status as metrics."""
    return [Family(prefix + one.name, one.kind, one.text, one.samples(status)) for one in figures]
