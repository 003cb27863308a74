"""This file knows where the time of the data path goes, and how its cost grows with samples, points and retention.

`python -m benchmarks.where_time_goes` prints tables in Markdown. One thread, no broker: intake, judge, store and
acknowledgements as in the running agent, one turn at a time.
"""

import functools
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from gateway_agent import judge as judge_module
from gateway_agent import point_monitor as monitor_module
from gateway_agent.builtin import builtin_model
from gateway_agent.healthy_rows import HealthyRows
from gateway_agent.intake import Intake
from gateway_agent.judge import Judge
from gateway_agent.memory import tune_allocator
from gateway_agent.point_monitor import PointMonitor
from gateway_agent.segments import SegmentLog
from gateway_agent.settings import GatewaySettings
from gateway_agent.store import Store
from gateway_agent.stream_order import REMEMBERED
from gateway_agent.worker import Clocks, IngestWorker
from schemas.capture import Capture, CaptureFlag, encode_capture
from schemas.collector import tune_collector
from schemas.fragments import Reassembly
from schemas.link import Received
from schemas.topics import CAPTURE
from vibration.features import FeatureKernel

SITE, GATEWAY = "bench", "bench-gw"
RATE_HZ, CHANNELS, WAVES = 25_600.0, 3, 16
COMMISSIONING = 20
BATCH = 64
BATCHES = 30

STAGES: tuple[tuple[str, Any, str], ...] = (
    ("decode, check, known machine", Intake, "take"),
    ("features", FeatureKernel, "run"),
    ("can it be believed (at a glance)", judge_module, "beyond_doubt"),
    ("duplicates, holes", Judge, "_order"),
    ("limits, sensor changes", PointMonitor, "_detect"),
    ("ISO zone", PointMonitor, "_zone"),
    ("remaining life", PointMonitor, "_foretell"),
    ("the record", monitor_module, "health_of"),
    ("alarm", PointMonitor, "_alarm"),
    ("follow the drift", PointMonitor, "_follow"),
    ("to rows, JSON", Judge, "_keep"),
    ("raw captures written and synced", SegmentLog, "append"),
    ("rows into SQLite", Store, "_write"),
    ("the whole commit", Store, "commit"),
)


class Nobody:
    """A carrier that takes everything."""

    connected, max_payload_bytes = True, 1 << 24

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        """Take it."""
        return bool(topic or payload or qos or retained)

    def wait_window(self, timeout_s: float) -> bool:
        """There is room."""
        return timeout_s >= 0.0

    def acknowledge(self, received: Received) -> None:
        """Nobody waits for it."""

    def acknowledge_all(self, messages: Iterable[Received]) -> None:
        """Nobody waits for it."""


@dataclass(slots=True)
class GatewayPath:
    """The data path of one gateway, driven a turn at a time."""

    points: int
    samples: int
    folder: Path
    raw_bytes: int = 512 << 20
    keep_raw: bool = True
    store: Store = field(init=False)
    worker: IngestWorker = field(init=False)
    _waves: list[np.ndarray[tuple[int, int], np.dtype[np.int16]]] = field(init=False)
    _sequences: list[int] = field(init=False)
    _next_point: int = 0

    def __post_init__(self) -> None:
        """Build the parts and commission every point."""
        settings = GatewaySettings.model_validate({
            "site": SITE, "gateway": GATEWAY, "broker": {"allow_anonymous": True},
            "store": {"folder": str(self.folder), "raw_bytes": self.raw_bytes, "segment_bytes": 1 << 20,
                      "keep_raw": self.keep_raw},
            "commissioning": {"captures": COMMISSIONING},
            "machines": [{"machine": f"m-{n:04d}", "power_kw": 30.0, "foundation": "rigid", "rpm": 1480.0,
                          "bearing": {"name": "6205"}} for n in range(self.points)],
        })  # fmt: skip
        self.store = Store(settings.store)
        judge = Judge(
            settings, known=self.store.knows, model=builtin_model(),
            recall=lambda point, boot: self.store.highest_sequences(point, boot, REMEMBERED),
        )  # fmt: skip
        machines = frozenset(plate.machine for plate in settings.machines)
        intake = Intake(SITE, GATEWAY, machines, False, Reassembly(max_bytes=1 << 25, max_age_s=120.0))
        self.worker = IngestWorker(settings.ingest, judge, intake, self.store, HealthyRows(4096), Clocks())
        self.worker.attach(Nobody())
        chance = np.random.default_rng(11)
        self._waves = [_wave(chance, self.samples) for _ in range(WAVES)]
        self._sequences = [0] * self.points
        for _ in range(-(-self.points * (COMMISSIONING + 2) // BATCH)):
            self.turn(self.messages())

    def messages(self) -> list[Received]:
        """A batch of captures, point after point."""
        made: list[Received] = []
        for _ in range(BATCH):
            point = self._next_point
            self._next_point = (point + 1) % self.points
            sequence = self._sequences[point]
            self._sequences[point] += 1
            capture = Capture(
                1 + point, sequence, time.time_ns() // 1000, RATE_HZ, self._waves[(point + sequence) % WAVES],
                np.full(CHANNELS, 5e-4), range_g=16.0, rpm=1480.0, flags=CaptureFlag.KEPT_UNTIL_ACK,
            )  # fmt: skip
            topic = CAPTURE.path(site=SITE, gateway=GATEWAY, machine=f"m-{point:04d}", position="de")
            made.append(Received(topic, encode_capture(capture), 1, False, len(made) + 1, 1))
        return made

    def turn(self, messages: list[Received]) -> float:
        """One batch through everything; seconds it took."""
        self.worker.put_all(messages)
        began_s = time.perf_counter()
        self.worker.turn()
        return time.perf_counter() - began_s

    def cost_us(self) -> float:
        """Microseconds a capture, median of the batches."""
        return 1e6 / BATCH * median(self.turn(self.messages()) for _ in range(BATCHES))


def stages(path: GatewayPath) -> list[tuple[str, float]]:
    """Microseconds a capture in each stage; the parts of the judge that are not listed are in the last row."""
    spent_s = dict.fromkeys((name for name, _, _ in STAGES), 0.0)
    undo: list[Callable[[], None]] = []
    for name, owner, attribute in STAGES:
        original = owner.__dict__[attribute]
        setattr(owner, attribute, _timed(original, name, spent_s))
        undo.append(functools.partial(setattr, owner, attribute, original))
    batches = [path.messages() for _ in range(BATCHES)]
    whole_s = sum(path.turn(messages) for messages in batches)
    for restore in undo:
        restore()
    told = [(name, 1e6 * spent_s[name] / BATCH / BATCHES) for name, _, _ in STAGES]
    inner = sum(us for name, us in told if name not in {"raw captures written and synced", "rows into SQLite"})
    return [*told, ("everything else", 1e6 * whole_s / BATCH / BATCHES - inner)]


def _timed(original: Any, name: str, spent_s: dict[str, float]) -> Any:
    call = original.__func__ if isinstance(original, staticmethod) else original

    def timed(*arguments: Any, **named: Any) -> Any:
        began_s = time.perf_counter()
        try:
            return call(*arguments, **named)
        finally:
            spent_s[name] += time.perf_counter() - began_s

    return staticmethod(timed) if isinstance(original, staticmethod) else timed


def _wave(chance: np.random.Generator, samples: int) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    at_s = np.arange(samples) / RATE_HZ
    tone = 30.0 * np.sin(2 * np.pi * 1480.0 / 60.0 * at_s)
    return np.asarray(np.round(chance.normal(0.0, 60.0, (CHANNELS, samples)) + tone), np.int16)


def main() -> int:
    """Measure and print."""
    tune_allocator()
    with tempfile.TemporaryDirectory(prefix="undertone-bench-") as name:
        folder = Path(name)
        path = GatewayPath(20, 8192, folder / "first")
        tune_collector()
        print("| stage, 3 x 8192, 20 points, batches of 64 | us a capture |\n|---|---|")
        for stage, us in stages(path):
            print(f"| {stage} | {us:.1f} |")
        print("\n| points | samples | ring of raw captures | us a capture |\n|---|---|---|---|")
        for points, samples, raw_bytes in (
            (20, 2048, 512 << 20), (20, 8192, 512 << 20), (20, 32_768, 512 << 20), (200, 8192, 512 << 20),
            (2000, 8192, 512 << 20), (20, 8192, 64 << 20), (20, 8192, 2 << 30),
        ):  # fmt: skip
            one = GatewayPath(points, samples, folder / f"{points}-{samples}-{raw_bytes}", raw_bytes)
            print(f"| {points} | 3 x {samples} | {raw_bytes >> 20} MB | {one.cost_us():.0f} |", flush=True)
            one.store.close()
        without = GatewayPath(20, 8192, folder / "without", keep_raw=False)
        print(f"| 20 | 3 x 8192 | none kept | {without.cost_us():.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
