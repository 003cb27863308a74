"""This file knows the detectors the product is compared with: trade indicators and scikit-learn's standard ones.

Each gets what the product gets: the same windows, the same few commissioning windows, the same healthy recordings of
other conditions. Three ways to a threshold, all fixed before a test window is seen:

* own: learnt on the commissioning windows alone; limit by the prediction bound of their held-back log scores.
* fleet: learnt on all source conditions, each around its own mean. Every source condition plays the target with the
  same number of commissioning windows; the limit is the 99 % quantile of the log scores of its other windows, each
  condition with equal weight.
* fleet ratio: as fleet, with log scores taken relative to the held-back ones of the commissioning windows.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from sklearn.svm import OneClassSVM

from benchmarks.verdicts.features import BANDS, ENVELOPE, KURTOSIS, RMS, Rows

Plane = NDArray[np.float64]
"""Standardised rows of single channels, shape (rows, features)."""
Scores = NDArray[np.float64]
ScorePlane = Callable[[Plane], Scores]
Calibration = Literal["own", "fleet", "fleet ratio"]

CALIBRATIONS: tuple[Calibration, ...] = ("own", "fleet", "fleet ratio")
FALSE_ALARM_RATE = 0.01
SEED = 0
WINDOWS_A_SOURCE = 64  # of each condition, evenly spread: no long recording outvotes the others
STARTS = 8  # so often a source condition plays the target, from places evenly spread over it
FOLDS = 8  # of an own calibration, blocked in time
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Baseline:
    """A detector: which features it sees, and how it learns from standardised healthy rows."""

    name: str
    columns: tuple[int, ...]
    fit: Callable[[Plane], ScorePlane]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Healthy windows of one condition; `layout` says which conditions are of the same kind of sensor."""

    name: str
    layout: str
    rows: Rows


def mahalanobis(plane: Plane) -> ScorePlane:
    """Squared distance by a covariance shrunk as Ledoit & Wolf (2004) say; rows are centred already."""
    precision = LedoitWolf(assume_centered=True).fit(plane).precision_
    return lambda rows: np.einsum("nf,fg,ng->n", rows, precision, rows) / rows.shape[1]


def isolation_forest(plane: Plane) -> ScorePlane:
    """How few random cuts set a row apart."""
    model = IsolationForest(random_state=SEED).fit(plane)
    return lambda rows: -model.score_samples(rows)


def one_class_svm(plane: Plane) -> ScorePlane:
    """How far below the densest healthy row the kernel's sum lies, in natural logarithms."""
    model = OneClassSVM(nu=0.1).fit(plane)
    highest = float(model.score_samples(plane).max())
    return lambda rows: 1.0 + np.maximum(0.0, np.log(highest / np.maximum(model.score_samples(rows), 1e-300)))


def pca_reconstruction(plane: Plane) -> ScorePlane:
    """Mean squared rest outside the directions that hold 90 % of the healthy scatter."""
    model = PCA(n_components=0.9, svd_solver="full").fit(plane)
    return lambda rows: np.mean((rows - model.inverse_transform(model.transform(rows))) ** 2, axis=1)


def autoencoder(plane: Plane) -> ScorePlane:
    """Mean squared reconstruction error of a small dense autoencoder."""
    model = MLPRegressor(hidden_layer_sizes=(24, 8, 24), alpha=1e-3, max_iter=200, random_state=SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it stops after 200 rounds, converged or not
        model.fit(plane, plane)
    return lambda rows: np.mean((rows - model.predict(rows).reshape(rows.shape)) ** 2, axis=1)


BASELINES: tuple[Baseline, ...] = (
    Baseline("Mahalanobis, 32 log bands", BANDS, mahalanobis),
    Baseline("Mahalanobis, envelope", ENVELOPE, mahalanobis),
    Baseline("RMS", RMS, mahalanobis),
    Baseline("kurtosis", KURTOSIS, mahalanobis),
    Baseline("isolation forest", BANDS + ENVELOPE, isolation_forest),
    Baseline("one-class SVM", BANDS + ENVELOPE, one_class_svm),
    Baseline("PCA", BANDS + ENVELOPE, pca_reconstruction),
    Baseline("MLP autoencoder", BANDS + ENVELOPE, autoencoder),
)
QUICK_BASELINES = BASELINES[:1]


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """A fitted scorer with the scale its rows are standardised by; a window's score is the mean over its channels."""

    score_plane: ScorePlane
    scale: Plane

    def log_scores(self, rows: Rows, mean: Plane) -> Scores:
        """Natural logarithms of the scores of windows, around a mean of shape (channels, features)."""
        if not len(rows):
            return np.zeros(0)
        plane = ((rows - mean) / self.scale).reshape(-1, rows.shape[2])
        scores: Scores = np.log(np.maximum(self.score_plane(plane).reshape(rows.shape[:2]).mean(axis=1), _TINY))
        return scores


@dataclass(frozen=True, slots=True, eq=False)
class Detector:
    """A commissioned detector; `excess` above 0 is an alarm of a single window."""

    baseline: Baseline
    learnt: Learnt
    mean: Plane
    log_limit: float

    def excess(self, rows: Rows) -> Scores:
        """Log score over the limit of each window; not finite features (a dead channel) are no alarm."""
        seen = rows[:, :, list(self.baseline.columns)]
        good = np.isfinite(seen).all(axis=(1, 2))
        excess = np.full(len(rows), -np.inf)
        excess[good] = self.learnt.log_scores(seen[good], self.mean) - self.log_limit
        return excess


class Fleet:
    """Commissions baselines, with what the source conditions teach; every fit is done once a run."""

    def __init__(self) -> None:
        self._fits: dict[tuple[str, tuple[str, ...]], Learnt] = {}

    def commission(
        self, baseline: Baseline, calibration: Calibration, first: Rows, sources: Sequence[Source], layout: str
    ) -> Detector | None:
        """Commission on a target's healthy windows; None where nothing can be learnt from the sources.

        Args:
            baseline: Which.
            calibration: How the limit is set.
            first: The target's commissioning windows, all features, shape (windows, channels, features).
            sources: Healthy windows of other conditions.
            layout: The target's.
        """
        own = first[:, :, list(baseline.columns)]
        if calibration == "own":
            return _own(baseline, own)
        if len(sources) < 3:
            return None
        ratio = calibration == "fleet ratio"
        ratios = [
            self._play(baseline, source, [s for s in sources if s is not source], len(first), ratio=ratio)
            for source in sources
        ]
        learnt = self._learn(baseline, sources, layout)
        level = _held_back(learnt, own) if ratio else 0.0
        limit = level + equal_weight_quantile([r for r in ratios if r.size], 1.0 - FALSE_ALARM_RATE)
        return Detector(baseline, learnt, own.mean(axis=0), limit)

    def _play(self, baseline: Baseline, target: Source, others: list[Source], first: int, *, ratio: bool) -> Scores:
        learnt = self._learn(baseline, others, target.layout)
        rows = target.rows[:, :, list(baseline.columns)]
        found = []
        for start in np.unique(np.linspace(0, max(0, len(rows) - first), STARTS).astype(int)):
            commissioned = rows[start : start + first]
            rest = spread(np.delete(rows, slice(start, start + first), axis=0), WINDOWS_A_SOURCE)
            level = _held_back(learnt, commissioned) if ratio else 0.0
            found.append(learnt.log_scores(rest, commissioned.mean(axis=0)) - level)
        return np.concatenate(found)

    def _learn(self, baseline: Baseline, sources: Sequence[Source], layout: str) -> Learnt:
        """Learn on the sources of the same layout, or on all where there is none."""
        chosen = [s for s in sources if s.layout == layout] or list(sources)
        key = (baseline.name, tuple(sorted(s.name for s in chosen)))
        if key not in self._fits:
            columns = list(baseline.columns)
            self._fits[key] = _fit(
                baseline, [spread(_around_own_mean(s.rows[:, :, columns]), WINDOWS_A_SOURCE) for s in chosen]
            )
        return self._fits[key]


def equal_weight_quantile(groups: Sequence[Scores], probability: float) -> float:
    """Quantile over groups of unlike size, each with equal weight."""
    values = np.concatenate(groups)
    weights = np.concatenate([np.full(g.size, 1.0 / (g.size * len(groups))) for g in groups])
    order = np.argsort(values)
    place = int(np.searchsorted(np.cumsum(weights[order]), probability))
    return float(values[order][min(place, values.size - 1)])


def prediction_bound(logs: Scores, false_alarm_rate: float) -> float:
    """One-sided bound for one further value of a normal law (Hahn & Meeker, Statistical Intervals, section 4.7)."""
    spread_of_logs = float(logs.std(ddof=1)) * math.sqrt(1.0 + 1.0 / logs.size)
    return float(logs.mean()) + float(stdtrit(logs.size - 1.0, 1.0 - false_alarm_rate)) * spread_of_logs


def spread(rows: Rows, count: int) -> Rows:
    """At most so many windows, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(int)] if len(rows) else rows


def _own(baseline: Baseline, rows: Rows) -> Detector:
    held_back = []
    for fold in np.array_split(np.arange(len(rows)), min(len(rows), FOLDS)):
        kept = np.delete(rows, fold, axis=0)
        held_back.append(_fit(baseline, [_around_own_mean(kept)]).log_scores(rows[fold], kept.mean(axis=0)))
    learnt = _fit(baseline, [_around_own_mean(rows)])
    return Detector(baseline, learnt, rows.mean(axis=0), prediction_bound(np.concatenate(held_back), FALSE_ALARM_RATE))


def _held_back(learnt: Learnt, rows: Rows) -> float:
    """Mean log score of each commissioning window around the mean of the others."""
    logs = [learnt.log_scores(rows[i : i + 1], np.delete(rows, i, axis=0).mean(axis=0)) for i in range(len(rows))]
    return float(np.concatenate(logs).mean())


def _around_own_mean(rows: Rows) -> Rows:
    """Windows around their mean, widened for the mean having been estimated from them."""
    return np.asarray((rows - rows.mean(axis=0)) * math.sqrt(len(rows) / max(1, len(rows) - 1)))


def _fit(baseline: Baseline, centred: Sequence[Rows]) -> Learnt:
    plane = np.concatenate([rows.reshape(-1, rows.shape[2]) for rows in centred])
    scale = np.maximum(np.sqrt(np.mean(plane**2, axis=0)), 1e-6)
    return Learnt(baseline.fit(plane / scale), scale)
