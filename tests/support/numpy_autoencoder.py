"""This file knows the dense autoencoder by hand: forward and backward in plain numpy; the rules are `numpy_rules`.

The slow, obvious twin of `aggregator/foundry`: it takes its layout from a list of shapes, keeps the type of `theta`
(single or double precision) and shares no code with what it checks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.numpy_rules import NumpyRules

Array = NDArray[Any]


class NumpyAutoencoder(NumpyRules):
    """An autoencoder with tanh between its layers; `widths` from input to output, weights (in, out) then bias."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        self.widths = widths

    def layers(self, theta: Array) -> list[tuple[Array, Array]]:
        layers, offset = [], 0
        for fan_in, fan_out in zip(self.widths[:-1], self.widths[1:], strict=True):
            weight = theta[offset : offset + fan_in * fan_out].reshape(fan_in, fan_out)
            offset += fan_in * fan_out
            bias = theta[offset : offset + fan_out]
            offset += fan_out
            layers.append((weight, bias))
        assert offset == len(theta)
        return layers

    def activations(self, theta: Array, x: Array) -> list[Array]:
        activations = [x]
        for weight, bias in self.layers(theta):
            activations.append(np.tanh(activations[-1] @ weight + bias))
        weight, bias = self.layers(theta)[-1]
        activations[-1] = activations[-2] @ weight + bias
        return activations

    def score(self, theta: Array, x: Array) -> tuple[Array, Array]:
        reconstruction = self.activations(theta, x)[-1]
        return ((reconstruction - x) ** 2).mean(axis=1), reconstruction

    def loss_and_gradient(
        self, theta: Array, x: Array, weight: Array, target: Array | None = None
    ) -> tuple[Any, Array]:
        activations = self.activations(theta, x)
        error = activations[-1] - (x if target is None else target)
        total = max(float(weight.sum()), 1e-12)
        loss = (weight * (error**2).mean(axis=1)).sum() / total
        gradient = np.zeros_like(theta)
        into = self.layers(gradient)
        upstream = error * (2 * weight[:, None] / (x.shape[1] * total)).astype(theta.dtype)
        for place in reversed(range(len(into))):
            into[place][0][:] = activations[place].T @ upstream
            into[place][1][:] = upstream.sum(axis=0)
            if place:
                upstream = (upstream @ self.layers(theta)[place][0].T) * (1 - activations[place] ** 2)
        return loss, gradient

    def weight_parts(self) -> list[slice]:
        parts, offset = [], 0
        for fan_in, fan_out in zip(self.widths[:-1], self.widths[1:], strict=True):
            parts.append(slice(offset, offset + fan_in * fan_out))
            offset += fan_in * fan_out + fan_out
        return parts
