"""This file knows recordings of many kinds, and makes of each the same thing: counts, scale, rate and speed.

Nothing is guessed: a recording that does not say its sampling rate, or its scale, is refused until somebody says it.
Every reader is bounded before it loads. Counts of a file of 16-bit integers are kept exactly.
"""

import math
import re
import warnings
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.capture import MAX_CHANNELS, MAX_SAMPLE_RATE_HZ
from schemas.errors import RejectedInput
from schemas.recordings import read_recording
from sensor_sim.errors import SourceRejected

MAX_FILE_BYTES = 1 << 30
MAX_VALUES = 1 << 28
MAX_SCALE_G, MAX_RPM = 1e3, 1e6  # what a capture can say
CWRU_CHANNELS = ("DE", "FE", "BA")
TIME_COLUMNS = frozenset({"t", "time", "time_s", "timestamp", "seconds"})
_CWRU_SIGNAL = re.compile(r"(?:X\d+_)?(DE|FE|BA)(?:_time)?")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One recording, ready to be replayed.

    Attributes:
        path: Where it came from.
        counts: int16, shape (snapshots, channels, samples).
        scale_g: g per count, shape (channels,).
        sample_rate_hz: Samples a second within a snapshot.
        start_s: Start of each snapshot since the first, shape (snapshots,).
        channels: Their names.
        rpm: Shaft speed, NaN if unknown.
    """

    path: Path
    counts: NDArray[np.int16]
    scale_g: NDArray[np.float64]
    sample_rate_hz: float
    start_s: NDArray[np.float64]
    channels: tuple[str, ...]
    rpm: float = math.nan


def read_source(
    path: Path,
    *,
    rate_hz: float | None = None,
    scale_g: float | None = None,
    channels: tuple[str, ...] = (),
) -> Source:
    """Read a recording of any kind that is known.

    Args:
        path: `.npz`, `.mat` (CWRU), `.csv`, `.txt` or `.wav`.
        rate_hz: Samples a second, where the file does not say; where it does, the two must agree.
        scale_g: g per unit of the file (per count of an integer file). Files that say their scale are multiplied.
        channels: Names, or numbers from 0, of the channels to take; all if empty.

    Raises:
        SourceRejected: It cannot be read, is too large, or does not say what must be known.
    """
    if scale_g is not None and not (math.isfinite(scale_g) and scale_g > 0):
        raise SourceRejected(f"{path}: scale {scale_g} g found, a number above 0 needed")
    if rate_hz is not None and not 0.1 <= rate_hz <= MAX_SAMPLE_RATE_HZ:
        raise SourceRejected(f"{path}: {rate_hz} samples a second found, 0.1 to {MAX_SAMPLE_RATE_HZ:g} allowed")
    readers = {".npz": _read_npz, ".mat": _read_mat, ".csv": _read_csv, ".txt": _read_csv, ".wav": _read_wav}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise SourceRejected(f"{path}: {path.suffix or 'no'} file found; {', '.join(sorted(readers))} can be replayed")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise SourceRejected(f"{path}: {error.strerror or error}") from error
    if size > MAX_FILE_BYTES:
        raise SourceRejected(f"{path}: {size} bytes found, {MAX_FILE_BYTES} allowed; cut it first")
    return _chosen(reader(path, rate_hz, scale_g), channels)


def _read_npz(path: Path, rate_hz: float | None, scale_g: float | None) -> Source:
    try:
        recording = read_recording(path)
    except RejectedInput as error:
        raise SourceRejected(str(error)) from error
    _same_rate(path, recording.sample_rate_hz, rate_hz)
    factor = 1.0 if scale_g is None else scale_g
    names = tuple(str(number) for number in range(recording.channels))
    counts, scale = recording.counts, recording.scale_g * factor
    if counts.dtype != np.int16 or (scale <= 0).any():
        counts, scale = _quantised(path, recording.counts * scale[:, None])
    return Source(path, counts, scale, recording.sample_rate_hz, recording.start_s, names, recording.rpm)


def _read_mat(path: Path, rate_hz: float | None, scale_g: float | None) -> Source:
    import scipy.io

    rate_hz = _needed_rate(path, rate_hz)
    try:
        listed = scipy.io.whosmat(path)
        found = {
            match.group(1): (name, shape)
            for name, shape, _ in listed
            if (match := _CWRU_SIGNAL.fullmatch(name)) is not None
        }
        if not found:
            raise SourceRejected(f"{path}: no channel DE, FE or BA among {[name for name, *_ in listed][:10]}")
        if sum(math.prod(shape) for _, shape in found.values()) > MAX_VALUES:
            raise SourceRejected(f"{path}: more than {MAX_VALUES} values; cut it first")
        speeds = [name for name, shape, _ in listed if name.endswith("RPM") and math.prod(shape) == 1]
        wanted = [name for name, _ in found.values()] + speeds[:1]
        table = scipy.io.loadmat(path, variable_names=wanted)
    except (ValueError, TypeError, KeyError, OSError, NotImplementedError, EOFError, MemoryError) as error:
        raise SourceRejected(f"{path}: no readable .mat file of version 5 ({error})") from error
    names = tuple(name for name in CWRU_CHANNELS if name in found)
    signals = [np.asarray(table[found[name][0]]).ravel() for name in names]
    if any(signal.dtype.kind not in "if" for signal in signals):
        raise SourceRejected(f"{path}: channels are not numbers")
    shortest = min(signal.size for signal in signals)
    values = np.stack([signal[:shortest].astype(np.float64) for signal in signals])
    rpm = float(np.asarray(table[speeds[0]]).ravel()[0]) if speeds else math.nan
    return _continuous(path, values * (1.0 if scale_g is None else scale_g), rate_hz, names, rpm)


def _read_csv(path: Path, rate_hz: float | None, scale_g: float | None) -> Source:
    rate_hz, scale_g = _needed_rate(path, rate_hz), _needed_scale(path, scale_g)
    try:
        with path.open(encoding="utf-8-sig") as lines:
            first = lines.readline(1 << 16).strip()
        delimiter = next((mark for mark in (",", ";", "\t") if mark in first), None)
        cells = [cell.strip().strip('"') for cell in (first.split(delimiter) if delimiter else first.split())]
        header = not all(_is_number(cell) for cell in cells)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "no data": said below in our words
            values = np.loadtxt(path, delimiter=delimiter, skiprows=int(header), ndmin=2, encoding="utf-8-sig")
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise SourceRejected(f"{path}: no table of numbers, one column a channel ({error})") from error
    if not values.size:
        raise SourceRejected(f"{path}: no rows of numbers")
    names = tuple(cells) if header else tuple(str(number) for number in range(values.shape[1]))
    taken = [number for number, name in enumerate(names) if name.lower() not in TIME_COLUMNS]
    if not taken:
        raise SourceRejected(f"{path}: only a column of time")
    signal = values.T[taken] * scale_g
    return _continuous(path, signal, rate_hz, tuple(names[number] for number in taken), math.nan)


def _read_wav(path: Path, rate_hz: float | None, scale_g: float | None) -> Source:
    scale_g = _needed_scale(path, scale_g)
    try:
        with wave.open(str(path), "rb") as file:
            rate, width, channels, frames = (
                file.getframerate(), file.getsampwidth(), file.getnchannels(), file.getnframes()
            )  # fmt: skip
            if frames * channels > MAX_VALUES:
                raise SourceRejected(f"{path}: more than {MAX_VALUES} values; cut it first")
            raw = file.readframes(frames)
    except (wave.Error, EOFError, OSError) as error:
        raise SourceRejected(f"{path}: no readable WAV of integers ({error}); convert it to 16 bit PCM") from error
    _same_rate(path, rate, rate_hz)
    samples = len(raw) // (width * channels)
    names = tuple(str(number) for number in range(channels))
    block = np.frombuffer(raw, np.uint8, samples * channels * width).reshape(samples, channels, width)
    if width == 2:
        counts = np.ascontiguousarray(block).view("<i2")[:, :, 0].T.astype(np.int16)
        return Source(
            path, np.ascontiguousarray(counts)[None], np.full(channels, scale_g), float(rate), np.zeros(1), names
        )
    if width == 1:
        values = block[:, :, 0].T.astype(np.float64) - 128.0
    else:
        places = 256.0 ** np.arange(width)
        values = np.tensordot(block.astype(np.float64), places, 1).T
        values = np.where(values >= 128.0 * places[-1], values - 256.0 * places[-1], values)
    return _continuous(path, values * scale_g, float(rate), names, math.nan)


def _continuous(
    path: Path, signal_g: NDArray[np.float64], rate_hz: float, names: tuple[str, ...], rpm: float
) -> Source:
    counts, scale = _quantised(path, signal_g[None])
    return Source(path, counts, scale, rate_hz, np.zeros(1), names, rpm)


def _quantised(path: Path, signal_g: NDArray[Any]) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Write (snapshots, channels, samples) as 16-bit counts that just fill the range; the mean is taken off first."""
    signal_g = np.asarray(signal_g, np.float64)
    if not np.isfinite(signal_g).all():
        raise SourceRejected(f"{path}: holds values that are not finite; cut them out with a range of seconds")
    signal_g = signal_g - signal_g.mean(axis=(0, 2), keepdims=True)
    top_g = np.abs(signal_g).max(axis=(0, 2))
    scale = np.where(top_g > 0.0, top_g, 1.0) / 32767.0
    return np.rint(signal_g / scale[:, None]).astype(np.int16), scale


def _chosen(source: Source, channels: tuple[str, ...]) -> Source:
    rows = list(range(len(source.channels)))
    if channels:
        missing = [name for name in channels if name not in source.channels]
        if missing:
            raise SourceRejected(f"{source.path}: no channel {missing}; it has {list(source.channels)}")
        rows = [source.channels.index(name) for name in channels]
    if len(rows) > MAX_CHANNELS:
        raise SourceRejected(f"{source.path}: {len(rows)} channels found, {MAX_CHANNELS} allowed; choose some")
    names, scale_g = tuple(source.channels[row] for row in rows), source.scale_g[rows]
    if not 0.1 <= source.sample_rate_hz <= MAX_SAMPLE_RATE_HZ:
        raise SourceRejected(
            f"{source.path}: {source.sample_rate_hz:g} samples a second found, 0.1 to {MAX_SAMPLE_RATE_HZ:g} allowed"
        )
    if scale_g.max() >= MAX_SCALE_G:
        raise SourceRejected(
            f"{source.path}: {scale_g.max():g} g a count found, below {MAX_SCALE_G:g} allowed; give another --scale-g"
        )
    rpm = source.rpm if 0.0 <= source.rpm <= MAX_RPM else math.nan
    return Source(source.path, source.counts[:, rows], scale_g, source.sample_rate_hz, source.start_s, names, rpm)


def _needed_rate(path: Path, rate_hz: float | None) -> float:
    if rate_hz is None:
        raise SourceRejected(
            f"{path}: a recording without a sampling rate; give it with --rate-hz, or rate_hz in the playlist"
        )
    return rate_hz


def _needed_scale(path: Path, scale_g: float | None) -> float:
    if scale_g is None:
        raise SourceRejected(
            f"{path}: a recording without a scale; give g per unit with --scale-g, or scale_g in the playlist"
        )
    return scale_g


def _same_rate(path: Path, found_hz: float, said_hz: float | None) -> None:
    if said_hz is not None and abs(said_hz - found_hz) > 1e-6 * found_hz:
        raise SourceRejected(
            f"{path}: says {found_hz:g} samples a second and --rate-hz {said_hz:g}; leave --rate-hz out"
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
