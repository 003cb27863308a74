"""Whoever starts from an example starts from settings that load."""

import tomllib
from pathlib import Path

import pytest

from aggregator.settings import AggregatorSettings
from dashboard.settings import DashboardSettings
from gateway_agent.judge import bearing_orders
from gateway_agent.settings import GatewaySettings
from schemas.nameplate import load_nameplate
from schemas.settings import Settings, load_settings
from sensor_sim.scenario import load_scenario
from sensor_sim.settings import SimulatorSettings

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "examples"
KINDS: dict[str, type[Settings]] = {
    "foreign-sensors.toml": GatewaySettings,
    "gateway.toml": GatewaySettings,
    "site.toml": AggregatorSettings,
    "enterprise.toml": AggregatorSettings,
    "dashboard.toml": DashboardSettings,
    "dashboard-enterprise.toml": DashboardSettings,
    "sim.toml": SimulatorSettings,
}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_example_loads_with_its_settings_class(name):
    assert load_settings(KINDS[name], EXAMPLES / name, {})


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.toml")} == {*KINDS, "nameplate.toml"}


def test_example_nameplate_loads_and_its_bearing_has_fault_orders():
    assert bearing_orders(load_nameplate(EXAMPLES / "nameplate.toml")) is not None


def test_bearings_of_the_example_gateway_have_fault_orders():
    plates = load_settings(GatewaySettings, EXAMPLES / "gateway.toml", {}).machines
    assert plates
    assert all(bearing_orders(plate) for plate in plates)


def test_example_simulator_finds_its_scenario_and_every_variable_in_it():
    settings = load_settings(SimulatorSettings, EXAMPLES / "sim.toml", {})
    assert settings.scenario is not None
    assert load_scenario(settings.scenario, settings.variables).machines


def test_examples_hold_no_secret():
    for path in EXAMPLES.rglob("*.toml"):
        assert "password" not in tomllib.loads(path.read_text()).get("broker", {})
