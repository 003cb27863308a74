"""This file knows the rules for calls, which are opened, and loops, which are unrolled: no sub-graphs remain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aggregator.foundry.errors import ExportError
from aggregator.foundry.exporter.graph import Graph, Operand
from aggregator.foundry.exporter.registry import Equation, rule
from aggregator.foundry.exporter.shapes import reshape
from aggregator.foundry.exporter.trace import inline

LONGEST_LOOP = 32  # turns; each is written out in full, and files are meant to stay a few kilobytes
BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")


@rule(
    "checkpoint",
    "closed_call",
    "core_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "jit",
    "pjit",
    "remat",
    "remat2",
)
def call(graph: Graph, equation: Equation, operands: list[Operand]) -> Sequence[Operand]:
    """No node: the equations inside take the call's place."""
    body = next(equation.parameters[key] for key in BODIES if key in equation.parameters)
    return inline(graph, body, operands)


@rule("scan")
def scan(graph: Graph, equation: Equation, operands: list[Operand]) -> Sequence[Operand]:
    """The body once per turn, rows cut by `Slice`, joined by `Concat`; ONNX's `Scan` holds a sub-graph."""
    turns = equation.parameters["length"]
    if turns > LONGEST_LOOP:
        raise ExportError(f"a loop of {turns} turns would be written out in full; {LONGEST_LOOP} are allowed")
    fixed_count, carry_count = equation.parameters["num_consts"], equation.parameters["num_carry"]
    fixed, rest = operands[:fixed_count], operands[fixed_count:]
    carry, sequences = rest[:carry_count], rest[carry_count:]
    order = range(turns - 1, -1, -1) if equation.parameters["reverse"] else range(turns)
    collected: dict[int, list[Operand]] = {}
    for turn in order:
        rows = [_row(graph, sequence, turn) for sequence in sequences]
        results = inline(graph, equation.parameters["jaxpr"], [*fixed, *carry, *rows])
        carry, collected[turn] = results[:carry_count], results[carry_count:]
    columns = zip(*(collected[turn] for turn in range(turns)), strict=True)
    return [*carry, *(_stack(graph, list(column)) for column in columns)]


def _row(graph: Graph, sequence: Operand, turn: int) -> Operand:
    shape = tuple(sequence.shape[1:])
    if isinstance(sequence, np.ndarray):
        return np.asarray(sequence[turn])
    limits = [np.asarray([limit], np.int64) for limit in (turn, turn + 1, 0)]
    return reshape(graph, graph.operator("Slice", [sequence, *limits], (1, *shape), sequence.dtype), shape)


def _stack(graph: Graph, rows: list[Operand]) -> Operand:
    raised = [reshape(graph, row, (1, *row.shape)) for row in rows]
    return graph.operator("Concat", raised, (len(rows), *rows[0].shape), rows[0].dtype, axis=0)
