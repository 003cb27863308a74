"""This file knows a disk whose power goes: what was not synced is lost, or stays in pieces of 512 bytes at random.

SQLite runs on it through a VFS of APSW that keeps writes in memory until they are synced; SQLAlchemy speaks to APSW
through the few methods of a Python database module that its SQLite dialect calls. The segments of raw captures are
ordinary files; what of them was synced is noted, and the rest is torn when the image of the disk is taken.
"""

import contextlib
import errno
import os
import random
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from gateway_agent.disk import Disk
from schemas.database import open_database, sqlite_url

SECTOR_BYTES = 512
_Write = tuple[int, bytes]  # (offset, bytes); (size, b"") cuts the file


class PowerCut(Exception):
    """The power went in the middle of this."""


class MortalDisk:
    """A disk whose power goes at the n-th write or sync from `arm` on; `image` is what is found on it afterwards."""

    def __init__(self, folder: Path, image: Path, draw: random.Random) -> None:
        self.folder, self._image, self._draw = folder, image, draw
        self.name = str(folder)
        self._left = 1 << 60
        self.pending: defaultdict[Path, list[_Write]] = defaultdict(list)
        self._synced_bytes: dict[Path, int] = {}
        self._vfs = _Vfs(self.name, self)

    def arm(self, steps: int) -> None:
        """Let the power go after so many more writes and syncs."""
        self._left = steps

    def step(self) -> None:
        """Do one write or sync; never returns once the power is gone."""
        self._left -= 1
        if self._left == 0:
            self._write_image()  # now: what the program still does, tidying up, is done by nobody
        if self._left <= 0:
            raise PowerCut

    def ports(self) -> Disk:
        """This disk as a gateway's store takes it."""
        return Disk(sync=self._sync, open_sqlite=self._open)

    def close(self) -> None:
        """Forget the VFS."""
        self._vfs.unregister()

    def _write_image(self) -> None:
        to = self._image
        shutil.copytree(self.folder, to, ignore=shutil.ignore_patterns("*-shm", "*.lock"))
        for path, writes in self.pending.items():
            if (copy := to / path.relative_to(self.folder)).exists():
                _keep_some(copy, writes, self._draw)
        for segment in to.rglob("*.seg"):
            _tear(segment, self._synced_bytes.get(self.folder / segment.relative_to(to), 0), self._draw)

    def _sync(self, descriptor: int) -> None:
        try:
            self.step()
        except PowerCut as cut:
            raise OSError(errno.EIO, "the power is gone") from cut
        self._synced_bytes[Path(f"/proc/self/fd/{descriptor}").readlink()] = os.fstat(descriptor).st_size

    def _open(self, path: Path) -> Engine:
        """Open it as the product does, with its own pragmas, on this disk."""
        create = sa.create_engine

        def on_this_disk(url: Any, creator: object = None, **more: Any) -> Engine:
            return create(url, module=_database_module(self.name), **more)

        sa.create_engine = on_this_disk
        try:
            return open_database(sqlite_url(path))
        finally:
            sa.create_engine = create


def _keep_some(path: Path, writes: Iterable[_Write], draw: random.Random) -> None:
    with path.open("r+b") as file:
        for offset, content in writes:
            if not content:
                if draw.random() < 0.5:
                    file.truncate(offset)
                continue
            for start in range(0, len(content), SECTOR_BYTES):
                if draw.random() < 0.5:
                    file.seek(offset + start)
                    file.write(content[start : start + SECTOR_BYTES])


def _tear(path: Path, synced: int, draw: random.Random) -> None:
    """Leave what was synced, and of the rest any length with any of its sectors empty."""
    content = bytearray(path.read_bytes())
    del content[draw.randint(min(synced, len(content)), len(content)) :]
    for start in range(synced, len(content), SECTOR_BYTES):
        if draw.random() < 0.5:
            part = content[start : start + SECTOR_BYTES]
            content[start : start + SECTOR_BYTES] = bytes(len(part))
    path.write_bytes(content)


class _Vfs(apsw.VFS):
    def __init__(self, name: str, disk: MortalDisk) -> None:
        self._disk = disk
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> "_File":
        return _File(self._disk, name, flags)


class _File(apsw.VFSFile):
    """One file: reads see every write, the disk below only those that were synced."""

    def __init__(self, disk: MortalDisk, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "")
        size = super().xFileSize()
        self._seen = bytearray(super().xRead(size, 0)) if size else bytearray()

    def xWrite(self, content: bytes, offset: int) -> None:
        self._disk.step()
        if len(self._seen) < offset:
            self._seen.extend(bytes(offset - len(self._seen)))
        self._seen[offset : offset + len(content)] = content
        self._disk.pending[self._path].append((offset, bytes(content)))

    def xRead(self, amount: int, offset: int) -> bytes:
        return bytes(self._seen[offset : offset + amount])

    def xFileSize(self) -> int:
        return len(self._seen)

    def xTruncate(self, size: int) -> None:
        self._disk.step()
        del self._seen[size:]
        self._disk.pending[self._path].append((size, b""))

    def xSync(self, flags: int) -> None:
        self._disk.step()
        for offset, content in self._disk.pending.pop(self._path, []):
            if content:
                super().xWrite(content, offset)
            else:
                super().xTruncate(offset)


class _Error(Exception):
    pass


class _DatabaseError(_Error):
    pass


class _OperationalError(_DatabaseError):
    pass


class _IntegrityError(_DatabaseError):
    pass


_OperationalError.__name__, _IntegrityError.__name__ = "OperationalError", "IntegrityError"  # SQLAlchemy goes by name


def _database_module(vfs: str) -> Any:
    """What SQLAlchemy's SQLite dialect asks of a database module."""
    return SimpleNamespace(
        paramstyle="qmark", sqlite_version_info=tuple(map(int, apsw.sqlite_lib_version().split("."))),
        connect=lambda path, **_: _Connection(apsw.Connection(path, vfs=vfs)), Error=_Error,
        DatabaseError=_DatabaseError, OperationalError=_OperationalError, IntegrityError=_IntegrityError,
        ProgrammingError=_DatabaseError, InterfaceError=_DatabaseError, Binary=bytes,
    )  # fmt: skip


class _Connection:
    def __init__(self, connection: apsw.Connection) -> None:
        self.own = connection
        self.isolation_level = ""

    def cursor(self) -> "_Cursor":
        return _Cursor(self.own)

    def execute(self, sql: str) -> "_Cursor":
        return self.cursor().execute(sql)

    def create_function(self, *_: object, **__: object) -> None:
        """The store uses no regular expressions."""

    def commit(self) -> None:
        self._end("COMMIT")

    def rollback(self) -> None:
        self._end("ROLLBACK")

    def close(self) -> None:
        with contextlib.suppress(apsw.Error, PowerCut):  # what it could still write reaches no disk
            self.own.close()

    def _end(self, how: str) -> None:
        if self.own.in_transaction:
            self.cursor().execute(how)


class _Cursor:
    """Begins a transaction before a change, as Python's own module does."""

    arraysize = 1

    def __init__(self, connection: apsw.Connection) -> None:
        self._own = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid = 0

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> "_Cursor":
        return self._run(sql, [parameters])

    def executemany(self, sql: str, many: Iterable[Sequence[Any]]) -> "_Cursor":
        return self._run(sql, many)

    def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def close(self) -> None:
        self._rows = []

    def _describe(self, cursor: apsw.Cursor, _sql: str, _parameters: object) -> bool:
        self.description = [(name, *[None] * 6) for name, _ in cursor.get_description()] or None
        return True

    def _run(self, sql: str, many: Iterable[Sequence[Any]]) -> "_Cursor":
        changes = sql.lstrip()[:7].upper() in {"INSERT ", "UPDATE ", "DELETE ", "REPLACE"}
        before = self._own.total_changes()
        try:
            if changes and not self._own.in_transaction:
                self._own.execute("BEGIN")
            for parameters in many:
                cursor = self._own.cursor()
                cursor.exec_trace = self._describe  # the only moment at which a statement without rows tells columns
                self._rows = list(cursor.execute(sql, tuple(parameters)))
        except apsw.ConstraintError as error:
            raise _IntegrityError(str(error)) from error
        except (apsw.Error, PowerCut) as error:
            raise _OperationalError(str(error)) from error
        self.rowcount = self._own.total_changes() - before if changes else -1
        self.lastrowid = self._own.last_insert_rowid()
        return self
