"""This file knows how to read evidence for a fault from a spectrum: lines where its theory puts them.

Evidence is given with its uncertainty: how far from the expected place a line was found, how far above the floor it
stands, how far chance alone would reach, and which families of lines the spectrum cannot tell apart.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import maximum_filter1d
from scipy.special import gammainccinv

from vibration.errors import SpeedError, WindowError
from vibration.spectrum import FloatArray, interpolate_peak
from vibration.units import ratio_to_db

SLIP_TOLERANCE = 0.02
"""Bearing lines are looked for within this share of their place: slip moves them by 1 to 2 %."""

CHANCE = 0.01
"""In this share of searches pure noise reaches `chance_prominence`."""

FLOOR_SHARE = 0.25
"""The local floor is the median within this share of the fundamental to each side of the search, if lines suffice."""

MIN_FLOOR_LINES = 12


@dataclass(frozen=True)
class LineEvidence:
    """What the spectrum shows where one line is expected.

    Attributes:
        order: Which harmonic (1, 2, ...) or sideband (..., -1, 1, ...).
        expected_hz: Where theory puts it.
        found_hz: Where the largest line of the search lies, interpolated.
        deviation_share: (found - expected) / expected.
        amplitude: Height of that line, interpolated, in the unit of the spectrum.
        floor: Local median, in the same unit.
        prominence: The largest line as it stands over the floor, a ratio; interpolation would flatter noise.
        chance_prominence: What the largest of as many lines of pure noise reaches in 1 of 100 searches.
        tolerance_hz: Half-width of the search.
        resolved: False where the wanted tolerance was narrower than a line and one line had to do.
    """

    order: int
    expected_hz: float
    found_hz: float
    deviation_share: float
    amplitude: float
    floor: float
    prominence: float
    chance_prominence: float
    tolerance_hz: float
    resolved: bool

    @property
    def prominence_db(self) -> float:
        """Height over the local median in dB."""
        return ratio_to_db(self.prominence)

    @property
    def stands_out(self) -> bool:
        """Whether the line is higher than chance explains."""
        return self.prominence > self.chance_prominence


@dataclass(frozen=True)
class FamilyEvidence:
    """A family of harmonics that share one slip.

    Attributes:
        fundamental_hz: First harmonic as theory has it.
        deviation_share: By how much the whole family lies off; the same for every harmonic, as slip is.
        strength_db: `family_strength_db` of the lines.
        lines: Each harmonic's own evidence, at the shared deviation.
    """

    fundamental_hz: float
    deviation_share: float
    strength_db: float
    lines: tuple[LineEvidence, ...]


@dataclass(frozen=True)
class Overlap:
    """Two lines of different families that lie too close to be told apart.

    Attributes:
        first: Family and harmonic, e.g. ("bpfo", 3).
        second: The other one.
        distance_hz: How far apart theory puts them.
        by_resolution: True if a longer window would separate them, False if only slip could be smaller.
    """

    first: tuple[str, int]
    second: tuple[str, int]
    distance_hz: float
    by_resolution: bool


def harmonic_prominence(
    frequency_hz: FloatArray,
    amplitude: FloatArray,
    fundamental_hz: float,
    *,
    harmonics: int | Sequence[int] = 4,
    tolerance: float = SLIP_TOLERANCE,
    averages: int = 1,
) -> list[LineEvidence]:
    """Look for a family of harmonics.

    Args:
        frequency_hz: Evenly spaced line frequencies, shape (lines,).
        amplitude: Amplitudes (Hann), shape (lines,).
        fundamental_hz: First harmonic, e.g. BPFO times the shaft's frequency.
        harmonics: How many, or which.
        tolerance: Half-width of the search as a share of each harmonic's frequency; widened to one line where that
            is more, and narrowed so that neighbouring harmonics are not searched twice.
        averages: Of how many independent windows the spectrum is the RMS average; averaging steadies the floor, so
            chance reaches less high.

    Returns:
        One entry per harmonic that lies inside the spectrum.

    Raises:
        SpeedError: The fundamental is not above 0.
        WindowError: The spectrum is too short or not evenly spaced.
    """
    if not (math.isfinite(fundamental_hz) and fundamental_hz > 0.0):
        raise SpeedError(f"fundamental is {fundamental_hz} Hz, finite and above 0 expected")
    wanted = range(1, harmonics + 1) if isinstance(harmonics, int) else harmonics
    _line_spacing_hz(frequency_hz, amplitude)
    found = []
    for order in wanted:
        expected_hz = order * fundamental_hz
        reach_hz = min(tolerance * expected_hz, 0.4 * fundamental_hz)
        evidence = _look_at(
            frequency_hz,
            amplitude,
            order,
            expected_hz=expected_hz,
            reach_hz=reach_hz,
            family_hz=fundamental_hz,
            averages=averages,
        )
        if evidence is not None:
            found.append(evidence)
    return found


def sideband_prominence(
    frequency_hz: FloatArray,
    amplitude: FloatArray,
    carrier_hz: float,
    spacing_hz: float,
    *,
    pairs: int = 2,
    tolerance: float = SLIP_TOLERANCE,
    averages: int = 1,
) -> list[LineEvidence]:
    """Look for sidebands at both sides of a line, e.g. BPFI +/- 1x.

    Args:
        frequency_hz: Evenly spaced line frequencies, shape (lines,).
        amplitude: Amplitudes (Hann), shape (lines,).
        carrier_hz: The line in the middle, best as found by `harmonic_prominence`.
        spacing_hz: Distance between sidebands.
        pairs: How many on each side.
        tolerance: Half-width of the search as a share of the distance from the carrier; at least one line.
        averages: Of how many independent windows the spectrum is the RMS average.

    Returns:
        One entry per sideband inside the spectrum, lowest first; `resolved` is False for all where sidebands are
        less than three lines from the carrier: a Hann line itself is that wide.

    Raises:
        SpeedError: Carrier or spacing is not above 0.
        WindowError: The spectrum is too short or not evenly spaced.
    """
    if not (math.isfinite(carrier_hz + spacing_hz) and carrier_hz > 0.0 and spacing_hz > 0.0):
        raise SpeedError(f"carrier is {carrier_hz} Hz, spacing {spacing_hz} Hz, finite and above 0 expected")
    line_hz = _line_spacing_hz(frequency_hz, amplitude)
    separate = spacing_hz >= 3.0 * line_hz
    found = []
    for order in [order for order in range(-pairs, pairs + 1) if order]:
        expected_hz = carrier_hz + order * spacing_hz
        reach_hz = min(tolerance * abs(order) * spacing_hz, 0.4 * spacing_hz)
        evidence = _look_at(
            frequency_hz,
            amplitude,
            order,
            expected_hz=expected_hz,
            reach_hz=reach_hz,
            family_hz=spacing_hz,
            averages=averages,
            resolvable=separate,
        )
        if evidence is not None:
            found.append(evidence)
    return found


def find_family(
    frequency_hz: FloatArray,
    amplitude: FloatArray,
    fundamental_hz: float,
    *,
    harmonics: int = 4,
    tolerance: float = SLIP_TOLERANCE,
    averages: int = 1,
) -> FamilyEvidence:
    """Look for a family of harmonics that all lie off by one and the same share.

    Slip moves a whole family; lines of something else that happen to lie near single harmonics do not agree on it.

    Args:
        frequency_hz: Evenly spaced line frequencies, shape (lines,).
        amplitude: Amplitudes (Hann), shape (lines,).
        fundamental_hz: First harmonic as theory has it.
        harmonics: How many.
        tolerance: Largest slip looked for, as a share.
        averages: Of how many independent windows the spectrum is the RMS average.

    Returns:
        The evidence at the slip that explains most. Chance is stated for the whole search, as if every harmonic had
        been looked for alone: the family stands out no easier than its lines.

    Raises:
        SpeedError: The fundamental is not above 0.
        WindowError: The spectrum is too short or not evenly spaced.
    """
    alone = harmonic_prominence(
        frequency_hz, amplitude, fundamental_hz, harmonics=harmonics, tolerance=tolerance, averages=averages
    )
    if not alone:
        return FamilyEvidence(fundamental_hz, 0.0, 0.0, ())
    line_hz = float(frequency_hz[1] - frequency_hz[0])
    widest = maximum_filter1d(amplitude, 3)
    orders = np.array([line.order for line in alone], dtype=np.float64)
    floors = np.array([line.floor for line in alone])
    step = line_hz / (2.0 * float(orders[-1]) * fundamental_hz)
    slips = np.arange(-math.ceil(tolerance / step), math.ceil(tolerance / step) + 1) * step
    slips = slips[np.argsort(np.abs(slips), kind="stable")]  # of equals, the smallest slip
    places = np.outer(1.0 + slips, orders) * fundamental_hz
    lines = np.clip(np.rint((places - frequency_hz[0]) / line_hz).astype(np.intp), 0, amplitude.size - 1)
    ratios = widest[lines] / np.maximum(floors, np.finfo(np.float64).tiny)
    slip = float(slips[np.argmax((np.log(np.maximum(ratios, 1.0)) / orders).sum(axis=1))])
    found = []
    for line in alone:
        there = _look_at(
            frequency_hz,
            amplitude,
            line.order,
            expected_hz=line.expected_hz * (1.0 + slip),
            reach_hz=line_hz,
            family_hz=fundamental_hz,
            averages=averages,
        )
        if there is not None:
            found.append(
                replace(
                    there,
                    expected_hz=line.expected_hz,
                    deviation_share=there.found_hz / line.expected_hz - 1.0,
                    chance_prominence=line.chance_prominence,
                    tolerance_hz=line.tolerance_hz,
                    resolved=line.resolved,
                )
            )
    standing = [line for line in found if line.stands_out]
    if standing:  # the n-th harmonic shows the slip n times as finely
        slip = sum(line.order * line.deviation_share for line in standing) / sum(line.order for line in standing)
    return FamilyEvidence(fundamental_hz, slip, family_strength_db(found), tuple(found))


def family_strength_db(evidence: Sequence[LineEvidence]) -> float:
    """Return how far a family stands above chance, in dB: the mean of its lines' heights above `chance_prominence`.

    A line below chance counts 0 and the n-th line has the weight 1/n: a family without its first line is hardly
    one. 0 for no lines.
    """
    if not evidence:
        return 0.0
    weights = [1.0 / abs(line.order) for line in evidence]
    above = [max(0.0, ratio_to_db(line.prominence / line.chance_prominence)) for line in evidence]
    return sum(weight * height for weight, height in zip(weights, above, strict=True)) / sum(weights)


def overlapping_lines(
    fundamentals_hz: Mapping[str, float],
    line_hz: float,
    *,
    harmonics: int = 4,
    tolerance: float = SLIP_TOLERANCE,
) -> list[Overlap]:
    """Say which lines of different families cannot be told apart.

    With 9 balls, 3 x BPFO and 2 x BPFI lie 0.7 % apart: within slip, a line there is evidence for neither alone.

    Args:
        fundamentals_hz: First harmonic of each family, by name.
        line_hz: Distance between lines of the spectrum.
        harmonics: Harmonics of each family that are looked at.
        tolerance: Half-width of the search as a share of frequency.

    Returns:
        Every pair closer than the search is wide, or than the three lines a Hann line fills.
    """
    lines = [
        (name, order, order * fundamental_hz)
        for name, fundamental_hz in fundamentals_hz.items()
        for order in range(1, harmonics + 1)
    ]
    overlaps = []
    for index, (name, order, at_hz) in enumerate(lines):
        for other_name, other_order, other_hz in lines[index + 1 :]:
            distance_hz = abs(at_hz - other_hz)
            within_slip = distance_hz <= tolerance * max(at_hz, other_hz)
            if name != other_name and (within_slip or distance_hz < 3.0 * line_hz):
                overlaps.append(Overlap((name, order), (other_name, other_order), distance_hz, not within_slip))
    return overlaps


def _line_spacing_hz(frequency_hz: FloatArray, amplitude: FloatArray) -> float:
    if frequency_hz.shape != amplitude.shape or frequency_hz.ndim != 1 or frequency_hz.size < 8:
        raise WindowError(
            f"spectrum has {frequency_hz.shape} frequencies and {amplitude.shape} amplitudes, equally many and at "
            "least 8 expected"
        )
    spacing_hz = float(frequency_hz[-1] - frequency_hz[0]) / (frequency_hz.size - 1)
    if not spacing_hz > 0.0 or abs(float(frequency_hz[1] - frequency_hz[0]) - spacing_hz) > 1e-6 * spacing_hz:
        raise WindowError("spectrum's frequencies are not evenly spaced")
    return spacing_hz


def _look_at(
    frequency_hz: FloatArray,
    amplitude: FloatArray,
    order: int,
    *,
    expected_hz: float,
    reach_hz: float,
    family_hz: float,
    averages: int,
    resolvable: bool = True,
) -> LineEvidence | None:
    """Read the largest line within reach of a place; None if the place lies outside the spectrum."""
    line_hz = float(frequency_hz[1] - frequency_hz[0])
    if not frequency_hz[0] + line_hz <= expected_hz <= frequency_hz[-1] - line_hz:
        return None
    resolved = resolvable and reach_hz >= line_hz
    reach_hz = max(reach_hz, line_hz)
    centre = (expected_hz - float(frequency_hz[0])) / line_hz
    first = max(1, math.ceil(centre - reach_hz / line_hz - 1e-9))
    last = min(frequency_hz.size - 2, math.floor(centre + reach_hz / line_hz + 1e-9))
    top = first + int(np.argmax(amplitude[first : last + 1]))
    # A line at the rim of the search that still rises outside it belongs to something else: take it as it stands.
    is_local_top = amplitude[top] >= amplitude[top - 1] and amplitude[top] >= amplitude[top + 1]
    shift, height = interpolate_peak(amplitude[top - 1 : top + 2]) if is_local_top else (0.0, float(amplitude[top]))
    found_hz = float(frequency_hz[0]) + (top + shift) * line_hz
    floor = _local_floor(amplitude, first, last, math.ceil(FLOOR_SHARE * family_hz / line_hz))
    searched = last - first + 1
    return LineEvidence(
        order=order,
        expected_hz=expected_hz,
        found_hz=found_hz,
        deviation_share=(found_hz - expected_hz) / expected_hz,
        amplitude=height,
        floor=floor,
        prominence=_ratio(float(amplitude[top]), floor),
        chance_prominence=_chance_prominence(searched, averages),
        tolerance_hz=reach_hz,
        resolved=resolved,
    )


def _ratio(height: float, floor: float) -> float:
    if floor > 0.0:
        return height / floor
    return math.inf if height > 0.0 else 0.0


def _chance_prominence(searched: int, averages: int) -> float:
    """Return what the largest of so many noise lines exceeds, in medians, in CHANCE of all searches.

    The power of a noise line averaged over m windows is gamma distributed with shape m.
    """
    one_line = -math.expm1(math.log1p(-CHANCE) / searched)
    return math.sqrt(float(gammainccinv(averages, one_line)) / float(gammainccinv(averages, 0.5)))


def _local_floor(amplitude: FloatArray, first: int, last: int, side: int) -> float:
    """Return the median of the lines to both sides of a search and in it."""
    side = max(side, MIN_FLOOR_LINES)
    return float(np.median(amplitude[max(1, first - side) : last + side + 1]))
