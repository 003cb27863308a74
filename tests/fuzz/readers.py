"""How one string of bytes becomes what a decoder is given: a topic and a payload, a run of packets, a file."""

import contextlib
import functools
import json
import tempfile
import tomllib
from base64 import b64encode
from binascii import crc_hqx
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import Any
from zlib import compress, crc32

import sqlalchemy as sa

from aggregator.intake import Refused
from aggregator.intake import read as read_at_site
from dashboard.queries.pages import read_piece
from gateway_agent.foreign.mapping import ForeignSensors
from gateway_agent.foreign.settings import ForeignMapping
from gateway_agent.intake import Intake, Payload
from schemas.archive import check_archive, unpack
from schemas.container import blob_array, pack
from schemas.container import unpack as unpack_container
from schemas.csv_table import read_table
from schemas.errors import RejectedInput
from schemas.flower_codec import load_message
from schemas.fragments import PIECE_COST_BYTES, Fragment, Reassembly, decode_fragment, encode_fragment
from schemas.messages import Series
from schemas.mqtt_packets import (
    Kind,
    Packet,
    PacketBuffer,
    read_connack,
    read_packet_id,
    read_publish,
    read_reason,
    read_suback,
)
from schemas.observe_server import Observed, ObserveServer
from schemas.release import MANIFEST, PARAMETERS, REQUIRED, SIGNATURE
from schemas.settings import ObserveSettings
from schemas.signing import AllowedKey, KeyRing
from tests.contract.golden_contract import AT, KEY
from tests.support.brokers import free_port
from tests.support.foreign import EXAMPLE

RELEASE_FILES = {name: f"the file {name}".encode() for name in REQUIRED if name != PARAMETERS}
LONGEST_PROBLEM = 500  # characters that a page can show
HELD_BYTES = 16 << 10  # of unfinished messages
AGE_S = 10.0
LATER_US = 1_800_000_000_000_000  # after every example was measured
KEYS = KeyRing([AllowedKey("gw-1", "gateway", KEY.public)])
_STEP = Struct("<BBBHHHB")  # source, stream, item, index, count, total, seconds; then a length and the piece
_LENGTH = Struct("<H")


def with_crc(body: bytes) -> bytes:
    return body + crc32(body).to_bytes(4, "little")


def line_with_crc(content: bytes) -> bytes:
    topic, _, body = content.partition(b"\n")
    return topic + b"\n" + with_crc(body)


def with_digest(head_and_blobs: bytes) -> bytes:
    """A container of a first line of JSON and the blobs behind it."""
    head, _, blobs = head_and_blobs.partition(b"\n")
    body = b"UTB1" + len(head).to_bytes(4, "little") + head + blobs
    return body + sha256(body).digest()


def without_digest(container: bytes) -> bytes:
    size = int.from_bytes(container[4:8], "little")
    return container[8 : 8 + size] + b"\n" + container[8 + size : -32]


def sealed_line(content: bytes) -> bytes:
    """A line with a topic, and a body sealed for it."""
    topic, _, body = content.partition(b"\n")
    return topic + b"\n" + KEY.seal(topic.decode("utf-8", "replace"), body)


def line_and_payload(content: bytes) -> tuple[str, bytes]:
    topic, _, payload = content.partition(b"\n")
    return topic.decode("utf-8", "replace"), payload


def deflated(content: bytes) -> bytes:
    return b64encode(compress(content))


def read_series(content: bytes) -> None:
    text = content.decode("latin-1")
    Series(start=0.0, step=1.0, axis_unit="Hz", value_unit="g", values=text).unpack()


def take_at_gateway(content: bytes) -> None:
    """A topic and a payload, as the gateway's worker takes them."""
    topic, payload = line_and_payload(content)
    intake = Intake(
        "plant-a", "gw-1", frozenset({"pump-07"}), accept_unknown_machines=True, foreign=_foreign(),
        fragments=Reassembly(max_bytes=HELD_BYTES, max_age_s=AGE_S),
    )  # fmt: skip
    intake.take(Payload(topic, payload, LATER_US), now_s=0.0)
    intake.given_up(now_s=2 * AGE_S)


def read_by_site(content: bytes) -> None:
    """A topic and a sealed payload; a refusal is no exception here, but it must be kept short."""
    topic, payload = line_and_payload(content)
    found = read_at_site(topic, payload, site="plant-a", keys=KEYS)
    if isinstance(found, Refused):
        assert found.reason
        assert len(found.text) <= 500
        found.text.encode()


def open_any_seal(content: bytes) -> None:
    topic, payload = line_and_payload(content)
    KEYS.open(topic, payload, role="gateway")


@functools.cache
def mappings() -> dict[str, ForeignMapping]:
    """Of the example settings, by name."""
    rows = [ForeignMapping.model_validate(row) for row in tomllib.loads(EXAMPLE.read_text())["foreign"]]
    return {row.name: row for row in rows}


def _foreign() -> ForeignSensors:
    return ForeignSensors(tuple(mappings().values()), max_bytes=HELD_BYTES, max_age_s=AGE_S)


def packets(content: bytes) -> Iterator[bytes]:
    """Pieces, each with its length before it."""
    at = 0
    while at + _LENGTH.size <= len(content):
        (size,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        yield content[at : at + size]
        at += size


def in_packets(pieces: list[bytes]) -> bytes:
    return b"".join(_LENGTH.pack(len(piece)) + piece for piece in pieces)


def with_radio_crc(content: bytes) -> bytes:
    """Packets of the radio sensor without their checksum: with it."""
    return in_packets([piece + crc_hqx(piece, 0xFFFF).to_bytes(2, "big") for piece in packets(content)])


def take_radio_packets(content: bytes) -> None:
    """One refused packet ends nothing; what was begun is bounded, and gone when its time is over."""
    sensors = _foreign()
    for piece in packets(content):
        with contextlib.suppress(RejectedInput):
            sensors.take("radio/71/packet", piece, received_at_us=AT, now_s=0.0)
    assert sensors._assembly.held_bytes <= HELD_BYTES + (2 << 10)
    sensors.given_up(now_s=2 * AGE_S)
    assert sensors._assembly.held_bytes == 0


def join_fragments(content: bytes) -> None:
    """Any run of fragments of any sources: bounded throughout, and nothing held when their time is over."""
    reassembly, now_s, at = Reassembly(max_bytes=HELD_BYTES, max_age_s=AGE_S), 0.0, 0
    while at + _STEP.size + 1 <= len(content):
        source, stream, item, index, count, total, later_s = _STEP.unpack_from(content, at)
        size = content[at + _STEP.size]
        piece = content[at + _STEP.size + 1 :][:size]
        at += _STEP.size + 1 + size
        now_s += later_s / 16
        try:
            fragment = decode_fragment(encode_fragment(Fragment(stream, item, index, count, total, piece)))
            whole = reassembly.add(f"{source}", fragment, now_s=now_s)
        except RejectedInput:
            continue
        finally:
            assert 0 <= reassembly.held_bytes <= HELD_BYTES + size + PIECE_COST_BYTES
        assert whole is None or len(whole) == total
    reassembly.expired(now_s=now_s + 2 * AGE_S)
    assert reassembly.held_bytes == 0


def steps_of(fragments: list[Fragment]) -> bytes:
    return b"".join(
        _STEP.pack(1, f.stream & 255, f.item & 255, f.index, f.count, f.total_bytes, 1)
        + bytes([len(f.piece)])
        + f.piece
        for f in fragments
    )


def read_as_broker_sends(content: bytes) -> None:
    """In pieces of any size: the first byte says which."""
    buffer = PacketBuffer(largest_bytes=1 << 10, capacity_bytes=1 << 16)
    step = 1 + (content[0] if content else 0) ** 2
    for start in range(1, len(content), step):
        piece = content[start : start + step]
        while piece:
            space = buffer.space()
            written = min(len(space), len(piece))
            space[:written] = piece[:written]
            space.release()
            buffer.wrote(written)
            piece = piece[written:]
            for packet in buffer.packets():
                _read_packet(packet)
    assert buffer.held_bytes <= max(len(content), 1)


def _read_packet(packet: Packet) -> None:
    match packet.kind:
        case Kind.PUBLISH:
            read_publish(packet)
        case Kind.CONNACK:
            read_connack(packet)
        case Kind.SUBACK:
            read_suback(packet)
        case Kind.PUBACK:
            read_packet_id(packet)
        case _:
            read_reason(packet)


def read_flower(content: bytes) -> None:
    """As both ends of the learning use it: ids are looked up, node numbers compared."""
    message = load_message(content)
    known = {message.metadata.message_id, message.metadata.reply_to_message_id, message.metadata.message_type}
    assert all(isinstance(one, str) for one in known)
    assert isinstance(message.metadata.src_node_id, int)
    assert isinstance(message.metadata.dst_node_id, int)


def signed_release(content: bytes) -> bytes:
    """A bundle of a line for the signature (`{}`: a good one), a line for the manifest, and the parameters."""
    signature, _, rest = content.partition(b"\n")
    manifest, _, parameters = rest.partition(b"\n")
    if signature == b"{}":
        told = {"public": b64encode(KEY.public).decode(), "signature": b64encode(KEY.sign(manifest)).decode()}
        signature = json.dumps(told).encode()
    blobs = {**RELEASE_FILES, PARAMETERS: parameters, MANIFEST: manifest, SIGNATURE: signature}
    return pack({"release": 1}, blobs)


def read_golden(content: bytes) -> None:
    """As `Release.golden` does."""
    meta, blobs = unpack_container(content)
    for name in ("x", "score"):
        blob_array(meta[name], blobs[name])


def read_back_up(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "back-up.tar"
        path.write_bytes(content)
        manifest = check_archive(path, kind="gateway", name="gw-1")
        unpack(path, manifest, Path(folder) / "restored")
        assert {p.name for p in Path(folder).iterdir()} <= {"back-up.tar", "restored"}


def with_tar_checksums(content: bytes) -> bytes:
    """Every block that looks like the head of a file gets the checksum it needs."""
    blocks = [bytearray(content[at : at + 512]) for at in range(0, len(content), 512)]
    for block in blocks:
        if len(block) == 512 and block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)


def read_upload(content: bytes, kind: type[Any]) -> object:
    """A table as a person uploads it: rows, or the problems of every line."""
    first = next(iter(kind.model_fields))
    table = read_table(content, kind, key=lambda row: getattr(row, first))
    assert not (table.rows and table.problems)
    assert all(len(str(problem)) < LONGEST_PROBLEM for problem in table.problems)
    return table


@functools.cache
def _observed() -> ObserveServer:
    nothing: Observed = Observed(lambda: (), dict, dict)
    return ObserveServer(ObserveSettings(port=free_port()), nothing)


def ask_for_metrics(head: bytes) -> object:
    """What a collector of metrics, or anybody on that port, says."""
    answer = _observed().answer(head)
    assert answer.encode().startswith(b"HTTP/1.1 ")
    return answer


_ROWS = sa.Table("row", sa.MetaData(), sa.Column("at_us", sa.BigInteger), sa.Column("number", sa.Integer))


@functools.cache
def _rows() -> sa.Engine:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False})
    _ROWS.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(_ROWS), [{"at_us": number // 2, "number": number} for number in range(9)])
    return engine


def read_behind(content: bytes) -> object:
    """Rows from behind a cursor, as a program that reads on sends it."""
    with _rows().connect() as connection:
        return read_piece(connection, sa.select(_ROWS), (_ROWS.c.at_us, _ROWS.c.number), limit=3,
                          cursor=content.decode())  # fmt: skip
