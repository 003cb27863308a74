"""A site on PostgreSQL stores what one on SQLite stores, through COPY, and loses as little."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import may_pass, open_current
from aggregator.health_rows import row_of
from aggregator.historian import Arrived, Historian
from schemas import site_tables as tables
from schemas.database import sqlite_url
from schemas.messages import Diagnosis, RecordBatch, RemainingLife
from tests.support import gateway_talk as talk
from tests.support.postgres import postgres_server

NOW_US = 50_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def engine(server: str) -> Iterator[Engine]:
    opened = open_current(server)
    with opened.begin() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(sa.delete(table))
    yield opened
    opened.dispose()


def store(engine: Engine, *said: RecordBatch) -> list[tuple[int, tuple[int, ...]]]:
    acks = Historian(engine, now_us=lambda: NOW_US).store([Arrived(one) for one in said])
    return [(ack.through, ack.also) for ack in acks]


def rows(engine: Engine, table: sa.Table) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [row._asdict() for row in connection.execute(sa.select(table))]


def told() -> RecordBatch:
    odd = talk.health(1).model_copy(
        update={
            "quality": "q" * 100, "zone_basis": 'tab\t, line\n, "quotes", back\\slash and \\N, Überdruck 4 µm',
            "diagnosis": (Diagnosis(label="outer", confidence=0.1 + 0.2),), "score": None, "zone": None,
            "remaining_life": RemainingLife(low_s=0.0, median_s=1e-7, high_s=1e12),
        }
    )  # fmt: skip
    return talk.batch((0, talk.health(0)), (1, odd), (2, talk.health(2, score=1 / 3)))


def test_a_window_is_the_same_on_postgresql_and_on_sqlite(engine: Engine, tmp_path: Path) -> None:
    beside = open_current(sqlite_url(tmp_path / "site.db"))
    for one in (engine, beside):
        assert store(one, told()) == [(2, ())]
    assert rows(engine, tables.health) == rows(beside, tables.health)
    assert rows(engine, tables.point) == rows(beside, tables.point)
    beside.dispose()


@pytest.mark.parametrize(
    "unfit", [{"model_version": 1 << 70}, {"zone_basis": "cut\0off"}], ids=["number-too-large", "character-nul"]
)
def test_window_that_postgresql_refuses_is_a_dead_letter_and_its_neighbours_are_stored(
    engine: Engine, unfit: dict[str, object]
) -> None:
    refused = talk.health(1).model_copy(update=unfit)
    acks = store(engine, talk.batch((0, talk.health(0)), (1, refused), (2, talk.health(2))))
    assert max(acks) == (2, ())
    assert [row["sequence"] for row in rows(engine, tables.health)] == [0, 2]
    assert [row["reason"] for row in rows(engine, tables.dead_letter)] == ["not_storable"]


def test_windows_that_came_before_are_stored_once(engine: Engine) -> None:
    assert store(engine, talk.healths(0, 1, 3), talk.healths(1, 2)) == [(3, ())]
    assert store(engine, talk.healths(2, 3, 4)) == [(4, ())]
    assert sorted(row["sequence"] for row in rows(engine, tables.health)) == [0, 1, 2, 3, 4]


def test_connection_cut_in_the_middle_of_the_rows_stores_none_and_the_next_try_all(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    historian = Historian(engine, now_us=lambda: NOW_US)
    historian.store([Arrived(talk.healths(0))])
    whole = row_of

    def cut_at_the_second(*key: Any, now_us: int) -> Any:
        if key[2] == 2:
            with sa.create_engine(engine.url, poolclass=sa.NullPool).connect() as other:
                others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                other.execute(sa.text(others + " AND state = 'active'"))
        return whole(*key, now_us=now_us)

    monkeypatch.setattr("aggregator.historian.row_of", cut_at_the_second)
    with pytest.raises(sa.exc.OperationalError) as raised:
        historian.store([Arrived(talk.healths(*range(1, 5000)))])
    assert may_pass(raised.value)
    monkeypatch.undo()
    assert len(rows(engine, tables.health)) == 1
    (ack,) = historian.store([Arrived(talk.healths(*range(1, 5000)))])
    assert ack.through == 4999
