"""Databases of every version become this version's, all or nothing, and a newer one is left alone."""

import io
import re
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from aggregator.database import alembic_config, current_version, migrate, newest_version, open_current, require_current
from schemas.database import open_database, sqlite_url
from schemas.errors import DatabaseNotReady
from schemas.site_tables import metadata

OLDER = sorted((Path(__file__).parent / "databases").glob("v*.sql"))
"""A site's database of each version before this one, with a row in every table that records fill."""

FAILS_HALFWAY = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "v9999", "{newest}"
def upgrade():
    op.create_table("half", sa.Column("a", sa.Integer, primary_key=True))
    op.execute("INSERT INTO machine (machine, title, criticality, first_seen_us) VALUES ('m', '', 3, 0)")
    op.execute("THIS IS NO SQL")
"""


def _dump(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        dump = "\n".join(connection.iterdump())
    connection.close()
    return dump


def _normal(sql: str) -> str:
    return " ".join(sql.replace("(", " ( ").replace(")", " ) ").replace(",", " , ").split())


def _added_within(sql: str) -> str:
    """Say with CREATE TABLE what ALTER TABLE adds later: behind the last column, before the constraints."""
    for table, column in re.findall(r"ALTER TABLE (\w+) ADD COLUMN (.*?) ;", _normal(sql.replace(";", " ;"))):
        sql, found = re.subn(
            rf"(CREATE TABLE {table} \(.*?)(, CONSTRAINT)", rf"\g<1>, {column}\g<2>", _normal(sql), count=1
        )
        assert found == 1, table
    return _normal(sql)


def _load(path: Path, dump: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.executescript(dump.read_text())
    connection.close()


def _schema(path: Path) -> dict[str, str]:
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    return {name: _normal(sql) for name, sql in found}


def _rows(path: Path) -> dict[str, list[dict[str, object]]]:
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")] for name in tables}
    connection.close()
    del rows["alembic_version"]
    return {name: found for name, found in rows.items() if found}


def config_that_fails(tmp_path: Path) -> Config:
    """Our migrations, and behind them one that fails halfway."""
    config = alembic_config()
    steps = tmp_path / "versions"
    steps.mkdir()
    (steps / "v9999_fails.py").write_text(FAILS_HALFWAY.format(newest=newest_version(config)))
    own = Path(config.get_main_option("script_location") or "") / "versions"
    config.set_main_option("version_locations", f"{own}\n{steps}")
    config.set_main_option("path_separator", "newline")
    return config


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "site.db"


def test_migrated_schema_equals_that_of_the_code_on_sqlite(path: Path) -> None:
    engine = open_current(sqlite_url(path))
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)
        made = {row.name: _normal(row.sql) for row in connection.execute(sa.text(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'"))}  # fmt: skip
    engine.dispose()
    assert differences == []
    twin = sa.create_engine("sqlite://")
    metadata.create_all(twin)
    with twin.connect() as connection:
        wanted = {row.name: _normal(row.sql) for row in connection.execute(sa.text(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))}  # fmt: skip
    twin.dispose()
    assert made == wanted


def test_migrated_schema_equals_that_of_the_code_on_postgresql() -> None:
    written = io.StringIO()
    config = alembic_config()
    config.output_buffer = written
    config.set_main_option("sqlalchemy.url", "postgresql+psycopg://nobody@localhost/none")
    command.upgrade(config, "head", sql=True)
    made = _added_within(written.getvalue())
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in metadata.sorted_tables:
        assert _normal(str(CreateTable(table).compile(dialect=dialect))) in made
        for index in table.indexes:
            assert _normal(str(CreateIndex(index).compile(dialect=dialect))) in made


def test_there_is_a_database_of_every_earlier_version() -> None:
    known = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    assert [dump.stem for dump in OLDER] == sorted(script.revision for script in known)[:-1]


@pytest.mark.parametrize("dump", OLDER, ids=lambda dump: dump.stem)
def test_older_database_becomes_what_a_new_one_is(dump: Path, path: Path, tmp_path: Path) -> None:
    _load(path, dump)
    open_current(sqlite_url(path)).dispose()
    open_current(sqlite_url(tmp_path / "new.db")).dispose()
    assert _schema(path) == _schema(tmp_path / "new.db")


@pytest.mark.parametrize("dump", OLDER, ids=lambda dump: dump.stem)
def test_older_database_keeps_every_row_and_value(dump: Path, path: Path) -> None:
    _load(path, dump)
    before = _rows(path)
    assert before.keys() >= {"machine", "point", "gateway", "uplink", "health", "machine_case", "case_event"}
    open_current(sqlite_url(path)).dispose()
    after = _rows(path)
    for table, rows in before.items():
        for old, new in zip(rows, after[table], strict=True):
            assert old.items() <= new.items(), table


def test_records_of_the_first_version_say_nothing_of_a_remaining_life(path: Path) -> None:
    _load(path, OLDER[0])
    open_current(sqlite_url(path)).dispose()
    added = ("remaining_life_low_s", "remaining_life_median_s", "remaining_life_high_s", "remaining_life_basis")
    assert [[row[name] for name in added] for row in _rows(path)["health"]] == [[None, None, None, ""]] * 2


@pytest.mark.parametrize("dump", OLDER, ids=lambda dump: dump.stem)
def test_failed_migration_of_an_older_database_changes_nothing(dump: Path, path: Path, tmp_path: Path) -> None:
    _load(path, dump)
    before = _dump(path)
    engine = open_database(sqlite_url(path))
    with pytest.raises(DatabaseNotReady, match="nothing changed"):
        migrate(engine, config=config_that_fails(tmp_path))
    engine.dispose()
    assert _dump(path) == before


def test_migrating_twice_changes_nothing_the_second_time(path: Path) -> None:
    engine = open_current(sqlite_url(path))
    before = _dump(path)
    newest = newest_version(alembic_config())
    assert migrate(engine) == (newest, newest)
    require_current(engine)
    engine.dispose()
    assert _dump(path) == before


def test_failed_migration_changes_nothing(path: Path, tmp_path: Path) -> None:
    engine = open_current(sqlite_url(path))
    before = _dump(path)
    with pytest.raises(DatabaseNotReady, match="nothing changed"):
        migrate(engine, config=config_that_fails(tmp_path))
    engine.dispose()
    assert _dump(path) == before


def test_failed_first_migration_leaves_the_file_empty(path: Path, tmp_path: Path) -> None:
    engine = open_database(sqlite_url(path))
    with pytest.raises(DatabaseNotReady):
        migrate(engine, config=config_that_fails(tmp_path))
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == []
    engine.dispose()


def test_newer_database_is_refused_with_both_versions_and_left_alone(path: Path) -> None:
    engine = open_current(sqlite_url(path))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'v0999'"))
    before = _dump(path)
    for refuse in (migrate, require_current):
        with pytest.raises(DatabaseNotReady, match=r"v0999.*v0001, v0002"):
            refuse(engine)
    engine.dispose()
    assert _dump(path) == before


def test_database_of_somebody_else_is_refused(path: Path) -> None:
    engine = open_database(sqlite_url(path))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE theirs (a INTEGER)"))
    with pytest.raises(DatabaseNotReady, match="not ours"):
        migrate(engine)
    with engine.connect() as connection:
        assert current_version(connection) is None
        assert sa.inspect(connection).get_table_names() == ["theirs"]
    engine.dispose()


def test_empty_database_is_not_ready_for_readers(path: Path) -> None:
    engine = open_database(sqlite_url(path))
    with pytest.raises(DatabaseNotReady, match="aggregator migrate"):
        require_current(engine)
    engine.dispose()


def test_missing_database_is_not_ready_for_readers(path: Path) -> None:
    engine = open_database(sqlite_url(path), read_only=True)
    with pytest.raises(DatabaseNotReady, match="aggregator run"):
        require_current(engine)
    engine.dispose()
