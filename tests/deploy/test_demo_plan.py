"""What the demonstration is about to do, before any process is started."""

import socket
import tomllib

import numpy as np
import pytest

from aggregator.settings import AggregatorSettings
from dashboard.settings import DashboardSettings
from deploy.demo.checks import Checks, Sight
from deploy.demo.errors import RecordingsUnfit
from deploy.demo.plan import recorded_plan, simulated_plan
from deploy.demo.ports import HOST, choose_ports
from deploy.demo.simulated import CHECK_PACE
from deploy.demo.toml_text import toml_text
from deploy.demo.watch import EnterpriseSeen, GatewaySeen, SiteSeen
from gateway_agent.settings import GatewaySettings
from schemas.settings import load_settings
from sensor_sim.replay import load_playlist
from sensor_sim.scenario import load_scenario
from sensor_sim.settings import SimulatorSettings


def write_recording(path, label, *, seconds=6.0, fs=20_000.0, rpm=1500.0, severity=7.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path, x=np.ones((1, 2, int(seconds * fs)), np.int16), fs=fs, label=label, rpm=rpm, load=0.0, dataset="rig",
        machine="Rig 1", severity=severity, severity_unit="mil", mult=np.array([3.6, 5.4, 2.4, 0.4]), unit="g",
    )  # fmt: skip


@pytest.mark.parametrize("by", ["mosquitto", "embedded"])
def test_every_settings_file_of_the_plant_loads(tmp_path, by):
    plan = simulated_plan(tmp_path, CHECK_PACE)
    plan.write_settings(by)
    for place in plan.plant.aggregators:
        assert load_settings(AggregatorSettings, place.settings_file, {}).broker_server.port == place.broker_port
    for site in plan.plant.sites:
        assert load_settings(DashboardSettings, site.dashboard_folder / "dashboard.toml", {}).port
    for gateway in plan.plant.gateways:
        loaded = load_settings(GatewaySettings, gateway.folder / "gateway.toml", {})
        sensors = load_settings(SimulatorSettings, gateway.sensors_folder / "sim.toml", {})
        assert sensors.scenario is not None
        scenario = load_scenario(sensors.scenario, sensors.variables)
        assert tuple(machine.nameplate for machine in scenario.machines) == loaded.machines


def test_every_machine_is_at_exactly_one_gateway_of_each_site(tmp_path):
    plant = simulated_plan(tmp_path, CHECK_PACE).plant
    for site in plant.sites:
        names = [name for gateway in plant.gateways_of(site.name) for name in gateway.machine_names]
        assert len(names) == len(set(names)) == 6


def test_one_machine_fails_and_it_is_announced(tmp_path):
    expected = simulated_plan(tmp_path, CHECK_PACE).plant.expected
    assert expected.failing == {("north", "pump-02")}
    assert expected.words == ("pump-02 at site north starts to fail in about 74 s (outer race of its bearing)",)


def test_recordings_become_a_sound_machine_and_one_a_fault_whose_baseline_is_not_its_test(tmp_path):
    write_recording(tmp_path / "a/healthy.npz", "healthy")
    write_recording(tmp_path / "a/outer-7.npz", "outer", severity=7.0)
    write_recording(tmp_path / "a/outer-21.npz", "outer", severity=21.0)
    write_recording(tmp_path / "a/inner-other-rate.npz", "inner", fs=12_000.0)
    plan = recorded_plan(tmp_path / "plant", tmp_path / "a")
    plan.write_settings("embedded")
    assert {machine for _, machine in plan.plant.expected.failing} == {"rig-1500-outer"}
    for sensors in plan.sensors:
        playlist = load_playlist(sensors.gateway.sensors_folder / "playlist.toml", tmp_path / "a")
        for point in playlist.points:
            baseline, test, *fault = point.parts
            assert baseline.to_s == test.from_s
            assert point.point.startswith("rig-1500-outer") == bool(fault)
            assert all(part.file.name == "outer-7.npz" for part in fault)


def test_folder_without_a_healthy_record_of_the_same_condition_is_refused(tmp_path):
    write_recording(tmp_path / "outer.npz", "outer")
    write_recording(tmp_path / "healthy.npz", "healthy", rpm=3000.0)
    with pytest.raises(RecordingsUnfit, match="2 recordings found, but no healthy one"):
        recorded_plan(tmp_path / "plant", tmp_path)


def test_taken_port_is_avoided_and_a_free_one_is_kept_over_a_restart(tmp_path):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        first = choose_ports({"broker": port}, tmp_path / "ports.json")
    assert first["broker"] != port


def test_written_toml_reads_back_as_the_same_table():
    table = {
        "name": 'a "quoted" é', "share": 0.25, "count": 3, "yes": True, "absent": None, "list": [1, 2.5, "x"],
        "group": {"deep": {"deeper": [{"a": 1}]}, "text": "\\"}, "rows": [{"a": 1, "b": {"c": [0.5]}}, {"a": 2}],
    }  # fmt: skip
    table_back = tomllib.loads(toml_text(table, heading="words"))
    del table["absent"]
    assert table_back == table


def sight(plant, *, alarmed=("pump-02",), running=5, fleet=5, told=(("north", "Danger: pump-02"),)):
    def site(name):
        gateways = {g.name: GatewaySeen(True, running, "") for g in plant.gateways_of(name)}
        return SiteSeen(
            captures=1, gateways=gateways, ready_points=7, points=7, fleet={2: fleet}, current=fleet, rounds=1,
            cases={}, alarmed=frozenset(alarmed) if name == "north" else frozenset(), learners=frozenset(gateways),
        )  # fmt: skip

    sites = {place.name: site(place.name) for place in plant.sites}
    return Sight(sites, EnterpriseSeen({2: frozenset(sites)}), dict.fromkeys(sites, True), told)


@pytest.fixture
def plant(tmp_path):
    return simulated_plan(tmp_path, CHECK_PACE).plant


def test_check_holds_when_everything_is_as_promised(plant):
    assert all(Checks(plant).judge(sight(plant)).values())


@pytest.mark.parametrize(
    ("seen", "broken"),
    [
        ({"running": 4}, "runs on every gateway"),
        ({"alarmed": ()}, "the alarm is in the site's database"),
        ({"told": (("south", "pump-02"), ("north", "fan-01"))}, "the shift's phone has been told"),
    ],
)
def test_check_does_not_hold_when_one_promise_is_broken(plant, seen, broken):
    judged = Checks(plant).judge(sight(plant, **seen))
    assert [words for words, holds in judged.items() if not holds] == [w for w in judged if broken in w]


def test_alarm_that_nobody_ordered_is_named(plant):
    assert Checks(plant).false_alarms(sight(plant, alarmed=("pump-02", "fan-01"))) == {("north", "fan-01")}


def test_promise_is_told_once(plant):
    checks = Checks(plant)
    judged = checks.judge(sight(plant))
    assert len(checks.newly_held(judged)) == len(judged)
    assert checks.newly_held(judged) == []
