"""Named blobs travel together and come back; a head that lies is refused, whatever its digest says."""

import contextlib
import hashlib
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from schemas.container import MAGIC, array_blob, blob_array, pack, unpack
from schemas.errors import TensorsRejected

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 50), 1 << 50) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
METAS = st.dictionaries(st.text(max_size=8), JSON, max_size=4)
WHOLE = pack({"a": 1}, {"x": b"123", "y": b""})


def forged(head: bytes, blobs: bytes = b"", *, head_bytes: int | None = None) -> bytes:
    """A container with any head and a right digest."""
    body = struct.pack("<4sI", MAGIC, len(head) if head_bytes is None else head_bytes) + head + blobs
    return body + hashlib.sha256(body).digest()


def reason_of(container: bytes) -> str:
    with pytest.raises(TensorsRejected) as caught:
        unpack(container)
    return caught.value.reason


@given(METAS, st.dictionaries(st.text(max_size=8), st.binary(max_size=40), max_size=4))
def test_whatever_is_packed_comes_back(meta: dict[str, Any], blobs: dict[str, bytes]) -> None:
    assert unpack(pack(meta, blobs)) == (meta, blobs)
    assert pack(meta, blobs) == pack(meta, blobs)


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_byte_changed_or_missing_anywhere_is_refused(at: int, flip: int) -> None:
    changed = bytearray(WHOLE)
    changed[at] ^= flip
    for broken in (bytes(changed), WHOLE[:at], WHOLE + b"x"):
        with pytest.raises(TensorsRejected):
            unpack(broken)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(TensorsRejected):
        unpack(content)
    with pytest.raises(TensorsRejected):
        unpack(forged(content))


@given(JSON, st.binary(max_size=20))
def test_any_head_with_a_right_digest_is_read_or_refused(head: Any, blobs: bytes) -> None:
    for candidate in (head, {"meta": {}, "blobs": head}, {"meta": head, "blobs": []}):
        with contextlib.suppress(TensorsRejected):
            unpack(forged(json.dumps(candidate).encode(), blobs))


@pytest.mark.parametrize(
    "head",
    [
        b'{"meta":{},"blobs":[["x",Infinity]]}',
        b'{"meta":{},"blobs":[["x",NaN]]}',
        b'{"meta":{},"blobs":[["x",-3],["y",6]]}',
        b'{"meta":{},"blobs":[["x",1],["x",2]]}',
        b'{"meta":{},"blobs":[["x",2]]}',
        b'{"meta":[],"blobs":[["x",3]]}',
        b'{"blobs":[["x",3]]}',
        b'{"meta":{},"blobs":3}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
    ids=lambda head: repr(head[:40]),
)
def test_a_head_that_lies_is_refused(head: bytes) -> None:
    assert reason_of(forged(head, b"123")) == "bad_head"


def test_a_head_longer_than_the_container_is_refused() -> None:
    assert reason_of(forged(b"{}", head_bytes=1 << 31)) == "bad_head"


def test_each_other_reason_is_told_apart() -> None:
    assert reason_of(b"") == "truncated"
    assert reason_of(b"XXXX" + WHOLE[4:]) == "bad_magic"
    assert reason_of(WHOLE[:-1] + b"\0") == "bad_digest"
    with pytest.raises(TensorsRejected) as caught:
        unpack(WHOLE, max_bytes=len(WHOLE) - 1)
    assert caught.value.reason == "oversized"


@given(
    npst.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.int32, np.uint8]),
        npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    )
)
def test_every_array_comes_back_with_its_type_and_shape(array: np.ndarray) -> None:
    description, blob = array_blob(array)
    back = blob_array(json.loads(json.dumps(description)), blob)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)


def test_an_array_that_is_not_in_one_piece_is_written_in_order() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    np.testing.assert_array_equal(blob_array(*array_blob(array)), array)


@pytest.mark.parametrize("dtype", [np.complex64, np.float16, np.bool_, object])
def test_a_type_the_contract_does_not_have_is_not_written(dtype: Any) -> None:
    with pytest.raises(TensorsRejected) as caught:
        array_blob(np.zeros(2, dtype))
    assert caught.value.reason == "bad_dtype"


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ({"dtype": "object", "shape": [1]}, "bad_dtype"),
        ({"dtype": ["float32"], "shape": [1]}, "bad_dtype"),
        ({"shape": [1]}, "bad_dtype"),
        ({"dtype": "float32"}, "bad_dtype"),
        ({"dtype": "float32", "shape": ["x"]}, "bad_dtype"),
        ({"dtype": "float32", "shape": [float("inf")]}, "bad_dtype"),
        ({"dtype": "float32", "shape": 1}, "bad_dtype"),
        (5, "bad_dtype"),
        ({"dtype": "float32", "shape": [2]}, "bad_shape"),
        ({"dtype": "float32", "shape": [-1]}, "bad_shape"),
        ({"dtype": "float32", "shape": [-1, -1]}, "bad_shape"),
        ({"dtype": "float32", "shape": [1] * 100}, "bad_shape"),
    ],
    ids=str,
)
def test_a_description_that_does_not_fit_is_refused(description: Any, reason: str) -> None:
    with pytest.raises(TensorsRejected) as caught:
        blob_array(description, bytes(4))
    assert caught.value.reason == reason


def test_an_empty_array_of_impossible_length_is_refused() -> None:
    with pytest.raises(TensorsRejected):
        blob_array({"dtype": "float32", "shape": [0, 1 << 70]}, b"")
