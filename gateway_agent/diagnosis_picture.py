"""This file knows what is read from a capture for a diagnosis: one row of numbers a channel, fit to be averaged.

Averaging rows over healthy captures gives what this machine looks like when sound; averaging over recent captures
gives what it looks like now, with less chance in it. Both are compared place by place, so every number is either a
level in dB or a logarithm.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vibration.rhythm import (
    BANDS as DIVISIONS,
)
from vibration.rhythm import (
    MAX_ORDER,
    ORDERS,
    CaptureLines,
    Rhythm,
    over_orders_db,
    read_rhythm,
    transform,
    velocity_at_orders_mm_s,
)
from vibration.units import G_MM_S2

FloatArray = NDArray[np.float64]

SHAFT_ORDERS: FloatArray = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0])
"""Orders at which the velocity is read: whole ones for shaft causes, halves for looseness."""

BAND_EDGES: FloatArray = np.array([0.0, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1.0])
"""Bands of the spectrum as shares of half the sample rate: octaves, the two upper ones halved."""

BANDS = len(BAND_EDGES) - 1
RHYTHM_BANDS = 2 * DIVISIONS - 1
MIN_LINES_PER_ORDER = 2.0  # below that resolution neighbouring orders cannot be told apart (Hann)
SMALLEST_MM_S = 1e-6
SMALLEST_G = 1e-9

RHYTHM = slice(0, ORDERS.size)
SHAFT = slice(RHYTHM.stop, RHYTHM.stop + SHAFT_ORDERS.size)
LEVEL = slice(SHAFT.stop, SHAFT.stop + BANDS)
IMPULSIVE = slice(LEVEL.stop, LEVEL.stop + RHYTHM_BANDS)
LINE_ORDERS = IMPULSIVE.stop
REACH_ORDERS = LINE_ORDERS + 1
INDEPENDENT = REACH_ORDERS + 1
GEAR = slice(INDEPENDENT + 1, INDEPENDENT + 3)
ELECTRICAL = slice(GEAR.stop, GEAR.stop + 2)
VELOCITY = ELECTRICAL.stop
COLUMNS = VELOCITY + 1
"""Length of a row: rhythm over orders (dB), velocity at shaft orders (log10 mm/s peak), band levels (log10 g RMS),
impulsiveness of each band, width of a line in orders, highest order seen, independent looks, gear mesh and its
sidebands (log10 mm/s), twice line frequency (log10 mm/s) and its distance from the shaft's orders (lines), velocity
10 to 1000 Hz (log10 mm/s RMS). NaN stands for what the capture cannot show."""


def impulsiveness(picture: FloatArray, healthy: FloatArray | None) -> float:
    """Say how impulsive one channel is, shape of both (COLUMNS,).

    Without a healthy picture the mean over bands. With one the growth that three bands reach: bands overlap by half,
    so what rings is heard in two or three, and the largest of eleven is a matter of luck.
    """
    now = picture[IMPULSIVE]
    if not np.isfinite(now).any():
        return float("nan")
    if healthy is None or not np.isfinite(healthy[IMPULSIVE]).any():
        return float(np.nanmean(now))
    growth = now - np.maximum(np.nan_to_num(healthy[IMPULSIVE], nan=0.0), 0.0)
    return float(np.sort(growth[np.isfinite(growth)])[-3:][0])


@dataclass(frozen=True, eq=False)
class Reading:
    """One capture, read.

    Attributes:
        picture: Shape (channels, COLUMNS).
        capture: Its transform.
        rhythm: Its rhythm; None where it is too short.
        amplitude_g: Its Hann spectrum, shape (channels, lines).
    """

    picture: FloatArray
    capture: CaptureLines
    rhythm: Rhythm | None
    amplitude_g: FloatArray


def read_capture(
    acceleration_g: FloatArray,
    *,
    sample_rate_hz: float,
    shaft_hz: float | None,
    gear_teeth: int | None = None,
    line_frequency_hz: float = 50.0,
) -> Reading:
    """Read what a diagnosis needs from a capture.

    Args:
        acceleration_g: Shape (channels, samples), g.
        sample_rate_hz: Samples a second.
        shaft_hz: Turns a second; None if not known: what hangs on the shaft is NaN then.
        gear_teeth: Teeth of the gear on the shaft.
        line_frequency_hz: Of the electrical supply.

    Raises:
        WindowError: The capture cannot be transformed.
    """
    capture = transform(acceleration_g, sample_rate_hz=sample_rate_hz)
    amplitude = capture.amplitude_g()
    row: FloatArray = np.full((len(amplitude), COLUMNS), np.nan)
    row[:, LEVEL] = np.log10(np.maximum(_band_levels_g(amplitude), SMALLEST_G))
    row[:, VELOCITY] = np.log10(np.maximum(_velocity_mm_s(amplitude, capture.line_hz), SMALLEST_MM_S))
    highest_hz = (MAX_ORDER + 1.0) * shaft_hz if shaft_hz else 0.05 * sample_rate_hz
    rhythm = read_rhythm(capture, highest_hz=highest_hz)
    if rhythm is not None:
        row[:, IMPULSIVE.start : IMPULSIVE.start + rhythm.impulsiveness.shape[1]] = rhythm.impulsiveness
        row[:, INDEPENDENT] = rhythm.independent
    if shaft_hz:
        line_orders = capture.line_hz / shaft_hz
        row[:, LINE_ORDERS] = line_orders
        if rhythm is not None:
            row[:, RHYTHM] = over_orders_db(rhythm, shaft_hz)
            row[:, REACH_ORDERS] = min(MAX_ORDER - 0.1, (rhythm.power.shape[2] - 1) * line_orders)
        if line_orders * MIN_LINES_PER_ORDER <= 1.0:
            row[:, SHAFT] = _log_velocity(amplitude, capture.line_hz, shaft_hz, SHAFT_ORDERS)
            if gear_teeth:
                mesh = _log_velocity(amplitude, capture.line_hz, shaft_hz, gear_teeth + np.array([-1.0, 0.0, 1.0]))
                row[:, GEAR] = np.stack([mesh[:, 1], mesh[:, [0, 2]].max(axis=1)], axis=1)
        twice_hz = 2.0 * line_frequency_hz
        row[:, ELECTRICAL.start] = _log_velocity(amplitude, capture.line_hz, twice_hz, np.ones(1))[:, 0]
        row[:, ELECTRICAL.start + 1] = abs(twice_hz / shaft_hz - round(twice_hz / shaft_hz)) / line_orders
    return Reading(row, capture, rhythm, amplitude)


def _log_velocity(amplitude_g: FloatArray, line_hz: float, base_hz: float, orders: FloatArray) -> FloatArray:
    velocity = velocity_at_orders_mm_s(amplitude_g, line_hz, base_hz, orders)
    return np.where(velocity > 0.0, np.log10(np.maximum(velocity, SMALLEST_MM_S)), np.nan)


def _band_levels_g(amplitude_g: FloatArray) -> FloatArray:
    """Return RMS levels of the bands; a Hann line is 1.5 lines of noise wide."""
    edges = np.maximum(np.round(BAND_EDGES * (amplitude_g.shape[1] - 1)).astype(np.intp), 1)
    total = np.concatenate([np.zeros((len(amplitude_g), 1)), np.cumsum(amplitude_g**2, axis=1)], axis=1)
    power = (total[:, edges[1:]] - total[:, edges[:-1]]) / (2.0 * 1.5)
    return np.asarray(np.sqrt(np.maximum(power, 0.0)))


def _velocity_mm_s(amplitude_g: FloatArray, line_hz: float) -> FloatArray:
    first, last = max(1, int(np.ceil(10.0 / line_hz))), int(1000.0 / line_hz)
    frequency_hz = np.arange(first, min(last, amplitude_g.shape[1] - 1) + 1) * line_hz
    velocity = amplitude_g[:, first : first + frequency_hz.size] * (G_MM_S2 / (2.0 * np.pi * frequency_hz))
    return np.asarray(np.sqrt((velocity**2).sum(axis=1) / (2.0 * 1.5)))
