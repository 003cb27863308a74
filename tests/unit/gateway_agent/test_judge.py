"""A batch of captures is judged as each of them alone; nothing a capture holds can stop the others."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_agent.baseline import Rows
from gateway_agent.batch import BULK, DUPLICATES, GAPS, NORMAL, URGENT
from gateway_agent.builtin import builtin_model
from gateway_agent.intake import Taken
from gateway_agent.judge import Judge, bearing_orders
from gateway_agent.prognosis_lives import LivesKnowledge
from gateway_agent.scoring import StatisticalFallback
from schemas.capture import Capture, CaptureFlag, decode_capture, encode_capture
from schemas.errors import SettingsError
from schemas.nameplate import BearingPlate, Nameplate
from schemas.variation import SessionSums, Variation
from tests.support.captures import (
    AT_US,
    POINT,
    capture_of,
    faulty,
    gateway_settings,
    healthy,
    judge_with,
    noise_g,
    stuck,
    taken,
)
from vibration.detection_features import DETECTION_COUNT

KEPT = CaptureFlag.KEPT_UNTIL_ACK


def life(count: int = 24, fault_from: int = 16) -> list[Taken]:
    return [taken(healthy(n) if n < fault_from else faulty(n)) for n in range(count)]


def fed(judge: Judge, items: list[Taken], sizes: list[int]) -> list[tuple[int, Any]]:
    said: list[tuple[int, Any]] = []
    start = 0
    while start < len(items):
        size = sizes[len(said) % len(sizes)]
        judged = judge.process(items[start : start + size], now_us=AT_US)
        said += [(priority, record) for priority, record in judged.batch.records]
        start += size
    return said


def told(said: list[tuple[int, Any]]) -> list[object]:
    """Records with numbers rounded: sums over a batch may end in another last digit."""

    def rounded(value: object) -> object:
        if isinstance(value, float):
            return float(f"{value:.4g}")
        if isinstance(value, dict):
            return {key: rounded(one) for key, one in value.items() if key != "values"}
        return [rounded(one) for one in value] if isinstance(value, list | tuple) else value

    return [(priority, rounded(record.model_dump())) for priority, record in said]


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 24), min_size=1, max_size=4))
def test_a_batch_gives_the_same_as_one_by_one(sizes: list[int]) -> None:
    """A point once stayed blind until the end of the batch in which it became ready."""
    assert told(fed(judge_with(), life(), sizes)) == told(fed(judge_with(), life(), [1]))


def test_a_batch_gives_the_same_as_one_by_one_with_the_built_in_model() -> None:
    assert told(fed(judge_with(model=builtin_model()), life(), [24])) == told(
        fed(judge_with(model=builtin_model()), life(), [1])
    )


def test_a_healthy_machine_raises_nothing_and_a_sick_one_an_alarm_with_its_evidence() -> None:
    judge = judge_with()
    judged = judge.process(life(), now_us=AT_US)
    health = [v.outcome.health for v in judged.verdicts]
    assert [h.learning for h in health] == ["learning"] * 7 + ["ready"] * 17
    assert not any(h.exceeds for h in health[:16])
    assert all(h.exceeds for h in health[16:])
    alarms = [record for _, record in judged.batch.records if record.kind == "alarm"]
    assert [a.state for a in alarms] == ["unacknowledged"]
    assert alarms[0].capture_sequence == 18
    assert alarms[0].contributions[0].share > 0
    assert {priority for priority, record in judged.batch.records if record.kind == "alarm"} == {URGENT}
    assert {priority for priority, record in judged.batch.records if record.kind == "health"} == {NORMAL}
    assert {priority for priority, record in judged.batch.records if record.kind == "evidence"} == {BULK}
    assert len(judged.healthy) == 8
    assert judged.batch.point_states[POINT] == judge.monitors[POINT].dump()


def test_mixed_shapes_in_one_batch_are_judged_in_the_order_they_came() -> None:
    def one(number: int) -> Taken:
        shape = [(1, 2048), (3, 1024), (2, 4096)][number % 3]
        capture = capture_of(noise_g(number, channels=shape[0], samples=shape[1]), number // 3)
        return taken(capture, point=f"pump-07/p{number % 3}")

    items = [one(n) for n in range(30)]
    judged = judge_with().process(items, now_us=AT_US)
    assert [(v.taken.point, v.outcome.health.capture_sequence) for v in judged.verdicts] == [
        (t.point, t.capture.sequence) for t in items
    ]
    assert {v.outcome.health.quality for v in judged.verdicts} == {"ok"}


def test_a_capture_with_nan_is_bad_and_the_others_of_its_batch_are_as_ever() -> None:
    items = [taken(healthy(n), raw=b"") for n in range(12)]
    counts = items[9].capture.counts.astype(np.float64)
    counts[0, 100] = np.nan
    broken = list(items)
    broken[9] = replace(items[9], capture=replace(items[9].capture, counts=counts))  # type: ignore[arg-type]
    plain, mixed = (judge_with().process(batch, now_us=AT_US).verdicts for batch in (items, broken))
    assert mixed[9].outcome.health.quality == "non_finite"
    assert mixed[9].outcome.health.score is None
    for n in {*range(2, 12)} - {9}:
        expected = plain[n].outcome.health.score
        assert expected is not None
        # what comes after the broken one is judged by a baseline that has followed one capture less
        assert mixed[n].outcome.health.score == pytest.approx(expected, rel=1e-5 if n < 9 else 0.2)


def test_a_capture_that_comes_again_is_counted_and_changes_nothing() -> None:
    judge = judge_with()
    judge.process([taken(healthy(n)) for n in (0, 1, 2)], now_us=AT_US)
    judged = judge.process([taken(healthy(n)) for n in (1, 2, 3, 3, 1)], now_us=AT_US)
    assert [v.taken.capture.sequence for v in judged.verdicts] == [3]
    assert judged.batch.counts == {DUPLICATES: 4}
    assert judge.monitors[POINT].captures == 4


def test_captures_of_two_boots_interleaved_are_each_taken_once() -> None:
    """A late capture of the boot before once made the judge forget what it had seen of this one."""
    judge = judge_with()
    order = [(1, 0), (1, 1), (2, 0), (1, 2), (2, 1), (2, 0), (1, 1), (2, 1), (1, 3), (2, 2), (1, 0)]
    judged = judge.process([taken(healthy(s, boot=b)) for b, s in order], now_us=AT_US)
    keys = [(v.taken.capture.boot, v.taken.capture.sequence) for v in judged.verdicts]
    assert keys == list(dict.fromkeys(order))
    assert judged.batch.counts == {DUPLICATES: 4}


def test_more_boots_than_are_remembered_still_give_no_capture_twice() -> None:
    stored: dict[tuple[str, int], list[int]] = {}
    judge = Judge(gateway_settings(), known=lambda _: set(), recall=lambda p, b: stored.get((p, b), []))
    for _ in range(2):
        judged = judge.process([taken(healthy(0, boot=b)) for b in (*range(1, 9), *range(1, 9))], now_us=AT_US)
        for verdict in judged.verdicts:
            stored.setdefault((POINT, verdict.taken.capture.boot), []).append(0)
    assert sorted(boot for _, boot in stored) == list(range(1, 9))
    assert set(map(len, stored.values())) == {1}


def test_after_a_restart_captures_of_an_older_boot_are_still_known() -> None:
    stored = {(POINT, 1): [0, 1, 2], (POINT, 2): [0]}
    judge = Judge(gateway_settings(), known=lambda _: set(), recall=lambda p, b: stored[p, b])
    judged = judge.process([taken(healthy(s, boot=b, flags=KEPT)) for b, s in [(2, 0), (1, 2), (1, 3)]], now_us=AT_US)
    assert [(v.taken.capture.boot, v.taken.capture.sequence) for v in judged.verdicts] == [(1, 3)]
    assert judged.acknowledge == {(POINT, 2): 0, (POINT, 1): 3}


def test_holes_are_counted_and_filled() -> None:
    judge = judge_with()
    assert judge.process([taken(healthy(n)) for n in (0, 4)], now_us=AT_US).batch.counts == {GAPS: 3}
    assert judge.process([taken(healthy(2))], now_us=AT_US).batch.counts == {GAPS: -1}


def test_only_captures_a_sensor_keeps_are_acknowledged_and_never_past_a_hole() -> None:
    judge = judge_with()
    judged = judge.process(
        [taken(healthy(n, flags=KEPT)) for n in (0, 1, 3)] + [taken(healthy(9), point="pump-07/nde")], now_us=AT_US
    )
    assert judged.acknowledge == {(POINT, 1): 1}


def test_a_release_that_knows_other_machines_moves_the_limit_and_not_what_was_heard() -> None:
    class Restless:
        version = 7
        variation = restless_fleet()
        lives = LivesKnowledge.none()

        def score(self, rows: Rows) -> tuple[Rows, Rows]:
            return StatisticalFallback().score(rows)

    judge = judge_with()
    items = [taken(healthy(n)) for n in range(14)]
    before = judge.process(items[:12], now_us=AT_US).verdicts[-1].outcome.health
    judge.use_model(Restless())
    after = judge.process(items[12:13], now_us=AT_US).verdicts[-1].outcome.health
    assert (before.model_version, after.model_version) == (0, 7)
    assert before.limit is not None
    assert after.limit is not None
    assert after.limit > 1.2 * before.limit


def restless_fleet() -> Variation:
    """Machines elsewhere whose later captures lie far from the first five."""
    shape = healthy(0)
    score, own = 1.5, 0.1
    plays = 20.0 * np.array([score, score**2 + 0.2, 0.3, own, own**2 + 0.1, own * score])
    layout = (shape.sample_rate_hz, shape.samples)
    return Variation({layout: SessionSums(20.0, np.zeros(DETECTION_COUNT), 20.0, plays)})


def test_a_stuck_sensor_has_no_score() -> None:
    judge = judge_with()
    verdict = judge.process([*life(10, 10), taken(stuck(10))], now_us=AT_US).verdicts[-1]
    assert (verdict.outcome.health.quality, verdict.outcome.health.score) == ("stuck", None)


@st.composite
def strange(draw: st.DrawFn) -> Capture:
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    channels, samples = draw(st.integers(1, 4)), draw(st.sampled_from([32, 33, 37, 64, 100, 257, 1024]))
    kind = draw(st.sampled_from(["noise", "bits", "nothing", "pulse", "square", "ramp"]))
    at = np.arange(samples)
    counts = {
        "noise": rng.integers(-32768, 32768, (channels, samples)),
        "bits": rng.integers(-1, 2, (channels, samples)),
        "nothing": np.zeros((channels, samples)),
        "pulse": np.tile(1000 * (at == samples // 2), (channels, 1)),
        "square": np.tile(32767 * np.sign(np.sin(at * 0.7)), (channels, 1)),
        "ramp": np.tile(at * 10 - 5000, (channels, 1)),
    }[kind].astype(np.int16)
    return Capture(
        1, 0, AT_US, draw(st.sampled_from([0.1, 1.0, 49.0, 200.0, 12_000.0, 1e6]) | st.floats(0.1, 1e6)), counts,
        np.full(channels, draw(st.sampled_from([1e-12, 1e-6, 1.0, 999.0]))),
        rpm=draw(st.sampled_from([np.nan, 0.0, 1e-30, 1.0, 1e6])),
        range_g=draw(st.sampled_from([np.nan, 0.0, 1e-30, 16.0])),
    )  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(strange())
def test_whatever_a_decodable_capture_holds_is_judged(capture: Capture) -> None:
    judge = judge_with(gateway_settings(captures=2))
    copies = [taken(decode_capture(encode_capture(replace(capture, sequence=n)))) for n in range(4)]
    judged = judge.process(copies, now_us=AT_US, diagnose_always=True)
    assert len(judged.verdicts) == 4


@pytest.mark.parametrize(
    ("plate", "told_"),
    [
        (BearingPlate(), "neither a name, a geometry nor orders"),
        (BearingPlate(name="no such bearing"), "pump-07"),
        (BearingPlate(orders=(1.0, 2.0, 3.0, 4.0)), "pump-07"),
        (BearingPlate(elements=9, ball_diameter_mm=50.0, pitch_diameter_mm=40.0), "pump-07"),
    ],
)
def test_a_bearing_that_cannot_be_is_refused_at_start_with_its_machine(plate: BearingPlate, told_: str) -> None:
    with pytest.raises(SettingsError, match=told_):
        judge_with(gateway_settings(machines=[Nameplate(machine="pump-07", bearing=plate)]))


def test_a_bearing_is_known_by_name_geometry_or_orders() -> None:
    by_name = bearing_orders(Nameplate(bearing=BearingPlate(name="6205")))
    assert by_name is not None
    for plate in (
        BearingPlate(elements=9, ball_diameter_mm=7.94, pitch_diameter_mm=39.04),
        BearingPlate(orders=(by_name.bpfo, by_name.bpfi, by_name.bsf, by_name.ftf)),
    ):
        orders = bearing_orders(Nameplate(bearing=plate))
        assert orders is not None
        assert orders.bpfo == pytest.approx(by_name.bpfo, rel=0.01)
    assert bearing_orders(Nameplate()) is None
