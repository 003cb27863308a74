"""This file knows what 2,000 sensors that measure once a minute cost a gateway: share of a core, memory over days.

As a program it tries the agent with less patience: `python -m benchmarks.many_sensors --minutes 1`; with `--hours` it
is the process that lives through them: a gateway's judge and store, driven a turn at a time on a virtual clock.
"""

import argparse
import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.figures import Figure, table
from benchmarks.plant import COMMISSIONING_CAPTURES, GATEWAY, SITE, bench_site
from benchmarks.stream import CHANNELS, RATE_HZ, Stream
from benchmarks.where_time_goes import Nobody
from deploy.demo.watch import look_at_site
from gateway_agent.arrays_aside import ArraysAside
from gateway_agent.builtin import builtin_model
from gateway_agent.healthy_rows import HealthyRows
from gateway_agent.intake import Intake
from gateway_agent.judge import Judge
from gateway_agent.memory import tune_allocator
from gateway_agent.settings import GatewaySettings
from gateway_agent.store import Store
from gateway_agent.stream_order import REMEMBERED
from gateway_agent.worker import Clocks, IngestWorker
from schemas.capture import Capture, CaptureFlag, encode_capture
from schemas.collector import tune_collector
from schemas.fragments import Reassembly
from schemas.link import Received
from schemas.metrics import memory_bytes
from schemas.topics import CAPTURE

POINTS = 2000
MINUTES, HOURS = 10, 30
CPU_TARGET, MEMORY_TARGET_MB = 0.15, 250.0
FLAT_MB = 10.0  # in the second half of the hours, for all points: no machine is short of memory by that in a year
STATUS_INTERVAL_S = 10.0  # as agents come
AHEAD = 64
COMMISSIONED_WITHIN_S = 900.0
# The virtual hours run on a part of the points and on short captures: what a point keeps depends on neither, and
# 3.6 million whole captures would be an hour's work.
LIVING_POINTS, SHORT_SAMPLES = 500, 512
BATCH = 250
WAVES = 16
BEGAN_US = 1_700_000_000_000_000


@dataclass(frozen=True, slots=True)
class Agent:
    """What the agent has used.

    Attributes:
        shares: Of one core, in each minute.
        resident_mb: At the end.
        most_mb: Since its start, commissioning of all points at full speed included.
        by: Which broker served.
    """

    shares: tuple[float, ...]
    resident_mb: float
    most_mb: float
    by: str


def many_sensors_cpu_share(minutes: int = MINUTES) -> Figure:
    """What the agent uses of one core, captures of 3 x 8,192 once a minute from each sensor."""
    agent = _agent(minutes)
    note = f"{POINTS} points, one capture of 3 x 8192 a minute each, {minutes} minutes, {agent.by}; learning is off"
    value = median(agent.shares)
    return Figure("many_sensors_cpu_share", value, "", CPU_TARGET, "below", value, None, agent.shares, note)


def many_sensors_memory_mb(minutes: int = MINUTES) -> Figure:
    """What the same agent holds at the end of it."""
    agent = _agent(minutes)
    note = f"VmRSS of the same run, libraries included; {agent.most_mb:.0f} MB at most, while points were commissioned"
    value = agent.resident_mb
    return Figure("many_sensors_memory_mb", value, "MB", MEMORY_TARGET_MB, "below", value, None, (value,), note)


def many_sensors_growth_mb(hours: int = HOURS) -> Figure:
    """How much more memory it would be in the second half of 30 hours of virtual clock."""
    command = [sys.executable, "-m", "benchmarks.many_sensors", "--hours", str(hours)]
    held_mb: list[float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    later = held_mb[len(held_mb) // 2 :]
    an_hour = float(np.polyfit(np.arange(len(later)), later, 1)[0])
    value = an_hour * len(later) * POINTS / LIVING_POINTS
    note = (
        f"straight line through the last {len(later)} of {hours} virtual hours, {LIVING_POINTS} points once a minute "
        f"({', '.join(f'{held:.0f}' for held in held_mb[:: max(1, len(held_mb) // 10)])} MB), taken for {POINTS}"
    )
    return Figure("many_sensors_growth_mb", value, "MB", FLAT_MB, "below", value, None, (value,), note)


@functools.cache
def _agent(minutes: int) -> Agent:
    shares = []
    with bench_site(POINTS, learns=False, status_interval_s=STATUS_INTERVAL_S) as bench:
        stream = Stream(bench.sensors_broker, POINTS)
        for _ in range(COMMISSIONING_CAPTURES + 2):
            stream.publish(POINTS, ahead=AHEAD)
        stream.wait_stored(COMMISSIONED_WITHIN_S)
        bench.wait("points ready", lambda: look_at_site(bench.site).ready_points == POINTS, within_s=120)
        for _ in range(minutes):
            before_s = bench.gateway_cpu_s()
            began_s = stream.publish(POINTS, per_second=POINTS / 60.0)
            ended_s = stream.wait_stored(60)
            shares.append((bench.gateway_cpu_s() - before_s) / (ended_s - began_s))
            print(f"{shares[-1]:.3f} of a core, {bench.gateway_memory_mb('VmRSS'):.0f} MB", file=sys.stderr, flush=True)
        stream.close()
        return Agent(tuple(shares), bench.gateway_memory_mb("VmRSS"), bench.gateway_memory_mb("VmHWM"), bench.by)


class VirtualDays:
    """One gateway without a broker: intake, judge, store and acknowledgements of both sides, a batch at a time."""

    def __init__(self, folder: Path) -> None:
        self._now_us = BEGAN_US
        settings = GatewaySettings.model_validate({
            "site": SITE, "gateway": GATEWAY, "broker": {"allow_anonymous": True},
            "store": {"folder": str(folder), "raw_bytes": 64 << 20, "segment_bytes": 4 << 20},
            "ingest": {"batch_captures": BATCH},
            "machines": [{"machine": f"m-{n:04d}", "power_kw": 30.0, "foundation": "rigid", "rpm": 1480.0,
                          "bearing": {"name": "6205"}} for n in range(LIVING_POINTS)],
        })  # fmt: skip
        self._store = Store(settings.store)
        judge = Judge(
            settings, known=self._store.knows, model=builtin_model(),
            recall=lambda point, boot: self._store.highest_sequences(point, boot, REMEMBERED),
            aside=ArraysAside(folder),
        )  # fmt: skip
        machines = frozenset(plate.machine for plate in settings.machines)
        intake = Intake(SITE, GATEWAY, machines, False, Reassembly(max_bytes=1 << 25, max_age_s=120.0))
        clocks = Clocks(wall_us=lambda: self._now_us, monotonic_s=lambda: (self._now_us - BEGAN_US) / 1e6)
        learning = HealthyRows(settings.learning.window_rows)
        self._worker = IngestWorker(settings.ingest, judge, intake, self._store, learning, clocks)
        self._worker.attach(Nobody())
        chance = np.random.default_rng(11)
        self._waves = [
            np.asarray(np.round(chance.normal(0.0, 60.0, (CHANNELS, SHORT_SAMPLES))), np.int16) for _ in range(WAVES)
        ]

    def hour(self, number: int) -> None:
        """Sixty captures of every sensor."""
        for minute in range(60 * number, 60 * (number + 1)):
            for first in range(0, LIVING_POINTS, BATCH):
                self._now_us = BEGAN_US + 60_000_000 * minute + 60_000_000 * first // LIVING_POINTS
                self._worker.put_all(self._messages(minute, first))
                self._worker.turn()
                self._store.forget(1 << 62, ())  # the site has them all

    def _messages(self, minute: int, first: int) -> Iterator[Received]:
        for point in range(first, first + BATCH):
            capture = Capture(
                1 + point, minute, self._now_us, RATE_HZ, self._waves[(point + minute) % WAVES],
                np.full(CHANNELS, 5e-4), range_g=16.0, rpm=1480.0, flags=CaptureFlag.KEPT_UNTIL_ACK,
            )  # fmt: skip
            topic = CAPTURE.path(site=SITE, gateway=GATEWAY, machine=f"m-{point:04d}", position="de")
            yield Received(topic, encode_capture(capture), 1, False, 1 + point - first, 1)


def _live(hours: int) -> list[float]:
    tune_allocator()
    tune_collector()
    held_mb = []
    with tempfile.TemporaryDirectory(prefix="undertone-bench-") as folder:
        days = VirtualDays(Path(folder))
        for number in range(hours):
            days.hour(number)
            held_mb.append(memory_bytes() / 2**20)
            print(f"virtual hour {number + 1}: {held_mb[-1]:.1f} MB", file=sys.stderr, flush=True)
    return held_mb


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the agent for some minutes, or be the process that lives through virtual hours."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_sensors")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--minutes", type=int, help="measure the agent for so many")
    what.add_argument("--hours", type=int, help="live through so many virtual ones; memory after each as JSON, in MB")
    options = parser.parse_args(arguments)
    if options.hours is not None:
        print(json.dumps(_live(options.hours)))
        return 0
    figures = [many_sensors_cpu_share(options.minutes), many_sensors_memory_mb(options.minutes)]
    print(table(figures))
    for figure in figures:
        print(figure.note)
    return 0


FIGURES: tuple[Callable[[], Figure], ...] = (many_sensors_cpu_share, many_sensors_memory_mb, many_sensors_growth_mb)

if __name__ == "__main__":
    sys.exit(main())
