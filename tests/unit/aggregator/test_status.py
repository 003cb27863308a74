"""What `aggregator status` reads out of the database."""

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.historian import Arrived, Historian
from aggregator.intake import Refused
from aggregator.status import NOTHING_LIVE, in_words, read_status
from schemas import site_tables as tables
from tests.support import gateway_talk as talk


def test_empty_database_has_every_field() -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
    tables.metadata.create_all(engine)
    status = read_status(engine)
    engine.dispose()
    assert status == {
        "windows": {"stored": 0, "duplicates": 0},
        "gateways": {},
        "given_up": 0,
        "gateways_seen_s": {},
        "rounds": {"last": 0, "accepted": 0, "rejected": {}},
        "learning": {"updates": {}, "offers": {}, "last": {}},
        "release": {"version": 0, "digest": ""},
        "cases": {"open": 0},
        "dead_letters": {},
        "live": NOTHING_LIVE,
    }


def test_running_site_is_told_as_it_is(engine: Engine) -> None:
    historian = Historian(engine, now_us=lambda: 1)
    historian.store([Arrived(one) for one in (talk.healths(0, 1), talk.healths(1), talk.batch((2, talk.alarm())))])
    historian.store([Arrived(talk.status()), Arrived(talk.status("gw-2"))])
    historian.store([Arrived(Refused("t", "not_json", "text", b"", 0))])
    historian.store([Arrived(talk.batch((8, talk.dropped(4, 7))))])
    historian.write_lost(["gw-2"])
    with engine.begin() as connection:
        connection.execute(
            sa.insert(tables.learning_round).values(
                round_id=4, level="site", state="released", base_version=1, started_at_us=0, metrics={"late": []}
            )
        )
        connection.execute(
            sa.insert(tables.waiting_update).values(
                level="site", member="gw-2", key="4", base_version=1, received_at_us=0, state="waiting", reason="",
                weight=1.0, digest="", metrics={},
            )
        )  # fmt: skip
        update = {"round_id": 4, "received_at_us": 0, "weight": 1.0}
        connection.execute(
            sa.insert(tables.round_update),
            [
                {**update, "member": "gw-1", "accepted": True, "reason": ""},
                {**update, "member": "gw-2", "accepted": False, "reason": "not_finite"},
            ],
        )
        release = {"level": "site", "created_at_us": 0, "manifest": {}, "bundle": b""}
        connection.execute(
            sa.insert(tables.release),
            [
                {**release, "release_version": 1, "digest": "a" * 64, "state": "superseded"},
                {**release, "release_version": 2, "digest": "b" * 64, "state": "current"},
            ],
        )
    status = read_status(engine, now_us=lambda: 4_000_001)
    assert status == {
        "windows": {"stored": 2, "duplicates": 1},
        "gateways": {"gw-1": {"last_seq": 2, "online": True}, "gw-2": {"last_seq": -1, "online": False}},
        "given_up": 4,
        "gateways_seen_s": {"gw-1": 4.0, "gw-2": 4.0},
        "rounds": {"last": 4, "accepted": 1, "rejected": {"not_finite": 1}},
        "learning": {"updates": {"waiting": 1}, "offers": {}, "last": {"late": []}},
        "release": {"version": 2, "digest": "b" * 64},
        "cases": {"open": 1},
        "dead_letters": {"not_json": 1},
        "live": NOTHING_LIVE,
    }
    assert "1 of 2 online" in in_words(status)
