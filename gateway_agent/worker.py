"""This file knows the way of a capture through a running gateway: queue, judge, commit, acknowledge, in this order.

One thread owns the judge and everything that writes to the store; the network thread only puts into its queue.
The broker holds what has not been acknowledged, so the queue has room for the whole unacknowledged window, and for
the one before a reconnect besides: it can only be full when the broker does not keep to the window, and then the
network thread waits and TCP holds the broker back.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gateway_agent.batch import Batch, DeadLetter
from gateway_agent.errors import StoreFull
from gateway_agent.healthy_rows import HealthyRows
from gateway_agent.intake import Intake, Payload, Taken
from gateway_agent.judge import Judge, Judged
from gateway_agent.settings import IngestSettings
from gateway_agent.store import Store
from schemas.errors import RejectedInput
from schemas.link import Carrier, Received
from schemas.logs import event
from schemas.messages import CaptureAck, encode
from schemas.topics import CAPTURE_ACK

log = logging.getLogger(__name__)

FULL_DISK_RETRY_S = 1.0
Job = Callable[[Judge, Batch], None]
"""Something another thread wants done between two batches, with whatever it makes true."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where time comes from."""

    wall_us: Callable[[], int] = lambda: time.time_ns() // 1000
    monotonic_s: Callable[[], float] = time.monotonic


class IngestWorker:
    """Takes captures from the queue and makes them true."""

    def __init__(
        self, settings: IngestSettings, judge: Judge, intake: Intake, store: Store, healthy: HealthyRows, clocks: Clocks
    ) -> None:
        self._settings = settings
        self._judge = judge
        self._intake = intake
        self._store = store
        self._healthy = healthy
        self._clocks = clocks
        self._link: Carrier | None = None
        lock = threading.RLock()
        self._waiting = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._queue: deque[tuple[Received, int]] = deque()
        self._jobs: deque[Job] = deque()
        self._stopping = False
        self.committed = threading.Event()
        """Set after every commit; the uplink waits for it."""
        self.disk_full = False
        self.busy_since_s: float | None = None

    def attach(self, link: Carrier) -> None:
        """Name the link on which captures come and acknowledgements go."""
        self._link = link

    @property
    def queued(self) -> int:
        """Captures waiting."""
        return len(self._queue)

    def put(self, received: Received) -> None:
        """Take a message from the network thread; waits for room when the queue is full.

        Brokers do not all keep to the agreed window (mosquitto 2.0.11 does not). A message refused here would not come
        again on this connection, so the network thread stands still instead, and TCP holds the broker back. A message
        that comes when this worker ends is not taken: it stays with the broker.
        """
        with self._waiting:
            if self._takes_the_place_of_its_older_self(received):
                return
            self._room.wait_for(lambda: self._stopping or len(self._queue) < 2 * self._settings.queue_captures)
            if self._stopping:
                return
            self._queue.append((received, self._clocks.wall_us()))
            self._waiting.notify()

    def _takes_the_place_of_its_older_self(self, received: Received) -> bool:
        """After a reconnect the broker sends again what waits here; only the new copy can be acknowledged."""
        for index, (waiting, at_us) in enumerate(self._queue):
            if not waiting.is_of_older_connection_than(received):
                return False
            if (waiting.topic, waiting.payload) == (received.topic, received.payload):
                del self._queue[index]
                self._queue.append((received, at_us))
                self._waiting.notify()
                return True
        return False

    def do(self, job: Job) -> None:
        """Have something done in this worker's thread, between two batches; a job that waits already waits once."""
        with self._waiting:
            if job not in self._jobs:
                self._jobs.append(job)
            self._waiting.notify()

    def stop(self) -> None:
        """End after what is under way; what still waits stays with the broker."""
        with self._waiting:
            self._stopping = True
            self._waiting.notify()
            self._room.notify_all()

    def run(self) -> None:
        """Work until stopped."""
        while self._wait_for_work():
            self.turn()

    def turn(self) -> bool:
        """Do one batch of what waits now, jobs first; without waiting. False when nothing was to do."""
        received, jobs = self._take()
        self.busy_since_s = self._clocks.monotonic_s()
        for job in jobs:
            batch = Batch(self._clocks.wall_us())
            job(self._judge, batch)
            self._commit(batch)
        if received:
            self._work(received)
        self._collect_given_up()
        self.busy_since_s = None
        return bool(received or jobs)

    def _wait_for_work(self) -> bool:
        """Wait for something to do, then a moment for more of it; False when stopped."""
        with self._waiting:
            if not (self._queue or self._jobs or self._stopping):
                self._waiting.wait(1.0)  # and then round: fragments grow old without anything coming
            deadline_s = self._clocks.monotonic_s() + self._settings.batch_wait_s
            while 0 < len(self._queue) < self._settings.batch_captures and not self._jobs and not self._stopping:
                left_s = deadline_s - self._clocks.monotonic_s()
                if left_s <= 0 or not self._waiting.wait(left_s):
                    break
            return not self._stopping

    def _take(self) -> tuple[list[tuple[Received, int]], list[Job]]:
        with self._waiting:
            jobs = list(self._jobs)
            self._jobs.clear()
            count = min(len(self._queue), self._settings.batch_captures)
            taken = [self._queue.popleft() for _ in range(count)]
            self._room.notify_all()
            return taken, jobs

    def _work(self, received: list[tuple[Received, int]]) -> None:
        taken: list[Taken] = []
        dead: list[DeadLetter] = []
        for message, at_us in received:
            try:
                one = self._intake.take(
                    Payload(message.topic, message.payload, at_us), now_s=self._clocks.monotonic_s()
                )
                if one is not None:
                    taken.append(one)
            except RejectedInput as error:
                dead.append(DeadLetter(message.topic, error.reason, str(error), message.payload, at_us))
                event(
                    log, logging.WARNING, "capture_refused", topic=message.topic, reason=error.reason, text=str(error)
                )
        judged = self._judge.process(taken, now_us=self._clocks.wall_us())
        judged.batch.dead_letters = dead
        judged.batch.now_us = self._clocks.wall_us()
        if not self._commit(judged.batch):
            return
        for rows in judged.healthy:
            self._healthy.add(rows)
        self._acknowledge(received, judged)

    def _commit(self, batch: Batch) -> bool:
        """Commit; on a full disk give up old raw captures, then wait. False when stopped before it came to that."""
        if batch.empty:
            return True
        while True:
            try:
                self._store.commit(batch)
            except StoreFull as error:
                if self._store.make_room():
                    continue
                if not self.disk_full:
                    event(log, logging.ERROR, "disk_full", text=str(error))
                self.disk_full = True
                with self._waiting:
                    if self._stopping or self._waiting.wait_for(lambda: self._stopping, FULL_DISK_RETRY_S):
                        return False
                continue
            if self.disk_full:
                event(log, logging.INFO, "disk_has_room_again")
            self.disk_full = False
            self.committed.set()
            return True

    def _acknowledge(self, received: list[tuple[Received, int]], judged: Judged) -> None:
        link = self._link
        if link is None:
            return
        for message, _ in received:
            link.acknowledge(message)
        for (point, boot), through in judged.acknowledge.items():
            if through < 0:
                continue
            machine, _, position = point.partition("/")
            topic = CAPTURE_ACK.path(
                site=self._intake.site, gateway=self._intake.gateway, machine=machine, position=position
            )
            link.publish(topic, encode(CaptureAck(point=point, boot=boot, through=through)))

    def _collect_given_up(self) -> None:
        lost = self._intake.given_up(now_s=self._clocks.monotonic_s())
        if lost:
            now_us = self._clocks.wall_us()
            letters = [DeadLetter("fragment", error.reason, str(error), b"", now_us) for error in lost]
            self._commit(Batch(now_us, dead_letters=letters))
