"""This file knows how recordings are replayed through the code that runs live, in virtual time.

The interface is a contract: people and acceptance runs call it. One JSON line a window, in order; nothing looks at a
later window to judge an earlier one.
"""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gateway_agent.alarm import AlarmLogic
from gateway_agent.errors import BacktestError
from gateway_agent.intake import Taken
from gateway_agent.judge import Judge
from gateway_agent.limits import MIN_CAPTURES
from gateway_agent.point_monitor import PointMonitor
from gateway_agent.scoring import Model
from gateway_agent.settings import CommissioningSettings, GatewaySettings
from schemas.capture import MIN_SAMPLES, Capture
from schemas.container import unpack
from schemas.messages import RemainingLife
from schemas.nameplate import Nameplate
from schemas.recordings import Recording, RecordingRejected, read_recording
from schemas.settings import BrokerSettings
from vibration.bearing import orders_from_row
from vibration.errors import VibrationError

POINT = "machine/backtest"
_EPOCH_US = 1_000_000_000_000_000  # where virtual time starts; no result depends on it
_CENTURY_S = 3.2e9
_CHUNK = 64

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Cut:
    """One FILE or FILE:A-B as given."""

    given: str
    path: Path
    from_s: float = -math.inf
    before_s: float = math.inf


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """One window of a recording, with its place in the file."""

    snapshot: int
    window: int
    at_s: float
    capture: Capture


@dataclass(frozen=True, slots=True)
class BacktestOptions:
    """What the command line asks for beside the files."""

    window_s: float = 0.25
    false_alarm_rate: float = 0.01
    nameplate: Nameplate | None = None
    score_only: bool = False
    detector: Literal["distance", "autoencoder"] = "distance"


def parse_cut(given: str) -> Cut:
    """Read `FILE` or `FILE:A-B` (seconds).

    Raises:
        BacktestError: A is not before B.
    """
    path, colon, span = given.rpartition(":")
    low, dash, high = span.partition("-")
    if colon and dash:
        try:
            cut = Cut(given, Path(path), float(low), float(high))
        except ValueError:
            return Cut(given, Path(given))
        if not cut.from_s < cut.before_s:
            raise BacktestError(f"{given}: cut from {low} to {high} s is empty; write FILE:A-B with A before B")
        return cut
    return Cut(given, Path(given))


def expand_lists(arguments: Sequence[str]) -> list[str]:
    """Replace each `@list.txt` by the lines of that file.

    Raises:
        BacktestError: A list cannot be read or is empty.
    """
    files: list[str] = []
    for argument in arguments:
        if not argument.startswith("@"):
            files.append(argument)
            continue
        try:
            lines = [line.strip() for line in Path(argument[1:]).read_text().splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise BacktestError(f"{argument[1:]}: list of files cannot be read ({error})") from error
        if not any(lines):
            raise BacktestError(f"{argument[1:]}: list of files is empty")
        files += [line for line in lines if line]
    return files


def cut_windows(recording: Recording, cut: Cut, window_s: float | None) -> list[Window]:
    """Cut a recording into windows: floor(samples / round(window_s x rate)) a snapshot, at least one.

    Args:
        recording: As read.
        cut: Which part: of one snapshot the samples, of many those whole snapshots that start in it.
        window_s: Length of a window; a whole snapshot if None.

    Raises:
        BacktestError: Nothing is left, or a window would have fewer than 32 samples.
    """
    rate = recording.sample_rate_hz
    windows: list[Window] = []
    begun_s = float(recording.start_s[0])
    for snapshot in range(recording.snapshots):
        counts, offset_s = recording.counts[snapshot], float(recording.start_s[snapshot])
        if recording.snapshots > 1:
            if not cut.from_s <= recording.start_s[snapshot] < cut.before_s:
                continue
        elif cut.from_s > -math.inf:
            first, end = (round(min(max(0.0, s * rate), counts.shape[1])) for s in (cut.from_s, cut.before_s))
            counts, offset_s = counts[:, first:end], offset_s + first / rate
        total = counts.shape[1]
        length = total if window_s is None else min(total, max(1, round(window_s * rate)))
        if length < MIN_SAMPLES:
            raise BacktestError(
                f"{cut.given}: a window has {length} samples, {MIN_SAMPLES} needed; choose a longer window or cut"
            )
        for number in range(total // length):
            part = counts[:, number * length : (number + 1) * length]
            at_s = offset_s + number * length / rate
            capture = Capture(
                0,
                len(windows),
                _EPOCH_US + _since_us(at_s - begun_s),
                rate,
                part,
                np.abs(recording.scale_g),
                rpm=recording.rpm,
            )
            windows.append(Window(snapshot, number, at_s, capture))
    if not windows:
        raise BacktestError(f"{cut.given}: nothing lies within the cut")
    return windows


def _since_us(since_s: float) -> int:
    """Microseconds of virtual time; what lies before the start or beyond a century stands still there."""
    return round(1e6 * min(max(since_s, 0.0), _CENTURY_S))


def run_backtest(
    model: Model,
    *,
    commission: Sequence[Cut],
    captures: Sequence[Cut],
    options: BacktestOptions,
    out: Path,
    progress: Progress,
) -> None:
    """Commission on healthy recordings, then judge others, each from the state after commissioning.

    Raises:
        BacktestError, RecordingRejected: Bad input; nothing is written.
    """
    sources = [(cut, _read(cut)) for cut in commission]
    learnt = [w.capture for cut, recording in sources for w in cut_windows(recording, cut, options.window_s)]
    layout = _one_layout([(cut, recording) for cut, recording in sources])

    def lines() -> Iterator[dict[str, Any]]:
        state: bytes | None = None
        for number, cut in enumerate(captures, 1):
            recording = _read(cut)
            progress(f"{number}/{len(captures)} {cut.given}")
            if layout is not None and _layout(recording) != layout:
                raise BacktestError(
                    f"{cut.given}: {_layout(recording)[0]:g} Hz and {_layout(recording)[1]} channels found, "
                    f"commissioned with {layout[0]:g} Hz and {layout[1]}"
                )
            windows = cut_windows(recording, cut, options.window_s)
            with _about(cut):
                if learnt and state is None:
                    state = _commission(model, learnt, recording, options)
                    _tell_doubts(state, len(learnt), progress)
                judge = _judge(model, recording, options, commissioned=_usable(state), state=state)
                yield from _judged(judge, cut, windows, options, alarms=_usable(state) >= MIN_CAPTURES)

    _write(out, lines())


def run_life(
    model: Model, *, lives: Sequence[Cut], share: float, options: BacktestOptions, out: Path, progress: Progress
) -> None:
    """Judge whole run-to-failure recordings; the first share of each commissions it.

    Raises:
        BacktestError, RecordingRejected: Bad input; nothing is written.
    """

    def lines() -> Iterator[dict[str, Any]]:
        for number, cut in enumerate(lives, 1):
            recording = _read(cut)
            progress(f"{number}/{len(lives)} {cut.given}")
            windows = cut_windows(recording, cut, None)
            first = math.floor(share * len(windows))
            with _about(cut):
                judge = _judge(model, recording, options, commissioned=0, state=None)
                yield from _judged(judge, cut, windows[:first], options, alarms=False)
                state = _commission(model, [w.capture for w in windows[:first]], recording, options) if first else None
                if state is not None:
                    _tell_doubts(state, first, progress)
                judge = _judge(model, recording, options, commissioned=_usable(state), state=state)
                yield from _judged(judge, cut, windows[first:], options, alarms=_usable(state) >= MIN_CAPTURES)

    _write(out, lines())


def follow_life(
    model: Model, cut: Cut, share: float
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]:
    """Go through a whole life as its gateway would, for what it teaches.

    Returns:
        Features (n, channels, F) of every snapshot, NaN where it cannot be believed; start of each, s; whether an alarm
        stood or had stood.

    Raises:
        BacktestError, RecordingRejected: Bad input.
    """
    recording = _read(cut)
    windows = cut_windows(recording, cut, None)
    first = math.floor(share * len(windows))
    features, worn, stood = [], [], False
    with _about(cut):
        state = (
            _commission(model, [w.capture for w in windows[:first]], recording, BacktestOptions()) if first else None
        )
        judge = _judge(model, recording, BacktestOptions(), commissioned=_usable(state), state=state)
        judge.monitor(POINT).learns = False
        for number, window in enumerate(windows):
            kernel = judge.kernel(*_shape_of(window.capture))
            features.append(kernel.run([window.capture.counts], window.capture.scale_g)[0])
            if number >= first:
                item = Taken(POINT, window.capture, b"", window.capture.measured_at_us)
                outcome = judge.process([item], now_us=_EPOCH_US).verdicts[0].outcome
                stood = stood or (outcome.alarm_active and _usable(state) >= MIN_CAPTURES)
                if outcome.health.quality != "ok":
                    features[-1] = np.full_like(features[-1], np.nan)
            worn.append(stood)
    return np.stack(features), np.array([w.at_s for w in windows]), np.array(worn)


def _shape_of(capture: Capture) -> tuple[float, int, int]:
    return capture.sample_rate_hz, capture.samples, capture.channels


def _read(cut: Cut) -> Recording:
    try:
        return read_recording(cut.path)
    except RecordingRejected as error:
        raise BacktestError(str(error)) from error


@contextmanager
def _about(cut: Cut) -> Iterator[None]:
    """Name the file whose rate, geometry or the like cannot be calculated with."""
    try:
        yield
    except VibrationError as error:
        raise BacktestError(f"{cut.given}: {error}") from error


def _layout(recording: Recording) -> tuple[float, int]:
    return recording.sample_rate_hz, recording.channels


def _one_layout(sources: Sequence[tuple[Cut, Recording]]) -> tuple[float, int] | None:
    layouts = {_layout(recording) for _, recording in sources}
    if len(layouts) > 1:
        first = _layout(sources[0][1])
        other = next(cut.given for cut, recording in sources if _layout(recording) != first)
        raise BacktestError(f"{other}: commissioning recordings differ in rate or channels: {sorted(layouts)}")
    return next(iter(layouts), None)


def _settings(options: BacktestOptions, captures: int, *, zones: bool) -> GatewaySettings:
    plate = (options.nameplate or Nameplate()).model_copy(update={"machine": "machine"})
    if not zones:
        plate = plate.model_copy(update={"power_kw": None})
    return GatewaySettings(
        site="backtest", gateway="backtest", broker=BrokerSettings(allow_anonymous=True),
        commissioning=CommissioningSettings(
            captures=max(captures, MIN_CAPTURES), false_alarm_rate=options.false_alarm_rate,
            detector=options.detector,
        ),
        machines=(plate,),
    )  # fmt: skip


def _judge(
    model: Model, recording: Recording, options: BacktestOptions, *, commissioned: int, state: bytes | None
) -> Judge:
    zones = options.nameplate is not None
    judge = Judge(_settings(options, commissioned, zones=zones), known=lambda _keys: set(), model=model)
    monitor = _give_orders(judge, recording)
    if state is not None:
        monitor.restore(state)
        monitor.alarm = AlarmLogic(monitor.alarm.settings)
    return judge


def _commission(model: Model, captures: Sequence[Capture], recording: Recording, options: BacktestOptions) -> bytes:
    """Learn what healthy is; the state from which every capture starts.

    Where some captures cannot be used, the rest is the whole commissioning, and complete with its last.
    """
    state = _learn(model, captures, recording, options, wanted=len(captures))
    usable = _usable(state)
    if MIN_CAPTURES <= usable < len(captures):
        state = _learn(model, captures, recording, options, wanted=usable)
    return state


def _learn(
    model: Model, captures: Sequence[Capture], recording: Recording, options: BacktestOptions, *, wanted: int
) -> bytes:
    judge = Judge(_settings(options, wanted, zones=False), known=lambda _keys: set(), model=model)
    _give_orders(judge, recording)
    for start in range(0, len(captures), _CHUNK):
        part = [replace(c, sequence=start + i) for i, c in enumerate(captures[start : start + _CHUNK])]
        judge.process([Taken(POINT, c, b"", c.measured_at_us) for c in part], now_us=_EPOCH_US)
    return judge.monitor(POINT).dump()


def _give_orders(judge: Judge, recording: Recording) -> PointMonitor:
    monitor = judge.monitor(POINT)
    monitor.orders = orders_from_row(recording.orders, recording.geometry) or monitor.orders
    return monitor


def _tell_doubts(state: bytes, given: int, progress: Progress) -> None:
    """What a person must know of a commissioning before believing what follows."""
    if _usable(state) < given:
        progress(f"warning: only {_usable(state)} of {given} commissioning windows can be used")
    for remark in unpack(state)[0]["states"]["remarks"]:
        progress(f"warning: {remark}")


def _usable(state: bytes | None) -> int:
    """How many healthy captures a commissioning gave; so many make the point ready."""
    return 0 if state is None else int(unpack(state)[0]["learnt"]["shape"][0])


def _judged(
    judge: Judge, cut: Cut, windows: Sequence[Window], options: BacktestOptions, *, alarms: bool
) -> Iterator[dict[str, Any]]:
    judge.monitor(POINT).learns = False  # nothing of a judged file is taken as healthy
    for start in range(0, len(windows), _CHUNK):
        part = windows[start : start + _CHUNK]
        items = [Taken(POINT, w.capture, b"", w.capture.measured_at_us) for w in part]
        judged = judge.process(items, now_us=_EPOCH_US, diagnose_always=not options.score_only)
        for window, verdict in zip(part, judged.verdicts, strict=True):
            health = verdict.outcome.health
            line: dict[str, Any] = {
                "file": cut.given, "snapshot": window.snapshot, "window": window.window, "at_s": round(window.at_s, 6),
                "quality": health.quality, "score": health.score,
            }  # fmt: skip
            if not options.score_only:
                line |= {
                    "alarm": alarms and verdict.outcome.alarm_active, "exceeds": alarms and health.exceeds,
                    "zone": health.zone,
                    "diagnosis": [{"label": d.label, "confidence": d.confidence} for d in health.diagnosis],
                    "rul_s": _band(health.remaining_life) if alarms else None,
                }  # fmt: skip
            yield line


def _band(remaining: RemainingLife | None) -> dict[str, float] | None:
    if remaining is None:
        return None
    return {"low": remaining.low_s, "median": remaining.median_s, "high": remaining.high_s}


def _write(out: Path, lines: Iterator[dict[str, Any]]) -> None:
    """Write results whole or not at all."""
    try:
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    except OSError as error:
        raise BacktestError(f"{out}: results cannot be written ({error.strerror})") from error
    try:
        with os.fdopen(handle, "w") as file:
            for line in lines:
                file.write(json.dumps(line, allow_nan=False) + "\n")
        Path(name).replace(out)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise BacktestError(f"{out}: results cannot be written ({error.strerror})") from error
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
