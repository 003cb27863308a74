"""Speeds and loads have limits of their own; a speed never met is met with doubt, and two machines are not averaged."""

import numpy as np
import pytest

from gateway_agent.operating_states import MAX_STATES, OperatingStates, Told
from schemas.container import pack, unpack
from schemas.variation import Variation
from tests.support.sessions import LAYOUT, session

PRIOR = Variation().prior(*LAYOUT)
SLOW, FAST = Told(rpm=900.0), Told(rpm=1800.0)


def commissioned(features: np.ndarray, told: list[Told]) -> OperatingStates:
    return OperatingStates.commission(features, told, PRIOR, LAYOUT, false_alarm_rate=0.01)


def two_speeds() -> OperatingStates:
    slow, fast = session(0, 20), session(0, 20, level=-2.5)
    return commissioned(np.concatenate([slow, fast]), [SLOW] * 20 + [FAST] * 20)


def test_each_speed_has_its_own_baseline() -> None:
    states = two_speeds()
    assert [state.told for state in states.states] == [SLOW, FAST]
    fast = session(0, 21, level=-2.5)[20]
    assert states.read(fast, Told(rpm=1780.0)).score < states.states[1].limit.score
    assert states.read(fast, Told(rpm=910.0)).score > states.states[0].limit.score
    assert states.remarks == []


def test_loads_part_states_as_speeds_do() -> None:
    features = np.concatenate([session(0, 10), session(0, 10, level=-3.0)])
    told = [Told(1500.0, 0.2)] * 10 + [Told(1500.0, 0.9)] * 10
    states = commissioned(features, told)
    assert {state.told.load for state in states.states} == {0.2, 0.9}
    assert states.read(features[15], Told(1500.0, 0.95)).state.told.load == 0.9


def test_a_speed_never_met_starts_from_the_nearest_with_doubt_and_learns() -> None:
    states = commissioned(session(0, 40), [SLOW] * 40)
    middle = Told(rpm=1200.0)
    shift = 2.0 * np.log10(1200.0 / 900.0)
    rough = 0.2 * np.sin(np.arange(session(0, 1).shape[2]))  # resonances met and left
    new = session(0, 100)[40:] + shift + rough
    first = states.read(new[0], middle)
    assert first.state.inherited
    assert first.score < first.state.limit.score
    for one in new[:40]:
        states.follow(states.read(one, middle), one)
    assert len(states.states) == 2
    settled = np.median([states.read(one, middle).score for one in new[40:]])
    assert settled < 1.5
    assert states.read(new[50] + 1.5, middle).score > states.read(new[50], middle).state.limit.score


def test_captures_without_a_speed_are_held_against_every_state() -> None:
    states = two_speeds()
    fast = session(0, 21, level=-2.5)[20]
    assert states.read(fast, Told()).state.told == FAST


def test_two_machines_in_one_commissioning_are_kept_apart_and_said() -> None:
    mixed = np.concatenate([session(0, 12), session(7, 8, level=-2.0)])
    states = commissioned(mixed, [Told()] * 20)
    assert sorted(state.captures for state in states.states) == [8, 12]
    assert "two groups of 12 and 8" in states.remarks[0]
    between = (session(0, 13)[12] + session(7, 9, level=-2.0)[8]) / 2
    assert states.read(between, Told()).score > 1.5 * states.limit.score


def test_one_machine_is_one_state() -> None:
    for seed in range(20):
        states = commissioned(session(seed, 20), [Told()] * 20)
        assert len(states.states) == 1
        assert states.remarks == []


def test_a_commissioning_that_scatters_far_more_than_machines_do_is_said() -> None:
    states = commissioned(session(0, 40, scatter=4.0), [Told()] * 40)
    assert "times as much" in states.remarks[0]


def test_states_are_bounded_and_the_commissioned_ones_stay_longest() -> None:
    states = commissioned(session(0, 40), [SLOW] * 40)
    for rpm in np.geomspace(1000.0, 20_000.0, 3 * MAX_STATES):
        states.read(session(1, 1)[0], Told(rpm=float(rpm)))
    assert len(states.states) == MAX_STATES
    assert states.states[0].told == SLOW


def test_a_dump_continues_where_it_was_left() -> None:
    states, again = two_speeds(), two_speeds()
    heard = session(0, 60)
    for one in heard[:30]:
        states.follow(states.read(one, SLOW), one)
    meta, blobs = states.dump()
    again = OperatingStates.load(*unpack(pack(meta, blobs)))
    for one in heard[30:]:
        first, second = states.read(one, SLOW), again.read(one, SLOW)
        assert second.score == pytest.approx(first.score, rel=1e-12)
        states.follow(first, one)
        again.follow(second, one)


def test_what_exceeds_or_is_merely_odd_is_not_followed() -> None:
    states = commissioned(session(0, 40), [Told()] * 40)
    before = states.states[0].baseline.mean.copy()
    assert not states.follow(states.read(session(0, 41)[40] + 1.0, Told()), session(0, 41)[40] + 1.0)
    np.testing.assert_array_equal(states.states[0].baseline.mean, before)


def test_slow_drift_is_followed_and_ends_where_healthy_machines_end() -> None:
    heard = session(1, 4000)
    states = commissioned(heard[:40], [Told()] * 40)
    for number, one in enumerate(heard[40:2000]):
        warm = one + 0.2 * number / 1960
        states.follow(states.read(warm, Told()), warm)
    assert states.read(heard[2001] + 0.2, Told()).score < states.limit.follow_score
    for number, one in enumerate(heard[2000:]):
        worn = one + 0.2 + 2.0 * number / 2000
        states.follow(states.read(worn, Told()), worn)
    baseline = states.states[0].baseline
    assert baseline.drift_decades() <= float(baseline.reach.max())
    assert states.read(heard[3999] + 2.2, Told()).score > 5.0 * states.limit.score


def test_another_release_gives_each_of_two_groups_of_one_speed_its_own_limit_again() -> None:
    mixed = np.concatenate([session(0, 12), session(7, 8, level=-2.0, scatter=3.0)])
    states = commissioned(mixed, [Told()] * 20)
    before = [state.limit.score for state in states.states]
    assert before[0] != pytest.approx(before[1])
    states.recalibrate(states.limits_by(mixed, [Told()] * 20, PRIOR, LAYOUT))
    assert [state.limit.score for state in states.states] == pytest.approx(before)


def at_any_speed(seed: int, captures: int) -> tuple[np.ndarray, list[Told]]:
    """A machine behind a drive, at every speed from 1000 to 1500 rpm."""
    rpm = np.random.default_rng(seed).uniform(1000.0, 1500.0, captures)
    rising = 2.0 * np.log10(rpm / 1250.0)
    return session(0, captures) + rising[:, None, None], [Told(float(each)) for each in rpm]


def test_a_drive_that_runs_at_every_speed_is_known_at_every_speed_it_was_commissioned_at() -> None:
    """It once was one state at the middle speed, and doubtful, hence nearly deaf, at all others."""
    states = commissioned(*at_any_speed(1, 60))
    features, told = at_any_speed(2, 200)
    found = [states.read(one, each) for one, each in zip(features, told, strict=True)]
    assert np.mean([not reading.state.inherited for reading in found]) > 0.9
    assert np.mean([reading.score >= reading.state.threshold for reading in found]) < 0.03
    louder = [states.read(one + 0.3, each) for one, each in zip(features, told, strict=True)]
    assert np.mean([reading.score >= reading.state.threshold for reading in louder]) > 0.9


def test_a_state_full_of_doubt_does_not_take_captures_from_one_that_was_commissioned() -> None:
    states = commissioned(session(0, 40), [Told(1500.0)] * 40)
    new = session(0, 41)[40]
    assert states.read(new, Told(1570.0)).state.inherited
    assert not states.read(new + 0.3, Told(1535.0)).state.inherited
    assert states.read(new + 0.3, Told()).score > states.limit.score
