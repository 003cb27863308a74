"""This file knows exact MAML: learning to be a good start for learning from a few captures."""

from __future__ import annotations

from typing import Any

import jax

from aggregator.foundry.families import Family
from aggregator.foundry.rules.descent import weighted_loss
from aggregator.foundry.rules.rule import Kind, LearningRule, Step, rate


def maml_step(family: Family) -> Step:
    """One gradient step of the loss that a second batch has after one step on the first, second derivative included.

    References:
        Finn et al. (2017), arXiv:1703.03400, algorithm 1. Fallah et al. (2020), arXiv:2002.07948, algorithm 1
        (Per-FedAvg, the exact form), of which this is one local step.
    """

    def step(
        theta: Any, inner_lr: Any, lr: Any, x: Any, weight: Any, x_query: Any, weight_query: Any
    ) -> tuple[Any, ...]:
        def loss_after_adapting(at: Any) -> Any:
            adapted = at - inner_lr * jax.grad(lambda start: weighted_loss(family, start, x, weight))(at)
            return weighted_loss(family, adapted, x_query, weight_query)

        loss, gradient = jax.value_and_grad(loss_after_adapting)(theta)
        return theta - lr * gradient, loss

    return step


MAML = LearningRule(
    name="maml_step",
    summary="one step towards parameters that learn well from one batch (exact MAML, Per-FedAvg)",
    inputs={
        "theta": Kind.MODEL,
        "inner_lr": rate(0.5, highest=10.0, name="inner_rate"),
        "lr": rate(0.5, highest=10.0),
        "x": Kind.SAMPLES,
        "weight": Kind.WEIGHTS,
        "x_query": Kind.QUERY_SAMPLES,
        "weight_query": Kind.QUERY_WEIGHTS,
    },
    outputs=("theta_next", "loss"),
    make=maml_step,
)
