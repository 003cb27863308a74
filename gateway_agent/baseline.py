"""This file knows what healthy means for a measurement point in one operating state, and how far a capture is off.

The baseline never leaves the gateway. It joins what the fleet has seen of healthy machines (how much a band of this
width scatters, `schemas.variation`) with the few captures of this point: variances are pooled as a scaled inverse
chi-squared prior says, and the mean follows slow drift, but never far from what was commissioned.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.variation import HealthyPrior
from vibration.detection_features import DETECTION_COUNT, ENVELOPE, MODEL_COLUMNS, WIDEST, estimation_scatter_decades

Rows = NDArray[np.float32]
FloatArray = NDArray[np.float64]

CLIP_SPREADS = 12.0  # beyond that "how far" says no more than "far"; keeps one dead band from drowning the others
PRIOR_CAPTURES = 1.0  # what the fleet knows of a band's scatter weighs as much as one capture of the point's own
# Powers of few lines follow chi-squared: their logarithm has a long lower tail, their cube root (Wilson & Hilferty
# 1931) hardly any, and amplitudes of steady tones scatter evenly in the logarithm. Between the two:
POWER = 0.2
RESOLUTION_DECADES = 0.01  # amplitude to 1 %: what a sensor's temperature and quantisation leave of "the same"
# The envelope's bands show early what the spectrum shows later, but scatter most: three of them weigh as one.
ENVELOPE_WEIGHT = 0.3
FASTEST_SHARE = 0.02  # of a capture taken into a settled mean: it follows what takes fifty captures or longer
MAX_FREEDOM = 60.0  # captures the variance remembers
# 3 dB, half of the doubled amplitude at which the trade raises an alert: slow wear ends outside, warming up inside.
MAX_DRIFT_DECADES = 0.3
ANCHOR_ERRORS = 3.0  # standard errors of the anchor that the mean may move on top of it: five captures know it badly
STEP_SPREADS = 3.0  # most that one capture is believed to have moved

# The widest sums are few but know the level best.
WIDEST_WEIGHT = 2.0

WEIGHTS = np.ones(DETECTION_COUNT)
WEIGHTS[WIDEST] = WIDEST_WEIGHT
WEIGHTS[ENVELOPE] = ENVELOPE_WEIGHT
WEIGHTS /= WEIGHTS.sum()


def growth_decades(difference_decades: FloatArray) -> FloatArray:
    """Box-Cox difference of powers: the logarithm for small ones, bounded below, steeper above (POWER)."""
    scaled = POWER * math.log(10.0)
    grown: FloatArray = np.expm1(scaled * np.minimum(difference_decades, 20.0)) / scaled
    return grown


def _bounded(values: FloatArray, low: FloatArray | float, high: FloatArray | float) -> FloatArray:
    """`np.clip` in place, without its detour through Python: it is called several times a capture."""
    np.minimum(values, high, out=values)
    return np.maximum(values, low, out=values)


def expected_variance(prior: HealthyPrior, sample_rate_hz: float, samples: int) -> FloatArray:
    """Variance of each detection feature between healthy captures, decades², shape (DETECTION_COUNT,)."""
    variance: FloatArray = prior.variance_ratio * estimation_scatter_decades(sample_rate_hz, samples) ** 2
    return variance


Detector = Callable[[FloatArray], float]
"""Standardised features of one capture, shape (channels, F) -> its score, about 1 when healthy."""


def score_of(z: FloatArray) -> float:
    """Weighted mean square of standardised features (channels, F), mean over the axes; about 1 when healthy."""
    return float(((z * z) @ WEIGHTS).sum() / len(z))


@dataclass(slots=True, eq=False)
class Baseline:
    """Healthy mean and scatter of one point in one operating state; arrays of shape (channels, DETECTION_COUNT).

    Attributes:
        anchor: Mean at commissioning, log10 g².
        mean: Mean now.
        weight: How many captures the mean is worth, per feature.
        squares: Pooled squared deviations, decades².
        freedom: How many captures they are worth.
        reach: How far the mean may go from the anchor, decades.
    """

    anchor: FloatArray
    reach: FloatArray
    mean: FloatArray
    weight: FloatArray
    squares: FloatArray
    freedom: float

    @classmethod
    def learn(cls, features: FloatArray, expected: FloatArray) -> "Baseline":
        """Learn from healthy captures.

        Args:
            features: Detection features, shape (n >= 1, channels, F).
            expected: Variance the fleet expects, shape (F,), decades².
        """
        count = len(features)
        middle = features.mean(axis=0)
        grown = growth_decades(features - middle)
        scaled = POWER * math.log(10.0)
        mean = middle + np.log1p(np.maximum(scaled * grown.mean(axis=0), -0.9)) / scaled  # generalised mean
        squares = PRIOR_CAPTURES * expected + (growth_decades(features - mean) ** 2).sum(axis=0)
        freedom = PRIOR_CAPTURES + count - 1.0
        reach = MAX_DRIFT_DECADES + ANCHOR_ERRORS * np.sqrt(squares / freedom / count)
        return cls(mean.copy(), reach, mean, np.full_like(mean, float(count)), squares, freedom)

    @property
    def variance(self) -> FloatArray:
        """Variance between captures, decades²."""
        return self.squares / self.freedom

    def standardise(self, features: FloatArray) -> FloatArray:
        """Distance of captures (..., channels, F) in spreads, clipped; the mean's own uncertainty counts as spread."""
        spread = np.sqrt(self.variance * (1.0 + 1.0 / self.weight) + RESOLUTION_DECADES**2)
        z = growth_decades(features - self.mean) / spread
        return _bounded(z, -CLIP_SPREADS, CLIP_SPREADS)

    def follow(self, features: FloatArray) -> None:
        """Take in one capture (channels, F) that was judged healthy beyond doubt."""
        believed = STEP_SPREADS * np.sqrt(self.variance * (1.0 + 1.0 / self.weight))
        step = _bounded(growth_decades(features - self.mean), -believed, believed)
        share = np.maximum(1.0 / (self.weight + 1.0), FASTEST_SHARE)
        self.mean = _bounded(self.mean + share * step, self.anchor - self.reach, self.anchor + self.reach)
        self.weight = np.minimum(self.weight + 1.0, 1.0 / FASTEST_SHARE)
        self.squares = self.squares + step * step * (1.0 - share)
        self.freedom += 1.0
        if self.freedom > MAX_FREEDOM:
            self.squares = self.squares * (MAX_FREEDOM / self.freedom)
            self.freedom = MAX_FREEDOM

    def drift_decades(self) -> float:
        """How far the mean has been followed since commissioning: the largest of all features, decades of power."""
        return float(np.abs(self.mean - self.anchor).max())


def model_rows(z: FloatArray) -> Rows:
    """The rows (channels, F') a model is trained on and scores: narrow bands and envelope of standardised features."""
    return np.ascontiguousarray(z[..., MODEL_COLUMNS], np.float32)
