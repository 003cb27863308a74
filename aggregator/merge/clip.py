"""This file knows how loud one update may be: none longer than the median of all, or each exactly as long."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Deltas = NDArray[np.float64]


def clip_to_median(deltas: Deltas) -> Deltas:
    """Shorten updates (n, P) that are longer than the median norm; directions stay."""
    return _scaled(deltas, lengthen=False)


def level_to_median(deltas: Deltas) -> Deltas:
    """Give updates (n, P) the median norm; directions stay, and an update of length 0 stays as it is.

    No voice is louder than another. Measured against clipping in docs/proof/robust_rules.md: no better where the
    product's own trainer made the updates.

    References:
        Cao et al. (2021), arXiv:2012.13995, section 4.2, for equal lengths; there the server's own update says which.
    """
    return _scaled(deltas, lengthen=True)


def clip_to(delta: NDArray[Any], most: float) -> NDArray[Any]:
    """Shorten one update (P,) to `most` where it is longer; its direction stays."""
    length = float(np.linalg.norm(delta.astype(np.float64)))
    return delta if length <= most else delta.astype(np.float64) * (most / length)


def _scaled(deltas: Deltas, *, lengthen: bool) -> Deltas:
    norms = np.linalg.norm(deltas, axis=1)
    most = float(np.median(norms))
    scale = np.ones_like(norms)
    np.divide(most, norms, out=scale, where=(norms > 0) if lengthen else (norms > most))
    scaled: Deltas = deltas * scale[:, None]
    return scaled
