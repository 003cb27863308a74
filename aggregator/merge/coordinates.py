"""This file knows the rules that look at each parameter alone: median and trimmed mean."""

import numpy as np
from numpy.typing import NDArray

from aggregator.merge.tolerance import check_tolerance

Deltas = NDArray[np.float64]


def coordinate_median(deltas: Deltas) -> Deltas:
    """Median of each parameter of updates (n, P), shape (P,); withstands fewer than half, whatever their number.

    References:
        Yin et al. (2018), arXiv:1803.01498, definition 1.
    """
    return np.median(deltas, axis=0)


def trimmed_mean(deltas: Deltas, wrong: int) -> Deltas:
    """Mean of each parameter of updates (n, P) without its `wrong` smallest and largest; withstands `wrong` < n / 2.

    References:
        Yin et al. (2018), arXiv:1803.01498, definition 2.
    """
    check_tolerance(len(deltas), wrong)
    mean: Deltas = np.sort(deltas, axis=0)[wrong : len(deltas) - wrong].mean(axis=0)
    return mean
