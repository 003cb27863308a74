"""This file knows training steps as one writes them in numpy by hand: in place, into buffers made once, through BLAS.

Same networks, loss, FedProx pull and Adam as `aggregator/foundry`, nothing shared with it but the layout of `theta`.
"""

from __future__ import annotations

import itertools
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FIRST_DECAY, SECOND_DECAY, EPSILON = 0.9, 0.999, 1e-8


class Network(Protocol):
    """What Adam needs of a network; `gradient` (P,) is written by `loss_and_gradient`."""

    gradient: Array

    def loss_and_gradient(self, x: Array, weight: Array) -> float: ...


class AdamProx:
    """Adam with a pull to the first parameters, on a `theta` that the network has views of."""

    def __init__(self, network: Network, theta: Array) -> None:
        self._network = network
        self.theta = theta
        self._anchor = theta.copy()
        self._m, self._v = np.zeros_like(theta), np.zeros_like(theta)
        self._one, self._other = np.empty_like(theta), np.empty_like(theta)
        self._steps = 0

    def step(self, x: Array, weight: Array, *, learning_rate: float, pull: float) -> float:
        loss = self._network.loss_and_gradient(x, weight)
        gradient, m, v, one, other = self._network.gradient, self._m, self._v, self._one, self._other
        self._steps += 1
        np.subtract(self.theta, self._anchor, out=one)
        one *= pull
        gradient += one
        m *= FIRST_DECAY
        np.multiply(gradient, 1 - FIRST_DECAY, out=one)
        m += one
        v *= SECOND_DECAY
        np.multiply(gradient, gradient, out=one)
        one *= 1 - SECOND_DECAY
        v += one
        np.multiply(v, 1 / (1 - SECOND_DECAY**self._steps), out=other)
        np.sqrt(other, out=other)
        other += EPSILON
        np.divide(m, other, out=one)
        one *= learning_rate / (1 - FIRST_DECAY**self._steps)
        self.theta -= one
        return loss


class Dense:
    """Autoencoder with tanh between its layers; weights (in, out) then bias, layer by layer."""

    def __init__(self, theta: Array, widths: tuple[int, ...], batch: int) -> None:
        self.gradient = np.zeros_like(theta)
        shapes: list[tuple[int, ...]] = [shape for pair in itertools.pairwise(widths) for shape in (pair, (pair[1],))]
        self._parameters, self._gradients = views(theta, shapes), views(self.gradient, shapes)
        self._values = [np.empty((batch, width), np.float32) for width in widths[1:]]
        self._upstream = [np.empty((batch, width), np.float32) for width in widths[1:]]

    def loss_and_gradient(self, x: Array, weight: Array) -> float:
        parameters, values = self._parameters, self._values
        into: Array = x
        for layer, value in enumerate(values):
            np.matmul(into, parameters[2 * layer], out=value)
            np.add(value, parameters[2 * layer + 1], out=value)
            if layer < len(values) - 1:
                np.tanh(value, out=value)
            into = value
        share = weight / (x.shape[1] * max(float(weight.sum()), 1e-12))
        error = self._upstream[-1]
        np.subtract(values[-1], x, out=error)
        loss = float(np.einsum("nf,nf,n->", error, error, share))
        error *= (2 * share)[:, None]
        for layer in reversed(range(len(values))):
            upstream = self._upstream[layer]
            below = values[layer - 1] if layer else x
            np.matmul(below.T, upstream, out=self._gradients[2 * layer])
            upstream.sum(axis=0, out=self._gradients[2 * layer + 1])
            if layer:
                down = self._upstream[layer - 1]
                np.matmul(upstream, parameters[2 * layer].T, out=down)
                np.multiply(below, below, out=below)
                np.subtract(1, below, out=below)
                down *= below
        return loss


class SeparableEncoder:
    """A full convolution, then blocks of depthwise kernel 3, stride 2, and pointwise; ReLU after each.

    Activations are (N, positions, channels). Sums over rows are products with a vector of ones: BLAS does them fastest.
    In whatever type `parameters` have; tests/support/numpy_conv.py holds it to loops, slopes and the exported graphs.

    Attributes:
        hidden: Activations of the stem and of each block, as `forward` leaves them.
        upstream: Buffers of the same shapes; the last is filled by whoever calls `backward`.
    """

    def __init__(
        self, parameters: list[Array], gradients: list[Array], *, batch: int, samples: int, channels: int, stride: int
    ) -> None:
        self._parameters, self._gradients = parameters, gradients
        dtype = parameters[0].dtype
        widths = [bias.size for bias in parameters[1::2]][::2]
        positions = [samples // stride // 2**block for block in range(len(widths))]

        def buffers(count: int, halved: int) -> list[Array]:
            pairs = list(zip(positions, widths, strict=True))[:count]
            return [np.zeros((batch, places >> halved, width), dtype) for places, width in pairs]

        kernel = parameters[0].shape[0] // channels
        before = kernel - stride - (kernel - stride) // 2  # of the zeros around a sample the larger half precedes it
        self._own = slice(before * channels, (before + samples) * channels)
        self._padded = np.zeros((batch, positions[0] + kernel // stride - 1, stride * channels), dtype)
        self._pieces = np.empty((batch, positions[0], kernel * channels), dtype)
        self.hidden, self.upstream = buffers(len(widths), 0), buffers(len(widths), 0)
        self._filtered, self._filtered_upstream, self._spare = (buffers(len(widths) - 1, 1) for _ in range(3))
        self._mask = np.empty(max(each.size for each in (*self.hidden, *self._filtered)), np.bool_)
        self._ones = np.ones(batch * positions[0], dtype)

    def forward(self, samples: Array) -> Array:
        """Encode samples (N, positions x channels); shape (N, positions, channels) of the last block."""
        self._padded.reshape(len(samples), -1)[:, self._own] = samples
        places, wide = self._pieces.shape[1], self._padded.shape[2]
        for first in range(self._pieces.shape[2] // wide):
            self._pieces[:, :, wide * first : wide * (first + 1)] = self._padded[:, first : first + places]
        self._mixed(self._pieces, *self._parameters[:2], out=self.hidden[0])
        for block, filtered in enumerate(self._filtered):
            factors, bias, pointwise, pointwise_bias = self._parameters[2 + 4 * block : 6 + 4 * block]
            phases, spare = self._phases(self.hidden[block]), self._spare[block]
            np.multiply(phases[:, :, 0], factors[1], out=filtered)
            np.multiply(phases[:, :, 1], factors[2], out=spare)
            np.add(filtered, spare, out=filtered)
            np.multiply(phases[:, :-1, 1], factors[0], out=spare[:, 1:])
            filtered[:, 1:] += spare[:, 1:]
            np.add(filtered, bias, out=filtered)
            np.maximum(filtered, 0, out=filtered)
            self._mixed(filtered, pointwise, pointwise_bias, out=self.hidden[block + 1])
        return self.hidden[-1]

    def backward(self) -> None:
        """Write the gradients of what `forward` has encoded, from `upstream[-1]`; all of `upstream` is used up."""
        for block in reversed(range(len(self._filtered))):
            factors, _, pointwise, _ = self._parameters[2 + 4 * block : 6 + 4 * block]
            factors_out, bias_out, pointwise_out, pointwise_bias_out = self._gradients[2 + 4 * block : 6 + 4 * block]
            filtered, spare = self._filtered[block], self._spare[block]
            mixed = self._masked(self.upstream[block + 1], self.hidden[block + 1])
            np.matmul(rows(filtered).T, mixed, out=pointwise_out)
            self._summed(mixed, out=pointwise_bias_out)
            upstream = self._filtered_upstream[block]
            np.matmul(mixed, pointwise.T, out=rows(upstream))
            self._summed(self._masked(upstream, filtered), out=bias_out)
            phases = self._phases(self.hidden[block])
            for phase in (0, 1):
                np.multiply(phases[:, :, phase], upstream, out=spare)
                self._summed(rows(spare), out=factors_out[1 + phase])
            np.multiply(phases[:, :-1, 1], upstream[:, 1:], out=spare[:, 1:])
            spare[:, 0] = 0
            self._summed(rows(spare), out=factors_out[0])
            down = self._phases(self.upstream[block])
            np.multiply(upstream, factors[1], out=down[:, :, 0])
            np.multiply(upstream, factors[2], out=down[:, :, 1])
            np.multiply(upstream[:, 1:], factors[0], out=spare[:, 1:])
            down[:, :-1, 1] += spare[:, 1:]
        stem = self._masked(self.upstream[0], self.hidden[0])
        np.matmul(rows(self._pieces).T, stem, out=self._gradients[0])
        self._summed(stem, out=self._gradients[1])

    def _mixed(self, x: Array, weight: Array, bias: Array, *, out: Array) -> None:
        np.matmul(rows(x), weight, out=rows(out))
        out += bias
        np.maximum(out, 0, out=out)

    def _masked(self, upstream: Array, value: Array) -> Array:
        mask = self._mask[: value.size].reshape(value.shape)
        np.greater(value, 0, out=mask)
        upstream *= mask
        return rows(upstream)

    def _summed(self, values: Array, *, out: Array) -> None:
        np.matmul(self._ones[: len(values)], values, out=out)

    def _phases(self, values: Array) -> Array:
        batch, places, width = values.shape
        return values.reshape(batch, places // 2, 2, width)


class SeparableClassifier:
    """`SeparableEncoder` with a stem of kernel 16 and stride 4; mean over positions, linear, softmax."""

    def __init__(self, theta: Array, widths: tuple[int, ...], samples: int, labels: int, batch: int) -> None:
        self.gradient = np.zeros_like(theta)
        shapes = [*encoder_shapes(widths, stem=16), (widths[-1], labels), (labels,)]
        parameters, gradients = views(theta, shapes), views(self.gradient, shapes)
        self._samples = samples
        self._head, self._head_gradients = parameters[-2:], gradients[-2:]
        self._encoder = SeparableEncoder(
            parameters[:-2], gradients[:-2], batch=batch, samples=samples, channels=1, stride=4
        )

    def loss_and_gradient(self, x: Array, weight: Array) -> float:
        samples, label = x[:, : self._samples], x[:, self._samples :]
        encoded = self._encoder.forward(samples)
        summary = encoded.mean(axis=1)
        head, bias = self._head
        logit = summary @ head + bias
        logit -= logit.max(axis=1, keepdims=True)
        probability = np.exp(logit)
        total = probability.sum(axis=1, keepdims=True)
        share = weight / max(float(weight.sum()), 1e-12)
        loss = -float(share @ (label * (logit - np.log(total))).sum(axis=1))
        probability /= total
        upstream = (probability * label.sum(axis=1, keepdims=True) - label) * share[:, None]
        np.matmul(summary.T, upstream, out=self._head_gradients[0])
        upstream.sum(axis=0, out=self._head_gradients[1])
        summary = upstream @ head.T
        summary /= encoded.shape[1]
        self._encoder.upstream[-1][:] = summary[:, None]
        self._encoder.backward()
        return loss


def encoder_shapes(widths: tuple[int, ...], *, stem: int) -> list[tuple[int, ...]]:
    """Shapes of an encoder's parameters in the order of `theta`; `stem` is the stem's kernel times channels."""
    shapes: list[tuple[int, ...]] = [(stem, widths[0]), (widths[0],)]
    for narrow, wide in itertools.pairwise(widths):
        shapes += [(3, narrow), (narrow,), (narrow, wide), (wide,)]
    return shapes


def views(theta: Array, shapes: list[tuple[int, ...]]) -> list[Array]:
    """Show each parameter as a view of `theta`."""
    found: list[Array] = []
    offset = 0
    for shape in shapes:
        size = int(np.prod(shape))
        found.append(theta[offset : offset + size].reshape(shape))
        offset += size
    assert offset == theta.size
    return found


def rows(values: Array) -> Array:
    """All positions of all samples, one below the other."""
    flat: Any = values.reshape(-1, values.shape[-1])
    return flat  # type: ignore[no-any-return]
