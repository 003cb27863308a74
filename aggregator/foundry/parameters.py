"""This file knows where each parameter of a model lies in its one flat vector `theta`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ParameterSlice:
    """One named parameter: `theta[offset : offset + size]`, row-major."""

    name: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """All parameters of a model, in the order they lie in `theta`, without gaps."""

    slices: tuple[ParameterSlice, ...]

    @classmethod
    def from_shapes(cls, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> Self:
        slices: list[ParameterSlice] = []
        offset = 0
        for name, shape in shapes:
            slices.append(ParameterSlice(name, shape, offset))
            offset += slices[-1].size
        return cls(tuple(slices))

    @property
    def count(self) -> int:
        return sum(each.size for each in self.slices)

    def views(self, theta: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """Show each parameter by name; writing to a view writes to `theta`."""
        return {each.name: theta[each.offset : each.offset + each.size].reshape(each.shape) for each in self.slices}

    def pieces(self, theta: Any) -> list[Any]:
        """Cut a traced `theta` into its parameters, in order; for JAX what `views` is for numpy."""
        import jax.numpy as jnp

        cut = jnp.split(theta, [each.offset for each in self.slices[1:]])
        return [piece.reshape(each.shape) for piece, each in zip(cut, self.slices, strict=True)]
