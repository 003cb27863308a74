"""Gateway stores of every version become this version's, all or nothing, and a newer one is left alone."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from gateway_agent.errors import StoreError
from gateway_agent.settings import StoreSettings
from gateway_agent.store import Store
from gateway_agent.store_tables import store_metadata
from gateway_agent.store_upgrade import STEPS, VERSION, bring_up
from schemas.database import open_database, sqlite_url

OLDER = sorted((Path(__file__).parent / "databases" / "gateway").glob("v*.sql"))
"""A gateway's database of each version before this one, with a row in every table."""
FAILS_HALFWAY = (*STEPS, ("CREATE TABLE half (a INTEGER)", "UPDATE meta SET value = 'x'", "THIS IS NO SQL"))
older = pytest.mark.parametrize("dump", OLDER, ids=lambda dump: dump.stem)


def load(dump: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    with sqlite3.connect(folder / "gateway.db") as connection:
        connection.executescript(dump.read_text())
    connection.close()
    return folder / "gateway.db"


def text_of(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        text = "\n".join(connection.iterdump())
    connection.close()
    return text


def columns(path: Path) -> dict[str, object]:
    """Tables with their columns, keys and indices, however they were written down."""
    engine = sa.create_engine(sqlite_url(path))
    looked = sa.inspect(engine)
    found: dict[str, object] = {
        table: (
            [(c["name"], str(c["type"]), c["nullable"], c["primary_key"]) for c in looked.get_columns(table)],
            sorted(looked.get_indexes(table), key=str), looked.get_unique_constraints(table),
        )
        for table in looked.get_table_names()
    }  # fmt: skip
    engine.dispose()
    return found


def rows(path: Path) -> dict[str, list[dict[str, object]]]:
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")] for name in names}
    connection.close()
    return found


def test_there_is_a_store_of_every_earlier_version() -> None:
    assert [dump.stem for dump in OLDER] == [f"v{number:04d}" for number in range(1, VERSION)]


@older
def test_older_store_becomes_what_a_new_one_is(dump: Path, tmp_path: Path) -> None:
    path = load(dump, tmp_path / "old")
    Store(StoreSettings(folder=tmp_path / "old")).close()
    Store(StoreSettings(folder=tmp_path / "new")).close()
    assert columns(path) == columns(tmp_path / "new" / "gateway.db")


def test_the_steps_make_what_the_tables_of_the_code_say(tmp_path: Path) -> None:
    made = columns(load(OLDER[0], tmp_path))
    Store(StoreSettings(folder=tmp_path)).close()
    engine = sa.create_engine(sqlite_url(tmp_path / "code.db"))
    store_metadata.create_all(engine)
    engine.dispose()
    assert made != columns(tmp_path / "gateway.db") == columns(tmp_path / "code.db")


@older
def test_older_store_keeps_every_row_its_name_and_its_numbers(dump: Path, tmp_path: Path) -> None:
    path = load(dump, tmp_path)
    before = rows(path)
    store = Store(StoreSettings(folder=tmp_path, min_free_bytes=0))
    assert (store.boot, [w.sequence for w in store.waiting(9)]) == (4242, [1, 3, 2])
    store.close()
    after = rows(path)
    assert before.pop("meta") != after["meta"]
    assert all(before[name] for name in ("capture", "outbox", "dead_letter", "counter", "point_state", "command_done"))
    for table, old in before.items():
        assert all(one.items() <= now.items() for one, now in zip(old, after[table], strict=True)), table


@older
def test_failed_upgrade_changes_nothing(dump: Path, tmp_path: Path) -> None:
    path = load(dump, tmp_path)
    before = text_of(path)
    engine = open_database(sqlite_url(path))
    with engine.connect() as connection, pytest.raises(DatabaseError, match="syntax error"):
        bring_up(connection, new_boot=lambda: 1, steps=FAILS_HALFWAY)
    engine.dispose()
    assert text_of(path) == before


def test_opening_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    path = load(OLDER[-1], tmp_path)
    Store(StoreSettings(folder=tmp_path)).close()
    before = text_of(path)
    Store(StoreSettings(folder=tmp_path)).close()
    assert text_of(path) == before


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        ("UPDATE meta SET value = '99' WHERE key = 'schema'", "has version 99, this program reads"),
        ("DELETE FROM meta WHERE key = 'schema'", "does not say its version"),
        ("ALTER TABLE meta RENAME TO theirs", "is no gateway's"),
    ],
)
def test_store_of_a_later_version_or_of_somebody_else_is_left_alone(spoil: str, word: str, tmp_path: Path) -> None:
    path = load(OLDER[0], tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute(spoil)
    connection.close()
    before = text_of(path)
    with pytest.raises(StoreError, match=word):
        Store(StoreSettings(folder=tmp_path))
    assert text_of(path) == before
