"""This file knows learning for eight bits: the loss is that of rounded parameters, the step is that of exact ones."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from aggregator.foundry.families import Family
from aggregator.foundry.rules.descent import SMALLEST_WEIGHT_SUM, adam, weighted_loss
from aggregator.foundry.rules.rule import Kind, LearningRule, Step, rate

LARGEST_INTEGER = 127  # of a symmetric int8: zero stays zero, as weights of a sparse or padded layer need


def rounded_to_int8(family: Family, theta: Any) -> Any:
    """Round each weight tensor to 255 even levels between its largest magnitudes; vectors (biases) stay as they are."""
    slices = family.parameters.slices
    pieces = jnp.split(theta, [each.offset for each in slices[1:]])
    rounded = []
    for piece, each in zip(pieces, slices, strict=True):
        quantum = jnp.maximum(jnp.max(jnp.abs(piece)), SMALLEST_WEIGHT_SUM) / LARGEST_INTEGER
        rounded.append(jnp.round(piece / quantum) * quantum if len(each.shape) > 1 else piece)
    return jnp.concatenate(rounded)


def fake_quantised_step(family: Family) -> Step:
    """Adam on the gradient at the rounded parameters, taken as if rounding had slope 1 (straight-through).

    References:
        Jacob et al. (2018), arXiv:1712.05877, section 3; Bengio et al. (2013), arXiv:1308.3432, for the slope.
    """

    def step(theta: Any, m: Any, v: Any, t: Any, lr: Any, x: Any, weight: Any) -> tuple[Any, ...]:
        loss_and_gradient = jax.value_and_grad(lambda at: weighted_loss(family, at, x, weight))
        loss, gradient = loss_and_gradient(rounded_to_int8(family, theta))
        descent, m, v, t = adam(gradient, m, v, t, lr)
        return theta - descent, m, v, t, loss

    return step


FAKE_QUANTISED = LearningRule(
    name="fake_quantised_step",
    summary="one Adam step whose loss is that of int8 weights (straight-through)",
    inputs={
        "theta": Kind.MODEL,
        "m": Kind.MOMENT,
        "v": Kind.SQUARE,
        "t": Kind.COUNT,
        "lr": rate(1e-3, highest=0.1),
        "x": Kind.SAMPLES,
        "weight": Kind.WEIGHTS,
    },
    outputs=("theta_next", "m_next", "v_next", "t_next", "loss"),
    make=fake_quantised_step,
)
