"""One measurement point from its first capture on: what it learns, what it doubts, what it says to people."""

from typing import Any

import numpy as np
import pytest

from gateway_agent.builtin import builtin_model
from gateway_agent.judge import Judge
from gateway_agent.point_monitor import PointMonitor
from gateway_agent.settings import CommissioningSettings
from schemas.capture import Capture
from schemas.container import pack, unpack
from schemas.messages import Alarm, Evidence, Health, PointNotice
from schemas.nameplate import Nameplate
from tests.support.captures import (
    AT_US,
    POINT,
    SAMPLES,
    capture_of,
    faulty,
    gateway_settings,
    healthy,
    judge_with,
    noise_g,
    saturated,
    stuck,
    taken,
)


class Point:
    """A point and what it has said, kind by kind."""

    def __init__(self, judge: Judge | None = None) -> None:
        self.judge = judge or judge_with()
        self.health: list[Health] = []
        self.records: list[Any] = []
        self.learnt_from: int = 0
        self.next = 0

    def feed(self, make: Any, count: int = 1) -> Health:
        for _ in range(count):
            capture: Capture = make(self.next)
            self.next += 1
            judged = self.judge.process([taken(capture)], now_us=AT_US + self.next)
            self.health.append(judged.verdicts[0].outcome.health)
            self.records += [record for _, record in judged.batch.records if record.kind != "health"]
            self.learnt_from += len(judged.healthy)
        return self.health[-1]

    @property
    def monitor(self) -> PointMonitor:
        return self.judge.monitors[POINT]

    def said(self, kind: type) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def notices(self) -> list[tuple[str, str]]:
        return [(notice.learning, notice.quality) for notice in self.said(PointNotice)]


@pytest.fixture
def point() -> Point:
    return Point()


@pytest.fixture
def ready(point: Point) -> Point:
    point.feed(healthy, 10)
    point.records.clear()
    return point


def still(sequence: int) -> Capture:
    """A machine at rest: what the sensor itself still shows."""
    return capture_of(noise_g(sequence, level_g=0.0015), sequence)


def test_a_point_learns_then_is_ready_and_says_so_once(point: Point) -> None:
    point.feed(healthy, 7)
    assert [health.learning for health in point.health] == ["learning"] * 7
    assert point.monitor.learning_share == pytest.approx(7 / 8)
    point.feed(healthy, 5)
    assert point.health[-1].learning == "ready"
    assert point.health[-1].limit is not None
    assert point.notices == [("ready", "ok")]


def test_scores_while_learning_are_provisional_and_raise_nothing(point: Point) -> None:
    point.feed(healthy, 5)
    health = point.feed(faulty)
    assert health.score is not None
    assert (health.exceeds, health.alarm, health.model_version) == (False, "normal", 0)


def test_healthy_captures_of_a_ready_point_are_fit_for_training_and_sick_ones_are_not(ready: Point) -> None:
    learnt = ready.learnt_from
    ready.feed(healthy, 3)
    assert ready.learnt_from == learnt + 3
    ready.feed(faulty, 5)
    ready.feed(healthy, 3)
    assert ready.learnt_from == learnt + 3


@pytest.mark.parametrize(("make", "quality"), [(stuck, "stuck"), (saturated, "saturated")])
def test_a_broken_sensor_is_not_learnt_from_and_is_reported_as_a_sensor_not_as_a_machine(
    point: Point, make: Any, quality: str
) -> None:
    point.feed(healthy, 4)
    health = point.feed(make, 6)
    assert (health.quality, health.learning, health.zone) == (quality, "suspect", None)
    assert point.monitor.healthy.count == 4
    assert point.notices == [("suspect", quality)]
    assert point.said(Alarm) == []
    point.feed(healthy, 3)
    assert point.notices[-1] == ("learning", "ok")
    point.feed(healthy, 4)
    assert point.monitor.healthy.count == 8


@pytest.mark.parametrize("make", [stuck, saturated])
def test_a_broken_sensor_neither_raises_nor_clears_the_alarm_of_its_machine(ready: Point, make: Any) -> None:
    ready.feed(make, 10)
    assert ready.said(Alarm) == []
    ready.feed(faulty, 3)
    assert [a.state for a in ready.said(Alarm)] == ["unacknowledged"]
    assert ready.feed(make, 20).alarm == "unacknowledged"
    assert len(ready.said(Alarm)) == 1


def test_two_bad_captures_are_no_reason_to_doubt_a_sensor(ready: Point) -> None:
    for _ in range(5):
        ready.feed(stuck, 2)
        ready.feed(healthy)
    assert ready.notices == []


def test_a_machine_at_rest_is_told_once_and_is_no_fault_of_the_sensor(ready: Point) -> None:
    """It once was told with every capture of a weekend, each ahead of everything else."""
    health = ready.feed(still, 12)
    assert (health.quality, health.learning, health.exceeds) == ("machine_stopped", "ready", False)
    assert ready.notices == [("ready", "machine_stopped")]
    ready.feed(healthy, 5)
    assert ready.notices == [("ready", "machine_stopped"), ("ready", "ok")]
    assert ready.said(PointNotice)[-1].text == "the machine runs again"
    assert ready.said(Alarm) == []


def test_captures_of_another_layout_are_not_judged_by_the_old_baseline(ready: Point) -> None:
    health = ready.feed(lambda n: capture_of(noise_g(n, samples=2 * SAMPLES), n), 3)
    assert (health.quality, health.score, health.exceeds) == ("changed_layout", None, False)
    assert ready.notices == [("suspect", "changed_layout")]


def test_where_the_network_decides_an_alarm_shows_what_the_network_could_not_reconstruct() -> None:
    settings = gateway_settings().model_copy(
        update={"commissioning": CommissioningSettings(captures=10, detector="autoencoder")}
    )
    point = Point(judge_with(settings, model=builtin_model()))
    point.feed(healthy, 10)
    point.feed(faulty, 8)
    shares = point.said(Alarm)[0].contributions
    assert shares
    assert not any(share.name.startswith("level") for share in shares)  # it never sees the sums of bands


def test_an_alarm_comes_with_its_reason_its_evidence_and_a_confidence(ready: Point) -> None:
    ready.feed(faulty, 4)
    (alarm,), (evidence,) = ready.said(Alarm), ready.said(Evidence)
    assert alarm.reason.startswith("Vibration pattern") or "vibration pattern" in alarm.reason
    assert alarm.contributions
    assert alarm.score is not None
    assert alarm.score > alarm.limit
    assert evidence.why == f"alarm {alarm.alarm_id}"
    assert evidence.waveform is None
    assert evidence.spectrum.unpack().size > 100


def test_the_waveform_travels_only_when_asked_for_and_is_what_was_measured(ready: Point) -> None:
    capture = healthy(99)
    found = ready.monitor.diagnose_capture(capture)
    evidence = ready.monitor.evidence(capture, found, why="asked", waveform=True)
    assert evidence.waveform is not None
    np.testing.assert_allclose(evidence.waveform.unpack(), capture.acceleration_g()[0], rtol=1e-5)


def test_maintenance_ends_the_alarm_and_learns_anew(ready: Point) -> None:
    ready.feed(faulty, 4)
    said = ready.monitor.maintain(AT_US)
    assert [record.kind for record in said] == ["alarm", "point_notice"]
    assert said[0].state == "normal"  # type: ignore[union-attr]
    assert (ready.monitor.ready, ready.monitor.learning_share) == (False, 0.0)
    ready.records.clear()
    health = ready.feed(lambda n: capture_of(noise_g(n, level_g=0.3), n), 9)
    assert (health.learning, health.exceeds) == ("ready", False)


def test_maintenance_takes_a_sensor_of_another_layout(ready: Point) -> None:
    ready.monitor.maintain(AT_US)
    assert ready.feed(lambda n: capture_of(noise_g(n, samples=1024), n), 9).learning == "ready"


def test_shelving_ends_by_the_gateways_clock_even_when_the_sensors_stands_still(ready: Point) -> None:
    """A sensor whose clock had stopped in the year 2000 once kept its alarm hidden for ever."""
    ready.feed(faulty, 3)
    ready.monitor.alarm.shelve(AT_US + 10, now_us=AT_US)
    early = 946_684_800_000_000
    health = ready.feed(lambda n: faulty(n, measured_at_us=early + n))
    assert health.alarm == "unacknowledged"


def test_a_restart_at_any_moment_continues_with_the_same_verdicts() -> None:
    straight = Point()
    makes = [healthy] * 10 + [stuck] * 3 + [faulty] * 4 + [healthy] * 7 + [still] * 4
    for make in makes:
        straight.feed(make)
    for stop in (0, 1, 5, 8, 10, 13, 15, 20, 26):
        restarted = Point()
        for make in makes[:stop]:
            restarted.feed(make)
        state = restarted.judge.monitor(POINT).dump()
        restarted.judge.monitors.clear()
        restarted.judge.monitor(POINT).restore(state)
        for make in makes[stop:]:
            restarted.feed(make)
        for one, other in zip(straight.health[10:], restarted.health[10:], strict=True):
            assert (one.quality, one.score, one.limit, one.exceeds, one.alarm) == (
                other.quality, other.score, other.limit, other.exceeds, other.alarm,
            )  # fmt: skip
        assert [a.state for a in straight.said(Alarm)] == [a.state for a in restarted.said(Alarm)]


def test_a_zone_needs_the_nameplate_and_the_whole_band() -> None:
    plate = Nameplate(machine="pump-07", rpm=1797.0, power_kw=30.0, foundation="rigid")
    plain = Point(judge_with(gateway_settings(machines=[Nameplate(machine="pump-07")])))
    assert plain.feed(lambda n: capture_of(noise_g(n, samples=8192), n)).zone is None
    known = Point(judge_with(gateway_settings(machines=[plate])))
    assert known.feed(lambda n: capture_of(noise_g(n, samples=8192), n)).zone in {"A", "B"}
    uncalibrated = plate.model_copy(update={"unit_calibrated": False})
    unsure = Point(judge_with(gateway_settings(machines=[uncalibrated])))
    health = unsure.feed(lambda n: capture_of(noise_g(n, samples=8192), n))
    assert (health.zone, "not calibrated" in health.zone_basis) == (None, True)
    short = Point(judge_with(gateway_settings(machines=[plate])))
    health = short.feed(lambda n: capture_of(noise_g(n, samples=256), n))
    assert (health.zone, "10 to 1000 Hz needed" in health.zone_basis) == (None, True)


SLOW = Nameplate(machine="pump-07", rpm=300.0, power_kw=30.0, foundation="rigid")


def slow_imbalance(sequence: int, *, samples: int = 8192, rpm: float = 300.0) -> Capture:
    """5 mm/s RMS at 1x of 300 rpm, in a capture of 3.2 s."""
    rate_hz, shaft_hz = 2560.0, 5.0
    height_g = 5.0 * np.sqrt(2) * 2 * np.pi * shaft_hz / 9806.65
    shaft = height_g * np.sin(2 * np.pi * shaft_hz * np.arange(samples) / rate_hz)[None]
    return capture_of(noise_g(sequence, samples=samples, level_g=0.001) + shaft, sequence, rate_hz=rate_hz, rpm=rpm)


@pytest.mark.parametrize(
    ("plate", "rpm"),
    [(SLOW, 300.0), (SLOW, float("nan")), (SLOW.model_copy(update={"rpm": 1500.0}), 300.0),
     (SLOW.model_copy(update={"rpm": None, "rpm_range": (250.0, 1500.0)}), 900.0)],
)  # fmt: skip
def test_velocity_and_zone_of_a_slow_machine_count_from_2_hz_on(plate: Nameplate, rpm: float) -> None:
    """From 10 Hz on, imbalance at 5 Hz would be zone A."""
    point = Point(judge_with(gateway_settings(machines=[plate])))
    health = point.feed(lambda n: slow_imbalance(n, rpm=rpm))
    assert health.velocity_rms_mm_s == pytest.approx(5.0, rel=0.02)
    assert (health.zone, "zone D" in health.zone_basis) == ("D", True)


def test_velocity_of_a_machine_that_never_turns_slowly_counts_from_10_hz_on() -> None:
    plate = SLOW.model_copy(update={"rpm": 1500.0})
    health = Point(judge_with(gateway_settings(machines=[plate]))).feed(lambda n: slow_imbalance(n, rpm=1500.0))
    assert health.velocity_rms_mm_s < 0.5
    assert health.zone == "A"


def test_slow_machine_whose_capture_or_sensor_does_not_reach_2_hz_is_not_assessable() -> None:
    short = Point(judge_with(gateway_settings(machines=[SLOW]))).feed(lambda n: slow_imbalance(n, samples=1024))
    assert (short.zone, "2.5 to 1000 Hz seen, 2 to 1000 Hz needed" in short.zone_basis) == (None, True)
    deaf = SLOW.model_copy(update={"sensor_from_hz": 5.0})
    health = Point(judge_with(gateway_settings(machines=[deaf]))).feed(slow_imbalance)
    assert (health.zone, "5 to 1000 Hz seen, 2 to 1000 Hz needed" in health.zone_basis) == (None, True)


def test_band_rms_is_told_of_the_bands_that_the_rate_reaches() -> None:
    fast = Point().feed(healthy)
    for value in (fast.band_low_rms_g, fast.band_middle_rms_g, fast.band_high_rms_g):
        assert value is not None
        assert 0.01 < value < 0.2
    slow = Point(judge_with(gateway_settings(machines=[SLOW]))).feed(slow_imbalance)
    assert (slow.band_middle_rms_g is not None, slow.band_high_rms_g) == (True, None)


def test_a_machine_that_shakes_dangerously_from_the_first_capture_on_alarms_at_once_and_is_not_learnt() -> None:
    plate = Nameplate(machine="pump-07", rpm=1797.0, power_kw=30.0, foundation="rigid")
    point = Point(judge_with(gateway_settings(machines=[plate])))
    shaft = np.sin(2 * np.pi * 1797 / 60 * np.arange(8192) / 12_000)[None]
    point.feed(lambda n: capture_of(noise_g(n, samples=8192, level_g=0.02) + 1.0 * shaft, n), 4)
    assert point.health[-1].zone == "D"
    assert [(a.state, a.priority) for a in point.said(Alarm)] == [("unacknowledged", "danger")]
    assert point.monitor.healthy.count == 0


def test_few_commissioning_captures_are_enough_to_start() -> None:
    settings = gateway_settings().model_copy(update={"commissioning": CommissioningSettings(captures=2)})
    point = Point(judge_with(settings))
    assert point.feed(healthy, 3).learning == "ready"


def test_a_label_teaches_what_was_looked_into_and_survives_a_restart(point: Point) -> None:
    point.feed(healthy, 12)
    assert not point.monitor.teach("outer"), "nothing has been looked into yet"
    point.feed(faulty, 6)
    assert point.monitor.teach("outer")
    assert not point.monitor.teach("no such cause")
    point.judge.labels_changed()
    assert point.monitor.knowledge is not None
    again = judge_with()
    again.monitor(POINT).restore(point.monitor.dump())
    assert again.monitor(POINT).labelled.series.tolist() == point.monitor.labelled.series.tolist()
    assert sum(point.monitor.labelled.series) == 1


def three_axes(sequence: int, *, gain: float = 1.0, **more: Any) -> Capture:
    return capture_of(gain * noise_g(sequence, channels=3), sequence, **more)


def rattling(sequence: int) -> Capture:
    """Loud below, deaf above, on every axis."""
    walk = np.cumsum(noise_g(sequence, channels=3), axis=1)
    return capture_of(np.clip(0.3 * (walk - walk.mean(axis=1, keepdims=True)), -7.0, 7.0), sequence)


def failing(sequence: int) -> Capture:
    signal = noise_g(sequence, channels=3)
    signal[:, 1:] += 20 * np.diff(noise_g(sequence + 10_000, channels=3), axis=1)
    return capture_of(np.clip(signal, -7.9, 7.9), sequence)


def test_one_capture_like_a_loose_sensor_does_not_hide_a_failure_for_ever(point: Point) -> None:
    point.feed(three_axes, 14)
    assert point.feed(rattling).quality == "loose"
    point.feed(failing, 20)
    assert [alarm.state for alarm in point.said(Alarm)] == ["unacknowledged"]


def test_a_sensor_that_stays_loose_raises_no_alarm_though_not_every_capture_shows_it(point: Point) -> None:
    point.feed(three_axes, 14)
    for _ in range(10):
        point.feed(rattling)
        point.feed(failing, 3)
    assert point.said(Alarm) == []
    assert point.health[-1].learning == "suspect"


def test_a_zone_that_forbids_is_not_excused_by_a_changed_sensor() -> None:
    """Everything louder by 3 dB on all axes reads like a sensor, but C is C: it once stayed silent for ever."""
    plate = Nameplate(machine="pump-07", rpm=1797.0, power_kw=30.0, foundation="rigid")
    point = Point(judge_with(gateway_settings(machines=[plate], captures=20)))
    shaft = 0.065 * np.sin(2 * np.pi * 1797 / 60 * np.arange(8192) / 12_000)[None]

    def louder(gain: float) -> Any:
        return lambda n: capture_of(gain * (noise_g(n, samples=8192, level_g=0.02, channels=3) + shaft), n)

    assert point.feed(louder(1.0), 30).zone == "B"
    assert point.feed(louder(1.4), 10).zone == "C"
    assert [alarm.state for alarm in point.said(Alarm)][:1] == ["unacknowledged"]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
def test_a_machine_that_says_it_stands_still_is_at_rest_though_its_neighbours_shake_it(share: float) -> None:
    """Ten decibels less on every axis once were a re-mounted sensor, after which the baseline had moved."""
    point = Point(judge_with(gateway_settings(captures=20)))
    point.feed(three_axes, 30)
    health = point.feed(lambda n: three_axes(n, gain=share, rpm=0.0), 12)
    assert (health.quality, health.exceeds) == ("machine_stopped", False)
    assert not point.feed(three_axes, 5).exceeds
    assert point.notices == [("ready", "ok"), ("ready", "machine_stopped"), ("ready", "ok")]


def test_a_sensor_with_now_this_fault_and_now_that_is_reported(ready: Point) -> None:
    for _ in range(5):
        ready.feed(stuck)
        ready.feed(saturated)
    assert len(ready.notices) == 1
    assert ready.health[-1].learning == "suspect"


@pytest.mark.parametrize("stop", [30, 32])
def test_a_sensor_re_mounted_around_a_restart_is_no_alarm(stop: int) -> None:
    point = Point(judge_with(gateway_settings(captures=20)))
    point.feed(three_axes, 30)

    def re_mounted(n: int) -> Capture:
        return capture_of(np.array([[1.6], [0.6], [1.0]]) * noise_g(n, channels=3), n)

    point.feed(re_mounted, stop - 30)
    state = point.monitor.dump()
    point.judge.monitors.clear()
    point.judge.monitor(POINT).restore(state)
    point.feed(re_mounted, 15)
    assert point.said(Alarm) == []
    assert point.notices[-1] == ("ready", "remounted")


def test_each_speed_is_told_to_the_fleet_as_a_session_of_its_own() -> None:
    """Two speeds in one series once looked like a machine that nobody can foretell, and widened everybody's limits."""
    point = Point(judge_with(gateway_settings(captures=20)))
    point.feed(lambda n: healthy(n, rpm=900.0 if n // 5 % 2 else 1800.0), 19)
    assert point.monitor.sessions() == []
    point.feed(lambda n: healthy(n, rpm=900.0))
    assert [len(each.features) for each in point.monitor.sessions()] == [10, 10]
    point.monitor.maintain(AT_US)
    assert point.monitor.sessions() == []


def test_what_the_first_version_left_in_the_middle_of_commissioning_goes_on_and_is_not_fifty_years_old() -> None:
    before = Point()
    before.feed(healthy, 4)
    meta, blobs = unpack(before.monitor.dump())
    kept = ("captures", "quality", "notified", "alarm", "learnt", "shape", "levels", "healthy_rms_g", "reference")
    old = {"version": 1, "reference_count": 0, **{name: meta[name] for name in kept}}
    after = Point()
    after.judge.monitor(POINT).restore(pack(old, {name: blobs[name] for name in ("learnt", "reference")}))
    after.next = 4
    assert after.feed(healthy, 4).learning == "ready"
    assert after.monitor.healthy.began_us == AT_US + 4_000_000
    assert after.feed(healthy).score is not None
