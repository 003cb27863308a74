"""Nothing is committed into a database file that has been taken away or exchanged, and no empty one takes its place."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from aggregator.database import may_pass
from gateway_agent.batch import NORMAL, Batch
from gateway_agent.settings import StoreSettings
from gateway_agent.store import DATABASE, Store
from schemas.database import REPLACED, open_database, sqlite_url
from tests.support import gateway_talk as talk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "site.db"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    opened = open_database(sqlite_url(path))
    with opened.begin() as connection:
        connection.execute(sa.text("CREATE TABLE said (n INTEGER)"))
    yield opened
    opened.dispose()


def say(engine: Engine, n: int) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO said VALUES (:n)"), {"n": n})


def said(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.execute(sa.text("SELECT n FROM said ORDER BY n")).scalars())


def test_commit_into_a_file_that_was_taken_away_stores_nothing_until_it_is_back(
    engine: Engine, path: Path, tmp_path: Path
) -> None:
    say(engine, 1)
    path.rename(tmp_path / "elsewhere.db")
    for n in (2, 3):
        with pytest.raises(OperationalError, match="not there any more; put it back") as refused:
            say(engine, n)
        assert may_pass(refused.value)
    assert not path.exists()
    (tmp_path / "elsewhere.db").rename(path)
    say(engine, 4)
    assert said(engine) == [1, 4]


def test_new_connection_makes_no_empty_file_in_the_place_of_one_that_was_taken_away(engine: Engine, path: Path) -> None:
    path.unlink()
    engine.dispose()
    with pytest.raises(OperationalError, match="unable to open"):
        say(engine, 1)
    assert not path.exists()


def test_commit_beside_a_file_that_was_exchanged_is_refused_for_good(
    engine: Engine, path: Path, tmp_path: Path
) -> None:
    shutil.copy(path, tmp_path / "copy.db")
    (tmp_path / "copy.db").replace(path)
    with pytest.raises(OperationalError, match=REPLACED) as refused:
        say(engine, 1)
    assert not may_pass(refused.value)


def test_gateway_whose_database_was_deleted_commits_nothing_more(tmp_path: Path) -> None:
    store = Store(StoreSettings(folder=tmp_path, min_free_bytes=0))
    store.commit(Batch(1, records=[(NORMAL, talk.health(0))]))
    (tmp_path / DATABASE).unlink()
    with pytest.raises(OperationalError, match="not there any more"):
        store.commit(Batch(2, records=[(NORMAL, talk.health(1))]))
    assert [one.sequence for one in store.waiting(9)] == [0]
    store.close()
