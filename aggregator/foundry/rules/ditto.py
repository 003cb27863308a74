"""This file knows Ditto: a shared model, and beside it a personal one that is held near it."""

from __future__ import annotations

from typing import Any

import jax

from aggregator.foundry.families import Family
from aggregator.foundry.rules.descent import weighted_loss
from aggregator.foundry.rules.rule import Kind, LearningRule, Setting, Step, rate


def ditto_step(family: Family) -> Step:
    """One gradient step of the shared model, and one of the personal model on loss + pull / 2 |personal - anchor|^2.

    References:
        Li et al. (2021), arXiv:2012.04221, algorithm 1; `anchor` is its w^t, what the round started from, `pull` its
        lambda.
    """

    def step(theta: Any, personal: Any, anchor: Any, lr: Any, pull: Any, x: Any, weight: Any) -> tuple[Any, ...]:
        loss_and_gradient = jax.value_and_grad(lambda at: weighted_loss(family, at, x, weight))
        loss, gradient = loss_and_gradient(theta)
        personal_loss, personal_gradient = loss_and_gradient(personal)
        personal_gradient = personal_gradient + pull * (personal - anchor)
        return theta - lr * gradient, personal - lr * personal_gradient, loss, personal_loss

    return step


DITTO = LearningRule(
    name="ditto_step",
    summary="one gradient step of the shared model and one of a personal model (Ditto)",
    inputs={
        "theta": Kind.MODEL,
        "personal": Kind.PERSONAL,
        "anchor": Kind.ANCHOR,
        "lr": rate(0.5, highest=10.0),
        "pull": Setting("pull", 0.1, 0.0, 10.0),
        "x": Kind.SAMPLES,
        "weight": Kind.WEIGHTS,
    },
    outputs=("theta_next", "personal_next", "loss", "personal_loss"),
    make=ditto_step,
)
