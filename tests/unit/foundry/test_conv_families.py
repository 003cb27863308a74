"""The convolutional families: graphs and hand-written twins give one score and one update; gateways take releases."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest

from aggregator.foundry import golden
from aggregator.foundry.artefacts import BUILT, BuiltSpec, read_checked
from aggregator.foundry.errors import FoundryError
from aggregator.foundry.families import FAMILIES, family_named
from aggregator.foundry.families_conv import ConvAutoencoder, ConvClassifier
from aggregator.foundry.golden import relative_error
from aggregator.foundry.verification import open_session, verify
from aggregator.release_making import first_release
from benchmarks.training_step_numpy import SeparableClassifier
from gateway_agent.model_slot import ModelSlot
from schemas.onnx_inspect import check_model
from schemas.signing import Signer
from tests.support import numpy_conv
from tests.support.learning import healthy_rows

FOLDER = BUILT / "conv_autoencoder_48"
FAMILY = ConvAutoencoder(48)
TWIN = numpy_conv.NumpyConvAutoencoder(48)
TRAINING = sorted(BuiltSpec.load(FOLDER).graphs.keys() - {"score"})


@cache
def shipped() -> BuiltSpec:
    return BuiltSpec.load(FOLDER)


def run(graph: str, feed: dict[str, Any]) -> dict[str, np.ndarray]:
    row = shipped().graphs[graph]
    session = open_session((FOLDER / row.file).read_bytes())
    names = [output.name for output in row.outputs]
    given = {key: np.asarray(value, np.float32) for key, value in feed.items()}
    return dict(zip(names, session.run(names, given), strict=True))


def parameters_of(family: ConvAutoencoder | ConvClassifier, theta: np.ndarray) -> dict[str, np.ndarray]:
    return family.parameters.views(theta.astype(np.float64))


def lively(family: ConvAutoencoder | ConvClassifier, seed: int) -> np.ndarray:
    """Parameters with biases that are not zero."""
    theta = family.initial_theta(seed)
    theta += 0.05 * np.random.default_rng(seed).standard_normal(theta.size).astype(np.float32)
    return theta


def adam_feed(theta: np.ndarray, x: np.ndarray, weight: np.ndarray, **changes: Any) -> dict[str, Any]:
    zeros = np.zeros_like(theta)
    feed = {"theta": theta, "m": zeros, "v": zeros, "t": 0, "anchor": theta, "lr": 1e-2, "mu": 0}
    return {**feed, "x": x, "weight": weight, **changes}


def test_everything_of_the_convolutional_autoencoder_that_ships_holds_on_its_golden_vectors() -> None:
    reports = verify(FOLDER)
    assert {report.name for report in reports} == set(shipped().graphs)
    assert max(report.worst_error for report in reports) < 3e-5
    assert shipped().parameter_spec == FAMILY.parameters
    assert all(check_model((FOLDER / row.file).read_bytes()).op_types for row in shipped().graphs.values())


def test_inference_is_by_native_convolution_and_training_is_not() -> None:
    for name, row in shipped().graphs.items():
        assert ("Conv" in row.ops) == (name == "score"), name


def test_score_of_the_graph_is_that_of_the_loop_written_twin() -> None:
    theta, rows = lively(FAMILY, 3), healthy_rows(5, 6)
    found = run("score", {"x": rows, "theta": theta})
    for place, row in enumerate(rows.astype(np.float64)):
        score, reconstruction = numpy_conv.autoencoder_score(parameters_of(FAMILY, theta), row)
        assert found["score"][place] == pytest.approx(score, rel=1e-5)
        np.testing.assert_allclose(found["reconstruction"][place], reconstruction, atol=1e-5)


def test_training_graph_and_inference_graph_give_the_same_score() -> None:
    """Two lowerings of one network: shifted products for the gradient, `Conv` for scoring."""
    theta, rows = lively(FAMILY, 4), healthy_rows(6, shipped().batch)
    weight = np.random.default_rng(1).uniform(0, 1, shipped().batch).astype("f")
    scores = run("score", {"x": rows, "theta": theta})["score"]
    loss = run("adam_prox_step", adam_feed(theta, rows, weight))["loss"]
    assert loss == pytest.approx(float(weight @ scores / weight.sum()), rel=1e-5)


def twin_outputs(name: str, feed: Mapping[str, np.ndarray]) -> dict[str, Any]:
    doubled = {key: value.astype(np.float64) for key, value in feed.items()}
    found = TWIN.score(doubled["theta"], doubled["x"]) if name == "score" else getattr(TWIN, name)(**doubled)
    return dict(zip((output.name for output in shipped().graphs[name].outputs), found, strict=True))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.nightly if name == "maml_step" else ()) for name in ("score", *TRAINING)],
)
def test_golden_vectors_agree_with_the_numpy_twin_in_double_precision(name: str) -> None:
    """Two independent derivations of the same gradient: JAX's and one by hand."""
    cases = shipped().golden
    vectors = golden.from_bytes(read_checked(FOLDER, "golden.npz", cases.sha256), cases.cases)[name]
    errors = vectors.errors(lambda feed: twin_outputs(name, feed), shipped().graphs[name].updates)
    assert max(errors.values()) < 5e-6, errors  # golden outputs are kept in single precision


@pytest.mark.parametrize("name", TRAINING)
def test_update_agrees_with_the_numpy_twin_on_healthy_samples(name: str) -> None:
    draw, row = np.random.default_rng(5), shipped().graphs[name]
    shapes = {each.name: [int(size) for size in each.shape] for each in row.inputs}
    feed = {key: np.asarray(draw.uniform(0.1, 1, shape), np.float32) for key, shape in shapes.items()}
    networks = [key for key in ("theta", "personal", "anchor", "teacher") if key in feed]
    feed |= {key: lively(FAMILY, seed) for seed, key in enumerate(networks)} | {"x": healthy_rows(4, shipped().batch)}
    found, wanted = run(name, feed), twin_outputs(name, feed)
    for key, got in found.items():
        start = feed[row.updates[key]].astype(np.float64) if key in row.updates else 0.0
        assert relative_error(got - start, np.asarray(wanted[key]) - start) < 2e-5, key


def test_gradient_of_the_twin_is_the_slope_of_the_loop_written_score() -> None:
    theta, rows = lively(FAMILY, 8).astype(np.float64), healthy_rows(9, 4).astype(np.float64)
    weight = np.array([1.0, 0.5, 0.25, 0.0])
    places = np.random.default_rng(2).choice(theta.size, 40, replace=False)

    def loss(at: np.ndarray) -> float:
        parameters = FAMILY.parameters.views(at)
        return float(weight @ [numpy_conv.autoencoder_score(parameters, row)[0] for row in rows] / weight.sum())

    found, gradient = TWIN.loss_and_gradient(theta, rows, weight)
    wanted = numpy_conv.slopes(loss, theta, places)
    assert found == pytest.approx(loss(theta), rel=1e-12)
    assert np.linalg.norm(gradient[places] - wanted) < 1e-6 * np.linalg.norm(wanted)


def test_gradient_that_the_benchmark_races_is_the_slope_of_the_loop_written_cross_entropy() -> None:
    family, batch = ConvClassifier(74, widths=(4, 8, 8)), 3
    theta, draw = lively(family, 6).astype(np.float64), np.random.default_rng(7)
    rows = np.concatenate([draw.standard_normal((batch, 64)), np.eye(10)[[1, 4, 9]]], axis=1)
    weight = np.array([1.0, 0.5, 0.0])
    raced = SeparableClassifier(theta.copy(), family.widths, 64, 10, batch)
    places = draw.choice(theta.size, 40, replace=False)

    def loss(at: np.ndarray) -> float:
        parameters = family.parameters.views(at)
        scores = [numpy_conv.classifier_score(parameters, row, labels=10, pooled=True)[0] for row in rows]
        return float(weight @ scores / weight.sum())

    assert raced.loss_and_gradient(rows, weight) == pytest.approx(loss(theta), rel=1e-12)
    wanted = numpy_conv.slopes(loss, theta, places)
    assert np.linalg.norm(raced.gradient[places] - wanted) < 1e-6 * np.linalg.norm(wanted)


def test_gateway_takes_a_convolutional_release_scores_and_trains_it() -> None:
    release = first_release(FOLDER, Signer.generate(), created_at_us=0, seed=3)
    slot = ModelSlot()
    slot.load(release)
    rows = healthy_rows(1, 50)
    score, reconstruction = slot.score(rows)
    assert score.shape == (50,)
    assert reconstruction.shape == (50, 48)
    np.testing.assert_allclose(score, np.mean((reconstruction - rows) ** 2, axis=1), rtol=1e-4)


def test_training_on_healthy_rows_lowers_their_score_and_not_that_of_strange_ones() -> None:
    batch = shipped().batch
    row = shipped().graphs["adam_prox_step"]
    session = open_session((FOLDER / row.file).read_bytes())
    rows, feed = healthy_rows(2, 40 * batch), adam_feed(FAMILY.initial_theta(1), np.zeros(0), np.ones(batch))
    feed = {key: np.asarray(value, np.float32) for key, value in feed.items()}
    for step in range(400):
        feed["x"] = rows[step % 40 * batch :][:batch]
        feed["theta"], feed["m"], feed["v"], feed["t"], _ = session.run(None, feed)
    strange = np.random.default_rng(0).standard_normal((64, 48)).astype("f")
    before = run("score", {"x": rows[:64], "theta": FAMILY.initial_theta(1)})["score"].mean()
    known, unknown = (run("score", {"x": x, "theta": feed["theta"]})["score"] for x in (rows[:64], strange))
    assert known.mean() < 0.5 * before
    assert known.mean() < 0.5 * unknown.mean()


def test_first_parameters_keep_the_variance_through_the_encoder() -> None:
    """What batch normalisation does elsewhere: neither vanishing nor growing from block to block."""
    family = ConvClassifier(266)
    rows = np.random.default_rng(0).standard_normal((4, 256))
    parameters = parameters_of(family, family.initial_theta(1))
    hidden = np.stack([numpy_conv.encoded(parameters, row[:, None], stem_kernel=16, stem_stride=4) for row in rows])
    assert 0.1 < np.mean(hidden**2) < 10


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_lays_its_parameters_without_gaps_and_draws_them_from_the_seed(name: str) -> None:
    family = family_named(name, 48)
    ends = [each.offset + each.size for each in family.parameters.slices]
    assert [each.offset for each in family.parameters.slices] == [0, *ends[:-1]]
    np.testing.assert_array_equal(family.initial_theta(5), family.initial_theta(5))
    assert not np.array_equal(family.initial_theta(5), family.initial_theta(6))


def test_row_without_room_for_a_sample_beside_its_label_is_refused() -> None:
    with pytest.raises(FoundryError, match="10 features hold no sample beside 10 labels"):
        family_named("conv_classifier", 10)
