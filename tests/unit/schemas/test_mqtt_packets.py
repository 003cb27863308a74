"""Bytes of a broker become whole packets however they are cut, and nonsense becomes one kind of error."""

import socket
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from schemas.mqtt_packets import (
    GOOD_BYE,
    LONGEST_HEAD_BYTES,
    PINGREQ,
    Accepted,
    Kind,
    Packet,
    PacketBuffer,
    PacketError,
    Published,
    connect_packet,
    puback_packets,
    publish_packet,
    read_connack,
    read_packet_id,
    read_publish,
    read_reason,
    read_suback,
    subscribe_packet,
)

LARGEST_BYTES = 100_000
PINGRESP, SUBACK = b"\xd0\x00", b"\x90\x04\x00\x07\x00\x01"


class PahoBytes(paho.Client):
    """Paho, with what it would send kept instead."""

    def __init__(self, client_id: str = "") -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5)
        self.written: list[bytes] = []
        self._sock = socket.socket()  # never connected; without one it writes nothing

    def _packet_queue(self, command: int, packet: bytes | bytearray, *_: Any, **__: Any) -> Any:
        self.written.append(bytes(packet))
        return paho.MQTT_ERR_SUCCESS

    def write(self, name: str, *arguments: Any, **named: Any) -> bytes:
        """What its own encoder of this name makes of the arguments."""
        getattr(self, f"_send_{name}")(*arguments, **named)
        return self.written[-1]


def properties_of(kind: int, **values: Any) -> Any:
    properties = Properties(kind)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


def packets_of(pieces: Iterable[bytes], buffer: PacketBuffer | None = None) -> list[tuple[int, int, bytes, int]]:
    """What a buffer makes of bytes that come in these pieces."""
    buffer = buffer or PacketBuffer(largest_bytes=LARGEST_BYTES)
    found = []
    for piece in pieces:
        rest = piece
        while rest:
            space = buffer.space()
            count = min(len(space), len(rest))
            space[:count] = rest[:count]
            buffer.wrote(count)
            rest = rest[count:]
            found += [(p.kind, p.flags, bytes(p.body), p.cut_off_bytes) for p in buffer.packets()]
    return found


def one_packet(encoded: bytes) -> Packet:
    ((kind, flags, body, cut_off_bytes),) = packets_of([encoded])
    return Packet(kind, flags, memoryview(body), cut_off_bytes)


def _length(count: int) -> bytes:
    low, rest = count % 128, count // 128
    return bytes([low]) if not rest else bytes([low | 128]) + _length(rest)


def cut(stream: bytes, places: Sequence[int]) -> list[bytes]:
    ends = [*sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def test_connect_is_what_paho_sends() -> None:
    client = PahoBytes("gw-1")
    client.username_pw_set("gw-1", "geheim")
    client._connect_properties = properties_of(PacketTypes.CONNECT, SessionExpiryInterval=604800, ReceiveMaximum=512)
    client._clean_start = False
    ours = connect_packet(
        "gw-1", clean_start=False, keep_alive_s=30, session_expiry_s=604800, receive_maximum=512, username="gw-1",
        password="geheim",
    )  # fmt: skip
    assert ours == client.write("connect", 30)


def test_subscribe_is_what_paho_sends() -> None:
    filters = [("ut/v1/+/x", 1), ("andere/#", 0)]
    client = PahoBytes()
    theirs = client.write("subscribe", False, [(name, SubscribeOptions(qos=qos)) for name, qos in filters])
    assert subscribe_packet(1, filters) == theirs


@pytest.mark.parametrize("size", [0, 1, 90, 130, 16_300, 70_000])
@pytest.mark.parametrize(("qos", "retained"), [(0, False), (0, True), (1, False), (1, True)])
def test_publish_is_what_paho_sends_and_is_read_back(qos: int, retained: bool, size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    encoded = publish_packet("ut/v1/größe", payload, qos=qos, retained=retained, packet_id=777)
    assert encoded == PahoBytes().write("publish", 777, "ut/v1/größe".encode(), payload, qos, retained)
    assert read_publish(one_packet(encoded)) == Published("ut/v1/größe", payload, qos, retained, 777 if qos else 0)


def test_acknowledgements_are_what_paho_sends_one_behind_the_other() -> None:
    """Paho writes the success that section 3.4.2.1 lets us leave out."""
    theirs = [PahoBytes().write("puback", number) for number in (1, 65535)]
    assert puback_packets([1, 65535]) == b"".join(b"\x40\x02" + one[2:4] for one in theirs)
    assert [read_packet_id(one_packet(one)) for one in theirs] == [1, 65535]


def test_ping_and_good_bye_are_those_of_the_specification() -> None:
    assert (PINGREQ, GOOD_BYE) == (b"\xc0\x00", b"\xe0\x00")


def test_answer_to_connect_with_every_property_that_there_is() -> None:
    properties = properties_of(
        PacketTypes.CONNACK, SessionExpiryInterval=5, AssignedClientIdentifier="x", ServerKeepAlive=7,
        AuthenticationMethod="m", AuthenticationData=b"d", ResponseInformation="r", ServerReference="s",
        ReasonString="müde", ReceiveMaximum=20, TopicAliasMaximum=3, MaximumQoS=1, RetainAvailable=1,
        UserProperty=("a", "b"), MaximumPacketSize=65536, WildcardSubscriptionAvailable=1,
        SubscriptionIdentifierAvailable=1, SharedSubscriptionAvailable=1,
    ).pack()  # fmt: skip
    body = b"\x01\x87" + properties
    accepted = read_connack(one_packet(b"\x20" + _length(len(body)) + body))
    assert accepted == Accepted(True, 0x87, "müde", 20, 65536, 7)


def test_answer_to_connect_without_properties_has_the_defaults_of_the_specification() -> None:
    assert read_connack(one_packet(b"\x20\x03\x00\x00\x00")) == Accepted(False, 0, "", 65535, None, None)


def test_answer_to_subscribe_has_a_code_for_each_filter() -> None:
    properties = properties_of(PacketTypes.SUBACK, ReasonString="no").pack()
    body = b"\x00\x01" + properties + b"\x01\x87"
    assert read_suback(one_packet(b"\x90" + bytes([len(body)]) + body)) == [1, 0x87]


def test_reason_of_a_disconnect_may_be_left_out() -> None:
    assert [read_reason(one_packet(one)) for one in (b"\xe0\x00", b"\xe0\x01\x8e")] == [0, 0x8E]


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    return publish_packet(
        draw(st.text("at/+ä€", max_size=20)), draw(st.binary(max_size=30)) * draw(st.sampled_from([1, 1, 7, 2000])),
        qos=draw(st.integers(0, 1)), retained=draw(st.booleans()), packet_id=draw(st.integers(1, 65535)),
    )  # fmt: skip


OVERSIZED = publish_packet("large", bytes(range(250)) * 1000, qos=1, retained=False, packet_id=9)
packet_bytes = st.one_of(messages(), st.sampled_from([PINGRESP, SUBACK, OVERSIZED, *[puback_packets([5])]]))


@given(st.lists(packet_bytes, max_size=12), st.lists(st.integers(0, 1 << 20), max_size=30))
@example([OVERSIZED, PINGRESP, OVERSIZED], list(range(40)))
def test_however_the_stream_is_cut_the_packets_are_the_same(encoded: list[bytes], places: list[int]) -> None:
    whole = [packet for one in encoded for packet in packets_of([one])]
    assert packets_of(cut(b"".join(encoded), places)) == whole
    assert len(whole) == len(encoded)


@given(st.lists(messages(), min_size=1, max_size=3))
def test_a_stream_of_single_bytes_gives_the_same_packets(encoded: list[bytes]) -> None:
    stream = b"".join(encoded)[:5000]
    assert packets_of(stream[n : n + 1] for n in range(len(stream))) == packets_of([stream])


@pytest.mark.parametrize("step", [1000, 16_384, 400_000])
def test_an_oversized_message_is_cut_off_behind_its_head_and_the_next_one_is_whole(step: int) -> None:
    stream = OVERSIZED + publish_packet("next", b"whole", qos=1, retained=False, packet_id=10)
    found = packets_of(stream[n : n + step] for n in range(0, len(stream), step))
    large, following = (read_publish(Packet(k, f, memoryview(b), c)) for k, f, b, c in found)
    head = (bytes(range(250)) * 1000)[: len(large.payload)]
    assert (large.topic, large.packet_id, large.payload) == ("large", 9, head)
    assert 0 < len(head) < LONGEST_HEAD_BYTES
    assert len(head) + found[0][3] == 250_000
    assert (following.topic, following.payload, found[1][3]) == ("next", b"whole", 0)


def with_long_head(topic_bytes: int, properties_bytes: int) -> bytes:
    """A message whose sender put much into its head."""
    user = b"".join(b"\x26\x00\x01k" + b"\xff\xff" + bytes(65535) for _ in range(properties_bytes // 65535))
    body = (
        topic_bytes.to_bytes(2, "big") + b"t" * topic_bytes + b"\x00\x03" + _length(len(user)) + user + bytes(200_000)
    )
    return b"\x32" + _length(len(body)) + body


@pytest.mark.parametrize(("topic_bytes", "properties_bytes"), [(65535, 0), (65535, 200_000), (10, 300_000)])
def test_an_oversized_message_can_be_acknowledged_however_long_its_head(
    topic_bytes: int, properties_bytes: int
) -> None:
    """Otherwise a broker that does not look at sizes would send it again and again, for ever."""
    message = read_publish(one_packet(with_long_head(topic_bytes, properties_bytes)))
    assert (len(message.topic), message.packet_id) == (topic_bytes, 3)


READERS: dict[int, Callable[[Packet], object]] = {
    Kind.CONNACK: read_connack, Kind.PUBLISH: read_publish, Kind.PUBACK: read_packet_id, Kind.SUBACK: read_suback,
    Kind.PINGRESP: lambda packet: packet.body, Kind.DISCONNECT: read_reason,
}  # fmt: skip
firsts = st.sampled_from([0x20, 0x30, 0x31, 0x32, 0x33, 0x3A, 0x40, 0x90, 0xD0, 0xE0])


@st.composite
def framed_nonsense(draw: st.DrawFn) -> bytes:
    body = draw(st.binary(max_size=60))
    return bytes([draw(firsts)]) + _length(len(body)) + body


@given(st.one_of(st.binary(max_size=200), st.lists(framed_nonsense(), max_size=5).map(b"".join)))
@example(b"\x20\x04\x00\x00\x01\x21")  # a property without its value
@example(b"\x20\x05\x00\x00\x02\x1f\x00")
@example(b"\x20\x06\x00\x00\x03\x0b\xff\xff")
@example(b"\x32\x05\x00\x01t\x00\x01")
@example(b"\x30\x04\x00\x01\xff\x00")
@example(b"\x90\x01\x00")
def test_nonsense_is_refused_by_one_error_and_no_other(nonsense: bytes) -> None:
    buffer = PacketBuffer(largest_bytes=LARGEST_BYTES)
    buffer.space()[: len(nonsense)] = nonsense
    buffer.wrote(len(nonsense))
    try:
        for packet in buffer.packets():
            READERS[packet.kind](packet)
    except PacketError:
        return


@pytest.mark.parametrize(
    "nonsense",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x03\x00\x02\x02\x28", b"\x34\x00",
        b"\x36\x00", b"\x82\x00", b"\x00", b"\x41\x02\x00\x01", b"\x30\xff\xff\xff\xff\x01", b"\x40\xff\xff\xff\x7f",
    ],
    ids=["http", "ssh", "tls", "qos 2", "qos 3", "what only clients send", "nothing", "flags", "length", "huge answer"],
)  # fmt: skip
def test_what_no_broker_sends_us_is_refused_at_its_first_bytes(nonsense: bytes) -> None:
    with pytest.raises(PacketError):
        packets_of([nonsense])


@pytest.mark.parametrize(
    "encoded", [b"\x32\x06\x00\x01t\x00\x00\x00", b"\x20\x06\x00\x00\x03\x21\x00\x00"],
    ids=["a message without a number", "nothing may be sent"],
)  # fmt: skip
def test_values_that_the_specification_forbids_are_refused(encoded: bytes) -> None:
    packet = one_packet(encoded)
    with pytest.raises(PacketError):
        READERS[packet.kind](packet)


def test_memory_of_a_buffer_stays_bounded_whatever_comes() -> None:
    """Ten messages of 20 MB go by where 1 MB is allowed."""
    buffer = PacketBuffer(largest_bytes=1 << 20)
    head = b"\x32" + _length(20 << 20) + b"\x00\x01t\x00\x01\x00"
    piece = bytes(256 << 10)
    tracemalloc.start()
    try:
        for _ in range(10):
            left = (20 << 20) - 6
            found = packets_of([head], buffer)
            while left:
                part = piece[: min(left, len(piece))]
                found += packets_of([part], buffer)
                left -= len(part)
                assert buffer.held_bytes <= LONGEST_HEAD_BYTES
            assert len(found) == 1
        assert len(packets_of([publish_packet("t", bytes((1 << 20) - 4), qos=0, retained=False, packet_id=0)], buffer))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
