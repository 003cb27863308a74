"""This file knows how databases are opened: SQLite durable in WAL mode, PostgreSQL as it comes, readers read-only."""

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

BUSY_TIMEOUT_MS = 10_000


def open_database(url: str, *, read_only: bool = False) -> Engine:
    """Open a database by SQLAlchemy URL (`sqlite:////path/site.db`, `postgresql+psycopg://...`).

    SQLite gets write-ahead logging with `synchronous=FULL`: a commit survives a power cut. Readers of SQLite get a
    connection that cannot write.
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
    engine = sa.create_engine(parsed, connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000})

    @sa.event.listens_for(engine, "connect")
    def _durable(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")

    return engine


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file."""
    return f"sqlite:///{path.resolve()}"
