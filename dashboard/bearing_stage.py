"""This file knows how far a bearing's damage has come: the four stages of the trade, from the spectra of one capture.

Pure. Stage 1 rings only in the ultrasound, where these sensors do not hear; 2: the envelope shows the damage's lines;
3: they stand in the spectrum itself; 4: the floor and 1x have risen, and the lines may sink into it. Shares of life
left are rules of thumb of the trade, not of this bearing.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schemas.messages import Evidence, FaultLine

STANDS_OUT = 4.0  # times the median of the lines around it: 12 dB, which noise alone does not reach in three lines
RISEN = 2.0  # times the baseline: 6 dB, the step from which the trade speaks of a change
HARMONICS = 3
AROUND = 20  # lines on either side that are the floor of a line
FLOOR_HZ = (100.0, 2000.0)  # where bearings raise the floor first to be heard in velocity
SLIP = 0.02
ENVELOPE_DB = 6.0
Number = Literal[2, 3, 4]


@dataclass(frozen=True, slots=True)
class BearingSigns:
    """What the spectra of one capture say about a bearing's damage.

    Attributes:
        in_envelope: Whether its lines stand in the envelope.
        in_spectrum: How many of the first three stand in the spectrum; None where its lines are too wide to tell.
        floor: The floor over that of the healthy baseline; None without one.
        shaft: 1x over that of the baseline, likewise.
    """

    in_envelope: bool
    in_spectrum: int | None
    floor: float | None
    shaft: float | None


def bearing_stage(signs: BearingSigns) -> Number | None:
    """The stage, by the worst sign; None where nothing of the damage is seen in these spectra."""
    seen = signs.in_envelope or bool(signs.in_spectrum)
    if not seen:
        return None
    if (signs.floor or 0.0) >= RISEN and (signs.shaft or 0.0) >= RISEN:
        return 4
    return 3 if (signs.in_spectrum or 0) >= 2 else 2


def bearing_signs(evidence: Evidence, family: str) -> BearingSigns | None:
    """Look for the signs of damage of one family of lines (`BPFO` ...); None where theory gives no such line.

    Raises:
        MessageRejected: The spectra are damaged.
    """
    line = next((found for found in evidence.fault_lines if found.name == family and found.frequency_hz > 0.0), None)
    if line is None:
        return None
    spectrum = evidence.spectrum
    values = spectrum.unpack().astype(np.float64)
    floor = shaft = None
    if evidence.baseline is not None and evidence.baseline.step == spectrum.step:
        healthy = evidence.baseline.unpack().astype(np.float64)
        count = min(values.size, healthy.size)
        floor = _floor_ratio(values[:count], healthy[:count], spectrum.start, spectrum.step)
        if evidence.rpm:
            shaft = _ratio_at(values[:count], healthy[:count], evidence.rpm / 60.0, spectrum.start, spectrum.step)
    return BearingSigns(
        in_envelope=line.found_hz is not None and (line.prominence_db or 0.0) >= ENVELOPE_DB,
        in_spectrum=_standing(values, line, spectrum.start, spectrum.step), floor=floor, shaft=shaft,
    )  # fmt: skip


def _standing(values: NDArray[np.float64], line: FaultLine, start_hz: float, step_hz: float) -> int | None:
    base_hz = line.found_hz or line.frequency_hz
    if step_hz * 8 > base_hz:
        return None
    return sum(_stands_out(values, number * base_hz, start_hz, step_hz) for number in range(1, HARMONICS + 1))


def _stands_out(values: NDArray[np.float64], at_hz: float, start_hz: float, step_hz: float) -> bool:
    middle = round((at_hz - start_hz) / step_hz)
    reach = max(1, round(SLIP * at_hz / step_hz))
    low, high = middle - reach - AROUND, middle + reach + AROUND + 1
    if low < 0 or high > values.size:
        return False
    near = values[middle - reach : middle + reach + 1]
    around = np.concatenate((values[low : middle - reach], values[middle + reach + 1 : high]))
    return bool(near.max() >= STANDS_OUT * float(np.median(around)) > 0.0)


def _floor_ratio(
    values: NDArray[np.float64], healthy: NDArray[np.float64], start_hz: float, step_hz: float
) -> float | None:  # fmt: skip
    low, high = (max(0, round((edge - start_hz) / step_hz)) for edge in FLOOR_HZ)
    before = float(np.median(healthy[low:high])) if healthy[low:high].size else 0.0
    return float(np.median(values[low:high])) / before if before > 0.0 else None


def _ratio_at(
    values: NDArray[np.float64], healthy: NDArray[np.float64], at_hz: float, start_hz: float, step_hz: float
) -> float | None:  # fmt: skip
    middle = round((at_hz - start_hz) / step_hz)
    near = slice(max(0, middle - 1), middle + 2)
    before = float(healthy[near].max()) if healthy[near].size else 0.0
    return float(values[near].max()) / before if before > 0.0 else None
