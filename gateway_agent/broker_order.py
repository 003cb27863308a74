"""This file knows in which order the broker is told that messages are safe: that in which they came.

MQTT 5 demands it (section 4.6, MQTT-4.6.0-2), and a broker may cut the connection of who does otherwise. So a piece of
a capture that is not whole yet holds back everything that came after it, until its capture is safe or given up.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable

from gateway_agent.waiting import Waiting
from schemas.link import Received

_Key = tuple[int, int]


class BrokerOrder:
    """Messages that have come and are not acknowledged, oldest first. Safe between threads.

    They take room in the window of unacknowledged messages. When `most` of them wait and the oldest is a piece of an
    unfinished capture, it is let go early, so that the rest of some capture can come at all: a crash then loses a
    capture that its sensor may have forgotten, and the caller counts them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: OrderedDict[_Key, Received] = OrderedDict()
        self._safe: set[_Key] = set()
        self._pieces: OrderedDict[_Key, Waiting] = OrderedDict()
        self._connection = 0

    def came(self, message: Received, piece: Waiting | None = None) -> None:
        """Note a message, in the order of arrival; `piece` if its capture is not whole.

        Messages of an earlier connection come again on this one, and cannot be acknowledged any more.
        """
        if not message.qos:
            return
        with self._lock:
            if message.connection > self._connection:
                self._connection = message.connection
                self._open.clear()
                self._safe.clear()
                self._pieces.clear()
            if message.connection < self._connection:
                return
            key = _key(message)
            self._open[key] = message
            if piece is not None:
                self._pieces[key] = piece

    def finished_pieces(self) -> list[Received]:
        """Hand over the pieces whose capture is whole now, or given up: safe with what is committed next."""
        if not self._pieces:
            return []
        with self._lock:
            return self._take([key for key, piece in self._pieces.items() if piece.over()])

    def let_go_early(self) -> list[Received]:
        """Hand over the oldest pieces that hold back more than may wait."""
        with self._lock:
            early: list[_Key] = []
            for number, key in enumerate(self._open):
                if len(self._open) - number <= self._most or not (key in self._pieces or key in self._safe):
                    break
                if key in self._pieces:
                    early.append(key)
            return self._take(early)

    def safe(self, messages: Iterable[Received]) -> list[Received]:
        """Note what is safe now; hand over what may be acknowledged, in order."""
        with self._lock:
            self._safe.update(key for key in map(_key, messages) if key in self._open)
            free: list[Received] = []
            while self._open:
                key = next(iter(self._open))
                if key not in self._safe:
                    break
                self._safe.remove(key)
                free.append(self._open.pop(key))
            return free

    def _take(self, keys: list[_Key]) -> list[Received]:
        for key in keys:
            del self._pieces[key]
        return [self._open[key] for key in keys]


def _key(message: Received) -> _Key:
    return message.connection, message.packet_id
