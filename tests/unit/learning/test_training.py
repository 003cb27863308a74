"""Local training on the graph a release carries, against the model written by hand."""

from typing import Any

import numpy as np
import pytest

from gateway_agent.model_slot import ModelSlot, TrainStep
from gateway_agent.training import MAX_WEIGHT, TrainingRefused, mean_score, split_by_time, train
from schemas.signing import Signer
from tests.support.learning import builtin, healthy_rows
from tests.support.numpy_autoencoder import NumpyAutoencoder

TWIN = NumpyAutoencoder((48, 32, 8, 32, 48))
RELEASE = builtin(Signer.generate())
THETA = RELEASE.parameters()
ASKED: dict[str, Any] = {"learning_rate": 3e-3, "proximal": 0.01, "seed": 5}


@pytest.fixture(scope="module")
def step() -> TrainStep:
    slot = ModelSlot()
    slot.load(RELEASE)
    return slot.train_step()


def test_training_lowers_the_loss_on_rows_it_has_not_seen(step: TrainStep) -> None:
    result = train(THETA, healthy_rows(1), step, steps=60, **ASKED)
    assert result.loss_after < 0.9 * result.loss_before
    assert (result.rows, result.held_back_rows, result.weight) == (256, 64, 256.0)


def test_one_step_equals_the_model_written_by_hand(step: TrainStep) -> None:
    """The batch is the first 32 of the order that the seed gives."""
    rows = healthy_rows(2, count=80)
    learnt, _ = split_by_time(rows)
    order = np.random.default_rng(5).permutation(len(learnt))
    batch = learnt[order[:32]].astype(np.float64)
    theta, zeros = THETA.astype(np.float64), np.zeros(THETA.size)
    expected, *_ = TWIN.adam_prox_step(
        theta=theta, m=zeros, v=zeros, t=0, anchor=theta, lr=3e-3, mu=0.01, x=batch, weight=np.ones(32)
    )
    delta = train(THETA, rows, step, steps=1, **ASKED).delta
    assert np.linalg.norm(delta - (expected - theta)) < 1e-3 * np.linalg.norm(expected - theta)


def test_a_partial_batch_counts_only_its_own_rows(step: TrainStep) -> None:
    rows = healthy_rows(3, count=45)
    expected, _ = TWIN.score(THETA.astype(np.float64), rows.astype(np.float64))
    assert mean_score(THETA, rows, step) == pytest.approx(float(expected.mean()), rel=1e-5)


def test_the_last_fifth_in_time_is_held_back_in_one_block() -> None:
    rows = np.repeat(np.arange(101, dtype=np.float32)[:, None], 48, axis=1)
    learnt, held_back = split_by_time(rows)
    assert learnt[-1, 0] + 1 == held_back[0, 0] == 80
    assert len(held_back) == 21


def test_the_same_seed_gives_the_same_delta(step: TrainStep) -> None:
    first, again = (train(THETA, healthy_rows(1), step, steps=10, **ASKED).delta for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_strong_pull_keeps_the_parameters_near(step: TrainStep) -> None:
    free, pulled = (
        train(THETA, healthy_rows(1), step, steps=30, learning_rate=3e-3, proximal=mu, seed=0).delta
        for mu in (0.0, 10.0)
    )
    assert np.linalg.norm(pulled) < 0.5 * np.linalg.norm(free)


def test_a_gateway_caps_its_own_weight(step: TrainStep) -> None:
    assert train(THETA, healthy_rows(1, count=6000), step, steps=1, **ASKED).weight == MAX_WEIGHT


def test_too_few_rows_are_refused_with_their_number(step: TrainStep) -> None:
    with pytest.raises(TrainingRefused, match="63 healthy rows found, at least 64 needed"):
        train(THETA, healthy_rows(1, count=63), step, steps=1, **ASKED)


def test_rows_with_nan_are_refused(step: TrainStep) -> None:
    rows = healthy_rows(1)
    rows[7, 3] = np.nan
    with pytest.raises(TrainingRefused, match="NaN"):
        train(THETA, rows, step, steps=1, **ASKED)


def test_a_training_that_diverges_is_refused_and_sends_nothing(step: TrainStep) -> None:
    with pytest.raises(TrainingRefused, match="diverged"):
        train(THETA, healthy_rows(1) * np.float32(1e25), step, steps=3, **ASKED)
