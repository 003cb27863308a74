"""This file knows the rules for arithmetic on single elements, which ONNX broadcasts as numpy does."""

from __future__ import annotations

import numpy as np
from onnx import helper

from aggregator.foundry.errors import ExportError
from aggregator.foundry.exporter.contractions import conv_with_bias, gemm_with_addend
from aggregator.foundry.exporter.graph import Graph, Operand, slim
from aggregator.foundry.exporter.registry import RULES, Equation, Rule, rule

# Primitives with an ONNX operator of the same meaning.
SAME_MEANING = {
    "abs": "Abs",
    "ceil": "Ceil",
    "cos": "Cos",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "min": "Min",
    "neg": "Neg",
    "pow": "Pow",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tanh": "Tanh",
}
LOGICAL = {"and": "And", "or": "Or", "not": "Not"}


def _same_meaning(operator: str) -> Rule:
    def apply(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
        return graph.elementwise(operator, operands, equation.shape, equation.dtype)

    return apply


RULES.update({primitive: _same_meaning(operator) for primitive, operator in SAME_MEANING.items()})


@rule("add", "add_any")
def add(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """`Gemm` and `Conv` carry an addend for free, so a bias needs no node of its own; any other sum is an `Add`."""
    for fold in (gemm_with_addend, conv_with_bias):
        for product, addend in (operands, operands[::-1]):
            fused = fold(graph, product, addend)
            if fused is not None:
                return fused
    return graph.elementwise("Add", operands, equation.shape, equation.dtype)


@rule("mul")
def multiply(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """`Mul`; numbers are multiplied with each other before they meet a tensor, which costs one pass over it less."""
    for number, tensor in (operands, operands[::-1]):
        scaled = _scaled(graph, number, tensor, equation) if _is_number(number) else None
        if scaled is not None:
            return scaled
    return graph.elementwise("Mul", operands, equation.shape, equation.dtype)


def _scaled(graph: Graph, number: Operand, tensor: Operand, equation: Equation) -> Operand | None:
    """Give `number` to the number that `tensor` is a multiple of, or say that there is none."""
    product = graph.producer(tensor, "Mul")
    if product is not None:
        for other, rest in (product[1], product[1][::-1]):
            if _is_number(other) and isinstance(number, np.ndarray) == isinstance(other, np.ndarray):
                return graph.elementwise(
                    "Mul", [_number_product(graph, number, other), rest], equation.shape, equation.dtype
                )
    quotient = graph.producer(tensor, "Div")
    if quotient is not None and not _is_number(tensor):
        above = _scaled(graph, number, quotient[1][0], equation)
        if above is not None:
            return graph.elementwise("Div", [above, quotient[1][1]], equation.shape, equation.dtype)
    return None


def _number_product(graph: Graph, one: Operand, other: Operand) -> Operand:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.asarray(one * other)
    return graph.elementwise("Mul", [one, other], (), one.dtype)


def _is_number(operand: Operand) -> bool:
    return slim(operand).shape == () if isinstance(operand, np.ndarray) else operand.stored == ()


@rule("max")
def maximum(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """`Relu` for the larger of a value and zero: onnxruntime applies it while the product before it is written."""
    for one, other in (operands, operands[::-1]):
        if isinstance(one, np.ndarray) and not one.any():
            return graph.elementwise("Relu", [other], equation.shape, equation.dtype)
    return graph.elementwise("Max", operands, equation.shape, equation.dtype)


@rule(*LOGICAL)
def logical(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """`And`, `Or`, `Not` hold for truth values only; JAX uses the same primitives for bits of integers."""
    if equation.dtype != np.bool_:
        raise ExportError(f"{equation.primitive!r} on {equation.dtype} works on bits; only bool is supported")
    return graph.elementwise(LOGICAL[equation.primitive], operands, equation.shape, equation.dtype)


@rule("ne")
def not_equal(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """ONNX has no NotEqual: `Not` of `Equal`."""
    equal = graph.elementwise("Equal", operands, equation.shape, np.bool_)
    return graph.elementwise("Not", [equal], equation.shape, np.bool_)


@rule("square")
def square(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """`Mul` by itself, several times cheaper than `Pow`."""
    return graph.elementwise("Mul", [operands[0], operands[0]], equation.shape, equation.dtype)


@rule("integer_pow")
def integer_power(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """`Mul` for squares, `Reciprocal` for -1, else `Pow` with a constant exponent."""
    exponent = equation.parameters["y"]
    if exponent == 2:
        return square(graph, equation, operands)  # type: ignore[return-value]
    if exponent == -1:
        return graph.elementwise("Reciprocal", operands, equation.shape, equation.dtype)
    power = np.asarray(exponent, equation.dtype)
    return graph.elementwise("Pow", [operands[0], power], equation.shape, equation.dtype)


@rule("rsqrt")
def reciprocal_square_root(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """`Reciprocal` of `Sqrt`: ONNX has no single operator."""
    root = graph.elementwise("Sqrt", operands, equation.shape, equation.dtype)
    return graph.elementwise("Reciprocal", [root], equation.shape, equation.dtype)


@rule("expm1")
def exponential_minus_one(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """exp(x) - 1 = tanh(x / 2) (exp(x) + 1), which keeps its digits near zero where `Exp` - 1 loses them.

    Adam's bias correction 1 - 0.999^t is such a case: at t = 1 the plain difference is off by 6e-5.
    """
    shape, dtype = equation.shape, equation.dtype
    half = graph.elementwise("Mul", [operands[0], np.asarray(0.5, dtype)], shape, dtype)
    slope = graph.elementwise("Tanh", [half], shape, dtype)
    power = graph.elementwise("Exp", operands, shape, dtype)
    return graph.elementwise(
        "Mul", [slope, graph.elementwise("Add", [power, np.asarray(1, dtype)], shape, dtype)], shape, dtype
    )


@rule("round")
def rounding(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """`Round` takes a half to the even neighbour, as quantisation does; JAX's other way has no operator."""
    if int(equation.parameters["rounding_method"]) != 1:
        raise ExportError("round away from zero has no ONNX operator; use jnp.round")
    return graph.elementwise("Round", operands, equation.shape, equation.dtype)


@rule("clamp")
def clamp(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """`Max` then `Min`: ONNX's `Clip` takes scalar limits only."""
    lowest, operand, highest = operands
    raised = graph.elementwise("Max", [operand, lowest], equation.shape, equation.dtype)
    return graph.elementwise("Min", [raised, highest], equation.shape, equation.dtype)


@rule("select_n")
def select(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """`Where`; JAX puts the value for False first."""
    if len(operands) != 3:
        raise ExportError(f"select among {len(operands) - 1} values has no ONNX operator; two are allowed")
    which, if_false, if_true = operands
    return graph.elementwise("Where", [which, if_true, if_false], equation.shape, equation.dtype)


@rule("convert_element_type")
def convert(graph: Graph, equation: Equation, operands: list[Operand]) -> Operand:
    """`Cast`, unless the type stays."""
    operand = operands[0]
    if operand.dtype == equation.dtype:
        return operand
    to = helper.np_dtype_to_tensor_dtype(equation.dtype)
    return graph.elementwise("Cast", [operand], equation.shape, equation.dtype, to=int(to))


@rule("stop_gradient", "copy", "copy_p", "optimization_barrier", "reduce_precision")
def unchanged(graph: Graph, equation: Equation, operands: list[Operand]) -> list[Operand]:
    """Means something to JAX alone; no node."""
    del graph, equation
    return operands
