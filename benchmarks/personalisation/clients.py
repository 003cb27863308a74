"""This file knows the clients of the table: recorded machines in one condition each, and what each may learn from.

Faults are whole recordings that nobody learns from. Of the healthy there is one recording a condition, so it is split
once, in time: the first half is learnt from, the second tested; no window of one half touches the other. Of a life the
first seventh counts as healthy, split likewise, and its last twentieth as faulty.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.verdicts.features import features_of
from benchmarks.verdicts.recordings import (
    HEALTHY,
    LIFE,
    MIN_SAMPLES,
    NO_FAULTS,
    Head,
    Part,
    by_condition,
    cut,
    read_folder,
)
from gateway_agent.baseline import Baseline, expected_variance, model_rows, score_of
from schemas.variation import Variation
from vibration.detection_features import detection_features
from vibration.features import MODEL_FEATURES

WINDOW_S = 0.05  # of one long record: short, half a turn at 600 rpm, so that there is something to lose
HEALTHY_OF_LIFE = 1 / 7
FAULTY_OF_LIFE = 1 / 20

Rows = NDArray[np.float32]
Features = NDArray[np.float64]
Inputs = Literal["common", "own"]
"""Rows less mean and spread of all clients together, or of the client's own baseline, as the product does."""


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """What was measured of one machine in one condition: detection features (captures, channels, F) of one layout.

    Attributes:
        name: Data set and condition.
        learnt: Healthy, the first half.
        tested: Healthy, the second half.
        faulty: Of each fault.
        layout: Samples a second and samples of a window.
    """

    name: str
    learnt: Features
    tested: Features
    faulty: Mapping[str, Features]
    layout: tuple[float, int]


@dataclass(frozen=True, slots=True, eq=False)
class Client:
    """The same as rows that a model sees, shape (captures, channels, 48)."""

    name: str
    learnt: Rows
    tested: Rows
    faulty: Mapping[str, Rows]

    @property
    def training(self) -> Rows:
        """Rows to learn from, shape (n, 48), oldest first."""
        return flat(self.learnt)


def read_machines(folder: Path, datasets: Sequence[str] = (), *, window_s: float = WINDOW_S) -> list[Machine]:
    """All conditions that have a healthy recording and a faulty one, then all lives, in the order of their names.

    Args:
        folder: Of recordings; those with snapshots too short for a spectrum are left out.
        datasets: Only these; all if empty.
        window_s: Length of a window of one long record; of many snapshots each is a window.
    """
    heads = [
        head
        for head in read_folder([folder], lambda _text: None)
        if (not datasets or head.dataset in datasets) and head.window_samples(_window_s(head, window_s)) >= MIN_SAMPLES
    ]
    lives = [_life(head) for head in heads if head.label == LIFE]
    machines = []
    for _, group in sorted(by_condition(heads).items()):
        healthy = [head for head in group if head.label == HEALTHY]
        faults = [head for head in group if head.label not in NO_FAULTS]
        if healthy and faults:
            machines.append(_condition(healthy[0], faults, window_s))
    return machines + lives


def clients_of(machines: Sequence[Machine], inputs: Inputs) -> list[Client]:
    """What a model sees of them."""
    if inputs == "own":
        return [_client(machine, _own_rows(machine.learnt, machine.layout)) for machine in machines]
    common = _common_rows(machines)
    return [_client(machine, common) for machine in machines]


def flat(rows: Rows) -> Rows:
    """Captures and channels as one, shape (n, 48)."""
    return rows.reshape(-1, rows.shape[-1])


def distance_scores(machine: Machine) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """What the product's detector without a network says: of the healthy captures tested, and of each fault's."""
    baseline = _baseline(machine.learnt, machine.layout)

    def scores(features: Features) -> NDArray[np.float64]:
        return np.array([score_of(z) for z in baseline.standardise(features)])

    return scores(machine.tested), {label: scores(features) for label, features in machine.faulty.items()}


def _own_rows(learnt: Features, layout: tuple[float, int]) -> Callable[[Features], Rows]:
    baseline = _baseline(learnt, layout)
    return lambda features: model_rows(baseline.standardise(features))


def _baseline(learnt: Features, layout: tuple[float, int]) -> Baseline:
    return Baseline.learn(learnt, expected_variance(Variation().prior(*layout), *layout))


def _common_rows(machines: Sequence[Machine]) -> Callable[[Features], Rows]:
    """Every machine counts alike, however long its recording."""
    rows = [flat(model_rows(machine.learnt)).astype(np.float64) for machine in machines]
    middle = np.mean([each.mean(axis=0) for each in rows], axis=0)
    spread = np.sqrt(np.mean([((each - middle) ** 2).mean(axis=0) for each in rows], axis=0))
    return lambda features: ((model_rows(features) - middle) / spread).astype(np.float32)


def _client(machine: Machine, rows: Callable[[Features], Rows]) -> Client:
    faulty = {label: rows(features) for label, features in machine.faulty.items()}
    return Client(machine.name, rows(machine.learnt), rows(machine.tested), faulty)


def _condition(healthy: Head, faults: Sequence[Head], window_s: float) -> Machine:
    sound, layout = _measured(healthy, window_s)
    damaged: dict[str, list[Features]] = {}
    for head in faults:
        damaged.setdefault(head.label, []).append(_measured(head, window_s)[0])
    half = len(sound) // 2
    faulty = {label: np.concatenate(parts) for label, parts in damaged.items()}
    return Machine(healthy.short_condition, sound[:half], sound[half:], faulty, layout)


def _life(head: Head) -> Machine:
    snapshots, layout = _measured(head, head.natural_window_s)
    healthy, end = math.floor(HEALTHY_OF_LIFE * len(snapshots)), math.ceil(FAULTY_OF_LIFE * len(snapshots))
    sound = snapshots[:healthy]
    name = f"{head.dataset} {head.recording}"
    return Machine(name, sound[: healthy // 2], sound[healthy // 2 :], {"end of life": snapshots[-end:]}, layout)


def _measured(head: Head, window_s: float) -> tuple[Features, tuple[float, int]]:
    windows = cut(Part(head), _window_s(head, window_s))
    features = features_of(windows, head.rate_hz)[:, :, MODEL_FEATURES]
    return detection_features(features), (head.rate_hz, windows[0].shape[1])


def _window_s(head: Head, asked_s: float) -> float:
    return asked_s if head.snapshots == 1 else head.natural_window_s
