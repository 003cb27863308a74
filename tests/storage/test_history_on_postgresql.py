"""Hours are summed up on PostgreSQL as on SQLite, and a year of them is read the same way."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import open_current
from aggregator.historian import Arrived, Historian
from aggregator.history import HOUR_US
from dashboard.queries.machine import Bucket, read_buckets
from schemas.database import sqlite_url
from schemas.site_tables import history_hour
from tests.support import gateway_talk as talk
from tests.support.postgres import postgres_server

START_US = 1_790_000_000_000_000 // HOUR_US * HOUR_US
DAYS = 35
UNTIL_US = START_US + DAYS * 24 * HOUR_US


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Engine]:
    with postgres_server() as url:
        opened = open_current(url)
        yield opened
        opened.dispose()


def summed(engine: Engine) -> tuple[list[tuple[object, ...]], list[Bucket]]:
    """Store captures, some of them late; the hours, and how a year reads."""
    historian = Historian(engine, now_us=lambda: UNTIL_US)
    captures = [
        (n, talk.health(n, measured_at_us=START_US + n * HOUR_US // 2, score=float(n * 7919 % 101)))
        for n in range(DAYS * 48)
    ]
    historian.store([Arrived(talk.batch(*captures[:-100]))])
    while historian.sum_history():
        pass
    late = (captures[-1][0] + 1, talk.health(9999, measured_at_us=START_US + 5 * HOUR_US + 1, score=500.0))
    historian.store([Arrived(talk.batch(*captures[-100:], late))])
    while historian.sum_history():
        pass
    with engine.connect() as connection:
        hours = [tuple(row) for row in connection.execute(sa.select(history_hour).order_by(history_hour.c.hour))]
        return hours, read_buckets(connection, talk.POINT, since_us=START_US, until_us=UNTIL_US)


def test_hours_and_a_long_trend_are_the_same_on_both_databases(postgresql: Engine, tmp_path: Path) -> None:
    sqlite = open_current(sqlite_url(tmp_path / "site.db"))
    ours, on_sqlite = summed(postgresql), summed(sqlite)
    sqlite.dispose()
    assert ours == on_sqlite
    assert max(bucket.highest[0] or 0.0 for bucket in ours[1]) == 500.0
