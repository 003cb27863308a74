"""This file knows how to look at vibration over the shaft's angle instead of time.

Where the speed changes within a window, lines of a spectrum over time smear; over angle they stay sharp.
"""

import math

import numpy as np
from scipy.interpolate import CubicSpline

from vibration.errors import SpeedError, WindowError
from vibration.spectrum import FloatArray, amplitude_spectrum, checked_window
from vibration.windows import WindowName


def resample_to_angle(
    acceleration_g: FloatArray,
    *,
    sample_rate_hz: float,
    shaft_speed_hz: float | FloatArray,
    samples_per_turn: int | None = None,
) -> tuple[FloatArray, int]:
    """Resample a window from equal times to equal angles of the shaft (computed order tracking).

    The shaft's phase is the integral of its speed; the waveform is read by a cubic spline where that phase passes
    equal steps.

    Args:
        acceleration_g: One window of samples, shape (n,), in g.
        sample_rate_hz: Samples per second.
        shaft_speed_hz: Turns per second, one value or one per sample; above 0 throughout.
        samples_per_turn: Samples of the result in one turn; by default so many that nothing aliases.

    Returns:
        Samples over angle, and how many of them are one turn.

    Raises:
        SpeedError: The speed is not above 0 throughout, or has another length than the window.
        WindowError: Shape, length, rate or content cannot be resampled, or less than one turn is in the window.
    """
    samples = checked_window(acceleration_g, sample_rate_hz)
    given_hz = np.asarray(shaft_speed_hz, dtype=np.float64)
    if given_hz.size not in {1, samples.size} or not (np.isfinite(given_hz).all() and given_hz.min() > 0.0):
        raise SpeedError(f"shaft speed has {given_hz.size} values, one or {samples.size} expected, all above 0 Hz")
    speed_hz = np.broadcast_to(given_hz.ravel(), samples.shape)
    turns = np.concatenate([[0.0], np.cumsum((speed_hz[1:] + speed_hz[:-1]) / 2.0)]) / sample_rate_hz
    if turns[-1] < 1.0:
        raise WindowError(f"window holds {turns[-1]:.2f} turns of the shaft, at least 1 expected")
    if samples_per_turn is None:
        samples_per_turn = math.ceil(sample_rate_hz / float(speed_hz.min()))
    steps = np.arange(math.floor(turns[-1] * samples_per_turn) + 1) / samples_per_turn
    at_sample = np.interp(steps, turns, np.arange(samples.size))
    return np.asarray(CubicSpline(np.arange(samples.size), samples)(at_sample)), samples_per_turn


def order_spectrum(
    acceleration_g: FloatArray,
    *,
    sample_rate_hz: float,
    shaft_speed_hz: float | FloatArray,
    window: WindowName = "hann",
) -> tuple[FloatArray, FloatArray]:
    """Show amplitudes over orders of the shaft, sharp even where its speed changes.

    Args:
        acceleration_g: One window of samples, shape (n,), in g.
        sample_rate_hz: Samples per second.
        shaft_speed_hz: Turns per second, one value or one per sample.
        window: Window over angle.

    Returns:
        Orders (lines per turn) and peak amplitudes in g.

    Raises:
        SpeedError: The speed is not above 0 throughout, or has another length than the window.
        WindowError: Shape, length, rate or content cannot be transformed.
    """
    over_angle, samples_per_turn = resample_to_angle(
        acceleration_g, sample_rate_hz=sample_rate_hz, shaft_speed_hz=shaft_speed_hz
    )
    return amplitude_spectrum(over_angle, sample_rate_hz=float(samples_per_turn), window=window)
