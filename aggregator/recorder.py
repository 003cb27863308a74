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
from schemas.link import Connection, Link, Received
from schemas.logs import event
from schemas.messages import GatewayStatus, RecordsAck, encode
from schemas.signing import KeyRing, Signer
from schemas.topics import RECORDS, RECORDS_ACK, STATUS

log = logging.getLogger(__name__)

RETRY_FIRST_S, RETRY_MOST_S = 0.2, 10.0
LOOK_FOR_LOST_S = 1.0
SUM_HISTORY_S = 10.0


@dataclass(frozen=True, slots=True)
class _InHand:
    """Messages that are being stored: as they came, and as they were read."""

    received: list[Received]
    arrived: list[Arrived]


@dataclass(slots=True)
class Counters:
    """What was done since the start."""

    messages: int = 0
    commits: int = 0
    refused: int = 0
    connections: int = 0


class Recorder:
    """The historian with its connection and its thread; or, over a given link, driven a `turn` at a time.

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
        link: Connection | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            settings: Of the site.
            historian: Who stores.
            signer: The site's key.
            keys: Who is allowed to speak.
            now_s: Monotonic time.
            link: Another's connection, whose messages are `put` in; our own to the broker of the settings if left out.
        """
        self._settings = settings
        self._historian = historian
        self._signer = signer
        self._keys = keys
        self._now_s = now_s
        self._queue: queue.Queue[Received] = queue.Queue(settings.historian.queue_messages)
        self._stop = threading.Event()
        self._seen_s: dict[str, float] = {}
        self._looked_s = self._summed_s = now_s()
        self._in_hand: _InHand | None = None
        self._pause_s = 0.0  # until the database is tried again; 0 while it is there
        self.counters = Counters()
        self.fault: BaseException | None = None
        self.beat_s = now_s()
        self.link: Connection
        self._own_link: Link | None = None
        if link is None:
            self.link = self._own_link = self._make_link()
        else:
            self.link = link
        self._thread = threading.Thread(target=self._run, name="historian", daemon=True)

    @property
    def queued(self) -> int:
        """Messages received and not yet stored."""
        return self._queue.qsize()

    @property
    def database_away(self) -> bool:
        """Whether what is in hand waits for the database."""
        return self._pause_s > 0.0

    def use_settings(self, settings: AggregatorSettings) -> None:
        """Take batches of another size from now on."""
        self._settings = settings

    def start(self) -> None:
        """Connect in the background and begin to store."""
        self.recall()
        self._thread.start()
        if self._own_link is not None:
            self._own_link.start()

    def recall(self) -> None:
        """Expect to hear of every gateway that counts as present."""
        self._seen_s = dict.fromkeys(self._historian.online(), self._now_s())

    def stop(self) -> None:
        """Store what is in hand, say good-bye; what is still queued was not acknowledged and comes again."""
        self._stop.set()
        self._thread.join(timeout=30)
        if self._own_link is not None:
            self._own_link.stop()

    @property
    def alive(self) -> bool:
        """Whether it works: the thread runs, moves, and nothing has failed."""
        return self._thread.is_alive() and self.fault is None and self._now_s() - self.beat_s < 60

    def _connected(self) -> None:
        self.counters.connections += 1

    def _failed(self, error: Exception) -> None:
        self.fault = error

    def put(self, received: Received) -> None:
        """Take a message from the network thread; waits for room when the queue is full."""
        while not self._stop.is_set():
            try:
                self._queue.put(received, timeout=0.5)
            except queue.Full:
                continue
            return

    def turn(self) -> bool:
        """Store and answer one batch of what waits now, without waiting; False when nothing was stored.

        While the database is away the batch stays in hand, and the next turn tries it again.
        """
        if self._in_hand is None:
            self._take(self._collect(first_s=0.0, more_s=0.0))
        return self._work()

    def _make_link(self) -> Link:
        site = self._settings.name
        return Link(
            self._settings.broker,
            f"{site}-historian",
            subscriptions=[(RECORDS.filter(site=site), 1), (STATUS.filter(site=site), 1)],
            on_message=self.put,
            on_connected=self._connected,
            on_fault=self._failed,
            manual_ack=True,
        )

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._in_hand is None:
                    self._take(self._collect(first_s=0.25, more_s=self._settings.historian.batch_wait_s))
                elif self._stop.wait(self._pause_s):
                    return
                self._work()
        except Exception as error:
            self.fault = error
            log.exception("historian_failed")

    def _collect(self, *, first_s: float, more_s: float) -> list[Received]:
        """Wait `first_s` for a message, then `more_s` for others."""
        try:
            batch = [self._queue.get(timeout=first_s)]
        except queue.Empty:
            return []
        until_s = self._now_s() + more_s
        while len(batch) < self._settings.historian.batch_messages:
            try:
                batch.append(self._queue.get(timeout=max(0.0, until_s - self._now_s())))
            except queue.Empty:
                break
        return batch

    def _take(self, batch: list[Received]) -> None:
        if not batch:
            return
        arrived = [
            Arrived(read(one.topic, one.payload, site=self._settings.name, keys=self._keys), one.retained)
            for one in batch
        ]
        self._note_seen(arrived)
        self._in_hand = _InHand(batch, arrived)

    def _work(self) -> bool:
        self.beat_s = self._now_s()
        stored = False
        if self._in_hand is not None:
            acks = self._try_to_store(self._in_hand.arrived)
            if acks is None:
                return False
            self._answer(self._in_hand, acks)
            self._in_hand = None
            stored = True
        self._look_for_lost()
        self._sum_history()
        return stored

    def _sum_history(self) -> None:
        if self._now_s() - self._summed_s < SUM_HISTORY_S:
            return
        self._summed_s = self._now_s()
        try:
            self._historian.sum_history()
        except sa.exc.OperationalError as error:
            if not may_pass(error):
                raise
            event(log, logging.WARNING, "database_away", problem=str(error.__cause__ or error))

    def _try_to_store(self, arrived: list[Arrived]) -> list[RecordsAck] | None:
        """What to answer; None while the database is away, and each time the pause grows."""
        try:
            acks = self._historian.store(arrived)
        except sa.exc.OperationalError as error:
            if not may_pass(error):
                raise
            if not self._pause_s:
                event(log, logging.WARNING, "database_away", problem=str(error.__cause__ or error))
            self._pause_s = min(2 * self._pause_s, RETRY_MOST_S) or RETRY_FIRST_S
            return None
        if self._pause_s:
            event(log, logging.INFO, "database_back")
        self._pause_s = 0.0
        return acks

    def _answer(self, in_hand: _InHand, acks: list[RecordsAck]) -> None:
        for ack in acks:
            topic = RECORDS_ACK.path(site=self._settings.name, gateway=ack.gateway)
            self.link.publish(topic, self._signer.seal(topic, encode(ack)))
        for received in in_hand.received:
            self.link.acknowledge(received)
        self.counters.messages += len(in_hand.received)
        self.counters.commits += 1
        refused = [one.message for one in in_hand.arrived if isinstance(one.message, Refused)]
        if refused:
            self.counters.refused += len(refused)
            event(log, logging.WARNING, "input_refused", count=len(refused), reason=refused[0].reason,
                  topic=refused[0].topic[:200], text=refused[0].text)  # fmt: skip

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
