"""This file knows every learning rule by hand: plain numpy over a model that gives its loss and gradient.

The slow, obvious twin of `aggregator/foundry/rules`; it shares no code with what it checks. A model written by hand
inherits from `NumpyRules`. What it computes must also hold for complex parameters (no abs, no comparison): the second
derivative of MAML is taken by a complex step, which is exact to the last digit and needs no second derivation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
IMAGINARY_STEP = 1e-30  # so small that its square vanishes


class NumpyRules(ABC):
    """The rules; a model says what its loss is."""

    @abstractmethod
    def score(self, theta: Array, x: Array) -> tuple[Array, Array]:
        """Score of each sample and the model's output."""

    @abstractmethod
    def loss_and_gradient(
        self, theta: Array, x: Array, weight: Array, target: Array | None = None
    ) -> tuple[Any, Array]:
        """Weighted mean of the scores (against `target` instead of x where given), and its gradient over theta."""

    @abstractmethod
    def weight_parts(self) -> Sequence[slice]:
        """Where the parameters of two or more dimensions lie in theta."""

    def adam_prox_step(
        self, *, theta: Array, m: Array, v: Array, t: Any, anchor: Array, lr: Any, mu: Any, x: Array, weight: Array
    ) -> tuple[Array, Array, Array, Any, float]:
        loss, gradient = self.loss_and_gradient(theta, x, weight)
        return *_adam(theta, gradient + mu * (theta - anchor), m, v, t, lr), loss

    def frozen_part_step(
        self, *, theta: Array, m: Array, v: Array, t: Any, mask: Array, lr: Any, x: Array, weight: Array
    ) -> tuple[Array, Array, Array, Any, float]:
        loss, gradient = self.loss_and_gradient(theta, x, weight)
        moved, m, v, t = _adam(theta, mask * gradient, m, v, t, lr)
        return theta + mask * (moved - theta), m, v, t, loss

    def fake_quantised_step(
        self, *, theta: Array, m: Array, v: Array, t: Any, lr: Any, x: Array, weight: Array
    ) -> tuple[Array, Array, Array, Any, float]:
        rounded = theta.copy()
        for part in self.weight_parts():
            quantum = max(float(np.abs(theta[part]).max()), 1e-12) / 127
            rounded[part] = np.round(theta[part] / quantum) * quantum
        loss, gradient = self.loss_and_gradient(rounded, x, weight)
        return *_adam(theta, gradient, m, v, t, lr), loss

    def distillation_step(
        self, *, theta: Array, m: Array, v: Array, t: Any, teacher: Array, lr: Any, share: Any, x: Array, weight: Array
    ) -> tuple[Array, Array, Array, Any, float]:
        own_loss, own = self.loss_and_gradient(theta, x, weight)
        apart, towards = self.loss_and_gradient(theta, x, weight, target=self.score(teacher, x)[1])
        moved = _adam(theta, (1 - share) * own + share * towards, m, v, t, lr)
        return *moved, (1 - share) * own_loss + share * apart

    def clipped_step(
        self, *, theta: Array, noise: Array, lr: Any, clip: Any, sigma: Any, x: Array, weight: Array
    ) -> tuple[Array, float, float]:
        gradient, losses, norms = sigma * clip * noise, [], []
        share = np.clip(weight, 0, 1)
        for sample, part in zip(x, share, strict=True):
            loss, own = self.loss_and_gradient(theta, sample[None], np.ones(1, theta.dtype))
            norm = float(np.linalg.norm(own))
            gradient = gradient + part * own * min(1.0, float(clip) / max(norm, 1e-12))
            losses.append(loss)
            norms.append(norm)
        total = max(float(share.sum()), 1e-12)
        return theta - lr * gradient / len(x), float(share @ losses) / total, float(share @ norms) / total

    def ditto_step(
        self, *, theta: Array, personal: Array, anchor: Array, lr: Any, pull: Any, x: Array, weight: Array
    ) -> tuple[Array, Array, float, float]:
        loss, gradient = self.loss_and_gradient(theta, x, weight)
        personal_loss, personal_gradient = self.loss_and_gradient(personal, x, weight)
        personal_gradient = personal_gradient + pull * (personal - anchor)
        return theta - lr * gradient, personal - lr * personal_gradient, loss, personal_loss

    def pfedme_step(
        self, *, theta: Array, personal: Array, inner_lr: Any, lr: Any, pull: Any, x: Array, weight: Array
    ) -> tuple[Array, Array, float]:
        first_loss, _ = self.loss_and_gradient(personal, x, weight)
        for _ in range(5):
            _, gradient = self.loss_and_gradient(personal, x, weight)
            personal = personal - inner_lr * (gradient + pull * (personal - theta))
        return theta - lr * pull * (theta - personal), personal, first_loss

    def maml_step(
        self, *, theta: Array, inner_lr: Any, lr: Any, x: Array, weight: Array, x_query: Array, weight_query: Array
    ) -> tuple[Array, float]:
        _, gradient = self.loss_and_gradient(theta, x, weight)
        loss, outer = self.loss_and_gradient(theta - inner_lr * gradient, x_query, weight_query)
        _, tilted = self.loss_and_gradient(theta + 1j * IMAGINARY_STEP * outer, x, weight)
        curvature_along_outer = tilted.imag / IMAGINARY_STEP
        return theta - lr * (outer - inner_lr * curvature_along_outer), loss


def _adam(theta: Array, gradient: Array, m: Array, v: Array, t: Any, lr: Any) -> tuple[Array, Array, Array, Any]:
    t = t + 1
    m = 0.9 * m + 0.1 * gradient
    v = 0.999 * v + 0.001 * gradient * gradient
    mean = m / (1 - 0.9 ** float(t))
    mean_square = v / (1 - 0.999 ** float(t))
    return theta - lr * mean / (np.sqrt(mean_square) + 1e-8), m, v, t
