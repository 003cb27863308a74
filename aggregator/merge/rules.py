"""This file knows the rules by which many updates become one.

All take updates as rows of an array (n, P), but for the weighted mean, which never holds more than one.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Deltas = NDArray[np.float64]

TOLERATED_SHARE = 0.2


def tolerated(count: int) -> int:
    """How many of `count` members may be wrong: a fifth, at least one, always fewer than half."""
    return min(max(1, math.ceil(TOLERATED_SHARE * count)), (count - 1) // 2)


def weighted_mean(updates: Iterable[tuple[NDArray[Any], float]]) -> Deltas:
    """Average (delta, weight) pairs in one pass, in double precision.

    Raises:
        ValueError: There is nothing to average, or all weights are 0.
    """
    total: Deltas | None = None
    weights = 0.0
    for delta, weight in updates:
        if total is None:
            total = np.zeros(delta.shape, np.float64)
        total += weight * delta.astype(np.float64)
        weights += weight
    if total is None or weights <= 0:
        raise ValueError("a mean needs at least one update with a weight above 0")
    total /= weights
    return total


def coordinate_median(deltas: Deltas) -> Deltas:
    """Median of each parameter alone, shape (P,)."""
    return np.median(deltas, axis=0)


def trimmed_mean(deltas: Deltas, wrong: int) -> Deltas:
    """Mean of each parameter alone without the `wrong` smallest and largest.

    References:
        Yin et al. (2018), arXiv:1803.01498.
    """
    count = len(deltas)
    if not 0 <= 2 * wrong < count:
        raise ValueError(f"{wrong} on each side cannot be trimmed from {count} updates")
    mean: Deltas = np.sort(deltas, axis=0)[wrong : count - wrong].mean(axis=0)
    return mean


def nearest_neighbour_mixing(deltas: Deltas, wrong: int) -> Deltas:
    """Replace each update by the mean of the n - wrong nearest to it, itself included, shape (n, P).

    References:
        Allouah et al. (2023), arXiv:2302.01772.
    """
    products = deltas @ deltas.T
    squares = np.diag(products)
    distances = squares[:, None] + squares[None, :] - 2 * products
    np.fill_diagonal(distances, -1.0)  # rounding must not make anybody a stranger to itself
    kept = len(deltas) - wrong
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :kept]
    shares = np.zeros_like(distances)
    np.put_along_axis(shares, nearest, 1.0 / kept, axis=1)
    mixed: Deltas = shares @ deltas
    return mixed
