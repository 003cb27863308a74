"""This file knows how a judged capture is told: the records of health, alarm and evidence, and nothing decided."""

import math
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
    Contribution,
    Evidence,
    Health,
    Learning,
    Record,
    Series,
)
from schemas.messages import RemainingLife as RemainingLifeBand
from vibration.features import FEATURE_NAMES, MODEL_FEATURES
from vibration.iso_zones import ZoneVerdict
from vibration.speed import SpeedEstimate

BASIS_CHARACTERS = 400  # what the contract takes
SPECTRUM_LINES = 4096  # most lines of a spectrum that travel as evidence
STATISTIC = {name: index for index, name in enumerate(FEATURE_NAMES[: MODEL_FEATURES.start])}
"""Where each statistic lies in a feature vector."""


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


def health_of(point: str, capture: Capture, features: NDArray[np.float32], read: Read) -> Health:
    """The record of one capture; statistics are those of the worst axis, None where they are not finite."""
    largest = features[:, : MODEL_FEATURES.start].max(axis=0).tolist()

    def worst(name: str) -> float | None:
        return _known(largest[STATISTIC[name]])

    band, basis = _remaining(read.remaining)
    return Health(
        point=point, capture_boot=capture.boot, capture_sequence=capture.sequence,
        measured_at_us=capture.measured_at_us, quality=read.quality, learning=read.learning, score=read.score,
        limit=read.limit, exceeds=read.exceeds, alarm=read.alarm, zone=read.verdict.zone,
        zone_basis=read.verdict.reason,
        velocity_rms_mm_s=worst("velocity_rms_mm_s"), acceleration_rms_g=worst("acceleration_rms_g"),
        acceleration_peak_g=worst("peak_g"), crest_factor=worst("crest_factor"), kurtosis=worst("kurtosis"),
        envelope_rms_g=worst("envelope_rms_g"), rpm=read.speed.rpm, rpm_source=_speed_source(read.speed),
        rpm_confidence=read.speed.confidence, temperature_c=_known(capture.temperature_c),
        battery_v=_known(capture.battery_v), diagnosis=read.found.ranked if read.found else (),
        remaining_life=band, remaining_life_basis=basis, model_version=read.model_version,
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
    """The spectra behind a verdict; the waveform travels only when somebody asked for it."""
    signal = capture.acceleration_g()[found.axis, :MAX_SERIES_SAMPLES]
    return Evidence(
        point=point, capture_boot=capture.boot, capture_sequence=capture.sequence,
        measured_at_us=capture.measured_at_us, why=why, axis=found.axis, rpm=rpm,
        spectrum=_packed(found.frequency_hz, found.spectrum_g), envelope=_packed(found.envelope_hz, found.envelope_g),
        envelope_band_hz=found.envelope_band_hz, fault_lines=found.lines,
        waveform=Series.pack(
            signal, start=0.0, step=1.0 / capture.sample_rate_hz, axis_unit="s", value_unit="g"
        ) if waveform else None,
    )  # fmt: skip


def _speed_source(speed: SpeedEstimate) -> str:
    if speed.rpm is None:
        return "unknown"
    return "sensor" if speed.source == "none" else speed.source


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _packed(frequency_hz: NDArray[np.float64], values: NDArray[np.float64]) -> Series:
    """Keep the largest of every few lines where there are too many, so that no peak is lost."""
    step = max(1, -(-values.size // SPECTRUM_LINES))
    kept = values[: values.size // step * step].reshape(-1, step).max(axis=1)
    return Series.pack(kept, start=0.0, step=float(frequency_hz[1]) * step, axis_unit="Hz", value_unit="g")
