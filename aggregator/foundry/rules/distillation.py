"""This file knows learning from another model: what it says of a sample counts beside the sample itself."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from aggregator.foundry.families import Family
from aggregator.foundry.rules.descent import adam, weighted_mean
from aggregator.foundry.rules.rule import Kind, LearningRule, Setting, Step, rate


def distillation_step(family: Family) -> Step:
    """Adam on (1 - share) loss + share times the mean squared distance between this model's output and the teacher's.

    With the parameters of an earlier release as teacher, a gateway learns without forgetting what the fleet knew.

    References:
        Hinton et al. (2015), arXiv:1503.02531, for outputs that are numbers and no classes; Li & Hoiem (2016),
        arXiv:1606.09282, for a former self as teacher.
    """

    def step(
        theta: Any, m: Any, v: Any, t: Any, teacher: Any, lr: Any, share: Any, x: Any, weight: Any
    ) -> tuple[Any, ...]:
        _, taught = family.score(teacher, x)

        def loss_beside_teacher(at: Any) -> Any:
            score, said = family.score(at, x)
            apart = jnp.mean((said - taught) ** 2, axis=tuple(range(1, said.ndim)))
            return weighted_mean((1 - share) * score + share * apart, weight)

        loss, gradient = jax.value_and_grad(loss_beside_teacher)(theta)
        descent, m, v, t = adam(gradient, m, v, t, lr)
        return theta - descent, m, v, t, loss

    return step


DISTILLATION = LearningRule(
    name="distillation_step",
    summary="one Adam step on the samples and on what a teacher says of them",
    inputs={
        "theta": Kind.MODEL,
        "m": Kind.MOMENT,
        "v": Kind.SQUARE,
        "t": Kind.COUNT,
        "teacher": Kind.TEACHER,
        "lr": rate(1e-3, highest=0.1),
        "share": Setting("teacher_share", 0.5, 0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 0.9)),
        "x": Kind.SAMPLES,
        "weight": Kind.WEIGHTS,
    },
    outputs=("theta_next", "m_next", "v_next", "t_next", "loss"),
    make=distillation_step,
)
