"""Each imperfection does what it says, seen in the captures themselves; without it the sensor is good."""

from typing import Any

import numpy as np
import pytest

from schemas.capture import Capture, CaptureFlag, decode_capture
from schemas.fragments import Reassembly, decode_fragment
from schemas.topics import CAPTURE, CAPTURE_FRAGMENT, topic_of
from sensor_sim.delivery import Delivery
from tests.support.machine_scenarios import EPOCH_US, one_machine, plant_of

FS_HZ = 12_800.0


def deliveries(*imperfections: dict[str, Any], to_s: float = 200.0, **point: Any) -> list[Delivery]:
    settings = {"samples": 2048, "sample_rate_hz": FS_HZ, "interval_s": 2.0, "imperfections": list(imperfections)}
    scenario = one_machine(faults=({"kind": "outer"},), point={**settings, **point}, noise={})
    return list(plant_of(scenario).deliveries(to_s=to_s))


def captures(*imperfections: dict[str, Any], to_s: float = 200.0, **point: Any) -> list[Capture]:
    return [decode_capture(d.payload) for d in deliveries(*imperfections, to_s=to_s, **point) if not d.lost]


def split_at(found: list[Capture], at_s: float) -> tuple[list[Capture], list[Capture]]:
    before = [c for c in found if c.measured_at_us < EPOCH_US + at_s * 1e6]
    return before, found[len(before) :]


def rms(found: list[Capture], low_hz: float = 0.0, high_hz: float = FS_HZ) -> float:
    at_hz = np.fft.rfftfreq(found[0].samples, 1.0 / FS_HZ)
    inside = (at_hz >= low_hz) & (at_hz < high_hz)
    powers = [np.abs(np.fft.rfft(c.acceleration_g(), axis=1))[:, inside] ** 2 for c in found]
    return float(np.sqrt(2.0 * np.mean([p.sum(axis=1) for p in powers]))) / found[0].samples


def test_a_good_sensor_counts_up_keeps_time_and_uses_the_whole_waveform():
    found = captures()
    assert [c.sequence for c in found] == list(range(len(found)))
    assert len({c.boot for c in found}) == 1
    times_s = np.array([c.measured_at_us for c in found]) / 1e6
    assert np.diff(times_s) == pytest.approx(np.full(len(found) - 1, 2.0), abs=1e-5)
    assert all(len(np.unique(c.counts)) > 100 for c in found)
    assert all(c.flags == CaptureFlag.NONE for c in found)
    assert found[0].rpm == pytest.approx(1500.0)


def test_a_sensor_on_a_battery_tells_a_plausible_signal_strength_of_its_own_and_one_on_a_wire_none():
    strengths = np.array([c.rssi_dbm for c in captures(on_battery=True)])
    assert ((strengths > -95.0) & (strengths < -35.0) & (strengths == strengths.round())).all()
    assert 0.5 < strengths.std() < 6.0
    assert np.isnan([c.rssi_dbm for c in captures(on_battery=False)]).all()


def test_saturated_sensor_shows_flat_tops_at_its_limit():
    before, after = split_at(captures({"kind": "saturated", "from_s": 100.0, "limit_g": 0.5}), 100.0)
    assert max(np.abs(c.acceleration_g()).max() for c in before) > 1.0
    for capture in after:
        top = np.abs(capture.counts).max()
        assert top * capture.scale_g[0] == pytest.approx(0.5, abs=1e-3)
        assert (np.abs(capture.counts) == top).sum() > 20


def test_loose_sensor_loses_high_frequencies_and_rattles_at_low_ones():
    before, after = split_at(captures({"kind": "loose", "from_s": 100.0}), 100.0)
    assert rms(after, 2000.0, 6000.0) < 0.05 * rms(before, 2000.0, 6000.0)
    assert rms(after, 5.0, 200.0) > 2.0 * rms(before, 5.0, 200.0)


def test_stuck_axis_gives_one_number_and_the_others_go_on():
    _, after = split_at(captures({"kind": "stuck", "from_s": 100.0, "channel": 1}), 100.0)
    for capture in after:
        assert np.unique(capture.counts[1]).size == 1
        assert np.unique(capture.counts[0]).size > 100


def test_wrong_gain_scales_counts_and_says_nothing():
    before, after = split_at(captures({"kind": "wrong_gain", "from_s": 100.0, "factor": 0.1}), 100.0)
    assert rms(after) / rms(before) == pytest.approx(0.1, rel=0.1)
    assert after[0].scale_g[0] == before[0].scale_g[0]


def test_drifting_clock_is_off_by_its_ppm_and_its_jump():
    drift = {"kind": "clock_drift", "from_s": 100.0, "ppm": 1000.0, "step_s": -7.0, "knows": True}
    true, found = captures(), captures(drift)
    off_s = np.array([(b.measured_at_us - a.measured_at_us) / 1e6 for a, b in zip(true, found, strict=True)])
    at_s = np.array([c.measured_at_us - EPOCH_US for c in true]) / 1e6
    expected = np.where(at_s < 100.0, 0.0, -7.0 + 1e-3 * (at_s - 100.0))
    assert off_s == pytest.approx(expected, abs=1e-4)
    assert CaptureFlag.CLOCK_UNSURE in found[-1].flags


def test_silent_sensor_measures_nothing_and_counts_nothing():
    found = captures({"kind": "silent", "from_s": 50.0, "to_s": 150.0})
    times_s = [(c.measured_at_us - EPOCH_US) / 1e6 for c in found]
    assert not [t for t in times_s if 50.0 <= t < 150.0]
    assert [c.sequence for c in found] == list(range(len(found)))
    assert len(found) == pytest.approx(50, abs=1)


def test_duplicated_captures_come_twice_byte_for_byte():
    found = deliveries({"kind": "duplicated", "share": 0.3, "delay_s": 1.0})
    repeated = [d for d in found if d.repeated]
    assert len(repeated) == pytest.approx(30, abs=15)
    for again in repeated:
        first = next(d for d in found if d.sequence == again.sequence and not d.repeated)
        assert again.payload == first.payload
        assert again.at_s == pytest.approx(first.at_s + 1.0)


def test_reordered_captures_are_passed_by_later_ones():
    sequences = [d.sequence for d in deliveries({"kind": "reordered", "share": 0.3, "delay_s": 5.0})]
    assert sequences != sorted(sequences)
    assert sorted(sequences) == list(range(100))


def test_lost_captures_leave_holes_in_the_count():
    found = captures({"kind": "lost", "share": 0.2})
    holes = set(range(100)) - {c.sequence for c in found}
    assert 8 <= len(holes) <= 35


def test_fragmented_captures_join_to_the_captures_of_a_sensor_that_sends_them_whole():
    whole = {d.sequence: d.payload for d in deliveries(to_s=20.0)}
    pieces = deliveries({"kind": "fragmented", "piece_bytes": 1000, "shuffled": True}, to_s=20.0)
    assert {topic_of(d.topic)[0] for d in pieces} == {CAPTURE_FRAGMENT}
    indices = [decode_fragment(d.payload).index for d in pieces]
    assert indices != sorted(indices)
    box, joined = Reassembly(max_bytes=1 << 20, max_age_s=60.0), {}
    for piece in pieces:
        item = box.add(piece.topic, decode_fragment(piece.payload), now_s=piece.at_s)
        if item is not None:
            joined[piece.sequence] = item
    assert joined == whole


def test_low_battery_falls_and_is_said_below_three_volts():
    found = captures({"kind": "low_battery", "from_s": 0.0, "to_s": 200.0, "from_v": 3.6, "to_v": 2.6}, on_battery=True)
    volts = [c.battery_v for c in found]
    assert volts == sorted(volts, reverse=True)
    assert [CaptureFlag.LOW_BATTERY in c.flags for c in found] == [v < 3.0 for v in volts]


def test_sensor_on_mains_says_no_voltage_and_one_on_battery_a_good_one():
    assert np.isnan(captures(to_s=4.0)[0].battery_v)
    assert captures(to_s=4.0, on_battery=True)[0].battery_v == pytest.approx(3.6)


def test_rebooted_sensor_counts_anew_under_another_boot():
    before, after = split_at(captures({"kind": "rebooted", "from_s": 100.0}), 100.0)
    assert after[0].sequence == 0
    assert after[0].boot != before[0].boot


def test_remounted_sensor_has_other_gains_and_still_hears_everything():
    true, found = captures(), captures({"kind": "remounted", "from_s": 100.0, "spread": 0.5})
    ratios = np.array([
        np.std(b.counts, axis=1) / np.std(a.counts, axis=1) for a, b in zip(true, found, strict=True)
    ])  # fmt: skip
    assert ratios[:49] == pytest.approx(np.ones((49, 3)))
    assert (np.abs(ratios[60:].mean(axis=0) - 1.0) > 0.05).any()


def test_swapped_axes_change_places():
    true, found = captures(), captures({"kind": "axes_swapped", "first": 0, "second": 2})
    assert (found[5].counts[[2, 1, 0]] == true[5].counts).all()


def test_captures_are_clipped_to_the_range_and_quantised_to_the_bits():
    coarse = captures(to_s=20.0, range_g=1.0, bits=8)
    top = max(int(np.abs(c.counts).max()) for c in coarse)
    assert top == 127
    assert coarse[0].scale_g[0] == pytest.approx(1.0 / 127.0)


def test_topic_names_site_gateway_machine_and_position():
    row, names = topic_of(deliveries(to_s=4.0)[0].topic)
    assert row is CAPTURE
    assert names == {"site": "s", "gateway": "g", "machine": "m", "position": "de"}
