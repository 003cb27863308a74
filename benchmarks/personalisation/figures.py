"""This file knows the promised figures of learning together on uneven recordings; `make bench` measures them."""

import functools
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Literal

from benchmarks.figures import Figure
from benchmarks.personalisation.clients import read_machines
from benchmarks.personalisation.comparison import ALONE, COURSE, DEFAULT, MERGED, compare
from benchmarks.personalisation.conditions import DATASET, WINDOW_S, Conditions, learn_conditions
from benchmarks.personalisation.methods import METHODS
from benchmarks.personalisation.skew import CENTRAL, PLAIN, PROX, SKEW_COURSE, Skew, accuracies

SEEDS = 3
FOLDER = "UNDERTONE_RECORDINGS"


@dataclass(frozen=True, slots=True)
class Promise:
    """A figure before it is measured."""

    name: str
    target: float
    better: Literal["below", "above"]

    def kept(self, repeats: Sequence[float], ours: float, other: float, note: str) -> Figure:
        """The figure, one repeat a seed."""
        return Figure(self.name, median(repeats), "", self.target, self.better, ours, other, tuple(repeats), note)

    def not_measured(self, why: str) -> Figure:
        """Say why not."""
        return Figure(self.name, None, "", self.target, self.better, None, None, (), f"NOT MEASURED: {why}")


NO_FOLDER = f"no recordings; name their folder in {FOLDER}"

OTHER_FOLDER = f"the folder in {FOLDER} holds none of the recordings this figure is about"
NO_FOUNDRY = "the extra foundry (jax, onnx) is not installed: pip install -e '.[foundry]'"


def folder_of_recordings() -> Path | None:
    """Where the recordings are, if anybody said so."""
    named = os.environ.get(FOLDER)
    return Path(named) if named else None


def conditions_auroc_lost() -> Figure:
    """AUROC that learning apart costs six conditions of one rig, against all rows in one place."""
    promise, folder = Promise("conditions_auroc_lost", 0.005, "below"), folder_of_recordings()
    if folder is None:
        return promise.not_measured(NO_FOLDER)
    found = _conditions(folder)
    if not found:
        return promise.not_measured(OTHER_FOLDER)
    ours, other = mean(one.federated for one in found), mean(one.central for one in found)
    note = (
        f"6 conditions, {COURSE.rounds} rounds of {COURSE.steps} steps, windows of {WINDOW_S} s, one repeat a seed; "
        f"AUROC federated {ours:.4f}, central {other:.4f}, untrained {mean(one.untrained for one in found):.4f}"
    )
    return promise.kept([one.lost for one in found], ours, other, note)


def unseen_condition_auroc() -> Figure:
    """AUROC of the worst condition that the other five learnt without."""
    promise, folder = Promise("unseen_condition_auroc", 0.98, "above"), folder_of_recordings()
    if folder is None:
        return promise.not_measured(NO_FOLDER)
    found = _conditions(folder)
    if not found:
        return promise.not_measured(OTHER_FOLDER)
    worst, central = [min(one.unseen) for one in found], mean(min(one.unseen_central) for one in found)
    every = mean(each for one in found for each in one.unseen)
    note = f"each of 6 conditions left out in turn, the worst of six, one repeat a seed; mean of all {every:.4f}"
    return promise.kept(worst, median(worst), central, note)


def label_skew_accuracy_lost() -> Figure:
    """Accuracy that learning apart costs where each of six clients holds five of nine labels."""
    promise, folder = Promise("label_skew_accuracy_lost", 0.02, "below"), folder_of_recordings()
    if folder is None:
        return promise.not_measured(NO_FOLDER)
    if importlib.util.find_spec("jax") is None:
        return promise.not_measured(NO_FOUNDRY)
    found = accuracies(folder, Skew(), SEEDS, [CENTRAL, PLAIN, PROX])
    if not found[CENTRAL]:
        return promise.not_measured(OTHER_FOLDER)
    lost = [together - apart for together, apart in zip(found[CENTRAL], found[PROX], strict=True)]
    note = (
        f"FedProx, each of 4 loads held out in turn, {SKEW_COURSE.rounds} rounds, one repeat a draw of clients; "
        f"accuracy {mean(found[PROX]):.4f}, central {mean(found[CENTRAL]):.4f}, FedAvg {mean(found[PLAIN]):.4f}"
    )
    return promise.kept(lost, mean(found[PROX]), mean(found[CENTRAL]), note)


def auroc_below_local_only() -> Figure:
    """How far the worst-off of all recorded machines falls below what it learns alone, with the product's default."""
    promise, folder = Promise("auroc_below_local_only", 0.01, "below"), folder_of_recordings()
    if folder is None:
        return promise.not_measured(NO_FOLDER)
    methods = {name: METHODS[name] for name in (ALONE, DEFAULT, MERGED)}
    machines = read_machines(folder)
    if not machines:
        return promise.not_measured(OTHER_FOLDER)
    results = compare(machines, "own", SEEDS, methods)
    alone, default, merged = (results[name] for name in (ALONE, DEFAULT, MERGED))
    note = (
        f"the network's AUROC on {default.auroc.shape[1]} clients, one repeat a seed; mean {default.auroc.mean():.4f}, "
        f"alone {alone.auroc.mean():.4f}; one model for all {merged.auroc.mean():.4f}, and its worst-off falls by "
        f"{merged.worst_below(alone):.4f} at most"
    )
    falls = [float(fall) for fall in (alone.auroc - default.auroc).max(axis=1)]
    return promise.kept(falls, float(default.auroc.mean()), float(alone.auroc.mean()), note)


FIGURES = (conditions_auroc_lost, unseen_condition_auroc, label_skew_accuracy_lost, auroc_below_local_only)


@functools.cache
def _conditions(folder: Path) -> list[Conditions]:
    machines = read_machines(folder, [DATASET], window_s=WINDOW_S)
    return [learn_conditions(machines, seed) for seed in range(SEEDS)] if machines else []
