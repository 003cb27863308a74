"""This file knows the figures of the path from a sensor to the gateway's database, with a real broker."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median

from benchmarks.figures import Figure
from benchmarks.plant import COMMISSIONING_CAPTURES, GATEWAY, SITE, Bench, bench_site, how_to_reach
from benchmarks.stream import Stream
from deploy.demo.watch import look_at_site
from schemas.topics import CAPTURE

POINTS = 20
REPEATS = 3
RATE_PER_S = 100.0
LATENCY_CAPTURES = 2000
IDLE_CAPTURES, IDLE_PER_S = 100, 10.0
FLOOD_CAPTURES = 4000
AHEAD_CAPTURES = 600  # beyond what the gateway takes unacknowledged: the broker always has more
LATENCY_TARGET_MS = 150.0
RESIDENT_TARGET_MB = 200.0
PATH_TARGET = 0.30
PATH_WITHOUT_RAW_TARGET = 0.35
TWIN_TARGET = 30.0
TAIL_TARGET = 3.0
TWIN_CAPTURES = 300
SUBSCRIBED_WITHIN_S = 4.0  # mosquitto_sub does not say when it has


def latency_end_of_capture_to_score() -> Figure:
    """From the end of a capture to the sensor's knowing that its score is in the database, 100 captures a second."""
    repeats = []
    with bench_site(POINTS, learns=True) as bench:
        stream = _commissioned(bench)
        for _ in range(REPEATS):
            stream.latencies_s.clear()
            stream.publish(LATENCY_CAPTURES, per_second=RATE_PER_S)
            stream.wait_stored(60)
            repeats.append(1000 * median(stream.latencies_s))
        stream.close()
    value = median(repeats)
    note = f"{POINTS} points, {RATE_PER_S:g} captures/s of 3 x 8192, {bench.by}; until the agent acknowledges"
    return Figure("latency_end_of_capture_to_score", value, "ms", LATENCY_TARGET_MS, "below", value, None,
                  tuple(repeats), note)  # fmt: skip


def path_ratio_to_mosquitto_sub() -> Figure:
    """Captures a second of the whole path, beside a client that throws the same stream away."""
    return _path_ratio("path_ratio_to_mosquitto_sub", PATH_TARGET, keep_raw=True)


def path_ratio_without_raw() -> Figure:
    """The same by a gateway that keeps no raw captures."""
    return _path_ratio("path_ratio_without_raw", PATH_WITHOUT_RAW_TARGET, keep_raw=False)


def latency_tail_ratio() -> Figure:
    """99 % of latencies at half of the rate the path can do, beside the median of a path with nothing else to do."""
    repeats, tails, idles = [], [], []
    with bench_site(POINTS, learns=True) as bench:
        stream = _commissioned(bench)
        began_s = stream.publish(FLOOD_CAPTURES, ahead=AHEAD_CAPTURES)
        half_per_s = 0.5 * FLOOD_CAPTURES / (stream.wait_stored(300) - began_s)
        for _ in range(REPEATS):
            idles.append(_latencies_ms(stream, IDLE_CAPTURES, IDLE_PER_S)[0])
            tails.append(_latencies_ms(stream, LATENCY_CAPTURES, half_per_s)[1])
            repeats.append(tails[-1] / idles[-1])
        stream.close()
    note = f"p99 at {half_per_s:.0f} captures/s against p50 at {IDLE_PER_S:g}/s, rounds of learning meanwhile, ms"
    return Figure("latency_tail_ratio", median(repeats), "", TAIL_TARGET, "below", median(tails), median(idles),
                  tuple(repeats), note)  # fmt: skip


def _latencies_ms(stream: Stream, count: int, per_second: float) -> tuple[float, float]:
    """Median and 99th percentile."""
    stream.latencies_s.clear()
    stream.publish(count, per_second=per_second)
    stream.wait_stored(60)
    ordered = sorted(stream.latencies_s)
    return 1000 * median(ordered), 1000 * ordered[int(0.99 * len(ordered))]


def _path_ratio(name: str, target: float, *, keep_raw: bool) -> Figure:
    program = shutil.which("mosquitto_sub")
    if program is None:
        note = "MOSQUITTO_SUB IS NOT INSTALLED: nothing to compare with (apt install mosquitto-clients)"
        return Figure(name, None, "", target, "above", None, None, (), note)
    ours, others = [], []
    for _ in range(REPEATS):
        ours.append(_judged_per_s(keep_raw=keep_raw))
        others.append(_thrown_away_per_s(program))
    repeats = tuple(one / other for one, other in zip(ours, others, strict=True))
    note = "QoS 1, the same broker and publisher; in turns the gateway agent, and mosquitto_sub in its place"
    return Figure(name, median(repeats), "", target, "above", median(ours), median(others), repeats, note)


def path_ratio_to_straightforward() -> Figure:
    """Captures a second of the whole path, beside a gateway that does the like in paho's callback, one at a time."""
    ours, others = [], []
    for _ in range(REPEATS):
        ours.append(_judged_per_s())
        others.append(_straightforward_per_s())
    repeats = tuple(one / other for one, other in zip(ours, others, strict=True))
    note = "QoS 1, the same broker and publisher; in turns the gateway agent, and benchmarks/twin.py in its place"
    return Figure("path_ratio_to_straightforward", median(repeats), "", TWIN_TARGET, "above", median(ours),
                  median(others), repeats, note)  # fmt: skip


def gateway_resident_mb() -> Figure:
    """Most memory the agent ever held: 20 points at 100 captures a second, rounds of learning meanwhile."""
    repeats = []
    for _ in range(REPEATS):
        with bench_site(POINTS, learns=True) as bench:
            stream = _commissioned(bench)
            stream.publish(LATENCY_CAPTURES, per_second=RATE_PER_S)
            stream.wait_stored(60)
            bench.wait("round of learning", lambda: look_at_site(bench.site).rounds >= 1, within_s=60)
            repeats.append(bench.gateway_memory_mb("VmHWM"))
            stream.close()
    value = median(repeats)
    return Figure("gateway_resident_mb", value, "MB", RESIDENT_TARGET_MB, "below", value, None, tuple(repeats),
                  f"VmHWM, {POINTS} points, training included")  # fmt: skip


def _commissioned(bench: Bench) -> Stream:
    stream = Stream(bench.sensors_broker, POINTS)
    stream.publish(POINTS * (COMMISSIONING_CAPTURES + 2), per_second=RATE_PER_S)
    stream.wait_stored(120)
    bench.wait("points ready", lambda: look_at_site(bench.site).ready_points == POINTS, within_s=60)
    return stream


def _judged_per_s(*, keep_raw: bool = True) -> float:
    """Captures a second through the whole path: received, judged, committed, acknowledged."""
    with bench_site(POINTS, learns=False, keep_raw=keep_raw) as bench:
        stream = _commissioned(bench)
        with bench.site_elsewhere():
            began_s = stream.publish(FLOOD_CAPTURES, ahead=AHEAD_CAPTURES)
            rate = FLOOD_CAPTURES / (stream.wait_stored(300) - began_s)
        stream.close()
    return rate


def _thrown_away_per_s(program: str) -> float:
    """Captures a second that `mosquitto_sub` takes from the same topics, with the gateway's own right to read them."""

    def sub(bench: Bench) -> list[str]:
        return [program, *how_to_reach(bench), "-V", "5", "-q", "1", "-C", str(FLOOD_CAPTURES), "-F", "%l",
                "-i", "bench-listener", "-t", CAPTURE.filter(site=SITE, gateway=GATEWAY)]  # fmt: skip

    return _taken_per_s(sub, FLOOD_CAPTURES)


def _straightforward_per_s() -> float:
    def twin(bench: Bench) -> list[str]:
        folder = bench.gateway_folder
        return [sys.executable, "-m", "benchmarks.twin", str(folder / "gateway.toml"), str(folder / "twin.db"),
                str(TWIN_CAPTURES)]  # fmt: skip

    return _taken_per_s(twin, TWIN_CAPTURES)


def _taken_per_s(command: Callable[[Bench], Sequence[str]], count: int) -> float:
    """Captures a second of a program that takes the gateway's place, and ends when it has so many."""
    with bench_site(POINTS, learns=False, judged=False) as bench:
        stream = Stream(bench.sensors_broker, POINTS)
        with subprocess.Popen(command(bench), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as taker:
            time.sleep(SUBSCRIBED_WITHIN_S)
            began_s = stream.publish(count)
            taker.communicate(timeout=300)
            rate = count / (time.monotonic() - began_s)
        stream.close()
    return rate
