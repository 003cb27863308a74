"""What each page says in each state; read from the page itself, without a browser."""

import json
import sqlite3
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from dashboard import runtime
from dashboard.runtime import Dashboard
from schemas.database import open_database, sqlite_url
from schemas.site_tables import alarm, case_event, gateway, health, machine, machine_case, point, request, table_version
from tests.support.dashboards import make_dashboard, token_of
from tests.support.site_database import NO_LIFE, NOW_US, PUMP_LIFE_BASIS, create_tables

SCRIPT = str(resources.files("dashboard") / "screen" / "app.py")


def overview_script() -> None:
    from dashboard.pages.overview import show_overview
    from dashboard.pages.strip import show_strip

    show_strip()
    show_overview()


def machine_script() -> None:
    from dashboard.pages.machine import show_machine

    show_machine()


def run(script: Any, **query: str) -> AppTest:
    page = AppTest.from_function(script, default_timeout=30)
    for name, value in query.items():
        page.query_params[name] = value
    page.run()
    assert not page.exception, page.exception
    return page


def said(page: AppTest) -> str:
    """Everything the page says in words, without the backslashes that keep text from being markup."""
    kinds = (page.title, page.header, page.subheader, page.markdown, page.caption, page.warning, page.error, page.info)
    words = [element.value for kind in kinds for element in kind]
    words += [button.label for button in page.button]
    words += [element.proto.body for element in page.get("html")]
    return "\n".join(str(word) for word in words).replace("\\", "")


def components(page: AppTest) -> list[dict[str, Any]]:
    found = []
    for element in page.get("bidi_component"):
        if element.proto.json:
            found.append(json.loads(element.proto.json))
    return found


def rows(page: AppTest) -> list[dict[str, Any]]:
    return next(data["rows"] for data in components(page) if "rows" in data)


def charts(page: AppTest) -> dict[str, dict[str, Any]]:
    return {data["title"]: data for data in components(page) if "view_key" in data}


@pytest.fixture
def engine(plant_copy):
    opened = open_database(sqlite_url(plant_copy))
    yield opened
    opened.dispose()


def installed(tmp_path: Path, database: Path, **changes: Any) -> Dashboard:
    board = make_dashboard(tmp_path, database, **changes)
    runtime.install(board)
    return board


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    runtime.install(None)


def test_overview_lists_worst_first_with_reason_and_age(board):
    page = run(overview_script)
    found = rows(page)
    assert [row["machine"] for row in found][:4] == ["pump-07", "fan-03", "mixer-04", "conveyor-11"]
    assert found[0]["reason"].startswith("Outer race damage likely (82%)")
    assert (found[0]["shape"], found[0]["letter"], found[0]["word"]) == ("square", "D", "Danger")
    assert found[0]["work"] == "not acknowledged"
    assert found[1]["work"] == "seen by M. Weber"
    assert found[3]["reason"] == "no data for 5 h, expected every 10 min: state not known"
    assert found[3]["stale"]
    assert (
        found[4]["reason"] == "learning what is healthy (12 of 20 captures); until then only velocity zones are judged"
    )
    assert all(row["age"].endswith("ago") for row in found)


def test_strip_counts_levels_gateways_and_the_last_round(board):
    words = said(run(overview_script))
    assert "**live**, newest data 19 s ago" in words
    assert "■ D Danger" in words
    assert "gateways 2 of 3 online" in words
    assert "learning round without effect 60 min ago" in words
    assert "4 of 6 machines need attention · 5 of 8 points assessable" in words


def test_filter_leaves_what_needs_attention(board):
    page = run(overview_script)
    page.segmented_control(key="overview_filter").set_value("attention").run()
    assert [row["machine"] for row in rows(page)] == ["pump-07", "fan-03", "mixer-04", "conveyor-11"]


def test_missing_database_is_explained_and_no_list_is_shown(tmp_path):
    installed(tmp_path, tmp_path / "none.db")
    page = run(overview_script)
    assert "The site's database is not there" in said(page)
    assert "aggregator run" in said(page)
    assert "state not known" in said(page)
    assert components(page) == []


def test_locked_database_is_explained(tmp_path, plant_copy):
    installed(tmp_path, plant_copy)
    holder = sqlite3.connect(plant_copy)
    holder.execute("PRAGMA journal_mode=DELETE")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        words = said(run(overview_script))
    finally:
        holder.close()
    assert "The site's database is locked" in words
    assert "That no alarm is shown here means nothing" in words


@pytest.mark.parametrize(
    ("change", "title"),
    [
        ("UPDATE alembic_version SET version_num = 'v9999'", "of another version than this dashboard"),
        ("DROP TABLE alembic_version", "This database is not a site's"),
    ],
)
def test_foreign_and_newer_databases_are_explained(tmp_path, plant_copy, change, title):
    with sqlite3.connect(plant_copy) as other:
        other.execute(change)
    other.close()
    installed(tmp_path, plant_copy)
    assert title in said(run(overview_script))


def test_damaged_file_is_explained(tmp_path):
    (tmp_path / "site.db").write_bytes(b"not a database at all" * 300)
    installed(tmp_path, tmp_path / "site.db")
    assert "no readable database" in said(run(overview_script))


def test_empty_plant_says_how_it_gets_its_first_machine(tmp_path):
    create_tables(tmp_path / "site.db").dispose()
    installed(tmp_path, tmp_path / "site.db")
    page = run(overview_script)
    assert "No machines yet" in said(page)
    assert "aggregator enroll" in said(page)
    assert components(page) == []


def test_empty_plant_with_a_gateway_says_that_no_measurement_has_come(tmp_path):
    engine = create_tables(tmp_path / "site.db")
    with engine.begin() as connection:
        connection.execute(sa.insert(gateway).values(gateway="gw-a", online=True, last_sequence=-1, release_version=0))
    engine.dispose()
    installed(tmp_path, tmp_path / "site.db")
    assert "1 of 1 gateways online; none has delivered a measurement" in said(run(overview_script))


def test_stale_plant_is_never_shown_as_live(tmp_path, plant_copy):
    installed(tmp_path, plant_copy, now_us=NOW_US + 6 * 3600 * 1_000_000)
    page = run(overview_script)
    words = said(page)
    assert "Stale: no data since" in words
    assert "(6 h ago). What you see is the past" in words
    assert "**▨ stale**" in words
    assert "**live**" not in words
    assert all(row["stale"] for row in rows(page))
    assert not any(row["word"] == "Normal" for row in rows(page))


def test_overview_says_what_is_not_watched_and_what_happened_in_the_last_shift(board):
    words = said(run(overview_script))
    assert 'silent: <a href="machine?machine=conveyor-11">Conveyor drive 11</a>' in words
    assert 'learning what is healthy: <a href="machine?machine=compressor-02">' in words
    assert '<a href="machine?machine=pump-07">Cooling water pump 7</a> case opened: danger' in words
    assert ">Exhaust fan 3</a> acknowledged" not in words  # that was a day ago


def test_machine_page_gives_verdict_with_evidence_for_and_against(board):
    words = said(run(machine_script, machine="pump-07"))
    assert "Cooling water pump 7" in words
    assert "Cause, by confidence: **outer race damage 82%**" in words
    assert "**Speaks for it**" in words
    assert "4 of 4 outer race lines stand out" in words
    assert "**Speaks against it**" in words
    assert "velocity is still in zone A" in words
    assert '34% <a href="point?point=pump-07%2Fdrive-end&amp;look=envelope:58-121">envelope up, 79 to' in words
    assert "against its limit 0.550" in words
    assert "nobody has acknowledged it" in words
    assert "Snapshot taken 0 s ago" in words


def test_machine_with_a_trend_says_how_long_it_may_last_and_from_what(board):
    words = said(run(machine_script, machine="pump-07"))
    assert f"**May last 3 to 11 days, about 6**: {PUMP_LIFE_BASIS}" in words
    assert "Read at drive-end; meant to hold in four of five cases" in words
    assert "**Plan the repair before 2026-09-24 " in words
    assert "Criticality 5 of 5: a failure stops what depends on it" in words
    assert rows(run(overview_script))[0]["life"] == "may last 3 to 11 days, about 6"


def test_machine_without_a_trend_says_why_no_remaining_life_is_given(board):
    page = run(machine_script, machine="mill-01")
    assert f"How long it may last cannot be said: {NO_LIFE}" in [c.value.replace("\\", "") for c in page.caption]
    assert "May last" not in said(page)
    mill = next(row for row in rows(run(overview_script)) if row["machine"] == "mill-01")
    assert (mill["details"], mill["life"]) == ([], "")


@pytest.mark.parametrize("machine_name", ["compressor-02", "conveyor-11", "mixer-04"])
def test_machine_that_is_learning_silent_or_not_believed_says_nothing_of_how_long_it_lasts(board, machine_name):
    assert "may last" not in said(run(machine_script, machine=machine_name)).lower()


def test_kinds_of_contribution_and_sensor_troubles_are_said_in_words(board, engine):
    with engine.begin() as connection:
        (detail,) = connection.execute(sa.select(alarm.c.detail).where(alarm.c.machine == "pump-07")).scalars()
        broad = {"name": "level up", "axis": 1, "low_hz": 640.0, "high_hz": 2560.0, "share": 0.4}
        connection.execute(
            sa.update(alarm).where(alarm.c.machine == "pump-07").values(detail={**detail, "contributions": [broad]})
        )
        connection.execute(sa.update(point).where(point.c.machine == "mill-01").values(quality="wrong_gain"))
    assert ">level of a broad band up, 640 to 2560 Hz</a>, axis 2" in said(run(machine_script, machine="pump-07"))
    mill = run(machine_script, machine="mill-01")
    assert "check its sensitivity and unit" in said(mill)
    assert mill.dataframe[0].value["State"][0].startswith("◆ S sensor reads too much or too little")


def test_spectra_have_cursors_with_slip_and_the_suspected_family_shown(board):
    found = charts(run(machine_script, machine="pump-07"))
    envelope = next(data for title, data in found.items() if title.startswith("Envelope spectrum"))
    shown = {cursor["label"]: cursor for cursor in envelope["cursors"]}
    assert shown["BPFO"]["shown"]
    assert shown["BPFO"]["tolerance"] == 0.02
    assert shown["BPFO"]["hz"] == pytest.approx(88.42, abs=0.01)
    assert not shown["BPFI"]["shown"]
    assert shown["1x"]["tolerance"] == 0.0
    assert envelope["shaft_hz"] == pytest.approx(1480 / 60)
    assert envelope["y_label"] == "amplitude in gE peak"
    assert found["Spectrum, healthy in grey"]["units"] == ["g peak", "mm/s RMS"]


def test_trends_have_units_limits_zones_and_gaps(board):
    found = charts(run(machine_script, machine="pump-07"))
    velocity = found["Velocity, 10 to 1000 Hz"]
    assert velocity["y_unit"] == "mm/s RMS"
    assert [band["label"] for band in velocity["bands"]] == ["A", "B", "C", "D"]
    assert [line["role"] for line in found["Anomaly score"]["lines"]] == ["main", "limit"]
    assert len(velocity["gaps"]) == 1
    assert [mark["label"] for mark in velocity["marks"]] == ["case 1", "model 4"]
    assert {data["group"] for title, data in found.items() if data["kind"] == "trend"} == {"trend:pump-07/drive-end:7d"}


def test_own_limits_stand_in_the_trends_with_their_names(board, engine):
    rows = [
        {"applies_to": "pump-07", "quantity": "velocity_rms_mm_s", "unit": "mm/s RMS", "alert": 3.5, "danger": 6.0,
         "source": "contract 12"},
        {"applies_to": "pump-07/drive-end", "quantity": "temperature_c", "unit": "°C", "alert": 70.0,
         "rpm_from": 1000.0, "rpm_to": 2000.0, "source": "maker"},
        {"applies_to": "fan-03", "quantity": "kurtosis", "unit": "1", "alert": 5.0, "source": "other machine"},
    ]  # fmt: skip
    with engine.begin() as connection:
        connection.execute(
            sa.insert(table_version).values(kind="limits", at_us=NOW_US, actor="anna", note="", rows=rows)
        )
    found = charts(run(machine_script, machine="pump-07"))
    velocity = [limit["label"] for limit in found["Velocity, 10 to 1000 Hz"]["limits"]]
    assert velocity[-2:] == ["own alert 3.5 (contract 12)", "own danger 6 (contract 12)"]
    temperature = found["Temperature"]["limits"]
    assert [limit["label"] for limit in temperature] == ["own alert 70 at 1000–2000 rpm (maker)"]
    assert [limit["label"] for limit in found["Kurtosis"]["limits"]] == ["suspicious above 4"]


def test_baseline_is_a_span_in_every_trend(board, engine):
    with engine.begin() as connection:
        connection.execute(
            sa.update(point)
            .where(point.c.point == "pump-07/drive-end")
            .values(baseline_from_us=NOW_US - 10**12, baseline_until_us=NOW_US - 10**11)
        )
    found = [data for data in charts(run(machine_script, machine="pump-07")).values() if data["kind"] == "trend"]
    spans = [{"label": "baseline", "from": (NOW_US - 10**12) / 1e3, "until": (NOW_US - 10**11) / 1e3}]
    assert found
    assert all(data["periods"] == spans for data in found)


def test_seldom_looked_at_quantities_are_shown_on_demand_with_amplitude_kind_and_band(board, engine):
    with engine.begin() as connection:
        connection.execute(sa.update(health).values(band_low_rms_g=0.1, band_middle_rms_g=0.2, band_high_rms_g=None))
    page = run(machine_script, machine="pump-07")
    assert "Crest factor" not in charts(page)
    toggle = next(one for one in page.toggle if one.label.startswith("More quantities"))
    page = toggle.set_value(True).run()
    found = charts(page)
    assert found["Acceleration, true peak"]["y_unit"] == "g true peak"
    assert found["Acceleration, RMS"]["y_unit"] == found["Band RMS, 10 to 1000 Hz"]["y_unit"] == "g RMS"
    assert found["Crest factor"]["limits"][0]["label"] == "impulsive above 5"
    assert "Band RMS, 1000 to 5000 Hz" in found
    assert "**Band RMS, above 5000 Hz**" in said(page)
    assert page.query_params["more"] == "1"


def test_slow_machine_has_its_velocity_from_2_hz_in_the_title(board, engine):
    with engine.begin() as connection:
        (plate,) = connection.execute(sa.select(machine.c.nameplate).where(machine.c.machine == "pump-07")).scalars()
        slow = sa.update(machine).where(machine.c.machine == "pump-07")
        connection.execute(slow.values(nameplate={**plate, "rpm": 300.0}))
    assert "Velocity, 2 to 1000 Hz" in charts(run(machine_script, machine="pump-07"))
    with engine.begin() as connection:
        connection.execute(slow.values(nameplate=plate))
        connection.execute(sa.update(health).values(rpm=400.0))
    title = "Velocity, 10 to 1000 Hz, from 2 Hz where the speed is below 600 rpm"
    assert title in charts(run(machine_script, machine="pump-07"))


def test_machine_without_nameplate_says_why_there_are_no_zones(board, engine):
    with engine.begin() as connection:
        connection.execute(sa.update(machine).where(machine.c.machine == "mill-01").values(nameplate=None))
    page = run(machine_script, machine="mill-01")
    assert "No velocity zones: the nameplate is not known" in said(page)
    assert charts(page)["Velocity, 10 to 1000 Hz"]["bands"] == []


def test_silent_machine_says_so_before_anything_else(board):
    page = run(machine_script, machine="conveyor-11")
    assert "**Stale**: last data 5 h ago. What follows is the past" in said(page)
    points = page.dataframe[0].value
    assert points["State"][0] == "▨ ? stale"
    assert points["Velocity"][0].startswith("(")


def test_unknown_machine_is_said_to_be_unknown(board):
    assert "This site knows no such machine" in said(run(machine_script, machine="pump-99"))


def test_machine_page_without_a_machine_lets_one_choose(board):
    page = run(machine_script)
    assert page.selectbox[0].options[0] == "Cooling water pump 7 (pump-07)"


def test_machine_page_without_database_explains(tmp_path):
    installed(tmp_path, tmp_path / "none.db")
    assert "The site's database is not there" in said(run(machine_script, machine="pump-07"))


def test_snapshot_stands_still_and_says_that_there_is_newer_data(board, engine):
    page = run(machine_script, machine="pump-07")
    with engine.begin() as connection:
        connection.execute(sa.update(point).values(last_received_us=NOW_US + 5_000_000))
        connection.execute(sa.update(machine).values(title="Renamed"))
    page.run()
    words = said(page)
    assert "New data" in words
    assert "Renamed" not in words
    page.button(key="show_new").click().run()
    assert "Renamed" in said(page)


def test_text_from_outside_is_shown_as_it_is_and_never_as_markup(board, engine):
    hostile = "<script>alert(1)</script> **bold** :red[x] [a](http://x) $x$"
    with engine.begin() as connection:
        connection.execute(sa.update(machine).where(machine.c.machine == "pump-07").values(title=hostile))
        connection.execute(sa.update(machine_case).values(title=hostile))
        connection.execute(sa.update(case_event).values(text=hostile, actor=hostile))
        connection.execute(sa.update(health).values(remaining_life_basis=hostile))
    page = run(machine_script, machine="pump-07")
    for element in [*page.markdown, *page.header, *page.caption]:
        assert "<script>" not in element.value
        assert "**bold**" not in element.value
        assert "[a](" not in element.value
    assert hostile in said(page)
    assert rows(run(overview_script))[0]["title"] == hostile


def test_session_that_is_over_asks_for_nothing(board, engine):
    page = run(machine_script, machine="pump-07")
    next(button for button in page.button if button.label.startswith("Acknowledge")).click().run()
    assert "Your session is over" in said(page)
    with engine.connect() as connection:
        assert connection.execute(sa.select(request)).all() == []


def test_acknowledging_writes_the_case_and_the_note_of_the_person(board, engine):
    page = AppTest.from_function(machine_script, default_timeout=30)
    page.query_params["machine"] = "pump-07"
    page.session_state["session_word"] = board.door.admit("A. Schmidt")[1]
    page.run()
    page.text_area(key="ack_note:1").set_value("bearing is ordered")
    next(button for button in page.button if button.label == "Acknowledge case 1").click().run()
    assert not page.exception
    assert "acknowledge by A. Schmidt: sent to the site service" in said(page)
    with engine.connect() as connection:
        row = connection.execute(sa.select(request)).one()
    assert (row.state, row.actor, row.action) == ("new", "A. Schmidt", "acknowledge")
    with engine.begin() as connection:
        connection.execute(sa.update(request).values(state="done", answer="acknowledged", answered_at_us=NOW_US))
    page.run()
    assert "acknowledge by A. Schmidt: done at" in said(page)


def test_page_that_was_not_started_by_the_command_says_so():
    runtime.install(None)
    page = AppTest.from_file(SCRIPT, default_timeout=30).run()
    assert "The dashboard was not started" in said(page)


def test_nothing_is_shown_before_a_person_has_signed_in(board):
    page = AppTest.from_file(SCRIPT, default_timeout=30).run()
    assert not page.exception
    assert [field.label for field in page.text_input] == ["Access token", "Your name"]
    assert "pump" not in said(page)


def test_wrong_token_is_refused(board):
    page = AppTest.from_file(SCRIPT, default_timeout=30).run()
    page.text_input(key="login_token").set_value("wrong")
    page.text_input(key="login_name").set_value("A. Schmidt")
    page.button[0].click().run()
    assert "This token is not the right one" in said(page)
    assert "pump" not in said(page)


def test_token_and_name_open_the_overview(board):
    page = AppTest.from_file(SCRIPT, default_timeout=30).run()
    page.text_input(key="login_token").set_value(token_of(board))
    page.text_input(key="login_name").set_value("A. Schmidt")
    page.button[0].click().run()
    assert not page.exception, page.exception
    assert rows(page)[0]["machine"] == "pump-07"
    assert "Signed in as A. Schmidt (technician)" in said(page)


def test_link_with_the_token_asks_for_the_name_alone_and_forgets_the_token(board):
    page = AppTest.from_file(SCRIPT, default_timeout=30)
    page.query_params["token"] = token_of(board)
    page.run()
    assert [field.label for field in page.text_input] == ["Your name"]
    assert "token" not in page.query_params
    page.button[0].click().run()
    assert "Enter your name" in said(page)


def test_signing_out_ends_the_session(board):
    page = AppTest.from_file(SCRIPT, default_timeout=30)
    page.query_params["token"] = token_of(board)
    page.run()
    page.text_input(key="login_name").set_value("A. Schmidt")
    page.button[0].click().run()
    next(button for button in page.button if button.label == "Sign out").click().run()
    assert "Access token" in [field.label for field in page.text_input]


def test_without_a_token_only_the_name_is_asked(tmp_path, plant_copy):
    installed(tmp_path, plant_copy, allow_without_token=True)
    page = AppTest.from_file(SCRIPT, default_timeout=30).run()
    assert [field.label for field in page.text_input] == ["Your name"]
