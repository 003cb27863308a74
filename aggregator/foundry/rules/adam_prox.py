"""This file knows the plain step: Adam that stays near the merged model."""

from __future__ import annotations

from typing import Any

import jax

from aggregator.foundry.families import Family
from aggregator.foundry.rules.descent import adam, weighted_loss
from aggregator.foundry.rules.rule import Kind, LearningRule, Setting, Step, rate


def adam_prox_step(family: Family) -> Step:
    """Adam on loss + mu / 2 |theta - anchor|^2.

    References:
        Li et al. (2020), arXiv:1812.06127, for the term in mu.
    """

    def step(theta: Any, m: Any, v: Any, t: Any, anchor: Any, lr: Any, mu: Any, x: Any, weight: Any) -> tuple[Any, ...]:
        loss, gradient = jax.value_and_grad(lambda at: weighted_loss(family, at, x, weight))(theta)
        descent, m, v, t = adam(gradient + mu * (theta - anchor), m, v, t, lr)
        return theta - descent, m, v, t, loss

    return step


ADAM_PROX = LearningRule(
    name="adam_prox_step",
    summary="one Adam step with a FedProx pull towards the anchor",
    inputs={
        "theta": Kind.MODEL,
        "m": Kind.MOMENT,
        "v": Kind.SQUARE,
        "t": Kind.COUNT,
        "anchor": Kind.ANCHOR,
        "lr": rate(1e-3, highest=0.1),
        "mu": Setting("proximal", 0.0, 0.0, 10.0),
        "x": Kind.SAMPLES,
        "weight": Kind.WEIGHTS,
    },
    outputs=("theta_next", "m_next", "v_next", "t_next", "loss"),
    make=adam_prox_step,
)
