"""This file knows the list of allowed keys as it is now: it follows the file, so that a revoked key is dead at once."""

import logging
from pathlib import Path

from schemas.errors import SettingsError
from schemas.logs import event
from schemas.signing import KeyRing

log = logging.getLogger(__name__)


class WatchedKeys(KeyRing):
    """The keys in a file; `refresh` takes over what somebody enrolled or revoked meanwhile.

    A list that cannot be read changes nothing: the last good one stays, and the log says so once.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(())
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._complained = False
        self._take(KeyRing.load(path))
        self._stamp = self._read_stamp()

    def refresh(self) -> bool:
        """Read the file again when it has changed; tell whether the list is another now."""
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return False
        try:
            self._take(KeyRing.load(self._path))
        except SettingsError as error:
            if not self._complained:
                event(log, logging.ERROR, "key_list_unreadable", file=str(self._path), problem=str(error))
            self._complained = True
            return False
        self._stamp, self._complained = stamp, False
        event(log, logging.INFO, "key_list_changed", keys=len(self))
        return True

    def _take(self, ring: KeyRing) -> None:
        self._by_id = ring._by_id

    def _read_stamp(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
