"""This file knows the private step: no sample moves the model further than a limit, and noise covers the rest."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from aggregator.foundry.families import Family
from aggregator.foundry.rules.descent import SMALLEST_WEIGHT_SUM, weighted_mean
from aggregator.foundry.rules.rule import Kind, LearningRule, Setting, Step, rate


def clipped_step(family: Family) -> Step:
    """Gradient step of which no sample can move more than `lr * clip / N`, with noise drawn by the gateway.

    Each sample's own gradient is scaled to a norm of at most `clip` and weighted with at most 1; the sum,
    plus `sigma * clip * noise`, is divided by the batch size of the graph, never by the weights' sum, which
    would itself tell of the data. With sigma 0 the noise leaves no trace. `loss` and `norm` (the mean norm
    before clipping) are not private: they stay on the gateway.

    References:
        Abadi et al. (2016), arXiv:1607.00133, algorithm 1; `noise` is standard normal.
    """

    def step(theta: Any, noise: Any, lr: Any, clip: Any, sigma: Any, x: Any, weight: Any) -> tuple[Any, ...]:
        def loss_of_one(at: Any, sample: Any) -> Any:
            return family.score(at, sample[None])[0][0]

        losses, gradients = jax.vmap(jax.value_and_grad(loss_of_one), in_axes=(None, 0))(theta, x)
        share = jnp.clip(weight, 0.0, 1.0)
        norms = jnp.sqrt(jnp.sum(gradients * gradients, axis=1) + SMALLEST_WEIGHT_SUM)
        scale = share * jnp.minimum(1.0, clip / norms)
        gradient = (scale @ gradients + sigma * clip * noise) / x.shape[0]
        return theta - lr * gradient, weighted_mean(losses, share), weighted_mean(norms, share)

    return step


CLIPPED = LearningRule(
    name="clipped_step",
    summary="one gradient step with each sample clipped and noise added (DP-SGD)",
    inputs={
        "theta": Kind.MODEL,
        "noise": Kind.NOISE,
        "lr": rate(0.5, highest=10.0, tried=(10.0, 20.0, 30.0, 50.0, 100.0)),  # a clipped mean is short
        "clip": Setting("clip", 1.0, 0.0, 100.0),
        "sigma": Setting("sigma", 0.0, 0.0, 100.0),
        "x": Kind.SAMPLES,
        "weight": Kind.WEIGHTS,
    },
    outputs=("theta_next", "loss", "norm"),
    make=clipped_step,
)
