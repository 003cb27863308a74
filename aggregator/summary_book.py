"""This file knows what an enterprise keeps of what its sites tell of their plants: the newest summary of each.

The network's thread hands over, another one checks and stores. When the queue is full the summary is dropped and
counted: the site tells a newer one soon.
"""

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import may_pass, writing
from schemas.errors import MessageRejected, SignatureRejected
from schemas.link import Link, Received
from schemas.logs import event
from schemas.messages import decode
from schemas.settings import BrokerSettings
from schemas.signing import KeyRing
from schemas.site_summary import SiteSummary
from schemas.site_tables import site_summary
from schemas.topics import SITE_SUMMARY

log = logging.getLogger(__name__)

QUEUED = 256
RETRY_S = 1.0
CLOCK_AHEAD_US = 60_000_000  # a summary from further ahead came from a clock that was wrong: a later one may be earlier


class SummaryBook:
    """Receives and keeps.

    Attributes:
        counters: What was stored, and what was refused by reason.
    """

    def __init__(
        self, engine: Engine, broker: BrokerSettings, enterprise: str, *, keys: KeyRing, now_us: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._now_us = now_us
        self._arrived: queue.Queue[Received | None] = queue.Queue(QUEUED)
        self._stopping = threading.Event()
        self.counters: Final[Counter[str]] = Counter()
        self._failed = False
        self.link = Link(
            broker,
            f"{enterprise}-summaries",
            subscriptions=[(SITE_SUMMARY.filter(site=enterprise), SITE_SUMMARY.qos)],
            on_message=self._hand_over,
            persistent=False,  # what was told while we were away is older than what comes next
        )
        self._thread = threading.Thread(target=self._run, name="site-summaries", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether summaries are stored."""
        return self._thread.is_alive() and not self._failed

    def start(self) -> None:
        """Connect and store in the background."""
        self._thread.start()
        self.link.start()

    def stop(self) -> None:
        """Disconnect; what is in the queue is dropped."""
        self._stopping.set()
        self.link.stop()
        try:
            self._arrived.put_nowait(None)
        except queue.Full:
            self._refuse("queue_full", "stopping")
        self._thread.join(10.0)

    def take(self, received: Received) -> None:
        """Check one summary and keep it; what is wrong is refused with its reason."""
        names = SITE_SUMMARY.match(received.topic)
        if names is None:
            self._refuse("foreign_topic", received.topic)
            return
        site = names["member"]
        try:
            body = self._keys.open(received.topic, received.payload, role="site", name=site)
            found = decode(SiteSummary, body)
        except (SignatureRejected, MessageRejected) as error:
            self._refuse(error.reason, f"{site}: {error}")
            return
        if found.site != site:
            self._refuse("wrong_speaker", f"{site} speaks of {found.site}")
            return
        with writing(self._engine) as connection:
            known = connection.scalar(sa.select(site_summary.c.summary).where(site_summary.c.site == site))
            now_us = self._now_us()
            if known is not None and found.at_us <= known["at_us"] <= now_us + CLOCK_AHEAD_US:
                self._refuse("older", f"{site}: of {found.at_us}, {known['at_us']} is known")
                return
            row = {"received_at_us": now_us, "summary": found.model_dump(mode="json")}
            if known is None:
                connection.execute(sa.insert(site_summary).values(site=site, **row))
            else:
                connection.execute(sa.update(site_summary).where(site_summary.c.site == site).values(**row))
        self.counters["stored"] += 1

    def _hand_over(self, received: Received) -> None:
        try:
            self._arrived.put_nowait(received)
        except queue.Full:
            self._refuse("queue_full", received.topic)

    def _run(self) -> None:
        try:
            while (received := self._arrived.get()) is not None and not self._stopping.is_set():
                self._store(received)
        except Exception:
            self._failed = True
            log.exception("site_summaries_failed")

    def _store(self, received: Received) -> None:
        while not self._stopping.is_set():
            try:
                self.take(received)
            except sa.exc.OperationalError as error:
                if not may_pass(error):
                    raise
                event(log, logging.WARNING, "summaries_wait", problem=str(error.__cause__ or error))
                self._stopping.wait(RETRY_S)
            else:
                return

    def _refuse(self, reason: str, text: str) -> None:
        self.counters[reason] += 1
        event(log, logging.WARNING, "summary_refused", reason=reason, text=text)
