"""This file knows what a learning rule is: a training step for any family, and what goes in and comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from aggregator.foundry.exporter import TensorSpec
from aggregator.foundry.families import Family
from schemas.parameter_levels import MergeLevel
from schemas.training_graph import GraphSetting, Role, StepInput

Step: TypeAlias = Callable[..., tuple[Any, ...]]

RATES = (0.3, 0.5, 0.8, 1.0, 1.3, 1.7, 2.0, 2.3, 2.6, 3.0)  # long, so that an update is not lost in rounding
STRENGTHS = (0.0, 0.1, 0.5, 1.0, 2.0)


class Kind(StrEnum):
    """What an input is: its shape for a family of P parameters and F features, batch N, and what it holds."""

    MODEL = "model"  # (P,), the parameters that learn
    ANCHOR = "anchor"  # (P,), those the round started from
    PERSONAL = "personal"  # (P,), those of one gateway
    TEACHER = "teacher"  # (P,), those to learn from
    MASK = "mask"  # (P,), 1 for parameters that may move, else 0
    NOISE = "noise"  # (P,), standard normal numbers
    MOMENT = "moment"  # (P,), running mean of gradients, zero at first
    SQUARE = "square"  # (P,), running mean of squared gradients, zero at first
    COUNT = "count"  # (), steps taken so far
    SAMPLES = "samples"  # (N, F)
    WEIGHTS = "weights"  # (N,), 0 for rows that only fill the batch
    QUERY_SAMPLES = "query_samples"  # (N, F), a second batch
    QUERY_WEIGHTS = "query_weights"  # (N,)


ROLES: dict[Kind, Role] = {
    Kind.MODEL: "parameters",
    Kind.ANCHOR: "anchor",
    Kind.PERSONAL: "personal",
    Kind.TEACHER: "teacher",
    Kind.MASK: "mask",
    Kind.NOISE: "noise",
    Kind.MOMENT: "state",
    Kind.SQUARE: "state",
    Kind.COUNT: "state",
    Kind.SAMPLES: "samples",
    Kind.WEIGHTS: "weights",
    Kind.QUERY_SAMPLES: "second_samples",
    Kind.QUERY_WEIGHTS: "second_weights",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One number that a task may set; shape ().

    Attributes:
        name: What tasks call it.
        default: Taken when a task says nothing.
        lowest: Gateways refuse less.
        highest: Gateways refuse more.
        tried: Values the golden cases take in turn.
    """

    name: str
    default: float
    lowest: float
    highest: float
    tried: tuple[float, ...] = STRENGTHS


def rate(default: float, highest: float, name: str = "learning_rate", tried: tuple[float, ...] = RATES) -> Setting:
    """Describe a step length."""
    return Setting(name, default, 0.0, highest, tried)


@dataclass(frozen=True, slots=True)
class LearningRule:
    """A training step and the names of what goes in and comes out.

    Attributes:
        name: Name of the graph and, with `.onnx`, of its file.
        summary: What the step does, one line.
        inputs: Name and kind of each input, in order.
        outputs: Name of each result; `a_next` is the value of input `a` in the step after.
        make: Builds the step for a family.
        moved: Levels of the parameters that a mask lets move, where the rule has one.
    """

    name: str
    summary: str
    inputs: Mapping[str, Kind | Setting]
    outputs: tuple[str, ...]
    make: Callable[[Family], Step] = field(repr=False)
    moved: tuple[MergeLevel, ...] = ("machine",)

    @property
    def next_values(self) -> dict[str, str]:
        """Which output takes which input's place in the step after."""
        return {name: name.removesuffix("_next") for name in self.outputs if name.endswith("_next")}

    @property
    def updates(self) -> dict[str, str]:
        """Those of them that are parameters: checks compare how far they moved, not where they are."""
        models = (Kind.MODEL, Kind.PERSONAL)
        return {output: name for output, name in self.next_values.items() if self.inputs[name] in models}

    def input_specs(self, family: Family, batch: int) -> dict[str, TensorSpec]:
        """State the shape of each input for a family and batch size."""
        shapes: dict[Kind, tuple[int, ...]] = dict.fromkeys(Kind, (family.parameters.count,))
        shapes |= dict.fromkeys((Kind.SAMPLES, Kind.QUERY_SAMPLES), (batch, family.features))
        shapes |= dict.fromkeys((Kind.WEIGHTS, Kind.QUERY_WEIGHTS), (batch,))
        shapes[Kind.COUNT] = ()
        return {
            name: TensorSpec(() if isinstance(kind, Setting) else shapes[kind]) for name, kind in self.inputs.items()
        }

    def described_inputs(self, family: Family, batch: int) -> tuple[StepInput, ...]:
        """Tell gateways what to feed."""
        shapes = {name: spec.shape for name, spec in self.input_specs(family, batch).items()}
        return tuple(_described(name, shapes[name], kind, self.moved) for name, kind in self.inputs.items())


def _described(name: str, shape: Any, kind: Kind | Setting, moved: tuple[MergeLevel, ...]) -> StepInput:
    if isinstance(kind, Setting):
        setting = GraphSetting(name=kind.name, default=kind.default, lowest=kind.lowest, highest=kind.highest)
        return StepInput(name=name, shape=shape, role="setting", setting=setting)
    return StepInput(name=name, shape=shape, role=ROLES[kind], levels=moved if kind is Kind.MASK else None)
