"""This file knows how much of what leaves the plant is counted: messages and bytes, per day and topic."""

import datetime as dt
import logging
import threading
from collections import Counter
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import writing
from schemas.logs import event
from schemas.site_tables import ledger
from schemas.topics import Topic

log = logging.getLogger(__name__)


class FenceLedger:
    """Counts on any thread; `flush` writes: after every answer to the enterprise, and twice a second."""

    def __init__(self, engine: Engine, clock_us: Callable[[], int]) -> None:
        self._engine = engine
        self._clock_us = clock_us
        self._lock = threading.Lock()
        self._messages: Counter[tuple[str, str]] = Counter()
        self._bytes: Counter[tuple[str, str]] = Counter()

    def count(self, topic: Topic, sent_bytes: int) -> None:
        """Note one message of so many bytes that has gone to the enterprise."""
        now = dt.datetime.fromtimestamp(self._clock_us() / 1e6, dt.UTC)
        key = (now.date().isoformat(), topic.name)
        with self._lock:
            self._messages[key] += 1
            self._bytes[key] += sent_bytes

    def flush(self) -> None:
        """Add what was counted to the table; what cannot be written now stays counted, and is written next time."""
        with self._lock:
            messages, self._messages = self._messages, Counter()
            sizes, self._bytes = self._bytes, Counter()
        if not messages:
            return
        try:
            self._write(messages, sizes)
        except sa.exc.OperationalError as error:
            with self._lock:
                self._messages += messages
                self._bytes += sizes
            event(log, logging.WARNING, "ledger_waits", problem=str(error.__cause__ or error))

    def _write(self, messages: Counter[tuple[str, str]], sizes: Counter[tuple[str, str]]) -> None:
        with writing(self._engine) as connection:
            for (day, topic), count in messages.items():
                mine = (ledger.c.day == day) & (ledger.c.topic == topic)
                more = {"messages": ledger.c.messages + count, "bytes": ledger.c.bytes + sizes[day, topic]}
                if not connection.execute(sa.update(ledger).where(mine).values(more)).rowcount:
                    connection.execute(
                        sa.insert(ledger).values(day=day, topic=topic, messages=count, bytes=sizes[day, topic])
                    )
