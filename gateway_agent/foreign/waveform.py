"""This file knows how foreign samples become counts of a capture, and what is lost on the way."""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_agent.foreign.errors import ForeignRejected
from gateway_agent.foreign.places import ORDER_SIGN, Document
from gateway_agent.foreign.settings import Checksum, Waveform
from schemas.capture import MAX_SCALE_G, MIN_SCALE_G

FULL_COUNTS = 32767
_TYPES = {"i16": "i2", "i32": "i4", "f32": "f4", "f64": "f8"}
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples as a capture holds them.

    Attributes:
        counts: int16, shape (axes, samples).
        scale_g: g per count, shape (axes,).
        error_g: Largest error that rounding to counts made, shape (axes,); 0 where the sensor sent int16.
    """

    counts: NDArray[np.int16]
    scale_g: FloatArray
    error_g: FloatArray


def read_samples(document: Document, wave: Waveform, checksum: Checksum | None) -> Samples:
    """Read and scale the samples of one payload.

    Counts of int16 stay as they are, with the sensor's own scale. Everything else is rounded to 32,767 steps of the
    axis' own largest value, so that nothing clips: at most half a step of error, 90 dB below the peak.

    Raises:
        ForeignRejected: They cannot be read.
    """
    found = _axes_of(document, wave, checksum)
    scale_g = _scales(document, wave)
    if found.dtype.kind == "i" and found.dtype.itemsize == 2:
        return Samples(found.astype(np.int16), scale_g, np.zeros(len(found)))
    with np.errstate(over="ignore", invalid="ignore"):
        signal_g = found.astype(np.float64) * scale_g[:, None]
        step_g = np.maximum(np.abs(signal_g).max(axis=1, initial=0.0) / FULL_COUNTS, MIN_SCALE_G)
    if not bool((np.isfinite(signal_g).all(axis=1) & (step_g < MAX_SCALE_G)).all()):
        raise ForeignRejected("bad_samples", "a sample is not finite or beyond 3e7 g; are scale and unit right?")
    counts = np.round(signal_g / step_g[:, None]).astype(np.int16)
    return Samples(counts, step_g, step_g / 2.0)


def _scales(document: Document, wave: Waveform) -> FloatArray:
    given = [document.number(place, "scale") for place in wave.scale]
    if any(value is None for value in given):
        raise ForeignRejected("missing_field", "scale is not in the payload")
    return np.broadcast_to(np.array(given, np.float64) * wave.g_per_unit, (wave.axis_count,)).copy()


def _axes_of(document: Document, wave: Waveform, checksum: Checksum | None) -> NDArray[Any]:
    count = None if wave.count is None else document.whole_number(wave.count, "count")
    if wave.axes:
        rows = [_flat(document, path, wave) for path in wave.axes]
        if len({row.size for row in rows}) > 1:
            raise ForeignRejected("unequal_axes", f"axes have {[row.size for row in rows]} samples")
        return _cut(np.stack(rows), count)
    if wave.samples is not None:
        flat = _flat(document, wave.samples, wave)
    else:
        assert wave.starts_at is not None
        end = len(document.content)
        if checksum is not None and checksum.at < 0:
            end += checksum.at
        kind = _type_of(document, wave)
        held = memoryview(document.content)[wave.starts_at : end]
        flat = np.frombuffer(held[: len(held) // kind.itemsize * kind.itemsize], kind)
        if count is None and len(held) % kind.itemsize:
            raise ForeignRejected("bad_samples", f"{len(held)} bytes of samples found, {kind.itemsize} make one")
    if count is not None:
        if flat.size < count * wave.channels:
            raise ForeignRejected("truncated", f"{flat.size} samples found, {count} x {wave.channels} promised")
        if wave.starts_at is not None:
            flat = flat[: count * wave.channels]
    if flat.size % wave.channels:
        raise ForeignRejected("bad_samples", f"{flat.size} samples do not fill {wave.channels} axes")
    if wave.layout == "interleaved":
        return _cut(flat.reshape(-1, wave.channels).T, count)
    return _cut(flat.reshape(wave.channels, -1), count)


def _cut(axes: NDArray[Any], count: int | None) -> NDArray[Any]:
    if count is not None and axes.shape[1] < count:
        raise ForeignRejected("truncated", f"{axes.shape[1]} samples an axis found, {count} promised")
    return axes if count is None else axes[:, :count]


def _flat(document: Document, path: str, wave: Waveform) -> NDArray[Any]:
    found = document.at_path(path)
    if found is None:
        raise ForeignRejected("missing_field", f"samples at {path!r} are not in the payload")
    if wave.encoding == "numbers":
        return _numbers(found, path)
    if not isinstance(found, str):
        raise ForeignRejected("bad_samples", f"samples at {path!r} are no text of base64")
    try:
        held = base64.b64decode(found, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ForeignRejected("bad_samples", f"samples at {path!r} are no base64: {error}") from error
    kind = _type_of(document, wave)
    if len(held) % kind.itemsize:
        raise ForeignRejected("bad_samples", f"{len(held)} bytes at {path!r} found, {kind.itemsize} make a sample")
    return np.frombuffer(held, kind)


def _numbers(found: object, path: str) -> NDArray[Any]:
    """A list of numbers, or a list of lists of one length, flattened row after row."""
    if not isinstance(found, list):
        raise ForeignRejected("bad_samples", f"samples at {path!r} are no list")
    rows = found if found and isinstance(found[0], list) else [found]
    if not all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows):
        raise ForeignRejected("bad_samples", f"samples at {path!r} are lists of several lengths")
    if not all(set(map(type, row)) <= {int, float} for row in rows):
        raise ForeignRejected("bad_samples", f"samples at {path!r} hold something else than numbers")
    try:
        return np.array(rows, np.float64).reshape(-1)
    except OverflowError as error:
        raise ForeignRejected("bad_samples", f"samples at {path!r} hold a number beyond any sensor's") from error


def _type_of(document: Document, wave: Waveform) -> np.dtype[Any]:
    return np.dtype(ORDER_SIGN[document.byte_order] + _TYPES[wave.encoding])
