"""The door for people: what is a password, how guessing is slowed, and whose session goes on."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from dashboard import passwords
from dashboard.asking import Asker
from dashboard.errors import NotAdmitted, RequestNotWritten
from dashboard.guessing import ALL_FREE, FIRST_WAIT_S, FREE, LONGEST_WAIT_S, MAX_NAMES, Lockout
from dashboard.languages import catalogue
from dashboard.pages.audit_log import as_csv
from dashboard.pages.explaining import UNAVAILABLE
from dashboard.passwords import PasswordRefused
from dashboard.people_door import KNOWN_S, PeopleDoor
from dashboard.queries.people import AuditRecord
from dashboard.runtime import Dashboard
from schemas.database import open_database, sqlite_url
from schemas.site_tables import person, request
from tests.support.dashboards import make_dashboard
from tests.support.people import PASSWORD, add_person, desk_of, ring_of


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(plant_copy: Path) -> Iterator[Engine]:
    opened = open_database(sqlite_url(plant_copy))
    yield opened
    opened.dispose()


@pytest.fixture
def people_board(plant_copy: Path, tmp_path: Path) -> Dashboard:
    return make_dashboard(tmp_path, plant_copy, by="people")


@pytest.fixture
def door(people_board: Dashboard, engine: Engine, clock: Clock) -> PeopleDoor:
    """A door whose site answers whenever it is waited for."""
    made = people_board.door
    assert isinstance(made, PeopleDoor)
    desk = desk_of(engine, ring_of(people_board))
    asker = Asker(people_board.reader, people_board.writer, pause=lambda _s: desk.step())
    return PeopleDoor(
        people_board.reader, asker, made._sessions, now_us=people_board.now_us, now_s=clock
    )  # fmt: skip


@pytest.mark.parametrize(
    "password",
    ["short", "elevenchars", "aaaaaaaaaaaaaaaa", "abcabcabcabcabc", "123456789012345", "Password2026!", "qwertzuiop123",
     "passwordpassword1", "!Instandhaltung1", "Anna Schmidt 1", "x" * 257],
)  # fmt: skip
def test_what_is_tried_first_is_no_password(password):
    with pytest.raises(PasswordRefused):
        passwords.require_good(password, "Anna Schmidt")


@pytest.mark.parametrize(
    "password", ["korrekt pferd batterie", "  spaces are kept  ", "ohne-ziffern-geht-es", "ключ от двери №7"]
)
def test_length_is_enough_for_a_password(password):
    passwords.require_good(password, "Anna Schmidt")
    assert passwords.matches(passwords.hash_password(password), password)
    assert not passwords.matches(passwords.hash_password(password), password.strip() + "x")


def test_hash_says_argon2id_and_nobody_matches_none_or_nonsense():
    assert passwords.hash_password(PASSWORD).startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert not passwords.matches(None, "nobody has this password")
    assert not passwords.matches("no hash", PASSWORD)


def test_name_waits_longer_with_each_wrong_password_and_no_longer_than_a_quarter_of_an_hour(clock):
    lockout = Lockout(clock)
    waits = []
    for _ in range(FREE + 8):
        assert lockout.wait_s("Anna") == 0.0
        lockout.wrong("anna")
        waits.append(lockout.wait_s("ANNA"))
        clock.now_s += waits[-1] + 3.0
    assert waits[: FREE - 1] == [0.0] * (FREE - 1)
    assert waits[FREE - 1 : FREE + 2] == [FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S]
    assert max(waits) == LONGEST_WAIT_S
    assert lockout.wait_s("Bert") == 0.0


def test_right_password_forgets_the_wrong_ones(clock):
    lockout = Lockout(clock)
    for _ in range(FREE - 1):
        lockout.wrong("anna")
    lockout.right("Anna")
    assert lockout.wrong("anna") == 1


def test_guessing_over_many_names_stops_everybody_for_a_minute_and_is_counted(clock):
    lockout = Lockout(clock)
    for number in range(ALL_FREE):
        lockout.wrong(f"name {number}")
    assert lockout.wait_s("another") > 0.0
    assert lockout.take_turned_away() == 1
    clock.now_s += 61.0
    assert lockout.wait_s("another") == 0.0


def test_names_remembered_are_bounded(clock):
    lockout = Lockout(clock)
    for number in range(MAX_NAMES + 100):
        lockout.wrong(f"name {number}")
    assert len(lockout._names) == MAX_NAMES


def test_first_link_ends_after_an_hour_with_the_next_start_and_with_the_first_person(door, clock, engine):
    old = door.make_first_link()
    word = door.make_first_link()
    assert not door.opens_first(old)
    assert not door.opens_first("guess")
    assert door.opens_first(word)
    clock.now_s += 3601.0
    assert not door.opens_first(word)
    word = door.make_first_link()
    session = door.create_first_admin(word, " Ada  Admin ", PASSWORD, "10.0.0.7")
    assert (door.recognise(session).name, door.recognise(session).role) == ("Ada Admin", "admin")
    assert not door.opens_first(word)
    with pytest.raises(NotAdmitted):
        door.create_first_admin(word, "Eve", PASSWORD, "")
    with engine.connect() as connection:
        assert [row.name for row in connection.execute(sa.select(person))] == ["Ada Admin"]


def test_link_survives_a_refused_name_or_password(door):
    word = door.make_first_link()
    with pytest.raises(PasswordRefused):
        door.create_first_admin(word, "Ada", "short", "")
    with pytest.raises(NotAdmitted, match="belongs to the site itself"):
        door.create_first_admin(word, "Operator", PASSWORD, "")
    assert door.opens_first(word)


def test_sign_in_needs_name_and_password_and_leaves_both_outcomes_in_the_log(door, engine):
    add_person(engine, "Anna", "analyst")
    for name, password in (("Anna", "wrong"), ("anna", PASSWORD), ("", ""), ("Nobody", PASSWORD)):
        with pytest.raises(NotAdmitted, match="do not belong together"):
            door.sign_in(name, password, "10.0.0.7")
    assert door.recognise(door.sign_in(" Anna ", PASSWORD, "10.0.0.7")).role == "analyst"
    with engine.connect() as connection:
        assert [row.action for row in connection.execute(sa.select(request))] == ["sign_in"] * 5


def test_who_cannot_be_written_down_does_not_get_in(door, engine):
    add_person(engine, "Anna", "analyst")
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE request"))
    with pytest.raises(RequestNotWritten):
        door.sign_in("Anna", PASSWORD, "")


@pytest.mark.parametrize("change", [{"state": "barred"}, {"sessions_from_us": 2}])
def test_session_is_over_when_the_site_says_so(door, engine, clock, change):
    add_person(engine, "Anna", "analyst")
    word = door.sign_in("Anna", PASSWORD, "")
    assert door.recognise(word) is not None
    with engine.begin() as connection:
        connection.execute(sa.update(person).values(**change))
    clock.now_s += KNOWN_S
    assert door.recognise(word) is None
    with engine.begin() as connection:
        connection.execute(sa.update(person).values(state="active", sessions_from_us=1))
    clock.now_s += KNOWN_S
    assert door.recognise(word) is None, "what was over must not come back"


def test_role_of_a_session_is_the_one_the_person_has_now(door, engine, clock):
    add_person(engine, "Anna", "engineer")
    word = door.sign_in("Anna", PASSWORD, "")
    with engine.begin() as connection:
        connection.execute(sa.update(person).values(role="viewer"))
    clock.now_s += KNOWN_S
    assert door.recognise(word).role == "viewer"


def test_changing_a_password_needs_the_old_one_and_ends_all_other_sessions(door, engine, clock):
    add_person(engine, "Anna", "analyst")
    first, second = (door.sign_in("Anna", PASSWORD, "") for _ in range(2))
    visitor = door.recognise(first)
    with pytest.raises(NotAdmitted):
        door.change_password(visitor, "wrong", "quite another long one")
    fresh = door.change_password(visitor, PASSWORD, "quite another long one")
    clock.now_s += KNOWN_S
    assert [door.recognise(word) is None for word in (first, second, fresh)] == [True, True, False]
    with pytest.raises(NotAdmitted):
        door.sign_in("Anna", PASSWORD, "")


def test_site_that_does_not_answer_is_said_after_a_while(people_board, engine):
    pauses = itertools.count()
    asker = Asker(people_board.reader, people_board.writer, pause=lambda _s: next(pauses))
    sessions = people_board.door._sessions
    door = PeopleDoor(people_board.reader, asker, sessions, now_us=lambda: 0, now_s=lambda: 0.0)
    with pytest.raises(RequestNotWritten, match="does `aggregator run` run"):
        door.create_first_admin(door.make_first_link(), "Ada", PASSWORD, "")
    assert next(pauses) == 150


def test_csv_of_the_log_holds_no_formula():
    row = AuditRecord(1, 0, "=cmd()", "note", "@x", "-1+1", "+1", None)
    line = as_csv([row]).splitlines()[1]
    assert line == "1,1970-01-01T00:00:00.000+00:00,0,'=cmd(),note,'@x,'-1+1,'+1,"


def test_explanations_are_there_in_german():
    texts = {text for found in UNAVAILABLE.values() for text in (found.title, found.meaning, *found.steps)}
    assert texts - set(catalogue("de")) == set()
