"""This file knows which rule turns which JAX primitive into ONNX nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from aggregator.foundry.errors import NoRuleError
from aggregator.foundry.exporter.graph import Graph, Operand, Shape


@dataclass(frozen=True, slots=True)
class Equation:
    """One line of a jaxpr as rules see it: what to compute, and the shapes and types JAX promised for it."""

    primitive: str
    parameters: Mapping[str, Any]
    shapes: tuple[Shape, ...]
    dtypes: tuple[np.dtype[Any], ...]

    @property
    def shape(self) -> Shape:
        return self.shapes[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.dtypes[0]


Rule: TypeAlias = Callable[[Graph, Equation, list[Operand]], Operand | Sequence[Operand]]
RULES: dict[str, Rule] = {}


def rule(*primitives: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule for these primitives."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(primitives, function))
        return function

    return register


def rule_for(primitive: str) -> Rule:
    if primitive not in RULES:
        raise NoRuleError(primitive, sorted(RULES))
    return RULES[primitive]
