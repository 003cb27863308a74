"""A capture crosses the air bit for bit, and everything that is none is refused with a reason one can count."""

import struct
import zlib
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from schemas.capture import (
    MAX_BYTES,
    MAX_SEQUENCE,
    Capture,
    CaptureFlag,
    decode_capture,
    encode_capture,
)
from schemas.errors import CaptureRejected
from tests.support.captures import AT_US, healthy

GOOD = encode_capture(healthy(3))
HEAD = struct.Struct("<2sBBQQqdBIfffff")
MAYBE = st.just(float("nan"))


def counts_strategy() -> st.SearchStrategy[np.ndarray]:
    shapes = st.tuples(st.integers(1, 8), st.integers(32, 70))
    return shapes.flatmap(lambda shape: npst.arrays(np.int16, shape))


@st.composite
def captures(draw: st.DrawFn) -> Capture:
    counts = draw(counts_strategy())
    scale = draw(npst.arrays(np.float64, counts.shape[0], elements=st.floats(1e-12, 999.0)))
    return Capture(
        draw(st.integers(0, MAX_SEQUENCE)), draw(st.integers(0, MAX_SEQUENCE)),
        draw(st.integers(946_684_800_000_000, 4_102_444_799_999_999)), draw(st.floats(0.1, 1e6)), counts, scale,
        draw(MAYBE | st.floats(0, 1e5, width=32)), draw(MAYBE | st.floats(0, 1e5, width=32)),
        draw(MAYBE | st.floats(-1e5, 1e5, width=32)), draw(MAYBE | st.floats(-273, 1999, width=32)),
        draw(MAYBE | st.floats(0, 999, width=32)), CaptureFlag(draw(st.integers(0, 7))),
    )  # fmt: skip


@given(captures())
def test_every_capture_comes_back_bit_for_bit(capture: Capture) -> None:
    back = decode_capture(encode_capture(capture))
    for field in fields(Capture):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(capture, field.name))


@given(st.binary(max_size=400) | st.binary(max_size=300).map(lambda tail: b"UC\x01" + tail))
def test_any_bytes_are_a_capture_or_refused(content: bytes) -> None:
    with pytest.raises(CaptureRejected):
        decode_capture(content)


@settings(max_examples=300)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255), st.booleans())
def test_a_changed_byte_anywhere_is_refused_even_with_a_right_checksum_or_gives_a_whole_capture(
    at: int, flip: int, repaired: bool
) -> None:
    changed = bytearray(GOOD)
    changed[at] ^= flip
    if repaired:
        changed[-4:] = struct.pack("<I", zlib.crc32(changed[:-4]))
    try:
        decode_capture(bytes(changed))
    except CaptureRejected:
        return
    assert repaired


@given(st.integers(0, len(GOOD) - 1))
def test_a_capture_cut_anywhere_is_refused_as_truncated(length: int) -> None:
    with pytest.raises(CaptureRejected) as caught:
        decode_capture(GOOD[:length])
    assert caught.value.reason == "truncated"


def reason_of(content: bytes) -> str:
    with pytest.raises(CaptureRejected) as caught:
        decode_capture(content)
    return caught.value.reason


def with_head(**changes: object) -> bytes:
    """The good capture with fields of its head changed and a right checksum."""
    names = ("magic", "version", "flags", "boot", "sequence", "at", "rate", "channels", "samples", "range", "rpm",
             "load",
             "temperature", "battery")  # fmt: skip
    values = dict(zip(names, HEAD.unpack_from(GOOD), strict=True)) | changes
    body = HEAD.pack(*values.values()) + GOOD[HEAD.size : -4]
    return body + struct.pack("<I", zlib.crc32(body))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"magic": b"XX"}, "bad_magic"),
        ({"version": 3}, "unknown_version"),
        ({"version": 0}, "unknown_version"),
        ({"channels": 0}, "impossible_shape"),
        ({"channels": 9}, "impossible_shape"),
        ({"samples": 31}, "impossible_shape"),
        ({"samples": (1 << 20) + 1}, "impossible_shape"),
        ({"samples": 2047}, "bad_length"),
        ({"samples": 2049}, "truncated"),
        ({"rate": 0.0}, "impossible_rate"),
        ({"rate": -12_000.0}, "impossible_rate"),
        ({"rate": 1e7}, "impossible_rate"),
        ({"rate": float("nan")}, "impossible_rate"),
        ({"rate": float("inf")}, "impossible_rate"),
        ({"at": 0}, "impossible_time"),
        ({"at": -1}, "impossible_time"),
        ({"at": 4_102_444_800_000_000}, "impossible_time"),
        ({"boot": 1 << 63}, "impossible_value"),
        ({"sequence": 1 << 63}, "impossible_value"),
        ({"range": -1.0}, "impossible_value"),
        ({"range": float("inf")}, "impossible_value"),
        ({"rpm": -1.0}, "impossible_value"),
        ({"load": 2e6}, "impossible_value"),
        ({"temperature": -300.0}, "impossible_value"),
        ({"battery": 2e3}, "impossible_value"),
    ],
    ids=str,
)
def test_each_impossible_head_has_its_own_reason(changes: dict[str, object], reason: str) -> None:
    assert reason_of(with_head(**changes)) == reason


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 0.0, -1.0, 1000.0, 5e-324])
def test_an_impossible_scale_is_refused(scale: float) -> None:
    body = GOOD[: HEAD.size] + struct.pack("<d", scale) + GOOD[HEAD.size + 8 : -4]
    assert reason_of(body + struct.pack("<I", zlib.crc32(body))) == "impossible_scale"


def test_a_wrong_checksum_has_its_own_reason() -> None:
    assert reason_of(GOOD[:-1] + bytes([GOOD[-1] ^ 1])) == "bad_crc"


def test_more_bytes_than_any_capture_has_are_refused_before_they_are_looked_at() -> None:
    assert reason_of(bytes(MAX_BYTES + 1)) == "oversized"


def test_a_sensor_cannot_write_what_a_gateway_would_refuse() -> None:
    with pytest.raises(CaptureRejected):
        encode_capture(replace(healthy(0), sample_rate_hz=float("nan")))


def test_flags_of_a_later_version_are_left_out() -> None:
    assert decode_capture(with_head(flags=255)).flags == CaptureFlag(7)


def test_values_are_counts_times_scale() -> None:
    capture = replace(healthy(0), measured_at_us=AT_US)
    np.testing.assert_allclose(capture.acceleration_g()[0, :5], capture.counts[0, :5] / 4000)
    assert (capture.channels, capture.samples) == (1, 2048)
