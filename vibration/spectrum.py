"""This file knows how to read a waveform line by line: amplitudes, densities, velocity, floor and peaks.

Frequencies are in Hz. Amplitudes are single-sided peak amplitudes (a sine of 1 g reads 1 g), corrected for
the window; the mean is removed first, so line 0 reads zero.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from vibration.errors import BandError, WindowError
from vibration.units import G_MM_S2
from vibration.windows import WindowName, make_window

FloatArray = NDArray[np.float64]

ISO_BAND_HZ = (10.0, 1000.0)
"""Band of the housing velocity in ISO 10816-3 and 20816-3."""

SLOW_ISO_BAND_HZ = (2.0, 1000.0)
"""The same for machines of 120 to 600 rpm."""

FLOOR_HALF_WIDTH_LINES = 25
"""Lines to each side of a line from which its local floor is taken."""


def amplitude_spectrum(
    acceleration_g: FloatArray, *, sample_rate_hz: float, window: WindowName = "hann"
) -> tuple[FloatArray, FloatArray]:
    """Show the amplitude of every line.

    Args:
        acceleration_g: One window of samples, shape (n,), in g (or any unit: the result is in the same).
        sample_rate_hz: Samples per second.
        window: Hann by default; flat top reads a single line's amplitude within 0.01 %.

    Returns:
        Frequencies in Hz and peak amplitudes in g, each of shape (n // 2 + 1,).

    Raises:
        WindowError: Shape, length, rate or content cannot be transformed.
    """
    samples = checked_window(acceleration_g, sample_rate_hz)
    shape = make_window(window, samples.size)
    amplitude = np.abs(scipy.fft.rfft(samples * shape.values))
    amplitude *= 2.0 / (samples.size * shape.coherent_gain)
    amplitude[0] = 0.0
    if samples.size % 2 == 0:
        amplitude[-1] *= 0.5
    return line_frequencies_hz(samples.size, sample_rate_hz), amplitude


def power_spectral_density(
    acceleration_g: FloatArray,
    *,
    sample_rate_hz: float,
    segment_samples: int | None = None,
    overlap: float = 0.5,
    window: WindowName = "hann",
) -> tuple[FloatArray, FloatArray]:
    """Show the power per hertz, whose integral is the mean square (Parseval).

    Args:
        acceleration_g: Samples, shape (n,), in g.
        sample_rate_hz: Samples per second.
        segment_samples: Length of the averaged segments; by default one segment of all samples.
        overlap: Share of a segment shared with the next, 0 to below 1.
        window: Window of each segment.

    Returns:
        Frequencies in Hz and densities in g²/Hz, each of shape (segment_samples // 2 + 1,).

    Raises:
        WindowError: Shape, length, rate, overlap or content cannot be transformed.
    """
    samples = checked_window(acceleration_g, sample_rate_hz)
    segment_samples = samples.size if segment_samples is None else segment_samples
    shape = make_window(window, min(segment_samples, samples.size))
    power = _mean_line_power(samples, segment_samples, overlap, shape.values)
    power *= 2.0 / (sample_rate_hz * segment_samples * shape.power_gain)
    power[0] *= 0.5
    if segment_samples % 2 == 0:
        power[-1] *= 0.5
    return line_frequencies_hz(segment_samples, sample_rate_hz), power


def averaged_spectrum(
    acceleration_g: FloatArray,
    *,
    sample_rate_hz: float,
    segment_samples: int,
    overlap: float = 0.5,
    window: WindowName = "hann",
) -> tuple[FloatArray, FloatArray]:
    """Show amplitudes averaged as powers over overlapping segments ("RMS averaging").

    Averaging steadies noise and leaves steady lines where they are; with Hann, 50 % to 67 % overlap wastes
    nothing.

    Args:
        acceleration_g: Samples, shape (n,), in g.
        sample_rate_hz: Samples per second.
        segment_samples: Length of a segment, at most n; the resolution is sample_rate_hz / segment_samples.
        overlap: Share of a segment shared with the next, 0 to below 1.
        window: Window of each segment.

    Returns:
        Frequencies in Hz and peak amplitudes in g, each of shape (segment_samples // 2 + 1,).

    Raises:
        WindowError: Shape, length, rate, overlap or content cannot be transformed.
    """
    samples = checked_window(acceleration_g, sample_rate_hz)
    shape = make_window(window, min(segment_samples, samples.size))
    power = _mean_line_power(samples, segment_samples, overlap, shape.values)
    amplitude = np.sqrt(power) * (2.0 / (segment_samples * shape.coherent_gain))
    amplitude[0] = 0.0
    if segment_samples % 2 == 0:
        amplitude[-1] *= 0.5
    return line_frequencies_hz(segment_samples, sample_rate_hz), amplitude


def integrate_to_velocity(
    acceleration_g: FloatArray, *, sample_rate_hz: float, band_hz: tuple[float, float] = ISO_BAND_HZ
) -> FloatArray:
    """Integrate a waveform to velocity in the frequency domain, keeping a band.

    The band's lower edge is the high-pass that integration needs: without it, noise near 0 Hz becomes a
    "ski slope".

    Args:
        acceleration_g: One window of samples, shape (n,), in g.
        sample_rate_hz: Samples per second.
        band_hz: Kept band; its upper edge may lie above half the sample rate.

    Returns:
        Velocity in mm/s, shape (n,). The window is taken as periodic: judge its first and last 1/low_hz with
        care.

    Raises:
        BandError: No line of the window lies in the band.
        WindowError: Shape, length, rate or content cannot be transformed.
    """
    samples = checked_window(acceleration_g, sample_rate_hz)
    frequency_hz = line_frequencies_hz(samples.size, sample_rate_hz)
    kept = band_weights(samples.size, sample_rate_hz, band_hz) > 0.0
    lines = scipy.fft.rfft(samples)
    lines[~kept] = 0.0
    lines[kept] *= G_MM_S2 / (2j * np.pi * frequency_hz[kept])
    return np.asarray(scipy.fft.irfft(lines, samples.size))


def velocity_rms_mm_s(
    acceleration_g: FloatArray, sample_rate_hz: float, band_hz: tuple[float, float] = ISO_BAND_HZ
) -> float:
    """Return the velocity the ISO zones are judged by, from the Hann-windowed spectrum (Parseval).

    Args:
        acceleration_g: One window of samples, shape (n,), in g.
        sample_rate_hz: Samples per second.
        band_hz: Band; a line at an edge counts half, as with a filter that is 3 dB down there. An upper edge
            above half the sample rate means "to half the sample rate".

    Returns:
        Velocity in mm/s RMS.

    Raises:
        BandError: The band is empty, or the window shorter than one period of its lower edge.
        WindowError: Shape, length, rate or content cannot be transformed.
    """
    samples = checked_window(acceleration_g, sample_rate_hz)
    weights = band_weights(samples.size, sample_rate_hz, band_hz)
    shape = make_window("hann", samples.size)
    power = np.abs(scipy.fft.rfft(samples * shape.values)) ** 2
    power *= 2.0 / (samples.size**2 * shape.power_gain)
    if samples.size % 2 == 0:
        power[-1] *= 0.5
    kept = weights > 0.0
    per_line = G_MM_S2 / (2.0 * np.pi * line_frequencies_hz(samples.size, sample_rate_hz)[kept])
    return float(np.sqrt(np.sum(power[kept] * weights[kept] * per_line**2)))


def velocity_spectrum(frequency_hz: FloatArray, amplitude_g: FloatArray, *, low_hz: float = 10.0) -> FloatArray:
    """Turn an acceleration amplitude spectrum (g) into velocity (mm/s), zero below `low_hz`."""
    velocity = np.zeros_like(amplitude_g)
    kept = frequency_hz >= max(low_hz, np.finfo(np.float64).tiny)
    velocity[kept] = amplitude_g[kept] * G_MM_S2 / (2.0 * np.pi * frequency_hz[kept])
    return velocity


def noise_floor(amplitude: FloatArray, *, half_width_lines: int = FLOOR_HALF_WIDTH_LINES) -> FloatArray:
    """Return the local median of a spectrum: what a line must stand above to be a line.

    Args:
        amplitude: Amplitudes, shape (lines,).
        half_width_lines: Lines to each side, at least 1.

    Returns:
        Floor in the unit of the amplitudes, shape (lines,); edges are mirrored.
    """
    return np.asarray(median_filter(amplitude, size=2 * half_width_lines + 1, mode="mirror"), dtype=np.float64)


@dataclass(frozen=True)
class SpectralPeak:
    """One line that stands above the floor around it.

    Attributes:
        frequency_hz: Interpolated between lines.
        amplitude: Interpolated, in the unit of the spectrum.
        prominence: Amplitude over the local floor, a ratio.
    """

    frequency_hz: float
    amplitude: float
    prominence: float


def find_peaks_table(
    frequency_hz: FloatArray,
    amplitude: FloatArray,
    *,
    count: int = 20,
    min_prominence: float = 4.0,
    window: WindowName = "hann",
) -> list[SpectralPeak]:
    """List a spectrum's peaks, largest first, read from its full resolution.

    Args:
        frequency_hz: Evenly spaced line frequencies, shape (lines,).
        amplitude: Amplitudes, shape (lines,).
        count: Longest list wanted.
        min_prominence: Smallest amplitude over the local floor (4 is 12 dB).
        window: Window the spectrum was taken with. Hann is interpolated exactly for a steady line, others by
            a parabola through the logarithms.

    Returns:
        At most `count` peaks.
    """
    if amplitude.size < 3:
        return []
    floor = noise_floor(amplitude)
    centre = amplitude[1:-1]
    is_top = (centre > amplitude[:-2]) & (centre >= amplitude[2:]) & (centre >= min_prominence * floor[1:-1])
    tops = np.flatnonzero(is_top) + 1
    tops = tops[np.argsort(-amplitude[tops], kind="stable")][:count]
    peaks = []
    for line in tops.tolist():
        shift, height = interpolate_peak(amplitude[line - 1 : line + 2], window)
        spacing_hz = float(frequency_hz[1] - frequency_hz[0])
        prominence = height / float(floor[line]) if floor[line] > 0.0 else float("inf")
        peaks.append(SpectralPeak(float(frequency_hz[line]) + shift * spacing_hz, height, prominence))
    return peaks


def interpolate_peak(three_lines: FloatArray, window: WindowName = "hann") -> tuple[float, float]:
    """Read a line's true place and height from the largest line and its two neighbours.

    Args:
        three_lines: Amplitudes left of, at and right of the largest line.
        window: Window of the spectrum.

    Returns:
        Distance from the middle line in lines (-0.5 to 0.5) and amplitude.

    References:
        Grandke (1983), doi:10.1109/TIM.1983.4315077, for Hann; the amplitude follows from the transform of
        the window.
    """
    left, middle, right = (float(value) for value in three_lines)
    if middle <= 0.0:
        return 0.0, max(middle, 0.0)
    if window == "hann":
        neighbour = max(left, right)
        ratio = neighbour / middle
        shift = min(max((2.0 * ratio - 1.0) / (ratio + 1.0), 0.0), 0.5)
        height = middle * (1.0 - shift * shift) / float(np.sinc(shift))
        return (shift if right >= left else -shift), height
    tiny = middle * 1e-9
    a, b, c = (float(np.log(max(value, tiny))) for value in (left, middle, right))
    curvature = a - 2.0 * b + c
    shift = min(max(0.5 * (a - c) / curvature, -0.5), 0.5) if curvature < 0.0 else 0.0
    return shift, float(np.exp(b - 0.25 * (a - c) * shift))


def band_weights(samples: int, sample_rate_hz: float, band_hz: tuple[float, float]) -> FloatArray:
    """Return which share of each line belongs to a band.

    Line k of a window of T seconds stands for k/T - 1/2T to k/T + 1/2T; line 0 is the mean and belongs to no
    band.

    Args:
        samples: Length of the window.
        sample_rate_hz: Samples per second.
        band_hz: Low and high edge; the high one is cut at half the sample rate.

    Returns:
        Weights 0 to 1, shape (samples // 2 + 1,).

    Raises:
        BandError: The band is empty, starts at or below 0, or the window is shorter than one period of its
            lower edge.
    """
    low_hz, high_hz = band_hz[0], min(band_hz[1], sample_rate_hz / 2.0)
    line_hz = sample_rate_hz / samples
    if not 0.0 < low_hz < high_hz:
        raise BandError(
            f"band is {band_hz[0]:g} to {band_hz[1]:g} Hz at {sample_rate_hz:g} samples/s; "
            f"a low edge above 0 and below both the high edge and {sample_rate_hz / 2.0:g} Hz expected"
        )
    if low_hz < line_hz * (1.0 - 1e-9):
        raise BandError(
            f"window of {samples / sample_rate_hz:g} s has lines {line_hz:g} Hz apart, too coarse for a band "
            f"from {low_hz:g} Hz; take a window of at least {1.0 / low_hz:g} s"
        )
    lines = np.arange(samples // 2 + 1)
    upper = np.minimum(lines + 0.5, high_hz / line_hz)
    lower = np.maximum(lines - 0.5, low_hz / line_hz)
    weights: FloatArray = np.clip(upper - lower, 0.0, 1.0)
    weights[0] = 0.0
    return weights


def line_frequencies_hz(samples: int, sample_rate_hz: float) -> FloatArray:
    """Return the frequency of each line, shape (samples // 2 + 1,)."""
    return np.arange(samples // 2 + 1, dtype=np.float64) * (sample_rate_hz / samples)


def checked_window(acceleration_g: FloatArray, sample_rate_hz: float, *, minimum: int = 32) -> FloatArray:
    """Return a window as float64 without its mean, or say why it cannot be transformed.

    Raises:
        WindowError: Not one row, shorter than `minimum`, not finite, or a rate that is not above 0.
    """
    samples = np.asarray(acceleration_g, dtype=np.float64)
    if samples.ndim != 1 or samples.size < minimum:
        raise WindowError(f"window has shape {samples.shape}, one row of at least {minimum} samples expected")
    if not (np.isfinite(sample_rate_hz) and sample_rate_hz > 0.0):
        raise WindowError(f"sample rate is {sample_rate_hz} Hz, finite and above 0 expected")
    if not np.isfinite(samples).all():
        raise WindowError(f"window holds {np.count_nonzero(~np.isfinite(samples))} samples that are not finite")
    centred: FloatArray = samples - samples.mean()
    return centred


def _mean_line_power(
    samples: FloatArray, segment_samples: int, overlap: float, window_values: FloatArray
) -> FloatArray:
    if not 8 <= segment_samples <= samples.size:
        raise WindowError(f"segment has {segment_samples} samples, 8 to {samples.size} expected")
    if not 0.0 <= overlap < 1.0:
        raise WindowError(f"overlap is {overlap}, 0 to below 1 expected")
    step = max(1, round(segment_samples * (1.0 - overlap)))
    segments = np.lib.stride_tricks.sliding_window_view(samples, segment_samples)[::step]
    power: FloatArray = np.zeros(segment_samples // 2 + 1)
    for segment in segments:  # one at a time: a day of samples would not fit in memory ten times over
        lines = scipy.fft.rfft(segment * window_values)
        power += lines.real**2 + lines.imag**2
    power /= len(segments)
    return power
