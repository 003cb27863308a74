"""This file knows what becomes of messages of the learning that cannot be used: counted, kept, and told.

Each is counted. Once a minute for each member and reason it leaves a row among the dead letters, bounded as those are,
and the member in whose name it came hears why: its people should know, also when somebody else spoke in its name. The
network's thread only puts; a thread of its own writes and tells, so that no flood holds up rounds, late answers or
offers, nor drives out what else was refused.
"""

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.carriers.port import Carrier
from aggregator.carriers.verdicts import tell_rejected
from aggregator.database import may_pass, writing
from aggregator.dead_letters import write_refused
from aggregator.intake import Refused
from aggregator.merge.validate import Rejection
from schemas.logs import event
from schemas.topics import topic_of

log = logging.getLogger(__name__)

QUEUED = 256  # a full queue drops and counts: the newest of a flood are like the others
AT_ONCE = 64
AGAIN_S = 60.0
RETRY_S = 1.0
NO_ROUND = 0  # in a verdict: what was sent belonged to no round
REMEMBERED = 4096  # topics and reasons; the oldest are forgotten


class Refusals:
    """Keeps and tells what one level refuses outside of a merge.

    Attributes:
        counters: What could not be kept, as `queue_full`.
        fault: What ended the thread, if anything did.
    """

    def __init__(self, engine: Engine, carrier: Carrier, *, keep_rows: int, clock_us: Callable[[], int]) -> None:
        self._engine = engine
        self._carrier = carrier
        self._keep_rows = keep_rows
        self._clock_us = clock_us
        self._arrived: queue.Queue[tuple[Refused, bool] | None] = queue.Queue(QUEUED)
        self._noted_at_s: dict[tuple[str, str], float] = {}
        self._stopping = threading.Event()
        self.counters: Final[Counter[str]] = Counter()
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="learning-refusals", daemon=True)

    def start(self) -> None:
        """Keep and tell in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Keep no more; what is in the queue is dropped, it was counted when it came."""
        self._stopping.set()
        try:
            self._arrived.put_nowait(None)
        except queue.Full:  # then the thread sees the event after the batch in hand
            self.counters["queue_full"] += 1
        if self._thread.is_alive():
            self._thread.join(10.0)

    def put(self, refused: Refused, tell: bool) -> None:
        """Hand over what was refused, and whether its member is to hear of it; never waits."""
        try:
            self._arrived.put_nowait((refused, tell))
        except queue.Full:
            self.counters["queue_full"] += 1

    def _run(self) -> None:
        try:
            while (first := self._arrived.get()) is not None and not self._stopping.is_set():
                batch = [first]
                while len(batch) < AT_ONCE and not self._arrived.empty():
                    more = self._arrived.get_nowait()
                    if more is None:
                        return
                    batch.append(more)
                noted = [(refused, tell) for refused, tell in batch if self._is_new(refused)]
                self._keep([refused for refused, _ in noted], Counter(refused.reason[:32] for refused, _ in batch))
                self._tell([refused for refused, tell in noted if tell])
        except Exception as error:
            self.fault = error
            log.exception("learning_refusals_failed")

    def _is_new(self, refused: Refused) -> bool:
        """Whether none like it came within the last minute."""
        key, now_s = (refused.topic, refused.reason), time.monotonic()
        if now_s - self._noted_at_s.get(key, float("-inf")) < AGAIN_S:
            return False
        self._noted_at_s.pop(key, None)
        self._noted_at_s[key] = now_s
        if len(self._noted_at_s) > REMEMBERED:
            del self._noted_at_s[next(iter(self._noted_at_s))]
        return True

    def _keep(self, noted: list[Refused], counts: Counter[str]) -> None:
        only_counted = counts - Counter(refused.reason[:32] for refused in noted)
        while not self._stopping.is_set():
            try:
                with writing(self._engine) as connection:
                    write_refused(
                        connection, noted, keep_rows=self._keep_rows, now_us=self._clock_us(), only_counted=only_counted
                    )
            except sa.exc.OperationalError as error:
                if not may_pass(error):
                    raise
                event(log, logging.WARNING, "refusals_wait", problem=str(error.__cause__ or error))
                self._stopping.wait(RETRY_S)
            else:
                return

    def _tell(self, noted: list[Refused]) -> None:
        said = [Rejection(topic_of(one.topic)[1]["member"], one.reason, one.text) for one in noted]
        tell_rejected(self._carrier, NO_ROUND, said)
