"""This file knows the rules for matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence

from aggregator.foundry.exporter.graph import Graph, Operand, broadcast, same, slim, stored_shape
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


def _others(operand: Operand, *taken: Sequence[int]) -> list[int]:
    used = {axis for axes in taken for axis in axes}
    return [axis for axis in range(len(operand.shape)) if axis not in used]


def _size(operand: Operand, axes: Sequence[int]) -> int:
    return math.prod(operand.shape[axis] for axis in axes)
