"""This file knows the feature vector: what the models see, and the one fast way to calculate it.

The gateway's live path and its back-test use the same `FeatureKernel`, so a number in a back-test is the
number on the plant.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from vibration.envelope import MIN_ENVELOPE_LINES, band_lines
from vibration.errors import WindowError
from vibration.spectrum import ISO_BAND_HZ, SLOW_ISO_BAND_HZ, band_weights
from vibration.units import G_MM_S2

Float32Array = NDArray[np.float32]
FloatArray = NDArray[np.float64]

BAND_COUNT = 32
ENVELOPE_BAND_COUNT = 16

STATISTIC_UNITS = {
    "velocity_rms_mm_s": "mm/s RMS",
    "acceleration_rms_g": "g RMS",
    "peak_g": "g true peak",
    "crest_factor": "1",
    "kurtosis": "1 (Gaussian 3)",
    "skewness": "1",
    "envelope_rms_g": "g RMS",
    "envelope_peak_g": "g peak",
    "velocity_from_2_hz_rms_mm_s": "mm/s RMS",
    "band_low_rms_g": "g RMS",
    "band_middle_rms_g": "g RMS",
    "band_high_rms_g": "g RMS",
}

FEATURE_NAMES: tuple[str, ...] = (
    *STATISTIC_UNITS,
    *(f"band_{number:02d}_log10_g2" for number in range(BAND_COUNT)),
    *(f"envelope_band_{number:02d}_log10_g2" for number in range(ENVELOPE_BAND_COUNT)),
)
FEATURE_UNITS: tuple[str, ...] = (
    *STATISTIC_UNITS.values(),
    *("log10 g²" for _ in range(BAND_COUNT + ENVELOPE_BAND_COUNT)),
)

WIDE_BAND_EDGES_HZ = (10.0, 1000.0, 5000.0)
"""Where the bands of the band RMS begin; the last one ends with the sensor: shaft and gear, bearing resonances, and
what rings first when lubrication fails [trade practice, no standard]."""

STATISTICS = slice(0, len(STATISTIC_UNITS))
WIDE_BANDS = slice(STATISTICS.stop - len(WIDE_BAND_EDGES_HZ), STATISTICS.stop)
BANDS = slice(STATISTICS.stop, STATISTICS.stop + BAND_COUNT)
ENVELOPE_BANDS = slice(BANDS.stop, BANDS.stop + ENVELOPE_BAND_COUNT)
MODEL_FEATURES = slice(BANDS.start, ENVELOPE_BANDS.stop)
"""What a model is trained on: the spectrum's shape and the envelope's, not the statistics."""

POWER_FLOOR_G2 = 1e-12
"""Added to every band power before the logarithm: (1 µg)², a thousandth of a good MEMS sensor's noise."""

CONSTANT_G2 = 1e-14
"""A channel of less variance than this, or than one rounding error of its mean, is taken as constant."""

MIN_SAMPLES = 32


def default_envelope_band_hz(sample_rate_hz: float, samples: int) -> tuple[float, float]:
    """Return the envelope's band where none is given: 2 to 10 kHz, or what the sample rate leaves of it.

    The edges move down to 0.15 and 0.9 of half the sample rate where these are lower (0.9 to 5.4 kHz at
    12 kHz, 15 to 90 Hz at 200 Hz). A window so short that 2 to 10 kHz holds fewer than 8 lines takes 0.15 to
    0.9 of half its sample rate.
    """
    half_hz = sample_rate_hz / 2.0
    low_hz, high_hz = min(2000.0, 0.15 * half_hz), min(10000.0, 0.9 * half_hz)
    if (high_hz - low_hz) * samples / sample_rate_hz < MIN_ENVELOPE_LINES + 1:
        return 0.15 * half_hz, 0.9 * half_hz
    return low_hz, high_hz


def band_edges_hz(sample_rate_hz: float, samples: int) -> FloatArray:
    """Return the edges of the spectral bands, so that an explanation can name them.

    Args:
        sample_rate_hz: Samples per second.
        samples: Length of the window.

    Returns:
        BAND_COUNT + 1 edges in Hz, geometric from 2 Hz, or the window's first line where that is higher, to
        half the sample rate. Rates below 32 Hz begin at the first line.
    """
    _check_size(sample_rate_hz, samples)
    line_hz, half_hz = sample_rate_hz / samples, sample_rate_hz / 2.0
    return _geometric(max(line_hz, 2.0) if half_hz >= 16.0 else line_hz, half_hz, BAND_COUNT)


def envelope_band_edges_hz(
    sample_rate_hz: float, samples: int, envelope_band_hz: tuple[float, float] | None = None
) -> FloatArray:
    """Return the edges of the envelope's bands, so that an explanation can name them.

    Args:
        sample_rate_hz: Samples per second.
        samples: Length of the window.
        envelope_band_hz: The demodulated band; by default that of `default_envelope_band_hz`.

    Returns:
        ENVELOPE_BAND_COUNT + 1 edges in Hz, geometric from the window's second line (at least 2 Hz) to half
        the band's width, at most 1 kHz. Windows too short for an octave in between use all that is below
        half the band's width.
    """
    _check_size(sample_rate_hz, samples)
    band_hz = envelope_band_hz or default_envelope_band_hz(sample_rate_hz, samples)
    first, last = band_lines(samples, sample_rate_hz, band_hz)
    line_hz = sample_rate_hz / samples
    half_width_hz = _envelope_points(first, last) * line_hz / 2.0
    low_hz, high_hz = max(2.0 * line_hz, 2.0), min(1000.0, half_width_hz)
    if high_hz < 2.0 * low_hz:
        low_hz, high_hz = min(low_hz, half_width_hz / 4.0), half_width_hz
    return _geometric(low_hz, high_hz, ENVELOPE_BAND_COUNT)


class FeatureKernel:
    """Calculates the feature vector of captures of one shape, a block at a time, in memory taken once.

    One forward transform per channel serves velocity, band powers and envelope (Parseval); the Hann window is
    applied to the lines (a three-line sum) instead of the samples. Everything is float32: against float64
    statistics differ by parts in 1e4, and the log powers of bands 110 dB below the strongest by less than 0.01.

    Conventions: the mean is removed. Velocity is Hann-windowed, over `velocity_band_hz`. Band powers are mean
    squares in g² (Hann), `log10(power + 1e-12)`; band edges that fall inside a line share the line out. The
    envelope is that of `envelope_band_hz`; envelope_rms_g is without its mean, envelope_peak_g its largest
    value. Band RMS is of the bands that begin at WIDE_BAND_EDGES_HZ, Hann-windowed; 0 where the rate does not reach
    a band. A constant channel gives zero statistics and floor powers, all finite. A channel with a sample
    that is not finite gives NaN in all its features: a missing value is never a number.

    Not for use by two threads at once; give each its own.

    Args:
        sample_rate_hz: Samples per second.
        samples: Length of every capture, at least 32.
        channels: Channels of every capture.
        block: Captures calculated at once; 8 keeps the workspace in the processor's cache.
        envelope_band_hz: Demodulated band; by default that of `default_envelope_band_hz`.

    Attributes:
        band_edges_hz: Edges of the spectral bands.
        envelope_band_hz: Demodulated band as used.
        envelope_band_edges_hz: Edges of the envelope's bands.
        velocity_band_hz: 10 to 1000 Hz, cut at the first line and at half the sample rate. Where nothing of
            it is left, all there is: a zone must not be judged from a velocity whose band is not the
            standard's.
        slow_velocity_band_hz: The same from 2 Hz, for machines below 600 rpm.

    Raises:
        BandError: The envelope's band does not fit the rate or the length.
        WindowError: Rate, length, channels or block cannot be.
    """

    def __init__(
        self,
        *,
        sample_rate_hz: float,
        samples: int,
        channels: int,
        block: int = 8,
        envelope_band_hz: tuple[float, float] | None = None,
    ) -> None:
        _check_size(sample_rate_hz, samples)
        if channels < 1 or block < 1:
            raise WindowError(f"{channels} channels in blocks of {block} captures, at least 1 of each expected")
        self.sample_rate_hz = sample_rate_hz
        self.samples = samples
        self.channels = channels
        self.block = block
        self.band_edges_hz = band_edges_hz(sample_rate_hz, samples)
        band_hz = envelope_band_hz or default_envelope_band_hz(sample_rate_hz, samples)
        self.envelope_band_edges_hz = envelope_band_edges_hz(sample_rate_hz, samples, band_hz)
        self._first, last = band_lines(samples, sample_rate_hz, band_hz)
        self._points = _envelope_points(self._first, last)
        line_hz = sample_rate_hz / samples
        self.envelope_band_hz = (self._first * line_hz, (self._first + self._points) * line_hz)

        self.velocity_band_hz = _velocity_band_hz(ISO_BAND_HZ, line_hz, sample_rate_hz / 2.0)
        self.slow_velocity_band_hz = _velocity_band_hz(SLOW_ISO_BAND_HZ, line_hz, sample_rate_hz / 2.0)
        self._velocity_lines, self._velocity_weights = _velocity_weights(
            samples, sample_rate_hz, (self.velocity_band_hz, self.slow_velocity_band_hz)
        )
        # 2/n² single-sided, 3/8 the mean square of Hann, 1/16 for the unscaled three-line sum.
        self._power_scale = np.float32(2.0 / (0.375 * 16.0 * samples**2))
        self._envelope_power_scale = np.float32(2.0 / (0.375 * 16.0 * self._points**2))
        self._envelope_scale = np.float32(2.0 * self._points / samples)
        interior_lines = samples // 2 - 1
        self._shares = _LineShares(self.band_edges_hz / line_hz, interior_lines)
        envelope_lines = min(self._points // 2 - 1, int(np.ceil(self.envelope_band_edges_hz[-1] / line_hz)) + 1)
        self._envelope_lines = envelope_lines
        self._envelope_shares = _LineShares(self.envelope_band_edges_hz / line_hz, envelope_lines)
        self._wide_bands = _WideBands(self.band_edges_hz, line_hz, interior_lines)

        rows = block * channels
        self._x = np.empty((rows, samples), np.float32)
        self._square = np.empty((rows, samples), np.float32)
        self._hann = np.empty((rows, 2 * interior_lines), np.float32)
        self._curve = np.empty((rows, self._points), np.float32)
        self._envelope_hann = np.empty((rows, 2 * envelope_lines), np.float32)

    def run(
        self,
        captures: Sequence[NDArray[np.int16] | Float32Array | FloatArray],
        scale_g: FloatArray | Float32Array,
    ) -> Float32Array:
        """Calculate the features of captures.

        Args:
            captures: Raw samples, each of shape (channels, samples); counts, or any float unit.
            scale_g: g per count, shape (channels,) for all captures or (captures, channels) for each.

        Returns:
            Features in the order of FEATURE_NAMES, shape (captures, channels, features).

        Raises:
            WindowError: A capture or the scale has another shape than this kernel was made for.
        """
        scale = np.asarray(scale_g, dtype=np.float32)
        if scale.shape not in {(self.channels,), (len(captures), self.channels)}:
            raise WindowError(
                f"scale has shape {scale.shape}, ({self.channels},) or ({len(captures)}, {self.channels}) expected"
            )
        scale = np.broadcast_to(scale, (len(captures), self.channels))[:, :, None]
        for capture in captures:
            if capture.shape != (self.channels, self.samples):
                raise WindowError(
                    f"capture has shape {capture.shape}, ({self.channels}, {self.samples}) expected; "
                    "check the point's sample rate and capture length"
                )
        features = np.empty((len(captures), self.channels, len(FEATURE_NAMES)), np.float32)
        rows = features.reshape(-1, len(FEATURE_NAMES))
        with np.errstate(invalid="ignore", over="ignore"):  # NaN in, NaN out, by contract
            for start in range(0, len(captures), self.block):
                stop = min(start + self.block, len(captures))
                for number in range(start, stop):
                    first = (number - start) * self.channels
                    np.multiply(
                        captures[number],
                        scale[number],
                        out=self._x[first : first + self.channels],
                        casting="unsafe",
                    )
                self._run_block(rows[start * self.channels : stop * self.channels])
        return features

    def _run_block(self, out: Float32Array) -> None:
        rows = len(out)
        x, square = self._x[:rows], self._square[:rows]
        mean = x.mean(axis=-1, keepdims=True)
        x -= mean
        _write_statistics(x, square, mean[:, 0], out)

        lines = scipy.fft.rfft(x, axis=-1)
        hann = _hann_power(lines, self._hann[:rows])
        velocity_power = hann[:, 2 * self._velocity_lines.start : 2 * self._velocity_lines.stop]
        out[:, [0, 8]] = np.sqrt(velocity_power @ self._velocity_weights)
        band_power = self._shares.sum(hann)
        out[:, WIDE_BANDS] = np.sqrt(self._wide_bands.sum(hann, band_power) * self._power_scale)
        out[:, BANDS] = _log_power(band_power, self._power_scale)

        analytic = scipy.fft.ifft(lines[:, self._first : self._first + self._points], axis=-1)
        parts = analytic.view(np.float32)
        np.multiply(parts, parts, out=parts)
        curve = np.add(parts[:, 0::2], parts[:, 1::2], out=self._curve[:rows])
        mean_square = curve.mean(axis=-1)
        np.sqrt(curve, out=curve)
        out[:, 7] = curve.max(axis=-1) * self._envelope_scale
        envelope_lines = scipy.fft.rfft(curve, axis=-1)
        level = envelope_lines[:, 0].real / np.float32(self._points)
        out[:, 6] = np.sqrt(np.maximum(mean_square - level * level, 0.0)) * self._envelope_scale
        envelope_lines[:, 0] = 0.0
        kept = envelope_lines[:, : self._envelope_lines + 2]
        envelope_hann = _hann_power(kept, self._envelope_hann[:rows])
        scale = self._envelope_power_scale * self._envelope_scale * self._envelope_scale
        out[:, ENVELOPE_BANDS] = _log_power(self._envelope_shares.sum(envelope_hann), scale)


class _LineShares:
    """Sums line powers into bands whose edges fall inside lines.

    Line k stands for k - 1/2 to k + 1/2; the powers come as two floats per line (real and imaginary part
    squared), lines 1 to `lines`.
    """

    def __init__(self, edges_in_lines: FloatArray, lines: int) -> None:
        position = np.clip(edges_in_lines - 0.5, 0.0, float(lines))
        line = np.minimum(position.astype(np.intp), lines - 1)
        share = position - line
        self._edge_lines = line
        # A band holds the rest of its first line, all lines between, and the beginning of its last.
        one_line = line[1:] == line[:-1]
        from_first = np.where(one_line, share[1:] - share[:-1], 1.0 - share[:-1])
        self._from_first = from_first.astype(np.float32)
        self._from_last = np.where(one_line, 0.0, share[1:]).astype(np.float32)
        starts, stops = line[:-1] + 1, line[1:]
        self._has_between = stops > starts
        self._indices = np.stack([2 * starts, 2 * stops], axis=1)[self._has_between].ravel()

    def sum(self, parts: Float32Array) -> Float32Array:
        edge = parts[:, 2 * self._edge_lines] + parts[:, 2 * self._edge_lines + 1]
        power = edge[:, :-1] * self._from_first + edge[:, 1:] * self._from_last
        if self._indices.size:
            power[:, self._has_between] += np.add.reduceat(parts, self._indices, axis=-1)[:, ::2]
        return power


class _WideBands:
    """Sums narrow bands into wide ones; of a narrow band that an edge cuts, the lines on either side of it."""

    def __init__(self, edges_hz: FloatArray, line_hz: float, lines: int) -> None:
        self._whole = np.zeros((BAND_COUNT, len(WIDE_BAND_EDGES_HZ)), np.float32)
        self._cut: list[tuple[int, slice, Float32Array]] = []
        number = np.arange(1, lines + 1)
        for wide, ends_hz in enumerate(pairwise((*WIDE_BAND_EDGES_HZ, np.inf))):
            for narrow, edges in enumerate(pairwise(edges_hz.tolist())):
                low_hz, high_hz = max(edges[0], ends_hz[0]), min(edges[1], ends_hz[1])
                if (low_hz, high_hz) == edges:
                    self._whole[narrow, wide] = 1.0
                elif low_hz < high_hz:
                    upper, lower = (
                        np.minimum(number + 0.5, high_hz / line_hz),
                        np.maximum(number - 0.5, low_hz / line_hz),
                    )
                    share = np.clip(upper - lower, 0.0, 1.0)
                    kept = np.flatnonzero(share)
                    if kept.size:
                        first, stop = int(kept[0]), int(kept[-1]) + 1
                        weights = np.repeat(share[first:stop], 2).astype(np.float32)
                        self._cut.append((wide, slice(2 * first, 2 * stop), weights))

    def sum(self, hann: Float32Array, band_power: Float32Array) -> Float32Array:
        power: Float32Array = band_power @ self._whole
        for wide, lines, weights in self._cut:
            power[:, wide] += hann[:, lines] @ weights
        return power


def _write_statistics(x: Float32Array, square: Float32Array, mean: Float32Array, out: Float32Array) -> None:
    samples = np.float32(x.shape[-1])
    np.multiply(x, x, out=square)
    variance = np.vecdot(x, x) / samples
    third = np.vecdot(square, x) / samples
    fourth = np.vecdot(square, square) / samples
    rounding = mean * np.float32(2.0**-22)
    constant = variance <= np.maximum(rounding * rounding, np.float32(CONSTANT_G2))
    safe = np.where(constant, np.float32(1.0), variance)
    deviation = np.sqrt(safe)
    peak = np.maximum(x.max(axis=-1), -x.min(axis=-1))
    out[:, 1] = deviation
    out[:, 2] = peak
    out[:, 3] = peak / deviation
    out[:, 4] = fourth / (safe * safe)
    out[:, 5] = third / (safe * deviation)
    out[constant, 1:6] = 0.0


def _hann_power(lines: NDArray[np.complexfloating], out: Float32Array) -> Float32Array:
    """Write the squared parts of 2X[k] - X[k-1] - X[k+1], four times the Hann-windowed lines."""
    parts = np.ascontiguousarray(lines).view(np.float32)
    width = out.shape[-1]
    middle = parts[:, 2 : 2 + width]
    np.add(parts[:, :width], parts[:, 4 : 4 + width], out=out)
    out -= middle
    out -= middle
    return np.multiply(out, out, out=out)


def _log_power(power: Float32Array, scale: np.float32) -> Float32Array:
    power *= scale
    power += np.float32(POWER_FLOOR_G2)
    return np.log10(power)


def _velocity_band_hz(wanted_hz: tuple[float, float], line_hz: float, half_hz: float) -> tuple[float, float]:
    low_hz, high_hz = max(wanted_hz[0], line_hz), min(wanted_hz[1], half_hz)
    return (low_hz, high_hz) if low_hz < high_hz else (line_hz, half_hz)


def _velocity_weights(
    samples: int, sample_rate_hz: float, bands_hz: Sequence[tuple[float, float]]
) -> tuple[slice, Float32Array]:
    """The lines in any of the bands, and what each of their parts adds to the square of each band's velocity."""
    weights = np.stack([band_weights(samples, sample_rate_hz, band_hz)[1:-1] for band_hz in bands_hz], axis=1)
    kept = np.flatnonzero(weights.any(axis=1))
    lines = slice(int(kept[0]), int(kept[-1]) + 1)
    omega = 2.0 * np.pi * sample_rate_hz / samples * np.arange(1, len(weights) + 1)
    per_line = weights * ((G_MM_S2 / omega) ** 2 * 2.0 / (0.375 * 16.0 * samples**2))[:, None]
    return lines, np.repeat(per_line[lines], 2, axis=0).astype(np.float32)


def _envelope_points(first: int, last: int) -> int:
    return max(int(scipy.fft.prev_fast_len(last - first)), MIN_ENVELOPE_LINES)


def _geometric(low_hz: float, high_hz: float, bands: int) -> FloatArray:
    edges: FloatArray = np.geomspace(low_hz, high_hz, bands + 1)
    return edges


def _check_size(sample_rate_hz: float, samples: int) -> None:
    if not (np.isfinite(sample_rate_hz) and sample_rate_hz > 0.0):
        raise WindowError(f"sample rate is {sample_rate_hz} Hz, finite and above 0 expected")
    if samples < MIN_SAMPLES:
        raise WindowError(f"window has {samples} samples, at least {MIN_SAMPLES} expected")
