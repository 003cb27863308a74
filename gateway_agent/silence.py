"""This file knows when a sensor has fallen silent: nothing of it for several of its own usual intervals.

Pure; times come in. What is not heard because the gateway itself hears nothing (broker away, just started) is no
silence of a sensor: `excuse` says since when there was something to hear.
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

INTERVALS_KEPT = 16
INTERVALS_NEEDED = 4  # until a usual interval is known


@dataclass(slots=True)
class _Heard:
    at_s: float
    measured_at_us: deque[int] = field(default_factory=lambda: deque(maxlen=INTERVALS_KEPT + 1))
    silent: bool = False

    def usual_s(self) -> float | None:
        """Median of the intervals between captures, by the sensor's clock; a backlog comes all at once."""
        steps = [later - earlier for earlier, later in pairwise(self.measured_at_us) if later > earlier]
        return median(steps) / 1e6 if len(steps) >= INTERVALS_NEEDED else None


@dataclass(frozen=True, slots=True)
class Silence:
    """A sensor that should have been heard."""

    point: str
    since_s: float
    usual_s: float

    def text(self) -> str:
        """One sentence for people."""
        return f"silent: nothing heard for {self.since_s:.0f} s, usually every {self.usual_s:.3g} s"


@dataclass(slots=True)
class SilenceWatch:
    """Remembers when each point was heard; used by one thread.

    Attributes:
        intervals: Usual intervals without a capture until a sensor counts as silent.
        least_s: And never before so many seconds.
    """

    intervals: float
    least_s: float
    _heard: dict[str, _Heard] = field(default_factory=dict)
    _listening_since_s: float = 0.0

    def hear(self, point: str, measured_at_us: int, *, now_s: float) -> None:
        """Note a capture."""
        known = self._heard.get(point)
        if known is None:
            known = self._heard[point] = _Heard(now_s)
        known.at_s, known.silent = now_s, False
        known.measured_at_us.append(measured_at_us)

    def excuse(self, *, now_s: float) -> None:
        """Nothing could be heard until now."""
        self._listening_since_s = now_s

    def fallen_silent(self, *, now_s: float) -> list[Silence]:
        """Say who has fallen silent since this was asked last."""
        found: list[Silence] = []
        for point, known in self._heard.items():
            if known.silent:
                continue
            since_s = now_s - max(known.at_s, self._listening_since_s)
            if since_s < self.least_s:
                continue
            usual_s = known.usual_s()
            if usual_s is not None and since_s >= self.intervals * usual_s:
                known.silent = True
                found.append(Silence(point, since_s, usual_s))
        return found
