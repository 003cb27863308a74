"""This file knows how a gateway learns from its own healthy rows: pure calculation, no I/O, the seed comes in."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gateway_agent.errors import GatewayError

MIN_ROWS = 64
HELD_BACK_SHARE = 0.2
MAX_WEIGHT = 4096.0  # rows beyond that add no voice: a gateway caps itself, whoever counts its rows

Rows = NDArray[np.float32]


class TrainingRefused(GatewayError):
    """This gateway cannot learn from what it has; the message says why."""


class Step(Protocol):
    """What `gateway_agent.model_slot.TrainStep` does."""

    batch: int

    def __call__(
        self, theta: Rows, m: Rows, v: Rows, t: Rows, *, anchor: Rows, lr: float, mu: float, x: Rows, weight: Rows
    ) -> tuple[Rows, Rows, Rows, Rows, float]: ...


@dataclass(frozen=True, slots=True, eq=False)
class TrainingResult:
    """What came of one round on one gateway.

    Attributes:
        delta: New parameters minus old, shape (P,).
        loss_before: Mean score of the old parameters on the rows held back.
        loss_after: The same with the new ones.
        rows: Rows learnt from.
        held_back_rows: Rows held back.
        weight: `rows`, capped.
    """

    delta: Rows
    loss_before: float
    loss_after: float
    rows: int
    held_back_rows: int
    weight: float


def split_by_time(rows: Rows, *, min_rows: int = MIN_ROWS) -> tuple[Rows, Rows]:
    """Hold back the last fifth, in one block: neighbours in time are alike and must not be on both sides.

    Args:
        rows: Standardised healthy features, shape (n, F), oldest first.
        min_rows: Fewer are too few to learn from.

    Raises:
        TrainingRefused: Fewer than `min_rows`, or a row is not finite.
    """
    if len(rows) < min_rows:
        raise TrainingRefused(f"{len(rows)} healthy rows found, at least {min_rows} needed to learn")
    if not np.isfinite(rows).all():
        raise TrainingRefused("healthy rows hold NaN or infinity")
    cut = len(rows) - math.ceil(HELD_BACK_SHARE * len(rows))
    return rows[:cut], rows[cut:]


def train(
    theta: Rows,
    rows: Rows,
    step: Step,
    *,
    steps: int,
    learning_rate: float,
    proximal: float,
    seed: int,
    min_rows: int = MIN_ROWS,
) -> TrainingResult:
    """Do `steps` training steps from `theta` and tell what they changed.

    Args:
        theta: Parameters to start from and to be pulled back to, shape (P,).
        rows: Standardised healthy features, shape (n, F), oldest first.
        step: The training graph.
        steps: How many batches to learn from; epochs are shuffled anew.
        learning_rate: Step size of Adam.
        proximal: Weight of the pull back to `theta` (FedProx).
        seed: For the shuffling.
        min_rows: Fewer rows are too few to learn from.

    Raises:
        TrainingRefused: Too few rows, rows that are not finite, or a training that diverged.
    """
    learnt, held_back = split_by_time(np.ascontiguousarray(rows, np.float32), min_rows=min_rows)
    theta = np.ascontiguousarray(theta, np.float32)
    current, m, v = theta, np.zeros_like(theta), np.zeros_like(theta)
    t = np.zeros((), np.float32)
    for _, (x, weight) in zip(range(steps), _shuffled_batches(learnt, step.batch, seed), strict=False):
        current, m, v, t, loss = step(
            current, m, v, t, anchor=theta, lr=learning_rate, mu=proximal, x=x, weight=weight
        )  # fmt: skip
        if not math.isfinite(loss):
            raise TrainingRefused(f"training diverged: loss is {loss}")
    delta = current - theta
    loss_after = mean_score(current, held_back, step)
    if not (np.isfinite(delta).all() and math.isfinite(loss_after)):
        raise TrainingRefused("training diverged: parameters are not finite")
    return TrainingResult(
        delta=delta,
        loss_before=mean_score(theta, held_back, step),
        loss_after=loss_after,
        rows=len(learnt),
        held_back_rows=len(held_back),
        weight=min(float(len(learnt)), MAX_WEIGHT),
    )


def mean_score(theta: Rows, rows: Rows, step: Step) -> float:
    """Mean score of rows (n, F): the loss that the training graph reports before a step of size 0."""
    zeros, t = np.zeros_like(theta), np.zeros((), np.float32)
    total = 0.0
    for start in range(0, len(rows), step.batch):
        x, weight = _filled(rows[start : start + step.batch], step.batch)
        *_, loss = step(theta, zeros, zeros, t, anchor=theta, lr=0.0, mu=0.0, x=x, weight=weight)
        total += loss * float(weight.sum())
    return total / len(rows)


def _shuffled_batches(rows: Rows, batch: int, seed: int) -> Iterator[tuple[Rows, Rows]]:
    draw = np.random.default_rng(seed)
    while True:
        order = draw.permutation(len(rows))
        for start in range(0, len(rows), batch):
            yield _filled(rows[order[start : start + batch]], batch)


def _filled(rows: Rows, batch: int) -> tuple[Rows, Rows]:
    x = np.zeros((batch, rows.shape[1]), np.float32)
    x[: len(rows)] = rows
    weight = np.zeros(batch, np.float32)
    weight[: len(rows)] = 1.0
    return x, weight
