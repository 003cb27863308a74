"""Two releases on one gateway: which of them judges a capture, and what is told of the other."""

from typing import Any

import numpy as np
import pytest

from gateway_agent.baseline import Rows
from gateway_agent.judge import Judge
from gateway_agent.point_monitor import Outcome
from gateway_agent.prognosis_lives import LivesKnowledge
from gateway_agent.shadow import LIMIT_EDGES
from schemas.messages import ShadowSummary
from schemas.variation import SessionSums, Variation
from tests.support.captures import AT_US, POINT, faulty, gateway_settings, healthy, judge_with, taken
from vibration.detection_features import DETECTION_COUNT

POINTS = (POINT, "pump-07/nde", "pump-07/motor")
CAPTURES = 8


class Numbered:
    """A model by number; its scores are the distance, times a factor."""

    def __init__(self, version: int, *, factor: float = 1.0, expects: float = 0.1, broken: bool = False) -> None:
        self.version = version
        self.lives = LivesKnowledge.none()
        self._factor = np.float32(np.nan if broken else factor)
        plays = 1000.0 * np.array([expects, expects**2 + 0.0025, 0.01, expects, expects**2 + 0.02, expects**2])
        shape = healthy(0)
        layout = (shape.sample_rate_hz, shape.samples)
        self.variation = Variation({layout: SessionSums(1000.0, np.zeros(DETECTION_COUNT), 1000.0, plays)})

    def score(self, rows: Rows) -> tuple[Rows, Rows]:
        return self._factor * np.mean(rows * rows, axis=1), np.zeros_like(rows)


def commissioned(model: Numbered) -> Judge:
    judge = judge_with(gateway_settings(captures=CAPTURES), model=model)
    hear(judge, range(CAPTURES))
    assert all(judge.monitors[point].ready for point in POINTS)
    return judge


def hear(judge: Judge, numbers: range, make: Any = healthy) -> list[Outcome]:
    items = [
        taken(make(number, boot=1 + index), point=point) for number in numbers for index, point in enumerate(POINTS)
    ]
    return [verdict.outcome for verdict in judge.process(items, now_us=AT_US).verdicts]


def summary(judge: Judge) -> ShadowSummary:
    assert judge.shadow is not None
    return judge.shadow.summary()


def calibrated(judge: Judge) -> Judge:
    while judge.following:
        judge.follow_model()
    return judge


def test_points_go_over_one_by_one_and_each_is_judged_by_one_release_and_its_limit() -> None:
    old, new = Numbered(1), Numbered(2, expects=1.5)
    judge = commissioned(old)
    limit_by = {1: {p: judge.monitors[p].healthy.states.limit.score for p in POINTS}}
    limit_by[2] = {p: judge.monitors[p].limits_by(new)[0].score for p in POINTS}
    judge.change_model(new)
    seen = []
    for number in range(CAPTURES, CAPTURES + len(POINTS) + 1):
        healths = [outcome.health for outcome in hear(judge, range(number, number + 1))]
        seen.append(sorted(health.model_version for health in healths))
        for health in healths:
            assert health.score is not None
            assert health.limit == pytest.approx(limit_by[health.model_version][health.point], rel=0.06)
        judge.follow_model()
    assert seen == [[1, 1, 1], [1, 1, 2], [1, 2, 2], [2, 2, 2]]
    assert judge.following == 0


def test_a_point_that_first_speaks_during_a_change_begins_with_the_new_release() -> None:
    judge = commissioned(Numbered(1))
    judge.change_model(Numbered(2))
    assert judge.monitor("pump-07/new").model_version == 2
    assert judge.following == len(POINTS)


def test_a_second_release_before_all_points_have_followed_the_first_takes_all_of_them() -> None:
    judge = commissioned(Numbered(1))
    judge.change_model(Numbered(2), watched=True)
    judge.follow_model()
    judge.change_model(Numbered(3), watched=True)
    assert {monitor.model_version for monitor in calibrated(judge).monitors.values()} == {3}


def test_a_machine_goes_over_to_its_own_model_and_back_and_no_other_does() -> None:
    fleet, own = Numbered(1), Numbered(1, expects=1.5)
    judge = commissioned(fleet)
    other = judge.monitor("fan-02/de")
    judge.use_own("pump-07", own)
    calibrated(judge)
    assert {judge.monitors[point].model for point in POINTS} == {own}
    assert judge.monitor("pump-07/new").model is own
    assert other.model is fleet
    judge.use_own("pump-07", None)
    assert {monitor.model for monitor in calibrated(judge).monitors.values()} == {fleet}


def test_a_release_takes_over_from_models_of_a_machines_own() -> None:
    judge = commissioned(Numbered(1))
    judge.use_own("pump-07", Numbered(1, expects=1.5))
    judge.follow_model()
    judge.change_model(Numbered(2))
    assert {monitor.model_version for monitor in calibrated(judge).monitors.values()} == {2}


def test_a_candidate_beside_changes_no_verdict() -> None:
    alone, tried = commissioned(Numbered(1)), commissioned(Numbered(1))
    tried.try_beside(Numbered(2, factor=5.0, expects=-3.0))
    calibrated(tried)
    later = range(CAPTURES, CAPTURES + 20)
    assert [one.health for one in hear(tried, later)] == [one.health for one in hear(alone, later)]


def test_both_are_told_on_the_same_captures() -> None:
    judge = commissioned(Numbered(1))
    judge.try_beside(Numbered(2, factor=4.0, expects=-3.0))
    calibrated(judge)
    hear(judge, range(CAPTURES, CAPTURES + 20))
    told = summary(judge)
    assert (told.this_version, told.in_use_version, told.points, told.windows) == (2, 1, 3, 60)
    assert told.exceeding_in_use <= 3
    assert told.exceeding_this >= 50  # it expects next to nothing
    for histogram in (told.in_limits_this, told.in_limits_in_use, told.loss_this, told.loss_in_use):
        assert len(histogram) == len(LIMIT_EDGES) + 1
        assert sum(histogram) == 60
    assert middle(told.loss_this) > middle(told.loss_in_use)
    assert told.window_us_this > 0


def middle(histogram: tuple[int, ...]) -> float:
    return float(np.average(np.arange(len(histogram)), weights=histogram))


def test_captures_that_the_candidate_cannot_score_are_counted_and_harm_nothing() -> None:
    judge = commissioned(Numbered(1))
    judge.try_beside(Numbered(2, broken=True))
    calibrated(judge)
    outcomes = hear(judge, range(CAPTURES, CAPTURES + 5))
    assert all(one.health.score is not None for one in outcomes)
    assert (summary(judge).errors, summary(judge).windows) == (15, 0)


def test_after_a_change_the_release_before_goes_on_beside_with_the_limits_it_had() -> None:
    judge = commissioned(Numbered(1))
    judge.change_model(Numbered(2, expects=-3.0), watched=True)
    calibrated(judge)
    hear(judge, range(CAPTURES, CAPTURES + 10))
    told = summary(judge)
    assert (told.this_version, told.in_use_version, told.windows) == (1, 2, 30)
    assert told.exceeding_this <= 2
    assert told.exceeding_in_use >= 25


def test_who_stood_in_alarm_before_says_nothing_of_a_candidate() -> None:
    judge = commissioned(Numbered(1))
    hear(judge, range(CAPTURES, CAPTURES + 10), faulty)
    assert all(monitor.alarm.active for monitor in judge.monitors.values())
    judge.try_beside(Numbered(2))
    calibrated(judge)
    hear(judge, range(CAPTURES + 10, CAPTURES + 20))
    assert summary(judge).windows == 0
