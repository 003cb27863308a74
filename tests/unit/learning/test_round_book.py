"""What of a round survives a restart, and what is forgotten when it has ended."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import open_current, writing
from aggregator.learning.book import RECENT_ROUNDS, Answer, RoundBook, Said
from aggregator.learning.ledger import FenceLedger
from aggregator.merge.pipeline import merge
from aggregator.merge.validate import Base, Rejection, Update
from schemas.database import sqlite_url
from schemas.site_tables import learning_round, ledger, round_update
from schemas.topics import MEMBER, REPLY

MEMBERS = ("gw-1", "gw-2", "gw-3")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    yield engine
    engine.dispose()


@pytest.fixture
def book(engine: Engine) -> RoundBook:
    return RoundBook(engine, "site", lambda: 1000)


def answer(member: str, value: float = 1.0) -> Answer:
    return Answer(Update(member, 4, np.full(3, value, np.float32), 50.0), Said(0.5, 0.4, 12))


def rows(engine: Engine, table: sa.Table) -> list[sa.RowMapping]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table)).mappings())


def test_an_open_round_and_its_answers_are_found_by_the_next_life(engine: Engine, book: RoundBook) -> None:
    opened = book.open_round(4, MEMBERS)
    book.note_answer(opened.round_id, answer("gw-1", 0.1), 12)
    book.note_rejection(opened.round_id, Rejection("gw-2", "not_finite", "NaN"))
    next_life = RoundBook(engine, "site", lambda: 2000)
    assert next_life.unfinished() == [opened]
    assert next_life.answered(opened.round_id) == {"gw-1", "gw-2"}
    (kept,) = next_life.updates(opened.round_id)
    np.testing.assert_array_equal(kept.delta, np.full(3, 0.1, np.float32))
    assert kept.weight == 50.0
    assert next_life.said(opened.round_id) == {"gw-1": Said(0.5, 0.4, 12)}


def test_an_answer_stored_twice_counts_once_and_the_first_stays(book: RoundBook) -> None:
    opened = book.open_round(4, MEMBERS)
    book.note_answer(opened.round_id, answer("gw-1", 1.0), 12)
    book.note_answer(opened.round_id, answer("gw-1", 2.0), 12)
    (kept,) = book.updates(opened.round_id)
    assert kept.delta[0] == 1.0


def test_merging_stored_answers_gives_the_digest_of_merging_fresh_ones(book: RoundBook) -> None:
    opened = book.open_round(4, MEMBERS)
    fresh = [answer(member, 0.1 * number) for number, member in enumerate(MEMBERS)]
    for each in reversed(fresh):
        book.note_answer(opened.round_id, each, 12)
    base = Base(4, 3)
    assert merge(book.updates(opened.round_id), base).digest == merge((a.update for a in fresh), base).digest


def test_a_round_ends_with_its_release_and_forgets_the_deltas(engine: Engine, book: RoundBook) -> None:
    opened = book.open_round(4, MEMBERS)
    for member in MEMBERS[:2]:
        book.note_answer(opened.round_id, answer(member), 12)
    outcome = merge(book.updates(opened.round_id), Base(4, 3))
    book.note_merge(opened.round_id, outcome, "d" * 64, {"loss_before": 0.5})
    assert [each.state for each in book.unfinished()] == ["merged"]
    with writing(engine) as connection:
        book.note_release(connection, opened.round_id, 5, {"loss_after": 0.4})
    assert book.unfinished() == []
    (row,) = rows(engine, learning_round)
    assert (row["state"], row["release_version"], row["accepted"], row["rejected"]) == ("released", 5, 2, 1)
    assert (row["metrics"]["loss_before"], row["metrics"]["loss_after"]) == (0.5, 0.4)
    updates = {update["member"]: update for update in rows(engine, round_update)}
    assert updates["gw-3"]["reason"] == "no_reply"
    assert all(update["delta"] is None for update in updates.values())


def test_a_void_round_keeps_its_reason(engine: Engine, book: RoundBook) -> None:
    opened = book.open_round(4, MEMBERS)
    book.note_void(opened.round_id, "power cut")
    (row,) = rows(engine, learning_round)
    assert (row["state"], row["text"], row["rejected"]) == ("void", "power cut", 3)


def test_a_late_answer_is_noted_only_where_none_had_come(engine: Engine, book: RoundBook) -> None:
    opened = book.open_round(4, MEMBERS[:2])
    book.note_answer(opened.round_id, answer("gw-1"), 12)
    book.note_void(opened.round_id, "too few")
    book.note_late(opened.round_id, "gw-1", None)
    book.note_late(opened.round_id, "gw-2", None)
    assert {row["member"]: row["reason"] for row in rows(engine, round_update)} == {"gw-1": "", "gw-2": "late"}


def test_sites_and_enterprise_in_one_database_do_not_see_each_others_rounds(engine: Engine, book: RoundBook) -> None:
    book.open_round(4, MEMBERS)
    assert RoundBook(engine, "enterprise", lambda: 1).unfinished() == []


def test_what_leaves_the_plant_is_counted_per_day_and_topic(engine: Engine) -> None:
    day_us = 86_400_000_000
    clock = iter([0, 1, day_us, 2, 3])
    fence = FenceLedger(engine, lambda: next(clock))
    fence.count(REPLY, 100)
    fence.count(REPLY, 50)
    fence.count(REPLY, 7)
    fence.flush()
    fence.count(REPLY, 1)
    fence.count(MEMBER, 30)
    fence.flush()
    fence.flush()
    found = {(row["day"], row["topic"]): (row["messages"], row["bytes"]) for row in rows(engine, ledger)}
    assert found == {
        ("1970-01-01", "reply"): (3, 151),
        ("1970-01-02", "reply"): (1, 7),
        ("1970-01-01", "member"): (1, 30),
    }


def test_what_cannot_be_written_now_stays_counted(engine: Engine) -> None:
    fence = FenceLedger(engine, lambda: 0)
    fence.count(REPLY, 100)
    with writing(engine) as connection:
        connection.execute(sa.text("ALTER TABLE ledger RENAME TO away"))
    fence.flush()
    fence.count(REPLY, 1)
    with writing(engine) as connection:
        connection.execute(sa.text("ALTER TABLE away RENAME TO ledger"))
    fence.flush()
    assert [(row["messages"], row["bytes"]) for row in rows(engine, ledger)] == [(2, 101)]


def merged_round(engine: Engine, book: RoundBook, value: float, asked_as: str, *, released: bool = True) -> int:
    opened = book.open_round(4, MEMBERS)
    book.note_asked(opened.round_id, asked_as)
    for member in MEMBERS[:2]:
        book.note_answer(opened.round_id, answer(member, value), 12)
    outcome = merge(book.updates(opened.round_id), Base(4, 3))
    book.note_merge(opened.round_id, outcome, "d" * 64, {})
    if released:
        with writing(engine) as connection:
            book.note_release(connection, opened.round_id, 5, {})
    else:
        book.note_void(opened.round_id, "members were worse off", worse=True)
    return opened.round_id


def test_norms_merged_lately_are_known_to_the_next_life_where_the_same_was_asked(
    engine: Engine, book: RoundBook
) -> None:
    merged_round(engine, book, 1.0, "60 steps")
    merged_round(engine, book, 7.0, "600 steps")
    merged_round(engine, book, 9.0, "60 steps", released=False)
    newest = merged_round(engine, book, 2.0, "60 steps")
    next_life = RoundBook(engine, "site", lambda: 2000)
    expected = [2 * 3**0.5] * 2 + [3**0.5] * 2
    assert next_life.recent_norms(newest + 1, "60 steps") == pytest.approx(expected)
    assert next_life.recent_norms(newest, "60 steps") == pytest.approx(expected[2:])  # a round taken up again, alike
    assert RoundBook(engine, "enterprise", lambda: 2000).recent_norms(newest + 1, "60 steps") == []


def test_norms_of_long_ago_are_not_compared_with(engine: Engine, book: RoundBook) -> None:
    merged_round(engine, book, 50.0, "60 steps")
    last = [merged_round(engine, book, 1.0, "60 steps") for _ in range(RECENT_ROUNDS)][-1]
    assert book.recent_norms(last + 1, "60 steps") == pytest.approx([3**0.5] * 2 * RECENT_ROUNDS)


def test_norms_are_forgotten_when_round_after_round_has_come_to_nothing(engine: Engine, book: RoundBook) -> None:
    merged_round(engine, book, 1.0, "60 steps")
    last = 0
    for _ in range(RECENT_ROUNDS):
        last = book.open_round(4, MEMBERS).round_id
        book.note_void(last, "0 of 3 invited gave a usable update")
    assert len(book.recent_norms(last, "60 steps")) == 2
    assert book.recent_norms(last + 1, "60 steps") == []


def test_a_member_that_was_not_asked_is_noted_once_and_only_in_a_round_that_is_known(
    engine: Engine, book: RoundBook
) -> None:
    opened = book.open_round(4, MEMBERS)
    stranger = Rejection("gw-9", "not_invited", "round 1 has not asked it")
    assert book.note_uninvited(opened.round_id, stranger)
    assert not book.note_uninvited(opened.round_id, stranger)
    assert not book.note_uninvited(opened.round_id + 1, stranger)
    (row,) = rows(engine, round_update)
    assert (row["member"], row["accepted"], row["reason"]) == ("gw-9", False, "not_invited")
    assert not book.was_invited(opened.round_id, "gw-9")
    assert book.was_invited(opened.round_id, "gw-1")
