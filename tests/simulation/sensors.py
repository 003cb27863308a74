"""This file knows sensors and what they do with a capture: keep it until it is acknowledged, say it once, or in pieces.

Captures are tiny, of one axis and 64 samples: the way they go is looked at here, not what is heard in them.
"""

import random
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schemas.capture import Capture, CaptureFlag, encode_capture
from schemas.fragments import split
from schemas.link import Received
from schemas.messages import CaptureAck, decode
from schemas.topics import CAPTURE, CAPTURE_ACK, CAPTURE_FRAGMENT
from tests.simulation.broker_model import BrokerModel, SimulatedLink
from tests.simulation.clock import EPOCH_US

Key = tuple[str, int, int]
"""Point, boot, sequence: the name of a capture for ever."""
Kind = Literal["keeps", "says_once", "in_pieces", "keeps_in_pieces"]

SAMPLES, RATE_HZ, COUNTS_A_G = 64, 12_000.0, 4000
INTERVAL_S = 720.0
RESEND_S, RESEND_AT_ONCE = 45.0, 16
MEMORY_CAPTURES = 64  # when full the oldest goes; it was not acknowledged
PIECE_BYTES = 80
PIECE_LOST = 0.04  # of the pieces the radio loses


@cache
def heard() -> dict[str, list[NDArray[np.int16]]]:
    """What machines sound like: healthy ones, one that whistles, and a sensor that says one number for ever."""
    noise = np.random.default_rng(0).standard_normal((16, 1, SAMPLES))
    return {
        "healthy": [(400 * one).astype(np.int16) for one in noise],
        "loud": [(400 * one + 4000 * np.sin(1.57 * np.arange(SAMPLES))).astype(np.int16) for one in noise[:4]],
        "stuck": [np.full((1, SAMPLES), 7, np.int16)],
    }


class Sensor:
    """One sensor on its machine."""

    def __init__(self, hub: "SensorHub", machine: str, kind: Kind, draw: random.Random) -> None:
        self.point = f"{machine}/de"
        self.kind = kind
        self.hub = hub
        self._draw = draw
        self._names = {"site": hub.site, "gateway": hub.gateway, "machine": machine, "position": "de"}
        self.topic = CAPTURE.path(**self._names)
        self._fragment_topic = CAPTURE_FRAGMENT.path(**self._names)
        self._sounds_like = "healthy"
        self._for_captures = 0
        self._kept: OrderedDict[tuple[int, int], tuple[bytes, float]] = OrderedDict()
        self._resending = False
        self.boot = draw.getrandbits(62)
        self._next = 0

    @property
    def keeps(self) -> bool:
        """Whether it keeps captures until they are acknowledged."""
        return self.kind.startswith("keeps")

    @property
    def kept(self) -> int:
        """Captures in its memory."""
        return len(self._kept)

    def sound(self, like: str, captures: int) -> None:
        """Hear something else for so many captures."""
        self._sounds_like, self._for_captures = like, captures

    def reboot(self, *, forgets: bool) -> None:
        """Count from 0 under another name."""
        self.boot, self._next = self._draw.getrandbits(62), 0
        if forgets:
            self._kept.clear()

    def measure(self) -> None:
        """Make one capture and say it."""
        self._for_captures -= 1
        if self._for_captures < 0:
            self._sounds_like = "healthy"
        capture = Capture(
            self.boot, self._next, EPOCH_US + self.hub.now_us(), RATE_HZ,
            self._draw.choice(heard()[self._sounds_like]), np.array([1 / COUNTS_A_G]),
            flags=CaptureFlag.KEPT_UNTIL_ACK if self.keeps else CaptureFlag.NONE,
        )  # fmt: skip
        raw = encode_capture(capture)
        key = (self.point, self.boot, self._next)
        self._next += 1
        self.hub.made(key, raw)
        if self.keeps:
            while len(self._kept) >= MEMORY_CAPTURES:
                self._kept.popitem(last=False)
            self._kept[key[1:]] = (raw, self.hub.now_us() / 1e6)
            self._look_again_later()
        self._say(key, raw)

    def acknowledged(self, ack: CaptureAck) -> list[Key]:
        """Forget what the gateway says it has; return what that was."""
        gone = [kept for kept in self._kept if kept[0] == ack.boot and kept[1] <= ack.through]
        for kept in gone:
            del self._kept[kept]
        return [(self.point, *kept) for kept in gone]

    def _say(self, key: Key, raw: bytes) -> None:
        link = self.hub.link
        if not self.kind.endswith("in_pieces"):
            link.publish(self.topic, raw)
            return
        pieces = split(raw, stream=key[1], item=key[2], piece_bytes=PIECE_BYTES)
        pieces += [piece for piece in pieces if self._draw.random() < 0.1]
        self._draw.shuffle(pieces)
        for piece in pieces:
            if self._draw.random() >= PIECE_LOST:
                link.publish(self._fragment_topic, piece)

    def _look_again_later(self) -> None:
        if not self._resending:
            self._resending = True
            self.hub.after(RESEND_S, self._say_again)

    def _say_again(self) -> None:
        self._resending = False
        if not self._kept:
            return
        now_s = self.hub.now_us() / 1e6
        old = [kept for kept, (_, said_s) in self._kept.items() if now_s - said_s >= RESEND_S * 0.9]
        for kept in old[:RESEND_AT_ONCE] if self.hub.link.connected else ():
            raw, _ = self._kept[kept]
            self._kept[kept] = (raw, now_s)
            self._say((self.point, *kept), raw)
        self._look_again_later()


class SensorHub:
    """The radio through which the sensors of one gateway speak to the broker."""

    def __init__(
        self, broker: BrokerModel, site: str, gateway: str, *, made: Callable[[Key, bytes], None],
        forgotten: Callable[[Key], None],
    ) -> None:  # fmt: skip
        self.site = site
        self.gateway = gateway
        self.made = made
        self.sensors: dict[str, Sensor] = {}
        self._forgotten = forgotten
        self._clock = broker.clock
        self.link = SimulatedLink(
            broker, f"{gateway}-radio", filters=[CAPTURE_ACK.filter(site=site, gateway=gateway)],
            on_message=self._answered, max_in_flight=500,
        )  # fmt: skip

    def add(self, sensor: Sensor) -> None:
        """Take a sensor in."""
        self.sensors[sensor.point] = sensor

    def now_us(self) -> int:
        """Time since the simulation began."""
        return self._clock.now_us

    def after(self, delay_s: float, what: Callable[[], None]) -> None:
        """Have something done after a while."""
        self._clock.after(delay_s, what)

    def _answered(self, received: Received) -> None:
        ack = decode(CaptureAck, received.payload)
        for key in self.sensors[ack.point].acknowledged(ack):
            self._forgotten(key)
