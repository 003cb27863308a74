"""A plant is a function of its seed: same seed, same bytes, in the same order."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from schemas.capture import decode_capture
from sensor_sim.delivery import Delivery
from sensor_sim.errors import ScenarioError
from sensor_sim.plant import Plant, gateway_by_machine
from sensor_sim.scenario import Scenario, load_scenario
from tests.support.machine_scenarios import EPOCH_US, one_machine, plant_of

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples" / "scenarios"

POINT = {"samples": 1024, "interval_s": 1.0, "imperfections": [
    {"kind": "duplicated", "share": 0.2}, {"kind": "reordered", "share": 0.2}, {"kind": "lost", "share": 0.1},
]}  # fmt: skip


def plants(machines: int = 3) -> Scenario:
    one = one_machine(faults=({"kind": "inner"},), point=POINT, noise={}, operating_scatter=0.1).machines[0]
    named = [
        one.model_copy(update={"nameplate": one.nameplate.model_copy(update={"machine": f"m-{number}"})})
        for number in range(machines)
    ]
    return Scenario(individuality=0.1, machines=tuple(named))


def digest(deliveries: Iterable[Delivery]) -> str:
    total = hashlib.sha256()
    for d in deliveries:
        total.update(repr((d.at_s, d.topic, d.lost)).encode() + d.payload)
    return total.hexdigest()


def test_same_seed_gives_the_same_bytes_at_the_same_times():
    assert digest(plant_of(plants()).deliveries(to_s=20.0)) == digest(plant_of(plants()).deliveries(to_s=20.0))


def test_another_seed_gives_others():
    first, second = (digest(plant_of(plants(), seed=seed).deliveries(to_s=5.0)) for seed in (1, 2))
    assert first != second


def test_another_run_of_the_same_seed_measures_the_same_under_another_boot():
    first, second = (list(plant_of(plants(), run=run).deliveries(to_s=5.0)) for run in (1, 2))
    for a, b in zip(first, second, strict=True):
        one, other = decode_capture(a.payload), decode_capture(b.payload)
        assert one.boot != other.boot
        assert (one.counts == other.counts).all()


def test_deliveries_come_in_order_of_time():
    times_s = [d.at_s for d in plant_of(plants()).deliveries(to_s=30.0)]
    assert all(a <= b for a, b in pairwise(times_s))


def test_sensors_do_not_all_measure_at_once():
    offsets = {d.route.point: d.at_s for d in reversed(list(plant_of(plants(6)).deliveries(to_s=1.0)))}
    assert np.ptp(list(offsets.values())) > 0.2


def test_machines_of_one_scenario_differ_by_their_own_chance():
    first = [next(d for d in plant_of(plants()).deliveries() if d.route.point == f"m-{n}/de") for n in range(2)]
    levels = [decode_capture(d.payload).counts.std(axis=1) for d in first]
    assert not np.allclose(levels[0], levels[1], rtol=0.02)


def test_a_plant_can_begin_in_the_middle_of_its_life():
    late = next(iter(plant_of(plants()).deliveries(from_s=5000.0)))
    assert late.at_s >= 5000.0
    assert decode_capture(late.payload).measured_at_us >= EPOCH_US + 5_000_000_000


def test_each_machine_is_heard_by_its_gateway():
    listens = gateway_by_machine({"m-1": "gw-b"}, "gw-a")
    plant = Plant(plants(), site="s", gateway_of=listens, seed=1, epoch_us=EPOCH_US)
    heard = Counter((d.route.gateway, d.route.point) for d in plant.deliveries(to_s=3.0))
    assert set(heard) == {("gw-a", "m-0/de"), ("gw-b", "m-1/de"), ("gw-a", "m-2/de")}


def test_a_machine_without_gateway_is_refused():
    with pytest.raises(ScenarioError, match="m-2 has no gateway"):
        Plant(plants(), site="s", gateway_of=gateway_by_machine({"m-0": "a", "m-1": "a"}, None), seed=1, epoch_us=0)


def test_a_capture_does_not_depend_on_what_was_drawn_before_it():
    whole = {(d.route.point, d.sequence): d.payload for d in plant_of(plants(3)).deliveries(to_s=4.0)}
    alone = {(d.route.point, d.sequence): d.payload for d in plant_of(plants(1)).deliveries(to_s=4.0)}
    assert alone
    assert all(whole[key] == payload for key, payload in alone.items())


def test_every_shipped_scenario_runs_through_all_that_happens_in_it():
    for path in sorted(EXAMPLES.glob("*.toml")):
        scenario = load_scenario(path)
        ends_s = max((fault.onset_s + fault.duration_s for m in scenario.machines for fault in m.faults), default=0.0)
        for at_s in np.linspace(0.0, 1.2 * ends_s, 9):
            for delivery in plant_of(scenario).deliveries(from_s=float(at_s), to_s=float(at_s) + 2.0):
                assert delivery.payload
