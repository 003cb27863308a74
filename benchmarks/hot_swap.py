"""This file knows what a new release costs the captures that come while it is taken: delay, and whether any is missed.

One process and no network: the judge of the ingest worker is fed one window after the other on time, as the worker
does it, while another thread takes signed releases from their bundles through the shelf, files and checks included.
"""

import queue
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aggregator.release_making import next_release
from benchmarks.figures import Figure
from benchmarks.stream import CHANNELS, DIFFERENT, RATE_HZ, SEED, wave
from gateway_agent.intake import Taken
from gateway_agent.interpreter import share_interpreter
from gateway_agent.judge import Judge
from gateway_agent.model_slot import LoadedModel
from gateway_agent.release_shelf import ReleaseShelf
from gateway_agent.settings import CommissioningSettings, GatewaySettings
from schemas.capture import Capture
from schemas.nameplate import Nameplate
from schemas.release import Release
from schemas.settings import BrokerSettings
from schemas.signing import AllowedKey, KeyRing, Signer

POINTS = 20
COMMISSIONING_CAPTURES = 40
PER_SECOND = 100.0
SWAPS = 30
EVERY_S = 1.0
QUIET_WINDOWS = 500
REPEATS = 3
TARGET_MS = 10.0
PERCENTILE = 0.99


@dataclass(slots=True)
class _Run:
    """What one repeat has seen; delays in ms from the moment a window was due until it was judged."""

    quiet_ms: list[float] = field(default_factory=list)
    swapping_ms: list[float] = field(default_factory=list)
    windows: int = 0
    unscored: int = 0
    mixed: int = 0


def hot_swap_added_ms() -> Figure:
    """99 % of windows judged while a release is taken wait no longer than this, beyond the median of quiet moments."""
    runs = [_measure() for _ in range(REPEATS)]
    added = [_percentile(run.swapping_ms) - float(np.median(run.quiet_ms)) for run in runs]
    value = float(np.median(added))
    windows, unscored, mixed = (sum(getattr(run, name) for run in runs) for name in ("windows", "unscored", "mixed"))
    quiet_tail = float(np.median([_percentile(run.quiet_ms) - float(np.median(run.quiet_ms)) for run in runs]))
    note = (
        f"{REPEATS} x {SWAPS} swaps, {POINTS} points at {PER_SECOND:g} windows/s of {CHANNELS} x 8192; "
        f"{windows} windows, {sum(len(run.swapping_ms) for run in runs)} of them while a release was taken, {unscored} "
        f"unscored, {mixed} judged by a mixed pair; other: the same of quiet moments"
    )
    if unscored or mixed:
        return Figure("hot_swap_added_ms", None, "ms", TARGET_MS, "below", value, quiet_tail, tuple(added), note)
    return Figure("hot_swap_added_ms", value, "ms", TARGET_MS, "below", value, quiet_tail, tuple(added), note)


def _measure() -> _Run:
    share_interpreter()
    with tempfile.TemporaryDirectory(prefix="undertone-swap-") as folder:
        signer = Signer.generate()
        keys = KeyRing([AllowedKey("bench", "site", signer.public)])
        shelf = ReleaseShelf(Path(folder), keys)
        judge = _commissioned(shelf)
        taken: queue.SimpleQueue[LoadedModel] = queue.SimpleQueue()
        begun: list[int] = []
        stream = _windows(COMMISSIONING_CAPTURES + 2)
        run = _Run()
        _judge_on_time(judge, stream, QUIET_WINDOWS, run.quiet_ms, run)
        bundles = list(_releases(shelf.current, signer))
        thread = threading.Thread(target=_take_releases, args=(shelf, bundles, taken, begun), daemon=True)
        thread.start()
        while thread.is_alive() or not taken.empty() or judge.following:
            swapping = bool(begun and (begun[-1] > judge.model.version or judge.following))
            _judge_on_time(judge, stream, 1, run.swapping_ms if swapping else run.quiet_ms, run)
            if not taken.empty():
                judge.change_model(taken.get(), watched=True)
        thread.join()
        assert judge.model.version == shelf.current.version == 1 + SWAPS
        return run


def _take_releases(
    shelf: ReleaseShelf, bundles: list[bytes], taken: "queue.SimpleQueue[LoadedModel]", begun: list[int]
) -> None:
    """As `gateway_agent.release_taker` does, one a second; `begun` has the version in hand last."""
    for number, bundle in enumerate(bundles):
        time.sleep(EVERY_S)
        begun.append(2 + number)
        if shelf.offer(bundle, offered_as=2 + number) is None:
            raise RuntimeError(shelf.problem)
        taken.put(shelf.slot.loaded)


def _judge_on_time(judge: Judge, stream: Iterator[Taken], count: int, delays_ms: list[float], run: _Run) -> None:
    for _ in range(count):
        window = next(stream)
        due_s = max(_next_due.get(id(judge), 0.0), time.perf_counter() - 1.0)
        while (left_s := due_s - time.perf_counter()) > 0:
            time.sleep(left_s)
        _next_due[id(judge)] = due_s + 1.0 / PER_SECOND
        model = judge.monitor(window.point).model
        (verdict,) = judge.process([window], now_us=window.received_at_us).verdicts
        delays_ms.append(1000.0 * (time.perf_counter() - due_s))
        judge.follow_model()
        health = verdict.outcome.health
        run.windows += 1
        run.unscored += health.score is None or health.limit is None
        run.mixed += health.model_version != model.version


_next_due: dict[int, float] = {}


def _percentile(values: list[float]) -> float:
    return float(np.quantile(values, PERCENTILE))


def _commissioned(shelf: ReleaseShelf) -> Judge:
    settings = GatewaySettings(
        site="bench", gateway="bench-gw", broker=BrokerSettings(allow_anonymous=True),
        commissioning=CommissioningSettings(captures=COMMISSIONING_CAPTURES),
        machines=tuple(Nameplate(machine=f"m-{number:02d}", rpm=1480.0) for number in range(POINTS)),
    )  # fmt: skip
    shelf.open()
    judge = Judge(settings, known=lambda _: set(), model=shelf.slot.loaded)
    for window in _windows(0, COMMISSIONING_CAPTURES):
        judge.process([window], now_us=window.received_at_us)
    assert all(monitor.ready for monitor in judge.monitors.values())
    return judge


def _windows(first: int, stop: int | None = None) -> Iterator[Taken]:
    """Windows of every point in turn; a machine sounds a little different each time."""
    chance = np.random.default_rng(SEED)
    waves = [wave(chance) for _ in range(POINTS + DIFFERENT)]
    sequence = first
    while stop is None or sequence < stop:
        for point in range(POINTS):
            one = waves[(point + sequence * 7) % len(waves)]
            capture = Capture(
                1 + point, sequence, 1_000_000 * (1 + sequence), RATE_HZ, one, np.full(CHANNELS, 5e-4), range_g=16.0,
                rpm=1480.0,
            )  # fmt: skip
            yield Taken(f"m-{point:02d}/de", capture, b"", 1_000_000 * (1 + sequence))
        sequence += 1


def _releases(first: Release, signer: Signer) -> Iterator[bytes]:
    chance = np.random.default_rng(SEED)
    parent = first
    for version in range(2, 2 + SWAPS):
        theta = parent.parameters() * (1.0 + 1e-3 * chance.standard_normal(parent.manifest.parameter_count))
        parent = next_release(
            parent, theta.astype(np.float32), signer, version=version, level="site", created_at_us=version, data={},
            metrics={}, merge={},
        )  # fmt: skip
        yield parent.bundle()
