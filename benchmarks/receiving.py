"""This file knows how fast messages are received, without anything done with them, beside `mosquitto_sub`.

As a program it is one of the two receivers: `python -m benchmarks.receiving GATEWAY_TOML COUNT`.
"""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure
from benchmarks.plant import GATEWAY, SENSORS, SITE, Bench, bench_site, how_to_reach
from gateway_agent.settings import GatewaySettings
from schemas.fast_link import FastLink
from schemas.link import Received
from schemas.settings import load_settings
from schemas.topics import CAPTURE

TARGET = 0.8
REPEATS = 5
MESSAGES = {2: 60_000, 16: 30_000, 64: 12_000}
PATIENCE_S = 120.0


def receiving_ratio_2kb() -> Figure:
    """Messages of 2 KB a second."""
    return _ratio(2)


def receiving_ratio_16kb() -> Figure:
    """Messages of 16 KB a second."""
    return _ratio(16)


def receiving_ratio_64kb() -> Figure:
    """Messages of 64 KB a second."""
    return _ratio(64)


def _ratio(size_kb: int) -> Figure:
    name = f"receiving_ratio_{size_kb}kb"
    program = shutil.which("mosquitto_sub")
    if program is None:
        note = "MOSQUITTO_SUB IS NOT INSTALLED: nothing to compare with (apt install mosquitto-clients)"
        return Figure(name, None, "", TARGET, "above", None, None, (), note)
    count = MESSAGES[size_kb]
    ours, others = [], []
    with bench_site(1, learns=False, judged=False) as bench:
        reader = [sys.executable, "-m", "benchmarks.receiving", str(bench.gateway_folder / "gateway.toml"), str(count)]
        sub = [program, *how_to_reach(bench), "-V", "5", "-q", "1", "-C", str(count), "-F", "%l",
               "-i", "bench-listener", "-t", CAPTURE.filter(site=SITE, gateway=GATEWAY)]  # fmt: skip
        for _ in range(REPEATS):
            ours.append(_received_per_s(bench, reader, size_kb, count))
            others.append(_received_per_s(bench, sub, size_kb, count))
    repeats = tuple(one / other for one, other in zip(ours, others, strict=True))
    note = f"QoS 1, {count} messages of {size_kb} KB, {bench.by}, the reader of the gateway and mosquitto_sub in turns"
    return Figure(name, median(repeats), "", TARGET, "above", median(ours), median(others), repeats, note)


def _received_per_s(bench: Bench, command: Sequence[str], size_kb: int, count: int) -> float:
    """Messages a second from the first that is published until the receiver has them all."""
    publisher = FastLink(
        bench.sensors_broker, SENSORS, subscriptions=[], on_messages=lambda _: None, max_in_flight=1000
    )
    publisher.start()
    if not publisher.wait_connected(20):
        raise TimeoutError("the publisher does not get to the broker")
    topic = CAPTURE.path(site=SITE, gateway=GATEWAY, machine="m-00", position="de")
    payload = bytes(size_kb * 1024)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as receiver:
        time.sleep(2.0)  # until it has subscribed; mosquitto_sub does not say
        began_s = time.monotonic()
        for _ in range(count):
            while not publisher.publish(topic, payload):
                publisher.wait_window(1.0)
        try:
            receiver.communicate(timeout=PATIENCE_S)
        finally:
            receiver.kill()  # who has lost a message waits for it
        rate = count / (time.monotonic() - began_s)
    publisher.stop()
    return rate


def main(arguments: Sequence[str]) -> int:
    """Receive so many messages, acknowledge each, and end."""
    settings, count = load_settings(GatewaySettings, Path(arguments[0])), int(arguments[1])
    done = threading.Event()
    received = 0

    def take(handful: list[Received]) -> None:
        nonlocal received
        received += len(handful)
        link.acknowledge_all(handful)
        if received >= count:
            done.set()

    subscriptions: list[tuple[str, int]] = [(CAPTURE.filter(site=SITE, gateway=GATEWAY), 1)]
    link = FastLink(settings.broker, "bench-listener", subscriptions=subscriptions, on_messages=take)
    link.start()
    ended = done.wait(PATIENCE_S)
    link.stop()
    return 0 if ended else 1


FIGURES: tuple[Callable[[], Figure], ...] = (receiving_ratio_2kb, receiving_ratio_16kb, receiving_ratio_64kb)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
