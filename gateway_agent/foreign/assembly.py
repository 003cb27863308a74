"""This file knows how foreign fragments become one payload: out of order, twice, or not at all.

As `schemas.fragments.Reassembly`, for sensors that tell neither the whole's size nor a boot, and whose message
numbers soon come round again: a piece that contradicts the one held begins a new message.
"""

import zlib
from array import array
from collections import OrderedDict
from dataclasses import dataclass, field

from gateway_agent.foreign.errors import ForeignRejected
from gateway_agent.foreign.settings import MAX_FRAGMENTS
from schemas.fragments import ITEM_COST_BYTES, PIECE_COST_BYTES, REMEMBERED

Key = tuple[str, int]
"""Whose it is, and its number."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One fragment, opened."""

    index: int
    count: int
    header: bytes
    content: bytes


@dataclass(slots=True)
class _Open:
    count: int
    since_s: float
    pieces: dict[int, Piece] = field(default_factory=dict)
    held_bytes: int = ITEM_COST_BYTES


@dataclass(frozen=True, slots=True)
class _Whole:
    """A message that was whole, by a checksum a piece; those remembered take 4 MB at most."""

    checks: "array[int]"  # the class itself cannot be subscripted before Python 3.12
    since_s: float


class Assembly:
    """Joins pieces; bounded in bytes and in age. When full, the oldest unfinished message is given up and counted."""

    def __init__(self, *, max_bytes: int, max_age_s: float) -> None:
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._open: OrderedDict[Key, _Open] = OrderedDict()
        self._whole: OrderedDict[Key, _Whole] = OrderedDict()
        self._given_up: list[Key] = []
        self.held_bytes = 0
        """Memory that unfinished messages take."""

    def add(self, source: str, number: int, piece: Piece, *, whole_bytes: int, now_s: float) -> bytes | None:
        """Take one piece; return the whole once its last piece is here.

        Args:
            source: Whose it is; messages of two sources never mix.
            number: The message's own.
            piece: One fragment of it.
            whole_bytes: What the whole may be at most.
            now_s: Monotonic time.

        Raises:
            ForeignRejected: It cannot be the piece it says it is, or the message is too large.
        """
        if not 0 <= piece.index < piece.count <= MAX_FRAGMENTS:
            raise ForeignRejected(
                "impossible_count", f"fragment {piece.index} of {piece.count} found, at most {MAX_FRAGMENTS} allowed"
            )
        self._give_up_old(now_s)
        key = (source, number)
        if key in self._whole and not self._repeats(self._whole[key], piece, now_s):
            del self._whole[key]  # the number came round: this is another message
            if key in self._open:
                self._forget(key)  # pieces of the one before, delivered again
        parts = self._open.get(key)
        held = parts.pieces.get(piece.index) if parts else None
        contradicts = parts is not None and (parts.count != piece.count or (held is not None and held != piece))
        if contradicts:
            self._give_up(key)
        if parts is None or contradicts:
            parts = self._open[key] = _Open(piece.count, now_s)
            self.held_bytes += parts.held_bytes
        if piece.index not in parts.pieces:
            self._hold(parts, piece)
        if parts.held_bytes - len(parts.pieces) * PIECE_COST_BYTES - ITEM_COST_BYTES > min(
            whole_bytes, self._max_bytes
        ):
            self._forget(key)
            raise ForeignRejected("oversized", f"message {number} of {source} is larger than {whole_bytes} bytes")
        if len(parts.pieces) < parts.count:
            while len(self._open) > 1 and self.held_bytes > self._max_bytes:
                self._give_up(next(iter(self._open)))
            return None
        self._forget(key)
        checks = array("I", [zlib.crc32(parts.pieces[i].content) for i in range(parts.count)])
        self._whole[key] = _Whole(checks, now_s)
        self._whole.move_to_end(key)
        if len(self._whole) > REMEMBERED:
            self._whole.popitem(last=False)
        return parts.pieces[0].header + b"".join(parts.pieces[i].content for i in range(parts.count))

    def waits_for(self, source: str, number: int) -> bool:
        """Whether pieces of a message are held that never was whole yet."""
        key = (source, number)
        return key in self._open and key not in self._whole

    def expired(self, *, now_s: float) -> list[Key]:
        """Hand over what was given up since the last call."""
        self._give_up_old(now_s)
        given_up, self._given_up = self._given_up, []
        return given_up

    def _repeats(self, whole: _Whole, piece: Piece, now_s: float) -> bool:
        same = len(whole.checks) == piece.count and whole.checks[piece.index] == zlib.crc32(piece.content)
        return same and now_s - whole.since_s <= self._max_age_s

    def _hold(self, parts: _Open, piece: Piece) -> None:
        size = len(piece.header) + len(piece.content) + PIECE_COST_BYTES
        parts.pieces[piece.index] = piece
        parts.held_bytes += size
        self.held_bytes += size

    def _give_up_old(self, now_s: float) -> None:
        while self._open:
            key, parts = next(iter(self._open.items()))
            if now_s - parts.since_s <= self._max_age_s:
                return
            self._give_up(key)

    def _give_up(self, key: Key) -> None:
        self._forget(key)
        if key not in self._whole:
            self._given_up.append(key)

    def _forget(self, key: Key) -> None:
        self.held_bytes -= self._open.pop(key).held_bytes
