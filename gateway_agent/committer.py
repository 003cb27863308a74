"""This file knows how what was judged becomes true: commit, then acknowledge, in the order it was judged.

Run beside the judge, in a thread of its own, it lets the next batch be judged while the disk makes this one safe.
One batch may wait and one be under way; whoever brings a third waits.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from gateway_agent.baseline import Rows
from gateway_agent.batch import Batch
from gateway_agent.broker_order import BrokerOrder
from gateway_agent.errors import StoreFull
from schemas.link import Connection, Received
from schemas.logs import event
from schemas.messages import CaptureAck, encode
from schemas.topics import CAPTURE_ACK

log = logging.getLogger(__name__)

FULL_DISK_RETRY_S = 1.0
WAITING_BATCHES = 1


class Keeper(Protocol):
    """What makes batches true: the store."""

    def commit(self, batch: Batch) -> None:
        """All or nothing; StoreFull when there is no room."""

    def make_room(self) -> bool:
        """Give old raw captures up; tell whether there were any."""


@dataclass(frozen=True, slots=True, eq=False)
class ToCommit:
    """What is to be made true, and who is to be told then.

    Attributes:
        batch: Everything to commit.
        messages: What the broker may forget.
        acknowledge: (point, boot) -> through, for sensors that keep captures until then.
        healthy: Rows fit for training.
    """

    batch: Batch
    messages: list[Received] = field(default_factory=list)
    acknowledge: dict[tuple[str, int], int] = field(default_factory=dict)
    healthy: list[Rows] = field(default_factory=list)


class Committer:
    """Makes batches true in the order they are given; the only one who acknowledges captures."""

    def __init__(
        self, store: Keeper, order: BrokerOrder, *, site: str, gateway: str, learn: Callable[[Rows], None],
        monotonic_s: Callable[[], float],
        wait_for: Callable[[threading.Condition, Callable[[], bool], float], bool] = threading.Condition.wait_for,
    ) -> None:  # fmt: skip
        self._store = store
        self._order = order
        self._names = {"site": site, "gateway": gateway}
        self._learn = learn
        self._monotonic_s = monotonic_s
        self._wait_for = wait_for
        self._link: Connection | None = None
        self._changed = threading.Condition()
        self._waiting: list[ToCommit] = []
        self._busy = False
        self._stopping = False
        self._ending = False
        self._gave_up = False
        self._failed: Exception | None = None
        self._thread: threading.Thread | None = None
        self.committed = threading.Event()
        """Set after every commit; the uplink waits for it."""
        self.disk_full = False
        self.busy_since_s: float | None = None

    def attach(self, link: Connection) -> None:
        """Name the link on which acknowledgements go."""
        self._link = link

    def start(self) -> None:
        """From now on work beside the caller of `give`; without this `give` returns when it is done."""
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    def give(self, work: ToCommit) -> None:
        """Have something made true after everything given before.

        Raises:
            Exception: What an earlier one has failed with; nothing is made true any more.
        """
        if self._thread is None:
            self.check()
            self._do(work)
            return
        with self._changed:
            self._changed.wait_for(lambda: self._failed or self._gave_up or len(self._waiting) < WAITING_BATCHES)
            self._raise_failure()
            self._waiting.append(work)
            self._changed.notify_all()

    def check(self) -> None:
        """Errors as in `give`, for who has nothing to give."""
        with self._changed:
            self._raise_failure()

    def settle(self) -> None:
        """Return when everything given is true, or will never be; errors as in `give`."""
        with self._changed:
            self._changed.wait_for(lambda: self._failed or not (self._waiting or self._busy))
            self._raise_failure()

    def stop(self) -> None:
        """Wait for no disk any more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def end(self) -> None:
        """Finish what was given, then end the thread; errors as in `give`."""
        if self._thread is not None:
            self.settle()
            with self._changed:
                self._ending = True
                self._changed.notify_all()
            self._thread.join()
            self._thread = None

    def _raise_failure(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ending)
                if not self._waiting:
                    return
                work = self._waiting.pop(0)
                self._busy = True
                self._changed.notify_all()
            try:
                self._do(work)
            except Exception:  # raised again in the thread that gives: it ends the agent
                log.exception("commit_failed")
                with self._changed:
                    self._changed.notify_all()
                return
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _do(self, work: ToCommit) -> None:
        self.busy_since_s = self._monotonic_s()
        # After a batch that never came true nothing may: an acknowledgement covers everything before it.
        try:
            if not self._gave_up and self._commit(work.batch):
                for rows in work.healthy:
                    self._learn(rows)
                self._acknowledge(work)
        except Exception as error:
            self._failed = error
            raise
        self.busy_since_s = None

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
                with self._changed:
                    if self._wait_for(self._changed, lambda: self._stopping, FULL_DISK_RETRY_S):
                        self._gave_up = True
                        self._changed.notify_all()
                        return False
                continue
            if self.disk_full:
                event(log, logging.INFO, "disk_has_room_again")
            self.disk_full = False
            self.committed.set()
            return True

    def _acknowledge(self, work: ToCommit) -> None:
        link = self._link
        if link is None:
            return
        link.acknowledge_all(self._order.safe(work.messages))
        for (point, boot), through in work.acknowledge.items():
            if through < 0:
                continue
            machine, _, position = point.partition("/")
            topic = CAPTURE_ACK.path(**self._names, machine=machine, position=position)
            link.publish(topic, encode(CaptureAck(point=point, boot=boot, through=through)))
