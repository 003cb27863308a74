"""This file knows a sensor that measures on and on and keeps each capture until its gateway's acknowledgement names it.

What it has heard is what the gateway has promised: `acknowledged` is held against the site's database by the tests.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Self

from schemas.capture import Capture, CaptureFlag, encode_capture
from schemas.link import Link, Received
from schemas.messages import CaptureAck, decode
from schemas.settings import BrokerSettings
from schemas.topics import CAPTURE, CAPTURE_ACK
from tests.support.captures import healthy
from tests.support.plant import wait_until

TICK_S = 0.01
RESEND_S = 1.0


class KeepingSensor:
    """One sensor on a real connection, in a thread of its own.

    It keeps at most `keep` captures and then measures no more: nothing that it has measured is ever given up.
    """

    def __init__(
        self, settings: BrokerSettings, *, site: str, gateway: str, machine: str = "pump-07", position: str = "de",
        boot: int = 1, rate_a_s: float = 25.0, keep: int = 64, measure: Callable[..., Capture] = healthy,
    ) -> None:  # fmt: skip
        names = {"site": site, "gateway": gateway, "machine": machine, "position": position}
        self.gateway, self.point, self.boot = gateway, f"{machine}/{position}", boot
        self.measured = 0
        self.acknowledged = -1
        self.sent = 0
        self.rate_a_s = rate_a_s
        self._topic, self._keep, self._measure = CAPTURE.path(**names), keep, measure
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._sent_at_s: dict[int, float] = {}
        self._acks: deque[int] = deque()
        self._reconnected = threading.Event()
        self._measuring = True
        self._ending = threading.Event()
        self.link = Link(
            settings, f"sensor-{machine}-{position}-{boot}", on_message=self._heard,
            on_connected=self._reconnected.set, subscriptions=[(CAPTURE_ACK.path(**names), 1)],
        )  # fmt: skip
        self._thread = threading.Thread(target=self._run, name=f"sensor {self.point}", daemon=True)

    @property
    def kept(self) -> int:
        """Captures whose acknowledgement has not come."""
        return len(self._kept)

    def stop_measuring(self) -> None:
        """Send what is kept until it is acknowledged, and nothing new."""
        self._measuring = False

    def wait_all_acknowledged(self, within_s: float = 60.0) -> None:
        """Return once the gateway has promised to keep everything."""
        self.stop_measuring()
        wait_until("all captures are acknowledged", lambda: not self._kept, within_s=within_s, every_s=0.02)

    def wait_acknowledged(self, through: int, within_s: float = 60.0) -> None:
        """Return once an acknowledgement reaches this sequence."""
        wait_until(f"capture {through} is acknowledged", lambda: self.acknowledged >= through, within_s=within_s,
                   every_s=0.02)  # fmt: skip

    def __enter__(self) -> Self:
        self.link.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self.link.stop()

    def _heard(self, received: Received) -> None:
        ack = decode(CaptureAck, received.payload)
        if ack.boot == self.boot:
            self._acks.append(ack.through)

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._ending.wait(TICK_S):
            now_s = time.monotonic()
            while self._acks:
                self._forget(self._acks.popleft())
            if self._reconnected.is_set():
                self._reconnected.clear()
                self._sent_at_s.clear()
            while self._measuring and now_s >= due_s and len(self._kept) < self._keep:
                capture = self._measure(self.measured, boot=self.boot, flags=CaptureFlag.KEPT_UNTIL_ACK)
                self._kept[self.measured] = encode_capture(capture)
                self.measured += 1
                due_s = max(due_s + 1 / self.rate_a_s, now_s - 1.0)
            self._send(now_s)

    def _forget(self, through: int) -> None:
        self.acknowledged = max(self.acknowledged, through)
        for sequence in [s for s in self._kept if s <= through]:
            del self._kept[sequence]
            self._sent_at_s.pop(sequence, None)

    def _send(self, now_s: float) -> None:
        for sequence, raw in self._kept.items():
            if now_s - self._sent_at_s.get(sequence, -1e9) < RESEND_S:
                continue
            if not self.link.publish(self._topic, raw):
                return
            self._sent_at_s[sequence] = now_s
            self.sent += 1
