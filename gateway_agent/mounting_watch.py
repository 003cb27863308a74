"""This file knows when a changed sensor is believed: a step from steady health that keeps explaining what is heard."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway_agent.operating_states import Reading, State
from gateway_agent.sensor_change import SensorChange, explain_by_sensor, moved, still_explained

STEADY_OF, STEADY_COUNT = 5, 3  # captures before a step, and how many of them beyond doubt
SETTLING = 100  # captures after a move in which what is left of it is followed
SAME_PLACE_DB = 1.5  # gains of one mounting scatter by less, and those of two axes put back differ by more
MOVE_AFTER = 5  # captures that the same change of the sensor explains, until the baseline moves with it


@dataclass(slots=True)
class MountingWatch:
    """Follows one point's captures and holds what exceeds against changes of the sensor.

    Wear that raised everything alike would come slowly; a sensor is moved between two captures. So only a step from
    steady health is believed to be one, but for gains that are within the drift a baseline follows anyway.
    """

    _steady: deque[bool] = field(default_factory=lambda: deque(maxlen=STEADY_OF))
    _changes: list[tuple[State, SensorChange]] = field(default_factory=list)
    _settling: int = 0

    @property
    def settling(self) -> bool:
        """Whether the baseline was moved a short while ago, from a handful of captures: it is not yet in its place."""
        return self._settling > 0

    def look(
        self, features: NDArray[np.float64], reading: Reading, layout: tuple[float, int], *, exceeds: bool, alarm: bool
    ) -> SensorChange | None:
        """Say whether a changed sensor explains a capture.

        Args:
            features: Detection features, shape (channels, F).
            reading: How they were read.
            layout: Rate in Hz and samples.
            exceeds: Whether the capture exceeds its limit.
            alarm: Whether an alarm stands: then it is too late for excuses.
        """
        self._settling = max(0, self._settling - 1)
        state = reading.state
        if not exceeds or alarm:
            self._changes.clear()
            self._steady.append(reading.score <= state.limit.follow_score)
            return None
        steady = len(self._steady) == STEADY_OF and sum(self._steady) >= STEADY_COUNT
        change = explain_by_sensor(features, state.baseline, state.threshold, layout)
        if change is None and self._changes:
            earlier = [change for _, change in self._changes]
            change = still_explained(features, state.baseline, state.threshold, earlier)
        swapped = change is not None and change.kind == "axes_swapped"  # no machine does that, slowly or at once
        if change is None or not (self._changes or steady or swapped or change.within_drift):
            self._changes.clear()
            self._steady.append(False)
            return None
        if self._changes or steady or swapped:
            self._changes.append((state, change))
            del self._changes[:-MOVE_AFTER]
        else:
            self._steady.append(False)  # on its way, perhaps: what comes next is no step
        return change

    def dump(self) -> list[bool]:
        """Whether the last captures were steady, as JSON: a sensor is moved while the gateway is down as well."""
        return list(self._steady)

    @classmethod
    def load(cls, dumped: list[bool]) -> "MountingWatch":
        """Continue from what `dump` gave; a change that was under way is seen anew."""
        return cls(deque(dumped, maxlen=STEADY_OF))

    def move(self) -> str | None:
        """Hear through the sensor as it is mounted now once that is sure; what to say of it, or None.

        Only states in which the change was heard are moved: one at rest hears the sensor's own noise, which no
        mounting changes.
        """
        if len(self._changes) < MOVE_AFTER or self._changes[-1][1].kind != "remounted":
            return None
        if not self._believed():
            return None
        for state in {id(state): state for state, _ in self._changes}.values():
            moved(state.baseline, np.mean([c.shift for its, c in self._changes if its is state], axis=0))
        text = self._changes[-1][1].text()
        self._changes.clear()
        self._settling = SETTLING
        return text

    def _believed(self) -> bool:
        """Whether what was heard is a mounting: the same gains each time, and other ones on each axis.

        Load and temperature move all axes alike, by up to twice what is usual; that is borne, and not moved after.
        """
        gains_db = np.array([change.gains_db for _, change in self._changes])
        mean, usual_db = gains_db.mean(axis=0), max(change.usual_db for _, change in self._changes)
        alike = float(np.ptp(mean)) < SAME_PLACE_DB
        if alike:
            return float(np.abs(mean).max()) > 2.0 * usual_db
        return float(np.abs(mean).max()) > usual_db or float(gains_db.std(axis=0).max()) < SAME_PLACE_DB
