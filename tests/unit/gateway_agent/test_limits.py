"""The limit keeps the false-alarm rate it states, and is honest about how little it has seen."""

import dataclasses

import numpy as np
import pytest

from gateway_agent.baseline import Baseline, expected_variance
from gateway_agent.limits import (
    MIN_CAPTURES,
    Limit,
    held_back_log_scores,
    independent,
    limit_from,
    log_score,
)
from gateway_agent.session_sums import plays_of, variation_of
from schemas.variation import HealthyPrior, Variation
from tests.support.sessions import LAYOUT, session

PRIOR = Variation().prior(*LAYOUT)


def calibrated(heard: np.ndarray, prior: HealthyPrior, rate: float = 0.01) -> tuple[Baseline, Limit]:
    expected = expected_variance(prior, *LAYOUT)
    limit = limit_from(held_back_log_scores(heard, expected), prior, false_alarm_rate=rate)
    return Baseline.learn(heard, expected), limit


def fleet(seeds: range, scatter: float = 1.0) -> Variation:
    sessions = [session(seed, 30, scatter=scatter * np.random.default_rng(seed).uniform(0.7, 1.4)) for seed in seeds]
    parts = [variation_of(one, LAYOUT) for one in sessions]
    sums = sum(parts, Variation())
    return sum((plays_of(s, LAYOUT, sums - p) for s, p in zip(sessions, parts, strict=True)), sums)


@pytest.mark.parametrize("captures", [5, 10, 40])
def test_no_more_healthy_captures_exceed_than_stated_on_machines_the_fleet_has_never_heard(captures: int) -> None:
    """200 machines, 20 captures each: 40 exceedings at the stated 1 %; machines differ, so the bound is a loose one."""
    prior = fleet(range(1000, 1030)).prior(*LAYOUT)
    above = 0
    for seed in range(200):
        heard = session(seed, captures + 20, scatter=np.random.default_rng(seed).uniform(0.7, 1.4))
        baseline, limit = calibrated(heard[:captures], prior)
        for one in heard[captures:]:
            score = np.exp(log_score(baseline.standardise(one)))
            above += score >= limit.score
            if score <= limit.follow_score:
                baseline.follow(one)
    assert above / 4000 < 0.02, above


def test_what_the_fleet_knows_makes_five_captures_enough_to_see_what_else_needs_many() -> None:
    """Machines five times steadier than noise: a small rise of every band is plain to who knows that."""
    knows, alone = fleet(range(30), scatter=0.2).prior(*LAYOUT), PRIOR
    seen = {"knows": 0, "alone": 0}
    for seed in range(100, 140):
        heard = session(seed, 6, scatter=0.2)
        for name, prior in (("knows", knows), ("alone", alone)):
            baseline, limit = calibrated(heard[:5], prior)
            seen[name] += log_score(baseline.standardise(heard[5] + 0.015)) >= np.log(limit.score)
    assert seen["knows"] >= 30
    assert seen["alone"] <= seen["knows"] // 2


def test_a_machine_heard_for_long_is_judged_by_its_own_and_not_by_the_fleet() -> None:
    strange = dataclasses.replace(PRIOR, log_score=PRIOR.log_score + 1.0, own_log_score=PRIOR.own_log_score + 1.0)
    heard = session(5, 200)
    usual, foreign = calibrated(heard, PRIOR)[1], calibrated(heard, strange)[1]
    assert foreign.score < 1.15 * usual.score
    few = calibrated(heard[:4], PRIOR)[1], calibrated(heard[:4], strange)[1]
    assert few[1].score > 1.4 * few[0].score


def test_few_captures_make_the_limit_wide_and_the_stated_rate_moves_it() -> None:
    limits = [float(np.median([calibrated(session(s, n), PRIOR)[1].score for s in range(40)])) for n in (2, 5, 40, 200)]
    assert limits == sorted(limits, reverse=True)
    heard = session(3, 40)
    rates = [calibrated(heard, PRIOR, rate)[1].score for rate in (0.1, 0.01, 0.001)]
    assert rates == sorted(rates)


def test_neighbours_that_are_alike_count_for_less_than_they_are() -> None:
    rng = np.random.default_rng(0)
    white = rng.standard_normal(100)
    slow = np.convolve(rng.standard_normal(119), np.ones(20), mode="valid")
    assert independent(white) == 100.0
    assert independent(slow) < 20.0


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_captures_than_show_scatter_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"at least {MIN_CAPTURES} needed"):
        limit_from(np.zeros(count), PRIOR, false_alarm_rate=0.01)
