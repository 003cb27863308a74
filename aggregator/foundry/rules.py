"""This file knows the learning rules: one training step each, as a JAX function over the flat vector `theta`.

A rule is written once for every model family; the exporter turns it into a graph that gateways run. Batches
have a fixed size: a partial one is filled up with finite rows of weight 0, which leave no trace in loss or
gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from aggregator.foundry.errors import UnknownNameError
from aggregator.foundry.exporter import TensorSpec
from aggregator.foundry.families import Family

FIRST_MOMENT_DECAY = 0.9
SECOND_MOMENT_DECAY = 0.999
ADAM_EPSILON = 1e-8
SMALLEST_WEIGHT_SUM = 1e-12  # an empty batch divides zero by this instead of by zero

Step: TypeAlias = Callable[..., tuple[Any, ...]]


class Kind(StrEnum):
    """What an input is: its shape for a family of P parameters and F features, batch N, and its usual range."""

    MODEL = "model"  # (P,), parameters of a model
    MOMENT = "moment"  # (P,), running mean of gradients, zero at first
    SQUARE = "square"  # (P,), running mean of squared gradients, zero at first
    NOISE = "noise"  # (P,), random numbers
    COUNT = "count"  # (), steps taken so far
    RATE = "rate"  # (), step length
    STRENGTH = "strength"  # (), a factor or limit
    SAMPLES = "samples"  # (N, F)
    WEIGHTS = "weights"  # (N,), 0 for rows that only fill the batch


@dataclass(frozen=True, slots=True)
class LearningRule:
    """A training step and the names of what goes in and comes out.

    Attributes:
        name: Name of the graph and, with `.onnx`, of its file.
        summary: What the step does, one line.
        inputs: Name and kind of each input, in order.
        outputs: Name of each result.
        updates: Which output is the new value of which input; checks compare the difference of the two.
        make: Builds the step for a family.
    """

    name: str
    summary: str
    inputs: Mapping[str, Kind]
    outputs: tuple[str, ...]
    updates: Mapping[str, str]
    make: Callable[[Family], Step] = field(repr=False)

    def input_specs(self, family: Family, batch: int) -> dict[str, TensorSpec]:
        """State the shape of each input for a family and batch size."""
        vector: tuple[int, ...] = (family.parameters.count,)
        shapes = {
            **dict.fromkeys((Kind.MODEL, Kind.MOMENT, Kind.SQUARE, Kind.NOISE), vector),
            **dict.fromkeys((Kind.COUNT, Kind.RATE, Kind.STRENGTH), ()),
            Kind.SAMPLES: (batch, family.features),
            Kind.WEIGHTS: (batch,),
        }
        return {name: TensorSpec(shapes[kind]) for name, kind in self.inputs.items()}


def weighted_loss(family: Family, theta: Any, x: Any, weight: Any) -> Any:
    """Weighted mean of the samples' scores; 0, with gradient 0, where all weights are 0."""
    score, _ = family.score(theta, x)
    return jnp.sum(weight * score) / jnp.maximum(jnp.sum(weight), SMALLEST_WEIGHT_SUM)


def adam_prox_step(family: Family) -> Step:
    """Adam on loss + mu / 2 |theta - anchor|^2: local training that stays near the merged model.

    References:
        Kingma & Ba (2015), arXiv:1412.6980, algorithm 1. Li et al. (2020), arXiv:1812.06127, for the term in
        mu.
    """

    def step(theta: Any, m: Any, v: Any, t: Any, anchor: Any, lr: Any, mu: Any, x: Any, weight: Any) -> tuple[Any, ...]:
        loss, gradient = jax.value_and_grad(lambda at: weighted_loss(family, at, x, weight))(theta)
        gradient = gradient + mu * (theta - anchor)
        t = t + 1
        m = FIRST_MOMENT_DECAY * m + (1 - FIRST_MOMENT_DECAY) * gradient
        v = SECOND_MOMENT_DECAY * v + (1 - SECOND_MOMENT_DECAY) * gradient * gradient
        # 1 - decay^t, written so that single precision keeps its digits while t is small
        mean = m / -jnp.expm1(t * math.log(FIRST_MOMENT_DECAY))
        mean_square = v / -jnp.expm1(t * math.log(SECOND_MOMENT_DECAY))
        return theta - lr * mean / (jnp.sqrt(mean_square) + ADAM_EPSILON), m, v, t, loss

    return step


def clipped_step(family: Family) -> Step:
    """Gradient step of which no sample can move more than `lr * clip / N`, with noise drawn by the gateway.

    Each sample's own gradient is scaled to a norm of at most `clip` and weighted with at most 1; the sum,
    plus `noise`, is divided by the batch size of the graph, never by the weights' sum, which would itself
    tell of the data. `loss` and `norm` (the mean norm before clipping) are not private: they stay on the
    gateway.

    References:
        Abadi et al. (2016), arXiv:1607.00133, algorithm 1; `noise` is drawn from N(0, (sigma clip)^2).
    """

    def step(theta: Any, noise: Any, lr: Any, clip: Any, x: Any, weight: Any) -> tuple[Any, ...]:
        def loss_of_one(at: Any, sample: Any) -> Any:
            return family.score(at, sample[None])[0][0]

        losses, gradients = jax.vmap(jax.value_and_grad(loss_of_one), in_axes=(None, 0))(theta, x)
        share = jnp.clip(weight, 0.0, 1.0)
        norms = jnp.sqrt(jnp.sum(gradients * gradients, axis=1) + SMALLEST_WEIGHT_SUM)
        scale = share * jnp.minimum(1.0, clip / norms)
        total = jnp.maximum(jnp.sum(share), SMALLEST_WEIGHT_SUM)
        gradient = (scale @ gradients + noise) / x.shape[0]
        return theta - lr * gradient, jnp.sum(share * losses) / total, jnp.sum(share * norms) / total

    return step


def ditto_step(family: Family) -> Step:
    """One gradient step of the shared model and one of a personal model that is drawn to it by `pull`.

    References:
        Li et al. (2021), arXiv:2012.04221, algorithm 1 with one local step; `pull` is its lambda.
    """

    def step(theta: Any, personal: Any, lr: Any, pull: Any, x: Any, weight: Any) -> tuple[Any, ...]:
        loss_and_gradient = jax.value_and_grad(lambda at: weighted_loss(family, at, x, weight))
        loss, gradient = loss_and_gradient(theta)
        personal_loss, personal_gradient = loss_and_gradient(personal)
        personal_gradient = personal_gradient + pull * (personal - theta)
        return theta - lr * gradient, personal - lr * personal_gradient, loss, personal_loss

    return step


RULES: dict[str, LearningRule] = {
    each.name: each
    for each in (
        LearningRule(
            name="adam_prox_step",
            summary="one Adam step with a FedProx pull towards the anchor",
            inputs={
                "theta": Kind.MODEL,
                "m": Kind.MOMENT,
                "v": Kind.SQUARE,
                "t": Kind.COUNT,
                "anchor": Kind.MODEL,
                "lr": Kind.RATE,
                "mu": Kind.STRENGTH,
                "x": Kind.SAMPLES,
                "weight": Kind.WEIGHTS,
            },
            outputs=("theta_next", "m_next", "v_next", "t_next", "loss"),
            updates={"theta_next": "theta"},
            make=adam_prox_step,
        ),
        LearningRule(
            name="clipped_step",
            summary="one gradient step with each sample clipped and noise added (DP-SGD)",
            inputs={
                "theta": Kind.MODEL,
                "noise": Kind.NOISE,
                "lr": Kind.RATE,
                "clip": Kind.STRENGTH,
                "x": Kind.SAMPLES,
                "weight": Kind.WEIGHTS,
            },
            outputs=("theta_next", "loss", "norm"),
            updates={"theta_next": "theta"},
            make=clipped_step,
        ),
        LearningRule(
            name="ditto_step",
            summary="one gradient step of the shared and of a personal model (Ditto)",
            inputs={
                "theta": Kind.MODEL,
                "personal": Kind.MODEL,
                "lr": Kind.RATE,
                "pull": Kind.STRENGTH,
                "x": Kind.SAMPLES,
                "weight": Kind.WEIGHTS,
            },
            outputs=("theta_next", "personal_next", "loss", "personal_loss"),
            updates={"theta_next": "theta", "personal_next": "personal"},
            make=ditto_step,
        ),
    )
}


def rule_named(name: str) -> LearningRule:
    """Find a learning rule, or say which there are."""
    if name not in RULES:
        raise UnknownNameError("learning rule", name, sorted(RULES))
    return RULES[name]
