"""People, their tokens, the log of what they did and the interface for programs: on PostgreSQL as on SQLite."""

import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from starlette.applications import Starlette

from aggregator.audit_book import verify
from aggregator.database import open_current, writing
from aggregator.desk_people import promote_or_remove
from dashboard.api.routes import PREFIX, api_routes
from dashboard.asking import Asker
from dashboard.database import SiteReader
from dashboard.errors import DatabaseUnavailable, NotAdmitted
from dashboard.guessing import FREE
from dashboard.people_door import PeopleDoor, Provider, digest_of
from dashboard.queries.people import AuditFilter, read_audit, read_people, read_tokens
from dashboard.runtime import Dashboard
from schemas.database import open_database, sqlite_url
from schemas.requests import ROLES
from schemas.site_tables import audit, case_event, machine_case, metadata, person
from tests.support.asgi import Client, served
from tests.support.dashboards import make_dashboard
from tests.support.people import PASSWORD, add_person, add_token, bearer, desk_of, ring_of
from tests.support.postgres import postgres_server
from tests.support.site_database import NOW_US, build_site_database

_numbers = itertools.count()


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Engine]]:
    """The same plant twice: an SQLite file, and a database `plant` of a PostgreSQL server; with its engine."""
    path = tmp_path_factory.mktemp("plant") / "site.db"
    small = build_site_database(path, days=1.0)
    for role in ROLES:
        add_person(small, role, role)
    small.dispose()  # what was written is in the file alone
    with postgres_server() as url:
        server = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(sa.text("CREATE DATABASE plant"))
        _copy(small, open_current(_named(url, "plant")))
        yield path, server
        server.dispose()


def _named(url: str, name: str) -> str:
    return sa.make_url(url).set(database=name).render_as_string(hide_password=False)


def _copy(source: Engine, target: Engine) -> None:
    with source.connect() as old, target.begin() as new:
        for table in metadata.sorted_tables:
            rows = [dict(row) for row in old.execute(sa.select(table)).mappings()]
            if rows:
                new.execute(sa.insert(table), rows)
            key = next((c for c in table.primary_key if table.autoincrement_column is c), None)
            if key is not None and rows:
                sequence = sa.func.pg_get_serial_sequence(table.name, key.name)
                new.execute(sa.select(sa.func.setval(sequence, max(row[key.name] for row in rows))))
    source.dispose()
    target.dispose()


@pytest.fixture
def url(filled: tuple[Path, Engine]) -> Iterator[str]:
    """A PostgreSQL database of one test's own."""
    server, name = filled[1], f"test_{next(_numbers)}"
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE plant"))
    yield _named(server.url.render_as_string(hide_password=False), name)
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    opened = open_database(url)
    yield opened
    opened.dispose()


@pytest.fixture
def board(url: str, tmp_path: Path) -> Iterator[Dashboard]:
    made = make_dashboard(tmp_path, url, by="people")
    yield made
    made.reader.close()
    made.writer.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door(board: Dashboard, engine: Engine, clock: Clock) -> PeopleDoor:
    """A door whose site answers whenever it is waited for; the plant's provider knows two groups."""
    made = board.door
    assert isinstance(made, PeopleDoor)
    desk = desk_of(engine, ring_of(board))
    asker = Asker(board.reader, board.writer, pause=lambda _s: desk.step())
    provider = Provider("preferred_username", "groups", {"vibration": "engineer", "hall": "viewer"})
    return PeopleDoor(board.reader, asker, made._sessions, now_us=board.now_us, now_s=clock, provider=provider)


@pytest.fixture
def client(board: Dashboard) -> Iterator[Client]:
    with served(Starlette(routes=api_routes(board))) as opened:
        yield opened


def in_book(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        return [(row.actor, row.action) for row in connection.execute(sa.select(audit).order_by(audit.c.audit_id))]


def test_first_administrator_comes_by_the_link_and_signs_in_with_the_password(door, engine, clock):
    with engine.begin() as connection:
        connection.execute(sa.delete(person))
    word = door.make_first_link()
    session = door.create_first_admin(word, " Ada  Admin ", PASSWORD, "10.0.0.7")
    assert (door.recognise(session).name, door.recognise(session).role) == ("Ada Admin", "admin")
    assert not door.opens_first(word)
    assert door.recognise(door.sign_in("Ada Admin", PASSWORD, "10.0.0.7")).role == "admin"
    with pytest.raises(NotAdmitted, match="do not belong together"):
        door.sign_in("ada admin", PASSWORD, "")


def test_wrong_passwords_lock_a_name_out_and_each_that_was_heard_is_in_the_sealed_log(door, engine, board, clock):
    for _ in range(FREE):
        with pytest.raises(NotAdmitted, match="do not belong together"):
            door.sign_in("analyst", "wrong", "10.0.0.7")
    with pytest.raises(NotAdmitted, match="Too many") as turned_away:
        door.sign_in("analyst", PASSWORD, "10.0.0.7")
    clock.now_s += turned_away.value.wait_s
    assert door.recognise(door.sign_in("analyst", PASSWORD, "10.0.0.7")) is not None
    desk_of(engine, ring_of(board)).step()
    assert in_book(engine)[1:] == [("analyst", "sign_in")] * (FREE + 1)
    with engine.connect() as connection:
        whole = verify(connection)
        newest = read_audit(connection, AuditFilter(actor="analyst", action="sign_in", from_us=0), limit=1)
        behind = read_audit(connection, AuditFilter(actor="analyst"), limit=9, before_id=newest[0].audit_id)
        about = read_audit(connection, AuditFilter(about="100%_"), limit=9)
    assert (whole.rows, whole.unsealed, whole.broken_row) == (FREE + 2, 1, None)
    assert ([one.audit_id for one in (*newest, *behind)], about) == ([*range(FREE + 2, 1, -1)], [])
    with engine.begin() as connection:
        connection.execute(sa.update(audit).where(audit.c.audit_id == 3).values(actor="somebody else"))
        changed = verify(connection)
        connection.execute(sa.delete(audit).where(audit.c.audit_id == 3))
        removed = verify(connection)
    assert (changed.broken_row, changed.broken_id, removed.broken_id) == (3, 3, 4)


def test_person_of_the_provider_is_made_follows_its_groups_and_is_barred_by_the_site(door, engine, board):
    claims: dict[str, Any] = {"iat": NOW_US / 1e6, "preferred_username": "Eva Énergie", "groups": ["hall", "vibration"]}
    session = door.admit_from_provider(claims, "10.0.0.7")
    assert (door.recognise(session).name, door.recognise(session).role) == ("Eva Énergie", "engineer")
    door.admit_from_provider({**claims, "groups": "hall"}, "10.0.0.7")
    with engine.connect() as connection:
        eva = next(one for one in read_people(connection) if one.source == "oidc")
    assert (eva.name, eva.role, eva.password_hash) == ("Eva Énergie", "viewer", None)
    with pytest.raises(NotAdmitted, match="none of your groups"):
        door.admit_from_provider({**claims, "groups": ["canteen"]}, "")
    with pytest.raises(NotAdmitted, match="a password of this site"):
        door.admit_from_provider({**claims, "preferred_username": "admin"}, "")
    with engine.begin() as connection:
        connection.execute(sa.update(person).where(person.c.source == "oidc").values(state="barred"))
    with pytest.raises(NotAdmitted, match="barred"):
        door.admit_from_provider(claims, "")


def test_session_is_over_once_the_operator_has_removed_the_person(door, engine, clock):
    session = door.sign_in("analyst", PASSWORD, "")
    token = add_token(engine, "analyst", "analyst")
    with writing(engine) as connection:
        promote_or_remove(connection, "remove", "analyst", now_us=NOW_US)
    clock.now_s += 60.0
    assert door.recognise(session) is None
    with engine.connect() as connection:
        assert digest_of(token) not in {one.token_digest for one in read_tokens(connection, "analyst")}


def reading_paths(client: Client, headers: dict[str, str]) -> list[str]:
    paths = [path for path, methods in client.get(f"{PREFIX}/openapi.json").json()["paths"].items() if "get" in methods]
    point = "pump-07/drive-end"
    first = client.get(f"{PREFIX}/points/{point}/evidence", headers=headers).json()["items"][0]["evidence_id"]
    known = {
        "machine": "pump-07", "position": "drive-end", "case_id": "1", "request_id": "0" * 32, "evidence_id": first,
    }  # fmt: skip
    return [re.sub(r"\{(\w+)\}", lambda found: known[found.group(1)], path) for path in paths]


def test_every_reading_path_answers_what_it_answers_on_sqlite(client, engine, filled, tmp_path):
    shutil.copy(filled[0], tmp_path / "site.db")
    (tmp_path / "small").mkdir()
    small = make_dashboard(tmp_path / "small", tmp_path / "site.db", by="people")
    small_engine = open_database(sqlite_url(tmp_path / "site.db"))
    heads = [bearer(add_token(one, "admin", "admin")) for one in (engine, small_engine)]
    with served(Starlette(routes=api_routes(small))) as other:
        differing = []
        for path in reading_paths(client, heads[0]):
            asked = [f"{PREFIX}{path}", *([f"{PREFIX}{path}?limit=3"] if _is_list(client, path, heads[0]) else [])]
            for address in asked:
                answers = [one.get(address, headers=head) for one, head in ((client, heads[0]), (other, heads[1]))]
                same = answers[0].status_code == answers[1].status_code and answers[0].json() == answers[1].json()
                if not same or answers[0].status_code not in {200, 404}:
                    differing.append((address, [answer.status_code for answer in answers]))
    small_engine.dispose()
    assert differing == []


def _is_list(client: Client, path: str, headers: dict[str, str]) -> bool:
    found = client.get(f"{PREFIX}{path}", headers=headers).json()
    return isinstance(found, dict) and "items" in found


def test_trend_is_read_in_pieces_without_a_hole_or_a_row_twice(client, engine):
    headers = bearer(add_token(engine, "viewer", "viewer"))
    address = f"{PREFIX}/points/pump-07/drive-end/trend"
    whole = [item["measured_at"]["us"] for item in client.get(f"{address}?limit=130", headers=headers).json()["items"]]
    pieces: list[int] = []
    cursor = ""
    while len(pieces) < 120:
        found = client.get(f"{address}?limit=40{cursor}", headers=headers).json()
        pieces += [item["measured_at"]["us"] for item in found["items"]]
        cursor = f"&cursor={found['next']}"
    assert pieces == whole[:120]


def test_program_acts_in_the_role_of_its_token_and_never_does_more_than_its_person_may_now(client, engine, board):
    body = {"machine": "pump-07", "case_id": 1, "note": "on it"}
    viewer, admin = (bearer(add_token(engine, "admin", role)) for role in ("viewer", "admin"))
    assert client.post(f"{PREFIX}/actions/acknowledge", json=body, headers=viewer).status_code == 403
    answer = client.post(f"{PREFIX}/actions/acknowledge", json=body, headers=admin)
    desk_of(engine, ring_of(board)).step()
    assert client.get(answer.json()["follow"], headers=admin).json()["state"] == "sent"
    with engine.connect() as connection:
        case = connection.execute(sa.select(machine_case).where(machine_case.c.case_id == 1)).one()
    assert (case.state, case.acknowledged_by) == ("acknowledged", "admin")
    assert client.get(f"{PREFIX}/audit", headers=admin).status_code == 200
    for change, status in (({"role": "viewer"}, 403), ({"state": "barred"}, 401)):
        with engine.begin() as connection:
            connection.execute(sa.update(person).where(person.c.name == "admin").values(**change))
        assert client.get(f"{PREFIX}/audit", headers=admin).status_code == status
    assert client.get(f"{PREFIX}/me", headers=bearer("ut_guess")).status_code == 401


def test_text_that_postgresql_cannot_hold_is_refused_and_stops_nobody(client, engine, board, door):
    """A zero byte ends the statement that carries it: the site's desk must go on, and a page must not say 'down'."""
    headers = bearer(add_token(engine, "technician", "technician"))
    body = {"machine": "pump-07", "case_id": 1, "note": "a\0b"}
    assert client.post(f"{PREFIX}/actions/note", json=body, headers=headers).status_code == 422
    work = {"machine": "pump-07", "values": {"text": "a\0b", "due_date": "2026-11-30"}}
    assert client.post(f"{PREFIX}/actions/work_order", json=work, headers=headers).status_code == 422
    assert client.post(f"{PREFIX}/actions/note", json={**body, "note": "whole"}, headers=headers).status_code == 202
    desk_of(engine, ring_of(board)).step()
    with engine.connect() as connection:
        notes = connection.execute(sa.select(case_event.c.text).where(case_event.c.kind == "note")).scalars().all()
    assert notes[-1] == "whole"
    assert not any("\0" in text for text in notes)
    with pytest.raises(NotAdmitted, match="do not belong together"):
        door.sign_in("ana\0lyst", PASSWORD, "")
    admin = bearer(add_token(engine, "admin", "admin"))
    for path in (
        "audit?actor=%00",
        "audit?about=%00",
        "machines/pump-07%00",
        "cases?machine=%00",
        "points?machine=%00",
    ):
        assert client.get(f"{PREFIX}/{path}", headers=admin).status_code in {200, 404, 422}, path


def test_all_that_one_page_reads_is_of_one_moment(board, engine):
    with board.reader.read() as connection:
        before = connection.scalar(sa.select(sa.func.count()).select_from(person))
        add_person(engine, "Late Comer", "viewer")
        assert connection.scalar(sa.select(sa.func.count()).select_from(person)) == before
        with pytest.raises(sa.exc.InternalError, match="read-only"):
            connection.execute(sa.delete(person))


def test_page_says_soon_what_is_wrong_with_the_database_and_does_not_wait_for_a_migration(board, engine, url, client):
    with engine.connect() as migration:
        migration.execute(sa.text("LOCK TABLE person IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(DatabaseUnavailable) as found, board.reader.read() as connection:
            read_people(connection)
    assert found.value.kind == "locked"
    with board.reader.read() as connection:
        assert len(read_people(connection)) == len(ROLES)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE person RENAME TO people"))
    with pytest.raises(DatabaseUnavailable) as found, board.reader.read() as connection:
        read_people(connection)
    assert found.value.kind == "wrong_version"
    with pytest.raises(DatabaseUnavailable) as found, SiteReader(url.replace("/test_", "/gone_")).read():
        pass
    assert found.value.kind == "unreachable"
    assert client.get("/healthz").status_code == 200
