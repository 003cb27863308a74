"""This file knows the figures by which an analyst judges one channel of a capture before reading its spectrum.

Figures, not verdicts: what silences an alarm is decided in `vibration.quality`, by stricter rules.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from vibration.quality import flat_top_samples
from vibration.spectrum import FloatArray, amplitude_spectrum, checked_window, noise_floor
from vibration.units import G_MM_S2
from vibration.windows import make_window

AT_RAIL = 0.999
"""Share of the sensor's range from which a sample counts as clipped: a filter behind the clipper softens the edge."""

SLOPE_LINES = 2
"""The first lines hold what the window leaks of the mean."""

SPEED_PARTS = 16
"""Parts of a capture whose phases are compared."""

SPEED_HARMONICS = 8
SPEED_REACH = 0.05
"""Share of the shaft's speed to either side in which a drifting line is looked for; half orders stay outside."""

SPEED_PROMINENCE = 8.0
"""18 dB over the floor: below, noise moves a line's phase more than the speed does."""

FLOOR_BANDS_AN_OCTAVE = 6
MOUNTING_FROM_HZ = 1000.0
FILTER_SHARE = 0.7
"""Share of half the sample rate from which a sensor's own filter may fall."""

ROLL_OFF_DB = 12.0
"""Above its resonance a mounting falls by 12 dB an octave, as a mass on a spring does."""

HUMP_DB = 6.0
"""A mounting's resonance amplifies by more than that: glue and magnets have dampings of 5 to 25 %."""


@dataclass(frozen=True, slots=True)
class Mounting:
    """What the noise floor says of how the sensor is fixed.

    Attributes:
        resonance_hz: Middle of the hump above which the floor falls; a mounting is usable to a third of it.
        hump_db: How far it stands above the octave below it.
        fall_db: How far the floor falls in the octave above it.
    """

    resonance_hz: float
    hump_db: float
    fall_db: float


@dataclass(frozen=True, slots=True)
class SpeedDrift:
    """How much a shaft's speed changed within a window.

    Attributes:
        share: Of the speed, without sign.
        uncertainty: One standard deviation of it.
        harmonic: From which it was read.
    """

    share: float
    uncertainty: float
    harmonic: int


def clipped_share(samples_g: FloatArray, *, range_g: float | None = None) -> float:
    """Return the share of samples that were cut off (0 to 1).

    Where the top is flat, these are all samples at the extremes; where the sensor's range is known, all that reach it.
    """
    at_edge = 0
    if flat_top_samples(samples_g):
        at_edge = int(np.count_nonzero((samples_g == samples_g.min()) | (samples_g == samples_g.max())))
    at_range = 0 if range_g is None else int(np.count_nonzero(np.abs(samples_g) >= AT_RAIL * range_g))
    return max(at_edge, at_range) / samples_g.size


def ski_slope_ratio(samples_g: FloatArray, *, sample_rate_hz: float, low_hz: float) -> float | None:
    """Return the velocity below a band's lower edge over the velocity from there to 1000 Hz, both RMS.

    Noise and drift near 0 Hz become a "ski slope" when they are integrated; above 1, it outweighs what is judged.

    Args:
        samples_g: One window of samples, shape (n,), in g.
        sample_rate_hz: Samples per second.
        low_hz: The band's lower edge.

    Returns:
        The ratio; None where the window shows no line below the edge, or nothing above it.

    Raises:
        WindowError: Shape, length, rate or content cannot be transformed.
    """
    samples = checked_window(samples_g, sample_rate_hz)
    window = make_window("hann", samples.size)
    power = np.abs(scipy.fft.rfft(samples * window.values)) ** 2
    frequency_hz = np.arange(power.size) * sample_rate_hz / samples.size
    velocity = np.zeros_like(power)
    velocity[SLOPE_LINES:] = power[SLOPE_LINES:] * (G_MM_S2 / (2.0 * np.pi * frequency_hz[SLOPE_LINES:])) ** 2
    below, within = frequency_hz < low_hz, (frequency_hz >= low_hz) & (frequency_hz <= 1000.0)
    if np.count_nonzero(below) <= SLOPE_LINES or not velocity[within].sum() > 0.0:
        return None
    return math.sqrt(float(velocity[below].sum() / velocity[within].sum()))


def speed_drift(samples_g: FloatArray, *, sample_rate_hz: float, shaft_hz: float) -> SpeedDrift | None:
    """Say how much the shaft's speed changed within a window, from the phase of its clearest harmonic.

    The harmonic is moved to zero frequency and its phase read part by part. Steady speed is a straight line of phase,
    and even acceleration a parabola; how far the phases lie off it says how sure that is.

    Args:
        samples_g: One window of samples, shape (n,), in g.
        sample_rate_hz: Samples per second.
        shaft_hz: Turns per second, within some percent.

    Returns:
        The change from beginning to end; None where no harmonic stands out, or the window holds too few turns.

    Raises:
        WindowError: Shape, length, rate or content cannot be transformed.
    """
    samples = checked_window(samples_g, sample_rate_hz)
    if not shaft_hz > 0.0 or samples.size / sample_rate_hz * shaft_hz < SPEED_PARTS:
        return None
    frequency_hz, heights = amplitude_spectrum(samples, sample_rate_hz=sample_rate_hz)
    floor, line_hz = noise_floor(heights), float(frequency_hz[1])
    best: tuple[float, int, float] | None = None
    for harmonic in range(1, SPEED_HARMONICS + 1):
        reach_hz = max(SPEED_REACH * shaft_hz, 1.5 * line_hz)
        near = np.flatnonzero(np.abs(frequency_hz - harmonic * shaft_hz) <= reach_hz)
        if not near.size or near[-1] >= heights.size - 1:
            break
        top = int(near[np.argmax(heights[near])])
        over = float(heights[top] / floor[top]) if floor[top] > 0.0 else math.inf
        # The n-th harmonic turns n times as far: the same drift is read n times as finely.
        if over >= SPEED_PROMINENCE and (best is None or over * harmonic > best[0]):
            best = (over * harmonic, harmonic, float(frequency_hz[top]))
    if best is None:
        return None
    _, harmonic, carrier_hz = best
    length_s = samples.size / sample_rate_hz
    turned = samples * np.exp(-2j * np.pi * carrier_hz * np.arange(samples.size) / sample_rate_hz)
    phasors = np.array([np.mean(part * np.hanning(part.size)) for part in np.array_split(turned, SPEED_PARTS)])
    phase = np.unwrap(np.angle(phasors))
    place = (np.arange(SPEED_PARTS) + 0.5) / SPEED_PARTS * 2.0 - 1.0
    (curve, _, _), covariance = np.polyfit(place, phase, 2, cov=True)
    # A phase of c x² over x from -1 to 1 is a speed that changes by 8 c / (2 pi T) from one end to the other.
    per_curve = 8.0 / (2.0 * np.pi * length_s * carrier_hz)
    return SpeedDrift(abs(float(curve)) * per_curve, math.sqrt(float(covariance[0, 0])) * per_curve, harmonic)


def mounting_hint(samples_g: FloatArray, *, sample_rate_hz: float) -> Mounting | None:
    """Look for the hump of a mounting's resonance in the noise floor, with the fall above it.

    Returns:
        The hump, if the floor falls by 12 dB within the octave above it and its own filter is not yet in sight; None
        where it does not: the mounting holds as far as the capture shows.

    Raises:
        WindowError: Shape, length, rate or content cannot be transformed.
    """
    frequency_hz, heights = amplitude_spectrum(samples_g, sample_rate_hz=sample_rate_hz)
    last_hz = FILTER_SHARE * sample_rate_hz / 2.0
    if last_hz < 2.0 * MOUNTING_FROM_HZ:
        return None
    count = math.floor(FLOOR_BANDS_AN_OCTAVE * math.log2(last_hz / (MOUNTING_FROM_HZ / 2.0)))
    edges_hz = last_hz / 2.0 ** (np.arange(count, -1, -1) / FLOOR_BANDS_AN_OCTAVE)
    places = np.searchsorted(frequency_hz, edges_hz)
    if np.diff(places).min() < 8:
        return None
    # Medians: lines of the machine stand in few places, the floor in all others.
    floor: NDArray[np.float64] = np.array([np.median(heights[low:high]) for low, high in pairwise(places.tolist())])
    if not floor.min() > 0.0:
        return None
    level_db = 20.0 * np.log10(floor)
    best: Mounting | None = None
    octave = FLOOR_BANDS_AN_OCTAVE
    for band in range(octave, count - octave):
        if edges_hz[band] < MOUNTING_FROM_HZ or level_db[band] < level_db[band - octave : band + octave + 1].max():
            continue
        hump_db = float(level_db[band] - level_db[band - octave])
        fall_db = float(level_db[band] - level_db[band + octave])
        if hump_db >= HUMP_DB and fall_db >= ROLL_OFF_DB and (best is None or fall_db > best.fall_db):
            best = Mounting(math.sqrt(float(edges_hz[band] * edges_hz[band + 1])), hump_db, fall_db)
    return best
