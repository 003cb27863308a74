"""This file knows how to walk a jaxpr, equation by equation, from a JAX function to a finished model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import onnx
from jax import export as jax_export
from jax.extend import core

from aggregator.foundry.exporter.graph import Graph, Operand, Value
from aggregator.foundry.exporter.registry import Equation, rule_for

# Primitives that only wrap other equations: always opened, also when all is known.
WRAPPERS = frozenset(
    {
        "checkpoint",
        "closed_call",
        "core_call",
        "custom_jvp_call",
        "custom_vjp_call",
        "jit",
        "pjit",
        "remat",
        "remat2",
        "scan",
    }
)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input of a graph; a dimension given by name may have any size at run time."""

    shape: tuple[int | str, ...]
    dtype: type[np.generic] = np.float32


def export(
    function: Callable[..., tuple[Any, ...]],
    inputs: Mapping[str, TensorSpec],
    outputs: Sequence[str],
    *,
    name: str,
    summary: str,
) -> onnx.ModelProto:
    """Turn a JAX function into a plain-opset ONNX model.

    Args:
        function: Takes the inputs in their order, returns a tuple in the order of `outputs`.
        inputs: Public name, shape and type of each argument.
        outputs: Public name of each result.
        name: Name of the graph.
        summary: What the graph is for; kept in the file.

    Returns:
        A checked model: opset 18, IR 9, no sub-graphs, unique node names.

    Raises:
        NoRuleError: The function uses a primitive the exporter does not know.
        ExportError: A known primitive is used in a way ONNX has no operator for.
    """
    closed = jax.make_jaxpr(function)(*_abstract_arguments(inputs))
    graph = Graph()
    avals: list[Any] = closed.in_avals
    fed = [
        Value(public, aval.shape, np.dtype(aval.dtype), aval.shape) for public, aval in zip(inputs, avals, strict=True)
    ]
    results = inline(graph, closed, fed)
    return graph.model(name, fed, list(zip(outputs, results, strict=True)), summary)


def inline(graph: Graph, closed: Any, operands: Sequence[Operand]) -> list[Operand]:
    """Add the equations of a jaxpr to the graph; those whose operands are all known are computed now."""
    jaxpr, constants = (closed.jaxpr, closed.consts) if hasattr(closed, "consts") else (closed, ())
    values: dict[Any, Operand] = {}
    values |= zip(jaxpr.constvars, map(np.asarray, constants), strict=True)
    values |= zip(jaxpr.invars, operands, strict=True)

    def read(atom: Any) -> Operand:
        literal: Any = atom if isinstance(atom, core.Literal) else None
        return values[atom] if literal is None else np.asarray(literal.val, literal.aval.dtype)

    for line in jaxpr.eqns:
        results = _evaluate(graph, line, [read(atom) for atom in line.invars])
        values |= zip(line.outvars, results, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _evaluate(graph: Graph, line: Any, operands: list[Operand]) -> Sequence[Operand]:
    primitive = line.primitive.name
    if primitive not in WRAPPERS and all(isinstance(operand, np.ndarray) for operand in operands):
        results = line.primitive.bind(*map(jax.numpy.asarray, operands), **line.params)
        return [np.asarray(result) for result in (results if line.primitive.multiple_results else [results])]
    equation = Equation(
        primitive,
        line.params,
        tuple(variable.aval.shape for variable in line.outvars),
        tuple(np.dtype(variable.aval.dtype) for variable in line.outvars),
    )
    made = rule_for(primitive)(graph, equation, operands)
    results = [made] if isinstance(made, Value | np.ndarray) else list(made)
    found = [tuple(result.shape) for result in results]
    assert found == [tuple(shape) for shape in equation.shapes], (primitive, found, equation.shapes)
    return results


def _abstract_arguments(inputs: Mapping[str, TensorSpec]) -> list[Any]:
    names = sorted({dimension for spec in inputs.values() for dimension in spec.shape if isinstance(dimension, str)})
    symbols = dict(zip(names, jax_export.symbolic_shape(",".join(names)), strict=True)) if names else {}
    abstract: Any = jax.ShapeDtypeStruct
    return [
        abstract(tuple(symbols[each] if isinstance(each, str) else each for each in spec.shape), spec.dtype)
        for spec in inputs.values()
    ]
