"""This file knows clients that hold five of nine labels each: bearing faults of three kinds and three sizes (`cwru`).

One load is held out with all its recordings, and judged; the recordings of the other three loads are dealt in blocks,
in uneven shares, to the clients that hold their label. A label is one physical bearing, so the figures say how well
learning apart replaces learning in one place, and nothing about bearings never seen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from aggregator.foundry.artefacts import BuiltSpec
from benchmarks.personalisation.classifier import FeatureClassifier
from benchmarks.personalisation.learning import Course, learn
from benchmarks.verdicts.features import features_of
from benchmarks.verdicts.recordings import Head, Part, cut, read_folder
from gateway_agent.model_slot import TrainStep
from schemas.parameter_levels import ParameterLevels
from schemas.training_graph import read_training_graph
from vibration.features import MODEL_FEATURES

DATASET, RATE_HZ = "cwru", 12_000.0
KINDS, SIZES_MIL, POSITION = (
    ("ball", "inner", "outer"),
    (7.0, 14.0, 21.0),
    "ORat6",
)  # the outer ring's one with all sizes
LOADS = (0, 1, 2, 3)
WINDOW_S = 0.25
CLIENTS, HELD = 6, 5
UNEVENNESS = 1.0  # of the Dirichlet draw of shares: even stakes, so any division is as likely
SKEW_COURSE = Course(rounds=20, steps=40, learning_rate=2e-3)
PROXIMAL = 0.1
RULE = "adam_prox_step"

Rows: TypeAlias = NDArray[np.float32]
Label: TypeAlias = tuple[str, float]
Recordings: TypeAlias = Mapping[tuple[Label, int], Rows]
"""Features of the drive end's windows, shape (windows, 48), oldest first, by label and load."""


@dataclass(frozen=True, slots=True, eq=False)
class Dealt:
    """One draw: rows (n, 48 + labels) of each client and of the load held out, all by one mean and spread."""

    clients: Sequence[Rows]
    tested: Rows


def read_recordings(folder: Path, window_s: float = WINDOW_S) -> dict[tuple[Label, int], Rows]:
    """Nine labels at four loads; empty where the folder has none."""
    return {
        ((head.label, head.severity), int(head.load)): _features(head, window_s)
        for head in read_folder([folder], lambda _text: None)
        if head.dataset == DATASET and head.rate_hz == RATE_HZ and head.label in KINDS and head.severity in SIZES_MIL
        and (head.label != "outer" or POSITION in head.recording)
    }  # fmt: skip


def _features(head: Head, window_s: float) -> Rows:
    return features_of(cut(Part(head), window_s), head.rate_hz)[:, 0, MODEL_FEATURES].astype(np.float32)


def who_holds_what(labels: int, seed: int, held: int = HELD) -> list[frozenset[int]]:
    """Labels of each client, drawn until every label is held by somebody."""
    draw = np.random.default_rng(seed)
    while True:
        holdings = [frozenset(draw.choice(labels, held, replace=False).tolist()) for _ in range(CLIENTS)]
        if len(frozenset().union(*holdings)) == labels:
            return holdings


def deal(recordings: Recordings, load: int, seed: int, held: int = HELD) -> Dealt:
    """Hold one load out, and deal the rest to the clients."""
    labels = sorted({label for label, _ in recordings})
    holdings = who_holds_what(len(labels), seed, held)
    draw = np.random.default_rng([seed, load])
    dealt: list[list[Rows]] = [[] for _ in holdings]
    for (label, at_load), features in sorted(recordings.items(), key=lambda item: item[0]):
        if at_load == load:
            continue
        place = labels.index(label)
        holders = [client for client, mine in enumerate(holdings) if place in mine]
        edges = np.round(np.cumsum(draw.dirichlet([UNEVENNESS] * len(holders)))[:-1] * len(features)).astype(int)
        for client, block in zip(holders, np.split(_labelled(features, place, len(labels)), edges), strict=True):
            dealt[client].append(block)
    tested = [
        _labelled(features, labels.index(label), len(labels))
        for (label, at_load), features in recordings.items()
        if at_load == load
    ]
    # learning holds back what is last, so a client's rows are mixed: every label is learnt
    clients = [draw.permutation(np.concatenate(blocks)) for blocks in dealt]
    return _standardised(clients, np.concatenate(tested))


def told(rows: Rows, labels: int, *, shares: bool) -> Rows:
    """Add to each row the logarithms of the labels' shares among all of them, or zeros; shape (n, 48 + 2 labels).

    Shares are by Laplace's rule of succession: one row more of every label, so that none is impossible.
    """
    added = np.zeros(labels)
    if shares:
        added = np.log((rows[:, -labels:].sum(axis=0) + 1) / (len(rows) + labels))
    return np.concatenate([rows, np.tile(added, (len(rows), 1))], axis=1).astype(np.float32)


def _labelled(features: Rows, place: int, labels: int) -> Rows:
    return np.concatenate([features, np.tile(np.eye(labels, dtype=np.float32)[place], (len(features), 1))], axis=1)


def _standardised(clients: Sequence[Rows], tested: Rows) -> Dealt:
    """By mean and spread of all clients' rows, which sums of each client give."""
    inputs = MODEL_FEATURES.stop - MODEL_FEATURES.start
    every = np.concatenate(clients)[:, :inputs].astype(np.float64)
    middle, spread = every.mean(axis=0), every.std(axis=0)

    def standardised(rows: Rows) -> Rows:
        return np.concatenate([(rows[:, :inputs] - middle) / spread, rows[:, inputs:]], axis=1).astype(np.float32)

    return Dealt([standardised(rows) for rows in clients], standardised(tested))


class Classifying:
    """The classifier as graphs, built once: how it learns, and how many rows it names right.

    Args:
        labels: How many there are.

    Raises:
        ImportError: The extra foundry is not installed.
    """

    def __init__(self, labels: int) -> None:
        from aggregator.foundry.build import build_family
        from aggregator.foundry.rules import RULES

        self.family = FeatureClassifier(MODEL_FEATURES.stop - MODEL_FEATURES.start + 2 * labels, labels)
        with TemporaryDirectory() as made:
            folder = Path(made)
            build_family(self.family, [RULES[RULE]], folder)
            spec = BuiltSpec.load(folder)
            row = spec.graphs[RULE]
            graph = read_training_graph((folder / "spec.json").read_bytes(), row.sha256)
            step, score = ((folder / each.file).read_bytes() for each in (row, spec.graphs["score"]))
        count = self.family.parameters.count
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._score = ort.InferenceSession(score, options, providers=["CPUExecutionProvider"])
        self.step = TrainStep(
            step, graph, ParameterLevels.of([], {}, count), np.zeros(count, np.float32), self._score
        )  # fmt: skip

    def accuracy(self, theta: Rows, rows: Rows) -> float:
        """Share of rows (n, 48 + labels) named right."""
        labels, inputs = self.family.labels, self.family.inputs
        given = told(rows, labels, shares=False)
        completed = self._score.run(["reconstruction"], {"x": given, "theta": theta})[0]
        found = completed[:, inputs : inputs + labels].argmax(axis=1)
        return float(np.mean(found == rows[:, inputs:].argmax(axis=1)))


@dataclass(frozen=True, slots=True)
class Skew:
    """How uneven clients are, and how long a window is."""

    held: int = HELD
    window_s: float = WINDOW_S


def accuracies(folder: Path, skew: Skew, seeds: int, ways: Sequence[str]) -> dict[str, list[float]]:
    """Accuracy by way of learning, mean over the loads held out, one number a seed; none without recordings."""
    recordings = read_recordings(folder, skew.window_s)
    if not recordings:
        return {way: [] for way in ways}
    classifying = Classifying(len({label for label, _ in recordings}))
    found: dict[str, list[float]] = {way: [] for way in ways}
    for seed in range(seeds):
        dealt = [deal(recordings, load, seed, skew.held) for load in LOADS]
        for way, by_seed in found.items():
            by_seed.append(float(np.mean([WAYS[way](classifying, one, seed) for one in dealt])))
    return found


def _central(classifying: Classifying, dealt: Dealt, seed: int) -> float:
    """All rows in one place, with as many steps as all clients together."""
    mixed = np.random.default_rng(seed).permutation(np.concatenate(dealt.clients))
    longer = replace(SKEW_COURSE, steps=SKEW_COURSE.steps * len(dealt.clients))
    return _learnt(classifying, dealt, [mixed], longer, seed)


def _alone(classifying: Classifying, dealt: Dealt, seed: int) -> float:
    return float(np.mean([_learnt(classifying, dealt, [rows], SKEW_COURSE, seed) for rows in dealt.clients]))


def _together(course: Course, *, shares: bool = False) -> Callable[[Classifying, Dealt, int], float]:
    return lambda classifying, dealt, seed: _learnt(classifying, dealt, dealt.clients, course, seed, shares=shares)


def _learnt(
    classifying: Classifying, dealt: Dealt, clients: Sequence[Rows], course: Course, seed: int, *, shares: bool = False
) -> float:
    labels, start = classifying.family.labels, classifying.family.initial_theta(seed)
    rows = [told(mine, labels, shares=shares) for mine in clients]
    return classifying.accuracy(learn(rows, classifying.step, start, course, seed).theta, dealt.tested)


CENTRAL, PLAIN, PROX = "central", "FedAvg", "FedProx"
WAYS: Mapping[str, Callable[[Classifying, Dealt, int], float]] = {
    CENTRAL: _central,
    "alone, mean of clients": _alone,
    PLAIN: _together(SKEW_COURSE),
    PROX: _together(replace(SKEW_COURSE, proximal=PROXIMAL)),
    "FedAvg, loss knows the client's shares": _together(SKEW_COURSE, shares=True),
    "FedProx, loss knows the client's shares": _together(replace(SKEW_COURSE, proximal=PROXIMAL), shares=True),
    "FedAvg, the product's merge": _together(replace(SKEW_COURSE, merging="auto")),
    "the product's merge, loss knows the shares": _together(replace(SKEW_COURSE, merging="auto"), shares=True),
}
