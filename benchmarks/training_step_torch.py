"""This file knows the same training steps as one writes them in PyTorch: modules, autograd, fused Adam, one thread."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found, unused-ignore]  # extra bench, not in every environment
from numpy.typing import NDArray
from torch import nn  # type: ignore[import-not-found, unused-ignore]  # as above
from torch.nn import functional  # type: ignore[import-not-found, unused-ignore]  # as above

Array = NDArray[np.float32]


class Autoencoder(nn.Module):  # type: ignore[misc, unused-ignore]  # untyped without torch
    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths))

    def forward(self, x: Any) -> Any:
        hidden = x
        for layer in self.layers[:-1]:
            hidden = torch.tanh(layer(hidden))
        return functional.mse_loss(self.layers[-1](hidden), x, reduction="none").mean(1)


class Classifier(nn.Module):  # type: ignore[misc, unused-ignore]  # as above
    def __init__(self, widths: Sequence[int], labels: int) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, widths[0], 16, 4, padding=6)
        self.blocks = nn.ModuleList(
            nn.ModuleList([nn.Conv1d(narrow, narrow, 3, 2, padding=1, groups=narrow), nn.Conv1d(narrow, wide, 1)])
            for narrow, wide in itertools.pairwise(widths)
        )
        self.head = nn.Linear(widths[-1], labels)
        self.labels = labels

    def forward(self, x: Any) -> Any:
        hidden = functional.relu(self.stem(x[:, None, : -self.labels]))
        for depthwise, pointwise in self.blocks:
            hidden = functional.relu(depthwise(hidden))
            hidden = functional.relu(pointwise(hidden))
        return functional.cross_entropy(self.head(hidden.mean(2)), x[:, -self.labels :], reduction="none")


class AdamProx:
    """Adam with a pull to the first parameters; `theta` in the foundry's layout."""

    def __init__(self, network: nn.Module, theta: Array, *, learning_rate: float, pull: float) -> None:
        torch.set_num_threads(1)
        self._network, self._pull = network, pull
        self._parameters = list(network.parameters())
        with torch.no_grad():
            offset = 0
            for parameter in self._parameters:
                turned = torch.from_numpy(theta[offset : offset + parameter.numel()].copy())
                parameter.copy_(turned.reshape(tuple(reversed(parameter.shape))).permute(*_reversed_axes(parameter)))
                offset += parameter.numel()
        self._anchor = [parameter.detach().clone() for parameter in self._parameters]
        self._optimiser = torch.optim.Adam(self._parameters, lr=learning_rate, fused=True)

    @property
    def theta(self) -> Array:
        turned = [parameter.detach().permute(*_reversed_axes(parameter)).reshape(-1) for parameter in self._parameters]
        flat: Array = torch.cat(turned).numpy()
        return flat

    def step(self, x: Any, weight: Any) -> float:
        self._optimiser.zero_grad()
        loss = (weight * self._network(x)).sum() / weight.sum()
        loss.backward()
        with torch.no_grad():
            moved = torch._foreach_sub(self._parameters, self._anchor)
            torch._foreach_add_([parameter.grad for parameter in self._parameters], moved, alpha=self._pull)
        self._optimiser.step()
        return float(loss.detach())


def _reversed_axes(parameter: Any) -> list[int]:
    """Axes of PyTorch's (out, in, kernel) in the foundry's order (kernel, in, out)."""
    return list(reversed(range(parameter.ndim)))
