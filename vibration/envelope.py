"""This file knows how to find the resonance that impacts ring, and to read the rhythm of the impacts from it.

A band of the spectrum is moved to zero frequency and transformed back: the magnitude of the result is the
envelope of that band, sampled no faster than the band needs. No filter design, no Hilbert transform over
the whole window.

References:
    Randall & Antoni (2011), doi:10.1016/j.ymssp.2010.07.017; Antoni (2007), doi:10.1016/j.ymssp.2005.12.002
    (fast kurtogram); Borghesani et al. (2013), doi:10.1016/j.ymssp.2012.11.001 (cepstrum pre-whitening).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from vibration.errors import BandError
from vibration.spectrum import FloatArray, checked_window, line_frequencies_hz, noise_floor
from vibration.windows import make_window

KURTOGRAM_DIVISIONS = (2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Into how many bands 0 to half the sample rate is divided, level by level: the 1/3-binary tree."""

MIN_ENVELOPE_LINES = 8
"""A band of fewer lines has no envelope worth the name."""

MIN_KURTOSIS_LINES = 64
"""Bands of fewer lines are left out of the kurtogram: their kurtosis is a matter of luck."""

SHOCK_SEGMENTS = 4
"""The kurtosis is taken in this many parts of the window and their median counts, so one shock cannot win."""

EDGE_SHARE = 0.04
"""Share of the window at each end that is faded for the kurtogram, and not counted."""

LOG_FLOOR = 1e-3
"""The logarithm of an envelope is taken no lower than at this share of its mean."""

TARGETED_CANDIDATES = 6
"""So many bands, apart from each other, are compared by the fault frequencies where these are known."""


@dataclass(frozen=True)
class Band:
    """A frequency band and how impulsive the vibration in it is.

    Attributes:
        low_hz: Lower edge.
        high_hz: Upper edge.
        spectral_kurtosis: 0 for Gaussian noise, -1 for a steady line, above about 0.5 for repeated impacts.
    """

    low_hz: float
    high_hz: float
    spectral_kurtosis: float

    @property
    def edges_hz(self) -> tuple[float, float]:
        """Both edges, as `envelope` and `envelope_spectrum` take them."""
        return self.low_hz, self.high_hz


def kurtogram(acceleration_g: FloatArray, *, sample_rate_hz: float) -> list[Band]:
    """Measure the spectral kurtosis of every band of the 1/3-binary tree.

    Bands of a level overlap by half, so that a resonance between two of them is not missed. The lowest band
    starts above 0: shaft harmonics are not a resonance.

    Args:
        acceleration_g: One window of samples, shape (n,), in g.
        sample_rate_hz: Samples per second.

    Returns:
        One entry per band, widest first. Empty if the window is too short for any.

    Raises:
        WindowError: Shape, length, rate or content cannot be transformed.
    """
    samples = checked_window(acceleration_g, sample_rate_hz)
    lines = scipy.fft.rfft(samples * _soft_edges(samples.size))
    line_hz = sample_rate_hz / samples.size
    bands = []
    for division in KURTOGRAM_DIVISIONS:
        width = scipy.fft.prev_fast_len((lines.size - 1) // division)
        if width < MIN_KURTOSIS_LINES:
            break
        starts = np.arange(0, lines.size - width, max(1, width // 2))
        starts[0] = max(1, width // 16)
        shape = make_window("hann", width).values
        selected = np.stack([lines[start : start + width] * shape for start in starts])
        kurtosis = _spectral_kurtosis(scipy.fft.ifft(selected, axis=-1))
        bands += [
            Band(float(start) * line_hz, float(start + width) * line_hz, float(value))
            for start, value in zip(starts, kurtosis, strict=True)
        ]
    return bands


def select_band(
    acceleration_g: FloatArray, sample_rate_hz: float, *, fault_frequencies_hz: Sequence[float] = ()
) -> Band:
    """Choose the band in which impacts stand out most.

    Args:
        acceleration_g: One window of samples, shape (n,), in g.
        sample_rate_hz: Samples per second.
        fault_frequencies_hz: Impact rates looked for, such as BPFO and BPFI in Hz. Where given, the most
            impulsive bands are compared by how far the envelope's lines at these rates stand above their
            floor; kurtosis alone is misled by single shocks and by impacts of something else.

    Returns:
        The chosen band; 0.15 to 0.9 of half the sample rate if the window is too short to choose.

    Raises:
        WindowError: Shape, length, rate or content cannot be transformed.
    """
    bands = kurtogram(acceleration_g, sample_rate_hz=sample_rate_hz)
    if not bands:
        half_hz = sample_rate_hz / 2.0
        return Band(0.15 * half_hz, 0.9 * half_hz, 0.0)
    samples = np.asarray(acceleration_g).size
    ranked = sorted(bands, key=lambda band: -_sure_kurtosis(band, samples / sample_rate_hz))
    wanted = [rate for rate in fault_frequencies_hz if np.isfinite(rate) and rate > 0.0]
    if not wanted:
        return ranked[0]
    candidates = [band for band in bands if band.high_hz - band.low_hz > sample_rate_hz / 8.0]
    apart: list[Band] = []
    for band in ranked:
        if all(band.high_hz <= other.low_hz or band.low_hz >= other.high_hz for other in apart):
            apart.append(band)
        if len(apart) == TARGETED_CANDIDATES:
            break
    candidates += [band for band in apart if band not in candidates]
    return max(candidates, key=lambda band: _targeted_prominence(acceleration_g, sample_rate_hz, band, wanted))


def envelope(
    acceleration_g: FloatArray, *, sample_rate_hz: float, band_hz: tuple[float, float]
) -> tuple[FloatArray, float]:
    """Return the envelope of one band of the vibration.

    Args:
        acceleration_g: One window of samples, shape (n,), in g.
        sample_rate_hz: Samples per second.
        band_hz: Low and high edge, inside 0 to half the sample rate.

    Returns:
        The envelope in g and its own sample rate in Hz, at least twice the band's width (so that the squared
        envelope does not alias). It spans the same time as the window. A sine of 1 g inside the band has an
        envelope of 1 g.

    Raises:
        BandError: The band is empty, too narrow for the window, or above half the sample rate.
        WindowError: Shape, length, rate or content cannot be transformed.
    """
    samples = checked_window(acceleration_g, sample_rate_hz)
    first, last = band_lines(samples.size, sample_rate_hz, band_hz)
    points = scipy.fft.next_fast_len(2 * (last - first))
    analytic = scipy.fft.ifft(scipy.fft.rfft(samples)[first:last], points)
    return np.abs(analytic) * (2.0 * points / samples.size), points * sample_rate_hz / samples.size


def envelope_spectrum(
    acceleration_g: FloatArray,
    *,
    sample_rate_hz: float,
    band_hz: tuple[float, float],
    squared: bool = False,
    logarithmic: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Show how often impacts repeat, by the spectrum of the signal's envelope.

    A damaged race rings the structure at kilohertz once per passing ball; the envelope removes the ringing
    and keeps the rhythm.

    Args:
        acceleration_g: One window of samples, shape (n,), in g.
        sample_rate_hz: Samples per second; constant within the window.
        band_hz: Low and high edge of the resonance, inside 0 to half the sample rate.
        squared: Take the squared envelope: sharper for weak modulation, and free of harmonics the magnitude adds.
        logarithmic: Take the envelope's logarithm: a single shock then counts little, and so does how strong the
            impacts are. Amplitudes are without unit.

    Returns:
        Frequencies in Hz, up to the width of the band, and single-sided amplitudes in g (g² if squared). The
        resolution is that of the window, one over its length. Line 0 reads zero.

    Raises:
        BandError: The band is empty, too narrow for the window, or above half the sample rate.
        WindowError: Shape, length, rate or content cannot be transformed.
    """
    envelope_g, rate_hz = envelope(acceleration_g, sample_rate_hz=sample_rate_hz, band_hz=band_hz)
    curve = envelope_g * envelope_g if squared else envelope_g
    if logarithmic:
        curve = np.log(np.maximum(curve, LOG_FLOOR * float(curve.mean()) + np.finfo(np.float64).tiny))
    curve = curve - curve.mean()
    window = make_window("hann", curve.size)
    amplitude = np.abs(scipy.fft.rfft(curve * window.values)) * (2.0 / (curve.size * window.coherent_gain))
    amplitude[0] = 0.0
    frequency_hz = line_frequencies_hz(curve.size, rate_hz)
    kept = frequency_hz <= band_hz[1] - band_hz[0]
    return frequency_hz[kept], amplitude[kept]


def cepstrum_prewhiten(acceleration_g: FloatArray) -> FloatArray:
    """Flatten the whole spectrum, lines included, so that only what is impulsive stays.

    Setting the cepstrum to zero is dividing every line by its own magnitude. Shaft and gear lines lose their
    dominance; impacts keep their phase and so their rhythm.

    Args:
        acceleration_g: One window of samples, shape (n,).

    Returns:
        Whitened window, shape (n,), scaled to the RMS of the input.

    Raises:
        WindowError: Shape, length or content cannot be transformed.
    """
    samples = checked_window(acceleration_g, 1.0)
    lines = scipy.fft.rfft(samples)
    magnitude = np.abs(lines)
    lines = np.divide(lines, magnitude, out=np.zeros_like(lines), where=magnitude > 0.0)
    white = np.asarray(scipy.fft.irfft(lines, samples.size))
    level = float(np.sqrt(np.mean(white**2)))
    return white * (float(np.sqrt(np.mean(samples**2))) / level) if level > 0.0 else white


def band_lines(samples: int, sample_rate_hz: float, band_hz: tuple[float, float]) -> tuple[int, int]:
    """Return the first line of a band and the one after its last.

    Raises:
        BandError: The band is empty, outside 0 to half the sample rate, or narrower than 8 lines of the
            window.
    """
    low_hz, high_hz = band_hz
    if not 0.0 < low_hz < high_hz <= sample_rate_hz / 2.0:
        raise BandError(
            f"band is {low_hz:g} to {high_hz:g} Hz; edges in rising order, above 0 and up to half the sample "
            f"rate ({sample_rate_hz / 2.0:g} Hz) expected"
        )
    first = max(1, round(low_hz * samples / sample_rate_hz))
    last = round(high_hz * samples / sample_rate_hz)
    if last - first < MIN_ENVELOPE_LINES:
        raise BandError(
            f"band of {low_hz:g} to {high_hz:g} Hz holds {max(last - first, 0)} lines of a window of "
            f"{samples / sample_rate_hz:g} s, at least {MIN_ENVELOPE_LINES} expected; widen band or window"
        )
    return first, last


def _spectral_kurtosis(analytic: NDArray[np.complex128]) -> FloatArray:
    """Return the kurtosis of complex envelopes (bands, points), the median over parts of the window."""
    power = analytic.real**2 + analytic.imag**2
    edge = math.ceil(EDGE_SHARE * power.shape[-1])
    points = (power.shape[-1] - 2 * edge) // SHOCK_SEGMENTS * SHOCK_SEGMENTS
    parts = power[:, edge : edge + points].reshape(len(power), SHOCK_SEGMENTS, -1)
    mean = parts.mean(axis=-1)
    fourth = (parts * parts).mean(axis=-1)
    floor = np.finfo(np.float64).tiny
    kurtosis = np.where(mean > floor**0.5, fourth / np.maximum(mean * mean, floor) - 2.0, -2.0)
    return np.asarray(np.median(kurtosis, axis=-1))


def _soft_edges(samples: int) -> FloatArray:
    """Return ones that rise and fall over EDGE_SHARE at each end.

    The transform takes the window as periodic: where its ends do not meet, the step between them rings every band
    and would win the kurtogram.
    """
    edge = math.ceil(EDGE_SHARE * samples)
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / edge)
    factors = np.ones(samples)
    factors[:edge] = rise
    factors[samples - edge :] = rise[::-1]
    return factors


def _sure_kurtosis(band: Band, length_s: float) -> float:
    """Return the kurtosis less three standard deviations of what pure noise shows in so narrow a band."""
    points = (band.high_hz - band.low_hz) * length_s
    return band.spectral_kurtosis - 3.0 * 2.0 / math.sqrt(points)


def _targeted_prominence(
    acceleration_g: FloatArray, sample_rate_hz: float, band: Band, rates_hz: Sequence[float]
) -> float:
    """Return how far the best rate's harmonics stand above the floor of the log envelope spectrum."""
    edges = (band.low_hz, min(band.high_hz, 0.499 * sample_rate_hz))
    frequency_hz, amplitude = envelope_spectrum(
        acceleration_g, sample_rate_hz=sample_rate_hz, band_hz=edges, logarithmic=True
    )
    ratio = amplitude / np.maximum(noise_floor(amplitude), np.finfo(np.float64).tiny)
    line_hz = float(frequency_hz[1])
    best = 0.0
    for rate_hz in rates_hz:
        log_ratios = []
        for harmonic in (1, 2, 3):
            reach = max(0.02 * harmonic * rate_hz, line_hz)
            near = np.abs(frequency_hz - harmonic * rate_hz) <= reach
            if near.any():
                log_ratios.append(float(np.log(np.maximum(ratio[near].max(), 1e-6))))
        if log_ratios:
            best = max(best, sum(log_ratios) / 3.0)
    return best
