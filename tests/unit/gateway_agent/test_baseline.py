"""The baseline joins what a fleet knows with a few captures of its own, follows drift, and not damage."""

import numpy as np

from gateway_agent.baseline import (
    CLIP_SPREADS,
    Baseline,
    expected_variance,
    growth_decades,
    model_rows,
    score_of,
)
from schemas.variation import Variation
from tests.support.sessions import LAYOUT, session
from vibration.detection_features import DETECTION_COUNT, MODEL_COLUMNS, NARROW, estimation_scatter_decades

PRIOR = Variation().prior(*LAYOUT)
EXPECTED = expected_variance(PRIOR, *LAYOUT)


def test_before_anybody_was_heard_scatter_is_that_of_noise() -> None:
    np.testing.assert_allclose(np.sqrt(EXPECTED), estimation_scatter_decades(*LAYOUT))


def test_growth_is_the_logarithm_for_small_steps_bounded_below_and_steeper_above() -> None:
    small, far = growth_decades(np.array([0.01, -0.01])), growth_decades(np.array([-3.0, 3.0]))
    np.testing.assert_allclose(small, [0.01, -0.01], rtol=0.01)
    assert -2.2 < far[0] < -1.5
    assert far[1] > 6.0


def test_the_mean_square_of_healthy_captures_is_about_one_however_few_were_learnt() -> None:
    for learnt in (2, 5, 40):
        scores = []
        for seed in range(30):
            heard = session(seed, learnt + 20)
            baseline = Baseline.learn(heard[:learnt], EXPECTED)
            scores += [score_of(baseline.standardise(one)) for one in heard[learnt:]]
        assert 0.6 < float(np.median(scores)) < 1.5, learnt


def test_a_steady_machine_comes_to_know_a_small_change_that_a_restless_one_does_not() -> None:
    quiet, loud = session(0, 60, scatter=0.2), session(0, 60)
    moved = 0.05
    apart = [score_of(Baseline.learn(heard[:40], EXPECTED).standardise(heard[50] + moved)) for heard in (quiet, loud)]
    assert apart[0] > 2.0 * apart[1]


def test_one_capture_far_off_hardly_moves_the_baseline() -> None:
    heard = session(2, 41)
    baseline = Baseline.learn(heard[:40], EXPECTED)
    before = baseline.mean.copy()
    baseline.follow(heard[40] + 5.0)
    spread = np.sqrt(baseline.variance)
    assert float((np.abs(baseline.mean - before) / spread).max()) < 0.2


def test_distances_are_clipped_and_a_dead_band_does_not_drown_the_others() -> None:
    heard = session(3, 20)
    z = Baseline.learn(heard, EXPECTED).standardise(heard[0] + 100.0)
    assert float(z.max()) == CLIP_SPREADS


def test_the_model_is_given_narrow_bands_and_envelope_alone() -> None:
    z = np.arange(2 * DETECTION_COUNT, dtype=np.float64).reshape(2, DETECTION_COUNT)
    rows = model_rows(z)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, z[:, MODEL_COLUMNS])
    np.testing.assert_array_equal(rows[0, :32], z[0, NARROW])
