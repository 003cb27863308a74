"""This file knows the rule of a server that has healthy rows of its own: members count as far as they agree with it."""

import numpy as np
from numpy.typing import NDArray

Deltas = NDArray[np.float64]


def fltrust(deltas: Deltas, root: Deltas) -> Deltas:
    """Mean of updates (n, P), each as long as the server's own and weighing its cosine with it, never below 0.

    Withstands any number of wrong members, as long as the server's rows are healthy and like the members': with rows
    of few kinds of machine it judges the others wrongly. An update of length 0, and all of them pointing away, give
    a merge of length 0.

    Args:
        deltas: Members' updates.
        root: What the server learnt in the same steps from the same base on rows of its own, shape (P,): healthy
            rows that a site's people recorded when they commissioned its machines, and checked.

    References:
        Cao et al. (2021), arXiv:2012.13995, section 4.
    """
    length = float(np.linalg.norm(root))
    lengths = np.linalg.norm(deltas, axis=1)
    directions = np.zeros_like(deltas)
    np.divide(deltas, lengths[:, None], out=directions, where=lengths[:, None] > 0)
    if length == 0.0:
        return np.zeros_like(root)
    trust = np.maximum(directions @ (root / length), 0.0)
    total = float(trust.sum())
    if total == 0.0:
        return np.zeros_like(root)
    merged: Deltas = length * ((trust / total) @ directions)
    return merged
