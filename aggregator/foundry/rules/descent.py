"""This file knows what the rules have in common: the loss of a batch, and Adam."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from aggregator.foundry.families import Family

FIRST_MOMENT_DECAY = 0.9
SECOND_MOMENT_DECAY = 0.999
ADAM_EPSILON = 1e-8
SMALLEST_WEIGHT_SUM = 1e-12  # an empty batch divides zero by this instead of by zero


def weighted_mean(values: Any, weight: Any) -> Any:
    """Mean of one value a sample; 0, with gradient 0, where all weights are 0."""
    share = weight / jnp.maximum(jnp.sum(weight), SMALLEST_WEIGHT_SUM)
    return jnp.sum(share * values)


def weighted_loss(family: Family, theta: Any, x: Any, weight: Any) -> Any:
    """Weighted mean of the samples' scores."""
    score, _ = family.score(theta, x)
    return weighted_mean(score, weight)


def adam(gradient: Any, m: Any, v: Any, t: Any, lr: Any) -> tuple[Any, Any, Any, Any]:
    """Say how far Adam goes down, and its new m, v and t.

    References:
        Kingma & Ba (2015), arXiv:1412.6980, algorithm 1.
    """
    t = t + 1
    m = FIRST_MOMENT_DECAY * m + (1 - FIRST_MOMENT_DECAY) * gradient
    v = SECOND_MOMENT_DECAY * v + (1 - SECOND_MOMENT_DECAY) * gradient * gradient
    # 1 - decay^t, written so that single precision keeps its digits while t is small
    found = -jnp.expm1(t * math.log(FIRST_MOMENT_DECAY))
    root = jnp.sqrt(-jnp.expm1(t * math.log(SECOND_MOMENT_DECAY)))
    # lr (m / found) / (sqrt(v) / root + epsilon), gathered so that the corrections meet numbers, not vectors
    return (lr * root / found) * m / (jnp.sqrt(v) + ADAM_EPSILON * root), m, v, t
