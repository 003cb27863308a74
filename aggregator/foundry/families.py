"""This file knows the model families: their parameters, their first values, and what they compute.

A family is a recipe over F model features. Everything but its scores is numpy; those are traced by JAX. The learning
rules are made from `score`, the inference graph from `score_for_inference`, and the golden vectors of both from `score`
in double precision, so that they cannot disagree about the network.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from aggregator.foundry.errors import UnknownNameError
from aggregator.foundry.families_conv import ConvAutoencoder, ConvClassifier
from aggregator.foundry.parameters import ParameterSpec


class Family(Protocol):
    """What the foundry needs of a model; `features` is the width F of one sample."""

    name: ClassVar[str]

    @property
    def features(self) -> int: ...

    @property
    def parameters(self) -> ParameterSpec: ...

    def initial_theta(self, seed: int) -> NDArray[np.float32]:
        """Draw the first parameters, shape (parameters.count,); the same seed gives the same vector."""

    def score(self, theta: Any, x: Any) -> tuple[Any, Any]:
        """Tell how badly each sample fits, traced by JAX; in the form whose gradients make plain graphs.

        Args:
            theta: Flat parameters, shape (P,).
            x: Samples, shape (N, F), standardised per measurement point.

        Returns:
            Loss of each sample, shape (N,), the mean squared reconstruction error unless the family says
            otherwise, and the reconstruction, shape (N, F).
        """

    def score_for_inference(self, theta: Any, x: Any) -> tuple[Any, Any]:
        """The same numbers in the form that scores fastest; it need have no gradient."""


@dataclass(frozen=True, slots=True)
class DenseAutoencoder:
    """F -> 32 -> 8 -> 32 -> F with tanh between and a linear output; 3,704 parameters for F = 48."""

    name: ClassVar[str] = "dense_autoencoder"
    features: int
    hidden: tuple[int, ...] = (32, 8, 32)

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.features, *self.hidden, self.features)

    @property
    def parameters(self) -> ParameterSpec:
        shapes: list[tuple[str, tuple[int, ...]]] = []
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(self.widths), start=1):
            shapes += [(f"layer_{layer}_weight", (fan_in, fan_out)), (f"layer_{layer}_bias", (fan_out,))]
        return ParameterSpec.from_shapes(shapes)

    def initial_theta(self, seed: int) -> NDArray[np.float32]:
        """Draw weights with variance 1 / fan-in, which keeps tanh out of saturation; biases start at zero."""
        draw = np.random.default_rng(seed)
        theta = np.zeros(self.parameters.count, np.float32)
        for parameter in self.parameters.views(theta).values():
            if parameter.ndim == 2:
                parameter[:] = draw.standard_normal(parameter.shape) / np.sqrt(parameter.shape[0])
        return theta

    def score(self, theta: Any, x: Any) -> tuple[Any, Any]:
        import jax.numpy as jnp

        from aggregator.foundry.families_layers import tanh

        parameters = self.parameters.pieces(theta)
        *hidden_layers, (last_weight, last_bias) = zip(parameters[::2], parameters[1::2], strict=True)
        hidden = x
        for weight, bias in hidden_layers:
            hidden = tanh(hidden @ weight + bias)
        reconstruction = hidden @ last_weight + last_bias
        error = reconstruction - x
        return jnp.mean(error * error, axis=1), reconstruction

    def score_for_inference(self, theta: Any, x: Any) -> tuple[Any, Any]:
        return self.score(theta, x)


FAMILIES: dict[str, Callable[[int], Family]] = {
    each.name: each for each in (DenseAutoencoder, ConvAutoencoder, ConvClassifier)
}


def family_named(name: str, features: int) -> Family:
    """Make the family of that name for `features` model features, or say which names there are."""
    if name not in FAMILIES:
        raise UnknownNameError("model family", name, sorted(FAMILIES))
    return FAMILIES[name](features)
