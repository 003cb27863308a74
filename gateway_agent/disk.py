"""This file knows what a store asks of the disk below it; a simulation puts another in its place."""

import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Engine

from schemas.database import open_database, sqlite_url


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _open_sqlite(path: Path) -> Engine:
    return open_database(sqlite_url(path))


@dataclass(frozen=True, slots=True)
class Disk:
    """The ports of a store.

    Attributes:
        sync: Returns when what was written to a file descriptor survives a power cut.
        free_bytes: Room left in a folder.
        open_sqlite: Opens the database in a file.
        new_boot: The number of a store that begins, below 2^62; no two alike.
    """

    sync: Callable[[int], None] = os.fdatasync
    free_bytes: Callable[[Path], int] = _free_bytes
    open_sqlite: Callable[[Path], Engine] = _open_sqlite
    new_boot: Callable[[], int] = lambda: secrets.randbits(62)
