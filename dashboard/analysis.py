"""This file knows how the evidence of one capture is analysed: its lines at full resolution, bands, peaks and quality.

Pure. With the waveform everything is computed anew from it, by the same physics as on the gateway; without, the spectra
the gateway sent are what there is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from schemas.asset_table import BearingRow
from schemas.messages import Evidence, FaultLine, Series
from schemas.nameplate import BearingPlate
from vibration.bearing import BearingGeometry, FaultOrders, fault_orders
from vibration.bearing_library import lookup_bearing
from vibration.capture_figures import (
    Mounting,
    SpeedDrift,
    clipped_share,
    mounting_hint,
    ski_slope_ratio,
    speed_drift,
)
from vibration.envelope import Band, envelope_spectrum, kurtogram, select_band
from vibration.errors import VibrationError, WindowError
from vibration.iso_zones import velocity_band_at
from vibration.orders import SLIP_TOLERANCE
from vibration.phase import CrossPhase, cross_phases
from vibration.quality import assess_quality
from vibration.spectrum import (
    ISO_BAND_HZ,
    SpectralPeak,
    amplitude_spectrum,
    find_peaks_table,
    interpolate_peak,
    noise_floor,
)
from vibration.units import ratio_to_db

FloatArray = NDArray[np.float64]

BEARING = frozenset({"BPFO", "BPFI", "BSF", "2xBSF", "FTF"})
PEAKS = 12
MIN_PROMINENCE = 4.0  # 12 dB over the floor
BANDS_OFFERED = 4


@dataclass(frozen=True, slots=True)
class Lines:
    """A spectrum of peak amplitudes: line k is at start_hz + k * step_hz.

    Attributes:
        largest_of: Of so many lines that were measured the largest is here.
    """

    start_hz: float
    step_hz: float
    values: FloatArray
    unit: str
    largest_of: int = 1

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
        axis: Which one is looked at.
        axes: Those whose samples are here.
        recomputed: Whether the lines come from the waveform, else from the spectra that were sent.
        band_hz: What was demodulated for the envelope.
        bands: Other bands worth a look, by kurtosis, most impulsive first; none without a waveform.
    """

    evidence: Evidence
    axis: int
    axes: tuple[int, ...]
    spectrum: Lines
    envelope: Lines
    baseline: Lines | None
    waveform: Waveform | None
    band_hz: tuple[float, float]
    bands: tuple[Band, ...]

    @property
    def recomputed(self) -> bool:
        return self.waveform is not None


def analyse(
    evidence: Evidence, *, band_hz: tuple[float, float] | None = None, axis: int | None = None
) -> Analysis:  # fmt: skip
    """Analyse one capture.

    Args:
        evidence: As the gateway sent it.
        band_hz: To demodulate instead of the gateway's band; needs the waveform, is ignored without.
        axis: To look at instead of the gateway's; ignored where its samples are not here.

    Raises:
        MessageRejected: A series cannot be read.
        VibrationError: The band is not within the waveform's reach, or the waveform cannot be transformed.
    """
    waveforms = waveforms_of(evidence)
    shown = axis if axis is not None and axis in waveforms else evidence.axis
    waveform = waveforms.get(shown)
    baseline = None if evidence.baseline is None or shown != evidence.axis else _lines(evidence.baseline)
    if waveform is None:
        return Analysis(
            evidence, shown, (), _lines(evidence.spectrum), _lines(evidence.envelope), baseline, None,
            evidence.envelope_band_hz, (),
        )  # fmt: skip
    rate_hz = waveform.sample_rate_hz
    chosen = band_hz or evidence.envelope_band_hz
    _, heights_g = amplitude_spectrum(waveform.samples_g, sample_rate_hz=rate_hz)
    _, envelope_g = envelope_spectrum(waveform.samples_g, sample_rate_hz=rate_hz, band_hz=chosen)
    step_hz = rate_hz / waveform.samples_g.size
    return Analysis(
        evidence, shown, tuple(sorted(waveforms)), Lines(0.0, step_hz, heights_g, "g"),
        Lines(0.0, step_hz, envelope_g, "g"), baseline, waveform, chosen,
        impulsive_bands(waveform, [line.frequency_hz for line in evidence.fault_lines if line.name in BEARING]),
    )  # fmt: skip


def waveforms_of(evidence: Evidence) -> dict[int, Waveform]:
    """The samples that are here, axis by axis.

    Raises:
        MessageRejected: A series cannot be read.
    """
    own = evidence.waveform
    if own is None or own.axis_unit != "s" or own.step <= 0.0:
        return {}
    found = {one.axis: Waveform(one.unpack_g(), 1.0 / one.step_s) for one in evidence.other_axes}
    return found | {evidence.axis: Waveform(own.unpack().astype(np.float64), 1.0 / own.step)}


def phases_of(evidence: Evidence, *, rpm: float) -> list[CrossPhase]:
    """How the axes whose samples are here move against each other; `first` and `second` are axes of the sensor.

    Raises:
        MessageRejected: A series cannot be read.
        VibrationError: The samples do not hold enough turns, or are of two rates.
    """
    waveforms = waveforms_of(evidence)
    axes = sorted(waveforms)
    if len(axes) < 2:
        return []
    rates_hz = {waveforms[axis].sample_rate_hz for axis in axes}
    if max(rates_hz) > min(rates_hz) * (1.0 + 1e-9):
        raise WindowError(f"axes were sampled at {len(rates_hz)} rates, one expected")
    samples = min(waveforms[axis].samples_g.size for axis in axes)
    together = np.stack([waveforms[axis].samples_g[:samples] for axis in axes])
    found = cross_phases(together, sample_rate_hz=min(rates_hz), shaft_hz=rpm / 60.0)
    return [replace(one, first=axes[one.first], second=axes[one.second]) for one in found]


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
    """The highest peaks, highest first; those on a floor of nothing say nothing.

    Of lines that were thinned out a peak's place is known to half their spacing: nothing is read between them.
    """
    found = find_peaks_table(lines.frequency_hz, lines.values, count=count, min_prominence=MIN_PROMINENCE)
    found = [peak for peak in found if math.isfinite(peak.prominence)]
    return found if lines.largest_of == 1 else [_on_its_line(peak, lines) for peak in found]


def _on_its_line(peak: SpectralPeak, lines: Lines) -> SpectralPeak:
    line = round((peak.frequency_hz - lines.start_hz) / lines.step_hz)
    height = float(lines.values[line])
    return SpectralPeak(lines.start_hz + line * lines.step_hz, height, peak.prominence * height / peak.amplitude)


def fault_lines_at(
    evidence: Evidence, envelope: Lines, *, rpm: float | None, orders: FaultOrders | None, instead: bool = False
) -> tuple[FaultLine, ...]:
    """Where faults would show at a speed, and what the envelope has there.

    The gateway's own lines serve while speed and bearing are its own; at another speed they are moved, those of a
    bearing it did not know are added, and both are looked for anew.

    Args:
        evidence: As the gateway sent it.
        envelope: In which bearing lines are looked for.
        rpm: The speed that is believed; None leaves everything to the gateway.
        orders: Of the bearing that is known here.
        instead: Whether they stand instead of the gateway's, as somebody chose another bearing.
    """
    if rpm is None:
        return evidence.fault_lines
    told = tuple(line for line in evidence.fault_lines if not (instead and line.name in BEARING))
    if evidence.rpm is None:
        told = (FaultLine(name="1x", frequency_hz=rpm / 60.0, harmonics=4),)
    elif rpm != evidence.rpm:
        moved = (_at(line, line.frequency_hz * rpm / evidence.rpm) for line in told)
        told = tuple(_looked_for(line, envelope) if line.name in BEARING else line for line in moved)
    if orders is None or any(line.name in BEARING for line in told):
        return told
    rates = {"BPFO": orders.bpfo, "BPFI": orders.bpfi, "2xBSF": 2.0 * orders.bsf, "FTF": orders.ftf}
    added = (FaultLine(name=name, frequency_hz=order * rpm / 60.0, harmonics=4) for name, order in rates.items())
    return (*(_looked_for(line, envelope) for line in added), *told)


def orders_of(bearing: BearingPlate | None, own: Sequence[BearingRow] = ()) -> FaultOrders | None:
    """Fault orders of the bearing on a nameplate; None where it does not say enough.

    Args:
        bearing: From the nameplate.
        own: The plant's own table, by whose names it may be called.
    """
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
        return orders_named(bearing.name, own) if bearing.name else None
    except VibrationError:
        return None


def orders_named(name: str, own: Sequence[BearingRow]) -> FaultOrders:
    """Fault orders of a bearing of the plant's own table, else of the library.

    Raises:
        UnknownBearingError: Neither has it.
    """
    row = next((row for row in own if row.name.casefold() == name.casefold()), None)
    return row.orders() if row is not None else lookup_bearing(name).orders


@dataclass(frozen=True, slots=True)
class CaptureFacts:
    """What says whether a capture can be believed; None where only the waveform would tell.

    Attributes:
        clipped_share: Of the samples.
        range_share: True peak over what the sensor measures at most; None where that is not known.
        ski_slope: Velocity below `low_hz` over the velocity above it.
        low_hz: From where on velocity is judged.
        speed_drift: Change of the shaft's speed within the capture; None where nothing says it.
        mounting: The hump of a mounting's resonance; None where there is none.
    """

    length_s: float | None
    sample_rate_hz: float | None
    resolution_hz: float
    mean_g: float | None
    peak_g: float | None
    crest_factor: float | None
    kurtosis: float | None
    verdict: str | None
    detail: str
    clipped_share: float | None = None
    range_share: float | None = None
    ski_slope: float | None = None
    low_hz: float = ISO_BAND_HZ[0]
    speed_drift: SpeedDrift | None = None
    mounting: Mounting | None = None


def facts_of(analysis: Analysis, *, rpm: float | None = None) -> CaptureFacts:
    """Look at the capture itself, at the speed that is believed; the gateway's by default."""
    wave, evidence = analysis.waveform, analysis.evidence
    if wave is None:
        return CaptureFacts(None, None, analysis.spectrum.step_hz, None, None, None, None, None, "")
    rate_hz = wave.sample_rate_hz
    mean_g = float(wave.samples_g.mean())
    moving = wave.samples_g - mean_g
    rms_g, peak_g = float(np.sqrt(np.mean(moving**2))), float(np.abs(moving).max())
    rpm = rpm or evidence.rpm
    shaft_hz = rpm / 60.0 if rpm else None
    quality = assess_quality(wave.samples_g[None, :], sample_rate_hz=rate_hz, shaft_speed_hz=shaft_hz)
    low_hz = velocity_band_at(rpm)[0]
    return CaptureFacts(
        length_s=wave.samples_g.size / rate_hz, sample_rate_hz=rate_hz, resolution_hz=rate_hz / wave.samples_g.size,
        mean_g=mean_g, peak_g=peak_g, crest_factor=peak_g / rms_g if rms_g > 0.0 else None,
        kurtosis=float(np.mean(moving**4) / rms_g**4) if rms_g > 0.0 else None,
        verdict=quality.verdict, detail=quality.detail,
        clipped_share=clipped_share(wave.samples_g, range_g=evidence.range_g),
        range_share=float(np.abs(wave.samples_g).max()) / evidence.range_g if evidence.range_g else None,
        ski_slope=ski_slope_ratio(wave.samples_g, sample_rate_hz=rate_hz, low_hz=low_hz), low_hz=low_hz,
        speed_drift=speed_drift(wave.samples_g, sample_rate_hz=rate_hz, shaft_hz=shaft_hz) if shaft_hz else None,
        mounting=mounting_hint(wave.samples_g, sample_rate_hz=rate_hz),
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


def _lines(series: Series) -> Lines:
    values = series.unpack().astype(np.float64)
    return Lines(series.start, series.step, values, series.value_unit, series.largest_of or 1)
