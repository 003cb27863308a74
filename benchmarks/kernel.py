"""This file knows how close the feature kernel comes to the transforms that nobody can leave out."""

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import scipy.fft

from benchmarks.figures import Figure
from vibration.features import FeatureKernel

BLOCK, CHANNELS, SAMPLES, RATE_HZ = 8, 3, 8192, 25_600.0
REPEATS = 5
ROUNDS = 60
SEED = 5
TARGET = 0.45
"""What a sketch of the blocked kernel reached, with fewer features; message by message with textbook filters: 0.005."""


def kernel_ratio_to_fft() -> Figure:
    """Time of the transforms a block needs, over the time of all its features.

    Needed are, an axis: one forward transform, one back for the envelope's band, one forward of the envelope.
    """
    chance = np.random.default_rng(SEED)
    counts = [chance.normal(0, 400, (CHANNELS, SAMPLES)).astype(np.int16) for _ in range(BLOCK)]
    scale_g = np.full((BLOCK, CHANNELS), 5e-4)
    kernel = FeatureKernel(sample_rate_hz=RATE_HZ, samples=SAMPLES, channels=CHANNELS)
    plain = np.stack(counts).reshape(-1, SAMPLES).astype(np.float32)
    low_hz, high_hz = kernel.envelope_band_hz
    points = round((high_hz - low_hz) * SAMPLES / RATE_HZ)
    lines = np.ones((BLOCK * CHANNELS, points), np.complex64)
    curve = np.abs(scipy.fft.ifft(lines, axis=-1)).astype(np.float32)

    def transforms() -> None:
        scipy.fft.rfft(plain, axis=-1)
        scipy.fft.ifft(lines, axis=-1)
        scipy.fft.rfft(curve, axis=-1)

    ours, others = [], []
    for _ in range(REPEATS):
        others.append(_seconds(transforms))
        ours.append(_seconds(lambda: kernel.run(counts, scale_g)))
    repeats = tuple(other / one for one, other in zip(ours, others, strict=True))
    return Figure("kernel_ratio_to_fft", median(repeats), "", TARGET, "above", median(ours), median(others), repeats,
                  f"block of {BLOCK} captures of {CHANNELS} x {SAMPLES}; sides in seconds a block")  # fmt: skip


def _seconds(work: Callable[[], object]) -> float:
    work()
    began_s = time.perf_counter()
    for _ in range(ROUNDS):
        work()
    return (time.perf_counter() - began_s) / ROUNDS
