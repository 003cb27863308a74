"""This file knows one measurement point: what it thinks of a capture, and which alarm stands.

Pure: captures in, records out. Blocks of ISO 13374: data manipulation comes in as features, here are state detection
(operating states, limits, changed sensors), health assessment (zone, diagnosis), prognosis and the alarm. What the
point has learnt is in `commissioned`.
"""

import math
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_agent.alarm import AlarmChange, AlarmLogic, Judged, Severity
from gateway_agent.baseline import Baseline, Rows, model_rows, score_of
from gateway_agent.commissioned import Aside, Commissioned, told_with
from gateway_agent.diagnosis import EvidenceLedger, Findings, MachineFacts, diagnose, label_name, picture_of
from gateway_agent.explanation import contributions
from gateway_agent.label_knowledge import LABELS, LabelKnowledge, LabelSums
from gateway_agent.limits import MIN_CAPTURES, Limit
from gateway_agent.mounting_watch import MountingWatch
from gateway_agent.operating_states import Reading, Told
from gateway_agent.point_reports import STATISTIC, Read, alarm_by_hand, alarm_of, evidence_of, health_of, velocity_name
from gateway_agent.prognosis import NoRemainingLife, Prognosis, RemainingLife
from gateway_agent.scoring import Model, StatisticalFallback
from gateway_agent.sensor_change import SensorChange, looks_loose
from gateway_agent.session_sums import Session
from gateway_agent.settings import AlarmSettings, CommissioningSettings
from schemas.capture import Capture
from schemas.container import array_blob, blob_array, pack, unpack
from schemas.messages import Contribution, Evidence, Health, Learning, PointNotice, Record
from schemas.nameplate import BearingPlate, Nameplate
from schemas.plate_table import ToldPlate
from schemas.variation import HealthyPrior, Variation
from vibration.bearing import FaultOrders
from vibration.detection_features import MODEL_COLUMNS, detection_edges_hz, detection_features
from vibration.features import FeatureKernel
from vibration.iso_zones import Nameplate as ZonePlate
from vibration.iso_zones import ZoneVerdict, velocity_band_at, zone
from vibration.quality import Quality, assess_quality
from vibration.spectrum import ISO_BAND_HZ
from vibration.speed import SpeedEstimate, estimate_speed

NAMEPLATE_CONFIDENCE = 0.5  # induction motors slip by some percent under load
STOPPED_SHARE = 0.03  # of the healthy RMS on every axis: a machine at rest, not a machine that got better by 30 dB
# The same where the sensor itself says 0 rpm, and rest was not commissioned as a state of its own: what neighbours
# shake into a machine is less than half of what it does itself.
STOPPED_SHARE_TOLD = 0.5
STATE_VERSION = 2
_AGAIN = {"machine_stopped": "the machine runs again", "silent": "the sensor is heard again"}
SILENT = "silent"  # the quality of a sensor that is not heard any more
UPPER_BANDS = slice(24, 32)  # of the narrow ones: where a loose sensor loses first
DUMP_EVERY = 50  # captures followed until the baseline is written again: what a crash loses is a drift's beginning
RECALIBRATE_EVERY = 5  # learnt captures, for the provisional score while learning
LOOK_EVERY = 5  # captures of a standing alarm: a diagnosis costs fifty times what a score costs
QUALITY_HOLD = 3  # captures of the same bad quality until the sensor itself is reported
# Captures above the limit that a sensor's fault excuses without being seen in them: as many as have shown it (it may
# not show at rest), this many at least. A machine that fails after one odd capture must be heard.
FAULT_HOLD = 12
MOST_FAULT_SEEN = 100
# Times the limit that makes an alert a danger: scores are squares, and the trade's danger (mean + 6 sigma) lies twice
# as far out as its alert (mean + 3 sigma).
DANGER_SCORES = 4.0
LATCH_CONFIDENCE = 0.7  # a bearing fault this sure does not heal: falling vibration is no recovery (stage 4)
_FAULTS_SEEN_IN_SHAPE = frozenset({"loose", "wrong_gain", "axes_swapped"})
# Evidence is packed from the look that raised the alarm; kept for later they would be 130 kB a point.
_NO_LINES = np.zeros(0)
_NO_LABELS = LabelSums()  # of every point that has none
_NO_FAULT_OF_THE_SENSOR = frozenset({"ok", "machine_stopped"})
_BEARING = frozenset({"outer", "inner", "ball", "cage"})


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One capture with its features, before it is judged.

    Attributes:
        features: In the order of FEATURE_NAMES, shape (channels, F).
        detection: Detection features, shape (channels, DETECTION_COUNT).
        levels_db: As the prognosis takes them, shape (levels,).
        largest: Each statistic of the worst axis.
    """

    capture: Capture
    features: NDArray[np.float32]
    detection: NDArray[np.float64]
    levels_db: NDArray[np.float64]
    largest: list[float]
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
    reading: Reading | None = None
    """How it was held against what is healthy; None where nothing is calibrated, or the capture cannot be believed."""


@dataclass(frozen=True, slots=True, eq=False)
class _Detected:
    """State detection of one capture: can it be believed, and is it other than healthy."""

    quality: str
    detail: str
    reading: Reading | None = None
    exceeds: bool = False
    sensor: SensorChange | None = None

    @property
    def usable(self) -> bool:
        return self.quality == "ok"

    @property
    def score(self) -> float | None:
        return self.reading.score if self.reading else None

    @property
    def limit(self) -> float | None:
        return self.reading.state.threshold if self.reading else None


@dataclass(slots=True)
class PointMonitor:
    """Judges the captures of one point in the order they come.

    The model is given by whoever holds it; what a new one knows of the fleet recalibrates the limits from the
    commissioning captures, which stay with the point.

    Attributes:
        learns: Whether captures may still teach what healthy is; a back-test without commissioning says no.
        labelled: What people's labels of this point's alarms have taught.
        knowledge: What labels of all points taught; None while there are none.
        judged_by: What judges a sensor of single values, of which nothing is learnt; empty for one of captures.
        aside: Where the commissioning captures are kept once all are heard; in memory where there is none.
    """

    point: str
    plate: Nameplate
    orders: FaultOrders | None
    commissioning: CommissioningSettings
    alarm: AlarmLogic
    model: Model = field(default_factory=StatisticalFallback)
    healthy: Commissioned = field(default_factory=Commissioned)
    prognosis: Prognosis | None = None
    ledger: EvidenceLedger = field(default_factory=EvidenceLedger)
    learns: bool = True
    labelled: LabelSums = _NO_LABELS
    knowledge: LabelKnowledge | None = None
    captures: int = 0
    quality: str = "ok"
    judged_by: str = ""
    aside: Aside | None = None
    _bad_run: deque[str] = field(default_factory=lambda: deque(maxlen=QUALITY_HOLD))
    _notified: str = "ok"
    _mounting: MountingWatch = field(default_factory=MountingWatch)
    _exceeding: int = 0
    _fault_seen: int = 0
    _since_fault: int = 0
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
        return "ready" if self.ready or self.judged_by else "learning"

    @property
    def ready(self) -> bool:
        """Whether limits are calibrated."""
        return self.healthy.states.ready and self.healthy.count >= self.commissioning.captures

    @property
    def shape(self) -> tuple[float, int, int] | None:
        """Rate in Hz, channels and samples of its captures."""
        return self.healthy.shape

    @property
    def model_version(self) -> int:
        """Number of the release that judges."""
        return self.model.version

    @property
    def learning_share(self) -> float:
        """How much of the commissioning is done, 0 to 1."""
        return 1.0 if self.judged_by else min(1.0, self.healthy.count / self.commissioning.captures)

    def rows_of(self, features: Rows) -> Rows:
        """Standardise the model features (channels, F) of a stored healthy capture as training rows."""
        return model_rows(self.healthy.states.read(detection_features(features), Told()).z)

    def baseline_of(self, features: Rows) -> Baseline:
        """The baseline that model features (channels, F) of a healthy capture fit best. Any thread may ask."""
        return self.healthy.states.read(detection_features(features), Told()).state.baseline

    def sessions(self) -> list[Session]:
        """What commissioning heard, for the fleet to learn from; none before it is complete. Any thread may ask."""
        healthy = self.healthy  # maintenance puts another in its place
        complete = healthy.states.ready and healthy.count >= self.commissioning.captures
        return healthy.sessions() if complete else []

    def use_model(self, model: Model) -> bool:
        """Judge by another release's knowledge; tell whether the limits were calibrated anew."""
        self.model = model
        if self.prognosis is not None:
            self.prognosis.knowledge = model.lives
        if not self.healthy.states.ready:
            return False
        self.healthy.states.recalibrate(self.limits_by(model))
        return True

    def limits_by(self, model: Model) -> list[Limit]:
        """The limit that each operating state would have by another release; nothing changes here."""
        return self.healthy.limits_by(self._prior(model), detector=lambda z: self.decisive_score(z, model))

    def decisive_score(self, z: NDArray[np.float64], model: Model) -> float:
        """What a model makes of one standardised capture (channels, F), by the detector that decides here."""
        if self.commissioning.detector == "distance":
            return score_of(z)
        return float(model.score(model_rows(z))[0].mean())

    def conclude(self, seen: Seen, *, now_us: int | None = None, diagnose_always: bool = False) -> Outcome:
        """Judge one capture.

        Args:
            seen: The capture.
            now_us: The gateway's time; that of the capture if left out.
            diagnose_always: Also diagnose what is not suspicious (a back-test wants it).
        """
        capture, was_learning, was_ready = seen.capture, self.learning, self.ready
        self.captures += 1
        found = self._detect(seen)
        verdict = self._zone(seen) if found.usable else ZoneVerdict(None, f"not assessable: sensor {found.quality}")
        severity = self._severity(found, verdict)
        speed, findings = self._told_speed(capture), None
        if found.usable and (found.exceeds or verdict.zone in {"C", "D"} or self.alarm.active or diagnose_always):
            # Who is within limits is presumed sound; who was never commissioned is presumed nothing.
            suspected = found.exceeds or self.alarm.active or not self.ready
            speed, findings = self._look(capture, fresh=diagnose_always, suspected=suspected)
        elif found.usable:
            self.ledger = EvidenceLedger()  # steady health: what comes next begins a new series
        learnt = found.usable and self.learns and not self.ready and severity != "danger"
        if learnt:
            self._learn(seen)
        changes = self._alarm(found, severity, capture, findings, now_us) if found.usable else []
        if changes and findings is not None and self._since_look:
            speed, findings = self._look(capture, fresh=True, suspected=True)  # what goes out with an alarm is its own
        health = health_of(
            self.point, capture, seen.largest,
            Read(
                quality=found.quality, learning=self.learning, score=found.score, limit=found.limit,
                exceeds=found.exceeds, alarm=self.alarm.state, verdict=verdict, found=findings, speed=speed,
                remaining=self._foretell(seen, found), model_version=self.model_version if self.ready else 0,
                slow=self._velocity_band_hz(capture)[0] < ISO_BAND_HZ[0],
            ),
        )  # fmt: skip
        outcome = Outcome(health, findings=findings, alarm_active=self.alarm.active)
        if was_ready and found.usable:
            outcome.reading = found.reading
        self._tell_alarm(outcome, changes, seen, found, findings)
        outcome.records += self._notices(found, capture.measured_at_us, was_learning)
        if was_ready and found.reading is not None and not self.alarm.active:
            self._follow(outcome, found, found.reading, seen, severity)
        dirty = bool(changes or learnt or outcome.records or self.alarm.active or found.exceeds)
        outcome.state_changed = dirty or self._since_dump >= DUMP_EVERY
        if outcome.state_changed:
            self._since_dump = 0
        return outcome

    def evidence(self, capture: Capture, found: Findings, *, why: str, waveform: bool = False) -> Evidence:
        """Pack what a person needs to check a verdict. The waveform travels only when somebody asked for it."""
        rpm = self._speed(capture).rpm
        return evidence_of(self.point, capture, found, why=why, rpm=rpm, waveform=waveform)

    def diagnose_capture(self, capture: Capture) -> Findings:
        """Diagnose one capture outside the live path, for evidence on request."""
        return self._diagnose(capture, self._speed(capture), ledger=None, suspected=self.alarm.active)

    def maintain(self, at_us: int) -> list[Record]:
        """The machine was repaired or the sensor moved: end the alarm and learn healthy anew."""
        why = "maintenance recorded; learning anew what healthy is"
        records = [
            alarm_by_hand(self.point, change, at_us, why, self.model_version) for change in self.alarm.maintain()
        ]
        self.healthy, self.prognosis = Commissioned(), None
        self.ledger, self._mounting = EvidenceLedger(), MountingWatch()
        self._notified = "ok"
        self._exceeding = self._fault_seen = self._since_fault = 0
        self._last_look = None
        records.append(self._notice("maintenance recorded: learning anew", "ok", at_us))
        return records

    def use_plate(self, plate: Nameplate, orders: FaultOrders | None, at_us: int) -> list[Record]:
        """Judge by another nameplate from the next capture on; what to tell where anything has changed.

        Limits rest on frequencies and stay. Healthy pictures are drawn in orders of the shaft, with the places of gear
        and motor lines: where these have moved, the pictures alone are drawn anew.
        """
        changed = _changed_fields(self.plate, plate)
        self.plate, self.orders = plate, orders
        if not changed:
            return []
        self._last_look = None
        what = f"nameplate changed: {', '.join(changed)}"
        if self._draw_anew():
            count = self.healthy.count
            what += f"; healthy pictures of shaft, gear and motor lines are drawn anew from {count} healthy captures"
        return [self._notice(f"{what}; limits stay", self.quality, at_us)]

    def _draw_anew(self) -> bool:
        """Forget healthy pictures that were drawn by another nameplate; whether there were any."""
        by, now = self.healthy.pictures_by, drawn_by(self.plate)
        speed_told = all(told.rpm is not None for told in self.healthy.told)
        if by is None or by[2 * speed_told :] == now[2 * speed_told :]:
            return False
        self.healthy.forget_pictures()
        self.ledger = EvidenceLedger()
        return True

    def fall_silent(self, text: str, at_us: int) -> list[Record]:
        """The sensor is not heard any more; nothing to tell of a machine that stood when it was heard last."""
        if self._notified in {SILENT, "machine_stopped"}:
            return []
        self.quality = self._notified = SILENT
        return [self._notice(text, SILENT, at_us)]

    def hear_again(self) -> None:
        """A sensor of single values is heard; one of captures is believed by what they say."""
        if self._notified == SILENT:
            self._notified = "ok"

    def teach(self, label: str) -> bool:
        """Learn from a person's label of what was last looked into; tell whether there was something to learn from."""
        vector = self._last_look[1].vector if self._last_look is not None else None
        if vector is None or label not in LABELS:
            return False
        self.labelled = self.labelled.add(label, [vector])
        return True

    def alarm_records(self, changes: list[AlarmChange], at_us: int) -> list[Record]:
        """Tell the site of changes that a person made."""
        return [alarm_by_hand(self.point, change, at_us, change.why, self.model_version) for change in changes]

    def dump(self) -> bytes:
        """The state that outlives the process; `restore` continues from it. What a moment gathers again is left out."""
        healthy, blobs = self.healthy.dump()
        meta: dict[str, Any] = {
            "version": STATE_VERSION, "captures": self.captures, "quality": self.quality, "notified": self._notified,
            "judged_by": self.judged_by, "alarm": self.alarm.dump(), "steady": self._mounting.dump(),
            "fault": [self._fault_seen, self._since_fault],
            "prognosis": None if self.prognosis is None else self.prognosis.dump(),
            **healthy,
        }  # fmt: skip
        if self.labelled.series.any():
            for name, array in self.labelled.arrays().items():
                meta[f"labels_{name}"], blobs[f"labels_{name}"] = array_blob(array)
        return pack(meta, blobs)

    def restore(self, state: bytes) -> None:
        """Continue from what `dump` gave; what an older version left is calibrated again from its captures."""
        meta, blobs = unpack(state)
        self.captures, self.quality, self._notified = meta["captures"], meta["quality"], meta["notified"]
        self.judged_by = meta.get("judged_by", "")
        self.alarm = AlarmLogic.load(self.alarm.settings, meta["alarm"])
        if meta["version"] < STATE_VERSION:
            self.healthy = Commissioned.load_first(meta, blobs)
            self._calibrate()
            return
        self.healthy = Commissioned.load(meta, blobs)
        self._mounting = MountingWatch.load(meta.get("steady", []))
        self._fault_seen, self._since_fault = meta.get("fault", [0, 0])
        names = self.labelled.arrays()
        if all(f"labels_{name}" in meta for name in names):
            self.labelled = LabelSums.of(
                {name: np.array(blob_array(meta[f"labels_{name}"], blobs[f"labels_{name}"])) for name in names}
            )
        if meta["prognosis"] is not None:
            self.prognosis = Prognosis.load(meta["prognosis"], self.model.lives)
        if self.healthy.pictures_by is None and self.healthy.reference.count:
            self.healthy.pictures_by = drawn_by(self.plate)  # older software did not note it
        self._draw_anew()  # the nameplate may have changed while the agent was down
        self._put_aside()

    def _put_aside(self) -> None:
        if self.ready and self.aside is not None:
            self.healthy.put_aside(self.aside)

    def _detect(self, seen: Seen) -> _Detected:
        quality, detail = self._believed(seen), seen.quality.detail
        if quality == "ok" and self.shape is not None and self.shape != _shape(seen):
            quality, detail = "changed_layout", "another rate, length or number of axes than commissioned"
        if quality != "ok" or not self.healthy.states.ready:
            return _Detected(quality, detail)
        told = told_with(float(seen.capture.rpm), float(seen.capture.load))
        reading = self.healthy.states.read(seen.detection, told, self._score)
        if not self.ready:
            return _Detected(quality, detail, reading)
        exceeds = reading.score >= reading.state.threshold
        self._fault_seen = self._fault_seen if exceeds else 0
        if not exceeds and not self.alarm.active:
            reading.state.keep_promise(odd=self._exceeding == 1)
        self._exceeding = self._exceeding + 1 if exceeds else 0
        if exceeds and looks_loose(seen.detection, reading.state.baseline):
            return self._sensor_fault("loose", "every axis rattles below and is deaf above: the mounting has let go")
        sensor = self._mounting.look(
            seen.detection, reading, self.healthy.layout, exceeds=exceeds, alarm=self.alarm.active
        )
        if sensor is not None and sensor.kind != "remounted":
            return self._sensor_fault(sensor.kind, sensor.text())
        excused = self._since_fault < max(FAULT_HOLD, self._fault_seen)
        if exceeds and excused and self.quality in _FAULTS_SEEN_IN_SHAPE:
            self._since_fault += 1
            return _Detected(self.quality, "believed again once it reads healthy")
        return _Detected(quality, detail, reading, exceeds, sensor)

    def _sensor_fault(self, kind: str, detail: str) -> _Detected:
        self._fault_seen, self._since_fault = min(self._fault_seen + 1, MOST_FAULT_SEEN), 0
        return _Detected(kind, detail)

    def _alarm(
        self, found: _Detected, severity: Severity, capture: Capture, findings: Findings | None, now_us: int | None
    ) -> list[AlarmChange]:
        score, limit = found.score, found.limit
        below = limit is None or score is None or score < limit * (1.0 - self.alarm.settings.dead_band)
        if found.reading is not None and not found.reading.state.settled:
            below = False  # in a speed or load never commissioned nothing is known well enough to be recovery
        return self.alarm.handle(
            Judged(
                f"{self.point}:{capture.boot}:{capture.sequence}",
                capture.measured_at_us if now_us is None else now_us, severity, calm=severity == "none" and below,
                latches=self._latches(found.exceeds, findings),
            )
        )  # fmt: skip

    def _tell_alarm(
        self, outcome: Outcome, changes: list[AlarmChange], seen: Seen, found: _Detected, findings: Findings | None
    ) -> None:
        shares: tuple[Contribution, ...] = ()
        if changes and found.reading is not None:
            z = found.reading.z
            shares = contributions(z, detection_edges_hz(*self.healthy.layout), errors=self._not_reconstructed(z))
        for change in changes:
            outcome.records.append(alarm_of(change, outcome.health, findings, shares, self.model_version))
            if findings is not None and change.state == "unacknowledged":
                outcome.records.append(self.evidence(seen.capture, findings, why=f"alarm {change.alarm_id}"))

    def _follow(self, outcome: Outcome, found: _Detected, reading: Reading, seen: Seen, severity: Severity) -> None:
        """Learn from what is healthy: training rows, and the slow drift of the baseline.

        After a sensor was re-mounted, what is left of the change is followed too: a handful of captures placed it.
        """
        if not found.exceeds and severity == "none":
            outcome.healthy_rows = model_rows(reading.z)
            self._since_dump += self.healthy.states.follow(reading, seen.detection)
            if self.healthy.wants_pictures:
                self.healthy.learn_picture(self._picture(seen.capture), self.aside)
                self._since_dump = self._since_dump if self.healthy.wants_pictures else DUMP_EVERY
        elif found.sensor is not None and found.sensor.within_drift and self._mounting.settling:
            reading.state.baseline.follow(seen.detection)
            self._since_dump += 1

    def _foretell(self, seen: Seen, found: _Detected) -> RemainingLife | NoRemainingLife | None:
        if self.prognosis is None or not found.usable or found.reading is None:
            return None
        since_s = (seen.capture.measured_at_us - self.healthy.began_us) / 1e6
        return self.prognosis.update(since_s, seen.levels_db, worn=self.alarm.active)

    def _look(self, capture: Capture, *, fresh: bool, suspected: bool) -> tuple[SpeedEstimate, Findings]:
        """Diagnose; while an alarm stands only now and then, for the verdict of a moment ago still holds."""
        if self._last_look is None or fresh or not self.alarm.active or self._since_look + 1 >= LOOK_EVERY:
            speed = self._speed(capture)
            findings = self._diagnose(capture, speed, ledger=self.ledger, suspected=suspected)
            kept = replace(
                findings, frequency_hz=_NO_LINES, spectrum_g=_NO_LINES, envelope_hz=_NO_LINES, envelope_g=_NO_LINES
            )
            self._last_look, self._since_look = (speed, kept), 0
            return speed, findings
        self._since_look += 1
        return self._last_look

    def _believed(self, seen: Seen) -> str:
        if not seen.quality.ok:
            return seen.quality.verdict
        healthy = self.healthy
        if self.ready and healthy.channel_levels is not None and self._deaf_above(seen):
            again = assess_quality(
                seen.capture.acceleration_g(), sample_rate_hz=seen.capture.sample_rate_hz,
                baseline=healthy.channel_levels,
            )  # fmt: skip
            if not again.ok:
                return again.verdict
        if self.ready and healthy.rms_g is not None and healthy.rms_g.shape == (seen.capture.channels,):
            rms = seen.features[:, STATISTIC["acceleration_rms_g"]]
            at_rest = seen.capture.rpm == 0.0 and all(state.told.rpm is not None for state in healthy.states.states)
            share = STOPPED_SHARE_TOLD if at_rest else STOPPED_SHARE
            if bool((rms < share * healthy.rms_g).all()):
                return "machine_stopped"
        return "ok"

    def _deaf_above(self, seen: Seen) -> bool:
        """The exact check costs a transform; the upper bands say cheaply when it is worth it."""
        if self.shape != _shape(seen):
            return False
        usual = self.healthy.states.states[0].baseline.mean[:, UPPER_BANDS]
        return bool((seen.detection[:, UPPER_BANDS] - usual).sum(axis=1).min() < -1.0 * usual.shape[1])

    def _learn(self, seen: Seen) -> None:
        capture = seen.capture
        self.healthy.learn(
            seen.features, capture.acceleration_g(), self._picture(capture),
            told_with(float(capture.rpm), float(capture.load)), shape=_shape(seen),
            measured_at_us=capture.measured_at_us,
        )  # fmt: skip
        count, wanted = self.healthy.count, self.commissioning.captures
        if count in {MIN_CAPTURES, wanted} or count % RECALIBRATE_EVERY == 0:
            self._calibrate()
        if self.ready:
            self.prognosis = Prognosis(self.healthy.healthy_levels(), self.model.lives)
            self._doubt_what_was_learnt(capture)
            self._put_aside()

    def _picture(self, capture: Capture) -> NDArray[np.float64]:
        self.healthy.pictures_by = drawn_by(self.plate)
        return picture_of(
            capture.acceleration_g(), sample_rate_hz=capture.sample_rate_hz, facts=self._facts(self._speed(capture))
        )

    def _doubt_what_was_learnt(self, capture: Capture) -> None:
        """Say so when the machine that was learnt as healthy shows the rhythm of a damaged bearing."""
        heard = self.healthy.reference
        ledger = EvidenceLedger(float(heard.count - 1), heard.mean.copy()) if heard.count > 1 else EvidenceLedger()
        top = diagnose(
            capture.acceleration_g(), sample_rate_hz=capture.sample_rate_hz, facts=self._facts(self._speed(capture)),
            ledger=ledger,
        ).ranked[0]  # fmt: skip
        if top.label in _BEARING and top.confidence >= LATCH_CONFIDENCE:
            self.healthy.states.remarks.append(
                f"commissioning captures already show damage ({label_name(top.label)}, {top.confidence:.0%}): what was "
                "learnt as healthy is not; repair the machine, then record maintenance to commission again"
            )

    def _calibrate(self) -> None:
        if self.healthy.count:
            self.healthy.calibrate(
                self._prior(self.model), false_alarm_rate=self.commissioning.false_alarm_rate, detector=self._score
            )

    def _prior(self, model: Model) -> HealthyPrior:
        """What to expect here; scores of a network are on no scale the fleet has summed, so its own must speak."""
        known = model.variation.prior(*self.healthy.layout)
        if self.commissioning.detector == "distance":
            return known
        return replace(Variation().prior(*self.healthy.layout), variance_ratio=known.variance_ratio)

    def _score(self, z: NDArray[np.float64]) -> float:
        return self.decisive_score(z, self.model)

    def _not_reconstructed(self, z: NDArray[np.float64]) -> NDArray[np.float64] | None:
        if self.commissioning.detector == "distance":
            return None
        rows = model_rows(z)
        errors = np.zeros_like(z)
        errors[:, MODEL_COLUMNS] = rows - self.model.score(rows)[1]
        return errors

    def _rpm(self, capture: Capture) -> float | None:
        return _told_rpm(capture, self.plate.rpm)

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

    def _diagnose(
        self, capture: Capture, speed: SpeedEstimate, *, ledger: EvidenceLedger | None, suspected: bool
    ) -> Findings:
        return diagnose(
            capture.acceleration_g(), sample_rate_hz=capture.sample_rate_hz, facts=self._facts(speed),
            reference=self.healthy.pictures() if self.ready and self.healthy.reference.count else None,
            ledger=ledger, suspected=suspected, knowledge=self.knowledge,
        )  # fmt: skip

    def _zone(self, seen: Seen) -> ZoneVerdict:
        if not self.plate.unit_calibrated:
            return ZoneVerdict(None, "not assessable: the sensor's unit is not calibrated")
        needed = self._velocity_band_hz(seen.capture)
        slow = needed[0] < ISO_BAND_HZ[0]
        low, high = seen.kernel.slow_velocity_band_hz if slow else seen.kernel.velocity_band_hz
        low = max(low, self.plate.sensor_from_hz or low)
        if low > needed[0] or high < needed[1]:
            return ZoneVerdict(
                None,
                f"not assessable: {low:.3g} to {high:.4g} Hz seen, {needed[0]:g} to {needed[1]:g} Hz needed",
            )
        plate = ZonePlate(self.plate.power_kw, self.plate.foundation, self.plate.kind, self._rpm(seen.capture))
        return zone(seen.features[:, STATISTIC[velocity_name(slow=slow)]].tolist(), plate)

    def _velocity_band_hz(self, capture: Capture) -> tuple[float, float]:
        return velocity_band_at(self._rpm(capture), self.plate.rpm, *(self.plate.rpm_range or ()))

    def _severity(self, found: _Detected, verdict: ZoneVerdict) -> Severity:
        """How bad; a changed sensor excuses a pattern that exceeds, but not the velocity that a zone forbids."""
        exceeds = found.exceeds and found.sensor is None
        far = exceeds and found.score is not None and found.limit is not None
        if verdict.zone == "D" or (far and (found.score or 0.0) >= DANGER_SCORES * (found.limit or 0.0)):
            return "danger"
        return "alert" if exceeds or verdict.zone == "C" else "none"

    def _latches(self, exceeds: bool, found: Findings | None) -> bool:
        if not exceeds or found is None:
            return False
        return found.ranked[0].label in _BEARING and found.ranked[0].confidence >= LATCH_CONFIDENCE

    def _notices(self, found: _Detected, at_us: int, was_learning: str) -> list[Record]:
        quality = self.quality = found.quality
        self._bad_run.append(quality)
        records: list[Record] = []
        held = len(self._bad_run) == QUALITY_HOLD and len(set(self._bad_run)) == 1
        if self._notified in _NO_FAULT_OF_THE_SENSOR and not _NO_FAULT_OF_THE_SENSOR.intersection(self._bad_run):
            held = len(self._bad_run) == QUALITY_HOLD  # now this fault and now that one: the latest is told
        if held and quality != self._notified:
            again = _AGAIN.get(self._notified, "captures can be believed again")
            self._notified = quality
            text = again if quality == "ok" else f"{quality}: {found.detail}".rstrip(": ")
            records.append(self._notice(text, quality, at_us))
        elif was_learning == "learning" and self.learning == "ready":
            text = f"ready: healthy limits from {self.healthy.count} captures"
            records.append(self._notice("; ".join([text, *self.healthy.states.remarks]), quality, at_us))
        text_of_move = self._mounting.move()
        if text_of_move is not None:
            self._since_dump = DUMP_EVERY
            records.append(self._notice(text_of_move, "remounted", at_us))
        return records

    def _notice(self, text: str, quality: str, at_us: int) -> PointNotice:
        return PointNotice(point=self.point, learning=self.learning, quality=quality, text=text, at_us=at_us)


def assess(capture: Capture, plate_rpm: float | None) -> Quality:
    """Say whether a capture can be believed; the sensor's word on the speed goes before the nameplate's."""
    rpm = _told_rpm(capture, plate_rpm)
    return assess_quality(
        capture.counts, sample_rate_hz=capture.sample_rate_hz, full_scale_counts=full_scale_counts(capture),
        shaft_speed_hz=rpm / 60.0 if rpm else None,
    )  # fmt: skip


def drawn_by(plate: Nameplate) -> list[Any]:
    """What of a nameplate a healthy picture depends on, as JSON gives it back; the first two where no speed is told."""
    speeds = None if plate.rpm_range is None else list(plate.rpm_range)
    return [plate.rpm, speeds, plate.gear_teeth, plate.line_frequency_hz]


def _changed_fields(before: Nameplate, after: Nameplate) -> list[str]:
    """What a gateway judges by that differs, each as `rpm 1480 → 2960`, by the names of the settings."""
    judged_by = set(ToldPlate.model_fields) - {"machine"}
    pairs = [(name, getattr(before, name), getattr(after, name)) for name in type(after).model_fields]
    return [f"{name} {_value(old)} → {_value(new)}" for name, old, new in pairs if name in judged_by and old != new]


def _value(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, BearingPlate):
        return value.name or "by its geometry"
    if isinstance(value, tuple):
        return " to ".join(_value(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def full_scale_counts(capture: Capture) -> float | None:
    """The sensor's range in counts, where it tells one."""
    return float(capture.range_g / capture.scale_g.max()) if math.isfinite(capture.range_g) else None


def _told_rpm(capture: Capture, plate_rpm: float | None) -> float | None:
    if math.isfinite(capture.rpm) and capture.rpm > 0:
        return float(capture.rpm)
    return plate_rpm


def _shape(seen: Seen) -> tuple[float, int, int]:
    return (seen.capture.sample_rate_hz, seen.capture.channels, seen.capture.samples)
