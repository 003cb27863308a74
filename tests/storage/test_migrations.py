"""Databases of every version become this version's, all or nothing, and a newer one is left alone."""

import io
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from aggregator.database import alembic_config, current_version, migrate, newest_version, open_current, require_current
from schemas.database import open_database, sqlite_url
from schemas.errors import DatabaseNotReady
from schemas.site_tables import metadata

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
    made = _normal(written.getvalue())
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in metadata.sorted_tables:
        assert _normal(str(CreateTable(table).compile(dialect=dialect))) in made
        for index in table.indexes:
            assert _normal(str(CreateIndex(index).compile(dialect=dialect))) in made


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
    config = alembic_config()
    steps = tmp_path / "versions"
    steps.mkdir()
    (steps / "v9999_fails.py").write_text(FAILS_HALFWAY.format(newest=newest_version(config)))
    own = Path(config.get_main_option("script_location") or "") / "versions"
    config.set_main_option("version_locations", f"{own}\n{steps}")
    config.set_main_option("path_separator", "newline")
    with pytest.raises(DatabaseNotReady, match="nothing changed"):
        migrate(engine, config=config)
    engine.dispose()
    assert _dump(path) == before


def test_failed_first_migration_leaves_the_file_empty(path: Path, tmp_path: Path) -> None:
    engine = open_database(sqlite_url(path))
    config = alembic_config()
    steps = tmp_path / "versions"
    steps.mkdir()
    (steps / "v9999_fails.py").write_text(FAILS_HALFWAY.format(newest=newest_version(config)))
    own = Path(config.get_main_option("script_location") or "") / "versions"
    config.set_main_option("version_locations", f"{own}\n{steps}")
    config.set_main_option("path_separator", "newline")
    with pytest.raises(DatabaseNotReady):
        migrate(engine, config=config)
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == []
    engine.dispose()


def test_newer_database_is_refused_with_both_versions_and_left_alone(path: Path) -> None:
    engine = open_current(sqlite_url(path))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'v0999'"))
    before = _dump(path)
    for refuse in (migrate, require_current):
        with pytest.raises(DatabaseNotReady, match=r"v0999.*v0001"):
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
