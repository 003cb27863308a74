"""This file knows how a judged capture is told: the records of health, alarm and evidence, and nothing decided."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway_agent.alarm import AlarmChange
from gateway_agent.diagnosis import Findings
from gateway_agent.explanation import reason
from gateway_agent.prognosis import NoRemainingLife, RemainingLife
from schemas.capture import Capture
from schemas.messages import (
    MAX_SERIES_SAMPLES,
    Alarm,
    AlarmState,
    AxisWaveform,
    Contribution,
    Evidence,
    Health,
    Learning,
    Record,
    Series,
)
from schemas.messages import RemainingLife as RemainingLifeBand
from vibration.features import FEATURE_NAMES, MODEL_FEATURES, STATISTICS, WIDE_BAND_EDGES_HZ
from vibration.iso_zones import ZoneVerdict
from vibration.speed import SpeedEstimate

BASIS_CHARACTERS = 400  # what the contract takes
SPECTRUM_LINES = 8193  # most lines of a spectrum that travel as evidence: those of 16,384 samples
EVIDENCE_CHARACTERS = 220_000  # of all series of one evidence: it fits into a packet of 256 KiB, sealed and with a head
SHORTEST_SAMPLES = 2048  # of a waveform that travels: less shows nothing
STATISTIC = {name: index for index, name in enumerate(FEATURE_NAMES[: MODEL_FEATURES.start])}
"""Where each statistic lies in a feature vector."""
WIDE_BANDS = ("band_low_rms_g", "band_middle_rms_g", "band_high_rms_g")


def velocity_name(*, slow: bool) -> str:
    """The statistic by which a machine's velocity is judged."""
    return "velocity_from_2_hz_rms_mm_s" if slow else "velocity_rms_mm_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What the point thinks of a capture, to be told."""

    quality: str
    learning: Learning
    score: float | None
    limit: float | None
    exceeds: bool
    alarm: AlarmState
    verdict: ZoneVerdict
    found: Findings | None
    speed: SpeedEstimate
    remaining: RemainingLife | NoRemainingLife | None
    model_version: int
    slow: bool
    """Whether its velocity counts from 2 Hz on."""


def largest_statistics(features: NDArray[np.float32]) -> list[list[float]]:
    """The statistics of the worst axis of captures (n, channels, F), in the order of STATISTIC."""
    largest: list[list[float]] = features[:, :, STATISTICS].max(axis=1).tolist()
    return largest


def health_of(point: str, capture: Capture, largest: Sequence[float], read: Read) -> Health:
    """The record of one capture, with its `largest_statistics`; those that are not finite are None."""

    def worst(name: str) -> float | None:
        return _known(largest[STATISTIC[name]])

    band, basis = _remaining(read.remaining)
    rms_g = {
        name: worst(name) if low_hz < capture.sample_rate_hz / 2.0 else None
        for name, low_hz in zip(WIDE_BANDS, WIDE_BAND_EDGES_HZ, strict=True)
    }
    return Health(
        point=point, capture_boot=capture.boot, capture_sequence=capture.sequence,
        measured_at_us=capture.measured_at_us, quality=read.quality, learning=read.learning, score=read.score,
        limit=read.limit, exceeds=read.exceeds, alarm=read.alarm, zone=read.verdict.zone,
        zone_basis=read.verdict.reason,
        velocity_rms_mm_s=worst(velocity_name(slow=read.slow)), acceleration_rms_g=worst("acceleration_rms_g"),
        acceleration_peak_g=worst("peak_g"), crest_factor=worst("crest_factor"), kurtosis=worst("kurtosis"),
        envelope_rms_g=worst("envelope_rms_g"), rpm=read.speed.rpm, rpm_source=_speed_source(read.speed),
        rpm_confidence=read.speed.confidence, temperature_c=_known(capture.temperature_c),
        battery_v=_known(capture.battery_v), rssi_dbm=_known(capture.rssi_dbm),
        diagnosis=read.found.ranked if read.found else (),
        remaining_life=band, remaining_life_basis=basis, model_version=read.model_version,
        **rms_g,
    )  # fmt: skip


def _remaining(remaining: RemainingLife | NoRemainingLife | None) -> tuple[RemainingLifeBand | None, str]:
    if remaining is None:
        return None, ""
    if isinstance(remaining, NoRemainingLife):
        return None, remaining.reason[:BASIS_CHARACTERS]
    return RemainingLifeBand(low_s=remaining.low, median_s=remaining.median, high_s=remaining.high), remaining.why[
        :BASIS_CHARACTERS
    ]


def alarm_of(
    change: AlarmChange, health: Health, found: Findings | None, shares: tuple[Contribution, ...], model_version: int
) -> Alarm:
    """The record of a change that a capture brought about."""
    ranked, findings = (found.ranked, found.findings) if found else ((), ())
    return Alarm(
        point=health.point, alarm_id=change.alarm_id, state=change.state, priority=change.priority,
        measured_at_us=health.measured_at_us, capture_boot=health.capture_boot,
        capture_sequence=health.capture_sequence, score=health.score, limit=health.limit, zone=health.zone,
        reason=reason(
            score=health.score, limit=health.limit, zone=health.zone, velocity_mm_s=health.velocity_rms_mm_s,
            ranked=ranked, findings=findings, shares=shares, rpm=health.rpm,
        ),
        diagnosis=ranked, findings=findings, contributions=shares, model_version=model_version,
    )  # fmt: skip


def alarm_by_hand(point: str, change: AlarmChange, at_us: int, why: str, model_version: int) -> Record:
    """The record of a change that a person brought about, or time."""
    return Alarm(
        point=point, alarm_id=change.alarm_id, state=change.state, priority=change.priority, measured_at_us=at_us,
        capture_boot=0, capture_sequence=0, score=None, limit=None, zone=None, reason=why.capitalize(),
        model_version=model_version,
    )  # fmt: skip


def evidence_of(
    point: str, capture: Capture, found: Findings, *, why: str, rpm: float | None, waveform: bool
) -> Evidence:
    """The spectra behind a verdict; waveforms travel only when somebody asked, as much of them as fits."""
    spectrum, envelope = _packed(found.frequency_hz, found.spectrum_g), _packed(found.envelope_hz, found.envelope_g)
    room = EVIDENCE_CHARACTERS - len(spectrum.values) - len(envelope.values)
    own = _waveform(capture, found.axis, room) if waveform else None
    return Evidence(
        point=point, capture_boot=capture.boot, capture_sequence=capture.sequence,
        measured_at_us=capture.measured_at_us, why=why, axis=found.axis, rpm=rpm, spectrum=spectrum, envelope=envelope,
        envelope_band_hz=found.envelope_band_hz, fault_lines=found.lines, waveform=own,
        other_axes=_other_axes(capture, found.axis, room - len(own.values)) if own is not None else (),
        range_g=_known(capture.range_g),
    )  # fmt: skip


def _waveform(capture: Capture, axis: int, room: int) -> Series:
    """The beginning of one axis that fits into so many characters."""
    signal = capture.acceleration_g()[axis, :MAX_SERIES_SAMPLES]
    while True:
        packed = Series.pack(signal, start=0.0, step=1.0 / capture.sample_rate_hz, axis_unit="s", value_unit="g")
        if len(packed.values) <= room or signal.size <= SHORTEST_SAMPLES:
            return packed
        signal = signal[: signal.size // 2]


def _other_axes(capture: Capture, axis: int, room: int) -> tuple[AxisWaveform, ...]:
    """The beginnings of the other axes, equally long; none where too little of them would fit."""
    others = [number for number in range(capture.channels) if number != axis]
    samples = min(capture.samples, MAX_SERIES_SAMPLES)
    while others and samples >= min(capture.samples, SHORTEST_SAMPLES):
        packed = tuple(
            AxisWaveform.pack(
                capture.counts[number, :samples], axis=number, scale_g=float(capture.scale_g[number]),
                step_s=1.0 / capture.sample_rate_hz,
            )
            for number in others
        )  # fmt: skip
        if sum(len(one.counts) for one in packed) <= room:
            return packed
        samples //= 2
    return ()


def _speed_source(speed: SpeedEstimate) -> str:
    if speed.rpm is None:
        return "unknown"
    return "sensor" if speed.source == "none" else speed.source


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _packed(frequency_hz: NDArray[np.float64], values: NDArray[np.float64]) -> Series:
    """Keep the largest of every few lines where there are too many, so that no peak is lost; the last may be fewer."""
    step, line_hz = max(1, -(-values.size // SPECTRUM_LINES)), float(frequency_hz[1])
    kept = np.maximum.reduceat(values, np.arange(0, values.size, step))
    return Series.pack(
        kept, start=0.5 * (step - 1) * line_hz, step=line_hz * step, axis_unit="Hz", value_unit="g",
        largest_of=step if step > 1 else None,
    )  # fmt: skip
