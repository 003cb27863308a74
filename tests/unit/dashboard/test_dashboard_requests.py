"""What a person asks for reaches the aggregator sealed, and its answer comes back."""

import contextlib
import itertools
import shutil
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from aggregator.requests_desk import RequestsDesk
from aggregator.settings import DeskSettings
from dashboard.access import Visitor
from dashboard.errors import RequestNotWritten
from dashboard.pages.case_desk import request_words
from dashboard.request_writer import RequestWriter
from schemas.database import open_database, sqlite_url
from schemas.requests import REQUEST_TOPIC, Request
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.site_tables import machine_case, request
from tests.support.site_database import NOW_US

TECHNICIAN = Visitor("A. Schmidt", "technician")


@pytest.fixture
def signer():
    return Signer.generate()


@pytest.fixture
def engine(plant_copy):
    opened = open_database(sqlite_url(plant_copy))
    yield opened
    opened.dispose()


@pytest.fixture
def writer(plant_copy, signer):
    return RequestWriter(sqlite_url(plant_copy), signer, now_us=lambda: NOW_US)


def desk(engine, signer: Signer | None) -> RequestsDesk:
    keys = KeyRing([AllowedKey("dashboard", "dashboard", signer.public)] if signer else [])
    numbers = itertools.count()
    return RequestsDesk(
        engine, site="north", signer=Signer.generate(), keys=keys, settings=DeskSettings(),
        publish=lambda topic, payload: True, now_us=lambda: NOW_US, now_s=lambda: 0.0,
        new_id=lambda: f"{next(numbers):032x}",
    )  # fmt: skip


def asked(writer, engine):
    with engine.connect() as connection:
        return writer.follow(connection, "pump-07")


def test_request_is_one_row_sealed_by_the_dashboards_own_key(writer, engine, signer):
    request_id = writer.ask("acknowledge", TECHNICIAN, "pump-07", case_id=1, note="bearing ordered")
    with engine.connect() as connection:
        row = connection.execute(sa.select(request)).one()
    assert (row.request_id, row.state, row.actor, row.action) == (request_id, "new", "A. Schmidt", "acknowledge")
    ring = KeyRing([AllowedKey("dashboard", "dashboard", signer.public)])
    said = Request.model_validate_json(ring.open(REQUEST_TOPIC, row.sealed, role="dashboard"))
    assert (said.case_id, said.role, said.note) == (1, "technician", "bearing ordered")


def test_aggregators_desk_takes_it_and_the_answer_is_shown(writer, engine, signer):
    writer.ask("acknowledge", TECHNICIAN, "pump-07", case_id=1)
    assert "sent to the site service" in request_words(asked(writer, engine)[0], NOW_US, None)
    desk(engine, signer).step()
    found = asked(writer, engine)[0]
    assert found.state == "sent"
    assert "which has not answered yet" in request_words(found, NOW_US, None)
    with engine.connect() as connection:
        case = connection.execute(sa.select(machine_case).where(machine_case.c.machine == "pump-07")).one()
    assert (case.state, case.acknowledged_by) == ("acknowledged", "A. Schmidt")


def test_viewer_is_refused_by_the_aggregator_and_sees_why(writer, engine, signer):
    writer.ask("acknowledge", Visitor("B", "viewer"), "pump-07", case_id=1)
    desk(engine, signer).step()
    found = asked(writer, engine)[0]
    assert found.state == "refused"
    assert "may not acknowledge" in request_words(found, NOW_US, None).replace("\\", "")


def test_dashboard_whose_key_is_not_on_the_list_is_refused(writer, engine):
    writer.ask("acknowledge", TECHNICIAN, "pump-07", case_id=1)
    desk(engine, None).step()
    assert "not from an enrolled dashboard" in asked(writer, engine)[0].answer


def test_note_is_done_at_once_with_name_and_time(writer, engine, signer):
    writer.ask("note", TECHNICIAN, "pump-07", case_id=1, note="listened to it")
    desk(engine, signer).step()
    said = request_words(asked(writer, engine)[0], NOW_US, None).replace("\\", "")
    assert "note by A. Schmidt: done at 2026-09-21" in said


def test_silence_of_the_site_service_is_named(writer, engine):
    writer.ask("acknowledge", TECHNICIAN, "pump-07", case_id=1)
    said = request_words(asked(writer, engine)[0], NOW_US + 60_000_000, None)
    assert "has not taken it up" in said


def test_requests_of_other_machines_and_other_dashboards_are_not_mixed_in(writer, engine, plant_copy):
    writer.ask("note", TECHNICIAN, "fan-03", case_id=2, note="x")
    stranger = RequestWriter(sqlite_url(plant_copy), Signer.generate(), now_us=lambda: NOW_US)
    stranger.ask("note", TECHNICIAN, "pump-07", case_id=1, note="x")
    assert asked(writer, engine) == []


def test_note_that_is_too_long_is_not_written(writer, engine):
    with pytest.raises(RequestNotWritten, match="note"):
        writer.ask("note", TECHNICIAN, "pump-07", case_id=1, note="x" * 2001)
    assert asked(writer, engine) == []


def test_after_the_database_was_exchanged_under_it_the_next_press_reaches_the_new_one(writer, plant_copy, tmp_path):
    another = shutil.copy(plant_copy, tmp_path / "restored.db")
    writer.ask("note", TECHNICIAN, "pump-07", case_id=1, note="before")
    for left in plant_copy.parent.glob(f"{plant_copy.name}*"):
        left.unlink()
    Path(another).rename(plant_copy)
    with pytest.raises(RequestNotWritten, match="another file stands in its place"):
        writer.ask("note", TECHNICIAN, "pump-07", case_id=1, note="refused")
    writer.ask("note", TECHNICIAN, "pump-07", case_id=1, note="after")
    with contextlib.closing(sqlite3.connect(plant_copy)) as database:
        assert database.execute("SELECT count(*) FROM request").fetchone() == (1,)


def test_nothing_is_made_where_the_database_is_gone(tmp_path, signer):
    path = tmp_path / "none.db"
    with pytest.raises(RequestNotWritten, match="not there"):
        RequestWriter(sqlite_url(path), signer, now_us=lambda: 0).ask("note", TECHNICIAN, "m", note="x")
    assert not path.exists()
