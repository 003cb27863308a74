"""This file knows the slow, obvious twin of every fast calculation: loops, float64, one formula a line."""

import cmath
import itertools
import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def without_mean(samples: FloatArray) -> list[float]:
    values = [float(value) for value in samples]
    mean = math.fsum(values) / len(values)
    return [value - mean for value in values]


def fourier_lines(values: list[float] | list[complex]) -> list[complex]:
    """Return the lines 0 to n // 2 by the definition of the transform."""
    n = len(values)
    return [
        sum(value * cmath.exp(-2j * math.pi * ((line * index) % n) / n) for index, value in enumerate(values))
        for line in range(n // 2 + 1)
    ]


def hann_powers(values: list[float]) -> list[float]:
    """Return the mean square each line stands for, Hann-windowed; the first and last line as zero."""
    n = len(values)
    windowed = [value * (0.5 - 0.5 * math.cos(2 * math.pi * i / n)) for i, value in enumerate(values)]
    powers = [2.0 * abs(line) ** 2 / (0.375 * n * n) for line in fourier_lines(windowed)]
    powers[0] = powers[-1] = 0.0
    return powers


def share_of_line(line: int, low: float, high: float) -> float:
    """Return how much of line - 1/2 to line + 1/2 lies between low and high, in lines."""
    return max(0.0, min(line + 0.5, high) - max(line - 0.5, low))


def band_power(powers: list[float], low: float, high: float) -> float:
    return math.fsum(power * share_of_line(line, low, high) for line, power in enumerate(powers) if line > 0)


def velocity_rms_mm_s(samples: FloatArray, sample_rate_hz: float, band_hz: tuple[float, float]) -> float:
    powers = hann_powers(without_mean(samples))
    line_hz = sample_rate_hz / len(samples)
    total = 0.0
    for line, power in enumerate(powers):
        if line > 0:
            share = share_of_line(line, band_hz[0] / line_hz, band_hz[1] / line_hz)
            total += share * power * (9806.65 / (2 * math.pi * line * line_hz)) ** 2
    return math.sqrt(total)


def statistics(samples: FloatArray) -> tuple[float, float, float, float, float]:
    """Return RMS, peak, crest factor, kurtosis and skewness."""
    values = without_mean(samples)
    n = len(values)
    variance = math.fsum(value**2 for value in values) / n
    rms = math.sqrt(variance)
    peak = max(abs(value) for value in values)
    kurtosis = math.fsum(value**4 for value in values) / n / variance**2
    skewness = math.fsum(value**3 for value in values) / n / rms**3
    return rms, peak, peak / rms, kurtosis, skewness


def envelope(samples: FloatArray, first_line: int, points: int) -> list[float]:
    """Return the magnitude of the band of `points` lines from `first_line`, moved to zero frequency."""
    lines = fourier_lines(without_mean(samples))[first_line : first_line + points]
    n = len(samples)
    curve = []
    for point in range(points):
        total = sum(
            line * cmath.exp(2j * math.pi * ((index * point) % points) / points) for index, line in enumerate(lines)
        )
        curve.append(2.0 / n * abs(total))
    return curve


def feature_vector(
    samples_g: FloatArray,
    *,
    sample_rate_hz: float,
    velocity_band_hz: tuple[float, float],
    slow_velocity_band_hz: tuple[float, float],
    wide_band_edges_hz: tuple[float, ...],
    band_edges_hz: FloatArray,
    first_line: int,
    points: int,
    envelope_band_edges_hz: FloatArray,
) -> list[float]:
    """Return the features of one channel, in the order of `vibration.features.FEATURE_NAMES`."""
    line_hz = sample_rate_hz / len(samples_g)
    powers = hann_powers(without_mean(samples_g))
    curve = envelope(samples_g, first_line, points)
    swing = without_mean(np.array(curve))
    envelope_powers = hann_powers(swing)
    features = [velocity_rms_mm_s(samples_g, sample_rate_hz, velocity_band_hz), *statistics(samples_g)]
    features += [math.sqrt(math.fsum(value**2 for value in swing) / points), max(curve)]
    features.append(velocity_rms_mm_s(samples_g, sample_rate_hz, slow_velocity_band_hz))
    first_hz, last_hz = float(band_edges_hz[0]), float(band_edges_hz[-1])
    for low, high in itertools.pairwise((*wide_band_edges_hz, math.inf)):
        inside = (max(low, first_hz) / line_hz, min(high, last_hz) / line_hz)
        features.append(math.sqrt(band_power(powers, *inside)) if inside[0] < inside[1] else 0.0)
    for edges, lines in ((band_edges_hz, powers), (envelope_band_edges_hz, envelope_powers)):
        for low, high in itertools.pairwise(edges.tolist()):
            features.append(math.log10(band_power(lines, low / line_hz, high / line_hz) + 1e-12))
    return features
