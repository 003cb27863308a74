"""This file knows the convolutional families by hand: scores position by position, and gradients derived on paper.

Scores are written from the description of the layers, in the type of `theta`, with loops over positions, kernel and
channels where `aggregator/foundry` shifts and multiplies whole tensors. The backward pass is the encoder's that
benchmarks/training_step_numpy.py races; here it is held to slopes of those scores and to the exported graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.training_step_numpy import SeparableEncoder, encoder_shapes, views
from tests.support.numpy_rules import NumpyRules

Array = NDArray[Any]


def convolved(sample: Array, position: int, *, kernel: int, stride: int) -> Array:
    """What one position of the result sees of a sample (positions, channels), shape (kernel, channels).

    Of the kernel - stride zeros around the sample the larger half precedes it.
    """
    before = kernel - stride - (kernel - stride) // 2
    piece = np.zeros((kernel, sample.shape[1]), sample.dtype)
    for tap in range(kernel):
        seen = stride * position + tap - before
        if 0 <= seen < len(sample):
            piece[tap] = sample[seen]
    return piece


def encoded(parameters: Mapping[str, Array], sample: Array, *, stem_kernel: int, stem_stride: int) -> Array:
    """Encode one sample (positions, channels): a full convolution, then depthwise and pointwise ones."""
    weight, bias = parameters["encoder_stem_weight"], parameters["encoder_stem_bias"]
    hidden = np.stack(
        [
            convolved(sample, position, kernel=stem_kernel, stride=stem_stride).ravel() @ weight + bias
            for position in range(len(sample) // stem_stride)
        ]
    )
    hidden = np.maximum(hidden, 0)
    block = 1
    while f"encoder_block_{block}_depthwise_weight" in parameters:
        depthwise, depthwise_bias, pointwise, pointwise_bias = (
            parameters[f"encoder_block_{block}_{name}"]
            for name in ("depthwise_weight", "depthwise_bias", "pointwise_weight", "pointwise_bias")
        )
        filtered = np.stack(
            [
                (convolved(hidden, position, kernel=len(depthwise), stride=2) * depthwise).sum(axis=0) + depthwise_bias
                for position in range(len(hidden) // 2)
            ]
        )
        hidden = np.maximum(np.maximum(filtered, 0) @ pointwise + pointwise_bias, 0)
        block += 1
    return hidden


def autoencoder_score(parameters: Mapping[str, Array], row: Array) -> tuple[float, Array]:
    """Score and reconstruction of one row: 2/3 bands of the spectrum, two a position, 1/3 bands of the envelope."""
    positions = len(row) // 3
    sample = np.empty((positions, 3), row.dtype)
    for position in range(positions):
        sample[position] = row[2 * position], row[2 * position + 1], row[2 * positions + position]
    hidden = encoded(parameters, sample, stem_kernel=3, stem_stride=1).ravel()
    for layer in ("latent", "hidden"):
        hidden = np.tanh(hidden @ parameters[f"{layer}_weight"] + parameters[f"{layer}_bias"])
    reconstruction = hidden @ parameters["output_weight"] + parameters["output_bias"]
    return float(((reconstruction - row) ** 2).mean()), reconstruction


def classifier_score(parameters: Mapping[str, Array], row: Array, *, labels: int, pooled: bool) -> tuple[float, Array]:
    """Cross-entropy of one row and the row with its label's place taken by the probabilities."""
    samples, label = row[:-labels], row[-labels:]
    hidden = encoded(parameters, samples[:, None], stem_kernel=16, stem_stride=4)
    summary = hidden.mean(axis=0) if pooled else hidden.ravel()
    exponential = np.exp(summary @ parameters["head_weight"] + parameters["head_bias"])
    probability = exponential / exponential.sum()
    return float(-label @ np.log(probability)), np.concatenate([samples, probability])


class NumpyConvAutoencoder(NumpyRules):
    """`ConvAutoencoder` of rows whose bands fill its positions; in single, double or complex double precision."""

    def __init__(
        self, features: int, widths: tuple[int, ...] = (16, 24, 32), latent: int = 8, hidden: int = 32
    ) -> None:
        self.positions = features // 3
        assert 3 * self.positions == features
        assert self.positions % 2 ** (len(widths) - 1) == 0
        encoded = self.positions // 2 ** (len(widths) - 1) * widths[-1]
        self.encoder = encoder_shapes(widths, stem=9)
        dense = ((encoded, latent), (latent, hidden), (hidden, features))
        self.shapes = [*self.encoder, *(shape for pair in dense for shape in (pair, (pair[1],)))]

    def score(self, theta: Array, x: Array) -> tuple[Array, Array]:
        activations, _ = self._forward(theta, np.zeros_like(theta), x)
        return ((activations[-1] - x) ** 2).mean(axis=1), activations[-1]

    def loss_and_gradient(
        self, theta: Array, x: Array, weight: Array, target: Array | None = None
    ) -> tuple[Any, Array]:
        gradient = np.zeros_like(theta)
        activations, encoder = self._forward(theta, gradient, x)
        error = activations[-1] - (x if target is None else target)
        total = max(float(weight.sum()), 1e-12)
        loss = (weight * (error**2).mean(axis=1)).sum() / total
        dense, into = (views(each, self.shapes)[len(self.encoder) :] for each in (theta, gradient))
        upstream = error * (2 * weight[:, None] / (x.shape[1] * total)).astype(theta.dtype)
        for place in (2, 1, 0):
            into[2 * place][:] = activations[place].T @ upstream
            into[2 * place + 1][:] = upstream.sum(axis=0)
            upstream = upstream @ dense[2 * place].T
            if place:
                upstream = upstream * (1 - activations[place] ** 2)
        encoder.upstream[-1][:] = upstream.reshape(encoder.upstream[-1].shape)
        encoder.backward()
        return loss, gradient

    def weight_parts(self) -> list[slice]:
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes]).tolist()
        starts = [0, *ends[:-1]]
        return [slice(a, b) for a, b, shape in zip(starts, ends, self.shapes, strict=True) if len(shape) > 1]

    def _forward(self, theta: Array, gradient: Array, x: Array) -> tuple[list[Array], SeparableEncoder]:
        """Activations of the dense layers, from the encoded rows to the reconstruction, and the encoder used."""
        split = len(self.encoder)
        parameters = views(theta, self.shapes)
        encoder = SeparableEncoder(
            parameters[:split], views(gradient, self.shapes)[:split],
            batch=len(x), samples=self.positions, channels=3, stride=1,
        )  # fmt: skip
        bands, envelope = np.split(x, [2 * self.positions], axis=1)
        by_position = np.concatenate([bands.reshape(len(x), -1, 2), envelope[:, :, None]], axis=2)
        activations = [encoder.forward(by_position.reshape(len(x), -1)).reshape(len(x), -1)]
        latent, latent_bias, hidden, hidden_bias, output, output_bias = parameters[split:]
        activations.append(np.tanh(activations[0] @ latent + latent_bias))
        activations.append(np.tanh(activations[1] @ hidden + hidden_bias))
        activations.append(activations[2] @ output + output_bias)
        return activations, encoder


def slopes(loss: Callable[[Array], float], theta: Array, places: Array, *, step: float = 1e-6) -> Array:
    """Central differences of `loss` along some elements of `theta`."""
    found = []
    for place in places:
        up, down = theta.copy(), theta.copy()
        up[place] += step
        down[place] -= step
        found.append((loss(up) - loss(down)) / (2 * step))
    return np.asarray(found)
