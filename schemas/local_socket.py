"""This file knows how two processes of one machine hand each other containers over a socket file.

A frame is its length (u32) and a container. Who may speak is who may write the file: its owner, and a group where one
is named. Nothing of it can be reached over the network.
"""

import contextlib
import grp
import os
import socket
import stat
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from schemas.container import MAX_CONTAINER_BYTES, pack, unpack
from schemas.errors import SettingsError

_LENGTH = struct.Struct("<I")
MAX_PATH_BYTES = 103  # the kernel's 107, and it is made under a longer name
PIECE_BYTES = 1 << 20
WAITING = 8  # connections that nobody has accepted yet; the kernel refuses more

Frame = tuple[dict[str, Any], dict[str, bytes]]


class PeerGone(ConnectionError):
    """The other side has closed, or kept us waiting for too long; the connection is of no more use."""


class Channel:
    """One end of a connection; one thread at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    @classmethod
    def connect(cls, path: Path, *, timeout_s: float) -> Self:
        """Connect to whoever listens.

        Raises:
            PeerGone: Nobody does, or we may not.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
        except OSError as error:
            connection.close()
            raise PeerGone(f"{path}: {error}") from error
        return cls(connection)

    def send(self, meta: Mapping[str, Any], blobs: Mapping[str, bytes] | None = None, *, timeout_s: float) -> None:
        """Hand a container over.

        Raises:
            PeerGone: The other side has not taken it in time.
        """
        content = pack(meta, blobs or {})
        try:
            self._connection.settimeout(timeout_s)
            self._connection.sendall(_LENGTH.pack(len(content)) + content)
        except OSError as error:
            raise PeerGone(f"the other side has taken nothing: {error}") from error

    def receive(self, *, timeout_s: float, max_bytes: int = MAX_CONTAINER_BYTES) -> Frame:
        """Wait for a container.

        Raises:
            PeerGone: None came in time.
            TensorsRejected: What came is no container, or larger than `max_bytes`.
        """
        give_up_at_s = time.monotonic() + timeout_s
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, give_up_at_s))
        if length > max_bytes:
            raise PeerGone(f"the other side announces {length} bytes, {max_bytes} allowed")
        return unpack(self._read(length, give_up_at_s), max_bytes=max_bytes)

    @property
    def is_over(self) -> bool:
        """Whether the other side has closed; what it has sent before is not touched."""
        try:
            self._connection.setblocking(False)
            return not self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """End the connection; a wait for it in another thread ends, too."""
        with contextlib.suppress(OSError):  # it may be over already
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _read(self, count: int, give_up_at_s: float) -> bytes:
        """Nothing is allocated that has not come."""
        read = bytearray()
        while len(read) < count:
            try:
                self._connection.settimeout(max(0.001, give_up_at_s - time.monotonic()))
                piece = self._connection.recv(min(PIECE_BYTES, count - len(read)))
            except OSError as error:
                raise PeerGone(f"the other side says nothing: {error}") from error
            if not piece:
                raise PeerGone("the other side has closed")
            read += piece
        return bytes(read)


class Listener:
    """Waits for connections at a socket file, which is made, and removed at the end.

    Args:
        path: Where; its folder is made if it is not there. What a former life left there is replaced.
        group: Whose members may connect as well; else nobody but the owner.

    Raises:
        SettingsError: No socket can be made there.
    """

    def __init__(self, path: Path, group: str | None = None) -> None:
        self.path = path.absolute()
        if (length := len(os.fsencode(self.path))) > MAX_PATH_BYTES:
            raise SettingsError(
                f"socket {self.path} has a path of {length} bytes, {MAX_PATH_BYTES} allowed; "
                "set another, such as /run/undertone/learning.sock"
            )
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.is_socket():
                self.path.unlink()
            self._bind(group)
        except (OSError, LookupError) as error:
            self._listening.close()
            raise SettingsError(f"socket {self.path} cannot be made: {error}; set another place or group") from error

    def accept(self, timeout_s: float) -> Channel | None:
        """Wait for a connection; None when nobody came, or we are closed."""
        self._listening.settimeout(timeout_s)
        try:
            connection, _ = self._listening.accept()
        except OSError:
            return None
        return Channel(connection)

    def close(self) -> None:
        """Listen no more."""
        self._listening.close()
        self.path.unlink(missing_ok=True)

    def _bind(self, group: str | None) -> None:
        """It is nobody else's from its first moment: `bind` makes the file by the mask, which is the process's."""
        draft = self.path.with_name(f"{self.path.name}.new")
        draft.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            self._listening.bind(str(draft))
        finally:
            os.umask(mask)
        if group is not None:
            wanted = grp.getgrnam(group).gr_gid
            if draft.stat().st_gid != wanted:  # in a folder with the set-group-ID bit nothing is given away
                os.chown(draft, -1, wanted)
            draft.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IWGRP)
        self._listening.listen(WAITING)
        draft.rename(self.path)
