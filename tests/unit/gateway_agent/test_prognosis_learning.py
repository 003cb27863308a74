"""What whole lives teach moves what is expected, only as far as their number warrants, and leaves as sums only."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway_agent.prognosis import levels_db
from gateway_agent.prognosis_learning import (
    LifeCourse,
    LifeUnusable,
    RecordedLife,
    examine_life,
    learn_life,
)
from gateway_agent.prognosis_lives import (
    END_LEVEL_DB,
    END_LEVEL_SPREAD_DB,
    LivesKnowledge,
)
from schemas.lives import SHAPE_POWERS, LifeSums, total
from vibration.features import FEATURE_NAMES

HOUR_S = 3600.0


def life(seed: int, *, hours: int = 300, onset: float = 0.4, end_db: float = 20.0, power: float = 1.0) -> LifeCourse:
    share = np.maximum(0.0, np.linspace(0.0, 1.0, hours) - onset) / (1.0 - onset)
    index_db = end_db * share**power + 0.5 * np.random.default_rng(seed).standard_normal(hours)
    worn = np.arange(hours) >= hours // 4
    return LifeCourse(HOUR_S * np.arange(hours, dtype=np.float64), index_db[:, None], hours // 7, worn)


def features_of(level_db: NDArray[np.float64]) -> NDArray[np.float32]:
    features = np.ones((level_db.size, 1, len(FEATURE_NAMES)), np.float32)
    return np.asarray(features * (10.0 ** (level_db / 20.0))[:, None, None], np.float32)


def test_life_teaches_its_length_its_end_and_its_shape() -> None:
    taught = learn_life(life(1, end_db=25.0))
    assert taught.lives == 1.0
    assert math.exp(taught.log_life[0]) == pytest.approx(299 * HOUR_S)
    assert taught.end_level_db[0] == pytest.approx(25.0, abs=1.0)
    assert taught.shapes.sum() == pytest.approx(1.0)
    assert SHAPE_POWERS[int(np.argmax(taught.shapes))] in {0.5, 1.0, 2.0}


def test_life_without_any_sign_before_its_end_teaches_the_latest_shape() -> None:
    course = life(2, end_db=0.0)
    falling = LifeCourse(
        course.at_s, course.level_db - np.linspace(0.0, 8.0, 300)[:, None], course.commissioned, course.worn
    )
    taught = learn_life(falling)
    assert taught.end_level_db[0] == 0.0
    assert np.argmax(taught.shapes) == len(SHAPE_POWERS) - 1


def test_lives_of_a_late_shape_make_late_shapes_likelier() -> None:
    knowledge = LivesKnowledge(total(learn_life(life(seed, power=8.0, onset=0.2)) for seed in range(6)))
    assert knowledge.shapes[-3:].sum() > 0.6
    assert knowledge.shapes.min() > 0.0
    assert knowledge.shapes.sum() == pytest.approx(1.0)


def test_nothing_learnt_leaves_what_standards_say() -> None:
    nothing = LivesKnowledge.none()
    assert nothing.end_level_db == pytest.approx((END_LEVEL_DB, END_LEVEL_SPREAD_DB * math.sqrt(1.5)))
    assert (nothing.log_life_density(np.array([1.0, 1e9])) == 1.0).all()
    assert nothing.honest_level(0.1, "trend") == pytest.approx(0.1)
    assert nothing.honest_level(0.9, "lives") == pytest.approx(0.9)


def test_end_level_goes_to_that_of_the_lives_as_they_get_more() -> None:
    ends = [
        LivesKnowledge(total(learn_life(life(seed, end_db=30.0)) for seed in range(count))).end_level_db[0]
        for count in (1, 4, 16)
    ]
    assert END_LEVEL_DB < ends[0] < ends[1] < ends[2] < 30.5
    assert ends[2] == pytest.approx(30.0, abs=1.5)


def test_density_of_lives_sums_to_one_over_the_logarithm() -> None:
    knowledge = LivesKnowledge(total(learn_life(life(seed, hours=200 + 40 * seed)) for seed in range(5)))
    logs = np.linspace(-20.0, 45.0, 20_001)
    assert np.trapezoid(knowledge.log_life_density(np.exp(logs)), logs) == pytest.approx(1.0, abs=0.01)


def test_bands_are_widened_when_the_truth_was_often_outside() -> None:
    levels = np.zeros((2, 20))
    levels[0, 0] = levels[0, -1] = 10.0
    nothing = LifeSums.none()
    sums = LifeSums(20.0, nothing.log_life, nothing.end_level_db, nothing.shapes, levels)
    knowledge = LivesKnowledge(sums)
    assert knowledge.honest_level(0.1, "trend") < 0.02
    assert knowledge.honest_level(0.9, "trend") > 0.98
    assert knowledge.honest_level(0.1, "lives") == pytest.approx(0.1)


def test_life_is_examined_by_trend_and_by_lives_apart_and_weighs_one_each() -> None:
    others = total(learn_life(life(seed)) for seed in range(4))
    counts = examine_life(life(9), others)
    assert counts.lives == 0.0
    assert counts.truth_levels[0].sum() == pytest.approx(1.0)
    assert counts.truth_levels[1].sum() == pytest.approx(1.0)


def test_life_answers_in_arrays_that_hold_no_capture() -> None:
    recorded = RecordedLife(life(3))
    taught = recorded.learn()
    examined = recorded.examine(learn_life(life(4)).arrays())
    assert sum(array.size for array in taught.values()) < 60
    assert LifeSums.from_arrays(taught).lives == 1.0
    assert LifeSums.from_arrays(examined, tested=1.0).truth_levels[0].sum() == pytest.approx(1.0)


def test_course_of_a_recording_leaves_out_captures_that_are_not_finite() -> None:
    features = features_of(np.linspace(0.0, 20.0, 100))
    features[60, 0, :] = np.nan
    course = LifeCourse.of_features(features, 10.0 * np.arange(100, dtype=np.float64), commission_share=0.15)
    assert course.at_s.size == 99
    assert course.commissioned == 15
    assert course.life_s == 990.0
    assert course.level_db[0] == pytest.approx(levels_db(features[0]))


def test_course_whose_clock_jumps_back_goes_on() -> None:
    at_s = 10.0 * np.arange(100, dtype=np.float64)
    at_s[40:42] = -53.0
    course = LifeCourse.of_features(features_of(np.zeros(100)), at_s, commission_share=0.15)
    assert (np.diff(course.at_s) >= 0.0).all()
    assert course.life_s == 990.0


@pytest.mark.parametrize(
    ("count", "step_s", "share", "found"),
    [(10, 10.0, 0.15, "16 needed"), (100, 10.0, 0.0, "0 usable captures to commission"), (100, 0.0, 0.15, "0 s found")],
)
def test_recording_that_is_no_life_is_refused_with_the_reason(
    count: int, step_s: float, share: float, found: str
) -> None:
    with pytest.raises(LifeUnusable, match=found):
        LifeCourse.of_features(
            features_of(np.zeros(count)), step_s * np.arange(count, dtype=np.float64), commission_share=share
        )
