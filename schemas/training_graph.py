"""This file knows how a release describes its training graph, so that a gateway can run a rule it has never heard of.

spec.json has one row a graph; the row with the digest of train_step.onnx is the one that counts. Each input has a
role, and the role alone says what a gateway feeds:

    parameters      theta, what is learnt; the update is how far it has moved when the round ends
    state           carried from step to step, 0 at first: moments, counters
    anchor          the parameters the round started from
    personal        parameters that are this gateway's own, kept from round to round; theta at first
    teacher         parameters to learn from (P,): the release's teacher.bin, or its own where it has none
    samples         a batch of healthy rows (N, F), and in `weights` (N,) 1 for each row, 0 for filling
    second_samples  another batch, and in `second_weights` its weights
    setting         one number: what the task asks under the name that `setting` gives it, else its default; within its
                    limits, or the task is refused
    noise           standard normal numbers (P,), drawn by the gateway and known to nobody else
    mask            (P,), 1 where the parameters are of one of `levels` (`schemas.parameter_levels`), else 0

`next_values` names the outputs that take an input's place in the step after. Every other output is one number that
tells of the step; one is called `loss`, and a step where one of them is not finite ends the round.
"""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import ReleaseRejected
from schemas.parameter_levels import MergeLevel

Role = Literal[
    "parameters", "state", "anchor", "personal", "teacher", "samples", "weights", "second_samples", "second_weights",
    "setting", "noise", "mask",
]  # fmt: skip
ROLES: tuple[str, ...] = Role.__args__  # type: ignore[attr-defined]
CARRIED: tuple[Role, ...] = ("parameters", "state", "personal")
ONCE: tuple[Role, ...] = ("parameters", "personal", "samples", "weights", "second_samples", "second_weights", "teacher")
LOSS = "loss"
LONGEST_STATE = 4  # times P, of one state: what an optimiser remembers, not a place to keep rows in
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]

# How the one rule of releases before roles were written down has to be read.
_LEARNING_RATE = {"name": "learning_rate", "default": 1e-3, "lowest": 0.0, "highest": 0.1}
_PROXIMAL = {"name": "proximal", "default": 0.0, "lowest": 0.0, "highest": 10.0}
_PLAIN_STEP: dict[str, dict[str, Any]] = {
    "theta": {"role": "parameters"},
    "m": {"role": "state"},
    "v": {"role": "state"},
    "t": {"role": "state"},
    "anchor": {"role": "anchor"},
    "lr": {"role": "setting", "setting": _LEARNING_RATE},
    "mu": {"role": "setting", "setting": _PROXIMAL},
    "x": {"role": "samples"},
    "weight": {"role": "weights"},
}


class GraphSetting(BaseModel):
    """One number a task may set: what tasks call it, what it is when they say nothing, and what a gateway allows."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: Word
    default: float
    lowest: float
    highest: float

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.lowest <= self.default <= self.highest:
            raise ValueError(f"setting {self.name} has default {self.default}, {self.lowest} to {self.highest} allowed")
        return self


class StepInput(BaseModel):
    """One input of a training graph; `setting` goes with that role, `levels` with masks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Word
    shape: Annotated[tuple[Annotated[int, Field(ge=1, le=1 << 24)], ...], Field(max_length=8)]
    role: Role
    setting: GraphSetting | None = None
    levels: tuple[MergeLevel, ...] | None = Field(default=None, min_length=1, max_length=3)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for role, said in (("setting", self.setting), ("mask", self.levels)):
            if (self.role == role) != (said is not None):
                raise ValueError(f"{self.name} is a {self.role}; a {role}, and nothing else, says what belongs to it")
        return self


class TrainingGraph(BaseModel):
    """What a gateway knows of a training graph before it opens it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: Annotated[tuple[StepInput, ...], Field(max_length=64)]
    outputs: Annotated[tuple[Word, ...], Field(max_length=64)]
    next_values: dict[Word, Word]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [each.name for each in self.inputs]
        if len(set(names)) != len(names) or len(set(self.outputs)) != len(self.outputs):
            raise ValueError("two inputs or two outputs have one name")
        counts = {role: len(self.named(role)) for role in ONCE}
        needed: set[Role] = {"parameters", "samples", "weights"}
        if any(count > 1 for count in counts.values()) or not all(counts[role] for role in needed):
            raise ValueError(f"roles {counts} found; one each of {sorted(needed)}, at most one of the others allowed")
        if counts["second_samples"] != counts["second_weights"]:
            raise ValueError("a second batch needs both its samples and its weights")
        carried = sorted(each.name for each in self.inputs if each.role in CARRIED)
        if sorted(self.next_values.values()) != carried or not set(self.next_values) <= set(self.outputs):
            raise ValueError(f"next_values {self.next_values} must give one output for each of {carried}, and no other")
        if LOSS not in self.reports:
            raise ValueError(f"outputs {self.outputs} lack {LOSS}, which tells when training diverges")
        if len(self.settings) != len(self.named("setting")):
            raise ValueError(f"two settings have one name, of {sorted(self.settings)}")
        return self

    @property
    def reports(self) -> tuple[str, ...]:
        """Outputs that tell of the step and are not carried on."""
        return tuple(name for name in self.outputs if name not in self.next_values)

    @property
    def settings(self) -> dict[str, GraphSetting]:
        """What a task may set, by name."""
        return {each.setting.name: each.setting for each in self.inputs if each.setting is not None}

    @property
    def batch(self) -> int:
        """Rows of the first batch."""
        return self.input("weights").shape[0]

    @property
    def batches(self) -> tuple[tuple[str, str, int], ...]:
        """Input of the samples, input of their weights, and how many rows: of the batch, and of the second if any."""
        pairs: list[tuple[Role, Role]] = [("samples", "weights")]
        if self.named("second_samples"):
            pairs.append(("second_samples", "second_weights"))
        return tuple((self.input(x).name, self.input(w).name, self.input(w).shape[0]) for x, w in pairs)

    def named(self, role: Role) -> tuple[str, ...]:
        """Names of the inputs of a role."""
        return tuple(each.name for each in self.inputs if each.role == role)

    def input(self, role: Role) -> StepInput:
        """The one input of a role; KeyError without it."""
        for each in self.inputs:
            if each.role == role:
                return each
        raise KeyError(role)


def read_training_graph(spec: bytes, graph_sha256: str) -> TrainingGraph:
    """Find what spec.json says of the graph with this digest.

    Raises:
        ReleaseRejected: With `reason` unknown_role for a role this gateway does not know, else bad_spec.
    """
    try:
        rows = json.loads(spec)["graphs"].values()
        row = next((row for row in rows if row["sha256"] == graph_sha256), None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ReleaseRejected("bad_spec", f"spec.json cannot be read: {error!r}") from error
    if row is None:
        raise ReleaseRejected("bad_spec", "spec.json describes no graph with the digest of train_step.onnx")
    try:
        inputs = [_with_role(each) for each in row["inputs"]]
        _refuse_unknown_roles(inputs)
        outputs = [each["name"] for each in row["outputs"]]
        next_values = row.get("next_values")
        if next_values is None:
            next_values = {f"{name}_next": name for name in ("theta", "m", "v", "t")}
        return TrainingGraph.model_validate({"inputs": inputs, "outputs": outputs, "next_values": next_values})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "training graph"
        raise ReleaseRejected("bad_spec", f"spec.json: {place}: {first['msg']}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ReleaseRejected("bad_spec", f"spec.json's row of train_step.onnx cannot be read: {error!r}") from error


def check_roles(graph: TrainingGraph, parameters: int, features: int) -> None:
    """Refuse inputs whose shape cannot be that of their role.

    Args:
        graph: What spec.json says.
        parameters: P.
        features: F.

    Raises:
        ReleaseRejected: With `reason` wrong_role.
    """
    vector, batch = (parameters,), graph.input("weights").shape
    second = graph.input("second_weights").shape if graph.named("second_weights") else ()
    shapes: dict[Role, tuple[int, ...]] = {
        **dict.fromkeys(("parameters", "anchor", "personal", "teacher", "noise", "mask"), vector),
        "setting": (), "weights": batch[:1], "samples": (*batch[:1], features),
        "second_weights": second[:1], "second_samples": (*second[:1], features),
    }  # fmt: skip
    for each in graph.inputs:
        allowed = shapes.get(each.role)
        fits = math.prod(each.shape) <= LONGEST_STATE * parameters if allowed is None else each.shape == allowed
        if not fits or (each.role in {"weights", "second_weights"} and len(each.shape) != 1):
            wanted = f"at most {LONGEST_STATE * parameters} elements" if allowed is None else f"shape {allowed}"
            raise ReleaseRejected(
                "wrong_role", f"input {each.name} of shape {each.shape} cannot be {each.role}; {wanted} needed"
            )


def _with_role(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return row if "role" in row else {**row, **_PLAIN_STEP.get(row["name"], {})}


def _refuse_unknown_roles(inputs: list[Mapping[str, Any]]) -> None:
    unknown = {str(each["name"])[:64]: str(each.get("role"))[:64] for each in inputs if each.get("role") not in ROLES}
    if unknown:
        raise ReleaseRejected(
            "unknown_role", f"inputs have roles {unknown}, this gateway knows {', '.join(ROLES)}; "
            "update this gateway's software first"
        )  # fmt: skip
