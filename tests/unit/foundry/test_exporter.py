"""Every rule of the exporter against JAX itself, and the shape of what it writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="the extra foundry (jax) is not installed: exporting graphs is not tested here")

import jax.numpy as jnp  # noqa: E402
import onnx  # noqa: E402
from jax import lax  # noqa: E402

from aggregator.foundry.errors import ExportError, NoRuleError, SymbolicShapeError  # noqa: E402
from aggregator.foundry.exporter import TensorSpec, export  # noqa: E402
from aggregator.foundry.exporter.registry import RULES  # noqa: E402
from aggregator.foundry.verification import open_session  # noqa: E402
from schemas.onnx_inspect import check_model  # noqa: E402

pytestmark = pytest.mark.foundry
MATRIX, VECTOR = (3, 4), (4,)


def positive(x: Any) -> Any:
    return jnp.abs(x) + 0.5


barrier: Any = lax.optimization_barrier
doubled: Any = jax.custom_vjp(lambda x: 2 * x)
doubled.defvjp(lambda x: (2 * x, None), lambda _, cotangent: (2 * cotangent,))

ONE: list[tuple[int, ...]] = [MATRIX]
TWO: list[tuple[int, ...]] = [MATRIX, MATRIX]
# Primitive: a function that uses it, and the shapes of its arguments.
EXAMPLES: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "abs": (jnp.abs, ONE),
    "add": (jnp.add, TWO),
    "add_any": (jax.grad(lambda x: jnp.sum(jnp.tanh(x) * x)), ONE),
    "and": (lambda x, y: jnp.where((x > 0) & (y > 0), x, y), TWO),
    "broadcast_in_dim": (lambda x: jnp.broadcast_to(x[:, None], (4, 3)).reshape(12) * 2, [VECTOR]),
    "ceil": (jnp.ceil, ONE),
    "checkpoint": (jax.grad(lambda x: jnp.sum(jax.checkpoint(jnp.tanh)(x))), ONE),
    "clamp": (lambda x: lax.clamp(-0.3, x, 0.4), ONE),
    "concatenate": (lambda x, y: jnp.concatenate([x, y], axis=1), TWO),
    "conv_general_dilated": (lambda x, k: lax.conv_general_dilated(x, k, (2,), [(1, 0)]), [(2, 3, 7), (4, 3, 3)]),
    "convert_element_type": (lambda x: (x > 0).astype(jnp.float32) * 2, ONE),
    "copy": (lambda x: jnp.copy(x) + 1, ONE),
    "cos": (jnp.cos, ONE),
    "custom_jvp_call": (jax.nn.relu, ONE),
    "custom_vjp_call": (doubled, ONE),
    "div": (lambda x, y: x / positive(y), TWO),
    "dot_general": (lambda x, y: jnp.einsum("bij,bkj->bki", x, y), [(2, 3, 4), (2, 5, 4)]),
    "eq": (lambda x, y: jnp.where(jnp.round(x) == jnp.round(y), x, y), TWO),
    "erf": (lax.erf, ONE),
    "exp": (jnp.exp, ONE),
    "expand_dims": (lambda x: lax.expand_dims(x, (1,)) + 1, ONE),
    "expm1": (lambda x: jnp.expm1(1e-3 * x), ONE),
    "floor": (jnp.floor, ONE),
    "ge": (lambda x, y: jnp.where(x >= y, x, 0), TWO),
    "gt": (lambda x, y: jnp.where(x > y, x, 0), TWO),
    "integer_pow": (lambda x: x**2 + x**3 + lax.integer_pow(positive(x), -1), ONE),
    "jit": (jax.jit(jnp.tanh), ONE),
    "le": (lambda x, y: jnp.where(x <= y, x, 0), TWO),
    "log": (lambda x: jnp.log(positive(x)), ONE),
    "logistic": (lax.logistic, ONE),
    "lt": (lambda x, y: jnp.where(x < y, x, 0), TWO),
    "max": (jnp.maximum, TWO),
    "min": (jnp.minimum, TWO),
    "mul": (jnp.multiply, [MATRIX, VECTOR]),
    "ne": (lambda x, y: jnp.where(jnp.round(x) != jnp.round(y), x, y), TWO),
    "neg": (jnp.negative, ONE),
    "not": (lambda x: jnp.where(~(x > 0), x, 0), ONE),
    "optimization_barrier": (lambda x: barrier(x) + 1, ONE),
    "or": (lambda x, y: jnp.where((x > 0) | (y > 0), x, y), TWO),
    "pad": (lambda x: jnp.pad(x, ((1, 0), (2, 3)), constant_values=0.5), ONE),
    "pow": (lambda x, y: positive(x) ** y, TWO),
    "reduce_max": (lambda x: jnp.max(x, axis=0), ONE),
    "reduce_min": (lambda x: jnp.min(x, axis=1), ONE),
    "reduce_precision": (lambda x: lax.reduce_precision(x, 8, 23), ONE),
    "reduce_prod": (lambda x: jnp.prod(x, axis=1), ONE),
    "reduce_sum": (jnp.sum, ONE),
    "reshape": (lambda x: x.reshape(2, 6) * 2, ONE),
    "round": (lambda x: jnp.round(4 * x) / 4, ONE),
    "rsqrt": (lambda x: lax.rsqrt(positive(x)), ONE),
    "scan": (lambda x, rows: lax.scan(lambda c, r: (c + r * c, c.sum() + r), x, rows), [VECTOR, MATRIX]),
    "select_n": (lambda x: jnp.where(x > 0, x, -3 * x), ONE),
    "sign": (jnp.sign, ONE),
    "sin": (jnp.sin, ONE),
    "slice": (lambda x: lax.slice(x, (0, 1), (3, 4), (2, 1)), ONE),
    "split": (lambda x: jnp.split(x, [1], axis=1), ONE),
    "sqrt": (lambda x: jnp.sqrt(positive(x)), ONE),
    "square": (jnp.square, ONE),
    "squeeze": (lambda x: jnp.squeeze(x[:, :1], 1) * 2, ONE),
    "stop_gradient": (jax.grad(lambda x: jnp.sum(lax.stop_gradient(x) * x)), ONE),
    "sub": (jnp.subtract, TWO),
    "tanh": (jnp.tanh, ONE),
    "transpose": (lambda x: x.T * 2, ONE),
}
# Names other versions of JAX use for what the examples show under another one.
OTHER_NAMES = {"closed_call", "copy_p", "core_call", "custom_vjp_call_jaxpr", "pjit", "remat", "remat2"}


def tuple_of(results: Any) -> tuple[Any, ...]:
    return tuple(jax.tree.leaves(results))


def exported(function: Callable[..., Any], *shapes: tuple[int | str, ...]) -> onnx.ModelProto:
    inputs = {f"in_{place}": TensorSpec(shape) for place, shape in enumerate(shapes)}
    fixed = [tuple(7 if isinstance(each, str) else each for each in shape) for shape in shapes]
    count = len(jax.tree.leaves(jax.eval_shape(function, *(jax.ShapeDtypeStruct(each, jnp.float32) for each in fixed))))
    outputs = [f"out_{place}" for place in range(count)]
    return export(lambda *x: tuple_of(function(*x)), inputs, outputs, name="example", summary="an example")


def computed(model: onnx.ModelProto, *arguments: np.ndarray) -> list[np.ndarray]:
    session = open_session(model.SerializeToString())
    results: list[np.ndarray] = session.run(None, {f"in_{place}": each for place, each in enumerate(arguments)})
    return results


def drawn(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    draw = np.random.default_rng(3)
    return [draw.standard_normal(shape).astype(np.float32) for shape in shapes]


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("primitive", sorted(EXAMPLES))
def test_rule_computes_what_jax_computes(primitive: str) -> None:
    function, shapes = EXAMPLES[primitive]
    arguments = drawn(*shapes)
    model = exported(function, *shapes)
    check_model(model.SerializeToString())
    wanted = tuple_of(function(*arguments))
    for found, want in zip(computed(model, *arguments), wanted, strict=True):
        np.testing.assert_allclose(found, want, rtol=3e-6, atol=1e-6)  # single precision, sums of twelve


def test_every_rule_has_an_example() -> None:
    assert RULES.keys() - EXAMPLES.keys() <= OTHER_NAMES


def test_products_of_matrices_in_every_orientation_carry_their_transposes() -> None:
    for spec, shapes in {
        "ij,jk->ik": [(3, 4), (4, 5)],
        "ji,jk->ik": [(4, 3), (4, 5)],
        "ij,kj->ik": [(3, 4), (5, 4)],
        "ji,kj->ki": [(4, 3), (5, 4)],
    }.items():
        arguments = drawn(*shapes)
        model = exported(lambda x, y, spec=spec: jnp.einsum(spec, x, y), *shapes)
        assert operators(model) == ["Gemm"]
        np.testing.assert_allclose(computed(model, *arguments)[0], np.einsum(spec, *arguments), rtol=1e-5, atol=1e-6)


def test_bias_is_part_of_the_matrix_product() -> None:
    model = exported(lambda x, w, b: x @ w + b, (3, 4), (4, 5), (5,))
    assert operators(model) == ["Gemm"]
    arguments = drawn((3, 4), (4, 5), (5,))
    want = arguments[0] @ arguments[1] + arguments[2]
    np.testing.assert_allclose(computed(model, *arguments)[0], want, rtol=1e-5, atol=1e-6)


def test_what_is_known_at_export_time_leaves_no_node() -> None:
    table = jnp.linspace(0, 1, 4)
    model = exported(lambda x: x * jnp.cumsum(jnp.sin(table) * 2), VECTOR)
    assert operators(model) == ["Mul"]


def test_equal_computations_are_made_once() -> None:
    model = exported(lambda x, y: (jnp.tanh(x + y), jnp.tanh(y + x) * 2), MATRIX, MATRIX)
    assert sorted(operators(model)) == ["Add", "Mul", "Tanh"]


def test_broadcasting_needs_no_node_where_operators_broadcast_themselves() -> None:
    model = exported(lambda x, b, s: jnp.broadcast_to(b, (3, 4)) * x + s, MATRIX, VECTOR, ())
    assert operators(model) == ["Mul", "Add"]


def test_broadcast_value_is_written_out_where_it_is_delivered() -> None:
    model = exported(lambda b: jnp.broadcast_to(b, (3, 4)), VECTOR)
    assert operators(model) == ["Expand"]
    (row,) = drawn(VECTOR)
    np.testing.assert_array_equal(computed(model, row)[0], np.tile(row, (3, 1)))


def test_input_and_constant_may_be_outputs_and_one_value_two() -> None:
    model = exported(lambda x: (x, jnp.ones(2), x + 1, x + 1), VECTOR)
    (row,) = drawn(VECTOR)
    found = computed(model, row)
    for got, want in zip(found, (row, np.ones(2), row + 1, row + 1), strict=True):
        np.testing.assert_array_equal(got, np.asarray(want, np.float32))


def test_named_dimension_takes_any_size() -> None:
    model = exported(lambda x, w: jnp.tanh(x @ w).mean(axis=1) * x.sum(axis=1), ("N", 4), (4, 5))
    for rows in (1, 2, 9):
        x, w = drawn((rows, 4), (4, 5))
        want = np.tanh(x @ w).mean(axis=1) * x.sum(axis=1)
        np.testing.assert_allclose(computed(model, x, w)[0], want, rtol=1e-5, atol=1e-6)


def test_named_dimension_that_would_have_to_be_written_down_is_refused() -> None:
    with pytest.raises(SymbolicShapeError, match="fix the batch size"):
        exported(lambda x, b: jnp.broadcast_to(b, (x.shape[0], 4)), ("N", 4), VECTOR)


def test_names_of_nodes_and_values_are_unique() -> None:
    model = exported(lambda x, y: jnp.tanh(x @ y) + jnp.tanh(y @ x) * 2, (4, 4), (4, 4))
    names = [node.name for node in model.graph.node]
    values = [value for node in model.graph.node for value in node.output]
    assert len(set(names)) == len(names)
    assert len(set(values)) == len(values)


def test_loop_is_written_out_and_holds_no_graph() -> None:
    model = exported(lambda x: lax.scan(lambda c, _: (jnp.tanh(c), None), x, None, length=3)[0], VECTOR)
    assert operators(model) == ["Tanh", "Tanh", "Tanh"]


def test_reversed_loop_collects_rows_in_their_order() -> None:
    def function(rows: Any) -> Any:
        return lax.scan(lambda carry, row: (carry + row, carry * row), jnp.zeros(4), rows, reverse=True)

    (rows,) = drawn(MATRIX)
    for found, want in zip(computed(exported(function, MATRIX), rows), function(rows), strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: lax.scan(lambda c, _: (c + 1, None), x, None, length=99)[0], "loop of 99 turns"),
        (lambda x: lax.pad(x, 0.0, [(0, 0, 1)]), "between elements"),
        (lambda x: lax.pad(x, x[0], [(1, 0, 0)]), "computed value"),
        (lambda x: (x.astype(jnp.int32) & 3).astype(jnp.float32), "only bool"),
        (lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO), "jnp.round"),
        (lambda x: lax.select_n(x.astype(jnp.int32), x, x, x), "two are allowed"),
    ],
)
def test_use_of_a_primitive_that_onnx_has_no_operator_for_is_refused(function: Any, reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        exported(function, VECTOR)


def test_primitive_without_a_rule_is_named_beside_those_that_have_one() -> None:
    with pytest.raises(NoRuleError, match=r"'sort' has no rule; write the function with abs, add, .* tanh") as caught:
        exported(jnp.sort, VECTOR)
    assert caught.value.primitive == "sort"


def test_gradient_through_a_gradient_step_agrees_with_jax() -> None:
    """What meta-learning and loops of inner steps need: nothing in the rules stops at first order."""

    def loss(weight: Any, x: Any) -> Any:
        return jnp.mean((jnp.tanh(x @ weight.reshape(4, 4)) - x) ** 2)

    def adapted_loss(weight: Any, x: Any, other: Any) -> Any:
        return loss(weight - 0.5 * jax.grad(loss)(weight, x), other)

    arguments = drawn((16,), (3, 4), (3, 4))
    model = exported(jax.grad(adapted_loss), (16,), (3, 4), (3, 4))
    np.testing.assert_allclose(computed(model, *arguments)[0], jax.grad(adapted_loss)(*arguments), rtol=1e-4, atol=1e-6)


def test_depthwise_convolution_written_as_shifted_products_agrees_with_jax() -> None:
    def function(x: Any, kernel: Any) -> Any:
        padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
        return jnp.sum(jax.nn.relu(sum(padded[:, shift : shift + 6] * kernel[shift] for shift in range(3))) ** 2)

    arguments = drawn((2, 6, 5), (3, 5))
    model = exported(jax.grad(function, argnums=1), (2, 6, 5), (3, 5))
    np.testing.assert_allclose(computed(model, *arguments)[0], jax.grad(function, argnums=1)(*arguments), rtol=1e-4)
