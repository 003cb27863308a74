"""This file knows how long a machine will still last, as far as its trend and the lives learnt can tell.

Block PA of ISO 13374. The health index is the growth of the strongest of velocity, acceleration and envelope over the
point's own healthy level, in dB. Its course is explained by all kinds of wear (`prognosis_trend`); how far each still
is from its end follows from the level at which machines end and, where lives were learnt, from how long they last
(`prognosis_lives`). What comes out is a distribution of the remaining life, read at its median and as an 80 % band.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from gateway_agent.prognosis_lives import LivesKnowledge
from gateway_agent.prognosis_trend import MIN_STRETCHES, POWERS, STEADY_DB, Trend, TrendMemory, explain
from vibration.features import FEATURE_NAMES

FloatArray = NDArray[np.float64]
Basis = Literal["trend", "lives"]

BAND = (0.1, 0.5, 0.9)
"""Levels of low, median and high: an 80 % band. The median is the median: no cost of being late or early is in it."""

LEVELS = ("velocity_rms_mm_s", "acceleration_rms_g", "envelope_rms_g")
_COLUMNS = [FEATURE_NAMES.index(name) for name in LEVELS]
_FLOOR = 1e-6  # mm/s or g: a dead channel is no minus infinity

SURE = 0.99
"""Probability of a change from which a trend is spoken of: as sure as the false-alarm rate of 1 % asks."""

LIKELIER = 0.5  # growth must explain the change better than one step does

ALERT_SPREADS = 3.0  # the trade's alert: healthy mean and three times its scatter
PRIOR_SPREAD_DB = 1.0  # healthy levels of one machine scatter by about 1 dB, a tenth of a decade of power
PRIOR_CAPTURES = 4.0
LOOK_EVERY = 5  # captures: a trend is no faster, and looking costs thirty times what remembering costs
LOOK_EVERY_CALM = 25  # while the index is within half the growth that counts, and nothing else speaks of wear
COURSES = 48  # the likeliest courses are carried on; what is left out weighs next to nothing

TOO_FEW = "too few captures since commissioning to see a trend"

_STEP = 1.0 / 3.0
_LOGITS = np.arange(-5.0, 6.0, _STEP)[None, :] + _STEP * np.arange(POWERS.size)[:, None] / POWERS.size
SHARES = 1.0 / (1.0 + np.exp(-_LOGITS))
"""Shares of the wear that may be over by now, 0.7 to 99.8 %, closest at both ends; a row for each power, each a little
shifted, so that courses of one onset and several powers together tell remaining lives apart finely."""

SHARE_WEIGHTS = SHARES * (1.0 - SHARES)
"""A machine is asked after at any moment of its wear: each share is as likely beforehand (du = u (1-u) d logit u)."""

_LOG_SHARES = np.log(SHARES)
_LEFT_PER_WEAR = (1.0 - SHARES) / SHARES


@dataclass(frozen=True, slots=True)
class RemainingLife:
    """A band that holds the true remaining life in four of five cases; 0 <= low <= median <= high, all in s.

    Attributes:
        low, median, high: Remaining life in s.
        basis: The machine's own trend (with what lives taught), or lives alone.
        why: One sentence for a fitter.
    """

    low: float
    median: float
    high: float
    basis: Basis
    why: str


@dataclass(frozen=True, slots=True)
class NoRemainingLife:
    """Nothing can be said; the reason is one sentence for a fitter."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Foretold:
    """What the remaining life may be: values in s with their weights, both of shape (n,); the weights sum to 1."""

    left_s: FloatArray
    weight: FloatArray
    basis: Basis
    why: str

    def share_below(self, left_s: float) -> float:
        """Probability that less is left than this."""
        return float(self.weight[self.left_s < left_s].sum())

    def quantiles_s(self, levels: Sequence[float]) -> list[float]:
        """Read remaining lives at levels between 0 and 1."""
        order = np.argsort(self.left_s)
        weight = self.weight[order]
        middles = np.cumsum(weight) - 0.5 * weight
        return [float(q) for q in np.exp(np.interp(levels, middles, np.log(self.left_s[order])))]


def levels_db(features: NDArray[np.float32] | FloatArray) -> FloatArray:
    """Return the levels of which the index is made, in dB.

    Args:
        features: In the order of FEATURE_NAMES, shape (..., channels, F).

    Returns:
        Velocity, acceleration and envelope RMS of each channel in dB of mm/s and g, shape (..., channels x 3).
    """
    values = np.maximum(features[..., _COLUMNS], _FLOOR)
    decibels = 20.0 * np.log10(values.astype(np.float64))
    return np.asarray(decibels.reshape(*values.shape[:-2], -1))


@dataclass(frozen=True, slots=True, eq=False)
class HealthyLevels:
    """What the levels of one point are when it is healthy; never leaves the gateway.

    Attributes:
        mean_db: Of each level, shape (levels,).
        offset_db: The strongest growth among healthy captures: the largest of several is above 0 by chance.
        spread_db: Scatter of the index among healthy captures.
    """

    mean_db: FloatArray
    offset_db: float
    spread_db: float

    @classmethod
    def learn(cls, healthy_db: FloatArray) -> Self:
        """Learn from healthy captures, shape (captures, levels), at least one.

        The spread is pulled towards `PRIOR_SPREAD_DB` as if `PRIOR_CAPTURES` captures had shown it.
        """
        middle = np.median(healthy_db, axis=0)
        index = (healthy_db - middle).max(axis=1)
        offset = float(np.median(index))
        squares = float(((index - offset) ** 2).sum())
        variance = (PRIOR_CAPTURES * PRIOR_SPREAD_DB**2 + squares) / (PRIOR_CAPTURES + len(index) - 1)
        return cls(middle, offset, math.sqrt(variance))

    @property
    def alert_db(self) -> float:
        """Growth that leaves healthy scatter behind: at least 25 % (ISO 20816-1, criterion II) and 3 spreads."""
        return max(STEADY_DB, ALERT_SPREADS * self.spread_db)

    def index_db(self, level_db: FloatArray) -> float:
        """Return how far the strongest level is above healthy, in dB; levels of shape (levels,)."""
        return float((level_db - self.mean_db).max()) - self.offset_db


@dataclass(slots=True)
class Prognosis:
    """Remaining life of one point; give it every usable capture after commissioning, in order.

    Memory is of fixed size. Every capture costs a few numbers, every `LOOK_EVERY`-th the calculation. After
    maintenance begin a new one from the new commissioning: what has worn before is gone.

    Attributes:
        healthy: Levels of this point when healthy.
        knowledge: What lives elsewhere taught; may be replaced at any time, as a release brings it.
        memory: The course of the index so far.
    """

    healthy: HealthyLevels
    knowledge: LivesKnowledge = field(default_factory=LivesKnowledge.none)
    memory: TrendMemory = field(default_factory=TrendMemory)
    _now_s: float = 0.0
    _worn: bool = False
    _said: RemainingLife | NoRemainingLife = field(default_factory=lambda: NoRemainingLife(TOO_FEW))
    _said_at_s: float = 0.0
    _since_look: int = 0

    def update(self, at_s: float, level_db: FloatArray, *, worn: bool = False) -> RemainingLife | NoRemainingLife:
        """Take in one usable capture and say how long the machine will last.

        Args:
            at_s: Time since commissioning began, s. A clock that goes back is taken as standing still.
            level_db: As `levels_db` gives it, shape (levels,); one that is not finite is left out.
            worn: There are other signs of wear: an alarm stands. With lives learnt the first of them is enough to speak
                of what is left of such a life.
        """
        self.remember(at_s, level_db, worn=worn)
        calm = not self._worn and self.memory.newest_db < 0.5 * self.healthy.alert_db
        every = LOOK_EVERY_CALM if calm else LOOK_EVERY
        self._since_look = min(self._since_look, every) - 1
        if self._since_look < 0:
            self._said, self._said_at_s = self._say(), self._now_s
            self._since_look = every - 1
        return _later(self._said, self._now_s - self._said_at_s)

    def remember(self, at_s: float, level_db: FloatArray, *, worn: bool = False) -> None:
        """Take in one usable capture without looking at the trend; as `update`."""
        self._now_s = max(self._now_s, at_s)
        self._worn = self._worn or worn
        index_db = self.healthy.index_db(level_db)
        if math.isfinite(index_db):
            self.memory.add(self._now_s, index_db)

    def foretell(self) -> Foretold | NoRemainingLife:
        """Say what the remaining life may be by now, as a distribution."""
        if self.memory.filled < MIN_STRETCHES or self._now_s <= 0.0:
            return NoRemainingLife(TOO_FEW)
        trend = self.trend()
        doubt = doubt_about(trend, self.healthy.alert_db)
        if trend is not None and doubt is None:
            left_s, weight = remaining(trend, self._now_s, self.knowledge)
            return Foretold(left_s, weight, "trend", _trend_sentence(trend))
        if not self.knowledge.any:
            return NoRemainingLife(f"no trend: {doubt}")
        if not self._worn:
            return NoRemainingLife(f"no trend: {doubt}, and no alarm has been up")
        left_s, weight = remaining_by_age(self._now_s, self.knowledge)
        if trend is not None:
            probability = trend.probability
            by_trend_s, trend_weight = remaining(trend, self._now_s, self.knowledge)
            left_s = np.concatenate([left_s, by_trend_s])
            weight = np.concatenate([(1.0 - probability) * weight, probability * trend_weight])
        lives = round(self.knowledge.sums.lives)
        return Foretold(
            left_s, weight, "lives",
            f"an alarm has been up, but {doubt}: what is left of a life like the {lives} learnt elsewhere",
        )  # fmt: skip

    def trend(self) -> Trend | None:
        """Explain the course so far; None while nothing has grown."""
        at_s, level_db, captures = self.memory.course()
        return explain(at_s, level_db, captures, spread_db=self.healthy.spread_db, shapes=self.knowledge.shapes)

    def dump(self) -> dict[str, Any]:
        """The state as JSON; `load` continues from it exactly. Lives come with the release and are not in it."""
        said = self._said
        return {
            "mean_db": self.healthy.mean_db.tolist(), "offset_db": self.healthy.offset_db,
            "spread_db": self.healthy.spread_db, "memory": self.memory.dump(), "now_s": self._now_s,
            "worn": self._worn,
            "said": [said.low, said.median, said.high] if isinstance(said, RemainingLife) else None,
            "basis": said.basis if isinstance(said, RemainingLife) else None,
            "why": said.why if isinstance(said, RemainingLife) else said.reason,
            "said_at_s": self._said_at_s, "since_look": self._since_look,
        }  # fmt: skip

    @classmethod
    def load(cls, dumped: Mapping[str, Any], knowledge: LivesKnowledge) -> Self:
        """Continue from what `dump` gave, with the lives of the release that runs now."""
        healthy = HealthyLevels(np.array(dumped["mean_db"], np.float64), dumped["offset_db"], dumped["spread_db"])
        said: RemainingLife | NoRemainingLife = NoRemainingLife(dumped["why"])
        if dumped["said"] is not None:
            low, median, high = dumped["said"]
            said = RemainingLife(low, median, high, dumped["basis"], dumped["why"])
        return cls(
            healthy, knowledge, TrendMemory.load(dumped["memory"]), dumped["now_s"], dumped["worn"], said,
            dumped["said_at_s"], dumped["since_look"],
        )  # fmt: skip

    def _say(self) -> RemainingLife | NoRemainingLife:
        foretold = self.foretell()
        if isinstance(foretold, NoRemainingLife):
            return foretold
        levels = [self.knowledge.honest_level(level, foretold.basis) for level in BAND]
        low, median, high = foretold.quantiles_s(levels)
        return RemainingLife(low, median, high, foretold.basis, foretold.why)


def remaining(trend: Trend, age_s: float, knowledge: LivesKnowledge) -> tuple[FloatArray, FloatArray]:
    """Return remaining lives in s and their weights, both of shape (n,), as the courses of a trend foretell them.

    A course c + a x^p that has gone the share u of its way ends at c + a u^-p after another (1 - u) / u of the time
    since onset. Every u is weighed by how likely a machine ends at that level, and by how likely a life of that
    length is. Wear of unknown length is taken as log-uniform: no time scale is preferred.

    Args:
        trend: As `explain` gives it.
        age_s: Time since commissioning began.
        knowledge: Levels and lengths of lives.
    """
    chosen = np.argpartition(trend.weight, -COURSES)[-COURSES:] if trend.weight.size > COURSES else slice(None)
    row = np.searchsorted(POWERS, trend.power[chosen])
    to_end = np.exp(-trend.power[chosen, None] * _LOG_SHARES[row])
    wear_s = trend.wear_s[chosen, None]
    left_s = wear_s * _LEFT_PER_WEAR[row]
    end_db, spread_db = knowledge.end_level_db
    miss_db = trend.start_db[chosen, None] + trend.growth_db[chosen, None] * to_end - end_db
    variance = spread_db**2 + (trend.growth_spread_db[chosen, None] * to_end) ** 2
    likely = SHARE_WEIGHTS[row] * to_end * np.exp(-0.5 * miss_db**2 / variance) / np.sqrt(variance)
    likely /= np.maximum(likely.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    life_s = age_s + left_s
    likely *= trend.weight[chosen, None] * knowledge.log_life_density(life_s) * (wear_s + left_s) / life_s
    return left_s.ravel(), (likely / likely.sum()).ravel()


def remaining_by_age(age_s: float, knowledge: LivesKnowledge) -> tuple[FloatArray, FloatArray]:
    """Return remaining lives in s and their weights for a machine of which only the age (s) is known; shapes (n,)."""
    likely = SHARE_WEIGHTS * knowledge.log_life_density(age_s / SHARES)
    return (age_s * _LEFT_PER_WEAR).ravel(), (likely / likely.sum()).ravel()


def _later(said: RemainingLife | NoRemainingLife, by_s: float) -> RemainingLife | NoRemainingLife:
    if by_s <= 0.0 or isinstance(said, NoRemainingLife):
        return said
    low, median, high = (max(0.0, left_s - by_s) for left_s in (said.low, said.median, said.high))
    return RemainingLife(low, median, high, said.basis, said.why)


def doubt_about(trend: Trend | None, alert_db: float) -> str | None:
    """Say in words for a fitter why this is no trend to foretell from; None when it is one.

    Args:
        trend: As `explain` gives it.
        alert_db: Growth that counts at this point.
    """
    if trend is None:
        return "vibration has not grown since commissioning"
    if trend.changed < SURE:
        return f"healthy scatter explains the course as well ({trend.changed:.0%} sure of a change, {SURE:.0%} needed)"
    if trend.growing < LIKELIER:
        return (
            f"vibration stepped by {trend.step_db:.0f} dB and has not grown since; "
            "was the sensor moved or the machine run differently?"
        )
    if trend.growth_now_db < alert_db:
        return f"vibration has grown by {trend.growth_now_db:.1f} dB, less than the {alert_db:.1f} dB that count here"
    return None


def _trend_sentence(trend: Trend) -> str:
    return f"vibration has grown by {trend.growth_now_db:.0f} dB over {_duration(trend.mean_wear_s)}"


def _duration(seconds: float) -> str:
    for unit, length_s in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2.0 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"
