"""This file knows MQTT 5 packets, as far as a client needs them that subscribes, acknowledges and publishes.

Pure: bytes in, packets out. Source of every form: OASIS MQTT Version 5.0, sections 2 and 3.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from schemas.errors import ContractError

_U16, _U32 = struct.Struct(">H"), struct.Struct(">I")
SMALLEST_BUFFER_BYTES = 1 << 16
LONGEST_HEAD_BYTES = 2 + 0xFFFF + 2 + 4  # of a message: its topic, its number, how long its properties are
_LONGEST_LENGTH_BYTES = 4
PINGREQ = b"\xc0\x00"
GOOD_BYE = b"\xe0\x00"


class PacketError(ContractError):
    """Bytes that no MQTT 5 broker sends; the connection cannot be trusted any more."""


class Kind(IntEnum):
    """Packet types that a broker sends us."""

    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBACK = 9
    PINGRESP = 13
    DISCONNECT = 14


_FIRST_BYTES = frozenset(
    {kind << 4 for kind in Kind if kind != Kind.PUBLISH}
    | {
        Kind.PUBLISH << 4 | again << 3 | qos << 1 | retained
        for again in (0, 1)
        for qos in (0, 1)
        for retained in (0, 1)
    }
)
"""What a packet for us can start with; we never ask for QoS 2."""


class Property(IntEnum):
    """Properties that we write or look at."""

    SESSION_EXPIRY = 0x11
    SERVER_KEEP_ALIVE = 0x13
    REASON = 0x1F
    RECEIVE_MAXIMUM = 0x21
    MAXIMUM_PACKET_SIZE = 0x27


_ONE, _TWO, _FOUR, _VARINT, _TEXT, _PAIR = range(6)
_FORM = {
    0x01: _ONE, 0x02: _FOUR, 0x03: _TEXT, 0x08: _TEXT, 0x09: _TEXT, 0x0B: _VARINT, 0x11: _FOUR, 0x12: _TEXT,
    0x13: _TWO, 0x15: _TEXT, 0x16: _TEXT, 0x17: _ONE, 0x18: _FOUR, 0x19: _ONE, 0x1A: _TEXT, 0x1C: _TEXT,
    0x1F: _TEXT, 0x21: _TWO, 0x22: _TWO, 0x23: _TWO, 0x24: _ONE, 0x25: _ONE, 0x26: _PAIR, 0x27: _FOUR,
    0x28: _ONE, 0x29: _ONE, 0x2A: _ONE,
}  # fmt: skip
"""Every property's form (section 2.2.2.2)."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet as it lies in the buffer.

    Attributes:
        kind: Its type, one of `Kind`.
        flags: The low bits of its first byte.
        body: What follows the length; only until the buffer is read on.
        cut_off_bytes: How much of an oversized message was thrown away behind `body`; 0 when it is whole.
    """

    kind: int
    flags: int
    body: memoryview
    cut_off_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Published:
    """A message that the broker delivers."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    packet_id: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """A broker's answer to CONNECT.

    Attributes:
        session_present: Whether it remembers our subscriptions and what waits for us.
        reason: 0 for success, else why not (section 3.2.2.2).
        text: What it says about that.
        receive_maximum: Our messages it may have under way, unanswered.
        maximum_packet_bytes: The largest packet it takes; None without a limit.
        keep_alive_s: What it wants instead of what we asked for; None if it does not care.
    """

    session_present: bool
    reason: int
    text: str
    receive_maximum: int
    maximum_packet_bytes: int | None
    keep_alive_s: int | None


def connect_packet(
    client_id: str, *, clean_start: bool, keep_alive_s: int, session_expiry_s: int, receive_maximum: int,
    username: str | None = None, password: str | None = None,
) -> bytes:  # fmt: skip
    """Write CONNECT (section 3.1)."""
    flags = (clean_start << 1) | ((password is not None) << 6) | ((username is not None) << 7)
    properties = b"".join(
        (
            bytes([Property.SESSION_EXPIRY]), _U32.pack(session_expiry_s),
            bytes([Property.RECEIVE_MAXIMUM]), _U16.pack(receive_maximum),
        )
    )  # fmt: skip
    body = b"".join(
        (
            _text("MQTT"), bytes([5, flags]), _U16.pack(keep_alive_s), _length(len(properties)), properties,
            _text(client_id), *(_text(one) for one in (username, password) if one is not None),
        )
    )  # fmt: skip
    return b"\x10" + _length(len(body)) + body


def subscribe_packet(packet_id: int, subscriptions: Iterable[tuple[str, int]]) -> bytes:
    """Write SUBSCRIBE (section 3.8) for filters and the QoS of each."""
    body = _U16.pack(packet_id) + b"\x00" + b"".join(_text(name) + bytes([qos]) for name, qos in subscriptions)
    return b"\x82" + _length(len(body)) + body


def publish_packet(topic: str, payload: bytes, *, qos: int, retained: bool, packet_id: int) -> bytes:
    """Write PUBLISH (section 3.3)."""
    head = _text(topic) + (_U16.pack(packet_id) if qos else b"") + b"\x00"
    return bytes([0x30 | (qos << 1) | retained]) + _length(len(head) + len(payload)) + head + payload


def puback_packets(packet_ids: Sequence[int]) -> bytes:
    """Write a PUBACK of success (section 3.4) for each."""
    return b"".join(b"\x40\x02" + _U16.pack(one) for one in packet_ids)


def read_publish(packet: Packet) -> Published:
    """Read PUBLISH; of one that was cut off, what is left of its payload.

    Raises:
        PacketError: It is cut short.
    """
    body, qos = packet.body, (packet.flags >> 1) & 3
    try:
        (length,) = _U16.unpack_from(body)
        topic = str(body[2 : 2 + length], "utf-8")
        at = 2 + length
        packet_id = 0
        if qos:
            (packet_id,) = _U16.unpack_from(body, at)
            at += 2
        properties_bytes, at = _read_length(body, at)
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise PacketError(f"a message with a head that cannot be read: {error}") from error
    if at + properties_bytes > len(body) + packet.cut_off_bytes:
        raise PacketError(f"a message whose properties take {properties_bytes} bytes of {len(body)}")
    if qos and not packet_id:
        raise PacketError("a message to be acknowledged that has no number")
    return Published(topic, bytes(body[at + properties_bytes :]), qos, bool(packet.flags & 1), packet_id)


def read_connack(packet: Packet) -> Accepted:
    """Read CONNACK; errors as in `read_publish`."""
    try:
        present, reason = bool(packet.body[0] & 1), packet.body[1]
        found = _read_properties(packet.body, 2) if len(packet.body) > 2 else {}
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise PacketError(f"an answer to CONNECT that cannot be read: {error}") from error
    size, keep_alive_s = found.get(Property.MAXIMUM_PACKET_SIZE), found.get(Property.SERVER_KEEP_ALIVE)
    if found.get(Property.RECEIVE_MAXIMUM) == 0:
        raise PacketError("an answer to CONNECT that lets us send nothing")
    return Accepted(
        present, reason, str(found.get(Property.REASON, "")), int(found.get(Property.RECEIVE_MAXIMUM, 0xFFFF)),
        None if size is None else int(size), None if keep_alive_s is None else int(keep_alive_s),
    )  # fmt: skip


def read_suback(packet: Packet) -> list[int]:
    """Read SUBACK: a reason code a filter, 0x80 and above for no; errors as in `read_publish`."""
    try:
        size, at = _read_length(packet.body, 2)
    except IndexError as error:
        raise PacketError("an answer to SUBSCRIBE that is cut short") from error
    return list(packet.body[at + size :])


def read_packet_id(packet: Packet) -> int:
    """Read what a PUBACK answers; errors as in `read_publish`."""
    if len(packet.body) < 2:
        raise PacketError("an acknowledgement without a number")
    return int(_U16.unpack_from(packet.body)[0])


def read_reason(packet: Packet) -> int:
    """Read why a broker disconnects us."""
    return packet.body[0] if len(packet.body) else 0


class PacketBuffer:
    """Takes bytes as they come from the network and hands out whole packets.

    A message larger than `largest_bytes` (at least `LONGEST_HEAD_BYTES`) is handed out once all of it has gone by,
    with little more than its head: whoever reads it can say what it was and acknowledge it, and memory stays bounded.
    """

    def __init__(self, *, largest_bytes: int, capacity_bytes: int = 1 << 20) -> None:
        self._largest_bytes = max(largest_bytes, LONGEST_HEAD_BYTES)
        self._buffer = bytearray(max(SMALLEST_BUFFER_BYTES, capacity_bytes))
        self._start = self._end = 0
        self._skip_bytes = 0
        self._cut: tuple[int, bytes, int] | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes that wait for the rest of their packet."""
        return self._end - self._start

    def space(self) -> memoryview:
        """Where the next bytes may be written; never empty."""
        if self._start == self._end:
            self._start = self._end = 0
        elif len(self._buffer) - self._end < SMALLEST_BUFFER_BYTES // 2:
            held = self._end - self._start
            self._buffer[:held] = self._buffer[self._start : self._end]
            self._start, self._end = 0, held
            if len(self._buffer) - held < SMALLEST_BUFFER_BYTES // 2:
                self._buffer = bytearray(self._buffer + bytes(len(self._buffer)))
        return memoryview(self._buffer)[self._end :]

    def wrote(self, count: int) -> None:
        """Say how many bytes were written there."""
        self._end += count

    def packets(self) -> Iterator[Packet]:
        """Hand out what is whole; each packet's body is good until the next call of `space`.

        Raises:
            PacketError: What came is no packet.
        """
        while True:
            if self._skip_bytes:
                gone = min(self._skip_bytes, self._end - self._start)
                self._start += gone
                self._skip_bytes -= gone
                if self._skip_bytes:
                    return
            if self._cut is not None:
                first, head, cut_off_bytes = self._cut
                self._cut = None
                yield Packet(first >> 4, first & 15, memoryview(head), cut_off_bytes)
                continue
            if self._start == self._end:
                return
            first = self._buffer[self._start]
            if first not in _FIRST_BYTES:
                raise PacketError(f"a packet that starts with {first:#x}, which no broker sends us")
            try:
                length, at = _read_length(self._buffer, self._start + 1, self._end)
            except IndexError:
                return
            if length > self._largest_bytes:
                if first >> 4 != Kind.PUBLISH:
                    raise PacketError(f"{length} bytes of a packet that starts with {first:#x}")
                if self._end - at < LONGEST_HEAD_BYTES:
                    return
                head = bytes(self._buffer[at : at + LONGEST_HEAD_BYTES])
                self._cut = (first, head, length - LONGEST_HEAD_BYTES)
                self._start, self._skip_bytes = at + LONGEST_HEAD_BYTES, length - LONGEST_HEAD_BYTES
                continue
            if self._end - at < length:
                return
            self._start = at + length
            yield Packet(first >> 4, first & 15, memoryview(self._buffer)[at : at + length])


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _U16.pack(len(encoded)) + encoded


def _length(count: int) -> bytes:
    """Write a variable byte integer (section 1.5.5)."""
    written = bytearray()
    while True:
        count, low = divmod(count, 128)
        written.append(low | (0x80 if count else 0))
        if not count:
            return bytes(written)


def _read_length(data: bytes | bytearray | memoryview, at: int, end: int | None = None) -> tuple[int, int]:
    """Read a variable byte integer; return it and where it ends. IndexError when it is not all there yet."""
    stop = len(data) if end is None else end
    value = 0
    for place in range(_LONGEST_LENGTH_BYTES):
        if at + place >= stop:
            raise IndexError("cut short")
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise PacketError("a length of more than four bytes")


def _read_properties(body: memoryview, at: int) -> dict[int, int | str]:
    size, at = _read_length(body, at)
    end = at + size
    if end > len(body):
        raise PacketError(f"properties take {size} bytes, {len(body) - at} are there")
    found: dict[int, int | str] = {}
    while at < end:
        name = body[at]
        form = _FORM.get(name)
        if form is None:
            raise PacketError(f"property {name:#x} is none of MQTT 5")
        at += 1
        if form in {_TEXT, _PAIR}:
            for _ in range(2 if form == _PAIR else 1):
                (length,) = _U16.unpack_from(body, at)
                found[name] = str(body[at + 2 : at + 2 + length], "utf-8", "replace")
                at += 2 + length
        elif form == _VARINT:
            found[name], at = _read_length(body, at)
        else:
            width = {_ONE: 1, _TWO: 2, _FOUR: 4}[form]
            if at + width > end:
                raise PacketError("a property that is cut short")
            found[name] = int.from_bytes(body[at : at + width])
            at += width
    if at > end:
        raise PacketError("a property that is cut short")
    return found
