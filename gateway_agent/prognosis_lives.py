"""This file knows what to expect of a life before its trend speaks: from standards, and from whole lives learnt.

Every expectation is a prior that the lives learnt move as far as their number warrants, so that one life does little
and many outweigh what the standards say.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from schemas.lives import BASES, SHAPE_POWERS, TRUTH_LEVELS, LifeSums

FloatArray = NDArray[np.float64]

END_LEVEL_DB = 20.0
END_LEVEL_SPREAD_DB = 8.0
END_LEVEL_LIVES = 2.0
"""Growth of the index at which a machine is stopped: not before danger, which is 4 times the healthy level (12 dB:
zone D of ISO 20816-3 against the middle of zone A, and the trade's rule for the envelope), and seldom beyond 25 times
(28 dB), where shock-pulse scales end. Worth two lives."""

LOG_LIFE_SPREAD = 1.5
LOG_LIFE_LIVES = 2.0
"""Scatter of the natural logarithm of lives. Alike rolling bearings follow Weibull's law with slope 10/9 to 1.5 (ISO
281), whose logarithm scatters by 1.28 / slope, about 1; and lives fall with the third power of the load, which machines
of one kind share within a factor of 1.5 (another 1.2). Worth two lives."""

SHAPE_LIVES = 3.0  # a uniform prior over the shapes of wear, worth three lives: one life must not rule a shape out
TESTED_LIVES = 10.0  # bands are taken as right until about as many have shown otherwise: a tenth is one life of ten


@dataclass(frozen=True)
class LivesKnowledge:
    """What a gateway expects of how machines of its kind wear out.

    Attributes:
        sums: Of the lives learnt; `LifeSums.none()` leaves the standards.
    """

    sums: LifeSums

    @classmethod
    def none(cls) -> Self:
        """Nothing but the standards."""
        return cls(LifeSums.none())

    @property
    def any(self) -> bool:
        """Whether any life has been learnt."""
        return self.sums.lives > 0.0

    @cached_property
    def end_level_db(self) -> tuple[float, float]:
        """Mean and spread of the index at which the next machine ends, dB."""
        return _predictive(
            self.sums.lives, self.sums.end_level_db,
            mean=END_LEVEL_DB, mean_worth=END_LEVEL_LIVES, spread=END_LEVEL_SPREAD_DB, spread_worth=END_LEVEL_LIVES,
        )  # fmt: skip

    @cached_property
    def shapes(self) -> FloatArray:
        """How likely each of `SHAPE_POWERS` is beforehand, shape (powers,), sums to 1 (Dirichlet)."""
        counts = self.sums.shapes + SHAPE_LIVES / len(SHAPE_POWERS)
        return np.asarray(counts / counts.sum())

    def log_life_density(self, life_s: FloatArray) -> FloatArray:
        """Density of the natural logarithm of a life, at lives in s of any shape; 1 everywhere when none was learnt.

        Student's t, so that a machine of another kind than those learnt keeps a chance.
        """
        if not self.any:
            return np.ones_like(life_s)
        mean, spread, freedom = self._log_life
        z = (np.log(life_s) - mean) / spread
        norm = gammaln(0.5 * (freedom + 1.0)) - gammaln(0.5 * freedom) - 0.5 * math.log(freedom * math.pi)
        return np.asarray(np.exp(norm - 0.5 * (freedom + 1.0) * np.log1p(z * z / freedom)) / spread)

    def honest_level(self, level: float, basis: str) -> float:
        """The level at which to read a foretold distribution so that the truth lies below it as often as `level`.

        Args:
            level: As stated, 0 to 1.
            basis: What it was foretold from, one of BASES.

        References:
            Kuleshov et al. (2018), arXiv:1807.00263, with a Dirichlet prior that keeps few lives from saying much.
        """
        return float(np.interp(level, self._truth_below[BASES.index(basis)], np.linspace(0.0, 1.0, TRUTH_LEVELS + 1)))

    @cached_property
    def _log_life(self) -> tuple[float, float, float]:
        mean, spread = _predictive(
            self.sums.lives, self.sums.log_life,
            mean=0.0, mean_worth=0.0, spread=LOG_LIFE_SPREAD, spread_worth=LOG_LIFE_LIVES,
        )  # fmt: skip
        return mean, spread, LOG_LIFE_LIVES + self.sums.lives - 1.0

    @cached_property
    def _truth_below(self) -> FloatArray:
        counts = self.sums.truth_levels + TESTED_LIVES / TRUTH_LEVELS
        shares = np.cumsum(counts / counts.sum(axis=1, keepdims=True), axis=1)
        return np.hstack([np.zeros((len(BASES), 1)), shares])


def _predictive(
    count: float, sums: FloatArray, *, mean: float, mean_worth: float, spread: float, spread_worth: float
) -> tuple[float, float]:
    """Mean and spread of one more value, of which `count` are known by their sum and their sum of squares.

    Normal-inverse-gamma: beforehand the mean is worth `mean_worth` values and the spread `spread_worth` (Gelman et al.,
    Bayesian Data Analysis, 3rd edition, section 3.3).
    """
    known = mean_worth + count
    if known == 0.0:
        return mean, spread
    centre = (mean_worth * mean + float(sums[0])) / known
    squares = max(float(sums[1]) + mean_worth * mean**2 - known * centre**2, 0.0)
    variance = (spread_worth * spread**2 + squares) / (spread_worth + count)
    return centre, math.sqrt(variance * (1.0 + 1.0 / known))
