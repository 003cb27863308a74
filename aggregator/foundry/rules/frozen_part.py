"""This file knows learning in part: what the mask does not name stays as it is."""

from __future__ import annotations

from typing import Any

import jax

from aggregator.foundry.families import Family
from aggregator.foundry.rules.descent import adam, weighted_loss
from aggregator.foundry.rules.rule import Kind, LearningRule, Step, rate


def frozen_part_step(family: Family) -> Step:
    """Adam for the parameters where `mask` is 1: a local head on a shared encoder that others have learnt.

    The mask is that of the release's levels; a head that learns together with its encoder needs no mask, only the
    level "machine" (Arivazhagan et al. (2019), arXiv:1912.00818).
    """

    def step(theta: Any, m: Any, v: Any, t: Any, mask: Any, lr: Any, x: Any, weight: Any) -> tuple[Any, ...]:
        loss, gradient = jax.value_and_grad(lambda at: weighted_loss(family, at, x, weight))(theta)
        descent, m, v, t = adam(mask * gradient, m, v, t, lr)
        return theta - mask * descent, m, v, t, loss

    return step


FROZEN_PART = LearningRule(
    name="frozen_part_step",
    summary="one Adam step of the parameters a mask names, the others stay",
    inputs={
        "theta": Kind.MODEL,
        "m": Kind.MOMENT,
        "v": Kind.SQUARE,
        "t": Kind.COUNT,
        "mask": Kind.MASK,
        "lr": rate(1e-3, highest=0.1),
        "x": Kind.SAMPLES,
        "weight": Kind.WEIGHTS,
    },
    outputs=("theta_next", "m_next", "v_next", "t_next", "loss"),
    make=frozen_part_step,
    moved=("machine",),
)
