"""This file knows a classifier of feature rows that may be told which labels its client holds, and how often.

A row is the features, then the label one-hot, then the logarithm of each label's share of the client's rows, which is
added to the logits while learning: a client that hardly sees a label then learns little against it, where plain
cross-entropy pushes it down (Menon et al. 2021, arXiv:2007.07314; for clients Zhang et al. 2022, arXiv:2209.00189).
Zeros there, as in every row to be judged, make it plain cross-entropy.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from aggregator.foundry.parameters import ParameterSpec


@dataclass(frozen=True, slots=True)
class FeatureClassifier:
    """Features -> hidden layers with tanh -> labels; a family as the foundry knows them.

    Attributes:
        features: Width of a row: inputs and twice the labels.
        labels: How many labels.
        hidden: Widths of the hidden layers.
    """

    name: ClassVar[str] = "feature_classifier"
    features: int
    labels: int
    hidden: tuple[int, ...] = (64, 32)

    @property
    def inputs(self) -> int:
        """Width of what is classified."""
        return self.features - 2 * self.labels

    @property
    def parameters(self) -> ParameterSpec:
        """Weight and bias of each layer."""
        shapes: list[tuple[str, tuple[int, ...]]] = []
        widths = (self.inputs, *self.hidden, self.labels)
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths), start=1):
            shapes += [(f"layer_{layer}_weight", (fan_in, fan_out)), (f"layer_{layer}_bias", (fan_out,))]
        return ParameterSpec.from_shapes(shapes)

    def initial_theta(self, seed: int) -> NDArray[np.float32]:
        """Draw weights with variance 1 / fan-in; biases start at zero."""
        draw = np.random.default_rng(seed)
        theta = np.zeros(self.parameters.count, np.float32)
        for parameter in self.parameters.views(theta).values():
            if parameter.ndim == 2:
                parameter[:] = draw.standard_normal(parameter.shape) / np.sqrt(parameter.shape[0])
        return theta

    def score(self, theta: Any, x: Any) -> tuple[Any, Any]:
        """Cross-entropy of each row (N,), and the rows with probabilities in the label's place (N, F)."""
        import jax
        import jax.numpy as jnp

        from aggregator.foundry.families_layers import tanh

        inputs, label, log_share = jnp.split(x, [self.inputs, self.inputs + self.labels], axis=1)
        parameters = self.parameters.pieces(theta)
        *hidden_layers, (last_weight, last_bias) = zip(parameters[::2], parameters[1::2], strict=True)
        hidden = inputs
        for weight, bias in hidden_layers:
            hidden = tanh(hidden @ weight + bias)
        logit = hidden @ last_weight + last_bias + log_share
        lowered = logit - jax.lax.stop_gradient(jnp.max(logit, axis=1, keepdims=True))
        log_probability = lowered - jnp.log(jnp.sum(jnp.exp(lowered), axis=1, keepdims=True))
        completed = jnp.concatenate([inputs, jnp.exp(log_probability), log_share], axis=1)
        return -jnp.sum(label * log_probability, axis=1), completed

    def score_for_inference(self, theta: Any, x: Any) -> tuple[Any, Any]:
        """The same."""
        return self.score(theta, x)
