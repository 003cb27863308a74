"""This file knows how something too large for one packet travels in pieces: out of order, twice, or not at all.

One piece, little-endian: magic "UF" | version u8 | 0 u8 | stream u64 | item u64 | index u16 | count u16 |
total u32 | piece | crc32 u32 of all before. All pieces but the last have the same length.
"""

import struct
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field

from schemas.errors import FragmentRejected

MAGIC = b"UF"
VERSION = 1
_HEAD = struct.Struct("<2sBBQQHHI")
_CRC = struct.Struct("<I")
OVERHEAD_BYTES = _HEAD.size + _CRC.size
PIECE_COST_BYTES = 128  # memory that a held piece takes beside its content; else many tiny ones are free
ITEM_COST_BYTES = 512  # and an unfinished item beside its pieces
REMEMBERED = 256  # items that became whole: a piece of one that comes again is no loss when nothing follows


@dataclass(frozen=True, slots=True)
class Fragment:
    """One piece of one item of one stream (a sensor's boot, a release, a round)."""

    stream: int
    item: int
    index: int
    count: int
    total_bytes: int
    piece: bytes


def split(content: bytes, *, stream: int, item: int, piece_bytes: int) -> list[bytes]:
    """Cut `content` into encoded fragments of at most `piece_bytes` of content each.

    Raises:
        FragmentRejected: It would take more than 65,535 pieces, or there is nothing to cut.
    """
    count = -(-len(content) // piece_bytes)
    if not 1 <= count <= 0xFFFF:
        raise FragmentRejected("impossible_count", f"{len(content)} bytes make {count} pieces, 1 to 65535 allowed")
    return [
        encode_fragment(
            Fragment(stream, item, i, count, len(content), content[i * piece_bytes : (i + 1) * piece_bytes])
        )
        for i in range(count)
    ]


def encode_fragment(fragment: Fragment) -> bytes:
    """Write one fragment."""
    f = fragment
    body = _HEAD.pack(MAGIC, VERSION, 0, f.stream, f.item, f.index, f.count, f.total_bytes) + f.piece
    return body + _CRC.pack(zlib.crc32(body))


def decode_fragment(encoded: bytes) -> Fragment:
    """Read one fragment.

    Raises:
        FragmentRejected: With `reason` truncated, bad_magic, unknown_version, bad_crc or impossible_count.
    """
    if len(encoded) < OVERHEAD_BYTES:
        raise FragmentRejected("truncated", f"fragment has {len(encoded)} bytes, its frame alone {OVERHEAD_BYTES}")
    magic, version, _, stream, item, index, count, total = _HEAD.unpack_from(encoded)
    if magic != MAGIC:
        raise FragmentRejected("bad_magic", f"payload starts with {magic!r}, a fragment with {MAGIC!r}")
    if version != VERSION:
        raise FragmentRejected("unknown_version", f"fragment version {version} found, {VERSION} read")
    end = len(encoded) - _CRC.size
    if zlib.crc32(memoryview(encoded)[:end]) != _CRC.unpack_from(encoded, end)[0]:
        raise FragmentRejected("bad_crc", "checksum does not fit; the fragment changed on its way")
    piece = bytes(encoded[_HEAD.size : end])
    if not (count and index < count and piece and len(piece) <= total):
        raise FragmentRejected("impossible_count", f"piece {index} of {count} with {len(piece)} of {total} bytes")
    return Fragment(stream, item, index, count, total, piece)


@dataclass(slots=True)
class _Parts:
    count: int
    total_bytes: int
    since_s: float
    pieces: dict[int, bytes] = field(default_factory=dict)
    held_bytes: int = ITEM_COST_BYTES


class Reassembly:
    """Joins fragments into whole items; bounded in bytes and in age.

    When full, the oldest unfinished item is given up and handed to the caller by `expired`, which counts it;
    a fragment of an item larger than everything allowed is refused.
    """

    def __init__(self, *, max_bytes: int, max_age_s: float) -> None:
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._open: OrderedDict[tuple[str, int, int], _Parts] = OrderedDict()
        self._held_bytes = 0
        self._given_up: list[tuple[str, int, int]] = []
        self._whole: OrderedDict[tuple[str, int, int], None] = OrderedDict()

    def add(self, source: str, fragment: Fragment, *, now_s: float) -> bytes | None:
        """Take one fragment; return the whole item once its last piece is here.

        Args:
            source: Whose it is (a topic); streams of two sources never mix.
            fragment: As decoded.
            now_s: Monotonic time.

        Raises:
            FragmentRejected: It contradicts the other pieces of its item, or the item is too large.
        """
        if fragment.total_bytes > self._max_bytes:
            raise FragmentRejected("oversized", f"item of {fragment.total_bytes} bytes, {self._max_bytes} allowed")
        self._give_up_old(now_s)
        key = (source, fragment.stream, fragment.item)
        parts = self._open.get(key)
        if parts is None:
            parts = self._open[key] = _Parts(fragment.count, fragment.total_bytes, now_s)
            self._held_bytes += parts.held_bytes
        elif (parts.count, parts.total_bytes) != (fragment.count, fragment.total_bytes):
            raise FragmentRejected("contradiction", f"item {fragment.item} of {source} has pieces of two sizes")
        if fragment.index not in parts.pieces:
            parts.pieces[fragment.index] = fragment.piece
            parts.held_bytes += len(fragment.piece) + PIECE_COST_BYTES
            self._held_bytes += len(fragment.piece) + PIECE_COST_BYTES
        if parts.held_bytes - PIECE_COST_BYTES * len(parts.pieces) - ITEM_COST_BYTES > parts.total_bytes:
            self._forget(key)
            raise FragmentRejected("contradiction", f"pieces hold more than the {parts.total_bytes} bytes promised")
        if len(parts.pieces) < parts.count:
            while len(self._open) > 1 and self._held_bytes > self._max_bytes:
                self._give_up(next(iter(self._open)))
            return None
        self._forget(key)
        whole = b"".join(parts.pieces[i] for i in range(parts.count))
        self._whole[key] = None
        if len(self._whole) > REMEMBERED:
            self._whole.popitem(last=False)
        if len(whole) != parts.total_bytes:
            raise FragmentRejected("contradiction", f"pieces join to {len(whole)} bytes, {parts.total_bytes} promised")
        return whole

    def expired(self, *, now_s: float) -> list[tuple[str, int, int]]:
        """Hand over (source, stream, item) of what was given up since the last call."""
        self._give_up_old(now_s)
        given_up, self._given_up = self._given_up, []
        return given_up

    def waits_for(self, source: str, stream: int, item: int) -> bool:
        """Whether pieces of an item are held that never was whole yet."""
        key = (source, stream, item)
        return key in self._open and key not in self._whole

    @property
    def held_bytes(self) -> int:
        """Memory that unfinished items take, in bytes."""
        return self._held_bytes

    def _give_up_old(self, now_s: float) -> None:
        while self._open:
            key, parts = next(iter(self._open.items()))
            if now_s - parts.since_s <= self._max_age_s:
                return
            self._give_up(key)

    def _give_up(self, key: tuple[str, int, int]) -> None:
        self._forget(key)
        if key not in self._whole:
            self._given_up.append(key)

    def _forget(self, key: tuple[str, int, int]) -> None:
        self._held_bytes -= self._open.pop(key).held_bytes
