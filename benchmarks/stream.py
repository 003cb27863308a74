"""This file knows the stream of captures that is measured with: and when each capture was through."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from benchmarks.plant import GATEWAY, SENSORS, SITE
from schemas.capture import Capture, CaptureFlag, encode_capture
from schemas.fast_link import FastLink
from schemas.link import Received
from schemas.messages import CaptureAck, decode
from schemas.settings import BrokerSettings
from schemas.topics import CAPTURE, CAPTURE_ACK

CHANNELS, SAMPLES, RATE_HZ = 3, 8192, 25_600.0
DIFFERENT = 16  # waveforms a point; what they hold does not change what they cost
WAVES_OF = 20  # points; further ones have theirs again
POSITION = "de"
SEED = 11
PATIENCE_S = 60.0


@dataclass(slots=True)
class Stream:
    """Publishes captures of many points and hears from the gateway which of them are in its database.

    Attributes:
        points: How many.
        latencies_s: From handing over the last byte of a capture to the gateway's word that it is stored, scored.
    """

    broker: BrokerSettings
    points: int
    latencies_s: list[float] = field(default_factory=list)
    _link: FastLink = field(init=False)
    _sent_at_s: dict[tuple[str, int], float] = field(default_factory=dict)
    _through: dict[str, int] = field(default_factory=dict)
    _next: dict[str, int] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _waves: list[list[np.ndarray[tuple[int, int], np.dtype[np.int16]]]] = field(init=False)

    def __post_init__(self) -> None:
        """Make the waveforms and connect."""
        chance = np.random.default_rng(SEED)
        self._waves = [[wave(chance) for _ in range(DIFFERENT)] for _ in range(min(self.points, WAVES_OF))]
        self._link = FastLink(
            self.broker, SENSORS, on_messages=self._acknowledged,
            subscriptions=[(CAPTURE_ACK.filter(site=SITE, gateway=GATEWAY), 1)], max_in_flight=400,
        )  # fmt: skip
        self._link.start()
        if not self._link.wait_connected(20):
            raise TimeoutError("the publisher does not get to the broker")

    def close(self) -> None:
        """Disconnect."""
        self._link.stop()

    def publish(self, count: int, *, per_second: float | None = None, ahead: int | None = None) -> float:
        """Publish captures, point after point; at a rate, or as fast as the broker takes them.

        Args:
            count: How many.
            per_second: The rate, if there is one.
            ahead: Captures that may be on their way to the database at a time, if that is limited: as sensors do
                that keep what is not acknowledged.

        Returns:
            When the first went out, by the monotonic clock.
        """
        captures = list(self._captures(count)) if per_second is None else self._captures(count)
        began_s = time.monotonic()
        for number, (topic, payload, key) in enumerate(captures):
            if per_second is not None:
                time.sleep(max(0.0, began_s + number / per_second - time.monotonic()))
            with self._changed:
                if ahead is not None:
                    self._changed.wait_for(lambda: len(self._sent_at_s) < ahead, PATIENCE_S)
                self._sent_at_s[key] = time.monotonic()
            while not self._link.publish(topic, payload):
                self._link.wait_window(1.0)
                self._sent_at_s[key] = time.monotonic()
        return began_s

    def wait_stored(self, within_s: float) -> float:
        """Wait until everything published is in the gateway's database; return when, by the monotonic clock."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._sent_at_s, within_s):
                raise TimeoutError(f"{len(self._sent_at_s)} captures are not stored after {within_s:.0f} s")
        return time.monotonic()

    def _captures(self, count: int) -> Iterator[tuple[str, bytes, tuple[str, int]]]:
        for number in range(count):
            machine = f"m-{number % self.points:02d}"
            point = f"{machine}/{POSITION}"
            sequence = self._next.get(point, 0)
            self._next[point] = sequence + 1
            wave = self._waves[number % self.points % WAVES_OF][sequence % DIFFERENT]
            capture = Capture(
                1 + number % self.points, sequence, time.time_ns() // 1000, RATE_HZ, wave, np.full(CHANNELS, 5e-4),
                range_g=16.0, rpm=1480.0, flags=CaptureFlag.KEPT_UNTIL_ACK,
            )  # fmt: skip
            topic = CAPTURE.path(site=SITE, gateway=GATEWAY, machine=machine, position=POSITION)
            yield topic, encode_capture(capture), (point, sequence)

    def _acknowledged(self, handful: list[Received]) -> None:
        now_s = time.monotonic()
        with self._changed:
            for ack in (decode(CaptureAck, received.payload) for received in handful):
                for sequence in range(self._through.get(ack.point, -1) + 1, ack.through + 1):
                    sent_s = self._sent_at_s.pop((ack.point, sequence), None)
                    if sent_s is not None:
                        self.latencies_s.append(now_s - sent_s)
                self._through[ack.point] = max(self._through.get(ack.point, -1), ack.through)
            self._changed.notify_all()
        self._link.acknowledge_all(handful)


def wave(chance: np.random.Generator) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    """A sound machine, 0.7 mm/s: its shaft, two harmonics, and noise that is never twice the same."""
    at_s = np.arange(SAMPLES) / RATE_HZ
    shaft_hz = 1480.0 / 60.0
    tone = sum(
        level * np.sin(2 * np.pi * order * shaft_hz * at_s + chance.uniform(0, 6.28))
        for order, level in ((1, 30.0), (2, 12.0), (3, 8.0))
    )
    noise = chance.normal(0.0, 60.0, (CHANNELS, SAMPLES))
    return np.asarray(np.round(noise + tone), np.int16)
