"""Scenarios are bounded, closed and say what is wrong with them."""

import math
from pathlib import Path

import pytest

from sensor_sim.errors import ScenarioError
from sensor_sim.scenario import bearing_orders, evaluate, load_scenario, parse_scenario

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples" / "scenarios"

MINIMAL = """
[variables]
wait_s = 30.0
[[machines]]
nameplate = { machine = "m", rpm = 1500.0, bearing = { name = "6205" } }
points = [{ position = "de" }]
faults = [{ kind = "outer", onset_s = "= 2 * wait_s + 1", duration_s = 10.0 }]
"""


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_shipped_scenarios_load(path):
    assert load_scenario(path).machines


def test_in_the_demo_plant_one_machine_of_six_fails_and_only_after_commissioning():
    plant = load_scenario(EXAMPLES / "demo-plant.toml")
    assert len(plant.machines) == 6
    assert [machine.name for machine in plant.machines if machine.faults] == ["pump-02"]
    (fault,) = plant.machine("pump-02").faults
    assert fault.kind == "outer"
    assert fault.onset_s >= 40 * max(point.interval_s for machine in plant.machines for point in machine.points)
    sooner = load_scenario(EXAMPLES / "demo-plant.toml", {"commission_captures": 10.0, "margin_s": 5.0})
    assert sooner.machine("pump-02").faults[0].onset_s == 25.0


def test_in_the_demo_plant_no_two_machines_are_alike():
    plant = load_scenario(EXAMPLES / "demo-plant.toml")
    assert len({machine.resonances for machine in plant.machines}) == 6
    assert len({(machine.noise.flow_ug, machine.noise.rolling_ug) for machine in plant.machines}) == 6
    assert len({machine.nominal_rpm for machine in plant.machines}) >= 5


def test_numbers_may_be_calculated_from_variables_that_can_be_set_from_outside():
    assert parse_scenario(MINIMAL).machines[0].faults[0].onset_s == 61.0
    assert parse_scenario(MINIMAL, {"wait_s": 5.0}).machines[0].faults[0].onset_s == 11.0


def test_expressions_know_precedence_signs_and_brackets():
    assert evaluate(" -(a + 2) * 3 / 4", {"a": 2.0}) == -3.0


@pytest.mark.parametrize(
    "expression",
    ["__import__('os')", "a ** 9", "a.b", "1 / 0", "(", "x" * 300, "'a' + 'b'", "missing", "True if 1 else 2"],
)
def test_expressions_hold_numbers_only(expression):
    with pytest.raises(ScenarioError):
        evaluate(expression, {"a": 1.0})


@pytest.mark.parametrize(
    ("found", "instead", "said"),
    [
        ("position", "positon", "positon"),
        ("duration_s = 10.0", "duration_s = -1.0", "greater than 0"),
        ('kind = "outer"', 'kind = "outher"', "outer"),
        ("rpm = 1500.0, ", "", "no rpm"),
        (', bearing = { name = "6205" }', "", "no bearing"),
        ('"6205"', '"62o5"', "not in the library"),
        ('kind = "outer"', 'kind = "gear_wear"', "no gear_teeth"),
        ('{ position = "de" }', '{ position = "de" }, { position = "de" }', "two points"),
        ('{ position = "de" }', '{ position = "de", interval_s = 0.1 }', "a capture takes"),
        ('{ position = "de" }', '{ position = "de", imperfections = [{ kind = "stuck", channel = 3 }] }', "3 axes"),
        ("wait_s = 30.0", 'wait_s = "x"', "numbers only"),
        ("2 * wait_s", "2 * wayt_s", "wayt_s"),
        ("[variables]", "[variables", "not TOML"),
    ],
)
def test_a_scenario_with_a_mistake_names_it(found, instead, said):
    assert found in MINIMAL
    with pytest.raises(ScenarioError, match=said.replace("(", r"\(")):
        parse_scenario(MINIMAL.replace(found, instead, 1))


def test_a_variable_that_is_not_there_cannot_be_set():
    with pytest.raises(ScenarioError, match="no variable 'weight_s'"):
        parse_scenario(MINIMAL, {"weight_s": 1.0})


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenario(tmp_path / "none.toml")


def test_an_oversized_file_is_refused_before_it_is_read(tmp_path):
    big = tmp_path / "big.toml"
    big.write_bytes(b"#" * (5 << 20))
    with pytest.raises(ScenarioError, match="allowed"):
        load_scenario(big)


def test_a_bearing_is_known_by_name_geometry_or_multipliers():
    plate = parse_scenario(MINIMAL).machines[0].nameplate.bearing
    assert plate is not None
    kind = type(plate)
    by_geometry = kind(elements=9, ball_diameter_mm=7.94, pitch_diameter_mm=39.04)
    by_orders = kind(orders=(3.585, 5.415, 2.357, 0.398))
    for other in (by_geometry, by_orders):
        assert math.isclose(bearing_orders(other).bpfo, bearing_orders(plate).bpfo, rel_tol=1e-3)
    with pytest.raises(ScenarioError, match="neither"):
        bearing_orders(kind(elements=9))
