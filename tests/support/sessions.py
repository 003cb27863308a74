"""Healthy sessions drawn from the statistics that theory gives noise: detection features, no signal behind them."""

import numpy as np
from numpy.typing import NDArray

from vibration.detection_features import DETECTION_COUNT, estimation_scatter_decades

LAYOUT = (20_000.0, 5000)


def session(
    seed: int,
    captures: int,
    *,
    channels: int = 2,
    scatter: float = 1.0,
    level: float = -4.0,
    layout: tuple[float, int] = LAYOUT,
) -> NDArray[np.float64]:
    """Detection features (captures, channels, F) of a steady machine, `scatter` times as restless as noise."""
    rng = np.random.default_rng(seed)
    spread = scatter * estimation_scatter_decades(*layout)
    shape = rng.standard_normal(DETECTION_COUNT) * 0.5 + level
    drawn: NDArray[np.float64] = shape + spread * rng.standard_normal((captures, channels, DETECTION_COUNT))
    return drawn
