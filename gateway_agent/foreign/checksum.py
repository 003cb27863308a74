"""This file knows how a foreign checksum is checked."""

import binascii
import zlib

from gateway_agent.foreign.errors import ForeignRejected
from gateway_agent.foreign.places import ByteOrder
from gateway_agent.foreign.settings import Checksum

_BYTES = {"crc32": 4, "crc16-ccitt": 2}


def verify(content: bytes, checksum: Checksum, byte_order: ByteOrder) -> None:
    """Check one payload.

    Raises:
        ForeignRejected: The checksum does not fit, or there is no room for one.
    """
    size = _BYTES[checksum.kind]
    at = checksum.at if checksum.at >= 0 else len(content) + checksum.at
    if not checksum.covers_from < at <= len(content) - size:
        raise ForeignRejected(
            "truncated", f"payload of {len(content)} bytes has no room for a checksum at {checksum.at}"
        )
    told = int.from_bytes(content[at : at + size], byte_order)
    covered = memoryview(content)[checksum.covers_from : at]
    found = zlib.crc32(covered) if checksum.kind == "crc32" else binascii.crc_hqx(covered, checksum.start)
    if found != told:
        raise ForeignRejected(
            "bad_checksum",
            f"{checksum.kind} is {found:#x}, the payload says {told:#x}; changed on its way, or mapped wrongly",
        )
