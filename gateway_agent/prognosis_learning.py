"""This file knows what a gateway learns from a whole life: sums that may leave it, so that captures need not.

In two steps. First each life gives its length, the level at its end and the shape of its wear. Then, when the sums of
all lives are there, each life is played again with what the *others* taught, and it is counted where the truth lay in
what was foretold. So the bands are corrected by lives that have not been learnt from.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway_agent.prognosis import FloatArray, Foretold, HealthyLevels, Prognosis, levels_db
from gateway_agent.prognosis_lives import LivesKnowledge
from schemas.lives import BASES, MAX_END_LEVEL_DB, MAX_LIFE_S, MIN_LIFE_S, SHAPE_POWERS, TRUTH_LEVELS, LifeSums

END_CAPTURES = 3  # the level at the end is their median: one odd capture is no end
MIN_CAPTURES = 16  # of a life after its commissioning; fewer have no course
TESTS = 24  # moments of a life at which what is foretold is held against the truth


class LifeUnusable(ValueError):
    """A recording cannot be learnt from as a life; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class LifeCourse:
    """A whole life as its gateway saw it, from the beginning of commissioning to the end.

    Attributes:
        at_s: Time of each capture since commissioning began, shape (n,).
        level_db: Levels of each as `levels_db` gives them, shape (n, levels).
        commissioned: How many at the beginning commissioned the point.
        worn: Whether there were other signs of wear at each (an alarm stood or had stood), shape (n,).
    """

    at_s: FloatArray
    level_db: FloatArray
    commissioned: int
    worn: NDArray[np.bool_]

    @classmethod
    def of_features(
        cls,
        features: NDArray[np.float32],
        at_s: FloatArray,
        *,
        commission_share: float,
        worn: NDArray[np.bool_] | None = None,
    ) -> "LifeCourse":
        """Make the course of a life from its features.

        Args:
            features: Of each capture, shape (n, channels, F); captures that are not finite are left out.
            at_s: Start of each in s since the recording began, shape (n,).
            commission_share: Share of the captures at the beginning that commission.
            worn: Whether an alarm stood or had stood at each; nowhere if left out.

        Raises:
            LifeUnusable: Too few captures are left, or time does not go on.
        """
        level_db = levels_db(features)
        usable = np.asarray(np.isfinite(level_db).all(axis=1))
        commissioned = int(usable[: math.floor(commission_share * len(at_s))].sum())
        if commissioned < 1 or int(usable.sum()) - commissioned < MIN_CAPTURES:
            raise LifeUnusable(
                f"{commissioned} usable captures to commission and {int(usable.sum()) - commissioned} after it found, "
                f"1 and {MIN_CAPTURES} needed"
            )
        course = cls(
            np.maximum.accumulate(at_s[usable] - at_s[0]), level_db[usable], commissioned,
            np.zeros(int(usable.sum()), np.bool_) if worn is None else worn[usable],
        )  # fmt: skip
        if not MIN_LIFE_S <= course.life_s <= MAX_LIFE_S:
            raise LifeUnusable(f"a life of {course.life_s:g} s found, {MIN_LIFE_S:g} to {MAX_LIFE_S:g} possible")
        return course

    @property
    def life_s(self) -> float:
        """From the beginning of commissioning to the last capture."""
        return float(self.at_s[-1])

    def healthy(self) -> HealthyLevels:
        """What its gateway had learnt in commissioning."""
        return HealthyLevels.learn(self.level_db[: self.commissioned])


def learn_life(course: LifeCourse) -> LifeSums:
    """Say what a life teaches: its length, the level at its end, the shape of its wear."""
    healthy = course.healthy()
    prognosis = Prognosis(healthy)
    for at_s, level_db in zip(course.at_s[course.commissioned :], course.level_db[course.commissioned :], strict=True):
        prognosis.remember(float(at_s), level_db)
    trend = prognosis.trend()
    last_only = np.zeros(len(SHAPE_POWERS))
    last_only[-1] = 1.0  # nothing was seen before the end: the shape nearest to that
    end_db = float(np.median([healthy.index_db(level_db) for level_db in course.level_db[-END_CAPTURES:]]))
    end_db = min(max(end_db, 0.0), MAX_END_LEVEL_DB)
    log_life = math.log(course.life_s)
    return LifeSums(
        1.0, np.array([log_life, log_life**2]), np.array([end_db, end_db**2]),
        last_only if trend is None else trend.shapes(), np.zeros((len(BASES), TRUTH_LEVELS)),
    )  # fmt: skip


def examine_life(course: LifeCourse, others: LifeSums) -> LifeSums:
    """Count where the truth lay in what was foretold of this life with what the others taught.

    Args:
        course: The life.
        others: Sums of all lives but this one.

    Returns:
        Sums that hold nothing but `truth_levels`.
    """
    prognosis = Prognosis(course.healthy(), LivesKnowledge(others))
    count = len(course.at_s)
    tested = set(np.linspace(course.commissioned, count - 2, TESTS).astype(int).tolist())
    levels = np.zeros((len(BASES), TRUTH_LEVELS))
    for number in range(course.commissioned, count):
        prognosis.remember(float(course.at_s[number]), course.level_db[number], worn=bool(course.worn[number]))
        if number not in tested:
            continue
        foretold = prognosis.foretell()
        left_s = course.life_s - float(course.at_s[number])
        if isinstance(foretold, Foretold) and left_s > 0.0:
            level = min(int(foretold.share_below(left_s) * TRUTH_LEVELS), TRUTH_LEVELS - 1)
            levels[BASES.index(foretold.basis), level] += 1.0
    spoken = levels.sum(axis=1, keepdims=True)
    levels = np.divide(levels, spoken, out=np.zeros_like(levels), where=spoken > 0.0)
    nothing = LifeSums.none()
    return LifeSums(0.0, nothing.log_life, nothing.end_level_db, nothing.shapes, levels)


@dataclass(frozen=True, slots=True, eq=False)
class RecordedLife:
    """A whole life at the gateway that saw it, answering in arrays: what leaves the gateway and nothing else."""

    course: LifeCourse

    def learn(self) -> dict[str, FloatArray]:
        """Say what it teaches; arrays of `LifeSums`."""
        return learn_life(self.course).arrays()

    def examine(self, others: dict[str, FloatArray]) -> dict[str, FloatArray]:
        """Say where its truth lay in what the others foretold; arrays of `LifeSums`.

        Raises:
            LivesRejected: The others' sums cannot be sums over lives.
        """
        return examine_life(self.course, LifeSums.from_arrays(others)).arrays()
