"""This file knows the way of a capture through a running gateway: queue, judge, commit, acknowledge, in this order.

One thread owns the judge; the network thread only puts into its queue, and the committer makes true what was judged
while the next batch is judged.
The broker holds what has not been acknowledged, so the queue has room for the whole unacknowledged window, and for
the one before a reconnect besides: it can only be full when the broker does not keep to the window, and then the
network thread waits and TCP holds the broker back.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gateway_agent.batch import ACKNOWLEDGED_EARLY, URGENT, Batch, DeadLetter
from gateway_agent.broker_order import BrokerOrder
from gateway_agent.committer import Committer, ToCommit
from gateway_agent.healthy_rows import HealthyRows
from gateway_agent.intake import Intake, Payload, Taken
from gateway_agent.judge import Judge
from gateway_agent.settings import IngestSettings
from gateway_agent.silence import SilenceWatch
from gateway_agent.store import Store
from gateway_agent.waiting import Waiting
from schemas.errors import RejectedInput
from schemas.link import Connection, Received
from schemas.logs import event

log = logging.getLogger(__name__)

SILENCE_LOOK_S = 1.0

Job = Callable[[Judge, Batch], None]
"""Something another thread wants done between two batches, with whatever it makes true."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where time comes from, and how to wait for something while a full disk keeps a batch in hand."""

    wall_us: Callable[[], int] = lambda: time.time_ns() // 1000
    monotonic_s: Callable[[], float] = time.monotonic
    wait_for: Callable[[threading.Condition, Callable[[], bool], float], bool] = threading.Condition.wait_for


class IngestWorker:
    """Takes captures from the queue and makes them true."""

    def __init__(
        self, settings: IngestSettings, judge: Judge, intake: Intake, store: Store, healthy: HealthyRows, clocks: Clocks
    ) -> None:
        self._settings = settings
        self._judge = judge
        self.silence = SilenceWatch(settings.silent_after_intervals, settings.silent_after_s)
        self._silence_looked_at_s = -math.inf
        self._link: Connection | None = None
        self._intake = intake
        self._clocks = clocks
        self._order = BrokerOrder(settings.queue_captures)
        self._committer = Committer(
            store, self._order, site=intake.site, gateway=intake.gateway, learn=healthy.add,
            monotonic_s=clocks.monotonic_s, wait_for=clocks.wait_for,
        )  # fmt: skip
        lock = threading.RLock()
        self._waiting = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._queue: deque[tuple[Received, int]] = deque()
        self._jobs: deque[Job] = deque()
        self._stopping = False
        self._judging_since_s: float | None = None

    def use_settings(self, settings: IngestSettings) -> None:
        """Take batches of another size from now on; called in this worker's thread."""
        self._settings = settings

    def attach(self, link: Connection) -> None:
        """Name the link on which captures come and acknowledgements go."""
        self._link = link
        self._committer.attach(link)

    @property
    def committed(self) -> threading.Event:
        """Set after every commit; the uplink waits for it."""
        return self._committer.committed

    @property
    def disk_full(self) -> bool:
        """Whether a batch waits for room on the disk."""
        return self._committer.disk_full

    @property
    def busy_since_s(self) -> float | None:
        """Since when the batch in hand has been in hand, judged or written; None when nothing is."""
        since_s = [at_s for at_s in (self._judging_since_s, self._committer.busy_since_s) if at_s is not None]
        return min(since_s, default=None)

    def settle(self) -> None:
        """Return when everything judged so far is true; for who is about to ask the store."""
        self._committer.settle()

    @property
    def queued(self) -> int:
        """Captures waiting."""
        return len(self._queue)

    def put(self, received: Received) -> None:
        """Take one message from the network thread; as `put_all`."""
        self.put_all((received,))

    def put_all(self, messages: Iterable[Received]) -> None:
        """Take messages from the network thread; waits for room when the queue is full.

        Brokers do not all keep to the agreed window (mosquitto 2.0.11 does not). A message refused here would not come
        again on this connection, so the network thread stands still instead, and TCP holds the broker back. What
        comes when this worker ends is not taken: it stays with the broker.
        """
        at_us = self._clocks.wall_us()
        with self._waiting:
            for received in messages:
                if self._takes_the_place_of_its_older_self(received):
                    continue
                if len(self._queue) >= 2 * self._settings.queue_captures:
                    self._waiting.notify()
                    self._room.wait_for(lambda: self._stopping or len(self._queue) < 2 * self._settings.queue_captures)
                    at_us = self._clocks.wall_us()
                if self._stopping:
                    return
                self._queue.append((received, at_us))
            self._waiting.notify()

    def _takes_the_place_of_its_older_self(self, received: Received) -> bool:
        """After a reconnect the broker sends again what waits here; only the new copy can be acknowledged."""
        for index, (waiting, at_us) in enumerate(self._queue):
            if not waiting.is_of_older_connection_than(received):
                return False
            if (waiting.topic, waiting.payload) == (received.topic, received.payload):
                del self._queue[index]
                self._queue.append((received, at_us))
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
        self._committer.stop()

    def run(self) -> None:
        """Work until stopped."""
        self._committer.start()
        while self._wait_for_work():
            self.turn()
        self._committer.end()

    def turn(self) -> bool:
        """Do one batch of what waits now, jobs first; without waiting. False when nothing was to do."""
        self._committer.check()
        jobs = self._take_jobs()
        self._judging_since_s = self._clocks.monotonic_s()
        if jobs:
            self.settle()
        for job in jobs:
            batch = Batch(self._clocks.wall_us())
            job(self._judge, batch)
            self._committer.give(ToCommit(batch))
            self.settle()
        received = self._take()
        self._work(received)
        self._look_for_silence()
        self._judge.follow_model()
        self._judging_since_s = None
        return bool(received or jobs)

    def _wait_for_work(self) -> bool:
        """Wait for something to do, then a moment for more of it; False when stopped."""
        with self._waiting:
            if not (self._queue or self._jobs or self._stopping or self._judge.following):
                self._waiting.wait(1.0)  # and then round: fragments grow old without anything coming
            deadline_s = self._clocks.monotonic_s() + self._settings.batch_wait_s
            while 0 < len(self._queue) < self._settings.batch_captures and not self._jobs and not self._stopping:
                left_s = deadline_s - self._clocks.monotonic_s()
                if left_s <= 0 or not self._waiting.wait(left_s):
                    break
            return not self._stopping

    def _take_jobs(self) -> list[Job]:
        with self._waiting:
            jobs = list(self._jobs)
            self._jobs.clear()
            return jobs

    def _take(self) -> list[tuple[Received, int]]:
        with self._waiting:
            count = min(len(self._queue), self._settings.batch_captures)
            taken = [self._queue.popleft() for _ in range(count)]
            self._room.notify_all()
            return taken

    def _look_for_silence(self) -> None:
        """Tell of sensors that are not heard any more; while the broker is away that says nothing of them."""
        now_s = self._clocks.monotonic_s()
        if now_s - self._silence_looked_at_s < SILENCE_LOOK_S:
            return
        self._silence_looked_at_s = now_s
        if self._link is None or not self._link.connected:
            self.silence.excuse(now_s=now_s)
        batch = Batch(self._clocks.wall_us())
        for silence in self.silence.fallen_silent(now_s=now_s):
            monitor = self._judge.monitors[silence.point]
            batch.records += [(URGENT, record) for record in monitor.fall_silent(silence.text(), batch.now_us)]
            batch.point_states[silence.point] = monitor.dump()
        if not batch.empty:
            self._committer.give(ToCommit(batch))

    def _work(self, received: list[tuple[Received, int]]) -> None:
        taken: list[Taken] = []
        dead: list[DeadLetter] = []
        safe: list[Received] = []  # once this batch is true
        now_s = self._clocks.monotonic_s()
        for message, at_us in received:
            try:
                one = self._intake.take(Payload(message.topic, message.payload, at_us), now_s=now_s)
            except RejectedInput as error:
                dead.append(DeadLetter(message.topic, error.reason, str(error), message.payload, at_us))
                event(
                    log, logging.WARNING, "capture_refused", topic=message.topic, reason=error.reason, text=str(error)
                )
            else:
                if isinstance(one, Waiting):
                    self._order.came(message, one)
                    continue
                taken.append(one)
            self._order.came(message)
            safe.append(message)
        at_us = self._clocks.wall_us()
        dead += [
            DeadLetter("fragment", error.reason, str(error), b"", at_us) for error in self._intake.given_up(now_s=now_s)
        ]
        early = self._order.let_go_early()
        safe += self._order.finished_pieces() + early
        if not (safe or dead):
            return
        for one in taken:
            self.silence.hear(one.point, one.capture.measured_at_us, now_s=now_s)
        judged = self._judge.process(taken, now_us=self._clocks.wall_us())
        judged.batch.dead_letters = dead
        if early:
            judged.batch.counts[ACKNOWLEDGED_EARLY] += len(early)
        judged.batch.now_us = self._clocks.wall_us()
        self._committer.give(ToCommit(judged.batch, safe, judged.acknowledge, judged.healthy))
