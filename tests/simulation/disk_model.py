"""This file knows disks that fail: real SQLite and real segment files, and what of them a power cut leaves.

SQLite's commits count as durable here: that they are is proved by a power cut below SQLite itself. Of the segment
files only what was synced is sure to be there; of the rest a random, perhaps torn, part.
"""

import errno
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect, Engine

from gateway_agent.disk import Disk
from schemas.database import open_database, sqlite_url

READS = ("SELECT", "PRAGMA", "BEGIN")
"""Statements that write nothing: they go well on a full disk."""


class Killed(BaseException):
    """This process ends here and now; nothing of it runs any more."""


class KillPoints:
    """Places in a process where a fault can strike: the ports it works through.

    A gateway passes, in this order: written, synced, statement (many), commit, acknowledge, acknowledged, publish.
    """

    def __init__(self) -> None:
        self._place = ""
        self._left = 0

    def arm(self, place: str, count: int) -> None:
        """Strike when `place` is passed for the `count`-th time from now."""
        self._place, self._left = place, count

    def disarm(self) -> None:
        """Strike no more."""
        self._place = ""

    def passes(self, place: str) -> None:
        """The process is about to do something.

        Raises:
            Killed: The fault strikes here.
        """
        if place == self._place:
            self._left -= 1
            if self._left <= 0:
                self.disarm()
                raise Killed


class DatabaseFile:
    """Opens SQLite files whose statements can fail; every one shares one cache of compiled statements."""

    _dialect: Dialect | None = None
    _compiled: Any = None

    def __init__(self, points: KillPoints) -> None:
        self.problem: str | None = None
        """What SQLite answers to whatever is written, while it cannot."""
        self._points = points

    def open(self, path: Path) -> Engine:
        """Open one as the product does."""
        engine = open_database(sqlite_url(path))
        if DatabaseFile._dialect is None:
            DatabaseFile._dialect, DatabaseFile._compiled = engine.dialect, engine._compiled_cache
        engine.dialect, engine._compiled_cache = DatabaseFile._dialect, DatabaseFile._compiled
        sa.event.listen(engine, "before_cursor_execute", self._before_statement)
        sa.event.listen(engine, "commit", lambda _connection: self._points.passes("commit"))
        return engine

    def _before_statement(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        self._points.passes("statement")
        if self.problem is not None and not statement.startswith(READS):
            raise sa.exc.OperationalError(statement, None, sqlite3.OperationalError(self.problem))


class DiskModel:
    """The disk of one gateway."""

    def __init__(self, points: KillPoints, new_boot: Callable[[], int]) -> None:
        self._points = points
        self.database = DatabaseFile(points)
        self._synced: dict[int, int] = {}
        self.full = False
        self.broken = False
        self.ports = Disk(self._sync, self._free_bytes, self.database.open, new_boot)

    def fill(self, *, database_too: bool) -> None:
        """No room from now on."""
        self.full = True
        self.database.problem = "database or disk is full" if database_too else None

    def heal(self) -> None:
        """Room again, and no error."""
        self.full = self.broken = False
        self.database.problem = None

    def cut_power(self, folder: Path, draw: random.Random) -> int:
        """Leave of each segment what was synced and a random part of the rest; return the bytes that are gone."""
        gone = 0
        for path in sorted((folder / "raw").glob("*.seg")):
            found = path.stat()
            sure = min(found.st_size, self._synced.get(found.st_ino, 0))
            kept = draw.randint(sure, found.st_size)
            gone += found.st_size - kept
            with path.open("r+b") as file:
                file.truncate(kept)
                if kept > sure and draw.random() < 0.5:  # a torn sector: the length is there, the bytes are not
                    file.seek(draw.randint(sure, kept - 1))
                    file.write(b"\0")
        return gone

    def note_synced(self, file: os.stat_result) -> None:
        """What a file holds now survives a power cut."""
        self._synced[file.st_ino] = file.st_size

    def _sync(self, descriptor: int) -> None:
        self._points.passes("written")
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.note_synced(os.fstat(descriptor))
        self._points.passes("synced")

    def _free_bytes(self, _folder: Path) -> int:
        return 0 if self.full else 1 << 40
