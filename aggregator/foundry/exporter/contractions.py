"""This file knows the rules for matrix products and convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from aggregator.foundry.errors import ExportError
from aggregator.foundry.exporter.graph import Graph, Operand, Value, broadcast, same, slim, stored_shape
from aggregator.foundry.exporter.registry import Equation, rule
from aggregator.foundry.exporter.shapes import reshape, transpose


@rule("dot_general")
def dot_general(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """`Gemm` for two matrices, since it transposes either for free; `MatMul` over a stack for the rest."""
    left, right = operands
    (left_summed, right_summed), (left_batch, right_batch) = equation.parameters["dimension_numbers"]
    if not left_batch and len(left.shape) == len(right.shape) == 2 and len(left_summed) == 1:
        flips = {"transA": int(left_summed[0] == 0), "transB": int(right_summed[0] == 1)}
        return graph.operator("Gemm", operands, equation.shape, equation.dtype, **flips)

    left_free = _others(left, left_summed, left_batch)
    right_free = _others(right, right_summed, right_batch)
    stack = [left.shape[axis] for axis in left_batch]
    rows, columns = _size(left, left_free), _size(right, right_free)
    summed = _size(left, left_summed)
    one = reshape(graph, transpose(graph, left, [*left_batch, *left_free, *left_summed]), (*stack, rows, summed))
    other = transpose(graph, right, [*right_batch, *right_summed, *right_free])
    other = reshape(graph, other, (*stack, summed, columns))
    product = graph.operator("MatMul", [one, other], (*stack, rows, columns), equation.dtype)
    return reshape(graph, product, equation.shape)


def gemm_with_addend(graph: Graph, product: Operand, addend: Operand) -> Operand | None:
    """Fold an addition into the `Gemm` that made one of its operands, or say that it cannot be."""
    made = graph.producer(product, "Gemm")
    if made is None or len(made[1]) != 2 or len(stored_shape(addend)) > 2:
        return None
    common = broadcast([product.shape, stored_shape(addend)])
    if not all(same(one, other) for one, other in zip(common, product.shape, strict=True)):
        return None
    node, factors = made
    outputs = [(product.shape, product.shape)]
    return graph.node("Gemm", [*factors, slim(addend)], outputs, product.dtype, dict(node.attributes))[0]


@rule("conv_general_dilated")
def convolution(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """`Conv`, for samples and kernels in its own order of axes; gradients of a convolution are in others."""
    given = equation.parameters
    order = given["dimension_numbers"]
    straight = tuple(range(len(equation.shape)))
    if any(spec != straight for spec in (order.lhs_spec, order.rhs_spec, order.out_spec)):
        raise ExportError("convolution over axes in another order than NCH, OIH has no ONNX operator; turn them first")
    if any(step != 1 for step in given["lhs_dilation"]) or given["batch_group_count"] != 1:
        raise ExportError("gradient of a convolution has no ONNX operator; train with products of matrices")
    before, after = zip(*given["padding"], strict=True)
    return graph.operator(
        "Conv",
        operands,
        equation.shape,
        equation.dtype,
        kernel_shape=[int(size) for size in operands[1].shape[2:]],
        strides=[int(step) for step in given["window_strides"]],
        dilations=[int(step) for step in given["rhs_dilation"]],
        pads=[int(size) for size in (*before, *after)],
        group=int(given["feature_group_count"]),
    )


def conv_with_bias(graph: Graph, product: Operand, addend: Operand) -> Operand | None:
    """Fold the addition of one number a channel into the `Conv` before it, or say that it cannot be."""
    made = graph.producer(product, "Conv")
    if made is None or len(made[1]) != 2 or not isinstance(addend, Value):
        return None
    channels = product.shape[1]
    if addend.stored not in {(channels, 1), (1, channels, 1)}:
        return None
    node, factors = made
    column = Value(addend.name, addend.stored, addend.dtype, addend.stored)
    bias = reshape(graph, column, (channels,))
    outputs = [(product.shape, product.shape)]
    return graph.node("Conv", [*factors, bias], outputs, product.dtype, dict(node.attributes))[0]


def _others(operand: Operand, *taken: Sequence[int]) -> list[int]:
    used = {axis for axes in taken for axis in axes}
    return [axis for axis in range(len(operand.shape)) if axis not in used]


def _size(operand: Operand, axes: Sequence[int]) -> int:
    return math.prod(operand.shape[axis] for axis in axes)
