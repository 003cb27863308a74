"""Speed, load and temperature follow what the scenario says."""

import numpy as np
import pytest
from pydantic import ValidationError

from sensor_sim.machine import MachineModel
from sensor_sim.schedules import Constant, Daily, Ramp, RandomWalk, Steps, course_of
from tests.support.machine_scenarios import felt, one_machine


def test_ramp_is_held_before_and_after():
    course = course_of(Ramp(start=0.0, end=1500.0, from_s=10.0, to_s=20.0), (1,))
    assert [course(t) for t in (0.0, 10.0, 15.0, 20.0, 99.0)] == [0.0, 0.0, 750.0, 1500.0, 1500.0]


def test_steps_hold_from_their_time_and_may_begin_again():
    course = course_of(Steps(at_s=(0.0, 10.0), values=(1.0, 2.0), repeat_s=20.0), (1,))
    assert [course(t) for t in (0.0, 9.9, 10.0, 19.9, 20.0, 30.0)] == [1.0, 1.0, 2.0, 2.0, 1.0, 2.0]


def test_random_walk_stays_inside_and_does_not_depend_on_who_asked_before():
    walk = RandomWalk(mean=0.8, step=0.05, every_s=1.0, low=0.6, high=0.95)
    first, second = course_of(walk, (5,)), course_of(walk, (5,))
    times = np.linspace(0.0, 2000.0, 999)
    values = [first(t) for t in times]
    assert second(1999.0) == first(1999.0)
    assert [second(t) for t in times] == values
    assert 0.6 <= min(values) < 0.75
    assert 0.85 < max(values) <= 0.95


def test_day_is_high_between_its_hours():
    course = course_of(Daily(low=0.2, high=0.9, from_h=6.0, to_h=22.0), (1,))
    assert course(12 * 3600.0) == pytest.approx(0.9, abs=1e-3)
    assert course(2 * 3600.0) == course(26 * 3600.0) == pytest.approx(0.2, abs=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Ramp(start=1.0, end=2.0, from_s=5.0, to_s=5.0),
        lambda: Steps(at_s=(0.0, 1.0), values=(1.0,)),
        lambda: Steps(at_s=(1.0, 0.0), values=(1.0, 2.0)),
        lambda: RandomWalk(mean=2.0, step=0.1, high=1.0),
        lambda: Daily(low=0.0, high=1.0, from_h=8.0, to_h=8.0),
        lambda: Constant(value=-1.0),
    ],
)
def test_impossible_schedules_are_refused(wrong):
    with pytest.raises(ValidationError):
        wrong()


def test_load_slows_the_shaft():
    scenario = one_machine(load={"kind": "steps", "at_s": [0.0, 50.0], "values": [0.0, 1.0]}, load_slip=0.03)
    model = MachineModel(scenario, "m", 1)
    assert model.state_at(10.0).rpm == pytest.approx(1500.0)
    assert model.state_at(60.0).rpm == pytest.approx(1455.0)


def test_temperature_follows_the_load_late_like_a_first_order_lag():
    scenario = one_machine(
        load={"kind": "steps", "at_s": [0.0, 1000.0], "values": [0.0, 1.0]},
        thermal={"ambient_c": 20.0, "rise_c": 30.0, "time_constant_s": 600.0},
    )
    model = MachineModel(scenario, "m", 1)
    before, after = model.state_at(960.0).temperature_c, model.state_at(1600.0).temperature_c
    assert before == pytest.approx(29.0, abs=0.1)
    assert (after - before) / (50.0 - before) == pytest.approx(1.0 - np.exp(-1.0), abs=0.06)
    assert model.state_at(200.0).temperature_c == pytest.approx(29.0, abs=0.1)


def test_damage_heats_the_bearing():
    thermal = {"time_constant_s": 1.0, "fault_rise_c": 15.0}
    sound = MachineModel(one_machine(thermal=thermal), "m", 1).state_at(50.0).temperature_c
    hot = MachineModel(one_machine(thermal=thermal, faults=({"kind": "outer"},)), "m", 1).state_at(50.0).temperature_c
    assert hot - sound == pytest.approx(15.0, abs=0.1)


def test_healthy_captures_differ_from_each_other_as_real_ones_do():
    scenario = one_machine(operating_scatter=0.08, noise={})
    levels = [felt(scenario, at_s=10.0 * number, seed=number).std(axis=1) for number in range(6)]
    assert 0.01 < np.std([level[0] for level in levels]) / np.mean([level[0] for level in levels]) < 0.3
