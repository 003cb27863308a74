"""Messages of the learning that cannot be used: each counted, few kept, and told once to the member they name."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from flwr.app import Context, Message
from sqlalchemy.engine import Engine

from aggregator.carriers.local import LocalCarrier
from aggregator.database import open_current
from aggregator.intake import Refused
from aggregator.learning.refusals import QUEUED, Refusals
from schemas.database import sqlite_url
from schemas.flower_codec import empty_reply
from schemas.site_tables import dead_letter, dead_letter_count
from schemas.topics import REPLY
from schemas.verdict_task import Verdict
from tests.support.learning import wait_until

TOPIC = REPLY.path(site="site-a", member="gw-1")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    yield engine
    engine.dispose()


def refused(reason: str, member: str = "gw-1") -> Refused:
    return Refused(REPLY.path(site="site-a", member=member), reason, f"{reason}: so it was", b"head", 300)


def counted(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {row.reason: row._mapping["count"] for row in connection.execute(sa.select(dead_letter_count))}


def kept(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        return [(row.topic, row.reason) for row in connection.execute(sa.select(dead_letter))]


def test_a_flood_of_one_kind_leaves_one_row_is_counted_whole_and_told_once(engine: Engine) -> None:
    heard: list[Verdict] = []

    def hear(task: Message, _context: Context) -> Message:
        heard.append(Verdict.read(task))
        return empty_reply(task)

    refusals = Refusals(engine, LocalCarrier({"gw-1": hear}), keep_rows=100, clock_us=lambda: 1000)
    for _ in range(QUEUED):
        refusals.put(refused("wrong_speaker"), True)
    refusals.put(refused("wrong_speaker"), True)
    assert refusals.counters == {"queue_full": 1}
    refusals.start()
    assert wait_until(lambda: counted(engine) == {"wrong_speaker": QUEUED})
    refusals.put(refused("oversized"), False)
    assert wait_until(lambda: counted(engine) == {"wrong_speaker": QUEUED, "oversized": 1})
    refusals.stop()
    assert refusals.fault is None
    assert kept(engine) == [(TOPIC, "wrong_speaker"), (TOPIC, "oversized")]
    assert heard == [Verdict(0, "wrong_speaker", "wrong_speaker: so it was")]


def test_of_many_members_the_newest_are_kept_and_no_more_than_allowed(engine: Engine) -> None:
    refusals = Refusals(engine, LocalCarrier({}), keep_rows=10, clock_us=lambda: 1000)
    for number in range(40):
        refusals.put(refused("unknown_key", f"gw-{number}"), True)
    refusals.start()
    assert wait_until(lambda: counted(engine) == {"unknown_key": 40})
    refusals.stop()
    assert [topic.split("/")[-2] for topic, _ in kept(engine)] == [f"gw-{number}" for number in range(30, 40)]
