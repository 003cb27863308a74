"""This file knows what a learning task asks, and what a member answers: the records inside Flower's messages.

Three messages go down: `train` (learn from these parameters), `evaluate` (how do these parameters do on what you
held back), `query.adopt` (these are the fleet's parameters now; only sites are told so, gateways get a release).
The two sides of each are in this one file; what a member says is read as input from outside.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    ConfigRecordValues,
    Message,
    MessageType,
    MetricRecord,
    MetricRecordValues,
    RecordDict,
)
from numpy.typing import NDArray

from schemas.errors import MessageRejected

TRAIN, EVALUATE = str(MessageType.TRAIN), str(MessageType.EVALUATE)
ADOPT = f"{MessageType.QUERY}.adopt"

MAX_SETTINGS = 32
_SETTING = "setting."
_PARAMETERS, _DELTA, _CONFIG, _METRICS, _RELEASE = "parameters", "delta", "config", "metrics", "release"
NEEDS_RELEASE = "the whole release is needed"
"""What a site says in its refusal when a task is of another network than its own: then it is sent everything."""


@dataclass(frozen=True, slots=True, eq=False)
class LearningTask:
    """What a server asks of a member; one class for all three messages.

    Attributes:
        round_number: The server's own number of the round; also Flower's group id.
        base_version: Version of the release (below an enterprise: of the fleet's parameters) that theta is or,
            when evaluating, would replace.
        graph: sha256 of the training graph that fits theta; a member without it refuses.
        theta: Parameters, shape (P,), float32.
        steps: Training steps to do.
        learning_rate: Step size of Adam.
        proximal: Weight of the pull back to theta.
        seed: For the order of the batches.
        settings: Further settings of the training graph by name (`schemas.training_graph`); the release has defaults.
    """

    round_number: int
    base_version: int
    graph: str
    theta: NDArray[np.float32]
    steps: int
    learning_rate: float
    proximal: float
    seed: int
    settings: Mapping[str, float] = field(default_factory=dict)

    def record(self) -> RecordDict:
        """Write the task as the content of a message."""
        config: dict[str, ConfigRecordValues] = {
            "round": self.round_number,
            "base_version": self.base_version,
            "graph": self.graph,
            "steps": self.steps,
            "learning_rate": self.learning_rate,
            "proximal": self.proximal,
            "seed": self.seed,
            **{f"{_SETTING}{name}": float(value) for name, value in self.settings.items()},
        }
        return RecordDict(
            {
                _PARAMETERS: ArrayRecord({"theta": Array(np.ascontiguousarray(self.theta))}),
                _CONFIG: ConfigRecord(config),
            }
        )

    @classmethod
    def read(cls, message: Message) -> "LearningTask":
        """Read the task in a message.

        Raises:
            MessageRejected: Something is missing or of another kind.
        """
        try:
            config = message.content.config_records[_CONFIG]
            named = [key for key in config if key.startswith(_SETTING)]
            if len(named) > MAX_SETTINGS:
                raise ValueError(f"{len(named)} settings, {MAX_SETTINGS} allowed")
            return cls(
                round_number=int(_number(config, "round")),
                base_version=int(_number(config, "base_version")),
                graph=str(config["graph"]),
                theta=_array(message, _PARAMETERS, "theta"),
                steps=int(_number(config, "steps")),
                learning_rate=_number(config, "learning_rate"),
                proximal=_number(config, "proximal"),
                seed=int(_number(config, "seed")),
                settings={key.removeprefix(_SETTING): float(_number(config, key)) for key in named},
            )
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise MessageRejected("bad_task", f"task cannot be read: {error!r}") from error


@dataclass(frozen=True, slots=True, eq=False)
class TrainingReply:
    """What a member learnt. Nothing in it is believed before `aggregator.merge.validate` has seen it.

    Attributes:
        base_version: As in the task.
        delta: New parameters minus those of the task, shape (P,).
        weight: Rows learnt from, capped by the member; of a site the sum over its gateways.
        loss_before: Mean score of the task's parameters on rows held back.
        loss_after: The same with the member's new parameters.
        held_back_rows: How many those were.
    """

    base_version: int
    delta: NDArray[Any]
    weight: float
    loss_before: float
    loss_after: float
    held_back_rows: int

    def record(self) -> RecordDict:
        """Write the reply as the content of a message."""
        metrics: dict[str, MetricRecordValues] = {
            "base_version": self.base_version,
            "weight": float(self.weight),
            "loss_before": float(self.loss_before),
            "loss_after": float(self.loss_after),
            "held_back_rows": self.held_back_rows,
        }
        return RecordDict(
            {_DELTA: ArrayRecord({"theta": Array(np.ascontiguousarray(self.delta))}), _METRICS: MetricRecord(metrics)}
        )

    @classmethod
    def read(cls, message: Message) -> "TrainingReply":
        """Read the reply in a message; its numbers may still be anything.

        Raises:
            MessageRejected: Something is missing or of another kind.
        """
        try:
            metrics = message.content.metric_records[_METRICS]
            return cls(
                base_version=int(_number(metrics, "base_version")),
                delta=_array(message, _DELTA, "theta"),
                weight=_number(metrics, "weight"),
                loss_before=_number(metrics, "loss_before"),
                loss_after=_number(metrics, "loss_after"),
                held_back_rows=int(_number(metrics, "held_back_rows")),
            )
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise MessageRejected("bad_reply", f"reply cannot be read: {error!r}") from error


@dataclass(frozen=True, slots=True)
class EvaluationReply:
    """How the task's parameters did on what a member held back; `rows` counts them."""

    loss: float
    rows: float

    def record(self) -> RecordDict:
        """Write the reply as the content of a message."""
        return RecordDict({_METRICS: MetricRecord({"loss": float(self.loss), "rows": float(self.rows)})})

    @classmethod
    def read(cls, message: Message) -> "EvaluationReply":
        """Read the reply in a message.

        Raises:
            MessageRejected: Something is missing, of another kind, or no finite number.
        """
        try:
            metrics = message.content.metric_records[_METRICS]
            reply = cls(float(_number(metrics, "loss")), float(_number(metrics, "rows")))
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise MessageRejected("bad_reply", f"reply cannot be read: {error!r}") from error
        if not (math.isfinite(reply.loss) and math.isfinite(reply.rows) and reply.loss >= 0 and reply.rows > 0):
            raise MessageRejected("not_finite", f"loss {reply.loss} over {reply.rows} rows cannot be used")
        return reply


def adopted(version: int, *, in_use: bool = True) -> RecordDict:
    """Answer `query.adopt`: these parameters are this release of the site's own; in use, or only on the way to it."""
    return RecordDict({_METRICS: MetricRecord({"release_version": version, "in_use": int(in_use)})})


def is_in_use(reply: Message) -> bool:
    """Whether what a site has adopted is in use there; sites of 0.1 say nothing else."""
    try:
        return bool(reply.content.metric_records[_METRICS].get("in_use", 1))
    except KeyError:
        return True


def add_whole_release(content: RecordDict, bundle: bytes) -> None:
    """Put a release with everything in it beside the parameters of `query.adopt`, for a site that lacks its network."""
    content[_RELEASE] = ConfigRecord({"bundle": bundle})


def whole_release(message: Message) -> bytes | None:
    """The release that `add_whole_release` has put there; None where there is none.

    Raises:
        MessageRejected: There is something else in its place.
    """
    if _RELEASE not in message.content:
        return None
    try:
        bundle = message.content.config_records[_RELEASE]["bundle"]
    except KeyError as error:
        raise MessageRejected("bad_task", f"release cannot be read: {error!r}") from error
    if not isinstance(bundle, bytes):
        raise MessageRejected("bad_task", f"release is {type(bundle).__name__}, bytes are needed")
    return bundle


def _number(record: Any, key: str) -> float:
    value = record[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{key} is {type(value).__name__}, a number is needed")
    return value


def _array(message: Message, record: str, key: str) -> NDArray[Any]:
    array: NDArray[Any] = message.content.array_records[record][key].numpy()
    return array
