"""This file knows where arrays are kept that are seldom wanted: in a file without a name, gone with the process.

What thousands of points were commissioned with is wanted when a release or a round of learning comes, and when a
state is written; in memory it would be a third of the agent. Everything in it is in the store as well.
"""

import functools
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.logs import event

log = logging.getLogger(__name__)


class ArraysAside:
    """Takes arrays and gives each back when asked; any thread may ask. The file grows by what is put aside, no more."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (open as long as the process lives)
        self._end = 0
        self._lock = threading.Lock()

    def __call__(self, array: NDArray[Any]) -> Callable[[], NDArray[Any]]:
        """Put an array aside; where the disk is full it stays in memory."""
        raw = array.tobytes()
        with self._lock:
            try:
                written = os.pwrite(self._file.fileno(), raw, self._end)
            except OSError as error:
                written = -1
                event(log, logging.WARNING, "array_stays_in_memory", size_bytes=len(raw), problem=str(error))
            if written != len(raw):
                return lambda: array
            place, self._end = self._end, self._end + len(raw)
        return functools.partial(self._read, place, len(raw), array.dtype, array.shape)

    def close(self) -> None:
        """Give the room on the disk back."""
        self._file.close()

    def _read(self, place: int, size_bytes: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        return np.frombuffer(os.pread(self._file.fileno(), size_bytes, place), dtype).reshape(shape)
