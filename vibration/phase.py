"""This file knows how two axes of one sensor move against each other at a multiple of the shaft's speed.

A rotating force moves the radial axes a quarter turn apart; a point that moves on one line has them in step or half a
turn apart. The angle is read from the averaged cross-spectrum, with the coherence that says how far it can be believed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from vibration.errors import SpeedError, WindowError
from vibration.spectrum import FloatArray, checked_window
from vibration.windows import make_window

Motion = Literal["turning", "line", "between", "unclear"]

SEGMENT_TURNS = 8.0
"""Turns of the shaft in a segment: Hann then keeps the lines of half orders apart, and speed may drift a little."""

MIN_SEGMENTS = 4
"""Fewer segments are coherent by chance: noise alone reads a coherence of one over their number."""

OVERLAP = 0.5
INDEPENDENT_SHARE = 18.0 / 19.0
"""Of half-overlapping Hann segments: neighbours' powers correlate by 1/36 (Welch 1967)."""

BELIEVED_COHERENCE = 0.8
"""Below it the two axes follow different causes, or noise."""

WEAK_AXIS = 0.05
"""An axis that moves less than this share of the other takes no part: its angle means nothing."""

TURNING_DEG = (60.0, 120.0)
"""From a quarter turn, so much off is still taken for a rotating force: supports are stiffer one way than the other."""

LINE_DEG = 30.0
"""So far from 0 or 180 degrees the point still moves on a line [trade practice: a clock's hour]."""


@dataclass(frozen=True, slots=True)
class CrossPhase:
    """How one axis moves against another at one order.

    Attributes:
        first: Row of the axis that is the reference.
        second: Row of the other.
        order: Multiple of the shaft's speed.
        phase_deg: -180 to 180; above 0 the second axis leads.
        uncertainty_deg: One standard deviation of the angle; infinite where nothing is coherent.
        coherence: 0 to 1, the share of the second axis' power that follows the first.
        segments: Independent segments that were averaged.
        first_g: Peak amplitude, g.
        second_g: Likewise.
        motion: turning (a rotating force), line (in step or opposed), between, or unclear.
    """

    first: int
    second: int
    order: float
    phase_deg: float
    uncertainty_deg: float
    coherence: float
    segments: float
    first_g: float
    second_g: float
    motion: Motion


def cross_phases(
    axes_g: FloatArray, *, sample_rate_hz: float, shaft_hz: float, orders: Sequence[float] = (1.0, 2.0)
) -> list[CrossPhase]:
    """Read the phase between every two axes at multiples of the shaft's speed.

    The lines are read exactly at the order, segment by segment (a Fourier sum at one frequency). An error of the speed
    turns all axes alike and does not move the angle between them; it lowers no coherence either.

    Args:
        axes_g: One window, shape (axes, samples), in g.
        sample_rate_hz: Samples per second.
        shaft_hz: Turns per second.
        orders: At which multiples.

    Returns:
        Order by order, every pair of axes; none of an order above a third of the sample rate.

    Raises:
        SpeedError: The speed is not above 0.
        WindowError: Shape, length, rate or content cannot be read, or it holds too few turns.

    References:
        Bendat & Piersol, Random Data, 4th ed., sections 5.2 (cross-spectrum, coherence) and 9.1.5: the angle's standard
        deviation is asin(sqrt((1 - c²) / (2 c² n))) for coherence c² and n independent averages.
    """
    if not (math.isfinite(shaft_hz) and shaft_hz > 0.0):
        raise SpeedError(f"shaft speed is {shaft_hz} Hz, finite and above 0 expected")
    if axes_g.ndim != 2 or len(axes_g) < 2:
        raise WindowError(f"axes have shape {axes_g.shape}, two or more rows of samples expected")
    axes = np.stack([checked_window(axis, sample_rate_hz) for axis in axes_g])
    length = round(SEGMENT_TURNS * sample_rate_hz / shaft_hz)
    step = max(1, round(length * (1.0 - OVERLAP)))
    starts = range(0, axes.shape[1] - length + 1, step)
    if len(starts) < MIN_SEGMENTS or length < 32:
        turns = axes.shape[1] / sample_rate_hz * shaft_hz
        needed = SEGMENT_TURNS * (1.0 + (MIN_SEGMENTS - 1) * (1.0 - OVERLAP))
        raise WindowError(f"window holds {turns:.1f} turns of the shaft, at least {needed:g} expected")
    window = make_window("hann", length)
    found = []
    for order in orders:
        if order * shaft_hz > sample_rate_hz / 3.0:
            continue
        rotor = window.values * np.exp(-2j * np.pi * order * shaft_hz / sample_rate_hz * np.arange(length))
        lines = np.stack([axes[:, start : start + length] @ rotor for start in starts], axis=1)
        heights_g = np.sqrt(np.mean(np.abs(lines) ** 2, axis=1)) * 2.0 / (length * window.coherent_gain)
        for first, second in combinations(range(len(axes)), 2):
            found.append(_pair(lines, heights_g, first, second, order))
    return found


def _pair(lines: FloatArray, heights_g: FloatArray, first: int, second: int, order: float) -> CrossPhase:
    crossed = complex(np.mean(np.conj(lines[first]) * lines[second]))
    powers = float(np.mean(np.abs(lines[first]) ** 2) * np.mean(np.abs(lines[second]) ** 2))
    coherence = min(1.0, abs(crossed) ** 2 / powers) if powers > 0.0 else 0.0
    segments = max(1.0, lines.shape[1] * INDEPENDENT_SHARE)
    phase_deg = math.degrees(math.atan2(crossed.imag, crossed.real))
    scatter = math.sqrt((1.0 - coherence) / (2.0 * coherence * segments)) if coherence > 0.0 else math.inf
    uncertainty_deg = math.degrees(math.asin(scatter)) if scatter < 1.0 else math.inf
    first_g, second_g = float(heights_g[first]), float(heights_g[second])
    motion = _motion(phase_deg, coherence, min(first_g, second_g) < WEAK_AXIS * max(first_g, second_g))
    return CrossPhase(
        first, second, order, phase_deg, uncertainty_deg, coherence, segments, first_g, second_g, motion
    )  # fmt: skip


def _motion(phase_deg: float, coherence: float, weak: bool) -> Motion:
    if weak or coherence < BELIEVED_COHERENCE:
        return "unclear"
    apart = abs(phase_deg)
    if TURNING_DEG[0] <= apart <= TURNING_DEG[1]:
        return "turning"
    return "line" if min(apart, 180.0 - apart) <= LINE_DEG else "between"
