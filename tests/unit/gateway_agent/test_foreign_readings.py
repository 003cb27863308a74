"""Single values are judged by the ISO zone and set limits, alarm by the usual persistence, and are stored once."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from gateway_agent.batch import DUPLICATES, Batch
from gateway_agent.commands import CommandDesk
from gateway_agent.foreign.mapping import ForeignSensors
from gateway_agent.foreign.settings import ForeignMapping
from gateway_agent.intake import Intake, Payload, Taken
from gateway_agent.judge import Judge, Judged
from gateway_agent.point_monitor import PointMonitor
from gateway_agent.settings import AlarmSettings, GatewaySettings, StoreSettings
from gateway_agent.store import Store
from schemas.fragments import Reassembly
from schemas.messages import Alarm, Command, Health, PointNotice
from schemas.nameplate import Nameplate
from tests.support.captures import AT_US, gateway_settings
from tests.support.foreign import LEVELS_TOPIC, examples, levels_payload

POINT = "fan-02/nde"
FAN = Nameplate(machine="fan-02", power_kw=18.5, foundation="flexible", kind="fan", rpm=980.0)
LEVELS = examples()["levels"].mapping
NOW_US = AT_US + 86_400_000_000 * 600
A, B, C, D = 2.0, 7.0, 12.0, 30.0  # mm/s RMS: a value in each zone of such a fan


def _settings(plate: Nameplate = FAN) -> GatewaySettings:
    alarm = AlarmSettings(on_count=3, of_count=5, off_count=2)
    return gateway_settings(machines=[plate], alarm=alarm)


def _changed(**changes: Any) -> ForeignMapping:
    return ForeignMapping.model_validate({**LEVELS.model_dump(exclude_unset=True), **changes})


def _read(payload: bytes, mapping: ForeignMapping = LEVELS, *, at_us: int = NOW_US) -> Taken:
    foreign = ForeignSensors((mapping,), max_bytes=1 << 20, max_age_s=10.0)
    intake = Intake(
        "plant-a", "gw-1", frozenset({"fan-02"}), False, Reassembly(max_bytes=1 << 16, max_age_s=1.0), foreign
    )
    taken = intake.take(Payload(LEVELS_TOPIC, payload, at_us), now_s=0.0)
    assert taken is not None
    return taken


class Point:
    """One point of a gateway that hears a series of single values."""

    def __init__(self, plate: Nameplate = FAN, mapping: ForeignMapping = LEVELS) -> None:
        self.judge = Judge(_settings(plate), known=lambda _: set())
        self.mapping = mapping
        self.number = 0

    @property
    def monitor(self) -> PointMonitor:
        return self.judge.monitors[POINT]

    def hear(self, *velocities_mm_s: float, **changes: Any) -> list[Judged]:
        judged = []
        for velocity in velocities_mm_s:
            self.number += 1
            taken = _read(levels_payload(self.number, velocity, **changes), self.mapping)
            judged.append(self.judge.process([taken], now_us=NOW_US + 60_000_000 * self.number))
        return judged


def _health(judged: Judged) -> Health:
    (health,) = [record for _, record in judged.batch.records if isinstance(record, Health)]
    return health


def _alarms(heard: Sequence[Judged]) -> list[Alarm]:
    return [record for judged in heard for _, record in judged.batch.records if isinstance(record, Alarm)]


def test_reading_becomes_a_health_record_with_zone_and_values_and_without_score_or_diagnosis():
    health = _health(Point().hear(B)[0])
    assert (health.point, health.quality, health.learning, health.zone) == (POINT, "ok", "ready", "B")
    assert (health.velocity_rms_mm_s, health.temperature_c, health.battery_v) == pytest.approx((B, 54.0, 3.61))
    assert (health.score, health.limit, health.diagnosis, health.remaining_life) == (None, None, (), None)
    assert (health.rpm, health.rpm_source, health.exceeds) == (980.0, "nameplate", False)


@pytest.mark.parametrize(
    ("velocity", "zone", "exceeds"), [(A, "A", False), (B, "B", False), (C, "C", True), (D, "D", True)]
)
def test_zone_is_that_of_the_machine_and_c_and_d_exceed(velocity, zone, exceeds):
    health = _health(Point().hear(velocity)[0])
    assert (health.zone, health.exceeds) == (zone, exceeds)


def test_one_reading_in_zone_c_raises_nothing_and_three_of_five_raise_an_alert():
    point = Point()
    assert _alarms(point.hear(A, C, A, C)) == []
    (alarm,) = _alarms(point.hear(C))
    assert (alarm.state, alarm.priority, alarm.zone, alarm.score) == ("unacknowledged", "alert", "C", None)
    assert alarm.reason.startswith("12.00 mm/s RMS is in zone C")


def test_zone_d_counts_twice_and_is_a_danger():
    alarms = _alarms(Point().hear(D, D))
    assert [(alarm.state, alarm.priority) for alarm in alarms] == [("unacknowledged", "danger")]


def test_alarm_stays_within_the_dead_band_and_goes_below_it():
    point = Point()
    heard = point.hear(C, C, C)
    edge = 11.8  # from where zone C begins for such a fan; the dead band is a tenth of it
    assert _health(point.hear(edge)[0]).zone == "C"
    assert _alarms(heard + point.hear(*[0.95 * edge] * 5))[1:] == []
    assert [alarm.state for alarm in _alarms(point.hear(0.8 * edge, 0.8 * edge))] == ["returned"]


def test_temperature_at_its_limit_alarms_although_the_vibration_is_good():
    (alarm,) = _alarms(Point().hear(A, A, A, temp_f=185.0))
    assert (alarm.priority, alarm.zone, alarm.reason) == (
        "alert",
        "A",
        "temperature 85 degrees C, its alert limit is 80",
    )


def test_machine_that_stands_still_is_neither_evidence_nor_recovery():
    point = Point(mapping=_changed(rpm={"path": "rpm", "unit": "rpm"}))
    point.hear(C, C, C, rpm=980)
    heard = point.hear(*[A] * 6, rpm=0, temp_f=210.0)
    assert {(_health(j).quality, _health(j).zone, _health(j).exceeds, _health(j).alarm) for j in heard} == {
        ("machine_stopped", None, False, "unacknowledged")
    }


NOT_ASSESSABLE = {
    "power is unknown": ({"power_kw": None}, {}),
    "the sensor's unit is not calibrated": ({"unit_calibrated": False}, {}),
    "enter velocity_band_hz": ({}, {"velocity_band_hz": None}),
    "10 to 500 Hz measured, 10 to 1000 Hz needed": ({}, {"velocity_band_hz": [10.0, 500.0]}),
    "10 to 1000 Hz measured, 2 to 1000 Hz needed": ({"rpm": 300.0}, {}),
    "the sensor sends no velocity": ({}, {"velocity_rms": []}),
}


@pytest.mark.parametrize("words", NOT_ASSESSABLE)
def test_what_cannot_be_assessed_has_no_zone_and_says_why(words):
    plate, readings = NOT_ASSESSABLE[words]
    base = LEVELS.model_dump(exclude_unset=True)["readings"]
    mapping = _changed(readings={**base, **readings})
    health = _health(Point(FAN.model_copy(update=plate), mapping).hear(D)[0])
    assert health.zone is None
    assert words in health.zone_basis


def test_axis_that_is_missing_forbids_a_good_verdict_but_not_a_bad_one():
    point = Point()
    good, bad = (point.hear(A, vel={"x": velocity, "z": velocity})[0] for velocity in (A, D))
    assert [_health(judged).zone for judged in (good, bad)] == [None, "D"]


def test_point_that_nothing_judges_says_so_once_and_is_not_called_ready():
    base = LEVELS.model_dump(exclude_unset=True)["readings"]
    point = Point(Nameplate(machine="fan-02"), _changed(readings={**base, "limits": {}}))
    heard = point.hear(D, D, D)
    notices = [r for judged in heard for _, r in judged.batch.records if isinstance(r, PointNotice)]
    assert [(n.learning, "complete the nameplate or set limits" in n.text) for n in notices] == [("learning", True)]
    assert _alarms(heard) == []


def test_state_of_the_point_outlives_the_process():
    point = Point()
    point.hear(C, C, C)
    again = Judge(_settings(), known=lambda _: set()).monitor(POINT)
    again.restore(point.monitor.dump())
    assert (again.alarm.state, again.learning, again.learning_share, again.captures) == (
        "unacknowledged",
        "ready",
        1.0,
        3,
    )


@pytest.fixture
def store(tmp_path):
    opened = Store(StoreSettings(folder=tmp_path / "var", min_free_bytes=0))
    yield opened
    opened.close()


def _judge_on(store: Store) -> Judge:
    return Judge(_settings(), known=store.knows, recall=lambda point, boot: store.highest_sequences(point, boot, 1024))


def _commit(store: Store, judge: Judge, *taken: Taken) -> Batch:
    batch = judge.process(taken, now_us=NOW_US).batch
    store.commit(batch)
    return batch


def test_message_delivered_again_is_not_stored_twice_within_a_batch_or_after_a_restart(store):
    one = _read(levels_payload(1))
    assert _commit(store, _judge_on(store), one, one).counts[DUPLICATES] == 1
    again = _read(levels_payload(1), at_us=NOW_US + 86_400_000_000)
    assert _commit(store, _judge_on(store), again, _read(levels_payload(2))).counts[DUPLICATES] == 1
    assert store.captures_stored() == 2
    assert store.counts()[DUPLICATES] == 2


def test_message_that_comes_again_while_the_first_is_on_its_way_to_the_disk_is_known(store):
    judge = _judge_on(store)
    batches = [judge.process([_read(levels_payload(number))], now_us=NOW_US).batch for number in (1, 2, 1)]
    for batch in batches:
        store.commit(batch)
    assert (store.captures_stored(), store.counts()[DUPLICATES]) == (2, 1)


def test_equal_values_of_a_sensor_without_clock_are_one_message_within_the_window_and_a_new_reading_after_it(store):
    mapping = _changed(identity="payload", time=None, repeats_after_s=50.0)

    def said(after_s: int) -> Taken:
        return _read(levels_payload(1, D), mapping, at_us=NOW_US + after_s * 1_000_000)

    assert len(_commit(store, _judge_on(store), said(0), said(3)).captures) == 1
    assert len(_commit(store, _judge_on(store), said(49)).captures) == 0
    heard = _commit(store, _judge_on(store), said(60), said(120))
    assert len(heard.captures) == 2
    assert [r.state for _, r in heard.records if isinstance(r, Alarm)] == ["unacknowledged"]


def test_clock_that_goes_back_onto_an_earlier_reading_makes_a_duplicate_and_not_a_crash(store):
    mapping = _changed(identity="payload", time=None, repeats_after_s=50.0)
    for after_s in (0, 60, 120):
        _commit(store, _judge_on(store), _read(levels_payload(1), mapping, at_us=NOW_US + after_s * 1_000_000))
    again = _commit(store, _judge_on(store), _read(levels_payload(1), mapping, at_us=NOW_US))
    assert (len(again.captures), again.counts[DUPLICATES]) == (0, 1)


def test_payload_with_the_values_is_kept_and_evidence_asked_for_is_answered_with_why_there_is_none(store):
    judge = _judge_on(store)
    taken = _read(levels_payload(1))
    _commit(store, judge, taken)
    raw = store.raw_capture(POINT, taken.capture.boot, taken.capture.sequence)
    assert raw is not None
    assert json.loads(raw)["battery_mv"] == 3610
    batch = Batch(NOW_US)
    asked = Command(
        command_id="0" * 32, gateway="gw-1", action="request_evidence", point=POINT, actor="anna", issued_at_us=NOW_US
    )
    CommandDesk(store).carry_out(asked, judge, batch)
    ((_, answer),) = batch.records
    assert (answer.done, answer.text) == (False, "this sensor sends single values: there is no spectrum behind them")
