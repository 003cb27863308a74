"""The outlook of a machine: its train on paper, how far damage has come, what waiting costs, what others had."""

from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa

from dashboard.bearing_stage import BearingSigns, bearing_signs, bearing_stage
from dashboard.components.train_sketch import train_data
from dashboard.condition import Staleness, point_level
from dashboard.languages import speaking
from dashboard.pages.outlook import money, waiting_lines
from dashboard.queries.cases import read_similar
from dashboard.queries.plant import read_machine
from dashboard.train import train_of
from dashboard.waiting import chance_to_fail, waits
from schemas.asset_table import StopCost
from schemas.messages import Evidence, RemainingLife, Series
from schemas.nameplate import Nameplate
from schemas.site_tables import case_event, machine, machine_case, point
from tests.support.page_runs import copied_database, run_page, words_of
from tests.support.site_database import BPFO_HZ, NOW_US, SHAFT_HZ, make_evidence, open_case

LIMITS = Staleness(3.0, 30.0, 900.0)
DAY_US = 86_400_000_000
LIFE = RemainingLife(low_s=3 * 86_400.0, median_s=6 * 86_400.0, high_s=11 * 86_400.0)
STEP_HZ = 2.0


def machine_script() -> None:
    from dashboard.pages.machine import show_machine

    show_machine()


@pytest.fixture
def engine(plant_database, tmp_path):
    with copied_database(plant_database, tmp_path) as opened:
        yield opened


def capture(*, bearing: float = 0.0, floor: float = 1.0, shaft: float = 1.0, envelope: bool = True) -> Evidence:
    """A spectrum beside its healthy one: `bearing` is the height of the damage's lines in g."""
    rng = np.random.default_rng(1)
    frequency_hz = np.arange(3000) * STEP_HZ
    noise = 0.001 * (1.0 + 0.1 * rng.random(3000))
    turning = np.where(np.abs(frequency_hz - SHAFT_HZ) < STEP_HZ, 0.02, 0.0)
    damage = np.zeros(3000)
    for number in (1, 2, 3):
        damage[round(number * BPFO_HZ / STEP_HZ)] = bearing
    made = make_evidence(
        "pump-07/de", rng, measured_at_us=1, family_hz=BPFO_HZ if envelope else None, why="", sequence=1
    )

    def series(values: np.ndarray) -> Series:
        return Series.pack(values, start=0.0, step=STEP_HZ, axis_unit="Hz", value_unit="g")

    return made.model_copy(
        update={
            "spectrum": series(floor * noise + shaft * turning + damage), "baseline": series(noise + turning),
        }
    )  # fmt: skip


def stage(evidence: Evidence) -> int | None:
    signs = bearing_signs(evidence, "BPFO")
    assert signs is not None
    return bearing_stage(signs)


def test_damage_in_the_envelope_alone_is_stage_two() -> None:
    assert stage(capture()) == 2


def test_damage_lines_in_the_spectrum_itself_are_stage_three() -> None:
    assert stage(capture(bearing=0.02)) == 3


def test_risen_floor_with_risen_shaft_line_is_stage_four_though_the_lines_have_sunk_into_it() -> None:
    """What looks like a recovery: the envelope still tells, the lines do not stand out any more."""
    sunk = capture(floor=6.0, shaft=4.0)
    signs = bearing_signs(sunk, "BPFO")
    assert signs is not None
    assert signs.in_spectrum == 0
    assert bearing_stage(signs) == 4


@pytest.mark.parametrize("only", [{"floor": 6.0}, {"shaft": 4.0}])
def test_one_of_the_late_signs_alone_is_not_stage_four(only) -> None:
    assert stage(capture(bearing=0.1, **only)) == 3


def test_capture_without_any_line_of_the_damage_has_no_stage() -> None:
    assert stage(capture(envelope=False)) is None


def test_spectrum_that_is_too_coarse_or_without_theory_is_not_judged() -> None:
    coarse = capture(bearing=0.02)
    wide = coarse.spectrum.model_copy(update={"step": BPFO_HZ / 4})
    signs = bearing_signs(coarse.model_copy(update={"spectrum": wide}), "BPFO")
    assert signs is not None
    assert signs.in_spectrum is None
    assert bearing_stage(signs) == 2
    assert bearing_signs(coarse, "no such family") is None


def test_without_a_healthy_spectrum_the_last_stage_is_never_claimed() -> None:
    signs = bearing_signs(capture(bearing=0.02, floor=9.0, shaft=9.0).model_copy(update={"baseline": None}), "BPFO")
    assert signs is not None
    assert (signs.floor, signs.shaft) == (None, None)
    assert bearing_stage(signs) == 2 or signs.in_spectrum


def test_machine_page_says_the_stage_with_its_signs_for_a_bearing_and_for_nothing_else(engine, tmp_path) -> None:
    page = run_page(machine_script, engine, tmp_path, machine="pump-07")
    text = words_of(page.markdown, page.caption).replace("\\", "")
    assert "**Bearing damage, stage 2 of 4**: it shows in the envelope" in text
    assert "lines in the envelope: yes" in text
    page = run_page(machine_script, engine, tmp_path, machine="fan-03")
    assert "stage" not in words_of(page.markdown, page.caption)


def test_stage_has_words_for_every_sign_it_may_rest_on() -> None:
    from dashboard.pages.outlook import sign_words, stage_words

    with speaking("en"):
        said = sign_words(BearingSigns(in_envelope=False, in_spectrum=None, floor=None, shaft=2.5))
        assert said[-1] == "1x 2.5 times the healthy one"
        assert "floor: no healthy spectrum to compare with" in said
        assert all(stage_words(number) for number in (2, 3, 4))


def test_chance_follows_the_band_and_never_says_more_than_it_knows() -> None:
    day_s = 86_400.0
    assert chance_to_fail(LIFE, 3 * day_s) == pytest.approx(0.1)
    assert chance_to_fail(LIFE, 6 * day_s) == pytest.approx(0.5)
    assert chance_to_fail(LIFE, 400 * day_s) == pytest.approx(0.9)
    over = RemainingLife(low_s=0.0, median_s=0.0, high_s=0.0)
    assert 0.0 <= chance_to_fail(over, 1.0) <= 0.9


def test_waiting_costs_its_chance_times_what_a_stop_costs() -> None:
    stop = StopCost(1500.0, "EUR", 8.0)
    found = waits(LIFE, stop)
    assert [wait.days for wait in found] == [1.0, 3.0, 7.0]
    assert found[1].cost == pytest.approx(0.1 * 12_000)
    with speaking("en"):
        lines = waiting_lines(LIFE, stop)
        assert lines[0] == f"An unplanned stop costs about **{money(12_000, 'EUR')}**: 8 h at 1\u202f500 EUR an hour."
        assert lines[2] == "Waiting 3 d: fails meanwhile with a chance of 10%, costs 1\u202f200 EUR on average."


def test_what_is_missing_to_say_the_cost_is_named() -> None:
    with speaking("en"):
        assert "stop_cost_per_h, currency, stop_h" in waiting_lines(LIFE, StopCost())[0]
        assert "how long one lasts (stop_h) is not in the table" in waiting_lines(None, StopCost(10.0, "EUR"))[0]
        assert len(waiting_lines(None, StopCost(10.0, "EUR", 1.0))) == 1  # without a band no chance is made up


def test_cost_of_the_asset_table_stands_on_the_machines_page(engine, tmp_path) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.update(machine)
            .where(machine.c.machine == "pump-07")
            .values(stop_cost_per_h=1500.0, currency="EUR", stop_h=8.0)
        )
    page = run_page(machine_script, engine, tmp_path, machine="pump-07")
    assert "An unplanned stop costs about **12\u202f000 EUR**" in words_of(page.markdown)


def test_points_sit_where_their_names_say_and_others_are_said_to_be_guessed() -> None:
    plate = Nameplate(machine="m", kind="pump", gear_teeth=31)
    names = ["motor-nde", "motor-de", "gearbox", "drive-end", "fan-end", "bearing-1"]
    train = train_of(plate, names)
    assert [part.kind for part in train.parts] == ["motor", "coupling", "gear", "pump"]
    assert [spot.x for spot in train.spots[:4]] == sorted(spot.x for spot in train.spots[:4])
    x = {spot.position: spot.x for spot in train.spots}
    pump = train.parts[-1]
    assert pump.start < x["drive-end"] < x["bearing-1"] < x["fan-end"] < pump.end
    assert [spot.position for spot in train.spots if not spot.told] == ["bearing-1"]
    assert [part.kind for part in train_of(None, ["non-drive-end"]).parts] == ["motor", "coupling", "general"]


def test_each_point_of_the_sketch_has_its_own_state(engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.update(point).where(point.c.point == "mill-01/outlet").values(quality="loose"))
        pump, mill = read_machine(connection, "pump-07"), read_machine(connection, "mill-01")
    assert pump is not None
    assert mill is not None
    with speaking("en"):
        spots = {spot["name"]: spot for spot in train_data(pump, LIMITS, now_us=NOW_US)["spots"]}
        assert (spots["drive-end"]["word"], spots["drive-end"]["letter"]) == ("Danger", "D")
        assert spots["drive-end"]["href"] == "point?point=pump-07%2Fdrive-end"
        assert spots["drive-end"]["text"].endswith("mm/s RMS, zone A")
        assert spots["fan-end"]["word"] == "Normal"
        assert train_data(mill, LIMITS, now_us=NOW_US)["spots"][1]["word"] == "Sensor problem"
        later = train_data(pump, LIMITS, now_us=NOW_US + DAY_US)["spots"][0]
        assert (later["word"], later["text"]) == ("Stale", "")  # no old value as if it were of now


def test_alarm_of_an_own_limit_marks_its_point_and_a_shelf_takes_the_colour(engine) -> None:
    with engine.connect() as connection:
        pump = read_machine(connection, "pump-07")
    assert pump is not None
    assert pump.case is not None
    by_limit = replace(pump, case=replace(pump.case, points={"pump-07/fan-end:temperature_c": "unacknowledged"}))
    levels = [point_level(by_limit, found, LIMITS, NOW_US).name for found in pump.points]
    assert levels == ["normal", "danger"]
    shelved = replace(by_limit, case=replace(by_limit.case, shelved_until_us=NOW_US + 1))
    assert point_level(shelved, pump.points[1], LIMITS, NOW_US).name == "shelved"


def test_cases_of_other_machines_of_this_kind_with_this_cause_are_shown_with_their_outcome(engine, tmp_path) -> None:
    with engine.begin() as connection:
        plate = connection.execute(sa.select(machine.c.nameplate).where(machine.c.machine == "pump-07")).scalar_one()
        for name, kind in (("pump-02", "pump"), ("fan-09", "fan")):
            connection.execute(
                sa.insert(machine).values(
                    machine=name, title=f"{name} <b>", criticality=3, first_seen_us=0,
                    nameplate=plate | {"machine": name, "kind": kind},
                )
            )  # fmt: skip
            case_id = open_case(
                connection, name=name, priority="alert", title="t", diagnosis=(), at_us=NOW_US - 40 * DAY_US,
                state="closed",
            )  # fmt: skip
            connection.execute(
                sa.update(machine_case)
                .where(machine_case.c.case_id == case_id)
                .values(cause="outer", closed_at_us=NOW_US - 31 * DAY_US)
            )
            connection.execute(
                sa.insert(case_event).values(
                    case_id=case_id, at_us=1, kind="maintenance", actor="w", text="6205 replaced, spall found"
                )
            )
        found = read_similar(connection, "pump-07", kind="pump", cause="outer")
        assert [one.machine for one in found] == ["pump-02"]
        assert found[0].told == (("maintenance", "6205 replaced, spall found"),)
        assert read_similar(connection, "pump-02", kind="pump", cause="outer") == []
        assert read_similar(connection, "pump-07", kind="pump", cause="inner") == []
    page = run_page(machine_script, engine, tmp_path, machine="pump-07")
    html = "\n".join(element.proto.body for element in page.get("html"))
    assert "pump-02 &lt;b&gt;</a>" in html
    assert "over after 9 d: maintenance: 6205 replaced, spall found" in html
    page = run_page(machine_script, engine, tmp_path, machine="fan-03")
    assert "None: no other machine of this kind has had a case of imbalance" in words_of(page.caption)
