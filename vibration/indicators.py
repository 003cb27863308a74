"""This file knows the single numbers a vibration analyst reads from a waveform.

Each takes one window of samples and removes its mean first: an accelerometer's offset, and gravity, are not
vibration.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vibration.errors import WindowError


def rms(acceleration_g: ArrayLike) -> float:
    """Return the root mean square of a window, in the unit of the samples."""
    return float(np.sqrt(np.mean(_without_mean(acceleration_g) ** 2)))


def peak(acceleration_g: ArrayLike) -> float:
    """Return the *true* peak: the largest sample, without sign. Never derived from an RMS."""
    return float(np.max(np.abs(_without_mean(acceleration_g))))


def crest_factor(acceleration_g: ArrayLike) -> float:
    """Return peak over RMS: 1.41 for a sine, 4 to 5 for noise, above 6 for impacts; 0 for a constant."""
    samples = _without_mean(acceleration_g)
    level = np.sqrt(np.mean(samples**2))
    return float(np.max(np.abs(samples)) / level) if level > 0.0 else 0.0


def kurtosis(acceleration_g: ArrayLike) -> float:
    """Return the fourth standardised moment: 1.5 for a sine, 3 for Gaussian noise; 0 for a constant."""
    return _standardised_moment(acceleration_g, 4)


def skewness(acceleration_g: ArrayLike) -> float:
    """Return the third standardised moment: 0 for a symmetric waveform, and for a constant."""
    return _standardised_moment(acceleration_g, 3)


def _standardised_moment(acceleration_g: ArrayLike, order: int) -> float:
    samples = _without_mean(acceleration_g)
    deviation = np.sqrt(np.mean(samples**2))
    return float(np.mean((samples / deviation) ** order)) if deviation > 0.0 else 0.0


def _without_mean(acceleration_g: ArrayLike) -> NDArray[np.float64]:
    samples = np.asarray(acceleration_g, dtype=np.float64)
    if samples.ndim != 1 or samples.size == 0:
        raise WindowError(f"window has shape {samples.shape}, one row of samples expected")
    # A constant whose mean is off by one rounding error is still a constant.
    return np.zeros_like(samples) if samples.min() == samples.max() else samples - samples.mean()
