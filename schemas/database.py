"""This file knows how databases are opened: SQLite durable in WAL mode, PostgreSQL as it comes, readers read-only."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

BUSY_TIMEOUT_MS = 10_000
REPLACED = "another file stands in its place"


def open_database(url: str, *, read_only: bool = False) -> Engine:
    """Open a database by SQLAlchemy URL (`sqlite:////path/site.db`, `postgresql+psycopg://...`).

    SQLite gets write-ahead logging with `synchronous=FULL`: a commit survives a power cut. It makes the file with its
    first connection and never again, and commits nothing into a file that has been taken away or exchanged since.
    Readers of SQLite get a connection that cannot write.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, pool_pre_ping=True)
    path = parsed.database or ":memory:"
    if read_only:
        uri = f"{Path(path).resolve().as_uri()}?mode=ro"

        def connect_read_only() -> sqlite3.Connection:
            return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_MS / 1000, check_same_thread=False)

        return sa.create_engine("sqlite://", creator=connect_read_only, poolclass=sa.pool.NullPool)
    engine = sa.create_engine(parsed, **({"creator": _connects_in_place(Path(path))} if parsed.database else {}))

    @sa.event.listens_for(engine, "connect")
    def _durable(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")

    return engine


class _InPlace(sqlite3.Connection):
    """A connection to a file that must still be where it was opened when something is committed.

    Linux lets a file that has no name any more be written: everything would go well, and be gone with the process.
    """

    path: Path
    opened: tuple[int, int] | None = None

    def commit(self) -> None:
        """Commit; OperationalError when the file is not in its place, and what was to be committed is undone."""
        if self.opened is not None and (found := _file_at(self.path)) != self.opened:
            with contextlib.suppress(sqlite3.Error):
                self.rollback()
            problem = "not there any more; put it back" if found is None else f"not ours any more: {REPLACED}; restart"
            raise sqlite3.OperationalError(f"database file {self.path} is {problem}; nothing is stored meanwhile")
        super().commit()


def _connects_in_place(path: Path) -> Callable[[], sqlite3.Connection]:
    made = False

    def connect() -> sqlite3.Connection:
        nonlocal made
        uri = f"{path.resolve().as_uri()}?mode={'rw' if made else 'rwc'}"
        connection = sqlite3.connect(
            uri, uri=True, factory=_InPlace, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000
        )
        connection.path, connection.opened = path, _file_at(path)
        made = True
        return connection

    return connect


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file."""
    return f"sqlite:///{path.resolve()}"
