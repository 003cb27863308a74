"""This file knows the dense autoencoder by hand: forward, backward and every learning rule in plain numpy.

The slow, obvious twin of `aggregator/foundry`: it takes its layout from a list of shapes, keeps the type of `theta`
(single or double precision) and shares no code with what it checks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class NumpyAutoencoder:
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

    def loss_and_gradient(self, theta: Array, x: Array, weight: Array) -> tuple[float, Array]:
        """Weighted mean over samples of the mean squared error, and its gradient over `theta`."""
        activations = self.activations(theta, x)
        error = activations[-1] - x
        total = max(float(weight.sum()), 1e-12)
        loss = float((weight * (error**2).mean(axis=1)).sum()) / total
        gradient = np.zeros_like(theta)
        into = self.layers(gradient)
        upstream = error * (2 * weight[:, None] / (x.shape[1] * total)).astype(theta.dtype)
        for place in reversed(range(len(into))):
            into[place][0][:] = activations[place].T @ upstream
            into[place][1][:] = upstream.sum(axis=0)
            if place:
                upstream = (upstream @ self.layers(theta)[place][0].T) * (1 - activations[place] ** 2)
        return loss, gradient

    def adam_prox_step(
        self, *, theta: Array, m: Array, v: Array, t: Any, anchor: Array, lr: Any, mu: Any, x: Array, weight: Array
    ) -> tuple[Array, Array, Array, Any, float]:
        loss, gradient = self.loss_and_gradient(theta, x, weight)
        gradient += mu * (theta - anchor)
        t = t + 1
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient * gradient
        mean = m / (1 - 0.9 ** float(t))
        mean_square = v / (1 - 0.999 ** float(t))
        return theta - lr * mean / (np.sqrt(mean_square) + 1e-8), m, v, t, loss

    def clipped_step(
        self, *, theta: Array, noise: Array, lr: Any, clip: Any, x: Array, weight: Array
    ) -> tuple[Array, float, float]:
        gradient, losses, norms = noise.copy(), [], []
        share = np.clip(weight, 0, 1)
        for sample, part in zip(x, share, strict=True):
            loss, own = self.loss_and_gradient(theta, sample[None], np.ones(1, theta.dtype))
            norm = float(np.linalg.norm(own))
            gradient += part * own * min(1.0, float(clip) / max(norm, 1e-12))
            losses.append(loss)
            norms.append(norm)
        total = max(float(share.sum()), 1e-12)
        return theta - lr * gradient / len(x), float(share @ losses) / total, float(share @ norms) / total

    def ditto_step(
        self, *, theta: Array, personal: Array, lr: Any, pull: Any, x: Array, weight: Array
    ) -> tuple[Array, Array, float, float]:
        loss, gradient = self.loss_and_gradient(theta, x, weight)
        personal_loss, personal_gradient = self.loss_and_gradient(personal, x, weight)
        personal_gradient += pull * (personal - theta)
        return theta - lr * gradient, personal - lr * personal_gradient, loss, personal_loss
