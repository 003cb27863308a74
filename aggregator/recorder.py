"""This file knows how the historian is fed: the network thread only hands over, one worker stores and answers.

The order is the promise: commit, then the answer to the gateway, then the acknowledgement to the broker. Killed
between any two, the same messages come again and change nothing.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from aggregator.database import may_pass
from aggregator.historian import Arrived, Historian
from aggregator.intake import Refused, read
from aggregator.settings import AggregatorSettings
from schemas.link import Link, Received
from schemas.logs import event
from schemas.messages import GatewayStatus, RecordsAck, encode
from schemas.signing import KeyRing, Signer
from schemas.topics import RECORDS, RECORDS_ACK, STATUS

log = logging.getLogger(__name__)

RETRY_FIRST_S, RETRY_MOST_S = 0.2, 10.0
LOOK_FOR_LOST_S = 1.0


@dataclass(slots=True)
class Counters:
    """What was done since the start."""

    messages: int = 0
    commits: int = 0
    refused: int = 0


class Recorder:
    """The historian with its connection and its thread.

    The queue is bounded: when it is full the network thread waits, and the broker keeps what is unacknowledged.
    """

    def __init__(
        self,
        settings: AggregatorSettings,
        historian: Historian,
        *,
        signer: Signer,
        keys: KeyRing,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._historian = historian
        self._signer = signer
        self._keys = keys
        self._now_s = now_s
        self._queue: queue.Queue[Received] = queue.Queue(settings.historian.queue_messages)
        self._stop = threading.Event()
        self._seen_s: dict[str, float] = {}
        self._looked_s = now_s()
        self.counters = Counters()
        self.fault: BaseException | None = None
        self.beat_s = now_s()
        self.link = Link(
            settings.broker,
            f"{settings.name}-historian",
            subscriptions=[(RECORDS.filter(site=settings.name), 1), (STATUS.filter(site=settings.name), 1)],
            on_message=self._hand_over,
            on_fault=self._failed,
            manual_ack=True,
        )
        self._thread = threading.Thread(target=self._run, name="historian", daemon=True)

    def start(self) -> None:
        """Connect in the background and begin to store."""
        self._seen_s = dict.fromkeys(self._historian.online(), self._now_s())
        self._thread.start()
        self.link.start()

    def stop(self) -> None:
        """Store what is in hand, say good-bye; what is still queued was not acknowledged and comes again."""
        self._stop.set()
        self._thread.join(timeout=30)
        self.link.stop()

    @property
    def alive(self) -> bool:
        """Whether it works: the thread runs, moves, and nothing has failed."""
        return self._thread.is_alive() and self.fault is None and self._now_s() - self.beat_s < 60

    def _failed(self, error: Exception) -> None:
        self.fault = error

    def _hand_over(self, received: Received) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(received, timeout=0.5)
            except queue.Full:
                continue
            return

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.beat_s = self._now_s()
                batch = self._collect()
                if batch:
                    self._store(batch)
                self._look_for_lost()
        except Exception as error:
            self.fault = error
            log.exception("historian_failed")

    def _collect(self) -> list[Received]:
        try:
            batch = [self._queue.get(timeout=0.25)]
        except queue.Empty:
            return []
        until_s = self._now_s() + self._settings.historian.batch_wait_s
        while len(batch) < self._settings.historian.batch_messages:
            try:
                batch.append(self._queue.get(timeout=max(0.0, until_s - self._now_s())))
            except queue.Empty:
                break
        return batch

    def _store(self, batch: list[Received]) -> None:
        arrived = [
            Arrived(read(one.topic, one.payload, site=self._settings.name, keys=self._keys), one.retained)
            for one in batch
        ]
        self._note_seen(arrived)
        acks = self._store_patiently(arrived)
        if acks is None:
            return
        for ack in acks:
            topic = RECORDS_ACK.path(site=self._settings.name, gateway=ack.gateway)
            self.link.publish(topic, self._signer.seal(topic, encode(ack)))
        for received in batch:
            self.link.acknowledge(received)
        self.counters.messages += len(batch)
        self.counters.commits += 1
        refused = [one.message for one in arrived if isinstance(one.message, Refused)]
        if refused:
            self.counters.refused += len(refused)
            event(log, logging.WARNING, "input_refused", count=len(refused), reason=refused[0].reason,
                  topic=refused[0].topic[:200], text=refused[0].text)  # fmt: skip

    def _store_patiently(self, arrived: list[Arrived]) -> list[RecordsAck] | None:
        """Try until the database takes it; None when we are told to stop before it does."""
        pause_s = RETRY_FIRST_S
        while True:
            try:
                acks = self._historian.store(arrived)
            except sa.exc.OperationalError as error:
                if not may_pass(error):
                    raise
                if pause_s == RETRY_FIRST_S:
                    event(log, logging.WARNING, "database_away", problem=str(error.__cause__ or error))
            else:
                if pause_s > RETRY_FIRST_S:
                    event(log, logging.INFO, "database_back")
                return acks
            self.beat_s = self._now_s()
            if self._stop.wait(pause_s):
                return None
            pause_s = min(2 * pause_s, RETRY_MOST_S)

    def _note_seen(self, arrived: list[Arrived]) -> None:
        now_s = self._now_s()
        for one in arrived:
            if isinstance(one.message, Refused) or one.retained:
                continue
            if isinstance(one.message, GatewayStatus) and not one.message.online:
                self._seen_s.pop(one.message.gateway, None)
            else:
                self._seen_s[one.message.gateway] = now_s

    def _look_for_lost(self) -> None:
        now_s = self._now_s()
        if now_s - self._looked_s < LOOK_FOR_LOST_S:
            return
        self._looked_s = now_s
        lost = [name for name, seen_s in self._seen_s.items() if now_s - seen_s > self._settings.offline_after_s]
        if not lost:
            return
        try:
            self._historian.write_lost(lost)
        except sa.exc.OperationalError as error:
            if not may_pass(error):
                raise
            event(log, logging.WARNING, "database_away", problem=str(error.__cause__ or error))
            return
        for name in lost:
            del self._seen_s[name]
            event(log, logging.WARNING, "gateway_silent", gateway=name, silence_s=self._settings.offline_after_s)
