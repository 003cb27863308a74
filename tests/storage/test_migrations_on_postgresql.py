"""Databases of every version with rows in them become this version's on PostgreSQL too, all or nothing.

The rows are those of the SQLite databases beside this: what a site had written is the same in both.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import Engine

from aggregator.database import alembic_config, current_version, migrate, newest_version, writing
from schemas.database import open_database
from schemas.errors import DatabaseNotReady
from schemas.site_tables import metadata
from tests.storage.test_migrations import OLDER, config_that_fails
from tests.support.postgres import postgres_server

NEWEST = newest_version(alembic_config())
Rows = dict[str, list[dict[str, Any]]]
older = pytest.mark.parametrize("dump", OLDER, ids=lambda dump: dump.stem)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def engine(server: str) -> Iterator[Engine]:
    """An empty database."""
    opened = open_database(server)
    yield opened
    with opened.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    opened.dispose()


def make_older(engine: Engine, dump: Path) -> None:
    """A database of the version of the dump, with its rows."""
    config = alembic_config()
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, dump.stem)
    with sqlite3.connect(":memory:") as old:
        old.row_factory = sqlite3.Row
        old.executescript(dump.read_text())
        with engine.begin() as connection:
            made = sa.MetaData()
            made.reflect(connection)
            for table in made.sorted_tables:
                if table.name == "alembic_version":
                    continue
                for row in old.execute(f'SELECT * FROM "{table.name}"'):
                    values = {name: _read_by(table.c[name].type)(row[name]) for name in row.keys()}  # noqa: SIM118 - sqlite3.Row iterates over values
                    connection.execute(sa.insert(table).values(values))
    old.close()


def _read_by(kind: sa.types.TypeEngine[Any]) -> Callable[[Any], Any]:
    """How a value of this type is read out of SQLite, which knows neither truth nor JSON."""
    if isinstance(kind, sa.Boolean):
        return lambda found: None if found is None else bool(found)
    if isinstance(kind, sa.JSON):
        return lambda found: None if found is None else json.loads(found)
    return lambda found: found


def rows_of(engine: Engine) -> Rows:
    """Every row of every table, by its key."""
    with engine.connect() as connection:
        made = sa.MetaData()
        made.reflect(connection)
        asked = {table.name: sa.select(table).order_by(*table.primary_key) for table in made.sorted_tables}
        return {name: [dict(row) for row in connection.execute(one).mappings()] for name, one in asked.items()}


def columns_of(engine: Engine) -> dict[str, object]:
    """Tables with their columns and indices."""
    looked = sa.inspect(engine)
    return {
        table: ([(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in looked.get_columns(table)],
                sorted(looked.get_indexes(table), key=str))
        for table in looked.get_table_names()
    }  # fmt: skip


def _of_words_alone(difference: Any) -> bool:
    """Whether only what a column is said to be differs: no migration changes that."""
    return all(change[0] == "modify_comment" for change in difference if isinstance(change, tuple)) and isinstance(
        difference, list
    )


@older
def test_older_database_with_rows_becomes_this_version_and_keeps_every_row_and_value(
    engine: Engine, dump: Path
) -> None:
    make_older(engine, dump)
    before = rows_of(engine)
    assert {name for name, found in before.items() if found} >= {
        "machine", "point", "gateway", "uplink", "health", "machine_case", "case_event",
    }  # fmt: skip
    assert migrate(engine) == (dump.stem, NEWEST)
    after = rows_of(engine)
    del before["alembic_version"]
    for table, rows in before.items():
        for old, new in zip(rows, after[table], strict=True):
            assert old.items() <= new.items(), table
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = [one for one in compare_metadata(context, metadata) if not _of_words_alone(one)]
    assert differences == []


@older
def test_failed_migration_of_an_older_database_with_rows_changes_nothing(
    engine: Engine, dump: Path, tmp_path: Path
) -> None:
    make_older(engine, dump)
    rows, columns = rows_of(engine), columns_of(engine)
    with pytest.raises(DatabaseNotReady, match="nothing changed"):
        migrate(engine, config=config_that_fails(tmp_path))
    assert rows_of(engine) == rows
    assert columns_of(engine) == columns
    with engine.connect() as connection:
        assert current_version(connection) == dump.stem
