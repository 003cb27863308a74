"""The plant's page beyond its list: lines, what can be done from a row, where one is; and the preview of own limits."""

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from dashboard import runtime
from dashboard.components.machine_list import Pressed
from dashboard.pages.breadcrumb import way
from schemas.site_tables import machine_case, table_version
from tests.support.dashboards import make_dashboard
from tests.support.page_runs import copied_database, run_page, words_of
from tests.support.site_database import NOW_US
from tests.support.work_plant import build_work_database

HOUR_US = 3_600_000_000


def plant_script() -> None:
    from dashboard.pages.overview import show_overview
    from dashboard.pages.strip import show_strip

    show_strip()
    show_overview()


def alarms_script() -> None:
    from dashboard.pages.alarms import show_alarms

    show_alarms()


def way_script() -> None:
    import streamlit as st

    from dashboard import runtime
    from dashboard.pages.breadcrumb import way

    st.session_state["way"] = way(runtime.current(), st.query_params["page"])


@pytest.fixture(scope="module")
def work_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plant_page") / "site.db"
    build_work_database(path, now_us=NOW_US, days=0.5).dispose()
    return path


@pytest.fixture
def engine(work_database: Path, tmp_path: Path):
    with copied_database(work_database, tmp_path) as opened:
        with opened.begin() as connection:
            connection.execute(
                sa.update(machine_case)
                .where(machine_case.c.machine == "pump-07")
                .values(
                    shelved_until_us=NOW_US + 3 * HOUR_US, shelved_by="M. Weber", shelved_reason="<b>known</b>",
                    state="acknowledged",
                )
            )  # fmt: skip
        yield opened


def component(page: AppTest, field: str) -> Any:
    data = [json.loads(found.proto.json) for found in page.get("bidi_component") if found.proto.json]
    return next(one[field] for one in data if field in one)


def test_shelved_danger_is_marked_in_row_strip_and_line_and_no_longer_stands_on_top(engine, tmp_path):
    page = run_page(plant_script, engine, tmp_path)
    rows = {row["machine"]: row for row in component(page, "rows")}
    order = list(rows)
    assert order.index("pump-07") > max(order.index(name) for name in ("mill-01", "fan-03", "mixer-04", "conveyor-11"))
    pump = rows["pump-07"]
    assert (pump["shape"], pump["letter"], pump["word"], pump["colour"]) == ("shelf", "H", "Shelved", "gray")
    assert pump["details"][0] == "Danger, on the shelf for 3 h more by M. Weber: <b>known</b>"
    assert "▭ H Shelved\u00a01" in words_of(page.markdown)
    assert "D Danger" not in words_of(page.markdown)
    lines = {line["name"]: line for line in component(page, "lines")}
    assert lines["Cooling water"]["word"] == "Shelved"
    assert lines["Raw mill"]["counts"] == "1 machine · ▲ C 1"
    assert next(iter(lines)) == "Kiln line"  # the worst line first, equals by name
    page.segmented_control(key="overview_filter").set_value("attention").run()
    assert "pump-07" not in {row["machine"] for row in component(page, "rows")}


def test_row_offers_its_case_shelving_and_its_report_as_far_as_the_role_may(engine, tmp_path):
    rows = {row["machine"]: row for row in component(run_page(plant_script, engine, tmp_path), "rows")}
    assert rows["mill-01"]["case"] == {"href": "alarms?case=3", "text": "Case 3"}
    assert rows["mill-01"]["acts"] == [["shelve", "Shelve"], ["report", "Report"]]
    assert rows["pump-07"]["acts"] == [["report", "Report"]]  # it is on the shelf already
    assert rows["mixer-04"]["case"] is None
    viewer = run_page(plant_script, engine, tmp_path, role="viewer")
    assert {act for row in component(viewer, "rows") for act, _ in row["acts"]} == {"report"}


def opened(engine: sa.Engine, folder: Path, pressed: Pressed) -> AppTest:
    board = make_dashboard(folder, Path(str(engine.url.database)), role="engineer")
    runtime.install(board)
    page = AppTest.from_function(plant_script, default_timeout=60)
    page.session_state["session_word"] = board.door.admit("A. Schmidt")[1]
    page.session_state["overview_act"] = pressed
    page.run()
    assert not page.exception, page.exception
    return page


def test_shelving_from_the_row_shows_the_case_and_wants_hours_and_a_reason(engine, tmp_path):
    """Pressing the button is for a browser: AppTest knows no reruns of a dialog alone."""
    page = opened(engine, tmp_path, Pressed("shelve", "mill-01"))
    assert "▲ C Alert" in words_of(page.markdown)
    assert [field.label for field in page.text_input if field.label == "Reason"] == ["Reason"]
    assert "Put it on the shelf" in words_of(page.button)
    assert "marked ▭ H Shelved; gateways go on judging" in words_of(page.caption)


def test_shelving_a_machine_whose_case_is_over_meanwhile_says_so(engine, tmp_path):
    assert "has no open case any more" in words_of(opened(engine, tmp_path, Pressed("shelve", "mixer-04")).markdown)


def test_danger_nobody_has_acknowledged_is_not_shelved_from_its_row(engine, tmp_path):
    with engine.begin() as connection:
        connection.execute(sa.update(machine_case).values(shelved_until_us=None))
        connection.execute(sa.update(machine_case).where(machine_case.c.machine == "pump-07").values(state="open"))
    page = opened(engine, tmp_path, Pressed("shelve", "pump-07"))
    assert "A danger has to be acknowledged first: case 1." in words_of(page.markdown)
    assert "Put it on the shelf" not in words_of(page.button)


def test_address_of_a_line_shows_its_machines_and_a_strange_one_none(engine, tmp_path):
    page = run_page(plant_script, engine, tmp_path, area="Raw mill")
    assert [row["machine"] for row in component(page, "rows")] == ["mill-01"]
    assert [line["chosen"] for line in component(page, "lines") if line["name"] == "Raw mill"] == [True]
    page = run_page(plant_script, engine, tmp_path, area="<script>")
    assert "This line has no machines." in words_of(page.markdown)
    assert not any("<script>" in element.proto.body for element in page.get("html"))


def test_search_finds_machines_by_name_title_or_line(engine, tmp_path):
    page = run_page(plant_script, engine, tmp_path)
    page.text_input(key="overview_find").set_value("KILN").run()
    assert [row["machine"] for row in component(page, "rows")] == ["fan-03"]
    page.text_input(key="overview_find").set_value("no such").run()
    assert "No machine here is like “no such”" in words_of(page.markdown).replace("\\", "")


@pytest.mark.parametrize(
    ("page", "query", "steps"),
    [
        ("plant", {}, []),
        ("plant", {"area": "Kiln"}, ["Kiln"]),
        ("machine", {"machine": "pump-07"}, ['<a href="./?area=Cooling%20water">Cooling water</a>',
                                             "Cooling water pump 7"]),
        ("point", {"point": "pump-07/drive-end"}, ['<a href="./?area=Cooling%20water">Cooling water</a>',
                                                   '<a href="machine?machine=pump-07">Cooling water pump 7</a>',
                                                   "drive-end"]),
        ("alarms", {"case": "3"}, ['<a href="alarms">Alarms</a>', '<a href="./?area=Raw%20mill">Raw mill</a>',
                                   '<a href="machine?machine=mill-01">Cement mill 1</a>', "Case 3"]),
        ("machine", {"machine": "<b>"}, ["&lt;b&gt;"]),
        ("alarms", {"case": "x"}, ["Case x"]),
        ("fleet", {}, ["Fleet"]),
    ],
)  # fmt: skip
def test_way_leads_from_the_plant_to_what_is_shown(engine, tmp_path, page, query, steps):
    assert run_page(way_script, engine, tmp_path, page=page, **query).session_state["way"] == steps


def test_way_is_told_by_names_alone_while_the_database_is_away(tmp_path):
    runtime.install(make_dashboard(tmp_path, tmp_path / "none.db"))
    page = AppTest.from_function(way_script, default_timeout=60)
    page.query_params.update({"page": "machine", "machine": "pump-07"})
    page.run()
    assert page.session_state["way"] == ["pump-07"]
    assert callable(way)
    runtime.install(None)


def test_preview_of_an_own_limit_starts_at_the_one_in_force_and_counts_another(engine, tmp_path):
    with engine.begin() as connection:
        connection.execute(
            sa.insert(table_version).values(
                kind="limits", at_us=1, actor="a", note="",
                rows=[{"applies_to": "mill-01", "quantity": "temperature_c", "unit": "°C", "alert": 43.0,
                       "source": "maker"}],
            )
        )  # fmt: skip
    page = run_page(alarms_script, engine, tmp_path, tab="figures")
    page.selectbox(key="preview_point").set_value("mill-01/inlet").run()
    page.selectbox(key="preview_of_what").set_value("temperature_c").run()
    assert not page.exception, page.exception
    alert = page.number_input(key="preview_alert:mill-01/inlet:temperature_c")
    assert (alert.value, alert.label) == (43.0, "Alert from, °C")
    before = words_of(page.markdown)
    assert "alarms instead of" in before
    alert.set_value(60.0).run()
    assert "these limits would have raised 0 alarms instead of" in words_of(page.markdown)
    page.selectbox(key="preview_of_what").set_value("velocity_rms_mm_s").run()
    assert "the plant has set none for this quantity here" in words_of(page.markdown)
