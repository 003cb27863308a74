"""This file knows how deliveries reach a real broker in real time, and what happens when it is away.

The queue is bounded. When it is full because the broker is slow, time stands still for the plant (back-pressure);
when the broker is away, sensors go on measuring and the oldest capture is dropped and counted, as in the field. A
recording is never dropped: it waits. What a sensor keeps until acknowledged is not queued here but in its memory.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from schemas.errors import RejectedInput
from schemas.link import Received
from schemas.logs import event
from schemas.messages import CaptureAck, decode
from schemas.supervision import Asked
from sensor_sim.delivery import Delivery, fit_packets
from sensor_sim.kept_captures import KeptCaptures

log = logging.getLogger(__name__)

MAX_ACKS = 10_000  # waiting to be read; an acknowledgement is cumulative, so a dropped one does no harm
TICK_S = 0.05
REPORT_S = 10.0


class Outlet(Protocol):
    """What the publisher needs of `schemas.link.Link`."""

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""

    @property
    def max_payload_bytes(self) -> int:
        """The largest payload the broker takes."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        """Hand over one message; False when that is not possible now."""

    def wait_window(self, timeout_s: float) -> bool:
        """Wait until one more message can be handed over."""

    def wait_published(self, timeout_s: float) -> bool:
        """Wait until the broker has answered for all."""


class Answers:
    """What comes back from the broker, handed from the link's network thread to the publisher; bounded.

    Attributes:
        bad: Payloads that are no acknowledgement.
    """

    def __init__(self) -> None:
        self._acks: deque[CaptureAck] = deque(maxlen=MAX_ACKS)
        self._reconnected = threading.Event()
        self.bad = 0

    def take(self, received: Received) -> None:
        """Take an acknowledgement of a gateway."""
        try:
            self._acks.append(decode(CaptureAck, received.payload))
        except RejectedInput:
            self.bad += 1

    def connected(self) -> None:
        """Note that the broker is there again."""
        self._reconnected.set()

    def acknowledgements(self) -> Iterator[CaptureAck]:
        """Give what has come since the last call."""
        while self._acks:
            yield self._acks.popleft()

    def reconnected(self) -> bool:
        """Tell whether the broker has come back since the last call."""
        came_back = self._reconnected.is_set()
        self._reconnected.clear()
        return came_back


class Publisher:
    """Plays deliveries into an outlet.

    Args:
        outlet: The connection.
        answers: What comes back over it.
        kept: Memories of sensors that keep captures.
        now_s: Monotonic clock.
        speed: Seconds of the plant in one second; infinite to go as fast as the broker takes.
        queue_deliveries: Bound of the queue.
        may_drop: Whether the oldest is dropped when the queue is full and the broker away; else all wait.
        stop: Ends the run early.

    Attributes:
        counters: published, repeated, lost_on_the_way, left_to_memory, dropped_while_away, acknowledged, and at
            the end left_behind and never_acknowledged.
    """

    def __init__(
        self,
        outlet: Outlet,
        answers: Answers,
        kept: KeptCaptures,
        *,
        now_s: Callable[[], float],
        speed: float,
        queue_deliveries: int,
        may_drop: bool,
        stop: Asked,
    ) -> None:
        self._outlet = outlet
        self._answers = answers
        self._kept = kept
        self._now_s = now_s
        self._speed = speed
        self._queue: deque[Delivery] = deque()
        self._queue_deliveries = queue_deliveries
        self._may_drop = may_drop
        self._stop = stop
        self._packets: list[tuple[str, bytes]] = []  # of the delivery under way, those still to go
        self._reported_s = now_s()
        self.counters: Counter[str] = Counter()

    def run(self, deliveries: Iterable[Delivery], *, linger_s: float = 10.0) -> None:
        """Play all deliveries, then wait until they are out and acknowledged, at most `linger_s`.

        A stop ends it at once; what is queued is then counted as `left_behind`.
        """
        start_s: float | None = None
        for delivery in deliveries:
            if start_s is None:
                start_s = self._now_s() - delivery.at_s / self._speed
            if not self._wait_until(start_s + delivery.at_s / self._speed):
                break
            waited_from_s = self._now_s()
            if not self._take(delivery):
                break
            if len(self._queue) < self._queue_deliveries and self._outlet.connected:
                continue
            start_s += self._now_s() - waited_from_s
        self._finish(linger_s)

    def _take(self, delivery: Delivery) -> bool:
        """Queue one delivery; False when stopped while waiting for room."""
        if delivery.kept and not delivery.repeated:
            self._kept.keep(delivery, now_s=self._now_s())
        if delivery.lost:
            self.counters["lost_on_the_way"] += 1
            return True
        while len(self._queue) >= self._queue_deliveries:
            if self._may_drop and not self._outlet.connected:
                self._drop_oldest()
                break
            if not self._serve():
                if self._stop.is_set():
                    return False
                self._outlet.wait_window(TICK_S)
        self._queue.append(delivery)
        self._serve()
        return True

    def _drop_oldest(self) -> None:
        oldest = self._queue.popleft()
        self._packets = []
        self.counters["left_to_memory" if oldest.kept else "dropped_while_away"] += 1

    def _wait_until(self, due_s: float) -> bool:
        """Serve the queue until a time; False when stopped."""
        while not self._stop.is_set():
            self._serve()
            left_s = due_s - self._now_s()
            if left_s <= 0:
                return True
            self._stop.wait(min(left_s, TICK_S))
        return False

    def _serve(self) -> bool:
        """Read acknowledgements, send again what is due, hand over what the broker takes; tell whether it took any."""
        for ack in self._answers.acknowledgements():
            self.counters["acknowledged"] += self._kept.acknowledge(ack.point, ack.boot, ack.through)
        if self._answers.reconnected():
            self._kept.reconnected()
        self._report()
        if not self._outlet.connected:
            return False
        if not self._queue:
            for delivery in self._kept.due(now_s=self._now_s()):
                self._queue.append(delivery)
                self.counters["repeated"] += 1
        moved = False
        while self._queue and self._hand_over(self._queue[0]):
            self._kept.sent(self._queue.popleft(), now_s=self._now_s())
            self.counters["published"] += 1
            moved = True
        return moved

    def _hand_over(self, delivery: Delivery) -> bool:
        packets = self._packets or list(fit_packets(delivery, self._outlet.max_payload_bytes))
        while packets and self._outlet.publish(*packets[0]):
            packets.pop(0)
        self._packets = packets
        return not packets

    def _finish(self, linger_s: float) -> None:
        give_up_s = self._now_s() + linger_s
        while not self._stop.is_set() and (self._queue or self._kept.captures) and self._now_s() < give_up_s:
            if not self._serve():
                self._stop.wait(TICK_S)
        self._outlet.wait_published(max(0.0, min(2.0, give_up_s - self._now_s())))
        self.counters["left_behind"] = len(self._queue)
        self.counters["never_acknowledged"] = self._kept.captures
        self._report(now=True)

    def _report(self, *, now: bool = False) -> None:
        at_s = self._now_s()
        if now or at_s - self._reported_s >= REPORT_S:
            self._reported_s = at_s
            event(log, logging.INFO, "sensors_published", queued=len(self._queue), kept=self._kept.captures,
                  kept_dropped=self._kept.dropped, bad_acks=self._answers.bad, **self.counters)  # fmt: skip
