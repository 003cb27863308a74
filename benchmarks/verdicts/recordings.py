"""This file knows what is in a folder of recordings, and how a part of one is named and cut into windows.

The harness may read labels, to score by them; the product never sees more than file names and cuts.
"""

import math
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.verdicts.errors import FolderUnfit

Samples = NDArray[np.float32]
HEALTHY, LIFE = "healthy", "run_to_failure"
NO_FAULTS = frozenset({HEALTHY, LIFE, "off"})  # a machine that is switched off has no fault and is not healthy either
WINDOW_S = 0.25
MIN_SAMPLES = 32  # the contract's shortest window
_SESSION = re.compile(r"(?P<session>.+)_\d+_weight")  # fan_0_low_1_weight: session 0, step low, one coin


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What a recording says of itself, without its samples.

    Attributes:
        path: The file.
        dataset, machine, bearing, recording, label: As in the file.
        severity: Fault size, NaN if none is stated.
        rpm, load: NaN if unknown.
        rate_hz: Samples per second within a snapshot.
        channels: Names of the channels.
        samples: Of one snapshot.
        start_s: Start of each snapshot since the first, shape (snapshots,).
        orders: BPFO, BPFI, BSF, FTF per shaft turn, NaN if unknown.
        n_observed: Snapshots before the official cut of a life, -1 if there is none.
        rul_true_s: True remaining life at that cut, NaN if there is none.
    """

    path: Path
    dataset: str
    machine: str
    bearing: str
    recording: str
    label: str
    severity: float
    rpm: float
    load: float
    rate_hz: float
    channels: str
    samples: int
    start_s: NDArray[np.float64]
    orders: tuple[float, ...]
    n_observed: int
    rul_true_s: float

    @property
    def snapshots(self) -> int:
        """How many snapshots."""
        return int(self.start_s.size)

    @property
    def condition(self) -> str:
        """Machine, speed, load, rate and sensor session; recordings of one condition are of one commissioning.

        Where the speed is not written as a number, the recording's name tells session and speed step.
        """
        named = _SESSION.fullmatch(self.recording)
        session = named["session"] if named and math.isnan(self.rpm) else ""
        return "|".join(
            [self.dataset, self.machine, f"{self.rpm:g}", f"{self.load:g}", f"{self.rate_hz:g}", self.channels, session]
        )

    @property
    def short_condition(self) -> str:
        """The condition as a table names it."""
        named = _SESSION.fullmatch(self.recording)
        if named and math.isnan(self.rpm):
            return named["session"].replace("_", " ")
        return f"{self.dataset} {self.rpm:g} rpm, load {self.load:g}"

    @property
    def natural_window_s(self) -> float:
        """A quarter of a second of one long record; of many snapshots, each whole."""
        return WINDOW_S if self.snapshots == 1 else self.samples / self.rate_hz

    def window_samples(self, window_s: float) -> int:
        """Length of a window by the contract; a shorter snapshot is one window."""
        return min(self.samples, max(1, round(window_s * self.rate_hz)))

    def windows(self, window_s: float) -> int:
        """How many windows the whole recording gives."""
        return self.snapshots * (self.samples // self.window_samples(window_s))


@dataclass(frozen=True, slots=True)
class Part:
    """A recording or a piece of it, as the product's commands name it."""

    head: Head
    from_s: float = -math.inf
    before_s: float = math.inf

    @property
    def argument(self) -> str:
        """`FILE`, or `FILE:A-B` in seconds."""
        if self.from_s == -math.inf:
            return str(self.head.path)
        return f"{self.head.path}:{_decimal(self.from_s)}-{_decimal(self.before_s)}"


def first_windows(head: Head, count: int, window_s: float) -> tuple[Part, Part]:
    """Split a recording into its first windows and the rest."""
    length = head.window_samples(window_s)
    if head.snapshots == 1:
        edge_s, end_s = count * length / head.rate_hz, head.samples / head.rate_hz
    else:
        snapshots = math.ceil(count / (head.samples // length))
        edge_s, end_s = float(head.start_s[snapshots]), float(head.start_s[-1]) + 1.0
    return Part(head, 0.0, edge_s), Part(head, edge_s, end_s)


def cut(part: Part, window_s: float) -> list[Samples]:
    """Cut a part into windows as the contract says; each of shape (channels, samples), in the file's unit."""
    head = part.head
    with np.load(head.path) as data:
        x = data["x"].astype(np.float32) * data["scale"].astype(np.float32)[None, :, None]
    if head.snapshots > 1:
        x = x[(part.from_s <= head.start_s) & (head.start_s < part.before_s)]
    elif part.from_s > -math.inf:
        first, end = (round(min(max(0.0, s * head.rate_hz), x.shape[2])) for s in (part.from_s, part.before_s))
        x = x[:, :, first:end]
    length = min(x.shape[2], max(1, round(window_s * head.rate_hz)))
    return [
        snapshot[:, start : start + length]
        for snapshot in x
        for start in range(0, x.shape[2] - length + 1, length)
    ]  # fmt: skip


def read_folder(folders: Sequence[Path], tell: Callable[[str], None]) -> list[Head]:
    """Read the heads of all recordings below the folders, in the order of their names.

    Raises:
        FolderUnfit: There is none, or one cannot be read.
    """
    paths = sorted({path for folder in folders for path in folder.rglob("*.npz")})
    if not paths:
        raise FolderUnfit(f"{', '.join(map(str, folders))}: no recording (*.npz) found")
    heads = []
    for number, path in enumerate(paths, 1):
        heads.append(read_head(path))
        if number % 50 == 0 or number == len(paths):
            tell(f"{number}/{len(paths)} recordings found")
    return heads


def read_head(path: Path) -> Head:
    """Read what a recording says of itself.

    Raises:
        FolderUnfit: It is no recording.
    """
    try:
        with np.load(path) as data:
            return Head(
                path=path, dataset=str(data["dataset"]), machine=str(data["machine"]), bearing=str(data["bearing"]),
                recording=str(data["recording"]), label=str(data["label"]), severity=float(data["severity"]),
                rpm=float(data["rpm"]), load=float(data["load"]), rate_hz=float(data["fs"]),
                channels=str(data["channels"]), samples=int(data["x"].shape[2]),
                start_s=np.asarray(data["t"], np.float64),
                orders=tuple(float(order) for order in data["mult"]),
                n_observed=int(data["n_observed"]) if "n_observed" in data else -1,
                rul_true_s=float(data["rul_true_s"]) if "rul_true_s" in data else math.nan,
            )  # fmt: skip
    except (OSError, KeyError, ValueError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise FolderUnfit(f"{path}: no recording in the common format ({error})") from error


def by_condition(heads: Iterable[Head]) -> dict[str, list[Head]]:
    """Group recordings by condition."""
    groups: dict[str, list[Head]] = {}
    for head in heads:
        groups.setdefault(head.condition, []).append(head)
    return groups


def _decimal(seconds: float) -> str:
    """Write seconds without an exponent, whose minus would be read as the dash."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".")
