"""The comparison of ways of learning deals, splits and judges as a person would by hand."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.personalisation.clients import Client, clients_of, read_machines
from benchmarks.personalisation.comparison import Result, best_safe
from benchmarks.personalisation.learning import Course
from benchmarks.personalisation.methods import fleet_or_own, local_only, product
from benchmarks.personalisation.skew import HELD, Classifying, Recordings, deal, told, who_holds_what
from gateway_agent.training import NOTHING_OWN, check_settings, first_feed
from tests.support.recordings import healthy_noise, write_recording

LABELS = [(kind, size) for kind in ("ball", "inner", "outer") for size in (7.0, 14.0, 21.0)]
WINDOWS = 10


@pytest.fixture(scope="module")
def recordings() -> Recordings:
    """Every window with a first feature of its own."""
    made = {}
    for at, (label, load) in enumerate((label, load) for label in LABELS for load in range(4)):
        features = np.random.default_rng(at).standard_normal((WINDOWS, 48)).astype(np.float32)
        features[:, 0] = WINDOWS * at + np.arange(WINDOWS)
        made[label, load] = features
    return made


@pytest.mark.parametrize("seed", range(5))
def test_each_client_is_dealt_only_the_labels_it_holds_and_no_window_twice(recordings: Recordings, seed: int) -> None:
    dealt = deal(recordings, 3, seed)
    for rows, holds in zip(dealt.clients, who_holds_what(len(LABELS), seed), strict=True):
        assert len(holds) == HELD
        assert set(rows[:, 48:].argmax(axis=1).tolist()) <= holds
    windows = np.concatenate(dealt.clients)[:, 0]
    assert len(windows) == len(set(windows.tolist())) == 3 * len(LABELS) * WINDOWS


def test_nobody_learns_from_a_recording_of_the_load_held_out(recordings: Recordings) -> None:
    dealt = deal(recordings, 1, seed=0)
    assert not set(np.concatenate(dealt.clients)[:, 0].tolist()) & set(dealt.tested[:, 0].tolist())
    assert len(dealt.tested) == len(LABELS) * WINDOWS


def test_shares_told_are_those_of_the_client_with_one_row_more_of_every_label() -> None:
    rows = np.concatenate([np.zeros((4, 48)), np.eye(3)[[0, 0, 0, 1]]], axis=1).astype(np.float32)
    np.testing.assert_allclose(told(rows, 3, shares=True)[:, 51:], [np.log([4 / 7, 2 / 7, 1 / 7])] * 4, rtol=1e-6)
    assert not told(rows, 3, shares=False)[:, 51:].any()


@pytest.mark.foundry
def test_a_loss_that_knows_the_shares_pushes_less_against_a_label_the_client_lacks() -> None:
    pytest.importorskip("jax", reason="the extra foundry (jax) is not installed: no classifier can be built here")
    classifying = Classifying(3)
    step, parameters = classifying.step, classifying.family.parameters
    draw = np.random.default_rng(0)
    batch = step.graph.batch
    rows = np.concatenate([draw.standard_normal((batch, 48)), np.eye(3)[draw.integers(0, 2, batch)]], axis=1)
    feed = first_feed(step, classifying.family.initial_theta(0), NOTHING_OWN, check_settings(step.graph, {}))

    def push(*, shares: bool) -> float:
        """Of the third label's bias, by the first moment after one step: a tenth of the gradient."""
        given = {"x": told(rows.astype(np.float32), 3, shares=shares), "weight": np.ones(batch, np.float32)}
        return float(parameters.views(step(feed | given)["m_next"])["layer_3_bias"][2])

    assert 0 < push(shares=True) < 0.2 * push(shares=False)


def test_healthy_halves_are_apart_in_time_and_faults_are_whole_recordings(tmp_path: Path) -> None:
    healthy, faulty = healthy_noise(0, samples=8192), healthy_noise(1, samples=8192)
    write_recording(tmp_path / "healthy.npz", healthy)
    write_recording(tmp_path / "inner.npz", faulty, label="inner")
    write_recording(tmp_path / "healthy-alone.npz", healthy, rpm=900.0)
    (machine,) = read_machines(tmp_path, window_s=0.05)
    windows = 8192 // round(0.05 * 8192)
    assert (len(machine.learnt), len(machine.tested)) == (windows // 2, windows - windows // 2)
    assert {label: len(features) for label, features in machine.faulty.items()} == {"inner": windows}
    write_recording(tmp_path / "other-tail.npz", np.concatenate([healthy[:, :, :4096], faulty[:, :, 4096:]], axis=2),
                    rpm=1200.0)  # fmt: skip
    write_recording(tmp_path / "outer.npz", faulty, rpm=1200.0, label="outer")
    other, same = read_machines(tmp_path, window_s=0.05)
    np.testing.assert_array_equal(other.learnt, same.learnt)
    (client, _) = clients_of([other, same], "own")
    assert client.training.shape == (len(other.learnt) * 2, 48)


def test_the_best_is_chosen_only_among_those_that_let_no_client_fall() -> None:
    def result(*auroc: float) -> Result:
        return Result(np.array([auroc]), np.ones((1, len(auroc))))

    results = {"local only": result(0.90, 0.90), "bold": result(0.99, 0.88), "safe": result(0.95, 0.895)}
    assert best_safe(results) == "safe"
    assert best_safe({name: results[name] for name in ("local only", "bold")}) == "local only"


def test_a_client_unlike_the_others_keeps_its_own_model_and_one_with_few_rows_takes_the_fleets() -> None:
    draw = np.random.default_rng(4)
    common, unlike = draw.standard_normal((2, 3, 48))

    def client(name: str, captures: int, basis: np.ndarray) -> Client:
        rows = (draw.standard_normal((captures, 1, 3)) @ basis).astype(np.float32)
        return Client(name, rows, rows, {})

    clients = [*(client(f"like-{at}", 12, common) for at in range(5)), client("unlike", 600, unlike)]
    course = Course(rounds=6, steps=30, learning_rate=3e-3)
    chosen, fleet, own = (way(clients, 0, course) for way in (fleet_or_own, product, local_only))
    np.testing.assert_array_equal(chosen[0], fleet[0])
    np.testing.assert_array_equal(chosen[-1], own[-1])
