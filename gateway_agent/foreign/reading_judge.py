"""This file knows what single values say of a machine: the ISO zone, limits that a person set, and no more.

Nothing is learnt from them and no score is given: a level has neither a cause nor the early signs that a spectrum has.
Alarm, persistence, dead band and shelving are the point's own, as for captures.
"""

import math

from gateway_agent.alarm import Judged, Severity
from gateway_agent.foreign.reading import Reading
from gateway_agent.foreign.settings import ReadingLimits
from gateway_agent.point_monitor import NAMEPLATE_CONFIDENCE, Outcome, PointMonitor
from gateway_agent.point_reports import alarm_of
from schemas.capture import Capture
from schemas.messages import Health, PointNotice, Record
from vibration.iso_zones import Nameplate as ZonePlate
from vibration.iso_zones import ZoneVerdict, velocity_band_hz, zone

JUDGED_BY = "ISO zone and set limits of single values"
_WORDS = {
    "velocity_rms_mm_s": ("velocity", "mm/s RMS"), "acceleration_rms_g": ("acceleration", "g RMS"),
    "acceleration_peak_g": ("acceleration", "g peak"), "temperature_c": ("temperature", "degrees C"),
}  # fmt: skip


def conclude_reading(monitor: PointMonitor, capture: Capture, reading: Reading, *, now_us: int) -> Outcome:
    """Judge the single values of one message.

    Args:
        monitor: The point.
        capture: The message's key, time, speed, load, temperature and battery; it has no samples.
        reading: The single values.
        now_us: The gateway's time.
    """
    first, was_learning = not monitor.captures, monitor.learning
    monitor.captures += 1
    monitor.hear_again()
    monitor.quality = "machine_stopped" if capture.rpm == 0.0 else "ok"
    verdict = _zone(monitor, capture, reading)
    values = _values(capture, reading)
    stopped = monitor.quality == "machine_stopped"
    severity, reasons = ("none", []) if stopped else _severity(verdict, values, reading.limits)
    monitor.judged_by = JUDGED_BY if verdict.limits_mm_s is not None or _any(reading.limits) else monitor.judged_by
    changes = []
    if not stopped:
        calm = _calm(verdict, values, reading.limits, monitor.alarm.settings.dead_band)
        changes = monitor.alarm.handle(
            Judged(f"{monitor.point}:{capture.boot}:{capture.sequence}", now_us, severity, severity == "none" and calm)
        )
    health = _health(monitor, capture, reading, verdict, exceeds=severity != "none")
    records: list[Record] = []
    for change in changes:
        record = alarm_of(change, health, None, (), 0)
        records.append(record.model_copy(update={"reason": "; ".join(reasons)}) if reasons else record)
    if first or monitor.learning != was_learning:
        records.append(_notice(monitor, verdict, capture.measured_at_us))
    dirty = bool(records) or severity != "none" or monitor.alarm.active
    return Outcome(health, records, state_changed=dirty, alarm_active=monitor.alarm.active)


def _values(capture: Capture, reading: Reading) -> dict[str, float]:
    return {
        "velocity_rms_mm_s": reading.velocity_rms_mm_s, "acceleration_rms_g": reading.acceleration_rms_g,
        "acceleration_peak_g": reading.acceleration_peak_g, "temperature_c": float(capture.temperature_c),
    }  # fmt: skip


def _zone(monitor: PointMonitor, capture: Capture, reading: Reading) -> ZoneVerdict:
    plate = monitor.plate
    if monitor.quality == "machine_stopped":
        return ZoneVerdict(None, "not assessable: the machine stands still")
    if not reading.velocity_mm_s:
        return ZoneVerdict(None, "not assessable: the sensor sends no velocity")
    if not plate.unit_calibrated:
        return ZoneVerdict(None, "not assessable: the sensor's unit is not calibrated")
    if reading.velocity_band_hz is None:
        return ZoneVerdict(None, "not assessable: enter velocity_band_hz, the band of the sensor's velocity")
    zone_plate = ZonePlate(plate.power_kw, plate.foundation, plate.kind, _rpm(monitor, capture))
    (low_hz, high_hz), needed_hz = reading.velocity_band_hz, velocity_band_hz(zone_plate)
    if low_hz > needed_hz[0] or high_hz < needed_hz[1]:
        return ZoneVerdict(
            None,
            f"not assessable: {low_hz:g} to {high_hz:g} Hz measured, {needed_hz[0]:g} to {needed_hz[1]:g} Hz needed",
        )
    return zone(reading.velocity_mm_s, zone_plate)


def _rpm(monitor: PointMonitor, capture: Capture) -> float | None:
    return float(capture.rpm) if capture.rpm > 0.0 else monitor.plate.rpm


def _severity(verdict: ZoneVerdict, values: dict[str, float], limits: ReadingLimits) -> tuple[Severity, list[str]]:
    found: list[Severity] = []
    reasons = []
    if verdict.zone in {"C", "D"}:
        found.append("danger" if verdict.zone == "D" else "alert")
        reasons.append(verdict.reason[0].upper() + verdict.reason[1:])
    for name, value in values.items():
        pair = getattr(limits, name)
        if pair is None or not value >= pair[0]:  # NaN is no evidence
            continue
        found.append("danger" if value >= pair[1] else "alert")
        what, unit = _WORDS[name]
        reasons.append(f"{what} {value:.4g} {unit}, its {found[-1]} limit is {pair[value >= pair[1]]:g}")
    if not found:
        return "none", []
    return "danger" if "danger" in found else "alert", reasons


def _calm(verdict: ZoneVerdict, values: dict[str, float], limits: ReadingLimits, dead_band: float) -> bool:
    edges = {name: pair[0] for name in values if (pair := getattr(limits, name)) is not None}
    calm = all(values[name] < edge * (1.0 - dead_band) for name, edge in edges.items() if not math.isnan(values[name]))
    if verdict.limits_mm_s is None or verdict.velocity_mm_s is None:
        return calm
    return calm and verdict.velocity_mm_s < verdict.limits_mm_s[1] * (1.0 - dead_band)


def _any(limits: ReadingLimits) -> bool:
    return limits != ReadingLimits()


def _health(
    monitor: PointMonitor, capture: Capture, reading: Reading, verdict: ZoneVerdict, *, exceeds: bool
) -> Health:
    rpm, told = _rpm(monitor, capture), capture.rpm > 0.0
    return Health(
        point=monitor.point, capture_boot=capture.boot, capture_sequence=capture.sequence,
        measured_at_us=capture.measured_at_us, quality=monitor.quality, learning=monitor.learning, score=None,
        limit=None, exceeds=exceeds, alarm=monitor.alarm.state, zone=verdict.zone, zone_basis=verdict.reason,
        velocity_rms_mm_s=_known(reading.velocity_rms_mm_s), acceleration_rms_g=_known(reading.acceleration_rms_g),
        acceleration_peak_g=_known(reading.acceleration_peak_g), crest_factor=_known(reading.crest_factor),
        kurtosis=_known(reading.kurtosis), envelope_rms_g=None, rpm=rpm,
        rpm_source="sensor" if told else "nameplate" if rpm else "unknown",
        rpm_confidence=1.0 if told else NAMEPLATE_CONFIDENCE if rpm else 0.0,
        temperature_c=_known(capture.temperature_c), battery_v=_known(capture.battery_v),
        rssi_dbm=_known(capture.rssi_dbm),
        remaining_life_basis="single values do not foretell a remaining life",
    )  # fmt: skip


def _notice(monitor: PointMonitor, verdict: ZoneVerdict, at_us: int) -> PointNotice:
    if monitor.judged_by:
        text = f"ready: {monitor.judged_by}; no pattern is learnt, no cause is named"
    else:
        text = f"nothing judges these single values ({verdict.reason}); complete the nameplate or set limits"
    return PointNotice(point=monitor.point, learning=monitor.learning, quality=monitor.quality, text=text, at_us=at_us)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
