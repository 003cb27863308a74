"""This file knows how a folder of recordings becomes a plant: one rig a site, some machines sound and some failing.

Each machine first plays a part of a healthy record, from which its gateway learns; then the one that stays healthy
goes on with another part of that record, and the others with a record of a fault under the same speed and load.
Here, and only here, labels are read: they say what to show, and no gateway ever sees them.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deploy.demo.errors import RecordingsUnfit
from deploy.demo.toml_text import toml_text

WINDOW_S = 0.25
SHORT_WINDOW_S = 0.1  # for records of two seconds, of which a quarter of a second would leave next to nothing to learn
SHORT_RECORD_S = 4.0
INTERVAL_S = 1.0
BASELINE_SHARE = 0.6  # of a healthy record; the rest is the test
MIN_BASELINE_WINDOWS = 5
HEALTHY_AGAIN_WINDOWS = 6  # a machine that fails is seen healthy for so long after commissioning
REPEATS = 400  # the last part is played again and again, until somebody stops
SHOWN_FAULTS = ("outer", "inner")
POSITION = "drive-end"


@dataclass(frozen=True, slots=True)
class Take:
    """What must be known of a recording to cast it.

    Attributes:
        file: Relative to the folder.
        rig: Dataset and machine: what belongs together.
        condition: Rate, channels, speed and load: what can be compared.
        label: What the publisher says was wrong.
        severity: Size of the fault, NaN if not said.
        graded: Whether that is a grade (light, heavy) and not a length.
        seconds: Its length.
        rpm: Shaft speed, NaN if unknown.
        orders: BPFO, BPFI, BSF, FTF per shaft turn, NaN if unknown.
        unit: Of the samples.
    """

    file: Path
    rig: str
    condition: tuple[float, int, int, float]
    label: str
    severity: float
    graded: bool
    seconds: float
    rpm: float
    orders: tuple[float, ...]
    unit: str


@dataclass(frozen=True, slots=True)
class CastMachine:
    """One machine of the plant and what it plays after commissioning.

    Attributes:
        machine: Its name in the plant.
        healthy: Whose record it is commissioned with.
        then: What it plays after that; the same as `healthy` when it stays sound.
        baseline_s: Length of the part that commissions.
        window_s: Length of a capture.
    """

    machine: str
    healthy: Take
    then: Take
    baseline_s: float
    window_s: float

    @property
    def fails(self) -> bool:
        """Whether a fault is played."""
        return self.then is not self.healthy

    def nameplate(self) -> dict[str, object]:
        """Its nameplate, as far as the recording says."""
        plate: dict[str, object] = {
            "machine": self.machine,
            "title": f"{self.healthy.rig}, {self.healthy.rpm:g} rpm, "
            + (f"then {self.then.label} race" if self.fails else "stays healthy"),
            "unit_calibrated": self.healthy.unit == "g",
        }
        if self.healthy.rpm > 0:
            plate["rpm"] = self.healthy.rpm
        if all(math.isfinite(order) for order in self.then.orders):
            plate["bearing"] = {"orders": list(self.then.orders)}
        return plate

    def parts(self) -> list[dict[str, object]]:
        """What it plays, as parts of a playlist."""
        healthy, end_s = str(self.healthy.file), self.healthy.seconds
        baseline: dict[str, object] = {"file": healthy, "from_s": 0.0, "to_s": self.baseline_s}
        test: dict[str, object] = {"file": healthy, "from_s": self.baseline_s, "to_s": end_s}
        if not self.fails:
            return [baseline, test | {"times": REPEATS}]
        return [
            baseline,
            test | {"times": self._healthy_rounds},
            {"file": str(self.then.file), "times": REPEATS},
        ]

    @property
    def begins_s(self) -> float:
        """When its fault begins, seconds after the sensors start; infinite when it stays sound."""
        if not self.fails:
            return math.inf
        return (self.baseline_windows + self._healthy_rounds * self._test_windows) * INTERVAL_S

    @property
    def baseline_windows(self) -> int:
        """Captures from which its gateway learns."""
        return windows_in(self.baseline_s, self.window_s)

    @property
    def _test_windows(self) -> int:
        return windows_in(self.healthy.seconds - self.baseline_s, self.window_s)

    @property
    def _healthy_rounds(self) -> int:
        return -(-HEALTHY_AGAIN_WINDOWS // self._test_windows)


@dataclass(frozen=True, slots=True)
class CastSite:
    """What is played at one site: two gateways' machines, and how many captures commission them."""

    name: str
    shares: tuple[tuple[CastMachine, ...], ...]
    commissioning_captures: int


def windows_in(seconds: float, window_s: float) -> int:
    """How many windows a stretch of a recording holds."""
    return int(seconds / window_s + 1e-6)


def cast_plant(folder: Path, sites: Iterable[str]) -> tuple[CastSite, ...]:
    """Choose what each site plays.

    Raises:
        RecordingsUnfit: Nothing in the folder can be shown.
    """
    takes = list(_survey(folder))
    rigs: dict[str, list[Take]] = {}
    for take in takes:
        rigs.setdefault(take.rig, []).append(take)
    playable = [cast for rig in sorted(rigs) if (cast := _cast_rig(rigs[rig])) is not None]
    if not playable:
        raise RecordingsUnfit(
            f"{folder}: {len(takes)} recordings found, but no healthy one with a bearing fault "
            f"({' or '.join(SHOWN_FAULTS)}) of the same machine, sampling rate, speed and load"
        )
    playable.sort(key=lambda machines: -machines[0].baseline_s)  # the one with most to learn from first
    return tuple(
        CastSite(name, _shares(machines), machines[0].baseline_windows)
        for name, machines in zip(sites, (playable * 2)[:2], strict=True)
    )


def write_playlist(machines: Iterable[CastMachine], path: Path) -> None:
    """Write what the sensors beside one gateway play."""
    points = [
        {
            "point": f"{one.machine}/{POSITION}",
            "window_s": one.window_s,
            "interval_s": INTERVAL_S,
            "parts": one.parts(),
        }
        for one in machines
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(toml_text({"points": points}, heading="What is played here; written by `make demo`."))


def _survey(folder: Path) -> Iterable[Take]:
    if not folder.is_dir():
        raise RecordingsUnfit(f"{folder}: no such folder")
    for file in sorted(folder.rglob("*.npz")):
        try:
            with np.load(file) as keys:
                take = _take(file, folder, keys)
        except (OSError, KeyError, ValueError):
            continue
        if take is not None:
            yield take


def _take(
    file: Path, folder: Path, keys: Mapping[str, "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"]
) -> Take | None:
    label, rate_hz = str(keys["label"]), float(keys["fs"])
    if label not in {"healthy", *SHOWN_FAULTS} or rate_hz < 1000:
        return None
    snapshots, channels, samples = keys["x"].shape
    if snapshots != 1:
        return None
    rpm, load = float(keys["rpm"]), float(keys["load"])
    return Take(
        file=file.relative_to(folder),
        rig=f"{keys['dataset']}: {keys['machine']}",
        condition=(rate_hz, channels, round(rpm / 25) if rpm > 0 else 0, load if math.isfinite(load) else -1.0),
        label=label,
        severity=float(keys["severity"]),
        graded=str(keys["severity_unit"]) == "ordinal",
        seconds=samples / rate_hz,
        rpm=rpm,
        orders=tuple(float(order) for order in np.asarray(keys["mult"], np.float64)),
        unit=str(keys["unit"]),
    )


def _cast_rig(takes: list[Take]) -> list[CastMachine] | None:
    """A machine that stays healthy and one a fault, of the condition with most faults to show; the fastest of these."""
    best: list[CastMachine] = []
    for healthy in sorted((one for one in takes if one.label == "healthy"), key=lambda one: (-one.rpm, one.file)):
        window_s = WINDOW_S if healthy.seconds >= SHORT_RECORD_S else SHORT_WINDOW_S
        baseline_s = window_s * int(BASELINE_SHARE * windows_in(healthy.seconds, window_s))
        if windows_in(baseline_s, window_s) < MIN_BASELINE_WINDOWS:
            continue
        name = _name(healthy)
        machines = [CastMachine(f"{name}-sound", healthy, healthy, baseline_s, window_s)]
        for label in SHOWN_FAULTS:
            faults = [one for one in takes if one.label == label and one.condition == healthy.condition]
            faults = [one for one in faults if windows_in(one.seconds, window_s) >= MIN_BASELINE_WINDOWS]
            if faults:
                machines.append(CastMachine(f"{name}-{label}", healthy, _clearest(faults), baseline_s, window_s))
        if len(machines) > max(1, len(best)):
            best = machines
    return best or None


def _shares(machines: list[CastMachine]) -> tuple[tuple[CastMachine, ...], ...]:
    """A sound machine for each gateway, so that each has something to learn from, and the failing ones in turn."""
    sound, failing = machines[0], machines[1:]
    twin = replace(sound, machine=f"{sound.machine}-2")
    return (sound, *failing[::2]), (twin, *failing[1::2])


def _clearest(faults: list[Take]) -> Take:
    """A spall is clearest while it is small and its edges are sharp; where only a grade is said, the heavy one."""
    sized = [one for one in faults if math.isfinite(one.severity)]
    if not sized:
        return faults[0]
    chosen = max if sized[0].graded else min
    severity = chosen(one.severity for one in sized)
    return max((one for one in sized if one.severity == severity), key=lambda one: one.seconds)


def _name(take: Take) -> str:
    dataset = re.sub(r"[^a-z0-9]+", "", take.rig.partition(":")[0].lower())[:12] or "rig"
    return f"{dataset}-{round(take.rpm)}" if take.rpm > 0 else dataset
