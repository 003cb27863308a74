"""This file knows how named blobs travel together: a JSON head, then the bytes, then one digest of all.

magic "UTB1" | head length u32 | head (JSON) | blobs, one after the other | sha256 of all before. The head holds
`meta` (whatever the writer wants) and `blobs` ([name, length] in order). Nothing is allocated that the bytes at
hand do not fill.
"""

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import TensorsRejected

MAGIC = b"UTB1"
_HEAD = struct.Struct("<4sI")
_DIGEST_BYTES = 32
MAX_DIMENSIONS = 32  # as numpy; a list of thousands of long numbers takes hours to multiply
MAX_CONTAINER_BYTES = 64 << 20
DTYPES = {"float32": "<f4", "float64": "<f8", "int64": "<i8", "int32": "<i4", "uint8": "|u1"}


def pack(meta: Mapping[str, Any], blobs: Mapping[str, bytes]) -> bytes:
    """Join blobs; the same input gives the same bytes."""
    head = json.dumps(
        {"meta": dict(meta), "blobs": [[name, len(blob)] for name, blob in blobs.items()]},
        separators=(",", ":"),
    ).encode()
    body = b"".join((_HEAD.pack(MAGIC, len(head)), head, *blobs.values()))
    return body + hashlib.sha256(body).digest()


def unpack(container: bytes, *, max_bytes: int = MAX_CONTAINER_BYTES) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Take blobs apart again.

    Raises:
        TensorsRejected: With `reason` oversized, truncated, bad_magic, bad_digest or bad_head.
    """
    size = len(container)
    if size > max_bytes:
        raise TensorsRejected("oversized", f"container has {size} bytes, {max_bytes} allowed")
    if size < _HEAD.size + _DIGEST_BYTES:
        raise TensorsRejected("truncated", f"container has {size} bytes, its frame alone {_HEAD.size + _DIGEST_BYTES}")
    magic, head_bytes = _HEAD.unpack_from(container)
    if magic != MAGIC:
        raise TensorsRejected("bad_magic", f"payload starts with {magic!r}, a container with {MAGIC!r}")
    end = size - _DIGEST_BYTES
    if hashlib.sha256(memoryview(container)[:end]).digest() != container[end:]:
        raise TensorsRejected("bad_digest", "digest does not fit; the container was cut or changed")
    try:
        head = json.loads(container[_HEAD.size : _HEAD.size + head_bytes])
        meta, rows = head["meta"], head["blobs"]
        lengths = {str(name): int(length) for name, length in rows}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise TensorsRejected("bad_head", f"container's head cannot be read: {error}") from error
    at = _HEAD.size + head_bytes
    if len(lengths) != len(rows) or min(lengths.values(), default=0) < 0 or at + sum(lengths.values()) != end:
        raise TensorsRejected("bad_head", "container's head promises other blobs than follow")
    blobs = {}
    for name, length in lengths.items():
        blobs[name] = container[at : at + length]
        at += length
    if not isinstance(meta, dict):
        raise TensorsRejected("bad_head", "container's meta is no table")
    return meta, blobs


def array_blob(array: NDArray[Any]) -> tuple[dict[str, Any], bytes]:
    """Describe an array and give its bytes, little-endian, C order."""
    name = array.dtype.name
    if name not in DTYPES:
        raise TensorsRejected("bad_dtype", f"array of {name} found, {sorted(DTYPES)} allowed")
    return {"dtype": name, "shape": list(array.shape)}, np.ascontiguousarray(array, DTYPES[name]).tobytes()


def blob_array(description: Mapping[str, Any], blob: bytes) -> NDArray[Any]:
    """Read an array that `array_blob` described.

    Raises:
        TensorsRejected: The description does not fit the bytes.
    """
    try:
        dtype = np.dtype(DTYPES[description["dtype"]])
        shape = tuple(int(n) for n in description["shape"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise TensorsRejected("bad_dtype", f"array description {description!r} cannot be used") from error
    if len(shape) > MAX_DIMENSIONS or not all(0 <= n <= MAX_CONTAINER_BYTES for n in shape):
        raise TensorsRejected("bad_shape", f"shape of {len(shape)} dimensions is no array's")
    if math.prod(shape) * dtype.itemsize != len(blob):
        raise TensorsRejected("bad_shape", f"shape {shape} of {dtype} does not fit {len(blob)} bytes")
    try:
        return np.frombuffer(blob, dtype).reshape(shape)
    except (ValueError, OverflowError) as error:  # longer dimensions than an array can have
        raise TensorsRejected("bad_shape", f"shape of {len(shape)} dimensions is no array's") from error
