"""This file knows how loud one update may be: none longer than the median of all."""

import numpy as np
from numpy.typing import NDArray

Deltas = NDArray[np.float64]


def clip_to_median(deltas: Deltas) -> Deltas:
    """Shorten updates (n, P) that are longer than the median norm; directions stay."""
    norms = np.linalg.norm(deltas, axis=1)
    most = float(np.median(norms))
    scale = np.ones_like(norms)
    np.divide(most, norms, out=scale, where=norms > most)
    clipped: Deltas = deltas * scale[:, None]
    return clipped
