"""Where JAX is at hand: every convolutional family in both forms, any width, and what the exporter makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="the extra foundry (jax) is not installed: forms are checked as built only")

import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from aggregator.foundry.build import export_rule, export_score  # noqa: E402
from aggregator.foundry.errors import ExportError  # noqa: E402
from aggregator.foundry.exporter import TensorSpec, export  # noqa: E402
from aggregator.foundry.families_conv import ConvAutoencoder, ConvClassifier  # noqa: E402
from aggregator.foundry.golden import relative_error  # noqa: E402
from aggregator.foundry.golden_cases import double_precision  # noqa: E402
from aggregator.foundry.rules import RULES  # noqa: E402
from aggregator.foundry.verification import open_session  # noqa: E402
from schemas.onnx_inspect import check_model  # noqa: E402
from tests.support import numpy_conv  # noqa: E402

pytestmark = pytest.mark.foundry
FORMS = [
    ConvAutoencoder(48),
    ConvAutoencoder(13),
    ConvClassifier(266, widths=(8, 16, 24)),
    ConvClassifier(70, widths=(4, 8), pooled=False),
]
NAMES = [f"{family.name}_{family.features}" for family in FORMS]
Family = ConvAutoencoder | ConvClassifier


def rows_of(family: Family, count: int) -> np.ndarray:
    rows = np.random.default_rng(count).standard_normal((count, family.features))
    if isinstance(family, ConvClassifier):
        rows[:, family.samples :] = np.eye(family.labels)[np.arange(count) % family.labels]
    return rows.astype(np.float32)


def exported(function: Any, *shapes: tuple[int, ...]) -> list[str]:
    inputs = {f"in_{place}": TensorSpec(shape) for place, shape in enumerate(shapes)}
    model = export(lambda *given: (function(*given),), inputs, ["out"], name="example", summary="an example")
    arguments = [np.random.default_rng(2).standard_normal(shape).astype(np.float32) for shape in shapes]
    feed = dict(zip(inputs, arguments, strict=True))
    found = open_session(model.SerializeToString()).run(None, feed)[0]
    np.testing.assert_allclose(found, function(*arguments), rtol=1e-4, atol=1e-5)
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("family", FORMS, ids=NAMES)
def test_both_forms_and_the_exported_graph_give_the_same_score(family: Family) -> None:
    theta, rows = family.initial_theta(2), rows_of(family, 6)
    training, inference = (double_precision(form) for form in (family.score, family.score_for_inference))
    wanted = training(theta, rows)
    session = open_session(export_score(family).SerializeToString())
    for native, found, want in zip(
        inference(theta, rows), session.run(None, {"x": rows, "theta": theta}), wanted, strict=True
    ):
        np.testing.assert_allclose(native, want, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooled", [True, False])
def test_classifier_agrees_with_the_loop_written_twin(pooled: bool) -> None:
    family = ConvClassifier(138, widths=(4, 8), pooled=pooled)
    theta, rows = family.initial_theta(2), rows_of(family, 3)
    scores, completed = double_precision(family.score)(theta, rows)
    parameters = family.parameters.views(theta.astype(np.float64))
    for place, row in enumerate(rows.astype(np.float64)):
        score, wanted = numpy_conv.classifier_score(parameters, row, labels=10, pooled=pooled)
        assert scores[place] == pytest.approx(score, rel=1e-6)
        np.testing.assert_allclose(completed[place], wanted, atol=1e-7)


def test_row_without_label_has_no_loss_and_probabilities_that_add_up_to_one() -> None:
    family = ConvClassifier(138, widths=(4, 8))
    rows = rows_of(family, 3)
    rows[:, family.samples :] = 0
    scores, completed = double_precision(family.score)(family.initial_theta(1), rows)
    np.testing.assert_array_equal(scores, 0)
    np.testing.assert_allclose(completed[:, family.samples :].sum(axis=1), 1)


@pytest.mark.parametrize(
    ("family", "name"),
    [(FORMS[1], "adam_prox_step"), (FORMS[2], "adam_prox_step"), (FORMS[3], "clipped_step"), (FORMS[3], "maml_step")],
    ids=["autoencoder-adam", "classifier-adam", "classifier-clipped", "classifier-maml"],
)
def test_update_agrees_with_double_precision_and_its_graph_is_plain(family: Family, name: str) -> None:
    """Per-example clipping maps over samples, MAML differentiates the gradient: both go through every layer."""
    rule, batch = RULES[name], 5
    draw = np.random.default_rng(8)
    feed: dict[str, np.ndarray] = {}
    for key, spec in rule.input_specs(family, batch).items():
        shape = [int(size) for size in spec.shape]
        values = np.abs(draw.standard_normal(shape))
        if shape == [family.parameters.count] and key not in {"m", "v", "noise"}:
            values = family.initial_theta(4) + 0.02 * values
        elif len(shape) == 2:
            values = rows_of(family, batch)
        feed[key] = np.asarray(values, np.float32)
    model = export_rule(rule, family, batch)
    facts = check_model(model.SerializeToString())
    assert "Conv" not in facts.op_types
    found = open_session(model.SerializeToString()).run(list(rule.outputs), feed)
    wanted = double_precision(rule.make(family))(*feed.values())
    for key, got, want in zip(rule.outputs, found, wanted, strict=True):
        start = feed[rule.updates[key]].astype(np.float64) if key in rule.updates else 0.0
        assert relative_error(got - start, want - start) < 1e-4, key  # single precision, twice through the network


def test_classifier_learns_the_labels_of_tones() -> None:
    family, batch, rule = ConvClassifier(138, widths=(8, 16)), 20, RULES["adam_prox_step"]
    session = open_session(export_rule(rule, family, batch).SerializeToString())
    draw = np.random.default_rng(0)
    theta = family.initial_theta(1)
    zeros = np.zeros_like(theta)
    feed = {"theta": theta, "m": zeros, "v": zeros, "t": 0, "anchor": theta, "lr": 5e-3, "mu": 0}
    feed = {key: np.asarray(value, np.float32) for key, value in feed.items()} | {"weight": np.ones(batch, "f")}
    losses = []
    for _ in range(150):
        label = draw.integers(0, 10, batch)
        phase = draw.uniform(0, 2 * np.pi, (batch, 1))
        tones = np.sin(2 * np.pi * (label[:, None] + 1) * np.arange(128) / 40 + phase)
        feed["x"] = np.concatenate([tones, np.eye(10)[label]], axis=1).astype(np.float32)
        feed["theta"], feed["m"], feed["v"], feed["t"], loss = session.run(None, feed)
        losses.append(float(loss))
    assert np.mean(losses[-10:]) < 0.5 * losses[0]


def test_bias_is_part_of_the_convolution() -> None:
    def convolution(x: Any, kernels: Any, bias: Any) -> Any:
        return lax.conv_general_dilated(x, kernels, (2,), [(1, 1)]) + bias[:, None]

    assert exported(convolution, (2, 3, 8), (4, 3, 4), (4,)) == ["Conv"]


def test_depthwise_convolution_keeps_its_groups() -> None:
    def convolution(x: Any, kernels: Any) -> Any:
        return lax.conv_general_dilated(x, kernels, (1,), [(2, 0)], rhs_dilation=(2,), feature_group_count=3)

    assert exported(convolution, (2, 3, 8), (3, 1, 2)) == ["Conv"]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x, k: lax.conv_general_dilated(x, k, (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC")), "order"),
        (lambda x, k: lax.conv_general_dilated(x, k, (1,), [(0, 0)], lhs_dilation=(2,)), "gradient of a convolution"),
    ],
)
def test_convolution_that_onnx_has_no_operator_for_is_refused(function: Any, reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        exported(function, (4, 4, 4), (4, 4, 4))


def test_numbers_are_multiplied_before_they_meet_a_tensor() -> None:
    found = exported(lambda x, y, n, k: n * (k * x / jnp.exp(y)), (3, 4), (3, 4), (), ())
    assert sorted(found) == ["Div", "Exp", "Mul", "Mul"]
    assert exported(lambda x: 3.0 * (0.5 * x), (3, 4)) == ["Mul"]


def test_larger_of_a_value_and_zero_is_one_operator() -> None:
    assert exported(lambda x: jnp.maximum(x, 0), (3, 4)) == ["Relu"]


def test_padding_by_nothing_leaves_no_node() -> None:
    assert exported(lambda x: jnp.pad(x, ((0, 0), (0, 0))) * 2, (3, 4)) == ["Mul"]
