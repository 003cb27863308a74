"""What the pages of work say in each state and to each role; read from the page itself, without a browser."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from dashboard import runtime
from dashboard.pages.settings_labels import contradicting
from dashboard.pages.settings_tables import nameplates_toml
from dashboard.queries.cases import Label, read_counts, read_entries, read_labels, read_unlabelled
from dashboard.queries.cases import Tab as CaseTab
from schemas.asset_table import AssetRow
from schemas.nameplate import load_nameplate
from schemas.site_tables import delivery, machine, machine_case, notice_channel, point
from tests.support.page_runs import copied_database, run_page, words_of
from tests.support.site_database import NOW_US, create_tables
from tests.support.work_plant import build_work_database

PARTS = ("assets", "limits", "bearings", "notices", "labels", "policy")
TABS = ("active", "shelved", "history", "figures", "reports")


def alarms_script() -> None:
    from dashboard.pages.alarms import show_alarms

    show_alarms()


def settings_script() -> None:
    from dashboard.pages.settings import show_settings

    show_settings()


@pytest.fixture(scope="module")
def work_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("work_pages") / "site.db"
    build_work_database(path, now_us=NOW_US, days=1.0).dispose()
    return path


@pytest.fixture
def engine(work_database: Path, tmp_path: Path):
    with copied_database(work_database, tmp_path) as opened:
        yield opened


def said(page: AppTest) -> str:
    return words_of(page.header, page.subheader, page.markdown, page.caption, page.button, page.checkbox).replace(
        "\\", ""
    )


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_part_of_both_pages_shows_without_an_error_in_both_languages(engine, tmp_path, language):
    for tab in TABS:
        assert run_page(alarms_script, engine, tmp_path, language=language, tab=tab).header
    for part in PARTS:
        assert run_page(settings_script, engine, tmp_path, language=language, part=part).header


def test_active_cases_stand_worst_first_with_reason_age_and_who_has_them(engine, tmp_path):
    text = said(run_page(alarms_script, engine, tmp_path))
    assert "Active (3)" in text or text.index("Cooling water pump 7") < text.index("Cement mill 1")
    assert text.index("Cement mill 1") < text.index("Exhaust fan 3")  # nobody has it; the other is acknowledged
    assert "(5 h ago), **nobody has acknowledged it**" in text
    assert "acknowledged by **M. Weber**" in text


def test_viewer_sees_everything_and_is_offered_nothing(engine, tmp_path):
    page = run_page(alarms_script, engine, tmp_path, role="viewer")
    assert "Cooling water pump 7" in said(page)
    assert "As viewer you may read this and change nothing; technician and those above may." in said(page)
    assert not page.checkbox
    for part in ("assets", "limits", "notices"):
        page = run_page(settings_script, engine, tmp_path, role="technician", part=part)
        assert "As technician you may read this" in said(page)


def test_danger_that_nobody_has_acknowledged_is_not_offered_for_the_shelf(engine, tmp_path):
    page = run_page(alarms_script, engine, tmp_path)
    page.checkbox(key="pick:0:1").check().run()
    assert "A danger has to be acknowledged first: case 1." in said(page)
    page.checkbox(key="pick:0:3").check().run()
    assert "Put 1 on the shelf" in said(page)


def test_no_open_case_is_good_news_only_where_it_is_watched(engine, tmp_path):
    with engine.begin() as connection:
        connection.execute(sa.update(machine_case).values(state="closed", closed_at_us=1))
    assert "5 of 8 points are assessable, 3 are blind" in said(run_page(alarms_script, engine, tmp_path))
    with engine.begin() as connection:
        connection.execute(sa.update(point).values(learning="ready", quality="ok", last_received_us=NOW_US))
    assert "All 8 points are assessable: silence is good news." in said(run_page(alarms_script, engine, tmp_path))


def test_empty_plant_is_never_good_news(tmp_path):
    engine = create_tables(tmp_path / "site.db")
    text = said(run_page(alarms_script, engine, tmp_path))
    assert "But nothing is being watched" in text
    for part in PARTS:
        run_page(settings_script, engine, tmp_path, part=part)
    for tab in TABS:
        run_page(alarms_script, engine, tmp_path, tab=tab)
    engine.dispose()
    runtime.install(None)


@pytest.mark.parametrize("number", ["99", "x", "-1", "9" * 30])
def test_link_to_a_case_that_is_not_there_says_so(engine, tmp_path, number):
    assert "This site knows no such case" in said(run_page(alarms_script, engine, tmp_path, case=number))


def test_hostile_names_are_shown_as_text(engine, tmp_path):
    hostile = "<script>alert(1)</script> **b** [x](http://x) $x$ :red[r] | ---"
    with engine.begin() as connection:
        connection.execute(sa.update(machine).values(title=hostile, area=hostile))
        connection.execute(sa.update(machine_case).values(title=hostile, acknowledged_by=hostile))
    page = run_page(alarms_script, engine, tmp_path)
    for element in [*page.markdown, *page.caption]:
        assert "<script>" not in element.value
        assert "[x](" not in element.value
        assert ":red[r]" not in element.value
    assert hostile in said(page)
    run_page(alarms_script, engine, tmp_path, tab="figures")
    run_page(settings_script, engine, tmp_path, part="assets")


def test_channel_that_does_not_work_is_named_with_its_age(engine, tmp_path):
    with engine.begin() as connection:
        connection.execute(
            sa.insert(notice_channel).values(
                channel="mail", kind="message", problem="the receiver cannot be reached",
                problem_at_us=NOW_US - 60_000_000, dropped=3,
            )
        )  # fmt: skip
        connection.execute(
            sa.insert(delivery).values(
                key="k1", channel="mail", kind="opened", priority="danger", payload={}, state="dead", due_at_us=1,
                attempts=9, created_at_us=NOW_US, text="the receiver answered 500",
            )
        )  # fmt: skip
    text = said(run_page(settings_script, engine, tmp_path, part="notices"))
    assert "✕ **does not work**, 60 s ago: the receiver cannot be reached" in text
    assert "3 did not fit into the queue" in text


def test_lists_of_cases_are_found_by_machine_name_or_line_and_never_by_wildcard(engine):
    with engine.connect() as connection:
        assert read_counts(connection) == {"active": 3, "shelved": 0, "history": 4}

        def found(tab: CaseTab, find: str) -> list[str]:
            return [entry.machine for entry in read_entries(connection, tab, find=find)]

        assert found("active", "KILN") == ["fan-03"]
        assert found("active", "pump") == ["pump-07"]
        assert found("active", "%") == []
        assert found("active", "_") == []
        assert len(found("history", "conveyor")) == 4


def test_history_goes_on_where_a_page_ended(engine):
    with engine.connect() as connection:
        first = read_entries(connection, "history", limit=2)
        later = read_entries(connection, "history", limit=2, before=first[-1].case_id)
    numbers = [entry.case_id for entry in (*first, *later)]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 4


def test_cases_without_a_label_wait_for_one(engine):
    with engine.connect() as connection:
        assert len(read_unlabelled(connection)) == 2
        assert [label.label for label in read_labels(connection, since_us=0, until_us=NOW_US)] == ["outer", "healthy"]


def test_label_against_the_diagnosis_is_shown_to_a_second_person():
    labels = [
        Label(number, "m", 0, "a", said_now, "", before)
        for number, (said_now, before) in enumerate(
            (("outer", "inner"), ("outer", "outer"), ("outer", "unknown"), ("outer", ""))
        )
    ]
    assert [label.case_id for label in contradicting(labels)] == [0]


def test_nameplates_for_a_gateway_are_read_by_a_gateway_whatever_their_names(tmp_path):
    row = AssetRow(
        machine="pump-07", title='a "b" \\ \u0007 ü\u2028x', power_kw=55, foundation="rigid", rpm_min=900, rpm_max=1500,
        bearing="own", bearing_elements=9, ball_diameter_mm=7.94, pitch_diameter_mm=39.04,
    )  # fmt: skip
    written = nameplates_toml([row], []).replace("[[machines]]\n", "").replace("[machines.bearing]", "[bearing]")
    file = tmp_path / "plate.toml"
    file.write_text(written)
    assert load_nameplate(file) == row.nameplate()
