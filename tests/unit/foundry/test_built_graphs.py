"""The graphs that ship, without JAX: golden vectors, a hand-written twin, and what training must and must not do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest

from aggregator.foundry import golden
from aggregator.foundry.artefacts import BUILT, BuiltSpec, read_checked
from aggregator.foundry.families import DenseAutoencoder
from aggregator.foundry.golden import relative_error
from aggregator.foundry.verification import open_session, verify
from schemas.onnx_inspect import check_model
from tests.support.numpy_autoencoder import NumpyAutoencoder

FOLDER = BUILT / "dense_autoencoder_48"
SPEC = BuiltSpec.load(FOLDER)
FAMILY = DenseAutoencoder(SPEC.features)
TWIN = NumpyAutoencoder(FAMILY.widths)
TRAINING = sorted(SPEC.graphs.keys() - {"score"})


@cache
def runner(name: str) -> Callable[[dict[str, Any]], dict[str, np.ndarray]]:
    row = SPEC.graphs[name]
    session = open_session((FOLDER / row.file).read_bytes())
    names = [output.name for output in row.outputs]

    def run(feed: dict[str, Any]) -> dict[str, np.ndarray]:
        given = {key: np.asarray(value, np.float32) for key, value in feed.items()}
        return dict(zip(names, session.run(names, given), strict=True))

    return run


def healthy(rows: int, seed: int) -> np.ndarray:
    """Samples near a plane of five dimensions, as standardised spectra of one machine are."""
    draw = np.random.default_rng(seed)
    plane = np.random.default_rng(1).standard_normal((5, SPEC.features))
    return (draw.standard_normal((rows, 5)) @ plane / 2 + 0.1 * draw.standard_normal((rows, SPEC.features))).astype("f")


def adam_feed(**changes: Any) -> dict[str, Any]:
    theta = FAMILY.initial_theta(0)
    zeros = np.zeros_like(theta)
    feed = {"theta": theta, "m": zeros, "v": zeros, "t": 0, "anchor": theta, "lr": 1e-2, "mu": 0}
    return {**feed, "x": healthy(SPEC.batch, 2), "weight": np.ones(SPEC.batch), **changes}


def positive_feed(name: str, seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    shapes = {each.name: [int(size) for size in each.shape] for each in SPEC.graphs[name].inputs}
    return {key: np.asarray(draw.uniform(0.1, 1, shape), np.float32) for key, shape in shapes.items()}


def twin_outputs(name: str, feed: Mapping[str, np.ndarray]) -> list[Any]:
    doubled = {key: value.astype(np.float64) for key, value in feed.items()}
    return list(getattr(TWIN, name)(**doubled)) if name != "score" else list(TWIN.score(doubled["theta"], doubled["x"]))


def test_everything_that_ships_holds_on_its_golden_vectors() -> None:
    reports = {report.name: report for report in verify(FOLDER)}
    assert reports.keys() == SPEC.graphs.keys()
    assert all(report.worst_error < 1e-5 for report in reports.values())
    assert SPEC.golden.cases >= 10


@pytest.mark.parametrize("name", sorted(SPEC.graphs))
def test_golden_vectors_agree_with_the_numpy_twin_in_double_precision(name: str) -> None:
    """Two independent derivations of the same gradient: JAX's and one by hand."""
    vectors = golden.from_bytes(read_checked(FOLDER, "golden.npz", SPEC.golden.sha256), SPEC.golden.cases)[name]
    outputs = [output.name for output in SPEC.graphs[name].outputs]
    errors = vectors.errors(
        lambda feed: dict(zip(outputs, twin_outputs(name, feed), strict=True)), SPEC.graphs[name].updates
    )
    assert max(errors.values()) < 5e-6, errors  # golden outputs are kept in single precision


@pytest.mark.parametrize("name", TRAINING)
def test_update_agrees_with_the_numpy_twin_on_healthy_samples(name: str) -> None:
    feed = positive_feed(name, 5)
    feed |= {"theta": FAMILY.initial_theta(3), "x": healthy(SPEC.batch, 4)}
    found = runner(name)(feed)
    for (key, got), want in zip(found.items(), twin_outputs(name, feed), strict=True):
        updated = SPEC.graphs[name].updates.get(key)
        start = feed[updated].astype(np.float64) if updated else 0.0
        assert relative_error(got - start, np.asarray(want) - start) < 2e-5, key


def test_score_of_any_number_of_samples_agrees_with_the_numpy_twin() -> None:
    theta = FAMILY.initial_theta(7)
    for rows in (1, 3, 64):
        x = healthy(rows, rows)
        found = runner("score")({"x": x, "theta": theta})
        score, reconstruction = TWIN.score(theta.astype(np.float64), x.astype(np.float64))
        np.testing.assert_allclose(found["score"], score, rtol=1e-5)
        np.testing.assert_allclose(found["reconstruction"], reconstruction, atol=1e-5)


def test_another_theta_changes_the_score_of_the_same_session_at_once() -> None:
    x = healthy(2, 1)
    scores = [runner("score")({"x": x, "theta": FAMILY.initial_theta(seed)})["score"] for seed in (1, 2, 1)]
    assert not np.allclose(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])


@pytest.mark.parametrize("name", TRAINING)
def test_rows_of_weight_zero_leave_no_trace(name: str) -> None:
    feed = positive_feed(name, 6)
    feed["weight"] = (np.arange(SPEC.batch) < 20).astype(np.float32)
    other = feed | {"x": feed["x"].copy()}
    other["x"][20:] = 1e3
    for key, value in runner(name)(feed).items():
        np.testing.assert_array_equal(value, runner(name)(other)[key])


def test_empty_batch_has_no_loss_and_moves_nothing() -> None:
    feed = adam_feed(weight=np.zeros(SPEC.batch))
    found = runner("adam_prox_step")(feed)
    assert found["loss"] == 0
    np.testing.assert_array_equal(found["theta_next"], feed["theta"])


def test_empty_batch_leaves_only_the_pull_to_the_anchor() -> None:
    feed = adam_feed(weight=np.zeros(SPEC.batch), mu=1.0, anchor=FAMILY.initial_theta(9))
    found = runner("adam_prox_step")(feed)
    towards = np.sign(feed["anchor"] - feed["theta"])
    np.testing.assert_allclose(found["theta_next"] - feed["theta"], feed["lr"] * towards, atol=1e-6)


def test_adams_epsilon_is_kept() -> None:
    """With a gradient far below epsilon the step is far below the rate; an exporter that drops it steps in full."""
    feed = adam_feed(mu=1.0, weight=np.zeros(SPEC.batch))
    feed |= {"theta": np.full_like(feed["theta"], 1e-10), "anchor": np.zeros_like(feed["theta"])}
    found = runner("adam_prox_step")(feed)["theta_next"]
    want = 1e-10 - feed["lr"] * 1e-10 / (1e-10 + 1e-8)
    np.testing.assert_allclose(found, want, rtol=1e-3)


def test_training_on_healthy_samples_lowers_their_score_and_not_that_of_strange_ones() -> None:
    feed = adam_feed()
    for step in range(300):
        found = runner("adam_prox_step")(feed | {"x": healthy(SPEC.batch, 100 + step)})
        feed |= {"theta": found["theta_next"], "m": found["m_next"], "v": found["v_next"], "t": found["t_next"]}
    strange = np.random.default_rng(0).standard_normal((64, SPEC.features)).astype("f")
    known = runner("score")({"x": healthy(64, 50), "theta": feed["theta"]})["score"]
    unknown = runner("score")({"x": strange, "theta": feed["theta"]})["score"]
    assert feed["t"] == 300
    assert known.max() < unknown.min()


def test_stronger_pull_ends_nearer_to_the_anchor() -> None:
    distances = []
    for mu in (0.0, 0.1, 10.0):
        feed = adam_feed(mu=mu)
        for _ in range(30):
            found = runner("adam_prox_step")(feed)
            feed |= {"theta": found["theta_next"], "m": found["m_next"], "v": found["v_next"], "t": found["t_next"]}
        distances.append(float(np.linalg.norm(feed["theta"] - feed["anchor"])))
    assert distances == sorted(distances, reverse=True)


def test_no_sample_moves_the_clipped_step_further_than_its_limit() -> None:
    theta = FAMILY.initial_theta(0)
    x = healthy(SPEC.batch, 3)
    feed = {"theta": theta, "noise": 0 * theta, "lr": 1.0, "clip": 0.25, "sigma": 1.0}
    feed |= {"x": x, "weight": np.ones(SPEC.batch)}
    outlier = x.copy()
    outlier[7] = 1e4
    moved = runner("clipped_step")(feed | {"x": outlier})["theta_next"] - runner("clipped_step")(feed)["theta_next"]
    assert np.linalg.norm(moved) <= 2 * 0.25 / SPEC.batch * 1.001  # one sample's share leaves, another enters


def test_every_operator_of_what_ships_is_on_the_gateways_list() -> None:
    for row in SPEC.graphs.values():
        content = (FOLDER / row.file).read_bytes()
        facts = check_model(content)
        onnx.checker.check_model(content, full_check=True)
        assert facts.ir_version == 9
        assert facts.opsets == {"": 18}
        assert facts.size_bytes < 20_000


def test_layout_in_spec_json_is_the_familys() -> None:
    assert SPEC.parameter_spec == FAMILY.parameters
    theta = np.arange(FAMILY.parameters.count, dtype=np.float32)
    views = FAMILY.parameters.views(theta)
    np.testing.assert_array_equal(np.concatenate([view.ravel() for view in views.values()]), theta)
    views["layer_2_bias"][:] = -1
    assert (theta == -1).sum() == 8


def test_first_parameters_come_from_the_seed_alone() -> None:
    np.testing.assert_array_equal(FAMILY.initial_theta(5), FAMILY.initial_theta(5))
    assert not np.array_equal(FAMILY.initial_theta(5), FAMILY.initial_theta(6))
    assert all(not FAMILY.parameters.views(FAMILY.initial_theta(5))[f"layer_{n}_bias"].any() for n in (1, 2, 3, 4))
