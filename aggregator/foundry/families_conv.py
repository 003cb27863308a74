"""This file knows the convolutional families: one depthwise-separable encoder, with a decoder or with a label's head.

The blocks are MobileNet's (Howard et al. 2017, arXiv:1704.04861) in one dimension: filter each channel, mix channels,
ReLU after both. In place of batch normalisation stand biases and first parameters that keep the variance (He et al.
2015, arXiv:1502.01852): no statistics of a batch have to be merged between machines, and inference is plain `Conv`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aggregator.foundry.errors import FoundryError
from aggregator.foundry.parameters import ParameterSpec

Shapes: TypeAlias = list[tuple[str, tuple[int, ...]]]
Encode: TypeAlias = Callable[[list[Any], Any], Any]

ENCODER = "encoder_"  # begins the name of each parameter of the encoder


@dataclass(frozen=True, slots=True)
class SeparableEncoder:
    """A stem, then one block for each further width; every block halves the positions.

    Attributes:
        positions: Of one sample; a multiple of `stem_stride` and a factor 2 for each block.
        channels: Of one sample.
        widths: Channels after the stem and after each block.
        stem_kernel: A multiple of `stem_stride`.
        stem_stride: Positions the stem makes one of.
        kernel: Positions a block's filters see.
    """

    positions: int
    channels: int
    widths: tuple[int, ...]
    stem_kernel: int
    stem_stride: int
    kernel: int = 3

    @property
    def shape(self) -> tuple[int, int]:
        """Positions and channels of a sample encoded."""
        return self.positions // self.stride, self.widths[-1]

    @property
    def stride(self) -> int:
        return self.stem_stride << (len(self.widths) - 1)

    @property
    def shapes(self) -> Shapes:
        shapes: Shapes = [
            (f"{ENCODER}stem_weight", (self.stem_kernel * self.channels, self.widths[0])),
            (f"{ENCODER}stem_bias", (self.widths[0],)),
        ]
        for block, (narrow, wide) in enumerate(itertools.pairwise(self.widths), start=1):
            shapes += [
                (f"{ENCODER}block_{block}_depthwise_weight", (self.kernel, narrow)),
                (f"{ENCODER}block_{block}_depthwise_bias", (narrow,)),
                (f"{ENCODER}block_{block}_pointwise_weight", (narrow, wide)),
                (f"{ENCODER}block_{block}_pointwise_bias", (wide,)),
            ]
        return shapes

    def encode(self, parameters: list[Any], x: Any) -> Any:
        """Encode samples (N, positions, channels) in the form for training; shape (N, *self.shape)."""
        from aggregator.foundry import families_layers as layers

        weight, bias, *blocks = parameters
        hidden = layers.relu(layers.stem(x, weight, bias, stride=self.stem_stride))
        for block in zip(*[iter(blocks)] * 4, strict=True):
            hidden = layers.separable(hidden, *block)
        return hidden

    def encode_for_inference(self, parameters: list[Any], x: Any) -> Any:
        """The same numbers by native `Conv`."""
        from aggregator.foundry import families_layers as layers

        weight, bias, *blocks = parameters
        by_channel = x.transpose(0, 2, 1)
        hidden = layers.relu(layers.stem_for_inference(by_channel, weight, bias, stride=self.stem_stride))
        for block in zip(*[iter(blocks)] * 4, strict=True):
            hidden = layers.separable_for_inference(hidden, *block)
        return hidden.transpose(0, 2, 1)


@dataclass(frozen=True, slots=True)
class ConvAutoencoder:
    """Depthwise-separable encoder of bands x channels -> 8 -> 32 -> F; 4,432 parameters for F = 48.

    A row is read as `schemas.feature_layout` writes it: two thirds are bands of the spectrum, one third bands of the
    envelope. Each position holds two neighbouring bands and the envelope's band of the same rank, three channels; zeros
    fill the last positions of other widths.
    """

    name: ClassVar[str] = "conv_autoencoder"
    features: int
    widths: tuple[int, ...] = (16, 24, 32)
    latent: int = 8
    hidden: int = 32

    @property
    def encoder(self) -> SeparableEncoder:
        factor = 2 ** (len(self.widths) - 1)
        positions = factor * math.ceil(self.features / 3 / factor)
        return SeparableEncoder(positions, 3, self.widths, stem_kernel=3, stem_stride=1)

    @property
    def parameters(self) -> ParameterSpec:
        return ParameterSpec.from_shapes(
            [
                *self.encoder.shapes,
                ("latent_weight", (math.prod(self.encoder.shape), self.latent)),
                ("latent_bias", (self.latent,)),
                ("hidden_weight", (self.latent, self.hidden)),
                ("hidden_bias", (self.hidden,)),
                ("output_weight", (self.hidden, self.features)),
                ("output_bias", (self.features,)),
            ]
        )

    def initial_theta(self, seed: int) -> NDArray[np.float32]:
        return _first_theta(self.parameters, seed)

    def score(self, theta: Any, x: Any) -> tuple[Any, Any]:
        return self._score(theta, x, self.encoder.encode)

    def score_for_inference(self, theta: Any, x: Any) -> tuple[Any, Any]:
        return self._score(theta, x, self.encoder.encode_for_inference)

    def _score(self, theta: Any, x: Any, encode: Encode) -> tuple[Any, Any]:
        import jax.numpy as jnp

        from aggregator.foundry.families_layers import tanh

        *encoder, latent, latent_bias, hidden, hidden_bias, output, output_bias = self.parameters.pieces(theta)
        encoded = encode(encoder, self._by_position(x)).reshape(x.shape[0], -1)
        decoded = tanh(tanh(encoded @ latent + latent_bias) @ hidden + hidden_bias)
        reconstruction = decoded @ output + output_bias
        error = reconstruction - x
        return jnp.mean(error * error, axis=1), reconstruction

    def _by_position(self, x: Any) -> Any:
        import jax.numpy as jnp

        positions = self.encoder.positions
        filled = jnp.pad(x, ((0, 0), (0, 3 * positions - self.features)))
        bands, envelope = jnp.split(filled, [2 * positions], axis=1)
        return jnp.concatenate([bands.reshape(-1, positions, 2), envelope[:, :, None]], axis=2)


@dataclass(frozen=True, slots=True)
class ConvClassifier:
    """Depthwise-separable encoder of a waveform -> one of 10 labels; a row is the samples, then the label one-hot.

    The score of a row is its cross-entropy, 0 where no label is given; the reconstruction is the row with the label's
    place taken by the probabilities. So every learning rule serves a classifier as it serves an autoencoder. For 2,048
    samples and 10 labels (F = 2,058) there are 47,802 parameters.

    Attributes:
        features: F, samples and labels together.
        labels: How many of them are the label.
        widths: Channels after the stem and after each block.
        pooled: Whether the encoder's positions are averaged, which suits a waveform, where it does not matter when
            something rings; a spectrum wants False.
    """

    name: ClassVar[str] = "conv_classifier"
    features: int
    labels: int = 10
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    pooled: bool = True

    def __post_init__(self) -> None:
        if self.features <= self.labels:
            raise FoundryError(f"{self.features} features hold no sample beside {self.labels} labels; more are needed")

    @property
    def samples(self) -> int:
        return self.features - self.labels

    @property
    def encoder(self) -> SeparableEncoder:
        factor = 4 * 2 ** (len(self.widths) - 1)
        positions = factor * math.ceil(self.samples / factor)
        return SeparableEncoder(positions, 1, self.widths, stem_kernel=16, stem_stride=4)

    @property
    def parameters(self) -> ParameterSpec:
        positions, width = self.encoder.shape
        head = [
            ("head_weight", (width if self.pooled else positions * width, self.labels)),
            ("head_bias", (self.labels,)),
        ]
        return ParameterSpec.from_shapes([*self.encoder.shapes, *head])

    def initial_theta(self, seed: int) -> NDArray[np.float32]:
        return _first_theta(self.parameters, seed)

    def score(self, theta: Any, x: Any) -> tuple[Any, Any]:
        return self._score(theta, x, self.encoder.encode)

    def score_for_inference(self, theta: Any, x: Any) -> tuple[Any, Any]:
        return self._score(theta, x, self.encoder.encode_for_inference)

    def _score(self, theta: Any, x: Any, encode: Encode) -> tuple[Any, Any]:
        import jax
        import jax.numpy as jnp

        samples, label = jnp.split(x, [self.samples], axis=1)
        *encoder, head, head_bias = self.parameters.pieces(theta)
        filled = jnp.pad(samples, ((0, 0), (0, self.encoder.positions - self.samples)))
        encoded = encode(encoder, filled[:, :, None])
        summary = jnp.mean(encoded, axis=1) if self.pooled else encoded.reshape(x.shape[0], -1)
        logit = summary @ head + head_bias
        # not jax.nn.log_softmax: it leaves -inf among the graph's constants, which gateways refuse
        lowered = logit - jax.lax.stop_gradient(jnp.max(logit, axis=1, keepdims=True))
        log_probability = lowered - jnp.log(jnp.sum(jnp.exp(lowered), axis=1, keepdims=True))
        completed = jnp.concatenate([samples, jnp.exp(log_probability)], axis=1)
        return -jnp.sum(label * log_probability, axis=1), completed


def _first_theta(parameters: ParameterSpec, seed: int) -> NDArray[np.float32]:
    """Draw weights with variance 1 / fan-in, twice that where ReLU drops half of it; biases start at zero."""
    draw = np.random.default_rng(seed)
    theta = np.zeros(parameters.count, np.float32)
    for name, parameter in parameters.views(theta).items():
        if parameter.ndim == 2:
            kept = 0.5 if name.startswith(ENCODER) else 1.0
            parameter[:] = draw.standard_normal(parameter.shape) / np.sqrt(kept * parameter.shape[0])
    return theta
