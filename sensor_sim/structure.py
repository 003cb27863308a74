"""This file knows the way from a source to the sensor: resonances of the housing, and how the sensor is mounted."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from sensor_sim.scenario import Resonance

MOUNTING_RESONANCE_HZ = {"stud": 30_000.0, "glue": 21_000.0, "magnet": 6_000.0}
"""A mounting is usable to about a third of its resonance: 10, 7 and 2 kHz, the trade's figures."""

MOUNTING_DAMPING = 0.05


def mounting_of(kind: Literal["stud", "glue", "magnet"]) -> tuple[float, float]:
    """Return resonance in Hz and damping of a way of mounting."""
    return MOUNTING_RESONANCE_HZ[kind], MOUNTING_DAMPING


def impact_response(
    resonances: Sequence[Resonance], axis_gains: NDArray[np.float64], *, samples: int, sample_rate_hz: float
) -> NDArray[np.complex128]:
    """Return the spectrum of the ringing after one impact, per axis.

    Each resonance answers with gain x exp(-zeta w t) sin(w_d t): an impact of 1 g rings about 1 g high.

    Args:
        resonances: Those above half the sample rate are not heard.
        axis_gains: Path from each resonance to each axis, shape (axes, resonances).
        samples: Length of the block; the ringing must die within it.
        sample_rate_hz: Samples per second.

    Returns:
        Shape (axes, samples // 2 + 1), as of `rfft`.
    """
    at_s = np.arange(samples) / sample_rate_hz
    rings = np.zeros((len(resonances), samples))
    for row, resonance in zip(rings, resonances, strict=True):
        natural = 2.0 * math.pi * resonance.frequency_hz
        damped = natural * math.sqrt(1.0 - resonance.damping**2)
        if resonance.frequency_hz < 0.45 * sample_rate_hz:
            row[:] = resonance.gain * np.exp(-resonance.damping * natural * at_s) * np.sin(damped * at_s)
    return np.asarray(scipy.fft.rfft(axis_gains @ rings, axis=-1))


def mounting_response(frequency_hz: NDArray[np.float64], resonance_hz: float, damping: float) -> NDArray[np.complex128]:
    """Return what the mounting lets through: 1 at low frequencies, a resonance, less and less above it."""
    ratio = frequency_hz / resonance_hz
    return np.asarray(1.0 / (1.0 - ratio**2 + 2j * damping * ratio))
