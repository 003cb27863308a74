"""Reports on paper: everything that matters, in both languages, whatever names contain, the same bytes each time."""

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from dashboard.reports.machine import machine_report
from dashboard.reports.shift import shift_report
from dashboard.runtime import Dashboard
from schemas.database import open_database, sqlite_url
from schemas.site_tables import case_event, health, machine, machine_case, table_version
from tests.support import pdf_text
from tests.support.site_database import NOW_US, create_tables

ZONE = "Europe/Berlin"


@pytest.fixture
def engine(plant_copy, board) -> Engine:
    return open_database(sqlite_url(plant_copy))


def shift(board: Dashboard, language: str = "en", hours: float = 48.0) -> bytes:
    return shift_report(board, hours=hours, until_us=NOW_US, language=language, zone=ZONE)


def of_machine(board: Dashboard, name: str = "pump-07", language: str = "en") -> bytes:
    made = machine_report(board, name, days=30.0, until_us=NOW_US, language=language, zone=ZONE)
    assert made is not None
    return made


def test_shift_report_says_what_is_open_worst_first_and_what_was_not_watched(board):
    text = pdf_text.words(shift(board))
    assert text.index("Danger Cooling water pump 7 (pump-07), case 1") < text.index("Alert Exhaust fan 3 (fan-03)")
    assert "nobody has acknowledged it" in text
    assert "acknowledged by M. Weber" in text
    assert "5 of 8 points are assessable" in text
    assert "Blades to be cleaned at the stop on Thursday" in text
    assert "gw-c away" in text
    assert "1 of 3 answered, 2 needed" in text
    assert "all times in Europe/Berlin" in text


def test_german_shift_report_speaks_german_throughout(board):
    text = pdf_text.words(shift(board, "de"))
    for said in ("Schichtbericht Werk Nord", "Offene Fälle, schlimmste zuerst (2)", "niemand hat quittiert",
                 "5 von 8 Messstellen sind am Ende der Schicht beurteilbar", "Seite 1"):  # fmt: skip
        assert said in text
    for english in ("Shift report", "Open cases", "What was watched", "Gateways gave up"):
        assert english not in text


def test_machine_report_gives_evidence_for_and_against_limits_and_nameplate(board):
    text = pdf_text.words(of_machine(board))
    assert "Cause, by confidence: outer race damage 82%" in text
    assert text.index("no sidebands at shaft speed") < text.index("Speaks against it")
    assert text.index("Speaks against it") < text.index("velocity is still in zone A")
    assert "May last 3 to 11 days, about 6" in text
    assert "A/B 3.2 · B/C 5.1 · C/D 8.5 mm/s RMS (ISO 10816-7:2009" in text
    assert "Envelope spectrum, 2400 to 4000 Hz demodulated" in text
    assert "BPFO" in text
    assert "rigid" in text


def test_same_data_gives_the_same_bytes(board):
    assert shift(board) == shift(board)
    assert of_machine(board) == of_machine(board)


def test_every_page_carries_its_number_and_the_plant(board):
    pages = pdf_text.pages(of_machine(board))
    assert len(pages) > 1
    for number, page in enumerate(pages, 1):
        assert f"Page {number}" in page
        assert "Werk Nord" in page


def test_hostile_names_are_printed_as_text(board, engine):
    hostile = '<b>bold</b> <font size="99">x</font> &amp; <img src="file:///etc/passwd"/> \u4e2d\x07 ${x}'
    with engine.begin() as connection:
        connection.execute(sa.update(machine).where(machine.c.machine == "pump-07").values(title=hostile))
        connection.execute(sa.update(machine_case).values(title=hostile))
        connection.execute(sa.update(case_event).values(text=hostile, actor=hostile))
    for content in (shift(board), of_machine(board)):
        text = pdf_text.words(content)
        assert '<b>bold</b> <font size="99">x</font> &amp; <img src="file:///etc/passwd"/>' in text
        assert "[U+4E2D]" in text
        assert b"root:" not in content


def test_long_history_runs_over_pages_and_is_cut_at_its_bound(board, engine):
    with engine.begin() as connection:
        connection.execute(
            sa.insert(case_event),
            [{"case_id": 1, "at_us": NOW_US - n, "kind": "note", "actor": "A", "text": f"note {n} " + "word " * 40}
             for n in range(700)],
        )  # fmt: skip
    pages = pdf_text.pages(shift(board))
    assert len(pages) > 5
    assert "note 0 " in " ".join(pages)
    assert "note 650 " not in " ".join(pages)


def test_machine_without_anything_still_has_a_report(board, engine):
    with engine.begin() as connection:
        connection.execute(sa.insert(machine).values(machine="new-1", title="", criticality=3, first_seen_us=NOW_US))
    text = pdf_text.words(of_machine(board, "new-1"))
    assert "No captures in this time." in text
    assert "This machine has never had a case." in text
    assert "no zones: the nameplate is not known" in text


def test_machine_that_nobody_knows_has_none(board):
    assert machine_report(board, "ghost", days=30.0, until_us=NOW_US, language="en", zone=ZONE) is None


def test_stale_machine_is_not_reported_as_if_it_were_live(board):
    assert "Stale: what follows is the past" in pdf_text.words(of_machine(board, "conveyor-11"))


def test_own_limits_stand_with_their_source(board, engine):
    row = {"applies_to": "pump-07", "quantity": "temperature_c", "unit": "°C", "alert": 70.0, "danger": 90.0,
           "source": "maker's manual 2019"}  # fmt: skip
    with engine.begin() as connection:
        connection.execute(
            sa.insert(table_version).values(kind="limits", at_us=NOW_US, actor="anna", note="", rows=[row])
        )
    assert "maker's manual 2019" in pdf_text.words(of_machine(board))


def test_values_that_are_no_numbers_leave_a_gap_and_break_nothing(board, engine):
    with engine.begin() as connection:
        connection.execute(sa.update(health).values(score=None, velocity_rms_mm_s=None))
    assert "not measured in this time" in pdf_text.words(of_machine(board))


def test_empty_plant_has_a_shift_report_that_says_so(tmp_path):
    from tests.support.dashboards import make_dashboard

    path = tmp_path / "empty.db"
    create_tables(path).dispose()
    text = pdf_text.words(shift(make_dashboard(tmp_path, path)))
    assert "0 of 0 points are assessable" in text
    assert "No gateway has joined this site." in text
