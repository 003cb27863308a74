"""This file knows a trend: a health index over time in memory of fixed size, and which courses of wear explain it.

The index y (dB over healthy) is explained by y = c + a x^p, where x = (t - onset) / (now - onset) is the share of the
wear seen so far and c what healthy has moved by itself. Every onset the memory can tell apart and every power of
`SHAPE_POWERS` is weighed by how well it fits; nothing is decided before it must be. With p = 1 the index grows by as
many dB an hour always (exponential growth), with larger p late and fast (Paris' law near its end), with smaller p in a
step that stays.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from schemas.lives import SHAPE_POWERS

FloatArray = NDArray[np.float64]

STRETCHES = 48
"""Stretches of time the memory tells apart: with 3,000 captures an onset is known to a tenth of the time since then."""

MIN_STRETCHES = 8  # fewer say nothing about how neighbours hang together

STEADY_DB = 2.0
"""A change by 25 % (2 dB) is the least that counts: ISO 20816-1, criterion II. Healthy levels move by as much."""

WANDER_DB = 1.0
"""Prior of what a mean over one stretch is off a smooth course: half of what the standard calls no change."""

WANDER_FREEDOM = 4.0  # how many stretches that prior is worth
MIN_STRETCHES_OF_WEAR = 4  # fewer cannot tell growth from a step, nor a trend from an event
LARGEST_AUTOCORRELATION = 0.95
POWERS = np.asarray(SHAPE_POWERS)
_NO_SHARE = 1e-12  # before onset; to any power of ours below a thousandth
_SINGULAR = 1e-9
_ONE_SHAPE = np.full(len(SHAPE_POWERS), 1.0 / len(SHAPE_POWERS))


class TrendMemory:
    """Means of the index over at most `STRETCHES` stretches, the finer the younger they are.

    When it is full, those two neighbours are joined that are shortest for their age: an onset is known to about the
    same share of the time since then, and a life of any length fits. Single odd captures are taken out by the median
    of three.
    """

    def __init__(self) -> None:
        self.filled = 0
        self._count = np.zeros(STRETCHES + 1)
        self._at_s = np.zeros(STRETCHES + 1)
        self._level_db = np.zeros(STRETCHES + 1)
        self._last: list[float] = []

    def add(self, at_s: float, level_db: float) -> None:
        """Take in one capture.

        Args:
            at_s: Seconds since commissioning began, not falling.
            level_db: Index of the capture.
        """
        self._last = [*self._last[-2:], level_db]
        n = self.filled
        self._count[n], self._at_s[n], self._level_db[n] = 1.0, at_s, self.newest_db
        self.filled += 1
        if self.filled > STRETCHES:
            self._join()

    def _join(self) -> None:
        count = self._count
        together = count[:-1] + count[1:]
        younger = np.cumsum(count[::-1])[::-1] - 0.5 * count  # captures from the middle of each to now
        i = int(np.argmin(together / younger[:-1]))
        for mean in (self._at_s, self._level_db):
            mean[i] = (count[i] * mean[i] + count[i + 1] * mean[i + 1]) / together[i]
            mean[i + 1 : -1] = mean[i + 2 :]
        count[i] = together[i]
        count[i + 1 : -1] = count[i + 2 :]
        self.filled -= 1

    @property
    def newest_db(self) -> float:
        """The middle one of the newest three; minus infinity before the first."""
        return sorted(self._last)[len(self._last) // 2] if self._last else -math.inf

    def course(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Time (s), level (dB) and number of captures of each stretch."""
        n = self.filled
        return self._at_s[:n], self._level_db[:n], self._count[:n]

    def dump(self) -> list[float]:
        """The whole memory as numbers; `load` continues from it."""
        return [float(self.filled), *np.concatenate(self.course()).tolist(), *self._last]

    @classmethod
    def load(cls, dumped: list[float]) -> Self:
        """Continue from what `dump` gave."""
        memory = cls()
        n = memory.filled = int(dumped[0])
        memory._at_s[:n], memory._level_db[:n], memory._count[:n] = np.reshape(dumped[1 : 1 + 3 * n], (3, n))
        memory._last = list(dumped[1 + 3 * n :])
        return memory


@dataclass(frozen=True, slots=True, eq=False)
class Trend:
    """Courses of wear that explain the memory, each with its weight; arrays of shape (courses,).

    Attributes:
        changed: Probability that the index has risen at all since commissioning, against one that stays where it is.
        growing: Probability, if it has, that it grows, against one step after which it stays: a sensor mounted anew, or
            another way of running, makes steps.
        step_db: Height of that step.
        weight: Of each course; they sum to 1.
        wear_s: Time from onset to now.
        power: p.
        growth_db: a, by how much the index has grown since onset.
        growth_spread_db: Standard error of that.
        start_db: c, where it started.
    """

    changed: float
    growing: float
    step_db: float
    weight: FloatArray
    wear_s: FloatArray
    power: FloatArray
    growth_db: FloatArray
    growth_spread_db: FloatArray
    start_db: FloatArray

    @property
    def probability(self) -> float:
        """Probability that the index has risen and goes on growing."""
        return self.changed * self.growing

    @property
    def growth_now_db(self) -> float:
        """Mean growth since onset."""
        return float(self.weight @ self.growth_db)

    @property
    def mean_wear_s(self) -> float:
        """Mean time since onset."""
        return float(self.weight @ self.wear_s)

    def shapes(self) -> FloatArray:
        """How likely each of `SHAPE_POWERS` is, shape (powers,), sums to 1."""
        return np.array([float(self.weight[self.power == power].sum()) for power in SHAPE_POWERS])


def explain(
    at_s: FloatArray,
    level_db: FloatArray,
    captures: FloatArray,
    *,
    spread_db: float,
    shapes: FloatArray = _ONE_SHAPE,
) -> Trend | None:
    """Weigh the courses of wear that could have led to a memory.

    Args:
        at_s: Times of the stretches, rising, shape (n,).
        level_db: Mean index of each, shape (n,).
        captures: How many captures each is the mean of, shape (n,).
        spread_db: Healthy scatter of one capture's index.
        shapes: Prior of the powers, sums to 1.

    Returns:
        None while there are fewer than `MIN_STRETCHES` stretches, or nothing has grown.

    References:
        The scatter is integrated out under its conjugate prior (Gelman et al., Bayesian Data Analysis, section 14.8);
        neighbouring residuals are alike, so n stretches count as n (1 - r) / (1 + r) (Bayley & Hammersley 1946).
    """
    count = at_s.size
    if count < MIN_STRETCHES:
        return None
    now_s, before_s = float(at_s[-1]), 1.5 * at_s[0] - 0.5 * at_s[1]
    onsets_s = np.concatenate([[before_s], 0.5 * (at_s[:-1] + at_s[1:])])[: count - MIN_STRETCHES_OF_WEAR]
    steps_s = np.diff(at_s)[: onsets_s.size]
    onsets_s, steps_s = onsets_s[(steps_s > 0.0) & (onsets_s < now_s)], steps_s[(steps_s > 0.0) & (onsets_s < now_s)]
    if not onsets_s.size:
        return None  # the clock stands still
    wear_s = now_s - onsets_s
    share = np.maximum(at_s[None, :] - onsets_s[:, None], 0.0) / wear_s[:, None]
    grown = np.exp(POWERS[:, None, None] * np.log(np.maximum(share, _NO_SHARE))[None, :, :])
    curves = np.concatenate([(share > 0.0).astype(np.float64), grown.reshape(-1, count)])  # (steps, then growth; n)

    own2 = WANDER_DB**2 + spread_db**2 / captures
    scatter2 = float(own2.min())
    weight = scatter2 / own2
    total = float(weight.sum())
    ridge = scatter2 / STEADY_DB**2  # c is 0 give or take STEADY_DB
    weighted = curves * weight
    s1, sx, sxx = total + ridge, weighted.sum(axis=1), np.einsum("hi,hi->h", weighted, curves)
    sy, sxy, syy = float(weight @ level_db), weighted @ level_db, float(weight @ level_db**2)
    determinant = np.maximum(s1 * sxx - sx * sx, _SINGULAR)
    growth = (s1 * sxy - sx * sy) / determinant
    start = (sxx * sy - sx * sxy) / determinant
    left = np.maximum(syy - growth * sxy - start * sy, 0.0)  # squares left over, with those of c's prior
    left_steady = max(syy - sy * sy / s1, 0.0)

    best = int(np.argmin(np.where(growth > 0.0, left, np.inf)))
    if not growth[best] > 0.0:
        return None
    effective = _effective(level_db - start[best] - growth[best] * curves[best], weight)
    onset_prior = steps_s / wear_s / (steps_s / wear_s).sum()
    prior = np.concatenate([onset_prior, np.outer(shapes, onset_prior).ravel()])
    fit = _log_likelihood(left / total, effective, scatter2)
    # Occam's factor of the height a: one more number, known by `effective` stretches (Schwarz 1978).
    against_steady = np.exp(fit - _log_likelihood(left_steady / total, effective, scatter2)) / math.sqrt(effective)
    odds = np.where(growth > 0.0, prior * against_steady, 0.0)
    steps, courses = odds[: onsets_s.size], odds[onsets_s.size :]
    stepped, grown_by = float(steps.sum()), float(courses.sum())
    if grown_by <= 0.0:
        return None
    variance = (WANDER_FREEDOM * scatter2 + effective * left / total) / (WANDER_FREEDOM + effective)
    spread = np.sqrt(variance * s1 / determinant * total / effective)
    step_db = float(steps @ growth[: onsets_s.size]) / stepped if stepped > 0.0 else 0.0
    grows = slice(onsets_s.size, None)
    return Trend(
        (stepped + grown_by) / (1.0 + stepped + grown_by), grown_by / (stepped + grown_by), step_db,
        courses / grown_by, np.tile(wear_s, POWERS.size), np.repeat(POWERS, onsets_s.size),
        growth[grows], spread[grows], start[grows],
    )  # fmt: skip


def _log_likelihood(mean_square: FloatArray | float, effective: float, scatter2: float) -> FloatArray:
    freedom = WANDER_FREEDOM + effective
    return np.asarray(-0.5 * freedom * np.log((WANDER_FREEDOM * scatter2 + effective * mean_square) / freedom))


def _effective(residual: FloatArray, weight: FloatArray) -> float:
    """How many independent stretches these are worth, by the autocorrelation of what is left over."""
    pairs = weight[1:] * weight[:-1]
    power = float(weight @ residual**2)
    r = float((pairs * residual[1:]) @ residual[:-1]) / power if power > 0.0 else 0.0
    r = min(max(r, 0.0), LARGEST_AUTOCORRELATION)
    return max(1.0, float(weight.sum()) * (1.0 - r) / (1.0 + r))
