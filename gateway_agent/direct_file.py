"""This file knows how large appends go past the page cache, from memory to the disk without another copy.

Pages made for what nobody reads again soon cost the kernel ten times what the write itself costs, and push out what
is read. Measured in docs/adr/0027.
"""

import errno
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

BLOCK_BYTES = 4096
"""What a disk takes whole: offset, length and memory of a direct write are multiples of it."""
_STAGE_BYTES = 1 << 20


class DirectFile:
    """Writes whole blocks of one file at a time; for one thread. Where the file system cannot, it says so once."""

    def __init__(self) -> None:
        self._file = -1
        self._stage: mmap.mmap | None = None
        self._refused = not hasattr(os, "O_DIRECT")

    def open(self, path: Path) -> None:
        """Write to this file, which is there, from now on."""
        self.close()
        if self._refused:
            return
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._refused = True

    def write(self, parts: Iterable[bytes], offset: int) -> int | None:
        """Write parts one behind the other, and zeros up to the end of the last block.

        Args:
            parts: What to write.
            offset: Where in the file, a multiple of BLOCK_BYTES.

        Returns:
            Where what was written ends, a multiple of BLOCK_BYTES; None where direct writes are not to be had.

        Raises:
            OSError: The disk is full or broken.
        """
        if self._refused:
            return None
        try:
            return self._write(parts, offset)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._refused = True
            return None

    def close(self) -> None:
        """Let the file go."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, parts: Iterable[bytes], offset: int) -> int:
        if self._stage is None:
            self._stage = mmap.mmap(-1, _STAGE_BYTES)  # begins with a page, as it must
        stage, filled = memoryview(self._stage), 0
        for part in parts:
            left = memoryview(part)
            while left:
                count = min(len(left), _STAGE_BYTES - filled)
                stage[filled : filled + count] = left[:count]
                left, filled = left[count:], filled + count
                if filled == _STAGE_BYTES:
                    offset = self._put(stage, offset)
                    filled = 0
        end = whole_blocks(filled)
        stage[filled:end] = bytes(end - filled)
        return self._put(stage[:end], offset)

    def _put(self, blocks: memoryview, offset: int) -> int:
        while blocks:
            count = os.pwrite(self._file, blocks, offset) // BLOCK_BYTES * BLOCK_BYTES
            if not count:
                raise OSError(errno.ENOSPC, "less than a block was written")
            blocks, offset = blocks[count:], offset + count
        return offset


def whole_blocks(size_bytes: int) -> int:
    """The next multiple of BLOCK_BYTES."""
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES
