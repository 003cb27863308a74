"""How a machine stands, and who comes first."""

from dataclasses import replace

import pytest

from dashboard.condition import LEVELS, Staleness, in_order, judge, learning_words
from dashboard.queries.records import CaseRecord, LatestHealth, MachineRecord, PointRecord, Trend
from schemas.messages import Diagnosis, RemainingLife

NOW_US = 1_790_000_000_000_000
LIMITS = Staleness(after_intervals=3.0, floor_s=30.0, assumed_interval_s=900.0)


def a_point(name="pump-07/drive-end", age_s=60.0, **changes) -> PointRecord:
    at_us = NOW_US - int(age_s * 1e6)
    latest = LatestHealth(
        measured_at_us=at_us, quality="ok", score=0.3, limit=0.5, exceeds=False, alarm="normal", zone="A",
        zone_basis="", velocity_rms_mm_s=1.0, acceleration_rms_g=None, acceleration_peak_g=None, envelope_rms_g=None,
        kurtosis=None, crest_factor=None, rpm=None, rpm_source="unknown", rpm_confidence=0.0, temperature_c=None,
        battery_v=None, diagnosis=(), model_version=0,
    )  # fmt: skip
    point = PointRecord(
        point=name, machine=name.partition("/")[0], gateway="gw-a", learning="ready", learning_share=1.0,
        learning_captures=20, quality="ok", notice="", last_measured_us=at_us, last_received_us=at_us,
        interval_s=600.0, latest=latest,
    )  # fmt: skip
    return replace(point, **changes)


def a_case(priority="alert", confidence=0.5, state="open", label="outer") -> CaseRecord:
    diagnosis = (Diagnosis(label=label, confidence=confidence),)
    return CaseRecord(1, "pump-07", state, priority, "because", diagnosis, NOW_US, NOW_US, None, None)


def a_machine(*points: PointRecord, case=None, criticality=3, name="pump-07") -> MachineRecord:
    return MachineRecord(name, "", criticality, None, 0, points or (a_point(),), case)


def stands(machine: MachineRecord, trend: Trend | None = None):
    return judge(machine, trend, LIMITS, NOW_US)


def test_machine_without_anything_is_normal_and_grey():
    found = stands(a_machine())
    assert (found.level.name, found.level.colour, found.reason) == ("normal", "gray", "nothing abnormal")


@pytest.mark.parametrize("priority", ["danger", "alert", "notice"])
def test_open_case_gives_level_and_reason(priority):
    found = stands(a_machine(case=a_case(priority)))
    assert (found.level.name, found.reason) == (priority, "because")
    assert found.details[0] == "outer race damage, confidence 50%"


def test_cause_that_is_not_known_is_said_so():
    found = stands(a_machine(case=a_case(label="unknown")))
    assert found.details[0] == "cause not known"
    assert found.confidence is None


@pytest.mark.parametrize(("age_s", "stale"), [(1799.0, False), (1801.0, True)])
def test_point_is_stale_after_three_missed_intervals(age_s, stale):
    assert LIMITS.is_stale(a_point(age_s=age_s), NOW_US) is stale


def test_fast_point_is_not_stale_within_the_floor():
    assert not LIMITS.is_stale(a_point(age_s=29.0, interval_s=1.0), NOW_US)
    assert LIMITS.is_stale(a_point(age_s=31.0, interval_s=1.0), NOW_US)


def test_point_of_unknown_interval_has_the_assumed_one():
    assert not LIMITS.is_stale(a_point(age_s=2600.0, interval_s=None), NOW_US)
    assert LIMITS.is_stale(a_point(age_s=2800.0, interval_s=None), NOW_US)


def test_sensor_with_a_wrong_clock_is_judged_by_arrival():
    assert not LIMITS.is_stale(a_point(last_measured_us=0), NOW_US)


def test_silent_machine_is_unknown_and_never_normal():
    found = stands(a_machine(a_point(age_s=5 * 3600.0)))
    assert found.level.name == "unknown"
    assert found.reason == "no data for 5 h, expected every 10 min: state not known"
    assert found.zone is None
    assert found.stale


def test_machine_that_never_reported_is_unknown():
    assert stands(a_machine(a_point(last_received_us=None, last_measured_us=None))).level.name == "unknown"
    assert stands(MachineRecord("m", "", 3, None, 0, (), None)).reason == "no measurement point has reported yet"


def test_half_silent_machine_says_which_point():
    found = stands(a_machine(a_point(), a_point("pump-07/fan-end", age_s=9999.0)))
    assert found.reason == "1 of 2 points silent: fan-end"
    assert found.points_assessable == 1


def test_open_case_of_a_silent_machine_stays_and_says_that_it_is_old():
    found = stands(a_machine(a_point(age_s=7200.0), case=a_case("danger")))
    assert found.level.name == "danger"
    assert any("no data for 2 h" in detail for detail in found.details)


def test_sensor_problem_is_no_machine_problem():
    found = stands(a_machine(a_point(quality="saturated", notice="saturated: 12 samples")))
    assert (found.level.name, found.level.shape) == ("sensor", "diamond")
    assert found.reason == "drive-end: sensor overdriven: its signal is clipped"
    assert found.details == ("saturated: 12 samples",)


def test_stopped_machine_is_not_judged():
    assert stands(a_machine(a_point(quality="machine_stopped"))).level.name == "stopped"


def test_learning_says_n_of_m():
    point = a_point(learning="learning", learning_share=0.6, learning_captures=12)
    assert stands(a_machine(point)).level.name == "learning"
    assert learning_words([point]).startswith("learning what is healthy (12 of 20 captures)")
    assert "(60%)" in learning_words([replace(point, learning_captures=None)])


def test_rising_score_is_said_and_scatter_is_not():
    rising = Trend("pump-07/drive-end", (1.0, 1.2), 0.12)
    assert "score rising 12% of its limit a day" in stands(a_machine(), rising).details
    assert stands(a_machine(), replace(rising, share_a_day=-0.02)).details == ()


def a_judged_point(name, *, days=None, basis="", score=0.3, age_s=60.0, **changes) -> PointRecord:
    point = a_point(name, age_s=age_s, **changes)
    life = None if days is None else RemainingLife(**{
        key: 86_400.0 * value for key, value in zip(("low_s", "median_s", "high_s"), days, strict=True)
    })  # fmt: skip
    return replace(
        point, latest=replace(point.latest, score=score, remaining_life=life, remaining_life_basis=basis)
    )  # fmt: skip


def test_machine_lasts_as_long_as_the_point_that_ends_first():
    found = stands(a_machine(
        a_judged_point("pump-07/drive-end", days=(8, 20, 40), basis="slow", score=0.9, age_s=0.0),
        a_judged_point("pump-07/fan-end", days=(3, 6, 11), basis="fast", age_s=0.0),
        a_judged_point("pump-07/motor", basis="no trend", score=2.0, age_s=0.0),
    )).remaining_life  # fmt: skip
    assert (found.point, found.basis) == ("pump-07/fan-end", "fast")
    assert found.life == RemainingLife(low_s=3 * 86_400, median_s=6 * 86_400, high_s=11 * 86_400)


def test_what_has_passed_since_the_capture_is_taken_off_and_never_below_zero():
    point = a_judged_point("pump-07/drive-end", days=(0.01, 1.0, 2.0), age_s=1500.0)
    life = stands(a_machine(point)).remaining_life.life
    assert (life.low_s, life.median_s, life.high_s) == (0.0, 86_400 - 1500, 2 * 86_400 - 1500)


def test_sensor_whose_clock_is_ahead_adds_no_life():
    point = a_judged_point("pump-07/drive-end", days=(1, 2, 3), age_s=-3600.0)
    assert stands(a_machine(point)).remaining_life.life.low_s == 86_400


def test_reason_for_no_remaining_life_is_that_of_the_point_furthest_towards_its_limit():
    calm, worse = a_judged_point("m/a", basis="calm", score=0.1), a_judged_point("m/b", basis="worse", score=0.4)
    found = stands(a_machine(calm, worse)).remaining_life
    assert (found.point, found.life, found.basis) == ("m/b", None, "worse")


def test_silent_machine_and_old_gateway_say_nothing_of_a_remaining_life():
    assert stands(a_machine(a_judged_point("m/a", days=(1, 2, 3), age_s=5 * 3600.0))).remaining_life is None
    assert stands(a_machine()).remaining_life is None


def test_silent_point_does_not_say_how_long_its_machine_lasts():
    silent = a_judged_point("m/a", days=(1, 2, 3), age_s=5 * 3600.0)
    found = stands(a_machine(silent, a_judged_point("m/b", days=(8, 9, 10)))).remaining_life
    assert found.point == "m/b"


def test_sensor_that_was_put_back_is_judged_as_before():
    found = stands(a_machine(a_point(quality="remounted")))
    assert (found.level.name, found.points_assessable) == ("normal", 1)


def attention(**changes):
    case = a_case(**{k: v for k, v in changes.items() if k in {"priority", "confidence", "state"}})
    trend = Trend("p", (1.0,), changes.get("rate"))
    return stands(a_machine(case=case, criticality=changes.get("criticality", 3)), trend).attention


def test_priority_comes_before_everything_else():
    worst_alert = attention(priority="alert", confidence=1.0, rate=9.0, criticality=5)
    mildest_danger = attention(priority="danger", confidence=0.0, rate=-9.0, criticality=1, state="acknowledged")
    assert mildest_danger > worst_alert


@pytest.mark.parametrize(
    ("more", "less"),
    [({"confidence": 0.9}, {"confidence": 0.2}), ({"rate": 0.3}, {"rate": 0.0}),
     ({"criticality": 5}, {"criticality": 2}), ({"state": "open"}, {"state": "acknowledged"})],
)  # fmt: skip
def test_within_a_priority_surer_steeper_more_critical_and_unseen_come_first(more, less):
    assert attention(**more) > attention(**less)


def test_equal_machines_keep_the_order_of_their_names():
    twins = [stands(a_machine(name=name)) for name in ("b", "a", "c")]
    assert [found.machine for found in in_order(twins)] == ["a", "b", "c"]


def test_every_abnormal_level_differs_by_shape_letter_and_word():
    abnormal = [level for level in LEVELS.values() if level.weight >= 400]
    for feature in ("shape", "letter", "word", "mark"):
        assert len({getattr(level, feature) for level in abnormal}) == len(abnormal)
    assert all(level.colour != "green" for level in LEVELS.values())
