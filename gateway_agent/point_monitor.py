"""This file knows one measurement point: what it has learnt, what it thinks of a capture, and which alarm stands.

Pure: captures and model scores in, records out. Blocks of ISO 13374: data manipulation comes in as features, here
are state detection (baseline, limit), health assessment (zone, diagnosis) and the alarm.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_agent.alarm import AlarmChange, AlarmLogic, Judged, Severity
from gateway_agent.baseline import (
    MIN_CAPTURES,
    Baseline,
    Limit,
    Rows,
    Scorer,
    calibrate,
    fit_baseline,
    point_scores,
    statistical_scorer,
)
from gateway_agent.diagnosis import Findings, MachineFacts, OrderReference, diagnose, order_amplitudes_mm_s
from gateway_agent.explanation import contributions
from gateway_agent.point_reports import STATISTIC, alarm_by_hand, alarm_of, evidence_of, health_of
from gateway_agent.settings import AlarmSettings, CommissioningSettings
from schemas.capture import Capture
from schemas.container import array_blob, blob_array, pack, unpack
from schemas.messages import Contribution, Evidence, Health, Learning, PointNotice, Record
from schemas.nameplate import Nameplate
from vibration.bearing import FaultOrders
from vibration.features import MODEL_FEATURES, FeatureKernel
from vibration.iso_zones import Nameplate as ZonePlate
from vibration.iso_zones import ZoneVerdict, zone
from vibration.quality import ChannelBaseline, Quality, assess_quality, measure_baseline
from vibration.spectrum import ISO_BAND_HZ
from vibration.speed import SpeedEstimate, estimate_speed

NAMEPLATE_CONFIDENCE = 0.5  # induction motors slip by some percent under load
STOPPED_SHARE = 0.03  # of the healthy RMS on every axis: a machine at rest, not a machine that got better by 30 dB
RECALIBRATE_EVERY = 5  # learnt captures, for the provisional score while learning
LOOK_EVERY = 5  # captures of a standing alarm: a diagnosis costs fifty times what a score costs
QUALITY_HOLD = 3  # captures of the same bad quality until the sensor itself is reported
DANGER_SCORES = 4.0  # times the limit, with a bearing diagnosis, makes an alert a danger
LATCH_CONFIDENCE = 0.7  # a bearing fault this sure does not heal: falling vibration is no recovery (stage 4)
_NO_FAULT_OF_THE_SENSOR = frozenset({"ok", "machine_stopped"})
_BEARING = frozenset({"outer", "inner", "ball", "cage"})


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One capture with its features, before it is judged."""

    capture: Capture
    features: NDArray[np.float32]
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

    `model_version` and `scorer` are set by whoever holds the model; a change of model recalibrates the limit from
    the commissioning captures, which stay with the point.
    """

    point: str
    plate: Nameplate
    orders: FaultOrders | None
    commissioning: CommissioningSettings
    alarm: AlarmLogic
    scorer: Scorer = statistical_scorer
    model_version: int = 0
    shape: tuple[float, int, int] | None = None
    learnt: list[Rows] = field(default_factory=list)
    baseline: Baseline | None = None
    limit: Limit | None = None
    channel_levels: tuple[ChannelBaseline, ...] | None = None
    healthy_rms_g: NDArray[np.float64] | None = None
    reference: OrderReference = field(default_factory=OrderReference)
    captures: int = 0
    quality: str = "ok"
    _bad_run: deque[str] = field(default_factory=lambda: deque(maxlen=QUALITY_HOLD))
    _notified: str = "ok"
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
        return self.limit is not None and len(self.learnt) >= self.commissioning.captures

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

    def standardise(self, seen: Seen) -> Rows | None:
        """The rows (channels, F) a model is to score; None when there is nothing to score by."""
        if not seen.quality.ok or self.baseline is None or self.shape != _shape(seen) or not self.ready:
            return None
        rows: Rows = self.baseline.standardise(seen.features[None, :, MODEL_FEATURES])[0]
        return rows

    def use_model(self, scorer: Scorer, version: int) -> bool:
        """Take another model; tell whether the limit was calibrated anew."""
        self.scorer, self.model_version = scorer, version
        return self._calibrate()

    def conclude(
        self,
        seen: Seen,
        rows: Rows | None,
        score: float | None,
        reconstructed: Rows | None,
        *,
        now_us: int | None = None,
        diagnose_always: bool = False,
    ) -> Outcome:
        """Judge one capture.

        Args:
            seen: The capture.
            rows: What `standardise` gave.
            score: The model's score of these rows; None when there were none.
            reconstructed: What the model made of them.
            now_us: The gateway's time; that of the capture if left out.
            diagnose_always: Also diagnose what is not suspicious (a back-test wants it).
        """
        capture, quality = seen.capture, self._final_quality(seen)
        self.captures += 1
        usable = quality == "ok"
        limit = self.limit.score if self.limit is not None and self.ready else None
        if usable and self.shape is not None and self.shape != _shape(seen):
            usable, quality = False, "changed_layout"
        was_learning, learnt_something = self.learning, False
        if usable and not self.ready:
            score, limit = self._score_while_learning(seen)
        scored = usable and score is not None
        exceeds = bool(scored and self.ready and limit is not None and score is not None and score >= limit)
        verdict = self._zone(seen) if usable else ZoneVerdict(None, f"not assessable: sensor {quality}")
        outcome_findings: Findings | None = None
        speed = self._told_speed(capture)
        suspicious = exceeds or verdict.zone in {"C", "D"} or self.alarm.active
        if usable and (suspicious or diagnose_always):
            speed, outcome_findings = self._look(capture, fresh=diagnose_always)
        severity = self._severity(score, limit, exceeds, verdict, outcome_findings)
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
            score=score if scored else None, limit=limit, exceeds=exceeds, alarm=self.alarm.state, verdict=verdict,
            found=outcome_findings, speed=speed, model_version=self.model_version if self.ready else 0,
        )  # fmt: skip
        outcome = Outcome(health, findings=outcome_findings, alarm_active=self.alarm.active)
        shares: tuple[Contribution, ...] = ()
        if changes and rows is not None and reconstructed is not None:
            shares = contributions(
                rows, reconstructed, band_edges_hz=seen.kernel.band_edges_hz,
                envelope_edges_hz=seen.kernel.envelope_band_edges_hz,
            )  # fmt: skip
        for change in changes:
            outcome.records.append(alarm_of(change, health, outcome_findings, shares, self.model_version))
            if outcome_findings is not None and change.state == "unacknowledged":
                outcome.records.append(self.evidence(capture, outcome_findings, why=f"alarm {change.alarm_id}"))
        outcome.records += self._notices(quality, seen.quality.detail, capture.measured_at_us, was_learning)
        if usable and self.ready and not exceeds and not self.alarm.active and severity == "none" and rows is not None:
            outcome.healthy_rows = rows
        outcome.state_changed = bool(changes or learnt_something or outcome.records or self.alarm.active or exceeds)
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
        self.baseline = self.limit = self.shape = self.channel_levels = self.healthy_rms_g = None
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
        meta: dict[str, Any] = {
            "version": 1, "shape": self.shape, "captures": self.captures, "quality": self.quality,
            "notified": self._notified, "alarm": self.alarm.dump(), "learnt": learnt_meta, "reference": ref_meta,
            "reference_count": self.reference.count,
            "levels": [[level.low_rms, level.high_rms] for level in self.channel_levels or ()],
            "healthy_rms_g": None if self.healthy_rms_g is None else self.healthy_rms_g.tolist(),
        }  # fmt: skip
        return pack(meta, {"learnt": learnt_blob, "reference": ref_blob})

    def restore(self, state: bytes) -> None:
        """Continue from what `dump` gave; baseline and limit are calculated again from the learnt captures."""
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
        self._calibrate()

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
        if self.baseline is None or self.shape != _shape(seen):
            return False
        upper = slice(MODEL_FEATURES.start + 24, MODEL_FEATURES.start + 32)
        drop = seen.features[:, upper].mean(axis=1) - self.baseline.mean[:, 24:32].mean(axis=1)
        return bool((drop < -1.0).any())

    def _score_while_learning(self, seen: Seen) -> tuple[float | None, float | None]:
        if self.baseline is None or self.shape != _shape(seen):
            return None, None
        rows = self.baseline.standardise(seen.features[None, :, MODEL_FEATURES])
        limit = self.limit.score if self.limit is not None else None
        return float(point_scores(rows, statistical_scorer)[0][0]), limit

    def _learn(self, seen: Seen) -> bool:
        if self.shape is None:
            self.shape = _shape(seen)
        self.learnt.append(np.array(seen.features[:, MODEL_FEATURES]))
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
        if count == 1 or count % RECALIBRATE_EVERY == 0 or count == self.commissioning.captures:
            self._calibrate()
        return True

    def _calibrate(self) -> bool:
        if not self.learnt:
            return False
        features = np.stack(self.learnt)
        self.baseline = fit_baseline(features)
        if len(features) < MIN_CAPTURES:
            return False
        done = len(self.learnt) >= self.commissioning.captures
        scorer = self.scorer if done else statistical_scorer
        self.limit = calibrate(features, scorer, false_alarm_rate=self.commissioning.false_alarm_rate)
        return True

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

    def _severity(
        self, score: float | None, limit: float | None, exceeds: bool, verdict: ZoneVerdict, found: Findings | None
    ) -> Severity:
        if verdict.zone == "D":
            return "danger"
        if exceeds and score is not None and limit is not None and found is not None:
            top = found.ranked[0]
            if score >= DANGER_SCORES * limit and top.label in _BEARING and top.confidence >= LATCH_CONFIDENCE:
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
            records.append(self._notice(text, quality, at_us))
        return records

    def _notice(self, text: str, quality: str, at_us: int) -> PointNotice:
        return PointNotice(point=self.point, learning=self.learning, quality=quality, text=text, at_us=at_us)


def _shape(seen: Seen) -> tuple[float, int, int]:
    return (seen.capture.sample_rate_hz, seen.capture.channels, seen.capture.samples)
