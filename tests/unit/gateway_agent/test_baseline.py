"""The limit keeps the false-alarm rate it states, and is honest about how little it has seen."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from gateway_agent.baseline import (
    CLIP_SPREADS,
    MIN_CAPTURES,
    PRIOR_SPREAD_DECADES,
    Rows,
    calibrate,
    fit_baseline,
    point_scores,
    statistical_scorer,
)


def lognormal_scorer(rows: Rows) -> tuple[Rows, Rows]:
    """A scorer whose scores of standard normal rows are lognormal: the exponential of the first feature."""
    return np.exp(0.4 * rows[:, 0]), rows


def features(seed: int, count: int, *, channels: int = 1, width: int = 6) -> Rows:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, channels, width)) * 0.1 - 3.0).astype(np.float32)


@pytest.mark.parametrize("captures", [40, 200])
@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_share_of_healthy_captures_above_the_limit_is_the_stated_rate(captures: int, rate: float) -> None:
    """300 points with 40 further captures each; far fewer than independent, so the binomial bound is a wide one."""
    points, further = 300, 40
    above = 0
    for seed in range(points):
        seen = features(seed, captures + further)
        baseline = fit_baseline(seen[:captures])
        limit = calibrate(seen[:captures], lognormal_scorer, false_alarm_rate=rate)
        scores, _ = point_scores(baseline.standardise(seen[captures:]), lognormal_scorer)
        above += int((scores >= limit.score).sum())
    trials = points * further
    low, high = float(binom.ppf(1e-4, trials, rate)), float(binom.ppf(1 - 1e-4, trials, rate))
    assert 0.7 * low <= above <= 1.3 * high, above / trials


def test_few_captures_make_the_limit_wide() -> None:
    limits = [
        np.median([calibrate(features(s, n), lognormal_scorer, false_alarm_rate=0.01).score for s in range(60)])
        for n in (2, 3, 5, 10, 40)
    ]
    assert limits == sorted(limits, reverse=True)
    assert limits[0] > 100 * limits[-1]


def test_a_handful_of_captures_does_not_raise_more_false_alarms_than_stated() -> None:
    above = 0
    for seed in range(400):
        seen = features(seed, 5 + 20)
        limit = calibrate(seen[:5], statistical_scorer, false_alarm_rate=0.01)
        scores, _ = point_scores(fit_baseline(seen[:5]).standardise(seen[5:]), statistical_scorer)
        above += int((scores >= limit.score).sum())
    assert above / (400 * 20) < 0.02


def test_captures_that_are_all_alike_do_not_make_the_limit_tight() -> None:
    alike = np.full((20, 1, 6), -3.0, np.float32) + features(0, 20) * 1e-4
    limit = calibrate(alike, statistical_scorer, false_alarm_rate=0.01)
    baseline = fit_baseline(alike)
    assert float(baseline.spread.min()) > 0.3 * PRIOR_SPREAD_DECADES
    usual = point_scores(baseline.standardise(alike), statistical_scorer)[0]
    assert limit.score > 1.4 * float(usual.max())


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_captures_than_show_scatter_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"at least {MIN_CAPTURES} needed"):
        calibrate(features(0, count), statistical_scorer, false_alarm_rate=0.01)


def test_spread_of_one_capture_is_the_prior_and_of_many_what_was_seen() -> None:
    assert fit_baseline(features(0, 1)).spread == pytest.approx(PRIOR_SPREAD_DECADES)
    wide = features(0, 4000) * 5
    np.testing.assert_allclose(fit_baseline(wide).spread, wide.std(axis=0), rtol=0.01)


def test_standardised_rows_are_clipped() -> None:
    baseline = fit_baseline(features(0, 10))
    far = baseline.standardise(np.full((1, 1, 6), 100.0, np.float32))
    assert float(far.max()) == CLIP_SPREADS


def test_score_of_a_point_is_the_mean_over_its_axes() -> None:
    rows = np.zeros((2, 3, 4), np.float32)
    rows[1, 2] = 3.0
    scores, reconstructed = point_scores(rows, statistical_scorer)
    np.testing.assert_allclose(scores, [0.0, 3.0])
    assert reconstructed.shape == rows.shape


def test_a_lower_false_alarm_rate_is_a_higher_limit() -> None:
    seen = features(3, 40)
    limits = [calibrate(seen, statistical_scorer, false_alarm_rate=rate).score for rate in (0.1, 0.01, 0.001)]
    assert limits == sorted(limits)
    assert all(math.isfinite(limit) for limit in limits)
