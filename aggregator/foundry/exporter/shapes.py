"""This file knows the rules that move, cut and join elements, and those that reduce them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aggregator.foundry.errors import ExportError, SymbolicShapeError
from aggregator.foundry.exporter.graph import Graph, Operand, Shape, Value, integers, same
from aggregator.foundry.exporter.registry import Equation, Rule, rule

REDUCTIONS = {
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
    "reduce_sum": "ReduceSum",
}


def reshape(graph: Graph, operand: Operand, shape: Shape) -> Operand:
    """`Reshape` to a constant shape, where one symbolic dimension may be written -1, "the rest".

    Nothing is done for a value that is one number everywhere, and of two reshapes in a row only the last
    remains.
    """
    if not isinstance(operand, Value):
        return operand.reshape(shape)
    if not operand.stored:
        return Value(operand.name, tuple(shape), operand.dtype, ())
    whole = graph.expand(operand)
    before = graph.producer(whole, "Reshape")
    source = before[1][0] if before is not None else whole
    if _same_shape(source.shape, shape):
        return source
    target = [dimension if isinstance(dimension, int) else -1 for dimension in shape]
    if target.count(-1) > 1:
        raise SymbolicShapeError(shape)
    return graph.operator("Reshape", [source, integers(target)], shape, operand.dtype)


def transpose(graph: Graph, operand: Operand, order: Sequence[int]) -> Operand:
    """`Transpose`, except that a matrix product is turned by exchanging its factors: (A B)' = B' A'."""
    order = [int(axis) for axis in order]
    if order == list(range(len(order))):
        return operand
    shape = tuple(operand.shape[axis] for axis in order)
    product = graph.producer(operand, "Gemm")
    if product is not None and len(product[1]) == 2:
        node, (left, right) = product
        flips = dict(node.attributes)
        turned = {"transA": 1 - flips["transB"], "transB": 1 - flips["transA"]}
        return graph.operator("Gemm", [right, left], shape, operand.dtype, **turned)
    return graph.operator("Transpose", [operand], shape, operand.dtype, perm=order)


@rule("reshape", "squeeze", "expand_dims")
def reshaped(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """All three only rename axes of size one or regroup elements in order."""
    return reshape(graph, operands[0], equation.shape)


@rule("transpose")
def transposed(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    return transpose(graph, operands[0], equation.parameters["permutation"])


@rule("broadcast_in_dim")
def broadcast_in_dim(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """No node where the axes line up from the right; else a `Reshape` that adds axes of size one."""
    operand = operands[0]
    if isinstance(operand, Value) and not operand.stored:
        return Value(operand.name, equation.shape, operand.dtype, ())
    axes = [int(axis) for axis in equation.parameters["broadcast_dimensions"]]
    rank = len(equation.shape)
    if axes != list(range(rank - len(axes), rank)):
        aligned: list[Any] = [1] * (rank - min(axes))
        for axis, dimension in zip(axes, operand.shape, strict=True):
            aligned[axis - min(axes)] = dimension
        operand = reshape(graph, operand, tuple(aligned))
    assert isinstance(operand, Value), "a known value is broadcast when it is computed"
    return Value(operand.name, equation.shape, operand.dtype, operand.stored)


@rule("concatenate")
def concatenate(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """`Concat`."""
    axis = int(equation.parameters["dimension"])
    return graph.operator("Concat", operands, equation.shape, equation.dtype, axis=axis)


@rule("split")
def split(graph: Graph, equation: Equation, operands: list[Operand]) -> list[Value]:
    """`Split` into the given sizes: one node where JAX's slices would be one each."""
    sizes = integers([int(size) for size in equation.parameters["sizes"]])
    axis = int(equation.parameters["axis"])
    return graph.operator_with_outputs("Split", [operands[0], sizes], equation.shapes, equation.dtype, axis=axis)


@rule("slice")
def sliced(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """`Slice`, told only the axes it cuts."""
    operand = operands[0]
    starts, stops = equation.parameters["start_indices"], equation.parameters["limit_indices"]
    strides = equation.parameters["strides"] or (1,) * len(starts)
    cuts = [
        (int(start), int(stop), axis, int(stride))
        for axis, (start, stop, stride) in enumerate(zip(starts, stops, strides, strict=True))
        if not (same(start, 0) and same(stop, operand.shape[axis]) and same(stride, 1))
    ]
    if not cuts:
        return operand
    limits = [integers(column) for column in zip(*cuts, strict=True)]
    return graph.operator("Slice", [operand, *limits], equation.shape, equation.dtype)


@rule("pad")
def pad(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """`Pad` by a constant; ONNX's negative pads cut, as JAX's do."""
    operand, fill = operands
    amounts = equation.parameters["padding_config"]
    if any(interior for _, _, interior in amounts):
        raise ExportError("padding between elements has no ONNX operator; write the function without it")
    if isinstance(fill, Value):
        raise ExportError("padding with a computed value is not supported; pad with a constant")
    if not any(low or high for low, high, _ in amounts):
        return operand
    ends = integers([low for low, _, _ in amounts] + [high for _, high, _ in amounts])
    return graph.operator("Pad", [operand, ends, fill], equation.shape, equation.dtype)


def _reduction(operator: str) -> Rule:
    def apply(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
        operand = operands[0]
        axes = [int(axis) for axis in equation.parameters["axes"]]
        if all(same(operand.shape[axis], 1) for axis in axes):
            return reshape(graph, operand, equation.shape)
        return graph.operator(operator, [operand, integers(axes)], equation.shape, equation.dtype, keepdims=0)

    return apply


for _primitive, _operator in REDUCTIONS.items():
    rule(_primitive)(_reduction(_operator))


def _same_shape(one: Shape, other: Shape) -> bool:
    return len(one) == len(other) and all(map(same, one, other))
