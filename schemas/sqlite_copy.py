"""This file knows how an SQLite database that is in use is copied whole, and how a copy is looked at."""

import sqlite3
from pathlib import Path

from schemas.database import BUSY_TIMEOUT_MS
from schemas.errors import DatabaseNotReady


def copy_sqlite(source: Path, to: Path) -> None:
    """Copy what is committed at one moment, beside a running writer, which goes on meanwhile.

    Raises:
        DatabaseNotReady: There is no database, or it is damaged, or there is no room.
    """
    try:
        connection = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_MS / 1000)
        try:
            connection.execute("VACUUM INTO ?", (str(to),))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise DatabaseNotReady(f"database {source} cannot be copied: {error}") from error


def require_sound(path: Path) -> None:
    """Return when SQLite finds nothing wrong in a file.

    Raises:
        DatabaseNotReady: It does.
    """
    try:
        connection = sqlite3.connect(path)
        try:
            said = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        said = str(error)
    if said != "ok":
        raise DatabaseNotReady(f"database {path} is damaged: {said}")
