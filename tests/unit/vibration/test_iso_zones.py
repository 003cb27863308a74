"""Zones: the right class, the worse side of a boundary, and no verdict where there is none."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibration.errors import ZoneError
from vibration.iso_zones import Nameplate, load_zone_table, parse_zone_table, velocity_band_at, velocity_band_hz, zone

MOTOR = Nameplate(power_kw=55.0, foundation="rigid", rpm=1480.0)


@pytest.mark.parametrize(
    ("power_kw", "foundation", "limits_mm_s"),
    [
        (500.0, "rigid", (2.3, 4.5, 7.1)),
        (500.0, "flexible", (3.5, 7.1, 11.0)),
        (300.0, "rigid", (1.4, 2.8, 4.5)),
        (15.1, "flexible", (2.3, 4.5, 7.1)),
        (15.0, "rigid", (0.71, 1.8, 4.5)),
        (0.5, None, (0.71, 1.8, 4.5)),
    ],
)
def test_power_and_foundation_choose_the_boundaries(power_kw, foundation, limits_mm_s):
    verdict = zone(0.1, Nameplate(power_kw=power_kw, foundation=foundation))
    assert verdict.limits_mm_s == limits_mm_s
    assert verdict.zone == "A"
    assert verdict.edition.startswith("ISO 10816")
    assert verdict.source
    assert verdict.verified_by


@pytest.mark.parametrize(
    ("kind", "power_kw", "foundation", "limits_mm_s"),
    [
        ("pump", 90.0, None, (3.2, 5.1, 8.5)),
        ("pump", 250.0, None, (4.2, 6.1, 9.5)),
        ("critical_pump", 200.0, None, (2.5, 4.0, 6.6)),
        ("critical_pump", 201.0, None, (3.5, 5.0, 7.6)),
        ("fan", 30.0, "rigid", (4.5, 7.1, 9.0)),
        ("fan", 30.0, "flexible", (6.3, 11.8, 12.5)),
    ],
)
def test_pumps_and_fans_have_their_own_boundaries(kind, power_kw, foundation, limits_mm_s):
    assert zone(1.0, Nameplate(power_kw, foundation, kind)).limits_mm_s == limits_mm_s


@pytest.mark.parametrize(
    ("velocity_mm_s", "letter"),
    [(0.0, "A"), (1.399, "A"), (1.4, "B"), (2.799, "B"), (2.8, "C"), (4.499, "C"), (4.5, "D"), (99.0, "D")],
)
def test_value_on_a_boundary_belongs_to_the_worse_zone(velocity_mm_s, letter):
    assert zone(velocity_mm_s, MOTOR).zone == letter


@given(st.lists(st.floats(0.0, 50.0), min_size=1, max_size=6))
def test_worst_axis_decides(axes):
    assert zone(axes, MOTOR).zone == zone(max(axes), MOTOR).zone


def test_verdict_says_value_zone_and_class():
    verdict = zone([1.0, 3.0, 0.5], MOTOR)
    assert verdict.velocity_mm_s == 3.0
    assert verdict.reason == "3.00 mm/s RMS is in zone C (from 2.8 to below 4.5) of ISO 10816-3 group 2 rigid"


@pytest.mark.parametrize(
    ("nameplate", "said"),
    [
        (Nameplate(foundation="rigid"), "power is unknown"),
        (Nameplate(power_kw=55.0), "foundation is unknown"),
        (Nameplate(power_kw=55.0, foundation="rigid", rpm=119.0), "119 rpm is below 120"),
        (Nameplate(power_kw=55.0, foundation="rigid", kind="reciprocating"), "reciprocating"),
        (Nameplate(machine_class="10816-3 group 9"), "no class '10816-3 group 9'"),
    ],
)
def test_machine_that_cannot_be_judged_has_a_reason_and_no_zone(nameplate, said):
    verdict = zone(1.0, nameplate)
    assert verdict.zone is None
    assert verdict.limits_mm_s is None
    assert said in verdict.reason


@pytest.mark.parametrize("missing", [math.nan, math.inf, -1.0])
def test_missing_velocity_is_not_zone_a(missing):
    for axes in (missing, [missing, missing], []):
        verdict = zone(axes, MOTOR)
        assert verdict.zone is None
        assert verdict.velocity_mm_s is None


def test_missing_axis_hides_a_good_zone_and_not_a_bad_one():
    assert zone([0.5, math.nan, 0.6], MOTOR).zone is None
    worse = zone([0.5, math.nan, 5.0], MOTOR)
    assert worse.zone == "D"
    assert "1 of 3 axes not measured" in worse.reason


def test_class_chosen_by_a_person_overrides_power_and_foundation():
    assert zone(4.0, Nameplate(machine_class="10816-1 class III")).zone == "B"


def test_slow_machines_are_measured_from_2_hz():
    assert velocity_band_hz(Nameplate(rpm=599.0)) == (2.0, 1000.0)
    assert velocity_band_hz(MOTOR) == velocity_band_hz(Nameplate()) == (10.0, 1000.0)


def test_slowest_speed_of_a_machine_decides_from_where_on_its_velocity_counts():
    assert velocity_band_at(1480.0, 300.0, None) == (2.0, 1000.0)
    assert velocity_band_at(None, 600.0) == velocity_band_at() == (10.0, 1000.0)


def test_shipped_table_names_edition_source_and_verifier_for_every_class():
    table = load_zone_table()
    assert len(table) == 14
    assert all(row.edition and row.source and row.verified_by for row in table)


OWN = """
[[class]]
id = "our presses"
kinds = ["general"]
limits_mm_s = [3, 6, 9]
edition = "works standard 12"
source = "maintenance handbook"
verified_by = "A. Meier, 2025"
"""


def test_plant_may_judge_by_its_own_table():
    verdict = zone(6.0, Nameplate(power_kw=20.0), table=parse_zone_table(OWN))
    assert (verdict.zone, verdict.edition) == ("C", "works standard 12")
    uncovered = zone(6.0, Nameplate(power_kw=20.0, kind="pump", foundation="rigid"), table=parse_zone_table(OWN))
    assert "no class for pump of 20 kW" in uncovered.reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[class", "not TOML"),
        ("", "no \\[\\[class"),
        (OWN.replace('edition = "works standard 12"\n', ""), "our presses: missing edition"),
        (OWN + "limit = 3\n", "unknown limit"),
        (OWN.replace("[3, 6, 9]", "[3, 3, 9]"), "three rising numbers"),
        (OWN.replace("[3, 6, 9]", '"3 6 9"'), "three rising numbers"),
        (OWN + 'foundation = "soft"\n', "rigid or flexible"),
        (OWN + OWN, "twice: our presses"),
    ],
)
def test_faulty_table_is_refused_with_the_class_and_the_reason(text, said):
    with pytest.raises(ZoneError, match=said):
        parse_zone_table(text)


@pytest.mark.parametrize(
    "wrong", [{"foundation": "soft"}, {"kind": "engine"}, {"power_kw": 0.0}, {"power_kw": math.nan}, {"rpm": -1.0}]
)
def test_impossible_nameplate_is_refused(wrong):
    with pytest.raises(ZoneError):
        Nameplate(**wrong)
