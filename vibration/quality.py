"""This file knows whether a capture can be believed: what a broken, loose or overdriven sensor looks like.

Rules are strict: a good capture called bad silences an alarm. A sample at the edge of the number format is not
clipping (recordings are often scaled to fill it); clipping is a flat top with steep shoulders.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from vibration.errors import WindowError
from vibration.spectrum import FloatArray
from vibration.windows import make_window

Verdict = Literal["ok", "non_finite", "stuck", "saturated", "ski_slope", "mains_hum", "loose"]

SEVERITY: tuple[Verdict, ...] = ("non_finite", "stuck", "saturated", "loose", "ski_slope", "mains_hum", "ok")
"""Worst first: the worst channel's verdict is the capture's."""

FLAT_TOP_SAMPLES = 3
"""Equal extreme samples in a row; a smooth top has at most two, unless its shoulders are one count lower."""

FLAT_SAMPLES = 6
"""Samples in flat tops from which a capture is overdriven: one flat top of three happens by chance at 200 Hz."""

WAVEFORM_MIN_HZ = 50.0
"""Below this rate the samples are a process signal, which may well stand still, drift or sit at its limit."""

STEEP_SHOULDER_COUNTS = 4.0
"""A coarse but unclipped top falls by at most three counts beside its flat part, whatever its length."""

RAIL_SHARE = 0.001
"""Share of samples at a sensor's known full scale from which it is overdriven, even if its top is not flat."""

STUCK_SHARE = 0.25
"""Longest run of equal samples, as a share of the window, from which a moving channel is called stuck."""

DRIFT_SHARE = 0.9
"""Share of the variance that a parabola over the window explains, from which there is only drift."""

DRIFT_MIN_S = 1.0
"""A shorter window may hold less than a turn of a slow machine, which looks like drift."""

HUM_SHARE = 0.8
"""Share of the power in mains frequency and its harmonics, from which there is only hum."""

HUM_MIN_S = 2.0
"""A shorter window cannot tell mains frequency from a two-pole motor's speed."""

MAINS_HZ = (50.0, 60.0)

LOOSE_HIGH_DROP = 0.05
"""High-frequency RMS below this share of the baseline's, while the low grows, means that the mounting let go."""

LOOSE_LOW_GROWTH = 2.0

GLANCE = 8
"""Captures looked at together: some hundred kilobytes, which stay in a core's own cache."""

HIGH_BAND_SHARE = 0.25
"""The "high" band begins at this share of half the sample rate."""


@dataclass(frozen=True)
class ChannelBaseline:
    """What a channel showed when it was known to be mounted well.

    Attributes:
        low_rms: RMS below a quarter of half the sample rate, in the unit of the samples then assessed.
        high_rms: RMS above that.
    """

    low_rms: float
    high_rms: float


@dataclass(frozen=True)
class ChannelQuality:
    """One channel's verdict and the measured fact behind it."""

    verdict: Verdict
    detail: str


@dataclass(frozen=True)
class Quality:
    """A capture's verdict: that of its worst channel.

    Attributes:
        verdict: "ok", or what is wrong.
        detail: One sentence naming the channel; empty if ok.
        channels: Each channel's own verdict.
    """

    verdict: Verdict
    detail: str
    channels: tuple[ChannelQuality, ...]

    @property
    def ok(self) -> bool:
        """Whether every channel can be believed."""
        return self.verdict == "ok"


def assess_quality(
    raw: NDArray[Any],
    *,
    sample_rate_hz: float,
    full_scale_counts: float | None = None,
    shaft_speed_hz: float | None = None,
    baseline: tuple[ChannelBaseline, ...] | None = None,
) -> Quality:
    """Say whether a capture can be believed.

    Args:
        raw: Samples as they came, shape (channels, samples); integers or floats in any unit.
        sample_rate_hz: Samples per second.
        full_scale_counts: The sensor's own range in the unit of `raw`, where known; not that of the number format.
        shaft_speed_hz: Where known, keeps a machine that turns at mains frequency from being called hum.
        baseline: One entry per channel, as `measure_baseline` gave it; without it a loose sensor is not looked for.

    Returns:
        The verdict. A channel that is constant or holds a sample that is not finite is never ok.

    Raises:
        WindowError: `raw` is not (channels, samples), is empty, or the rate is not above 0.
    """
    if raw.ndim != 2 or 0 in raw.shape:
        raise WindowError(f"capture has shape {raw.shape}, (channels, samples) expected")
    if not (np.isfinite(sample_rate_hz) and sample_rate_hz > 0.0):
        raise WindowError(f"sample rate is {sample_rate_hz} Hz, finite and above 0 expected")
    if baseline is not None and len(baseline) != raw.shape[0]:
        raise WindowError(f"baseline has {len(baseline)} channels, {raw.shape[0]} expected")
    channels = tuple(
        _assess_channel(
            raw[number],
            sample_rate_hz,
            full_scale_counts=full_scale_counts,
            shaft_speed_hz=shaft_speed_hz,
            baseline=None if baseline is None else baseline[number],
        )
        for number in range(raw.shape[0])
    )
    worst = min(range(len(channels)), key=lambda number: SEVERITY.index(channels[number].verdict))
    verdict = channels[worst].verdict
    detail = "" if verdict == "ok" else f"channel {worst}: {channels[worst].detail}"
    return Quality(verdict, detail, channels)


@functools.cache
def all_ok(channels: int) -> Quality:
    """The verdict on a capture with nothing wrong."""
    return Quality("ok", "", (ChannelQuality("ok", ""),) * channels)


def measure_baseline(raw: NDArray[Any]) -> tuple[ChannelBaseline, ...]:
    """Measure what a well mounted sensor shows, one entry per channel, for later captures of the same rate."""
    return tuple(_levels(np.asarray(channel, dtype=np.float64)) for channel in raw)


def beyond_doubt(
    captures: Sequence[NDArray[Any]], *, sample_rate_hz: float, full_scale_counts: Sequence[float | None]
) -> NDArray[np.bool_]:
    """Say of which captures `assess_quality` would find nothing wrong, many at a glance.

    The glance is all that an ordinary capture costs. It looks for what no doubt can begin without: many equal
    neighbours, three equal extremes in a row, a sample near full scale.

    Args:
        captures: Each of shape (channels, samples), all of one shape and type.
        sample_rate_hz: Samples per second.
        full_scale_counts: Of each capture, as for `assess_quality`.

    Returns:
        Shape (captures,). What is not beyond doubt may still be ok.
    """
    doubted = np.zeros(len(captures), np.bool_)
    samples = captures[0].shape[1]
    if captures[0].dtype.kind not in "iu" or samples >= min(DRIFT_MIN_S, HUM_MIN_S) * sample_rate_hz:
        return doubted
    found = [
        _glance(np.stack(captures[start : start + GLANCE]), full_scale_counts[start : start + GLANCE])
        for start in range(0, len(captures), GLANCE)
    ]
    return np.concatenate(found)


def _glance(raw: NDArray[Any], full_scale_counts: Sequence[float | None]) -> NDArray[np.bool_]:
    """`beyond_doubt` of integers (captures, channels, samples)."""
    samples = raw.shape[2]
    rail = np.array([np.inf if scale is None else 0.999 * scale for scale in full_scale_counts])
    low, high = raw.min(axis=2), raw.max(axis=2)
    fine: NDArray[np.bool_] = (low < high).all(axis=1) & (high.max(axis=1) < rail) & (low.min(axis=1) > -rail)
    again = raw[:, :, 1:] == raw[:, :, :-1]
    for number in range(len(raw)):
        fine[number] &= np.count_nonzero(again[number]) <= STUCK_SHARE * samples
    thrice = np.flatnonzero(again[:, :, 1:] & again[:, :, :-1])
    if thrice.size:
        row, place = np.divmod(thrice, samples - 2)
        held = raw.reshape(-1, samples)[row, place]
        extreme = (held == low.ravel()[row]) | (held == high.ravel()[row])
        fine[row[extreme] // raw.shape[1]] = False
    return fine


def _assess_channel(
    raw: NDArray[Any],
    sample_rate_hz: float,
    *,
    full_scale_counts: float | None,
    shaft_speed_hz: float | None,
    baseline: ChannelBaseline | None,
) -> ChannelQuality:
    if raw.dtype.kind == "f":
        bad = raw.size - int(np.count_nonzero(np.isfinite(raw)))
        if bad:
            return ChannelQuality("non_finite", f"{bad} of {raw.size} samples are not finite")
    low, high = raw.min(), raw.max()
    if low == high:
        return ChannelQuality("stuck", f"all {raw.size} samples are {float(low):g}")
    if sample_rate_hz < WAVEFORM_MIN_HZ:
        return ChannelQuality("ok", "")
    run = _longest_run(raw)
    if run > STUCK_SHARE * raw.size and float(high) - float(low) > 16.0 * _count_size(raw):
        return ChannelQuality("stuck", f"{run} equal samples in a row of {raw.size}")
    flat = _flat_samples(raw, low) + _flat_samples(raw, high)
    if flat >= FLAT_SAMPLES:
        return ChannelQuality("saturated", f"{flat} samples in flat tops of {FLAT_TOP_SAMPLES} or more equal ones")
    if full_scale_counts is not None:
        at_rail = int(np.count_nonzero((raw >= 0.999 * full_scale_counts) | (raw <= -0.999 * full_scale_counts)))
        if at_rail > RAIL_SHARE * raw.size:
            return ChannelQuality("saturated", f"{at_rail} of {raw.size} samples at full scale")
    return _assess_shape(raw.astype(np.float64), sample_rate_hz, shaft_speed_hz, baseline)


def _assess_shape(
    samples: FloatArray, sample_rate_hz: float, shaft_speed_hz: float | None, baseline: ChannelBaseline | None
) -> ChannelQuality:
    if baseline is not None:
        now = _levels(samples)
        lost_high = now.high_rms < LOOSE_HIGH_DROP * baseline.high_rms
        if lost_high and now.low_rms > LOOSE_LOW_GROWTH * baseline.low_rms:
            drop, growth = now.high_rms / baseline.high_rms, now.low_rms / max(baseline.low_rms, 1e-300)
            return ChannelQuality(
                "loose", f"high frequencies at {drop:.1%} of the baseline, low ones {growth:.1f}-fold"
            )
    length_s = samples.size / sample_rate_hz
    if length_s >= DRIFT_MIN_S:
        share = _drift_share(samples)
        if share >= DRIFT_SHARE:
            return ChannelQuality("ski_slope", f"{share:.0%} of the power is slow drift over {length_s:g} s")
    if length_s >= HUM_MIN_S:
        for mains_hz in MAINS_HZ:
            share = _hum_share(samples, sample_rate_hz, mains_hz)
            turning = shaft_speed_hz is not None and abs(shaft_speed_hz / mains_hz - 1.0) < 0.02
            if share >= HUM_SHARE and not turning:
                return ChannelQuality("mains_hum", f"{share:.0%} of the power at {mains_hz:g} Hz and its harmonics")
    return ChannelQuality("ok", "")


def _longest_run(raw: NDArray[Any]) -> int:
    changes = np.flatnonzero(raw[1:] != raw[:-1])
    if changes.size >= raw.size * (1.0 - STUCK_SHARE):  # the ordinary case; too many changes for a long run
        return 1
    return int(np.diff(np.concatenate([[-1], changes, [raw.size - 1]])).max())


def flat_top_samples(raw: NDArray[Any]) -> int:
    """Count the samples of a channel, shape (n,), in flat tops at either extreme."""
    low, high = raw.min(), raw.max()
    return 0 if low == high else _flat_samples(raw, low) + _flat_samples(raw, high)


def _count_size(raw: NDArray[Any]) -> float:
    """Return the smallest step between two values that occur."""
    return float(np.diff(np.unique(raw).astype(np.float64)).min())


def _flat_samples(raw: NDArray[Any], extreme: Any) -> int:
    """Count the samples in runs at an extreme value that are long and have steep shoulders."""
    at = np.flatnonzero(raw == extreme)
    if at.size < FLAT_TOP_SAMPLES:
        return 0
    breaks = np.flatnonzero(np.diff(at) > 1)
    firsts = at[np.concatenate([[0], breaks + 1])]
    lasts = at[np.concatenate([breaks, [at.size - 1]])]
    long = lasts - firsts + 1 >= FLAT_TOP_SAMPLES
    if not long.any():
        return 0
    firsts, lasts = firsts[long], lasts[long]
    inside = (firsts > 0) & (lasts < raw.size - 1)
    before = np.abs(raw[firsts[inside] - 1].astype(np.float64) - float(extreme))
    after = np.abs(raw[lasts[inside] + 1].astype(np.float64) - float(extreme))
    steep = (before + after) / 2.0 > STEEP_SHOULDER_COUNTS * _count_size(raw)
    return int((lasts - firsts + 1)[inside][steep].sum())


def _drift_share(samples: FloatArray) -> float:
    """Return the share of the variance that a parabola explains."""
    centred = samples - samples.mean()
    total = float(centred @ centred)
    place = np.linspace(-1.0, 1.0, samples.size)
    explained = 0.0
    for shape in (place, place**2 - np.mean(place**2)):
        explained += float(centred @ shape) ** 2 / float(shape @ shape)
    return explained / total if total > 0.0 else 0.0


def _hum_share(samples: FloatArray, sample_rate_hz: float, mains_hz: float) -> float:
    """Return the share of the power in lines within 0.2 % (or two lines) of mains frequency's harmonics."""
    window = make_window("hann", samples.size)
    lines = scipy.fft.rfft((samples - samples.mean()) * window.values)
    power = lines.real**2 + lines.imag**2
    line_hz = sample_rate_hz / samples.size
    fundamental = hum = 0.0
    for harmonic in range(1, int(sample_rate_hz / 2.0 / mains_hz) + 1):
        place = harmonic * mains_hz / line_hz
        reach = max(2.0, 0.002 * place)
        part = float(power[max(0, int(np.ceil(place - reach))) : int(place + reach) + 1].sum())
        fundamental = part if harmonic == 1 else fundamental
        hum += part
        if harmonic == 9:
            break
    total = float(power.sum())
    # Without the fundamental it is a machine's 2 x line frequency, which is no sensor's fault.
    return hum / total if total > 0.0 and fundamental > 0.3 * total else 0.0


def _levels(samples: FloatArray) -> ChannelBaseline:
    lines = scipy.fft.rfft(samples - samples.mean())
    power = (lines.real**2 + lines.imag**2) * (2.0 / samples.size**2)
    split = max(1, int(HIGH_BAND_SHARE * power.size))
    return ChannelBaseline(float(np.sqrt(power[:split].sum())), float(np.sqrt(power[split:].sum())))
