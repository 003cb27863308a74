"""This file knows the rules that search a middle step by step: geometric median and centred clipping."""

import numpy as np
from numpy.typing import NDArray

Deltas = NDArray[np.float64]

WEISZFELD_STEPS = 100
WEISZFELD_STANDS_STILL = 1e-7  # of the updates' spread; parameters are float32, whose digits end there
HERE = 1e-12  # of the updates' spread: an update that is the middle itself
CENTRING_STEPS = 3


def geometric_median(deltas: Deltas) -> Deltas:
    """The point whose distances from all updates (n, P) have the smallest sum, shape (P,); withstands fewer than half.

    Weiszfeld's steps from the median of each parameter; they end when one is shorter than `WEISZFELD_STANDS_STILL`
    times the mean distance, or after `WEISZFELD_STEPS`. No step raises the sum of distances, so the last is the best.

    References:
        Pillutla et al. (2022), RFA, arXiv:1912.13445, for its use. Vardi & Zhang (2000), doi:10.1073/pnas.97.4.1423,
        equation 2.6, for the step: Weiszfeld's own divides by 0 on an update, and any small number put there instead
        keeps the search on an update that is not the middle.
    """
    middle: Deltas = np.median(deltas, axis=0)
    for _ in range(WEISZFELD_STEPS):
        away = deltas - middle
        distances = np.linalg.norm(away, axis=1)
        spread = float(distances.mean())
        here = distances <= HERE * spread
        if here.all():
            break
        closeness = 1.0 / distances[~here]
        pull = closeness @ away[~here]
        strength = float(np.linalg.norm(pull))
        held = np.count_nonzero(here)
        if strength <= held:
            break
        step = (1.0 - held / strength) / closeness.sum() * pull
        middle = middle + step
        if float(np.linalg.norm(step)) <= WEISZFELD_STANDS_STILL * spread:
            break
    return middle


def centred_clipping(deltas: Deltas, *, start: Deltas | None = None, radius: float | None = None) -> Deltas:
    """Move a centre `CENTRING_STEPS` times by the mean of what updates (n, P) differ from it, each clipped.

    Withstands fewer than half when it starts near the honest; each wrong member moves it by radius / n a step.

    Args:
        deltas: Updates, shape (n, P).
        start: First centre, shape (P,); the median of each parameter if left out.
        radius: Longest difference that counts; the median difference, anew in each step, if left out.

    References:
        Karimireddy et al. (2021), arXiv:2012.10333, algorithm 2. There the centre is the last round's and the
        radius is set by hand; we keep nothing between rounds, so that a merge depends on its updates alone.
    """
    centre: Deltas = np.median(deltas, axis=0) if start is None else start
    for _ in range(CENTRING_STEPS):
        away = deltas - centre
        lengths = np.linalg.norm(away, axis=1)
        longest = float(np.median(lengths)) if radius is None else radius
        shares = np.minimum(1.0, longest / np.maximum(lengths, np.finfo(np.float64).tiny))
        centre = centre + (shares[:, None] * away).mean(axis=0)
    return centre
