"""This file knows the layers of the families as JAX functions, convolutions for training and for inference.

Both forms of these take the same parameters and give the same numbers. For training, samples are (N, positions,
channels) and a convolution is shifted products or a matrix product, whose gradients are again such: `Conv` has no
gradient among ONNX's operators. For inference they are (N, channels, positions) and each convolution is one `Conv`.

A convolution of kernel k and stride s keeps positions / s of them; of the k - s zeros added, the larger half precedes.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

DEPTHWISE_STRIDE = 2
# Elements in a row of a product that is broadcast: onnxruntime works row by row, and rows of 16 cost 2.5 times as much.
WIDE_ROW = 128


@jax.custom_jvp
def relu(x: Any) -> Any:
    """max(x, 0); its derivative is read from the result, so that x itself need not be kept for it."""
    return jnp.maximum(x, 0)


@relu.defjvp
def _relu_derivative(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    result = relu(*primals)
    return result, (result > 0).astype(result.dtype) * tangents[0]


@jax.custom_jvp
def tanh(x: Any) -> Any:
    """Hyperbolic tangent; its derivative 1 - result^2 is written with three operators where JAX takes four."""
    return jnp.tanh(x)


@tanh.defjvp
def _tanh_derivative(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    result = tanh(*primals)
    return result, (1 - result * result) * tangents[0]


def stem(x: Any, weight: Any, bias: Any, *, stride: int) -> Any:
    """Full convolution as one matrix product over the samples' overlapping pieces.

    Args:
        x: Samples, shape (N, positions, channels).
        weight: Shape (kernel * channels, width), the kernel's first position first; the kernel is a multiple of
            the stride.
        bias: Shape (width,).
        stride: Divides `positions`.
    """
    samples, positions, channels = x.shape
    kernel = weight.shape[0] // channels
    before, after = _zeros_added(kernel, stride)
    blocks = jnp.pad(x, ((0, 0), (before, after), (0, 0))).reshape(samples, -1, stride * channels)
    kept = positions // stride
    pieces = jnp.concatenate([blocks[:, first : first + kept] for first in range(kernel // stride)], axis=2)
    return (pieces.reshape(samples * kept, -1) @ weight + bias).reshape(samples, kept, -1)


def stem_for_inference(x: Any, weight: Any, bias: Any, *, stride: int) -> Any:
    """`stem` of samples (N, channels, positions)."""
    kernels = weight.reshape(-1, x.shape[1], weight.shape[1]).transpose(2, 1, 0)
    return _conv(x, kernels, bias, stride=stride)


def separable(x: Any, depthwise: Any, depthwise_bias: Any, pointwise: Any, pointwise_bias: Any) -> Any:
    """Filter each channel by itself with stride 2, then mix the channels of each position; ReLU after both.

    Args:
        x: Samples, shape (N, positions, channels), of evenly many positions.
        depthwise: Shape (kernel, channels).
        depthwise_bias: Shape (channels,).
        pointwise: Shape (channels, width).
        pointwise_bias: Shape (width,).
    """
    samples, positions, channels = x.shape
    kept = positions // DEPTHWISE_STRIDE
    phases = jnp.split(x.reshape(samples, kept, -1), DEPTHWISE_STRIDE, axis=2)
    repeats = _repeats(kept, channels)
    before, _ = _zeros_added(len(depthwise), DEPTHWISE_STRIDE)
    total: Any = _repeated(depthwise_bias, repeats)
    for place, factor in enumerate(depthwise):
        blocks, phase = divmod(place - before, DEPTHWISE_STRIDE)
        total = total + _moved(phases[phase], blocks).reshape(-1, repeats * channels) * _repeated(factor, repeats)
    mixed = relu(total).reshape(samples * kept, channels) @ pointwise + pointwise_bias
    return relu(mixed).reshape(samples, kept, -1)


def separable_for_inference(x: Any, depthwise: Any, depthwise_bias: Any, pointwise: Any, pointwise_bias: Any) -> Any:
    """`separable` of samples (N, channels, positions)."""
    filtered = relu(_conv(x, depthwise.T[:, None], depthwise_bias, stride=DEPTHWISE_STRIDE, groups=x.shape[1]))
    return relu(_conv(filtered, pointwise.T[:, :, None], pointwise_bias, stride=1))


def _conv(x: Any, kernels: Any, bias: Any, *, stride: int, groups: int = 1) -> Any:
    product = lax.conv_general_dilated(
        x, kernels, (stride,), [_zeros_added(kernels.shape[2], stride)],
        dimension_numbers=("NCH", "OIH", "NCH"), feature_group_count=groups,
    )  # fmt: skip
    return product + bias[:, None]


def _zeros_added(kernel: int, stride: int) -> tuple[int, int]:
    after = (kernel - stride) // 2
    return kernel - stride - after, after


def _moved(x: Any, blocks: int) -> Any:
    """Let position p hold what stood at p + blocks, and zero where nothing stood."""
    return lax.pad(x, np.zeros((), x.dtype), [(0, 0, 0), (-blocks, blocks, 0), (0, 0, 0)]) if blocks else x


def _repeats(positions: int, channels: int) -> int:
    """How many positions to write side by side, so that a row is wide and all rows are alike."""
    return max(
        count for count in range(1, positions + 1) if positions % count == 0 and (count - 1) * channels < WIDE_ROW
    )


def _repeated(factor: Any, repeats: int) -> Any:
    return jnp.broadcast_to(factor, (repeats, *factor.shape)).reshape(-1)
