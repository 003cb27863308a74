"""This file knows the rules that ask who stands near whom: Krum, Multi-Krum, and mixing before another rule.

Each is set for `wrong` members and withstands as many, fewer than half. The n - wrong nearest of an update
include the update itself; of updates equally near, the first in the order of members' names counts.
"""

import numpy as np
from numpy.typing import NDArray

from aggregator.merge.tolerance import check_tolerance

Deltas = NDArray[np.float64]


def krum(deltas: Deltas, wrong: int) -> Deltas:
    """The one update of (n, P) whose n - wrong nearest are nearest to it, shape (P,).

    References:
        Blanchard et al. (2017), arXiv:1703.02757, section 3. The paper leaves out one neighbour more, which is what
        its bound 2 wrong + 2 < n needs; we count as Allouah et al. (2023), arXiv:2302.01772, and as ByzFL.
    """
    chosen: Deltas = deltas[int(np.argmin(_strangeness(deltas, wrong)))]
    return chosen


def multi_krum(deltas: Deltas, wrong: int) -> Deltas:
    """Mean of the n - wrong updates of (n, P) that Krum likes best, shape (P,).

    References:
        Blanchard et al. (2017), arXiv:1703.02757, section 4, with m = n - wrong.
    """
    best = np.argsort(_strangeness(deltas, wrong), kind="stable")[: len(deltas) - wrong]
    mean: Deltas = deltas[best].mean(axis=0)
    return mean


def nearest_neighbour_mixing(deltas: Deltas, wrong: int) -> Deltas:
    """Replace each update of (n, P) by the mean of its n - wrong nearest, shape (n, P); another rule follows.

    Members of unlike machines differ honestly; mixing makes their updates alike, so that the rule that follows does
    not take the unusual for the wrong.

    References:
        Allouah et al. (2023), arXiv:2302.01772, algorithm 2.
    """
    check_tolerance(len(deltas), wrong)
    kept = len(deltas) - wrong
    distances = squared_distances(deltas)
    np.fill_diagonal(distances, -1.0)  # rounding must not make anybody a stranger to itself
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :kept]
    shares = np.zeros_like(distances)
    np.put_along_axis(shares, nearest, 1.0 / kept, axis=1)
    mixed: Deltas = shares @ deltas
    return mixed


def squared_distances(deltas: Deltas) -> Deltas:
    """Squared distance of every update of (n, P) from every other, shape (n, n)."""
    from_middle = deltas - deltas.mean(axis=0)  # products of what all have in common would cost digits
    products = from_middle @ from_middle.T
    squares = np.diag(products)
    distances: Deltas = np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0.0)
    return distances


def _strangeness(deltas: Deltas, wrong: int) -> Deltas:
    """Sum of squared distances from the n - wrong nearest, shape (n,); its own is 0."""
    check_tolerance(len(deltas), wrong)
    nearest = np.sort(squared_distances(deltas), axis=1)[:, : len(deltas) - wrong]
    strangeness: Deltas = nearest.sum(axis=1)
    return strangeness
