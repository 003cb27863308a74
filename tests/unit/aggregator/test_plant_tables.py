"""Tables from a spreadsheet carried out by the site: whole or not at all, in versions, stronger than the settings."""

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.own_limits import KEPT_US
from schemas import site_tables as tables
from schemas.nameplate import BearingPlate, Nameplate
from tests.support import gateway_talk as talk
from tests.support.work_office import WorkOffice

PUMP = {"machine": "pump-07", "title": "Pump 7", "area": "Line 1", "criticality": 5, "power_kw": 55.0}


@pytest.fixture
def office(engine: Engine) -> WorkOffice:
    made = WorkOffice(engine)
    made.historian.write_nameplates(
        [Nameplate(machine="pump-07", title="Old", unit_calibrated=False,
                   bearing=BearingPlate(name="X1", orders=(3.585, 5.415, 2.357, 0.398)))]
    )  # fmt: skip
    made.hear(talk.health(1))
    return made


def put(office: WorkOffice, *rows: dict[str, Any], action: Any = "set_assets", **more: Any) -> tuple[str, str]:
    row = office.ask(action, machine=None, values={"rows": list(rows)}, **more)
    return row.state, row.answer


def machines(office: WorkOffice) -> dict[str, Any]:
    return {row.machine: row for row in office.rows(tables.machine)}


def test_table_sets_machines_and_keeps_the_former_state_as_a_version(office: WorkOffice) -> None:
    assert put(office, PUMP, {"machine": "fan-01"}) == ("done", "assets version 2: 2 machines, 2 changed")
    pump = machines(office)["pump-07"]
    assert (pump.title, pump.area, pump.criticality, pump.asset_version) == ("Pump 7", "Line 1", 5, 2)
    before, now = office.rows(tables.table_version)
    assert (before.actor, before.rows[0]["title"]) == ("site", "Old")
    assert (now.actor, now.rows[0]["title"]) == ("anna", "Pump 7")


def test_what_the_table_has_no_column_for_stays(office: WorkOffice) -> None:
    put(office, PUMP | {"bearing": "6205"})
    assert machines(office)["pump-07"].nameplate["unit_calibrated"] is False


def test_makers_multipliers_stay_with_their_bearing(office: WorkOffice) -> None:
    put(office, {"name": "X1", "elements": 9, "ball_diameter_mm": 7.94, "pitch_diameter_mm": 39.04, "source": "maker"},
        action="set_bearings")  # fmt: skip
    put(office, {"machine": "fan-01", "bearing": "x1"})
    assert machines(office)["fan-01"].nameplate["bearing"]["elements"] == 9


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([PUMP, {"machine": "fan-01", "criticality": 9}], "line 3, criticality"),
        ([PUMP, PUMP], "stands on line 2 already"),
        ([PUMP | {"bearing": "62055"}], "is not in the library"),
        ([{"title": "x"}], "machine"),
        ([PUMP | {"colour": "red"}], "colour"),
    ],
)
def test_one_wrong_row_changes_nothing(office: WorkOffice, rows: list[dict[str, Any]], why: str) -> None:
    state, answer = put(office, *rows)
    assert state == "refused"
    assert answer.startswith("nothing has changed: ")
    assert why in answer
    assert machines(office)["pump-07"].title == "Old"
    assert office.rows(tables.table_version) == []


def test_technician_sets_no_table(office: WorkOffice) -> None:
    state, answer = put(office, PUMP, role="technician")
    assert state == "refused"
    assert "technician may not set_assets" in answer


def test_settings_do_not_undo_what_was_uploaded_when_the_site_starts_again(office: WorkOffice) -> None:
    put(office, PUMP)
    office.historian.write_nameplates(
        [Nameplate(machine="pump-07", title="Old"), Nameplate(machine="new-1", title="N")]
    )
    assert {name: row.title for name, row in machines(office).items()} == {"pump-07": "Pump 7", "new-1": "N"}


def test_former_table_takes_back_what_the_later_one_did(office: WorkOffice) -> None:
    put(office, PUMP)
    put(office, PUMP | {"title": "Wrong"}, {"machine": "typo-1"})
    assert put(office, PUMP)[1] == "assets version 4: 1 machines, 1 changed, 1 taken off"
    assert set(machines(office)) == {"pump-07"}
    assert machines(office)["pump-07"].title == "Pump 7"


def limit(**more: Any) -> dict[str, Any]:
    return {"applies_to": talk.POINT, "quantity": "velocity_rms_mm_s", "unit": "mm/s RMS", "alert": 4.5,
            "danger": 7.1, "source": "maker's manual 2019"} | more  # fmt: skip


def speak(office: WorkOffice, first: int, velocities: list[float | None], **more: Any) -> None:
    for number, velocity in enumerate(velocities, first):
        said = talk.health(number).model_copy(update={"velocity_rms_mm_s": velocity, **more})
        office.hear(said)
    office.limits.step()


def test_own_limit_raises_a_case_with_its_source_and_ends_it(office: WorkOffice) -> None:
    assert put(office, limit(), action="set_limits") == ("done", "limits version 1: 1 limits in force")
    office.limits.step()
    speak(office, 10, [4.6] * 4)
    assert office.case() is None
    speak(office, 20, [4.6])
    case = office.case()
    assert (case.state, case.priority) == ("open", "alert")
    assert case.title == "velocity 4.6 mm/s RMS is above the plant's own limit of 4.5 mm/s RMS (maker's manual 2019)"
    speak(office, 30, [7.5] * 3)
    assert office.case().priority == "danger"
    speak(office, 40, [1.0] * 4)
    assert office.case().state == "open"
    speak(office, 50, [1.0] * 2)  # dangers count twice until they are out of the last eight
    assert (office.case().state, office.case().points) == ("open", {"pump-07/de:velocity_rms_mm_s": "returned"})
    office.ask("acknowledge")
    assert office.case().state == "closed"


def test_own_limit_that_somebody_has_acknowledged_ends_its_case_by_itself(office: WorkOffice) -> None:
    put(office, limit(), action="set_limits")
    office.limits.step()
    speak(office, 10, [4.6] * 5)
    office.ask("acknowledge")
    assert office.case().state == "acknowledged"
    speak(office, 40, [1.0] * 8)
    assert office.case().state == "closed"


def test_captures_before_a_limit_came_into_force_raise_nothing(office: WorkOffice) -> None:
    speak(office, 10, [9.0] * 10)
    put(office, limit(), action="set_limits")
    office.limits.step()
    office.limits.step()
    assert office.case() is None


def test_value_that_is_missing_or_not_believed_is_no_evidence(office: WorkOffice) -> None:
    put(office, limit(), action="set_limits")
    office.limits.step()
    speak(office, 10, [None] * 9)
    speak(office, 20, [9.0] * 9, quality="saturated")
    assert office.case() is None


def test_limit_of_a_speed_holds_at_that_speed_only(office: WorkOffice) -> None:
    put(office, limit(rpm_from=2000, rpm_to=4000), action="set_limits")
    office.limits.step()
    speak(office, 10, [9.0] * 9, rpm=1480.0)
    speak(office, 20, [9.0] * 9, rpm=None)
    assert office.case() is None
    speak(office, 30, [9.0] * 9, rpm=2900.0)
    assert office.case().priority == "danger"


def test_limit_that_is_taken_away_ends_what_it_raised(office: WorkOffice) -> None:
    put(office, limit(), action="set_limits")
    office.limits.step()
    speak(office, 10, [9.0] * 5)
    assert office.case().state == "open"
    put(office, action="set_limits")
    office.limits.step()
    assert office.case().state == "closed"
    assert office.rows(tables.limit_watch) == []


def test_closed_case_is_not_reopened_while_the_value_stays_above(office: WorkOffice) -> None:
    put(office, limit(), action="set_limits")
    office.limits.step()
    speak(office, 10, [5.0] * 5)
    office.ask("close")
    speak(office, 20, [5.0] * 20)
    assert office.case().state == "closed"


def test_limit_of_a_machine_nobody_knows_is_refused(office: WorkOffice) -> None:
    state, answer = put(office, limit(applies_to="pump-99"), action="set_limits")
    assert state == "refused"
    assert "pump-99" in answer


def test_limits_are_judged_on_after_a_restart(office: WorkOffice) -> None:
    put(office, limit(), action="set_limits")
    office.limits.step()
    speak(office, 10, [5.0] * 3)
    again = WorkOffice(office.engine)
    again.numbers = office.numbers
    speak(again, 20, [5.0] * 2)
    assert again.case().state == "open"


def test_old_versions_leave_one_by_one(office: WorkOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    from aggregator import plant_tables

    monkeypatch.setattr(plant_tables, "KEPT_VERSIONS", 3)
    for _ in range(5):
        put(office, action="set_limits")
    with office.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(tables.table_version)).scalar_one() == 3


def test_every_change_of_an_own_limits_alarm_is_kept_for_the_figures(office: WorkOffice) -> None:
    put(office, limit(), action="set_limits")
    office.limits.step()
    speak(office, 10, [4.6] * 5)
    speak(office, 30, [7.5] * 3)
    put(office, action="set_limits")
    office.limits.step()
    told = office.rows(tables.limit_alarm)
    assert [(row.point, row.quantity, row.priority) for row in told[:2]] == [
        (talk.POINT, "velocity_rms_mm_s", "alert"), (talk.POINT, "velocity_rms_mm_s", "danger")
    ]  # fmt: skip
    assert [row.state for row in told[:2]] == ["unacknowledged", "unacknowledged"]
    assert (told[0].value, told[0].bound, told[1].bound) == (4.6, 4.5, 7.1)
    assert told[-1].state == "normal"


def test_what_figures_do_not_reach_any_more_leaves(office: WorkOffice) -> None:
    put(office, limit(), action="set_limits")
    office.limits.step()
    speak(office, 10, [4.6] * 5)
    office.now_s += KEPT_US / 1e6 + 1
    speak(office, 30, [7.5] * 3)
    assert [row.priority for row in office.rows(tables.limit_alarm)] == ["danger"]


def test_cause_of_a_case_is_the_likeliest_until_a_person_names_one(office: WorkOffice) -> None:
    office.hear(talk.alarm())
    before = office.case().cause
    office.ask("label", label="looseness")
    assert office.case().cause == "looseness"
    office.ask("note", note="the diagnosis stays another")
    assert office.case().cause == "looseness"
    assert before == next((item["label"] for item in office.case().diagnosis if item["label"] != "unknown"), None)


def test_what_a_stop_costs_is_kept_and_comes_back_with_the_table(office: WorkOffice) -> None:
    put(office, PUMP | {"stop_cost_per_h": 1500.0, "currency": "EUR", "stop_h": 8.0})
    pump = machines(office)["pump-07"]
    assert (pump.stop_cost_per_h, pump.currency, pump.stop_h) == (1500.0, "EUR", 8.0)
    assert "stop" not in str(pump.nameplate)  # nothing of it goes to a gateway
    state, answer = put(office, PUMP | {"stop_cost_per_h": 1500.0})
    assert state == "refused"
    assert "currency (EUR, USD ...) belong together" in answer


def test_line_of_the_settings_stands_until_a_table_names_another(office: WorkOffice) -> None:
    office.historian.write_nameplates([Nameplate(machine="pump-07", title="Old", area="Hall 1")])
    assert machines(office)["pump-07"].area == "Hall 1"
    put(office, PUMP)
    office.historian.write_nameplates([Nameplate(machine="pump-07", title="Old", area="Hall 1")])
    assert machines(office)["pump-07"].area == "Line 1"
