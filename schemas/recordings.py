"""This file knows the format of a recording on disk: one `.npz`, the same keys everywhere, never trusted blindly.

Keys are those of the public recordings the benchmarks use. A back-test may look at signals, rate, speed, load and
geometry; labels and the like are never read here but for what `client_of` groups by.
"""

import math
import tokenize
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from schemas.errors import RejectedInput

MAX_RECORDING_BYTES = 4 << 30
MAX_KEY_BYTES = 1 << 16  # every key but x, t, temp is a number or a short text
_LARGE = frozenset({"x", "t", "temp"})
_KEYS = ("scale", "offset", "fs", "t", "channels", "unit", "machine", "rpm", "load", "mult", "geometry")


class RecordingRejected(RejectedInput):
    """A file that is no recording, or not one that can be used."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One recording.

    Attributes:
        path: Where it came from.
        counts: Raw samples, int16 or float, shape (snapshots, channels, samples).
        scale_g: Physical units per count, shape (channels,).
        sample_rate_hz: Samples a second within a snapshot.
        start_s: Start of each snapshot since the first, shape (snapshots,).
        machine: Which machine, for grouping.
        rpm: Shaft speed, NaN if unknown.
        load: Load in the file's own unit, NaN if unknown.
        orders: BPFO, BPFI, BSF, FTF per shaft turn, NaN if unknown.
        geometry: Elements, ball and pitch diameter in mm, contact angle in degrees, NaN if unknown.
    """

    path: str
    counts: NDArray[Any]
    scale_g: NDArray[np.float64]
    sample_rate_hz: float
    start_s: NDArray[np.float64]
    machine: str
    rpm: float
    load: float
    orders: tuple[float, float, float, float]
    geometry: tuple[float, float, float, float]

    @property
    def snapshots(self) -> int:
        """How many snapshots."""
        return int(self.counts.shape[0])

    @property
    def channels(self) -> int:
        """How many channels."""
        return int(self.counts.shape[1])

    @property
    def samples(self) -> int:
        """Samples a snapshot."""
        return int(self.counts.shape[2])


def read_recording(path: Path) -> Recording:
    """Read a recording.

    Raises:
        RecordingRejected: With `reason` missing, unreadable, missing_key, bad_rate, bad_shape, bad_scale or
            oversized; the message names the file.
    """
    keys = _read_keys(path, ("x", *_KEYS))
    x = keys["x"]
    if x.ndim != 3 or x.dtype.kind not in "if" or min(x.shape) < 1:
        raise RecordingRejected(
            "bad_shape", f"{path}: x has shape {x.shape} of {x.dtype}; [snapshot, channel, sample] needed"
        )
    rate = _number(keys, "fs", path)
    if not (math.isfinite(rate) and rate > 0):
        raise RecordingRejected("bad_rate", f"{path}: sampling rate {rate} found; write the true one into key fs")
    snapshots, channels, _ = x.shape
    scale = _numbers(keys, "scale", path)
    if scale.shape != (channels,) or not np.isfinite(scale).all() or (scale == 0).any():
        raise RecordingRejected(
            "bad_scale", f"{path}: scale {scale.tolist()} found; one number other than 0 a channel needed"
        )
    start_s = _numbers(keys, "t", path)
    if start_s.shape != (snapshots,) or not np.isfinite(start_s).all():
        raise RecordingRejected(
            "bad_shape", f"{path}: t has shape {start_s.shape}; ({snapshots},) finite seconds needed"
        )
    return Recording(
        str(path), x, scale, rate, start_s, str(keys["machine"]), _number(keys, "rpm", path),
        _number(keys, "load", path), _four(keys, "mult", path), _four(keys, "geometry", path),
    )  # fmt: skip


def client_of(recording: Recording, by: Literal["machine", "recording", "condition"]) -> str:
    """Name the client to which a recording belongs in a simulated federation."""
    if by == "machine":
        return recording.machine
    if by == "condition":
        return f"{recording.machine}|{recording.rpm:g}|{recording.load:g}"
    return str(_read_keys(Path(recording.path), ("recording",))["recording"])


def _read_keys(path: Path, wanted: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            missing = [name for name in wanted if name not in members]
            if missing:
                what = "a sampling rate (key fs)" if "fs" in missing else f"key {', '.join(missing)}"
                raise RecordingRejected(
                    "missing_key", f"{path}: recording without {what}; see the format of recordings"
                )
            keys = {}
            for name in wanted:
                limit = MAX_RECORDING_BYTES if name in _LARGE else MAX_KEY_BYTES
                if members[name].file_size > limit:
                    raise RecordingRejected(
                        "oversized", f"{path}: key {name} unpacks to {members[name].file_size} bytes, {limit} allowed"
                    )
                with archive.open(members[name]) as stream:
                    keys[name] = _read_array(stream, members[name].file_size, path, name)
            return keys
    except RecordingRejected:
        raise
    except FileNotFoundError as error:
        raise RecordingRejected("missing", f"{path}: no such file") from error
    except (
        OSError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError,
        ValueError,
    ) as error:  # fmt: skip
        raise RecordingRejected("unreadable", f"{path}: no readable recording ({error})") from error


def _read_array(stream: IO[bytes], size: int, path: Path, name: str) -> NDArray[Any]:
    try:
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a head written by Python 2 is read like any other
            shape, fortran_order, dtype = read_header(stream)
        if dtype.hasobject:
            raise ValueError("objects are not read")
        count = math.prod(shape)
        if count * dtype.itemsize > size:
            raise ValueError(f"shape {shape} promises more than its {size} bytes")
        raw = stream.read(count * dtype.itemsize)
        array = np.frombuffer(raw, dtype, count)
        return array.reshape(shape[::-1]).T if fortran_order else array.reshape(shape)
    except (ValueError, TypeError, EOFError, SyntaxError, OverflowError, RecursionError, tokenize.TokenError) as error:
        raise RecordingRejected("unreadable", f"{path}: key {name} cannot be read ({error})") from error


def _number(keys: dict[str, NDArray[Any]], name: str, path: Path) -> float:
    try:
        return float(keys[name].reshape(()))
    except (TypeError, ValueError) as error:
        raise RecordingRejected("unreadable", f"{path}: key {name} is no number") from error


def _numbers(keys: dict[str, NDArray[Any]], name: str, path: Path) -> NDArray[np.float64]:
    try:
        return np.atleast_1d(np.asarray(keys[name], np.float64))
    except (TypeError, ValueError) as error:
        raise RecordingRejected("unreadable", f"{path}: key {name} holds no numbers") from error


def _four(keys: dict[str, NDArray[Any]], name: str, path: Path) -> tuple[float, float, float, float]:
    values = _numbers(keys, name, path).ravel()
    if values.shape != (4,):
        raise RecordingRejected("bad_shape", f"{path}: key {name} has {values.size} numbers, 4 needed")
    return float(values[0]), float(values[1]), float(values[2]), float(values[3])
