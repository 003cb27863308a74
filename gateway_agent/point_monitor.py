"""This file knows one measurement point: what it has learnt, what it thinks of a capture, and which alarm stands.

Pure: captures and model scores in, records out. Blocks of ISO 13374: data manipulation comes in as features, here
are state detection (baseline, limit), health assessment (zone, diagnosis) and the alarm.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_agent.alarm import AlarmChange, AlarmLogic, Judged, Severity
from gateway_agent.baseline import Rows, model_rows
from gateway_agent.diagnosis import Findings, MachineFacts, OrderReference, diagnose, order_amplitudes_mm_s
from gateway_agent.explanation import contributions
from gateway_agent.limits import MIN_CAPTURES
from gateway_agent.operating_states import OperatingStates, Reading, Told
from gateway_agent.point_reports import STATISTIC, alarm_by_hand, alarm_of, evidence_of, health_of
from gateway_agent.scoring import Model, StatisticalFallback
from gateway_agent.session_sums import Session
from gateway_agent.settings import AlarmSettings, CommissioningSettings
from schemas.capture import Capture
from schemas.container import array_blob, blob_array, pack, unpack
from schemas.messages import Contribution, Evidence, Health, Learning, PointNotice, Record
from schemas.nameplate import Nameplate
from vibration.bearing import FaultOrders
from vibration.detection_features import detection_edges_hz, detection_features
from vibration.features import MODEL_FEATURES, FeatureKernel
from vibration.iso_zones import Nameplate as ZonePlate
from vibration.iso_zones import ZoneVerdict, zone
from vibration.quality import ChannelBaseline, Quality, assess_quality, measure_baseline
from vibration.spectrum import ISO_BAND_HZ
from vibration.speed import SpeedEstimate, estimate_speed

NAMEPLATE_CONFIDENCE = 0.5  # induction motors slip by some percent under load
STOPPED_SHARE = 0.03  # of the healthy RMS on every axis: a machine at rest, not a machine that got better by 30 dB
STATE_VERSION = 2
UPPER_BANDS = slice(24, 32)  # of the narrow ones: where a loose sensor loses first
DUMP_EVERY = 20  # captures followed until the baseline is written again: what a crash loses is a drift's beginning
RECALIBRATE_EVERY = 5  # learnt captures, for the provisional score while learning
LOOK_EVERY = 5  # captures of a standing alarm: a diagnosis costs fifty times what a score costs
QUALITY_HOLD = 3  # captures of the same bad quality until the sensor itself is reported
# Times the limit that makes an alert a danger: scores are squares, and the trade's danger (mean + 6 sigma) lies twice
# as far out as its alert (mean + 3 sigma).
DANGER_SCORES = 4.0
LATCH_CONFIDENCE = 0.7  # a bearing fault this sure does not heal: falling vibration is no recovery (stage 4)
_NO_FAULT_OF_THE_SENSOR = frozenset({"ok", "machine_stopped"})
_BEARING = frozenset({"outer", "inner", "ball", "cage"})


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One capture with its features, before it is judged."""

    capture: Capture
    features: NDArray[np.float32]
    detection: NDArray[np.float64]
    kernel: FeatureKernel
    quality: Quality


@dataclass(slots=True)
class Outcome:
    """What one capture led to."""

    health: Health
    records: list[Record] = field(default_factory=list)
    healthy_rows: Rows | None = None
    """Standardised rows (channels, F) fit for training; None when not to be learnt from."""
    state_changed: bool = False
    alarm_active: bool = False
    findings: Findings | None = None


@dataclass(slots=True)
class PointMonitor:
    """Judges the captures of one point in the order they come.

    The model is given by whoever holds it; what a new one knows of the fleet recalibrates the limits from the
    commissioning captures, which stay with the point.
    """

    point: str
    plate: Nameplate
    orders: FaultOrders | None
    commissioning: CommissioningSettings
    alarm: AlarmLogic
    model: Model = field(default_factory=StatisticalFallback)
    shape: tuple[float, int, int] | None = None
    learnt: list[Rows] = field(default_factory=list)
    learnt_told: list[Told] = field(default_factory=list)
    states: OperatingStates = field(default_factory=OperatingStates)
    channel_levels: tuple[ChannelBaseline, ...] | None = None
    healthy_rms_g: NDArray[np.float64] | None = None
    reference: OrderReference = field(default_factory=OrderReference)
    captures: int = 0
    quality: str = "ok"
    _bad_run: deque[str] = field(default_factory=lambda: deque(maxlen=QUALITY_HOLD))
    _notified: str = "ok"
    _since_dump: int = 0
    _last_look: tuple[SpeedEstimate, Findings] | None = None
    _since_look: int = 0

    @classmethod
    def new(
        cls, point: str, plate: Nameplate, orders: FaultOrders | None, commissioning: CommissioningSettings,
        alarm: AlarmSettings,
    ) -> "PointMonitor":  # fmt: skip
        """Start a point that has seen nothing."""
        return cls(point, plate, orders, commissioning, AlarmLogic(alarm))

    @property
    def learning(self) -> Learning:
        """Whether the point is still learning, ready, or its sensor in doubt."""
        if self._notified not in _NO_FAULT_OF_THE_SENSOR:
            return "suspect"
        return "ready" if self.ready else "learning"

    @property
    def ready(self) -> bool:
        """Whether limits are calibrated."""
        return self.states.ready and len(self.learnt) >= self.commissioning.captures

    @property
    def model_version(self) -> int:
        """Number of the release that judges."""
        return self.model.version

    @property
    def learning_share(self) -> float:
        """How much of the commissioning is done, 0 to 1."""
        return min(1.0, len(self.learnt) / self.commissioning.captures)

    def assess(self, capture: Capture) -> Quality:
        """Say whether a capture can be believed."""
        full_scale = float(capture.range_g / capture.scale_g.max()) if np.isfinite(capture.range_g) else None
        rpm = self._rpm(capture)
        return assess_quality(
            capture.counts, sample_rate_hz=capture.sample_rate_hz, full_scale_counts=full_scale,
            shaft_speed_hz=rpm / 60.0 if rpm else None,
        )  # fmt: skip

    def rows_of(self, features: Rows) -> Rows:
        """Standardise the model features (channels, F) of a stored healthy capture as training rows."""
        reading = self.states.read(detection_features(features), Told())
        return model_rows(reading.z)

    def session(self) -> Session | None:
        """What commissioning heard, for the fleet to learn from; None before it is complete."""
        return Session(self._commissioned()[0], self._layout()) if self.ready else None

    def use_model(self, model: Model) -> bool:
        """Judge by another release's knowledge; tell whether the limits were calibrated anew."""
        self.model = model
        if not self.states.ready or self.shape is None:
            return False
        features, told = self._commissioned()
        self.states.recalibrate(features, told, model.variation.prior(*self._layout()), self._layout())
        return True

    def conclude(
        self,
        seen: Seen,
        *,
        now_us: int | None = None,
        diagnose_always: bool = False,
    ) -> Outcome:
        """Judge one capture.

        Args:
            seen: The capture.
            now_us: The gateway's time; that of the capture if left out.
            diagnose_always: Also diagnose what is not suspicious (a back-test wants it).
        """
        capture, quality = seen.capture, self._final_quality(seen)
        self.captures += 1
        usable = quality == "ok"
        if usable and self.shape is not None and self.shape != _shape(seen):
            usable, quality = False, "changed_layout"
        was_learning, was_ready, learnt_something = self.learning, self.ready, False
        reading: Reading | None = None
        if usable and self.states.ready:
            reading = self.states.read(seen.detection, _told(capture))
        score = reading.score if reading else None
        limit = reading.state.limit.score if reading else None
        exceeds = bool(self.ready and reading and reading.score >= reading.state.limit.score)
        verdict = self._zone(seen) if usable else ZoneVerdict(None, f"not assessable: sensor {quality}")
        outcome_findings: Findings | None = None
        speed = self._told_speed(capture)
        suspicious = exceeds or verdict.zone in {"C", "D"} or self.alarm.active
        if usable and (suspicious or diagnose_always):
            speed, outcome_findings = self._look(capture, fresh=diagnose_always)
        severity = self._severity(score, limit, exceeds, verdict)
        if usable and not self.ready and severity != "danger":
            learnt_something = self._learn(seen)
        changes: list[AlarmChange] = []
        if usable:
            calm = severity == "none" and (
                limit is None or score is None or score < limit * (1.0 - self.alarm.settings.dead_band)
            )
            changes = self.alarm.handle(
                Judged(
                    f"{self.point}:{capture.boot}:{capture.sequence}",
                    capture.measured_at_us if now_us is None else now_us, severity, calm,
                    latches=self._latches(exceeds, outcome_findings),
                )
            )  # fmt: skip
        if changes and outcome_findings is not None and self._since_look:
            speed, outcome_findings = self._look(capture, fresh=True)  # what goes out with an alarm is its own
        health = health_of(
            self.point, capture, seen.features, quality=quality, learning=self.learning,
            score=score, limit=limit, exceeds=exceeds, alarm=self.alarm.state, verdict=verdict,
            found=outcome_findings, speed=speed, model_version=self.model_version if self.ready else 0,
        )  # fmt: skip
        outcome = Outcome(health, findings=outcome_findings, alarm_active=self.alarm.active)
        shares: tuple[Contribution, ...] = ()
        if changes and reading is not None:
            shares = contributions(reading.z, detection_edges_hz(*_shape(seen)[::2]))
        for change in changes:
            outcome.records.append(alarm_of(change, health, outcome_findings, shares, self.model_version))
            if outcome_findings is not None and change.state == "unacknowledged":
                outcome.records.append(self.evidence(capture, outcome_findings, why=f"alarm {change.alarm_id}"))
        outcome.records += self._notices(quality, seen.quality.detail, capture.measured_at_us, was_learning)
        followed = 0
        if was_ready and reading is not None and not exceeds and not self.alarm.active and severity == "none":
            outcome.healthy_rows = model_rows(reading.z)
            followed = self.states.follow(reading, seen.detection)
        self._since_dump += followed
        outcome.state_changed = bool(
            changes or learnt_something or outcome.records or self.alarm.active or exceeds
            or self._since_dump >= DUMP_EVERY
        )  # fmt: skip
        if outcome.state_changed:
            self._since_dump = 0
        return outcome

    def evidence(self, capture: Capture, found: Findings, *, why: str, waveform: bool = False) -> Evidence:
        """Pack what a person needs to check a verdict. The waveform travels only when somebody asked for it."""
        rpm = self._speed(capture).rpm
        return evidence_of(self.point, capture, found, why=why, rpm=rpm, waveform=waveform)

    def _look(self, capture: Capture, *, fresh: bool) -> tuple[SpeedEstimate, Findings]:
        """Diagnose; while an alarm stands only now and then, for the verdict of a moment ago still holds."""
        if self._last_look is None or fresh or not self.alarm.active or self._since_look + 1 >= LOOK_EVERY:
            speed = self._speed(capture)
            self._last_look, self._since_look = (speed, self._diagnose(capture, speed)), 0
        else:
            self._since_look += 1
        return self._last_look

    def diagnose_capture(self, capture: Capture) -> Findings:
        """Diagnose one capture outside the live path, for evidence on request."""
        return self._diagnose(capture, self._speed(capture))

    def maintain(self, at_us: int) -> list[Record]:
        """The machine was repaired or the sensor moved: end the alarm and learn healthy anew."""
        why = "maintenance recorded; learning anew what healthy is"
        records = [
            alarm_by_hand(self.point, change, at_us, why, self.model_version) for change in self.alarm.maintain()
        ]
        self.learnt.clear()
        self.learnt_told.clear()
        self.states = OperatingStates()
        self.shape = self.channel_levels = self.healthy_rms_g = None
        self.reference = OrderReference()
        self._notified = "ok"
        self._last_look = None
        records.append(self._notice("maintenance recorded: learning anew", "ok", at_us))
        return records

    def alarm_records(self, changes: list[AlarmChange], at_us: int) -> list[Record]:
        """Tell the site of changes that a person made."""
        return [alarm_by_hand(self.point, change, at_us, change.why, self.model_version) for change in changes]

    def dump(self) -> bytes:
        """The whole state; `restore` continues from it."""
        learnt = np.stack(self.learnt) if self.learnt else np.zeros((0, 0, 0), np.float32)
        (learnt_meta, learnt_blob), (ref_meta, ref_blob) = array_blob(learnt), array_blob(self.reference.mean)
        states, blobs = self.states.dump()
        meta: dict[str, Any] = {
            "version": STATE_VERSION, "shape": self.shape, "captures": self.captures, "quality": self.quality,
            "notified": self._notified, "alarm": self.alarm.dump(), "learnt": learnt_meta, "reference": ref_meta,
            "learnt_told": [[told.rpm, told.load] for told in self.learnt_told], "states": states,
            "reference_count": self.reference.count,
            "levels": [[level.low_rms, level.high_rms] for level in self.channel_levels or ()],
            "healthy_rms_g": None if self.healthy_rms_g is None else self.healthy_rms_g.tolist(),
        }  # fmt: skip
        return pack(meta, {"learnt": learnt_blob, "reference": ref_blob, **blobs})

    def restore(self, state: bytes) -> None:
        """Continue from what `dump` gave; what an older version left is calculated again from the learnt captures."""
        meta, blobs = unpack(state)
        self.shape = tuple(meta["shape"]) if meta["shape"] else None
        self.captures, self.quality, self._notified = meta["captures"], meta["quality"], meta["notified"]
        self.alarm = AlarmLogic.load(self.alarm.settings, meta["alarm"])
        self.learnt = list(blob_array(meta["learnt"], blobs["learnt"]))
        self.reference = OrderReference(
            meta["reference_count"], np.array(blob_array(meta["reference"], blobs["reference"]))
        )
        self.channel_levels = tuple(ChannelBaseline(low, high) for low, high in meta["levels"]) or None
        self.healthy_rms_g = None if meta["healthy_rms_g"] is None else np.asarray(meta["healthy_rms_g"])
        if meta["version"] < STATE_VERSION:
            self.learnt_told = [Told()] * len(self.learnt)
            self._commission()
            return
        self.learnt_told = [Told(rpm, load) for rpm, load in meta["learnt_told"]]
        self.states = OperatingStates.load(meta["states"], blobs)

    def _final_quality(self, seen: Seen) -> str:
        if not seen.quality.ok:
            return seen.quality.verdict
        if self.ready and self.channel_levels is not None and self._suspects_loose(seen):
            again = assess_quality(
                seen.capture.acceleration_g(), sample_rate_hz=seen.capture.sample_rate_hz, baseline=self.channel_levels
            )
            if not again.ok:
                return again.verdict
        if self.ready and self.healthy_rms_g is not None and self.healthy_rms_g.shape == (seen.capture.channels,):
            rms = seen.features[:, STATISTIC["acceleration_rms_g"]]
            if bool((rms < STOPPED_SHARE * self.healthy_rms_g).all()):
                return "machine_stopped"
        return "ok"

    def _suspects_loose(self, seen: Seen) -> bool:
        """The exact check costs a transform; the upper bands say cheaply when it is worth it."""
        if not self.states.ready or self.shape != _shape(seen):
            return False
        drop = (seen.detection[:, UPPER_BANDS] - self.states.states[0].baseline.mean[:, UPPER_BANDS]).mean(axis=1)
        return bool((drop < -1.0).any())

    def _learn(self, seen: Seen) -> bool:
        if self.shape is None:
            self.shape = _shape(seen)
        self.learnt.append(np.array(seen.features[:, MODEL_FEATURES]))
        self.learnt_told.append(_told(seen.capture))
        count = len(self.learnt)
        levels = measure_baseline(seen.capture.acceleration_g())
        rms = seen.features[:, STATISTIC["acceleration_rms_g"]].astype(np.float64)
        if self.channel_levels is None or self.healthy_rms_g is None:
            self.channel_levels, self.healthy_rms_g = levels, rms
        else:
            share = 1.0 / count
            self.channel_levels = tuple(
                ChannelBaseline(
                    old.low_rms + share * (new.low_rms - old.low_rms),
                    old.high_rms + share * (new.high_rms - old.high_rms),
                )
                for old, new in zip(self.channel_levels, levels, strict=True)
            )
            self.healthy_rms_g = self.healthy_rms_g + share * (rms - self.healthy_rms_g)
        amplitudes = order_amplitudes_mm_s(
            seen.capture.acceleration_g(), sample_rate_hz=seen.capture.sample_rate_hz,
            shaft_hz=self._facts(self._speed(seen.capture)).shaft_hz,
        )  # fmt: skip
        if amplitudes is not None:
            self.reference.learn(amplitudes)
        if count == MIN_CAPTURES or count % RECALIBRATE_EVERY == 0 or count == self.commissioning.captures:
            self._commission()
        return True

    def _commission(self) -> None:
        """Baselines and limits from the healthy captures so far; provisional until there are enough."""
        if len(self.learnt) < MIN_CAPTURES:
            return
        features, told = self._commissioned()
        self.states = OperatingStates.commission(
            features, told, self.model.variation.prior(*self._layout()), self._layout(),
            false_alarm_rate=self.commissioning.false_alarm_rate,
        )  # fmt: skip

    def _commissioned(self) -> tuple[NDArray[np.float64], list[Told]]:
        return detection_features(np.stack(self.learnt)), self.learnt_told

    def _layout(self) -> tuple[float, int]:
        assert self.shape is not None, "asked for the layout of a point that has learnt nothing"
        return self.shape[0], self.shape[2]

    def _rpm(self, capture: Capture) -> float | None:
        if np.isfinite(capture.rpm) and capture.rpm > 0:
            return float(capture.rpm)
        return self.plate.rpm

    def _facts(self, speed: SpeedEstimate) -> MachineFacts:
        rpm = speed.rpm
        return MachineFacts(
            rpm / 60.0 if rpm else None, self.orders, self.plate.gear_teeth, self.plate.line_frequency_hz
        )

    def _told_speed(self, capture: Capture) -> SpeedEstimate:
        """The speed without looking at the signal: the sensor's, else the nameplate's."""
        if np.isfinite(capture.rpm) and capture.rpm > 0:
            return SpeedEstimate(float(capture.rpm), 1.0, "none", "measured with the capture")
        if self.plate.rpm is None:
            return SpeedEstimate(None, 0.0, "none", "not known")
        return SpeedEstimate(self.plate.rpm, NAMEPLATE_CONFIDENCE, "nameplate", "nameplate speed")

    def _speed(self, capture: Capture) -> SpeedEstimate:
        """What the sensor told, else the signal's speed where the nameplate says between what, else the nameplate's."""
        plate = self.plate
        told = self._told_speed(capture)
        if told.confidence == 1.0 or plate.rpm_range is None or not plate.rpm_range[0] < plate.rpm_range[1]:
            return told
        estimates = [
            estimate_speed(signal, capture.sample_rate_hz, rpm_range=plate.rpm_range, nameplate_rpm=plate.rpm)
            for signal in capture.acceleration_g()
        ]
        return max(estimates, key=lambda estimate: estimate.confidence)

    def _diagnose(self, capture: Capture, speed: SpeedEstimate) -> Findings:
        return diagnose(
            capture.acceleration_g(), sample_rate_hz=capture.sample_rate_hz, facts=self._facts(speed),
            reference=self.reference,
        )  # fmt: skip

    def _zone(self, seen: Seen) -> ZoneVerdict:
        if not self.plate.unit_calibrated:
            return ZoneVerdict(None, "not assessable: the sensor's unit is not calibrated")
        if seen.kernel.velocity_band_hz[1] < ISO_BAND_HZ[1] or seen.kernel.velocity_band_hz[0] > ISO_BAND_HZ[0]:
            low, high = seen.kernel.velocity_band_hz
            return ZoneVerdict(None, f"not assessable: {low:.0f} to {high:.0f} Hz seen, 10 to 1000 Hz needed")
        plate = ZonePlate(self.plate.power_kw, self.plate.foundation, self.plate.kind, self._rpm(seen.capture))
        return zone((float(v) for v in seen.features[:, STATISTIC["velocity_rms_mm_s"]]), plate)

    def _severity(self, score: float | None, limit: float | None, exceeds: bool, verdict: ZoneVerdict) -> Severity:
        far = exceeds and score is not None and limit is not None and score >= DANGER_SCORES * limit
        if verdict.zone == "D" or far:
            return "danger"
        return "alert" if exceeds or verdict.zone == "C" else "none"

    def _latches(self, exceeds: bool, found: Findings | None) -> bool:
        if not exceeds or found is None:
            return False
        return found.ranked[0].label in _BEARING and found.ranked[0].confidence >= LATCH_CONFIDENCE

    def _notices(self, quality: str, detail: str, at_us: int, was_learning: str) -> list[Record]:
        self.quality = quality
        self._bad_run.append(quality)
        records: list[Record] = []
        held = len(self._bad_run) == QUALITY_HOLD and len(set(self._bad_run)) == 1
        if held and quality != self._notified:
            stopped, self._notified = self._notified == "machine_stopped", quality
            again = "the machine runs again" if stopped else "captures can be believed again"
            text = again if quality == "ok" else f"{quality}: {detail}".rstrip(": ")
            records.append(self._notice(text, quality, at_us))
        elif was_learning == "learning" and self.learning == "ready":
            text = f"ready: healthy limits from {len(self.learnt)} captures"
            records.append(self._notice("; ".join([text, *self.states.remarks]), quality, at_us))
        return records

    def _notice(self, text: str, quality: str, at_us: int) -> PointNotice:
        return PointNotice(point=self.point, learning=self.learning, quality=quality, text=text, at_us=at_us)


def _shape(seen: Seen) -> tuple[float, int, int]:
    return (seen.capture.sample_rate_hz, seen.capture.channels, seen.capture.samples)


def _told(capture: Capture) -> Told:
    """Speed and load that the sensor told with this capture; a nameplate's are the same for all and part no states."""
    rpm, load = float(capture.rpm), float(capture.load)
    return Told(rpm if math.isfinite(rpm) and rpm > 0 else None, load if math.isfinite(load) else None)
