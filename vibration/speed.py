"""This file knows how to read a shaft's speed from vibration alone, and how sure it may be.

A comb of harmonics is laid over the low band of the spectrum for every speed in question. A speed is believed when
its own harmonics stand out, when the places between them do not (else it is twice or three times the true speed),
and when no other speed explains nearly as much.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.fft

from vibration.errors import SpeedError
from vibration.spectrum import FloatArray, checked_window, interpolate_peak, noise_floor
from vibration.units import hz_to_rpm, rpm_to_hz
from vibration.windows import make_window

HARMONICS = 8

HARMONIC_WEIGHTS = np.array([1.0, 1.0, 0.8, 0.7, 0.6, 0.5, 0.5, 0.4])
"""Machines speak at 1x and 2x first; higher harmonics support, they do not decide."""

CLIP_RATIO = 30.0
"""A line counts no more than at 30 times its floor: one loud line must not outvote a family."""

BELIEVED = 0.5
"""Confidence from which the signal is taken over the nameplate."""

NAMEPLATE_SHARE = 0.08
"""Within this share of the nameplate's speed (slip, and a little more) a speed is favoured."""

NAMEPLATE_BONUS = 1.6
CANDIDATES_PER_LINE = 4
MAX_CANDIDATES = 20_000
MIN_TURNS = 3.0
"""Turns of the slowest speed the window must hold to be searched for it."""


@dataclass(frozen=True)
class SpeedEstimate:
    """A shaft's speed and where it comes from.

    Attributes:
        rpm: Revolutions a minute; None if neither signal nor nameplate says it.
        confidence: 0 to 1, how far the signal supports its own best speed. Below 0.5 that speed is not used.
        source: "signal", "nameplate", or "none".
        reason: One sentence.
    """

    rpm: float | None
    confidence: float
    source: Literal["signal", "nameplate", "none"]
    reason: str


def estimate_speed(
    acceleration_g: FloatArray,
    sample_rate_hz: float,
    *,
    rpm_range: tuple[float, float],
    nameplate_rpm: float | None = None,
) -> SpeedEstimate:
    """Estimate the shaft's speed.

    Args:
        acceleration_g: One window of samples, shape (n,), in g.
        sample_rate_hz: Samples per second.
        rpm_range: Lowest and highest speed in question; the narrower, the surer.
        nameplate_rpm: Speed to favour, and to fall back to.

    Returns:
        The estimate. With a confidence below 0.5 the nameplate's speed is returned and the source says so; without a
        nameplate the speed is None.

    Raises:
        SpeedError: The range is empty or holds a speed that is not above 0.
        WindowError: Shape, length, rate or content cannot be transformed.
    """
    low_rpm, high_rpm = rpm_range
    if not 0.0 < low_rpm < high_rpm < math.inf:
        raise SpeedError(f"speed range is {low_rpm:g} to {high_rpm:g} rpm, rising and above 0 expected")
    samples = checked_window(acceleration_g, sample_rate_hz)
    length_s = samples.size / sample_rate_hz
    low_hz = max(rpm_to_hz(low_rpm), MIN_TURNS / length_s)
    high_hz = min(rpm_to_hz(high_rpm), sample_rate_hz / 4.0)
    if low_hz >= high_hz:
        why = f"{length_s:g} s at {sample_rate_hz:g} samples/s hold too few turns of {low_rpm:g} to {high_rpm:g} rpm"
        return _fall_back(0.0, nameplate_rpm, why)
    heights, magnitude, line_hz = _line_heights(samples, sample_rate_hz, highest_hz=HARMONICS * high_hz * 1.1)
    count = min(MAX_CANDIDATES, math.ceil((high_hz - low_hz) * HARMONICS / line_hz * CANDIDATES_PER_LINE / 2) + 2)
    candidates_hz = np.linspace(low_hz, high_hz, count)
    support, scores = _scores(heights, line_hz, candidates_hz)
    favoured = scores.copy()
    if nameplate_rpm is not None:
        near = np.abs(candidates_hz / rpm_to_hz(nameplate_rpm) - 1.0) <= NAMEPLATE_SHARE
        favoured[near] *= NAMEPLATE_BONUS
    best = int(np.argmax(favoured))
    confidence = _confidence(favoured, support, candidates_hz, best, line_hz)
    rpm = hz_to_rpm(_refine(heights, magnitude, line_hz, float(candidates_hz[best])))
    if confidence < BELIEVED:
        return _fall_back(confidence, nameplate_rpm, f"no family of harmonics stands out (best guess {rpm:.0f} rpm)")
    return SpeedEstimate(rpm, confidence, "signal", f"harmonics of {rpm:.0f} rpm stand out of the spectrum")


def _fall_back(confidence: float, nameplate_rpm: float | None, why: str) -> SpeedEstimate:
    if nameplate_rpm is None:
        return SpeedEstimate(None, confidence, "none", f"{why}, and no nameplate speed is known")
    return SpeedEstimate(
        nameplate_rpm, confidence, "nameplate", f"{why}; the nameplate's {nameplate_rpm:g} rpm is used"
    )


def _line_heights(
    samples: FloatArray, sample_rate_hz: float, *, highest_hz: float
) -> tuple[FloatArray, FloatArray, float]:
    """Return how high every line stands above its floor (0 to 1, logarithmic), its magnitude, and the spacing."""
    padded = scipy.fft.next_fast_len(2 * samples.size, real=True)
    window = make_window("hann", samples.size)
    magnitude = np.abs(scipy.fft.rfft(samples * window.values, padded))
    line_hz = sample_rate_hz / padded
    magnitude = magnitude[: math.ceil(highest_hz / line_hz) + 8]
    floor = noise_floor(magnitude, half_width_lines=max(12, min(100, magnitude.size // 8)))
    # A spectrum of bare lines has no floor; a ten-thousandth of the loudest is as good as silence.
    floor = np.maximum(floor, max(float(magnitude.max()) * 1e-4, np.finfo(np.float64).tiny))
    ratio = np.clip(magnitude / (3.0 * floor), 1.0, CLIP_RATIO / 3.0)
    return np.log(ratio) / math.log(CLIP_RATIO / 3.0), magnitude, line_hz


def _scores(heights: FloatArray, line_hz: float, candidates_hz: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return, for every speed, the weighted height of its harmonics, and the score after what speaks against it."""
    harmonics = np.arange(1, HARMONICS + 1)
    places = np.outer(candidates_hz, harmonics) / line_hz
    weights = np.where(places < heights.size - 1, HARMONIC_WEIGHTS, 0.0)
    lines = np.arange(heights.size)
    at_harmonics = np.interp(places, lines, heights)
    support = (at_harmonics * weights).sum(axis=1) / HARMONIC_WEIGHTS.sum()
    # Lines at halves and thirds mean that the true speed is a half or a third of this one.
    against = np.zeros_like(support)
    for parts in (2, 3):
        between = np.array([part / parts for part in range(1, 3 * parts) if part % parts])
        found = np.interp(np.outer(candidates_hz, between) / line_hz, lines, heights)
        against = np.maximum(against, found.mean(axis=1))
    # A sixth of the true speed also hits every line, with most of its own harmonics empty; its first ones most of all.
    first = 0.5 * (at_harmonics[:, 0] + at_harmonics[:, 1])
    return support, np.clip(support - 0.8 * against, 0.0, None) * (0.3 + 0.7 * np.sqrt(first))


def _confidence(scores: FloatArray, support: FloatArray, candidates_hz: FloatArray, best: int, line_hz: float) -> float:
    """Return 0 to 1 from how much the best speed is supported and how far the next one is behind."""
    if scores[best] <= 0.0:
        return 0.0
    apart = np.abs(candidates_hz - candidates_hz[best]) > max(0.03 * candidates_hz[best], 3.0 * line_hz)
    rival = float(scores[apart].max(initial=0.0)) / float(scores[best])
    supported = min(1.0, max(0.0, (float(support[best]) - 0.12) / 0.2))
    alone = min(1.0, max(0.0, (1.0 - rival) / 0.4))
    return math.sqrt(supported * alone)


def _refine(heights: FloatArray, magnitude: FloatArray, line_hz: float, speed_hz: float) -> float:
    """Return the weighted median of the speeds that the standing harmonics say, each read between the lines."""
    said: list[tuple[float, float]] = []
    for harmonic in range(1, HARMONICS + 1):
        centre = round(harmonic * speed_hz / line_hz)
        if centre + 3 >= heights.size:
            break
        top = max(2, centre - 2)
        top += int(np.argmax(magnitude[top : centre + 3]))
        height = float(heights[top])
        if height > 0.0:
            shift, _ = interpolate_peak(magnitude[top - 1 : top + 2], "flattop")  # any padded window: a parabola
            # The n-th harmonic shows the speed n times as finely; a line near the floor may be chance.
            said.append(((top + shift) * line_hz / harmonic, height * height * math.sqrt(harmonic)))
    said.sort()
    half = sum(weight for _, weight in said) / 2.0
    for refined_hz, weight in said:
        half -= weight
        if half <= 0.0:
            return refined_hz
    return speed_hz
