"""This file knows how the evidence of one capture is analysed: its lines at full resolution, bands, peaks and quality.

Pure. With the waveform everything is computed anew from it, by the same physics as on the gateway; without, the spectra
the gateway sent are what there is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.messages import Evidence, FaultLine, Series
from schemas.nameplate import BearingPlate
from vibration.bearing import BearingGeometry, FaultOrders, fault_orders
from vibration.bearing_library import lookup_bearing
from vibration.envelope import Band, envelope_spectrum, kurtogram, select_band
from vibration.errors import VibrationError
from vibration.orders import SLIP_TOLERANCE
from vibration.quality import assess_quality
from vibration.spectrum import SpectralPeak, amplitude_spectrum, find_peaks_table, interpolate_peak, noise_floor
from vibration.units import ratio_to_db

FloatArray = NDArray[np.float64]

BEARING = frozenset({"BPFO", "BPFI", "BSF", "2xBSF", "FTF"})
PEAKS = 12
MIN_PROMINENCE = 4.0  # 12 dB over the floor
BANDS_OFFERED = 4
LOW_SPEED_RPM = 600.0  # below, velocity counts from 2 Hz (ISO 20816-1), else from 10 Hz


@dataclass(frozen=True, slots=True)
class Lines:
    """A spectrum: line k is at start_hz + k * step_hz."""

    start_hz: float
    step_hz: float
    values: FloatArray
    unit: str

    @property
    def frequency_hz(self) -> FloatArray:
        """Where the lines are, shape (lines,)."""
        return self.start_hz + self.step_hz * np.arange(self.values.size, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Waveform:
    """The samples of one axis of a capture, in g, at a constant rate."""

    samples_g: FloatArray
    sample_rate_hz: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """What one capture shows.

    Attributes:
        recomputed: Whether the lines come from the waveform, else from the spectra that were sent.
        band_hz: What was demodulated for the envelope.
        bands: Other bands worth a look, by kurtosis, most impulsive first; none without a waveform.
    """

    evidence: Evidence
    spectrum: Lines
    envelope: Lines
    baseline: Lines | None
    waveform: Waveform | None
    band_hz: tuple[float, float]
    bands: tuple[Band, ...]

    @property
    def recomputed(self) -> bool:
        return self.waveform is not None


def analyse(evidence: Evidence, *, band_hz: tuple[float, float] | None = None) -> Analysis:
    """Analyse one capture.

    Args:
        evidence: As the gateway sent it.
        band_hz: To demodulate instead of the gateway's band; needs the waveform, is ignored without.

    Raises:
        MessageRejected: A series cannot be read.
        VibrationError: The band is not within the waveform's reach, or the waveform cannot be transformed.
    """
    waveform = _waveform(evidence)
    baseline = None if evidence.baseline is None else _lines(evidence.baseline)
    if waveform is None:
        return Analysis(
            evidence,
            _lines(evidence.spectrum),
            _lines(evidence.envelope),
            baseline,
            None,
            evidence.envelope_band_hz,
            (),
        )
    rate_hz = waveform.sample_rate_hz
    chosen = band_hz or evidence.envelope_band_hz
    _, heights_g = amplitude_spectrum(waveform.samples_g, sample_rate_hz=rate_hz)
    _, envelope_g = envelope_spectrum(waveform.samples_g, sample_rate_hz=rate_hz, band_hz=chosen)
    step_hz = rate_hz / waveform.samples_g.size
    return Analysis(
        evidence, Lines(0.0, step_hz, heights_g, "g"), Lines(0.0, step_hz, envelope_g, "g"), baseline, waveform,
        chosen, impulsive_bands(waveform, [line.frequency_hz for line in evidence.fault_lines if line.name in BEARING]),
    )  # fmt: skip


def impulsive_bands(waveform: Waveform, rates_hz: Sequence[float]) -> tuple[Band, ...]:
    """Bands worth demodulating: the one in which the rates stand out most, then the most impulsive that are apart."""
    rate_hz = waveform.sample_rate_hz
    found = [select_band(waveform.samples_g, rate_hz, fault_frequencies_hz=rates_hz)]
    for band in sorted(kurtogram(waveform.samples_g, sample_rate_hz=rate_hz), key=lambda b: -b.spectral_kurtosis):
        if len(found) == BANDS_OFFERED:
            break
        if all(band.high_hz <= other.low_hz or band.low_hz >= other.high_hz for other in found):
            found.append(band)
    return tuple(found)


def on_grid(other: Lines, of: Lines) -> FloatArray:
    """Read a spectrum at the lines of another one, to lie over it; NaN beyond its end."""
    if (other.start_hz, other.step_hz) == (of.start_hz, of.step_hz) and other.values.size == of.values.size:
        return other.values
    return np.interp(of.frequency_hz, other.frequency_hz, other.values, right=np.nan)


def peaks_of(lines: Lines, *, count: int = PEAKS) -> list[SpectralPeak]:
    """The highest peaks of the full resolution, highest first; those on a floor of nothing say nothing."""
    found = find_peaks_table(lines.frequency_hz, lines.values, count=count, min_prominence=MIN_PROMINENCE)
    return [peak for peak in found if math.isfinite(peak.prominence)]


def fault_lines_at(
    evidence: Evidence, envelope: Lines, *, rpm: float | None, bearing: BearingPlate | None
) -> tuple[FaultLine, ...]:
    """Where faults would show at a speed, and what the envelope has there.

    The gateway's own lines serve while the speed is its own; at another speed, or where it knew none, the lines are
    moved or made from the nameplate, and looked for anew.
    """
    if rpm is None or (evidence.rpm is not None and rpm == evidence.rpm and evidence.fault_lines):
        return evidence.fault_lines
    if evidence.rpm and evidence.fault_lines:
        moved = tuple(_at(line, line.frequency_hz * rpm / evidence.rpm) for line in evidence.fault_lines)
    else:
        orders = orders_of(bearing)
        rates = {"1x": 1.0}
        if orders is not None:
            rates |= {"BPFO": orders.bpfo, "BPFI": orders.bpfi, "2xBSF": 2.0 * orders.bsf, "FTF": orders.ftf}
        moved = tuple(
            FaultLine(name=name, frequency_hz=order * rpm / 60.0, harmonics=4) for name, order in rates.items()
        )
    return tuple(_looked_for(line, envelope) if line.name in BEARING else line for line in moved)


def orders_of(bearing: BearingPlate | None) -> FaultOrders | None:
    """Fault orders of the bearing on a nameplate; None where it does not say enough."""
    if bearing is None:
        return None
    if bearing.orders is not None:
        return FaultOrders(*bearing.orders)
    try:
        if bearing.elements and bearing.ball_diameter_mm and bearing.pitch_diameter_mm:
            geometry = BearingGeometry(
                bearing.elements, bearing.ball_diameter_mm, bearing.pitch_diameter_mm, bearing.contact_angle_deg
            )
            return fault_orders(geometry)
        return lookup_bearing(bearing.name).orders if bearing.name else None
    except VibrationError:
        return None


def velocity_from_hz(rpm: float | None) -> float:
    """From where on a velocity can be given (ISO 20816-1)."""
    return 2.0 if rpm is not None and rpm < LOW_SPEED_RPM else 10.0


@dataclass(frozen=True, slots=True)
class CaptureFacts:
    """What says whether a capture can be believed; None where only the waveform would tell."""

    length_s: float | None
    sample_rate_hz: float | None
    resolution_hz: float
    mean_g: float | None
    peak_g: float | None
    crest_factor: float | None
    kurtosis: float | None
    verdict: str | None
    detail: str


def facts_of(analysis: Analysis) -> CaptureFacts:
    """Look at the capture itself."""
    wave = analysis.waveform
    if wave is None:
        return CaptureFacts(None, None, analysis.spectrum.step_hz, None, None, None, None, None, "")
    mean_g = float(wave.samples_g.mean())
    moving = wave.samples_g - mean_g
    rms_g, peak_g = float(np.sqrt(np.mean(moving**2))), float(np.abs(moving).max())
    shaft_hz = analysis.evidence.rpm / 60.0 if analysis.evidence.rpm else None
    quality = assess_quality(wave.samples_g[None, :], sample_rate_hz=wave.sample_rate_hz, shaft_speed_hz=shaft_hz)
    return CaptureFacts(
        length_s=wave.samples_g.size / wave.sample_rate_hz, sample_rate_hz=wave.sample_rate_hz,
        resolution_hz=wave.sample_rate_hz / wave.samples_g.size, mean_g=mean_g, peak_g=peak_g,
        crest_factor=peak_g / rms_g if rms_g > 0.0 else None,
        kurtosis=float(np.mean(moving**4) / rms_g**4) if rms_g > 0.0 else None,
        verdict=quality.verdict, detail=quality.detail,
    )  # fmt: skip


def _at(line: FaultLine, frequency_hz: float) -> FaultLine:
    return FaultLine(name=line.name, frequency_hz=frequency_hz, harmonics=line.harmonics)


def _looked_for(line: FaultLine, envelope: Lines) -> FaultLine:
    """Look for a line within slip: the largest one there, and how far it stands above its surroundings."""
    near = np.flatnonzero(
        np.abs(envelope.frequency_hz - line.frequency_hz)
        <= max(SLIP_TOLERANCE * line.frequency_hz, envelope.step_hz)
    )  # fmt: skip
    if not near.size or not 0 < near[0] <= near[-1] < envelope.values.size - 1:
        return line
    top = int(near[np.argmax(envelope.values[near])])
    floor = float(noise_floor(envelope.values)[top])
    shift, height = interpolate_peak(envelope.values[top - 1 : top + 2])
    if floor <= 0.0 or height < MIN_PROMINENCE * floor:
        return line
    found_hz = float(envelope.frequency_hz[top]) + shift * envelope.step_hz
    return line.model_copy(update={"found_hz": found_hz, "prominence_db": ratio_to_db(height / floor)})


def _waveform(evidence: Evidence) -> Waveform | None:
    series = evidence.waveform
    if series is None or series.axis_unit != "s" or series.step <= 0.0:
        return None
    return Waveform(series.unpack().astype(np.float64), 1.0 / series.step)


def _lines(series: Series) -> Lines:
    return Lines(series.start, series.step, series.unpack().astype(np.float64), series.value_unit)
