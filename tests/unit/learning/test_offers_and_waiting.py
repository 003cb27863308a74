"""What waits for a merge, at a site and at its enterprise: stored once, bounded, and gone with the merge alone."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import open_current, writing
from aggregator.learning.book import RoundBook
from aggregator.learning.offers import KEPT_WAITING, MOST_ROUNDS, Offers, SiteRound
from aggregator.learning.selection import Standing
from aggregator.learning.standings import Standings
from aggregator.learning.waiting import LateUpdate, WaitingUpdates
from aggregator.merge.pipeline import merge
from aggregator.merge.validate import Base, Limits, Update
from schemas.database import sqlite_url
from schemas.member_condition import MemberCondition
from schemas.offer import Acknowledgement
from schemas.site_tables import gateway, machine, point, site_offer, waiting_update

LOSSES = {"loss_before": 1.0, "loss_after": 0.5, "held_back_rows": 10.0}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    yield engine
    engine.dispose()


@pytest.fixture
def offers(engine: Engine) -> Offers:
    return Offers(engine, "site-a", lambda: 1000)


def late(member: str, key: str, base_version: int = 4) -> LateUpdate:
    return LateUpdate(key, Update(member, base_version, np.ones(3, np.float32), 50.0), {})


def states(engine: Engine, table: sa.Table = waiting_update) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table.c.state).order_by(*table.primary_key)).scalars())


def add(engine: Engine, waiting: WaitingUpdates, one: LateUpdate, *, make_room: bool = True) -> str:
    with writing(engine) as connection:
        return waiting.add(connection, one, make_room=make_room)


def learnt(
    offers: Offers, engine: Engine, round_id: int, value: float = 1.0, base: str = "f" * 64, on: int | None = None
) -> None:
    """A round on the release that the round before has made, or on another."""
    with writing(engine) as connection:
        offers.add(
            connection,
            SiteRound(
                round_id, on or round_id, round_id + 1, 1, base, np.full(3, value, np.float32), 40.0 + round_id, LOSSES
            ),
        )


def test_what_waits_goes_with_the_round_that_opens_and_is_merged_with_its_release(engine: Engine) -> None:
    book = RoundBook(engine, "site", lambda: 1000)
    add(engine, book.waiting, late("gw-1", "3"))
    opened = book.open_round(5, ["gw-1"], max_staleness=2)
    assert states(engine) == ["taken"]
    updates = book.waiting.of_round(opened.round_id)
    outcome = merge(updates, Base(5, 3), limits=Limits(max_staleness=2))
    book.note_merge(opened.round_id, outcome, "d" * 64, {})
    with writing(engine) as connection:
        book.note_release(connection, opened.round_id, 6, {})
    assert states(engine) == ["merged"]
    assert book.open_round(6, ["gw-1"], max_staleness=9).round_id != opened.round_id
    assert states(engine) == ["merged"]


def test_a_void_round_gives_back_what_it_had_taken_unless_members_were_worse_off_with_it(engine: Engine) -> None:
    book = RoundBook(engine, "site", lambda: 1000)
    add(engine, book.waiting, late("gw-1", "3"))
    book.note_void(book.open_round(5, ["gw-1"], max_staleness=2).round_id, "too few")
    assert states(engine) == ["waiting"]
    book.note_void(book.open_round(5, ["gw-1"], max_staleness=2).round_id, "worse", worse=True)
    assert states(engine) == ["refused"]


def test_what_is_too_far_behind_when_the_round_opens_is_refused(engine: Engine) -> None:
    book = RoundBook(engine, "site", lambda: 1000)
    for base in (1, 3, 4):
        add(engine, book.waiting, late("gw-1", str(base), base))
    book.open_round(5, ["gw-1"], max_staleness=2)
    assert states(engine) == ["refused", "taken", "taken"]


def test_one_that_comes_again_is_stored_once_also_after_its_merge(engine: Engine) -> None:
    book = RoundBook(engine, "site", lambda: 1000)
    assert [add(engine, book.waiting, late("gw-1", "3")) for _ in range(2)] == ["stored", "known"]
    opened = book.open_round(5, ["gw-1"], max_staleness=2)
    with writing(engine) as connection:
        book.waiting.end(connection, opened.round_id)
    assert add(engine, book.waiting, late("gw-1", "3")) == "known"


def test_when_full_the_one_learnt_longest_ago_gives_way_or_the_new_one_is_not_taken(engine: Engine) -> None:
    waiting = WaitingUpdates(engine, "site", lambda: 1000, kept_waiting=2)
    add(engine, waiting, late("gw-1", "a", 4))
    add(engine, waiting, late("gw-2", "b", 3))
    assert add(engine, waiting, late("gw-3", "c", 4), make_room=False) == "full"
    assert add(engine, waiting, late("gw-3", "c", 4)) == "stored"
    assert states(engine) == ["waiting", "refused", "waiting"]


def test_rounds_are_added_to_an_offer_until_it_is_sent_and_then_to_the_next(engine: Engine, offers: Offers) -> None:
    learnt(offers, engine, 1, 1.0)
    learnt(offers, engine, 2, 2.0)
    first = offers.next()
    assert first is not None
    learnt(offers, engine, 3, 4.0)
    again = offers.next()
    assert again is not None
    assert (first.first_round, first.last_round, first.rounds) == (1, 2, 2)
    np.testing.assert_array_equal(first.learnt.delta, np.full(3, 3.0))
    assert first.learnt.weight == 42.0
    assert again.key == first.key
    assert offers.close(Acknowledgement(first.key, "stored"))
    assert not offers.close(Acknowledgement(first.key, "stored"))
    following = offers.next()
    assert following is not None
    assert (following.first_round, following.rounds) == (3, 1)


def test_rounds_from_other_fleet_parameters_are_another_offer(engine: Engine, offers: Offers) -> None:
    learnt(offers, engine, 1)
    learnt(offers, engine, 2, base="e" * 64)
    assert states(engine, site_offer) == ["waiting", "waiting"]


def test_a_round_that_does_not_go_on_from_the_last_is_another_offer(engine: Engine, offers: Offers) -> None:
    """The release of the first never came into use: the second has learnt the same again, not more."""
    learnt(offers, engine, 1, on=1)
    learnt(offers, engine, 2, on=1)
    assert states(engine, site_offer) == ["waiting", "waiting"]


def test_the_oldest_of_too_many_offers_is_given_up_and_says_so(engine: Engine, offers: Offers) -> None:
    for number in range(MOST_ROUNDS * KEPT_WAITING + 1):
        learnt(offers, engine, number + 1)
    assert states(engine, site_offer) == ["given_up", *["waiting"] * KEPT_WAITING]
    with engine.connect() as connection:
        text = connection.execute(sa.select(site_offer.c.text).order_by(site_offer.c.offer_id)).scalars().first()
    assert text == "8 newer offers wait for the enterprise; this one had to make room"


def test_a_site_that_counts_from_one_again_gives_its_offers_other_names(tmp_path: Path) -> None:
    keys = set()
    for life in ("first.db", "second.db"):
        engine = open_current(sqlite_url(tmp_path / life))
        offers = Offers(engine, "site-a", lambda life=life: len(life))  # type: ignore[misc]  # the clock went on
        learnt(offers, engine, 1)
        offer = offers.next()
        assert offer is not None
        keys.add(offer.key)
        engine.dispose()
    assert len(keys) == 2


def test_standings_and_conditions_survive_and_types_come_from_nameplates(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(
            sa.insert(machine).values(
                machine="m-1", title="", criticality=3, nameplate={"kind": "pump"}, first_seen_us=1
            )
        )
        connection.execute(
            sa.insert(point).values(
                point="m-1/a",
                machine="m-1",
                gateway="gw-1",
                learning="ready",
                learning_share=1.0,
                quality="ok",
                notice="",
            )
        )
    standings = Standings(engine, "site", lambda: 1000)
    condition = MemberCondition(on_mains=1.0, rows=200.0)
    standings.note_condition("gw-1", condition)
    with writing(engine) as connection:
        standings.note_round(connection, ["gw-1", "gw-2"], ["gw-1"], {"gw-1": 0.8})
    found = Standings(engine, "site", lambda: 2000).of(["gw-1", "gw-2"])
    assert found["gw-1"] == Standing("pump", 0, 0.5, 0.5, 0.8, condition)
    assert found["gw-2"] == dataclasses.replace(Standing("unknown"), rounds_passed=1)


def test_link_and_fresh_data_are_as_the_site_sees_them(engine: Engine) -> None:
    now_us = 10_000_000_000
    with writing(engine) as connection:
        for name, backlog_s in (("gw-1", 0.0), ("gw-2", 600.0)):
            connection.execute(sa.insert(gateway).values(gateway=name, status={"outbox_oldest_s": backlog_s}))
        connection.execute(
            sa.insert(point).values(
                point="m-1/a", machine="m-1", gateway="gw-1", learning="ready", learning_share=1.0, quality="ok",
                notice="", last_measured_us=now_us - 5_000_000,
            )
        )  # fmt: skip
    standings = Standings(engine, "site", lambda: now_us)
    standings.note_condition("gw-1", MemberCondition(on_mains=1.0))
    found = standings.of(["gw-1", "gw-2", "gw-3"])
    assert found["gw-1"].condition == MemberCondition(on_mains=1.0, link_share=1.0, newest_row_age_s=5.0)
    assert found["gw-2"].condition == MemberCondition(link_share=0.5)
    assert found["gw-3"].condition == MemberCondition()
