"""This file knows the weighted mean of updates that come one after the other; memory does not grow with their count.

It withstands nobody: one wrong member moves it as far as it likes.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

GROUP = 8  # updates summed in one go: as many as stay in a processor's cache with 50,000 parameters


def weighted_mean(updates: Iterable[tuple[NDArray[Any], float]]) -> NDArray[np.float64]:
    """Average (delta, weight) pairs in one pass, in double precision; never holds more than `GROUP` of them.

    Args:
        updates: Deltas of one shape (P,), and weights in rows.

    Raises:
        ValueError: There is nothing to average, or all weights are 0.

    References:
        McMahan et al. (2017), FedAvg, arXiv:1602.05629, algorithm 1.
    """
    total = group = np.empty(0)
    weights = np.zeros(GROUP)
    count, weight_sum = 0, 0.0
    for delta, weight in updates:
        place = count % GROUP
        if count == 0:
            total, group = np.zeros(delta.shape), np.empty((GROUP, *delta.shape))
        group[place], weights[place] = delta, weight
        weight_sum += weight
        count += 1
        if place == GROUP - 1:
            total += weights @ group
    if weight_sum <= 0:
        raise ValueError("a mean needs at least one update with a weight above 0")
    left = count % GROUP
    total += weights[:left] @ group[:left]
    total /= weight_sum
    return total
