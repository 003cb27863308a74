"""This file knows the operating states of one measurement point: which are told apart, and what is healthy in each.

A state is a shaft speed and a load, as told with the capture, and within these a group that commissioning fell into
(loads are seldom told, but heard). Every state has its own baseline and limit. A speed or load that commissioning
never saw starts from the nearest one with the doubt that such a step brings, and learns from there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_agent.baseline import (
    ANCHOR_ERRORS,
    MAX_DRIFT_DECADES,
    WEIGHTS,
    Baseline,
    Detector,
    expected_variance,
    score_of,
)
from gateway_agent.limits import MIN_CAPTURES, Limit, held_back_log_scores, limit_from
from schemas.container import array_blob, blob_array
from schemas.variation import HealthyPrior

FloatArray = NDArray[np.float64]

SAME_SPEED = 0.04  # natural logarithm: slip between no load and full load of an induction motor stays below
SAME_LOAD = 0.1  # of the nominal load
REACH = 2.0  # of these: a state reaches as far to either side of its middle
MAX_STATES = 16
# A step to another speed or load moves a band's level by up to a factor of two in amplitude beyond what speed
# itself explains: resonances are met or left. Vibration velocity grows with speed, its power with the square.
NEW_STATE_DECADES = 0.6
POWER_OF_SPEED = 2.0
PROMISE_STEP = 0.05
MOST_WIDENED = 1.5
NEWCOMER_CAPTURES = 10  # of a new state; until then everything below the limit teaches, not only the beyond doubt
MIN_GROUP = 3
RESTLESS = 4.0  # times the scatter the fleet expects: no single healthy state scatters so
RESOLVED = 3.0  # by which two groups must explain it better to be believed


@dataclass(frozen=True, slots=True)
class Told:
    """What came with a capture of how the machine ran; None where nothing did."""

    rpm: float | None = None
    load: float | None = None

    def same(self, other: "Told") -> bool:
        """Whether both are one operating state."""
        if (self.rpm is None) != (other.rpm is None) or (self.load is None) != (other.load is None):
            return False
        return self.apart(other) <= 1.0

    def apart(self, other: "Told") -> float:
        """Distance in states, of what both have told."""
        speed = abs(math.log(self.rpm / other.rpm)) / SAME_SPEED if self.rpm and other.rpm else 0.0
        load = abs(self.load - other.load) / SAME_LOAD if self.load is not None and other.load is not None else 0.0
        return max(speed, load)


@dataclass(slots=True, eq=False)
class State:
    """One operating state.

    Attributes:
        told: Its speed and load.
        baseline: What is healthy in it.
        limit: From which score on it is left.
        captures: Seen in this state; commissioning included.
        inherited: It was never commissioned.
        widened: By how much single exceedings have shown the limit to be too tight, a factor from 1.
    """

    told: Told
    baseline: Baseline
    limit: Limit
    captures: int
    inherited: bool = False
    widened: float = 1.0

    @property
    def threshold(self) -> float:
        """Score from which on a capture exceeds."""
        return self.limit.score * self.widened

    @property
    def settled(self) -> bool:
        """Whether it was commissioned, or has learnt as much since."""
        return not self.inherited or self.captures > NEWCOMER_CAPTURES

    def keep_promise(self, *, odd: bool) -> None:
        """Move the limit until as many single captures exceed it as stated (Robbins & Monro 1951).

        Commissioning sees days, a machine's healthy life has seasons. What exceeds again and again is no oddity and
        moves nothing; nor does the limit ever go below what commissioning set, or above `MOST_WIDENED` times it.

        Args:
            odd: Whether this capture ended a single exceeding; else it is one that did not exceed.
        """
        rate = self.limit.false_alarm_rate
        step = PROMISE_STEP * ((1.0 - rate) if odd else -rate)
        self.widened = min(MOST_WIDENED, max(1.0, self.widened * math.exp(step)))


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One capture held against the state it fits best; z has shape (channels, DETECTION_COUNT)."""

    state: State
    z: FloatArray
    score: float


@dataclass(slots=True)
class OperatingStates:
    """The commissioned states of one point, and what commissioning is to be told of."""

    states: list[State] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def commission(
        cls, features: FloatArray, told: Sequence[Told], prior: HealthyPrior, layout: tuple[float, int], *,
        false_alarm_rate: float, detector: Detector = score_of,
    ) -> "OperatingStates":  # fmt: skip
        """Learn from healthy captures.

        Args:
            features: Detection features in time order, shape (n >= MIN_CAPTURES, channels, F).
            told: Speed and load of each.
            prior: What the fleet expects of this layout.
            layout: Sample rate in Hz and samples.
            false_alarm_rate: Stated share of single healthy captures above a limit.
            detector: What scores a standardised capture.

        Raises:
            ValueError: Fewer than MIN_CAPTURES captures.
        """
        made = cls()
        expected = expected_variance(prior, *layout)
        everything = (
            held_back_log_scores(features, expected, detector) if len(features) >= MIN_CAPTURES else np.zeros(0)
        )
        common = limit_from(everything, prior, false_alarm_rate=false_alarm_rate)  # raises when there are too few
        for condition, members in conditions(told):
            for group in made._groups(features[members], expected):
                chosen = members[group]
                baseline = Baseline.learn(features[chosen], expected)
                limit = common
                if MIN_CAPTURES <= len(chosen) < len(features):
                    logs = held_back_log_scores(features[chosen], expected, detector)
                    limit = limit_from(logs, prior, false_alarm_rate=false_alarm_rate)
                made.states.append(State(condition, baseline, limit, len(chosen)))
                restless = _restlessness(features[chosen], expected) if len(chosen) >= MIN_GROUP else 0.0
                if restless > RESTLESS:
                    made.remarks.append(
                        f"commissioning captures scatter {restless:.0f} times as much as those of healthy machines "
                        "elsewhere, so the limit is wide; check mounting and running, then record maintenance"
                    )
        made.states = sorted(made.states, key=lambda s: -s.captures)[:MAX_STATES]
        return made

    @property
    def ready(self) -> bool:
        """Whether anything was commissioned."""
        return bool(self.states)

    @property
    def limit(self) -> Limit:
        """That of the state seen most."""
        return self.states[0].limit

    def read(self, features: FloatArray, told: Told, detector: Detector = score_of) -> Reading:
        """Hold a capture (channels, F) against the states it may be in; the one it fits best counts."""
        near = [state for state in self.states if state.told.same(told)]
        if not near:
            near = self.states if told == Told() else [self._meet(told)]
        near = [state for state in near if state.settled] or near  # whoever is in doubt about everything fits best
        best: Reading | None = None
        for state in near:
            z = state.baseline.standardise(features)
            score = detector(z)
            if best is None or score / state.threshold < best.score / best.state.threshold:
                best = Reading(state, z, score)
        assert best is not None
        return best

    def follow(self, reading: Reading, features: FloatArray) -> bool:
        """Let the state learn from a capture that is healthy beyond doubt; tell whether it did."""
        state = reading.state
        state.captures += 1
        if reading.score > (state.threshold if not state.settled else state.limit.follow_score):
            return False
        state.baseline.follow(features)
        return True

    def limits_by(
        self, features: FloatArray, told: Sequence[Told], prior: HealthyPrior, layout: tuple[float, int],
        detector: Detector = score_of,
    ) -> list[Limit]:  # fmt: skip
        """The limit of each state, from the same captures by other knowledge; nothing changes here."""
        fresh = OperatingStates.commission(
            features, told, prior, layout, false_alarm_rate=self.limit.false_alarm_rate, detector=detector
        )  # fmt: skip
        return [min(fresh.states, key=lambda other: _unlike(other, state)).limit for state in self.states]

    def recalibrate(self, limits: Sequence[Limit]) -> None:
        """The fleet knows more now: limits from `limits_by`, baselines stay as they have followed."""
        for state, limit in zip(self.states, limits, strict=True):
            state.limit = limit

    def dump(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The whole, as JSON and arrays; `load` continues from it."""
        meta: list[dict[str, Any]] = []
        blobs: dict[str, bytes] = {}
        for number, state in enumerate(self.states):
            b, limit = state.baseline, state.limit
            arrays = {}
            for name in _ARRAYS:
                arrays[name], blobs[f"state{number}_{name}"] = array_blob(getattr(b, name))
            meta.append(
                {
                    "rpm": state.told.rpm, "load": state.told.load, "captures": state.captures,
                    "inherited": state.inherited, "widened": state.widened, "freedom": b.freedom,
                    "arrays": arrays,
                    "limit": [limit.score, limit.follow_score, limit.false_alarm_rate, limit.captures],
                }
            )  # fmt: skip
        return {"states": meta, "remarks": self.remarks}, blobs

    @classmethod
    def load(cls, meta: dict[str, Any], blobs: dict[str, bytes]) -> "OperatingStates":
        """Continue from what `dump` gave."""
        states = []
        for number, each in enumerate(meta["states"]):
            arrays = {
                name: np.array(blob_array(each["arrays"][name], blobs[f"state{number}_{name}"])) for name in _ARRAYS
            }
            baseline = Baseline(freedom=each["freedom"], **arrays)
            told = Told(each["rpm"], each["load"])
            states.append(
                State(told, baseline, Limit(*each["limit"]), each["captures"], each["inherited"], each["widened"])
            )
        return cls(states, list(meta["remarks"]))

    def _groups(self, features: FloatArray, expected: FloatArray) -> list[NDArray[np.intp]]:
        """The captures of one speed, as one group or as the two that commissioning fell into."""
        whole = np.arange(len(features))
        if len(features) < 2 * MIN_GROUP:
            return [whole]
        upper = _split(features, expected)
        sizes = int(upper.sum()), int((~upper).sum())
        if min(sizes) < MIN_GROUP:
            return [whole]
        together = _restlessness(features, expected)
        apart = (
            sizes[0] * _restlessness(features[upper], expected) + sizes[1] * _restlessness(features[~upper], expected)
        ) / len(features)
        if together < RESTLESS or together < RESOLVED * apart:
            return [whole]
        self.remarks.append(
            f"commissioning captures fall into two groups of {max(sizes)} and {min(sizes)} that have little in common: "
            "kept as two operating states; if they are two machines, record maintenance to commission again"
        )
        return [whole[upper], whole[~upper]]

    def _meet(self, told: Told) -> State:
        """A speed or load never seen: what the nearest says of it, with the doubt of such a step."""
        source = min(self.states, key=lambda state: state.told.apart(told))
        known, new = source.told.rpm, told.rpm
        shift = POWER_OF_SPEED * math.log10(new / known) if known and new else 0.0
        old = source.baseline
        variance = old.variance
        mean = old.mean + shift
        freedom = min(old.freedom, NEWCOMER_CAPTURES)
        baseline = Baseline(
            mean.copy(), np.full_like(mean, MAX_DRIFT_DECADES + ANCHOR_ERRORS * NEW_STATE_DECADES), mean,
            np.minimum(variance / NEW_STATE_DECADES**2, 1.0), variance * freedom, freedom,
        )  # fmt: skip
        state = State(told, baseline, source.limit, 0, inherited=True)
        if len(self.states) >= MAX_STATES:
            del self.states[min(range(1, len(self.states)), key=lambda i: self.states[i].captures)]
        self.states.append(state)
        return state


def _unlike(one: State, other: State) -> tuple[float, float]:
    """Distance of two states: in speed and load, and where these are the same (two groups of one) in what was heard."""
    heard = float(((one.baseline.anchor - other.baseline.anchor) ** 2 @ WEIGHTS).mean())
    return one.told.apart(other.told), heard


_ARRAYS = ("anchor", "reach", "mean", "weight", "squares")


def conditions(told: Sequence[Told]) -> list[tuple[Told, NDArray[np.intp]]]:
    """Captures by speed and load.

    Sorted values are cut where neighbours are further apart than a state is wide, and where that leaves more than a
    state reaches to both sides (a drive that runs at every speed), into equal parts that are not.

    Args:
        told: Of each capture.

    Returns:
        The middle of each condition, and which captures are of it, in their order.
    """
    kinds: dict[tuple[bool, bool], list[int]] = {}
    for index, each in enumerate(told):
        kinds.setdefault((each.rpm is not None, each.load is not None), []).append(index)
    found = []
    for members in kinds.values():
        speeds = np.array([math.log(told[i].rpm or 1.0) for i in members]) / SAME_SPEED
        loads = np.array([told[i].load or 0.0 for i in members]) / SAME_LOAD
        for group in _cut(np.arange(len(members)), speeds):
            for inner in _cut(group, loads):
                chosen = np.sort(np.asarray(members)[inner])
                found.append((_middle([told[i] for i in chosen]), chosen))
    return found


def _cut(indices: NDArray[np.intp], values: FloatArray) -> list[NDArray[np.intp]]:
    order = indices[np.argsort(values[indices], kind="stable")]
    cut = []
    for part in np.split(order, np.flatnonzero(np.diff(values[order]) > 1.0) + 1):
        low, high = float(values[part[0]]), float(values[part[-1]])
        edges = np.linspace(low, high, math.ceil((high - low) / REACH) + 1)[1:-1]
        cut += [piece for piece in np.split(part, np.searchsorted(values[part], edges)) if piece.size]
    return cut


def _middle(told: Sequence[Told]) -> Told:
    speeds = [each.rpm for each in told if each.rpm is not None]
    loads = [each.load for each in told if each.load is not None]
    return Told(
        math.sqrt(min(speeds) * max(speeds)) if speeds else None, (min(loads) + max(loads)) / 2.0 if loads else None
    )


def _restlessness(features: FloatArray, expected: FloatArray) -> float:
    """Scatter of captures (n, channels, F), in what the fleet expects; about 1 for one healthy state."""
    deviation = (features - features.mean(axis=0)) ** 2 / expected
    return float(np.median(deviation @ WEIGHTS)) * len(features) / max(len(features) - 1, 1)


def _split(features: FloatArray, expected: FloatArray) -> NDArray[np.bool_]:
    """Two groups by the largest gap along the direction in which the captures differ most."""
    flat = ((features - features.mean(axis=0)) / np.sqrt(expected) * np.sqrt(WEIGHTS)).reshape(len(features), -1)
    _, _, directions = np.linalg.svd(flat, full_matrices=False)
    along = flat @ directions[0]
    order = np.sort(along)
    inner = slice(MIN_GROUP - 1, len(order) - MIN_GROUP)
    gaps = np.diff(order)[inner]
    at = MIN_GROUP - 1 + int(np.argmax(gaps))
    split: NDArray[np.bool_] = along > (order[at] + order[at + 1]) / 2.0
    return split
