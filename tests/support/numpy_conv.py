"""This file knows the convolutional families by hand, position by position: the slow, obvious twin of the encoder.

Written from the description of the layers, in the type of `theta`, with loops over positions, kernel and channels where
`aggregator/foundry` shifts and multiplies whole tensors. Gradients are checked by differences: nothing is derived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def slopes(loss: Callable[[Array], float], theta: Array, places: Array, *, step: float = 1e-6) -> Array:
    """Central differences of `loss` along some elements of `theta`."""
    found = []
    for place in places:
        up, down = theta.copy(), theta.copy()
        up[place] += step
        down[place] -= step
        found.append((loss(up) - loss(down)) / (2 * step))
    return np.asarray(found)
