"""This file knows how to hear a repeating rhythm in all bands of a capture at once, and to lay it over shaft orders.

The envelope of every band is taken, as a logarithm, so that one shock or one loud band cannot outvote the rest; the
spectrum of each is set over its own floor, and the bands vote. Where an impact rings does not have to be known.

References:
    Borghesani & Shahriar (2017), doi:10.1016/j.ymssp.2016.11.034 (log envelope); Antoni, Xin & Hamzaoui (2017),
    doi:10.1016/j.ymssp.2017.01.011 (averaging over carrier bands: the enhanced envelope spectrum).
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.special import ndtri

from vibration.errors import WindowError
from vibration.units import G_MM_S2

FloatArray = NDArray[np.float64]

BANDS = 6
"""0 to half the sample rate in so many bands, and as many less one between them, shifted by half a band."""

MIN_BAND_LINES = 32
"""A narrower band has no rhythm that could be told from chance."""

LOG_FLOOR = 1e-3
"""The logarithm of a squared envelope is taken no lower than at this share of its mean."""

SHOCK_PARTS = 4
"""Impulsiveness is taken in so many parts of a capture."""

LOUDEST = 50.0
"""A band counts no line higher than at 50 times its floor (17 dB): what one band shouts, the others must confirm."""

ORDER_STEP = 1.0 / 32.0
"""Orders are laid out in steps of a 32nd: finer than slip lets a bearing's line stay in place."""

MAX_ORDER = 16.0
"""Three harmonics of the inner race of an ordinary bearing (BPFI about 5.4)."""

ORDERS: FloatArray = np.arange(round(MAX_ORDER / ORDER_STEP), dtype=np.float64) * ORDER_STEP
"""The grid of orders on which rhythms of captures of any length and speed can be averaged."""


@dataclass(frozen=True, eq=False)
class CaptureLines:
    """The transform of a capture, taken once for all that is read from it.

    Attributes:
        lines: Complex lines of each channel without its mean, shape (channels, samples // 2 + 1).
        samples: Samples a channel.
        sample_rate_hz: Samples a second.
    """

    lines: NDArray[np.complexfloating]
    samples: int
    sample_rate_hz: float

    @property
    def line_hz(self) -> float:
        """Distance between lines."""
        return self.sample_rate_hz / self.samples

    def amplitude_g(self) -> FloatArray:
        """Hann-windowed single-sided amplitudes, shape (channels, samples // 2 + 1); ends are zero.

        The window is applied as a three-line sum, which equals windowing the samples.
        """
        hann = np.zeros(self.lines.shape, dtype=self.lines.dtype)
        hann[:, 1:-1] = self.lines[:, 1:-1] - 0.5 * (self.lines[:, :-2] + self.lines[:, 2:])
        return np.asarray(np.abs(hann) * (2.0 / self.samples), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Rhythm:
    """How regularly each band of each channel swells.

    Attributes:
        line_hz: Distance between lines of the envelopes' spectra.
        power: Power of every line over its band's noise floor, shape (channels, bands, lines); 1 is noise.
        bands_hz: Edges of the bands, shape (bands, 2).
        impulsiveness: Kurtosis of each band's complex envelope less that of noise, shape (channels, bands): 0 for
            Gaussian noise, -1 for a steady line, above 0.5 for impacts. The middle of four parts of the capture
            counts, so one shock does not.
    """

    line_hz: float
    power: FloatArray
    bands_hz: FloatArray
    impulsiveness: FloatArray

    @property
    def independent(self) -> float:
        """How many independent looks the average over one channel's bands is worth.

        Half-overlapping Hann-shaped bands share a sixth of their power; channels see the same machine and are not
        counted.
        """
        return max(1.0, 0.75 * len(self.bands_hz))

    def pooled(self) -> FloatArray:
        """Average over bands, shape (channels, lines)."""
        return np.asarray(np.minimum(self.power, LOUDEST).mean(axis=1))


def transform(acceleration_g: FloatArray, *, sample_rate_hz: float) -> CaptureLines:
    """Transform a capture.

    Args:
        acceleration_g: Shape (channels, samples), g.
        sample_rate_hz: Samples a second.

    Raises:
        WindowError: Shape, length, rate or content cannot be transformed.
    """
    samples = np.asarray(acceleration_g)
    if samples.ndim != 2 or samples.shape[1] < 32 or not samples.shape[0]:
        raise WindowError(f"capture has shape {samples.shape}, (channels, at least 32 samples) expected")
    if not (math.isfinite(sample_rate_hz) and sample_rate_hz > 0.0):
        raise WindowError(f"sample rate is {sample_rate_hz} Hz, finite and above 0 expected")
    if not np.isfinite(samples).all():
        raise WindowError(f"capture holds {np.count_nonzero(~np.isfinite(samples))} samples that are not finite")
    lines = scipy.fft.rfft(samples - samples.mean(axis=1, keepdims=True), axis=1)
    return CaptureLines(lines, samples.shape[1], sample_rate_hz)


def read_rhythm(capture: CaptureLines, *, highest_hz: float) -> Rhythm | None:
    """Read the rhythm of all bands.

    Args:
        capture: The transform.
        highest_hz: Up to which rate rhythms are wanted; what a band is too narrow for is left out.

    Returns:
        The rhythm; None where the capture is too short for two bands.
    """
    half = capture.samples // 2
    divisions = min(BANDS, half // MIN_BAND_LINES)
    if divisions < 2:
        return None
    width = half // divisions
    starts = np.arange(0, half - width + 1, max(1, width // 2))
    starts[0] = max(1, width // 16)  # what is below is shaft and drift, no resonance
    taper = (0.5 - 0.5 * np.cos(2.0 * np.pi * (np.arange(width) + 0.5) / width)).astype(np.float32)
    points = scipy.fft.next_fast_len(2 * width)
    picked = np.zeros((len(capture.lines), len(starts), points), dtype=np.complex64)
    for number, start in enumerate(starts.tolist()):
        picked[:, number, :width] = capture.lines[:, start : start + width] * taper
    analytic = scipy.fft.ifft(picked, axis=2, overwrite_x=True)
    curve = analytic.real**2 + analytic.imag**2
    impulsiveness = _impulsiveness(curve)
    curve += LOG_FLOOR * curve.mean(axis=2, keepdims=True) + np.finfo(np.float32).tiny
    np.log(curve, out=curve)
    curve -= curve.mean(axis=2, keepdims=True)
    count = min(width, math.ceil(highest_hz / capture.line_hz) + 2)
    lines = scipy.fft.rfft(curve, axis=2)[:, :, : count + 1]
    hann = lines[:, :, 1:-1] - 0.5 * (lines[:, :, :-2] + lines[:, :, 2:])
    power = np.zeros((*lines.shape[:2], count))
    power[:, :, 1:] = hann.real**2 + hann.imag**2
    power[:, :, 1:] /= _floor(power[:, :, 1:])
    edges: FloatArray = np.stack([starts, starts + width], axis=1).astype(np.float64) * capture.line_hz
    return Rhythm(capture.line_hz, power, edges, impulsiveness)


def _impulsiveness(curve: NDArray[np.floating]) -> FloatArray:
    edge = math.ceil(0.04 * curve.shape[-1])  # the capture's ends do not meet: the step between them rings
    points = (curve.shape[-1] - 2 * edge) // SHOCK_PARTS * SHOCK_PARTS
    parts = curve[..., edge : edge + points].reshape(*curve.shape[:-1], SHOCK_PARTS, -1)
    mean = parts.mean(axis=-1)
    square = np.vecdot(parts, parts) / parts.shape[-1]
    quiet = np.finfo(np.float32).tiny ** 0.5
    kurtosis = np.where(mean > quiet, square / np.maximum(mean, quiet) ** 2 - 2.0, 0.0)
    return np.asarray(np.median(kurtosis, axis=-1), dtype=np.float64)


def _floor(power: FloatArray) -> FloatArray:
    """Return the mean power of noise around every line, from medians of blocks, between which it is interpolated."""
    count = power.shape[-1]
    block = max(12, min(32, count // 6))
    blocks = max(1, count // block)
    block = min(block, count)
    parts = power[..., : blocks * block].reshape(*power.shape[:-1], blocks, block)
    middle = np.partition(parts, block // 2, axis=-1)[..., block // 2] / math.log(2.0)  # of an exponential law
    middle = np.log(np.maximum(middle, np.finfo(np.float32).tiny))
    place = np.clip((np.arange(count) + 0.5) / block - 0.5, 0.0, blocks - 1.0)
    left = np.minimum(place.astype(np.intp), max(blocks - 2, 0))
    share = place - left
    right = np.minimum(left + 1, blocks - 1)
    return np.asarray(np.exp(middle[..., left] * (1.0 - share) + middle[..., right] * share))


def over_orders_db(rhythm: Rhythm, shaft_hz: float) -> FloatArray:
    """Lay the pooled rhythm over the grid of orders.

    Args:
        rhythm: As read.
        shaft_hz: Turns a second.

    Returns:
        Height over noise in dB, shape (channels, ORDERS), about 0 for noise, NaN where the rhythm was not read. Where
        several lines fall into a step the largest counts, less what chance makes of the largest of so many.
    """
    level = 10.0 * np.log10(np.maximum(rhythm.pooled(), 1e-3))
    level[:, 0] = 0.0
    at = ORDERS * shaft_hz / rhythm.line_hz
    per_step = ORDER_STEP * shaft_hz / rhythm.line_hz
    count = level.shape[1]
    out: FloatArray = np.full((len(level), ORDERS.size), np.nan)
    known = at <= count - 1
    if per_step <= 1.0:
        for channel, row in enumerate(level):
            out[channel, known] = np.interp(at[known], np.arange(count), row)
        return out
    first = np.maximum(np.ceil(at - per_step / 2.0).astype(np.intp), 0)
    known &= first + math.ceil(per_step) + 1 < count
    if not known.any():
        return out
    edges = np.append(first[known], first[known][-1] + math.ceil(per_step))
    out[:, known] = np.maximum.reduceat(level, edges, axis=1)[:, :-1]
    return out - largest_of(per_step) * noise_db(rhythm.independent)


def noise_db(independent: float) -> float:
    """Return how much the average of so many independent noise powers scatters, in dB (one standard deviation)."""
    return 10.0 / math.log(10.0) / math.sqrt(independent)


def largest_of(tries: float) -> float:
    """Return how far the largest of so many normal values lies above their mean, in standard deviations.

    Blom's approximation of the expected largest order statistic.
    """
    if tries <= 1.0:
        return 0.0
    return float(ndtri((tries - 0.375) / (tries + 0.25)))


def hann_leak(distance_lines: FloatArray) -> FloatArray:
    """Return the power a steady line shows at a distance from its place, as a share of its height (Hann)."""
    away = np.abs(np.asarray(distance_lines, dtype=np.float64))
    safe = np.where(np.abs(away - 1.0) < 1e-6, 1.0 + 1e-6, away)
    return np.asarray((np.sinc(safe) / (1.0 - safe * safe)) ** 2)


def velocity_at_orders_mm_s(amplitude_g: FloatArray, line_hz: float, shaft_hz: float, orders: FloatArray) -> FloatArray:
    """Read velocity amplitudes (peak, mm/s) at orders of the shaft, shape (channels, orders).

    The largest line within 1.5 % or one line of the place counts; 0 where the spectrum does not reach.
    """
    out = np.zeros((len(amplitude_g), len(orders)))
    for number, order in enumerate(orders.tolist()):
        centre = order * shaft_hz / line_hz
        reach = max(1.0, 0.015 * centre)
        first, last = max(1, math.ceil(centre - reach)), math.floor(centre + reach)
        if last < amplitude_g.shape[1] and last >= first:
            per_g = G_MM_S2 / (2.0 * math.pi * order * shaft_hz)
            out[:, number] = amplitude_g[:, first : last + 1].max(axis=1) * per_g
    return out
