"""This file knows how a second model is tried beside the one in use: on every capture, with no say in any verdict.

The second is a candidate, or after a change the model before. Both score the same captures, so that a machine that
fails meanwhile counts for both; what is left of a difference is the model's.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gateway_agent.baseline import model_rows
from gateway_agent.operating_states import Reading, State
from gateway_agent.scoring import Model
from schemas.messages import ShadowSummary

if TYPE_CHECKING:
    from gateway_agent.point_monitor import Outcome, PointMonitor

LIMIT_EDGES = np.geomspace(0.05, 20.0, 25)
LOSS_EDGES = np.geomspace(0.01, 100.0, 25)

Histogram = NDArray[np.int64]


class Shadow:
    """One model beside the one in use; bounded by the points of the gateway, whatever comes.

    Attributes:
        model: The second one.
        in_use: The first; a point that judges by another is left out until it follows.
        uncalibrated: Points whose limits by the second one are to be found.
    """

    def __init__(
        self, model: Model, in_use: Model, monitors: Mapping[str, "PointMonitor"], *, uncalibrated: Iterable[str],
        clock_s: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        self.model = model
        self.in_use = in_use
        self._clock_s = clock_s
        self._monitors = monitors
        self._waiting = deque(uncalibrated)
        # Who stood in alarm before says nothing of a model; alarms raised since are what is looked for.
        self._left_out = {point for point, monitor in monitors.items() if monitor.alarm.active}
        self._limits: dict[str, list[tuple[State, float]]] = {}
        self._gathered: list[tuple[PointMonitor, Reading, float]] = []
        self._windows = self._errors = 0
        self._exceeding = [0, 0]
        self._seconds = [0.0, 0.0]
        self._in_limits = [_histogram(), _histogram()]
        self._loss = [_histogram(), _histogram()]

    @property
    def waiting(self) -> int:
        """Points whose limits by the second model are still to be found."""
        return len(self._waiting)

    def calibrate_one(self) -> None:
        """Find the limits of one more point; milliseconds."""
        while self._waiting:
            point = self._waiting.popleft()
            monitor = self._monitors[point]
            if monitor.ready:
                limits = monitor.limits_by(self.model)
                states = monitor.healthy.states.states
                self._limits[point] = [(state, limit.score) for state, limit in zip(states, limits, strict=True)]
                return

    def remember(self, monitor: "PointMonitor") -> None:
        """Keep the limits of a point that has judged by the second model until now."""
        if monitor.ready:
            self._limits[monitor.point] = [(state, state.limit.score) for state in monitor.healthy.states.states]

    def note(self, monitor: "PointMonitor", outcome: "Outcome") -> None:
        """Take note of what the model in use made of one capture."""
        reading = outcome.reading
        if reading is None or monitor.point in self._left_out or monitor.model is not self.in_use:
            return
        limit = next((score for state, score in self._limits.get(monitor.point, ()) if state is reading.state), None)
        if limit is not None:
            self._gathered.append((monitor, reading, limit * reading.state.widened))

    def score(self) -> None:
        """Have the second model score what was gathered since the last call: a batch at most."""
        if not self._gathered:
            return
        gathered, self._gathered = self._gathered, []
        rows = np.concatenate([model_rows(reading.z) for _, reading, _ in gathered])
        losses = []
        for number, model in enumerate((self.model, self.in_use)):
            began_s = self._clock_s()
            losses.append(model.score(rows)[0])
            self._seconds[number] += self._clock_s() - began_s
        starts = np.cumsum([0, *(len(reading.z) for _, reading, _ in gathered[:-1])])
        per_window = [np.add.reduceat(loss, starts) / _lengths(starts, len(rows)) for loss in losses]
        for index, (monitor, reading, limit) in enumerate(gathered):
            if not np.isfinite(per_window[0][index]):
                self._errors += 1
                continue
            ratios = (
                monitor.decisive_score(reading.z, self.model) / limit, reading.score / reading.state.threshold
            )  # fmt: skip
            self._windows += 1
            for number, ratio in enumerate(ratios):
                self._exceeding[number] += ratio >= 1.0
                _count(self._in_limits[number], LIMIT_EDGES, ratio)
                _count(self._loss[number], LOSS_EDGES, float(per_window[number][index]))

    def summary(self) -> ShadowSummary:
        """What both made of everything so far."""
        seen = max(1, self._windows + self._errors)
        return ShadowSummary(
            this_version=self.model.version, in_use_version=self.in_use.version,
            points=len(self._limits), windows=self._windows, errors=self._errors,
            exceeding_this=self._exceeding[0], exceeding_in_use=self._exceeding[1],
            in_limits_this=_told(self._in_limits[0]), in_limits_in_use=_told(self._in_limits[1]),
            loss_this=_told(self._loss[0]), loss_in_use=_told(self._loss[1]),
            window_us_this=1e6 * self._seconds[0] / seen, window_us_in_use=1e6 * self._seconds[1] / seen,
        )  # fmt: skip


def _histogram() -> Histogram:
    return np.zeros(len(LIMIT_EDGES) + 1, np.int64)


def _count(histogram: Histogram, edges: NDArray[np.float64], value: float) -> None:
    histogram[int(np.searchsorted(edges, value, side="right"))] += 1


def _lengths(starts: NDArray[np.int64], end: int) -> NDArray[np.int64]:
    return np.diff(np.append(starts, end))


def _told(histogram: Histogram) -> tuple[int, ...]:
    return tuple(int(count) for count in histogram)
