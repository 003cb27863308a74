"""This file knows pFedMe: a personal model learns freely on a leash, and the shared one follows where it went."""

from __future__ import annotations

from typing import Any

import jax

from aggregator.foundry.families import Family
from aggregator.foundry.rules.descent import weighted_loss
from aggregator.foundry.rules.rule import Kind, LearningRule, Setting, Step, rate

INNER_STEPS = 5  # written out in full; the paper takes 5
STABLE_RATES = (0.05, 0.1, 0.15, 0.2, 0.25)  # beyond 1 / pull inner steps overshoot, and rounding grows with them


def pfedme_step(family: Family) -> Step:
    """Inner steps of the personal model on loss + pull / 2 |personal - theta|^2, then theta towards where they end.

    `lr * pull * (theta - personal)` is the gradient of the Moreau envelope where the inner steps have reached their
    minimum. `loss` is the personal model's before the first of them.

    References:
        Dinh et al. (2020), arXiv:2006.08848, algorithm 1 and equation 7; `pull` is its lambda.
    """

    def step(theta: Any, personal: Any, inner_lr: Any, lr: Any, pull: Any, x: Any, weight: Any) -> tuple[Any, ...]:
        loss_and_gradient = jax.value_and_grad(lambda at: weighted_loss(family, at, x, weight))
        losses = []
        for _ in range(INNER_STEPS):
            loss, gradient = loss_and_gradient(personal)
            losses.append(loss)
            personal = personal - inner_lr * (gradient + pull * (personal - theta))
        return theta - lr * pull * (theta - personal), personal, losses[0]

    return step


PFEDME = LearningRule(
    name="pfedme_step",
    summary=f"{INNER_STEPS} steps of a personal model near the shared one, which then follows it (pFedMe)",
    inputs={
        "theta": Kind.MODEL,
        "personal": Kind.PERSONAL,
        "inner_lr": rate(0.5, highest=10.0, name="inner_rate", tried=STABLE_RATES),
        "lr": rate(0.5, highest=10.0),
        "pull": Setting("pull", 0.1, 0.0, 10.0),
        "x": Kind.SAMPLES,
        "weight": Kind.WEIGHTS,
    },
    outputs=("theta_next", "personal_next", "loss"),
    make=pfedme_step,
)
