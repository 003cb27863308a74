"""The proof harness counts as a person would by hand."""

import math

import numpy as np
import pytest

from benchmarks.verdicts.baselines import equal_weight_quantile, prediction_bound
from benchmarks.verdicts.metrics import (
    Rate,
    balanced_accuracy,
    balanced_accuracy_at,
    life_outcome,
    majority,
    persistent,
    phm_2012_points,
    rate_of,
    recall_by_class,
)


def flags(text: str) -> np.ndarray:
    """`.` is quiet, `x` is set."""
    return np.array([letter == "x" for letter in text])


def test_a_rate_keeps_what_it_was_counted_on() -> None:
    assert rate_of([True, False, True]) + Rate(1, 5) == Rate(3, 8)
    assert str(Rate(3, 8)) == "0.375 (3/8)"
    assert math.isnan(Rate(0, 0).value)


def test_best_threshold_allows_no_false_alarm_in_24_windows_at_two_percent() -> None:
    healthy = np.arange(24.0)
    found, far, tpr = balanced_accuracy_at(healthy, np.array([22.5, 23.5, 30.0, 40.0]), false_alarm_rate=0.02)
    assert (far, tpr) == (Rate(0, 24), Rate(3, 4))
    assert found == pytest.approx((1.0 + 0.75) / 2.0)


def test_best_threshold_uses_the_false_alarms_it_is_allowed() -> None:
    healthy = np.arange(100.0)
    found, far, tpr = balanced_accuracy_at(healthy, np.array([97.5, 97.6, 10.0, 200.0]), false_alarm_rate=0.02)
    assert (far, tpr) == (Rate(2, 100), Rate(3, 4))
    assert found == pytest.approx((0.98 + 0.75) / 2.0)


def test_equal_healthy_scores_are_never_split_by_a_threshold() -> None:
    _, far, tpr = balanced_accuracy_at(np.ones(10), np.array([1.0, 2.0]), false_alarm_rate=0.5)
    assert (far, tpr) == (Rate(0, 10), Rate(1, 2))


def test_a_late_alarm_that_holds_is_useful() -> None:
    #                commissioned | 15-40 % | from 40 % on
    outcome = life_outcome(flags("..." + "....." + "......xxxxxx"), np.arange(20) * 60.0, commissioned=3)
    assert (outcome.lead_s, outcome.false_events, outcome.held) == (300.0, 0, 1.0)
    assert outcome.warned
    assert outcome.useful


def test_two_false_events_make_an_alarm_useless_though_it_warns() -> None:
    outcome = life_outcome(flags("xxx" + "x.x.." + "......xxxxxx"), np.arange(20) * 60.0, commissioned=3)
    assert outcome.false_events == 2
    assert outcome.warned
    assert not outcome.useful


def test_an_alarm_that_goes_away_is_useless() -> None:
    outcome = life_outcome(flags("..." + "....." + "xx.........."), np.arange(20) * 60.0, commissioned=3)
    assert outcome.held == pytest.approx(2 / 12)
    assert not outcome.useful


def test_an_alarm_less_than_five_minutes_before_the_end_warns_but_is_not_useful() -> None:
    outcome = life_outcome(flags("..." + "....." + ".........xxx"), np.arange(20) * 60.0, commissioned=3)
    assert outcome.lead_s == 120.0
    assert outcome.warned
    assert not outcome.useful


def test_a_life_without_an_alarm_has_no_lead() -> None:
    outcome = life_outcome(np.zeros(20, np.bool_), np.arange(20.0), commissioned=3)
    assert (outcome.lead_s, outcome.held, outcome.warned) == (None, 0.0, False)


def test_an_alarm_standing_since_commissioning_is_one_false_event() -> None:
    assert life_outcome(np.ones(20, np.bool_), np.arange(20.0), commissioned=3).false_events == 1


def test_a_baselines_alarm_rises_by_three_of_five_and_falls_after_five_quiet_windows() -> None:
    assert persistent(flags("x.x.x......x")).tolist() == flags("....xxxxx...").tolist()


@pytest.mark.parametrize(
    ("predicted_s", "points"),
    [(100.0, 1.0), (105.0, 0.5), (80.0, 0.5), (110.0, 0.25), (60.0, 0.25), (None, 0.0)],
)
def test_phm_points_halve_at_five_percent_late_and_twenty_percent_early(
    predicted_s: float | None, points: float
) -> None:
    assert phm_2012_points(predicted_s, 100.0) == pytest.approx(points)


def test_balanced_accuracy_gives_a_rare_class_the_weight_of_a_common_one() -> None:
    recall = recall_by_class(["a", "a", "a", "a", "a"], ["a", "a", "a", "a", "b"])
    assert recall == {"a": Rate(4, 4), "b": Rate(0, 1)}
    assert balanced_accuracy(recall) == 0.5


def test_the_majority_of_equals_is_the_first_in_the_alphabet() -> None:
    assert majority(["outer", "inner", "ball", "inner", "outer"]) == "inner"


def test_a_long_recording_does_not_outvote_a_short_one_in_the_fleets_limit() -> None:
    long, short = np.zeros(1000), np.array([1.0, 2.0])
    assert equal_weight_quantile([long, short], 0.70) == 1.0
    assert equal_weight_quantile([long, short], 0.99) == 2.0


def test_the_limit_of_five_scores_is_as_wide_as_students_table_says() -> None:
    # t(0.99, 4) = 3.747 in every table; mean 3, standard deviation sqrt(2.5), times sqrt(1 + 1/5)
    bound = prediction_bound(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), 0.01)
    assert bound == pytest.approx(3.0 + 3.747 * math.sqrt(3.0), abs=1e-3)
