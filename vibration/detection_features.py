"""This file knows the features a healthy baseline is kept in: log band powers at three widths, and how they scatter.

A fault raises a narrow band, a resonance an octave, a loss of stiffness everything; and the wider a band, the less
its power scatters. So beside the narrow bands of the kernel stand the sums of four, of sixteen and of all of them.
Everything is a ratio to the point's own healthy level, so a gain that nobody knows cancels.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import polygamma

from vibration.features import (
    BAND_COUNT,
    ENVELOPE_BAND_COUNT,
    POWER_FLOOR_G2,
    band_edges_hz,
    envelope_band_edges_hz,
)

FloatArray = NDArray[np.float64]

_SUMS = (4, 16, BAND_COUNT)
SUM_COUNT = sum(BAND_COUNT // width for width in _SUMS)
DETECTION_COUNT = BAND_COUNT + SUM_COUNT + ENVELOPE_BAND_COUNT
NARROW = slice(0, BAND_COUNT)
SUMS = slice(BAND_COUNT, BAND_COUNT + SUM_COUNT)
WIDEST = slice(BAND_COUNT + BAND_COUNT // _SUMS[0], BAND_COUNT + SUM_COUNT)
ENVELOPE = slice(BAND_COUNT + SUM_COUNT, DETECTION_COUNT)
DETECTION_LAYOUT = f"log_bands_{BAND_COUNT}_sums_{SUM_COUNT}_envelope_{ENVELOPE_BAND_COUNT}"
MODEL_COLUMNS = np.r_[NARROW, ENVELOPE]
"""Where the model's features (`vibration.features.MODEL_FEATURES`) lie among the detection features."""

HANN_NOISE_BANDWIDTH_LINES = 1.5
MIN_FREEDOM_PAIRS = 0.7  # a band narrower than a line sees one line with its neighbours' leakage, never less


def detection_features(model_features: NDArray[np.floating]) -> FloatArray:
    """Put the sums between the narrow bands and the envelope's.

    Args:
        model_features: log10 band powers, g², shape (..., BAND_COUNT + ENVELOPE_BAND_COUNT).

    Returns:
        log10 powers, shape (..., DETECTION_COUNT): narrow bands, sums of 4, of 16, of all, envelope bands.
    """
    narrow = np.asarray(model_features[..., :BAND_COUNT], np.float64)
    power = np.power(10.0, narrow)
    sums = [power.reshape(*power.shape[:-1], -1, width).sum(axis=-1) for width in _SUMS]
    wide = np.log10(np.concatenate(sums, axis=-1) + POWER_FLOOR_G2)
    return np.concatenate([narrow, wide, model_features[..., BAND_COUNT:]], axis=-1)


def detection_edges_hz(sample_rate_hz: float, samples: int) -> FloatArray:
    """Lower and upper edge of every detection feature, shape (DETECTION_COUNT, 2), Hz."""
    edges = band_edges_hz(sample_rate_hz, samples)
    parts = [np.stack([edges[:-1:width], edges[width::width]], axis=1) for width in (1, *_SUMS)]
    envelope = envelope_band_edges_hz(sample_rate_hz, samples)
    return np.concatenate([*parts, np.stack([envelope[:-1], envelope[1:]], axis=1)])


def estimation_scatter_decades(sample_rate_hz: float, samples: int) -> FloatArray:
    """How much the log power of each band of stationary noise scatters from window to window.

    A band of m lines of a Hann-windowed spectrum follows chi-squared with 2 m / 1.5 degrees of freedom (Harris,
    Proc. IEEE 66, 1978, noise bandwidth), and the variance of the logarithm of such a variable is the trigamma
    function of half of them (Bartlett & Kendall 1946).

    Returns:
        Standard deviation in decades, shape (DETECTION_COUNT,).
    """
    edges = detection_edges_hz(sample_rate_hz, samples)
    lines = (edges[:, 1] - edges[:, 0]) * samples / sample_rate_hz
    pairs = np.maximum(lines / HANN_NOISE_BANDWIDTH_LINES, MIN_FREEDOM_PAIRS)
    scatter: FloatArray = np.sqrt(polygamma(1, pairs)) / np.log(10.0)
    return scatter
