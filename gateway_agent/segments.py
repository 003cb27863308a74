"""This file knows how raw captures lie on disk: appended, synced before they are believed, dropped oldest first.

One entry: length u32 | crc32 u32 | bytes, at least one. What is large begins and ends with a block of the disk:
zeros fill what lies between. A torn last entry (power cut) is cut off when the log is opened.
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

from gateway_agent.direct_file import BLOCK_BYTES, DirectFile, whole_blocks
from gateway_agent.disk import Disk
from gateway_agent.errors import StoreError
from schemas.synced_files import sync_folder

_ENTRY = struct.Struct("<II")
_PARTS_A_CALL = 1024  # what Linux takes (IOV_MAX)
_SUFFIX = ".seg"
_DIRECT_FROM_BYTES = 8 * BLOCK_BYTES  # of one append: what fills its last block is little beside it


@dataclass(frozen=True, slots=True)
class Place:
    """Where one entry lies."""

    segment: int
    offset: int
    length: int


class SegmentLog:
    """A ring of append-only files; one writer, any readers."""

    def __init__(self, folder: Path, *, segment_bytes: int, max_bytes: int, disk: Disk | None = None) -> None:
        self._folder = folder
        self._disk = disk or Disk()
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._direct = DirectFile()
        folder.mkdir(parents=True, exist_ok=True)
        self._sizes = {int(path.stem): path.stat().st_size for path in folder.glob(f"*{_SUFFIX}")}
        self._current = max(self._sizes, default=0)
        if self._current in self._sizes:
            self._sizes[self._current] = self._cut_torn_tail(self._current)
        self._file = self._open_current()
        sync_folder(folder)
        sync_folder(folder.parent)

    @property
    def total_bytes(self) -> int:
        """Bytes in all segments."""
        return sum(self._sizes.values())

    @property
    def full_ones(self) -> list[int]:
        """Numbers of the segments that are written to no more, oldest first."""
        return sorted(self._sizes)[:-1]

    @property
    def oldest(self) -> int:
        """Number of the oldest segment still there."""
        return min(self._sizes, default=self._current)

    def append(self, entries: Sequence[bytes]) -> list[Place]:
        """Write entries, none of them empty, and sync them; on return they survive a power cut.

        Raises:
            OSError: The disk is full or broken; nothing of this call counts as written.
        """
        if self._sizes.get(self._current, 0) >= self._segment_bytes:
            self._roll()
        before = self._sizes.setdefault(self._current, 0)
        large = sum(map(len, entries)) >= _DIRECT_FROM_BYTES
        start = offset = whole_blocks(before) if large else before
        places, parts = [], []
        for entry in entries:
            places.append(Place(self._current, offset + _ENTRY.size, len(entry)))
            parts += [_ENTRY.pack(len(entry), zlib.crc32(entry)), entry]
            offset += _ENTRY.size + len(entry)
        try:
            end = self._direct.write(parts, start) if large else None
            if end is None:
                _write_all(self._file.fileno(), parts, start)
            self._disk.sync(self._file.fileno())
        except OSError:
            self._cut_back(before)
            raise
        self._sizes[self._current] = end or offset
        return places

    def take_back(self, places: Sequence[Place]) -> None:
        """Forget the entries of the last `append`: what they belong to has not come true."""
        if places and places[0].segment == self._current:
            start = places[0].offset - _ENTRY.size
            self._cut_back(start)
            self._sizes[self._current] = start

    def read(self, place: Place) -> bytes | None:
        """Read one entry; None when its segment has left the ring.

        Raises:
            StoreError: The bytes there are not what was written.
        """
        try:
            with self._path(place.segment).open("rb") as file:
                file.seek(place.offset - _ENTRY.size)
                head = file.read(_ENTRY.size)
                entry = file.read(place.length)
        except FileNotFoundError:
            return None
        if len(head) < _ENTRY.size or _ENTRY.unpack(head) != (place.length, zlib.crc32(entry)):
            raise StoreError(f"segment {place.segment} is damaged at byte {place.offset}; the capture there is lost")
        return entry

    def surplus(self, *, at_least: int = 0) -> list[int]:
        """The oldest segments without which the ring is within its size, at least so many; never the one in use."""
        beyond = self.total_bytes - self._max_bytes
        surplus: list[int] = []
        for segment in self.full_ones if beyond > 0 or at_least else ():
            if beyond <= 0 and len(surplus) >= at_least:
                break
            surplus.append(segment)
            beyond -= self._sizes[segment]
        return surplus

    def drop(self, segment: int) -> None:
        """Give one segment up; the one in use never."""
        if segment in self._sizes and segment != self._current:
            self._path(segment).unlink(missing_ok=True)
            del self._sizes[segment]

    def close(self) -> None:
        """Close the file under the pen."""
        self._direct.close()
        self._file.close()

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:010d}{_SUFFIX}"

    def _open_current(self) -> BufferedRandom:
        path = self._path(self._current)
        path.touch()
        self._direct.open(path)
        return path.open("r+b")

    def _cut_back(self, start: int) -> None:
        with contextlib.suppress(OSError):  # it writes down what is still buffered, and there may be no room
            self._file.close()
        self._file = self._open_current()
        self._file.truncate(start)

    def _roll(self) -> None:
        self._path(self._current + 1).touch()  # may find no room; nothing has changed then
        self._file.close()
        self._current += 1
        self._sizes[self._current] = 0
        self._file = self._open_current()
        sync_folder(self._folder)

    def _cut_torn_tail(self, segment: int) -> int:
        path = self._path(segment)
        good = at = 0
        with path.open("r+b") as file:
            while len(head := file.read(_ENTRY.size)) == _ENTRY.size:
                length, crc = _ENTRY.unpack(head)
                if not length and at % BLOCK_BYTES:  # the rest of a block
                    at = file.seek(whole_blocks(at))
                    continue
                entry = file.read(length)
                if not length or len(entry) < length or zlib.crc32(entry) != crc:
                    break
                good = at = at + _ENTRY.size + length
            file.truncate(good)
        return good


def _write_all(file: int, parts: Sequence[bytes], offset: int) -> None:
    """Write parts one behind the other: many in one system call, until all are written."""
    left = [memoryview(part) for part in parts]
    while left:
        count = os.pwritev(file, left[:_PARTS_A_CALL], offset)
        offset += count
        while left and count >= len(left[0]):
            count -= len(left.pop(0))
        if count:
            left[0] = left[0][count:]
