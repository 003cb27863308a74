"""This file knows how the site's database is read, and why it sometimes cannot be."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from dashboard.errors import DatabaseUnavailable, ProblemKind
from schemas.database import open_database
from schemas.site_tables import machine

VERSIONS_READ = ("v0003",)
"""Versions of the site's database whose tables these pages understand."""

PATIENCE_MS = 700  # a page that waits longer for a lock says so instead
CONNECT_S = 5  # likewise for a server that does not answer
_BY_STATE: dict[str, ProblemKind] = {"55P03": "locked", "42P01": "wrong_version", "42703": "wrong_version"}
"""What PostgreSQL's codes mean: lock not available, no such table, no such column."""

_version_table = sa.table("alembic_version", sa.column("version_num", sa.String))


class SiteReader:
    """Reads the site's database; it cannot write."""

    def __init__(self, database_url: str) -> None:
        self._url = sa.make_url(database_url)
        self.shown_url = self._url.render_as_string(hide_password=True)
        self._engine: Engine | None = None
        self._checked = False

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Connect for one page's queries; all of them see the same moment.

        Raises:
            DatabaseUnavailable: The database is missing, locked, of another version, or no database of ours.
        """
        self._require_file()
        try:
            with self._open().connect() as connection:
                self._require_version(connection)
                yield connection
        except sa.exc.DBAPIError as error:
            self._checked = False
            raise DatabaseUnavailable(*self._explain(error)) from error

    def close(self) -> None:
        """Let go of the connections that are kept; a further read opens others."""
        if self._engine is not None:
            self._engine.dispose()
        self._engine = None

    def _open(self) -> Engine:
        if self._engine is None:
            engine = open_database(self._url.render_as_string(hide_password=False), read_only=True)
            if self._is_sqlite:
                sa.event.listen(engine, "connect", _be_brief)
            else:
                sa.event.listen(engine, "do_connect", _wait_briefly)
                sa.event.listen(engine, "before_cursor_execute", _without_zero_bytes, retval=True)
                engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            self._engine = engine
        return self._engine

    def _require_file(self) -> None:
        if self._is_sqlite and not (self._url.database and Path(self._url.database).is_file()):
            self._checked = False
            raise DatabaseUnavailable("missing", f"no file {self._url.database}")

    def _require_version(self, connection: Connection) -> None:
        if self._is_sqlite:
            connection.exec_driver_sql("BEGIN")
        if self._checked:
            return
        tables = set(sa.inspect(connection).get_table_names())
        if "alembic_version" not in tables:
            if not tables:
                raise DatabaseUnavailable("unprepared", "it has no tables yet")
            raise DatabaseUnavailable("foreign", f"it holds the tables {', '.join(sorted(tables)[:5])}")
        found = connection.execute(sa.select(_version_table.c.version_num)).scalar_one_or_none()
        if found is None:
            raise DatabaseUnavailable("unprepared", "it has no tables yet")
        if found not in VERSIONS_READ:
            raise DatabaseUnavailable("wrong_version", f"it is of version {found}, {' or '.join(VERSIONS_READ)} needed")
        if machine.name not in tables:
            raise DatabaseUnavailable("foreign", "it says our version but has not our tables")
        self._checked = True

    def _explain(self, error: sa.exc.DBAPIError) -> tuple[ProblemKind, str]:
        cause = error.orig
        text = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        if isinstance(cause, sqlite3.Error):
            if "locked" in text or "busy" in text:
                return "locked", text
            if "no such table" in text or "no such column" in text:
                return "wrong_version", text
            if "unable to open" in text:
                return "unreachable", f"{text}; does this user have the right to read the file and its folder?"
            return "no_database", text
        return _BY_STATE.get(getattr(cause, "sqlstate", None) or "", "unreachable"), text


def _wait_briefly(_dialect: Any, _record: Any, _arguments: Any, settings: dict[str, Any]) -> None:
    """Have PostgreSQL say soon that it is away or locked; what the URL says goes first."""
    settings.setdefault("connect_timeout", CONNECT_S)
    settings["options"] = f"-c lock_timeout={PATIENCE_MS} {settings.get('options', '')}".strip()


def _without_zero_bytes(
    _connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, _many: bool
) -> tuple[str, Any]:  # fmt: skip
    """Ask for what cannot be there, where somebody asks for a text with a zero byte: PostgreSQL has no such texts."""
    if isinstance(values, dict) and any(isinstance(value, str) and "\0" in value for value in values.values()):
        values = {
            name: value.replace("\0", "\ufffd") if isinstance(value, str) else value for name, value in values.items()
        }
    return statement, values


def _be_brief(connection: Any, _record: Any) -> None:
    connection.execute(f"PRAGMA busy_timeout={PATIENCE_MS}")
    connection.execute("PRAGMA query_only=ON")
