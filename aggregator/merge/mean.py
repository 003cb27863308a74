"""This file knows the weighted mean of updates that come one after the other; memory does not grow with their count.

It withstands nobody: one wrong member moves it as far as it likes.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def weighted_mean(updates: Iterable[tuple[NDArray[Any], float]]) -> NDArray[np.float64]:
    """Average (delta, weight) pairs in one pass, in double precision; never holds more than one of them.

    Args:
        updates: Deltas of one shape (P,), and weights in rows.

    Raises:
        ValueError: There is nothing to average, or all weights are 0.

    References:
        McMahan et al. (2017), FedAvg, arXiv:1602.05629, algorithm 1.
    """
    total: NDArray[np.float64] | None = None
    weighted = np.empty(0)
    weights = 0.0
    for delta, weight in updates:
        if total is None:
            total = np.zeros(delta.shape, np.float64)
            weighted = np.empty(delta.shape, np.float64)
        np.multiply(delta, np.float64(weight), out=weighted, dtype=np.float64)
        total += weighted
        weights += weight
    if total is None or weights <= 0:
        raise ValueError("a mean needs at least one update with a weight above 0")
    total /= weights
    return total
