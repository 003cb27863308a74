"""This file knows what healthy means for one measurement point, and from which score on it is called otherwise.

The baseline never leaves the gateway. Features are standardised by the point's own healthy mean and spread; a
scorer (the ONNX model, or the statistical fallback) turns a standardised row into a score; the limit is the
prediction bound of the score of one more healthy capture, from scores of captures the baseline had not seen.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Rows = NDArray[np.float32]
Scorer = Callable[[Rows], tuple[Rows, Rows]]
"""Standardised rows (n, F) -> scores (n,) and reconstructions (n, F)."""

MIN_CAPTURES = 2  # below that there is no scatter to speak of; with a handful the limit is wide, honestly
# Healthy band powers of one machine scatter by about a tenth of a decade between captures (estimation noise of a
# band of ten lines and small changes of speed and load); a spread seen in five captures is pulled towards it.
PRIOR_SPREAD_DECADES = 0.10
PRIOR_CAPTURES = 4.0
CLIP_SPREADS = 12.0  # beyond that "how far" says no more than "far"; keeps one dead band from drowning the others
# Scores of healthy captures scatter by at least this (natural logarithm), however alike the few seen were.
MIN_LOG_SCATTER = 0.20
MAX_FOLDS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """Healthy mean and spread of each model feature of each axis, in decades; shapes (channels, F)."""

    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    captures: int

    def standardise(self, features: Rows) -> Rows:
        """Express features (n, channels, F) in healthy spreads, clipped."""
        z = (features - self.mean) / self.spread
        return np.clip(z, -CLIP_SPREADS, CLIP_SPREADS, out=z)


@dataclass(frozen=True, slots=True)
class Limit:
    """From which score on a capture exceeds, and how well that is known.

    Attributes:
        score: The limit.
        false_alarm_rate: Share of single healthy captures stated to exceed it.
        captures: Healthy captures it was calibrated on.
    """

    score: float
    false_alarm_rate: float
    captures: int


def _independent(logs: NDArray[np.float64]) -> float:
    """How many independent captures these are worth: n (1 - r) / (1 + r) with r the lag-one autocorrelation.

    Load and speed wander, so neighbours in time are alike, and a short commissioning has seen less than it counts
    (Bayley & Hammersley 1946). An r that chance explains (below 2 / sqrt(n)) is taken as none.
    """
    count = logs.size
    centred = logs - logs.mean()
    power = float(centred @ centred)
    r = float(centred[1:] @ centred[:-1]) / power if power > 0 else 0.0
    if r < 2.0 / math.sqrt(count):
        return float(count)
    return max(float(MIN_CAPTURES), count * (1.0 - r) / (1.0 + r))


def statistical_scorer(rows: Rows) -> tuple[Rows, Rows]:
    """Score without a model: the mean squared distance in healthy spreads (nothing is reconstructed)."""
    return np.mean(rows * rows, axis=1), np.zeros_like(rows)


def fit_baseline(features: Rows) -> Baseline:
    """Learn mean and spread from healthy captures.

    The spread is shrunk towards `PRIOR_SPREAD_DECADES` as if `PRIOR_CAPTURES` captures had shown it (the posterior
    mean of a variance under a scaled inverse chi-squared prior).

    Args:
        features: Model features, shape (captures, channels, F), at least one capture.
    """
    count = features.shape[0]
    mean = features.mean(axis=0, dtype=np.float64)
    squares = ((features - mean) ** 2).sum(axis=0)
    variance = (PRIOR_CAPTURES * PRIOR_SPREAD_DECADES**2 + squares) / (PRIOR_CAPTURES + count - 1)
    return Baseline(mean.astype(np.float32), np.sqrt(variance).astype(np.float32), count)


def point_scores(rows: Rows, scorer: Scorer) -> tuple[Rows, Rows]:
    """Score standardised captures (n, channels, F): mean over the axes, with the reconstructions."""
    count, channels, features = rows.shape
    scores, reconstructed = scorer(np.ascontiguousarray(rows.reshape(count * channels, features)))
    return scores.reshape(count, channels).mean(axis=1), reconstructed.reshape(rows.shape)


def calibrate(features: Rows, scorer: Scorer, *, false_alarm_rate: float) -> Limit:
    """Set the limit from healthy captures that the baseline they are held against has not seen.

    Captures are held back in blocks in time; the logarithm of their scores is taken as normal, and the limit is the
    one-sided prediction bound for one further capture: mean + t(1 - rate, n - 1) s sqrt(1 + 1/n) (Hahn & Meeker,
    Statistical Intervals, 1991, section 4.7). With few captures the t quantile makes it wide, honestly.

    Args:
        features: Model features of healthy captures, shape (n >= MIN_CAPTURES, channels, F).
        scorer: What will score live captures.
        false_alarm_rate: Stated share of healthy captures above the limit.

    Raises:
        ValueError: Fewer than MIN_CAPTURES captures.
    """
    count = features.shape[0]
    if count < MIN_CAPTURES:
        raise ValueError(f"{count} healthy captures found, at least {MIN_CAPTURES} needed to calibrate")
    held_back = np.concatenate(
        [
            fit_baseline(np.delete(features, fold, axis=0)).standardise(features[fold])
            for fold in np.array_split(np.arange(count), min(count, MAX_FOLDS))
        ]
    )
    scores, _ = point_scores(held_back, scorer)
    logs = np.log(np.maximum(scores.astype(np.float64), 1e-9))
    scatter = max(float(logs.std(ddof=1)), MIN_LOG_SCATTER)
    independent = _independent(logs)
    quantile = float(stdtrit(independent - 1.0, 1.0 - false_alarm_rate))
    bound = float(logs.mean()) + quantile * scatter * math.sqrt(1.0 + 1.0 / independent)
    return Limit(math.exp(bound), false_alarm_rate, count)
