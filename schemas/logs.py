"""This file knows how services log: one JSON line an event, a stable name, fields that carry their units.

Repeats are counted: of one event about one thing the first `SAID` of a minute are written, then how many were not.
"""

import json
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SAID = 5  # lines a minute of one event about one thing
SAID_OF_ALL = 600  # lines a minute below ERROR, of whatever: hostile input can vary what it is about
WINDOW_S = 60.0
THINGS = 512  # told apart at a time; the one longest silent gives way, and what was not said of it is said
ABOUT = ("reason", "topic", "point", "machine", "gateway", "member", "part", "host", "setting", "command_id", "action")
"""Fields that make two events of one name different things."""


class JsonLines(logging.Formatter):
    """Writes each record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


@dataclass(slots=True)
class _Thing:
    """One event about one thing, in the minute that began at `since_s`."""

    line: dict[str, Any]
    since_s: float
    said: int = 0
    unsaid: int = 0


class CountedRepeats(logging.StreamHandler[Any]):
    """Writes lines until one repeats too often; then counts, and says how often when its minute is over.

    A count is said with the next line of whatever event, or at the end of the process.
    """

    def __init__(self, stream: Any, *, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._now_s = now_s
        self._things: OrderedDict[tuple[object, ...], _Thing] = OrderedDict()
        full = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "msg": "log_lines_not_written"}
        self._all = _Thing({**full, "fields": {}}, now_s())
        self.unsaid = 0
        """Lines not written since the start."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write or count one record; the handler's lock is held."""
        now_s = self._now_s()
        self._end_minutes(now_s)
        fields = getattr(record, "fields", {})
        about = (record.name, record.levelno, record.msg, *(str(fields[name]) for name in ABOUT if name in fields))
        thing = self._things.get(about)
        if thing is None:
            line = {name: getattr(record, name) for name in ("name", "levelno", "levelname", "msg")}
            thing = self._things[about] = _Thing({**line, "fields": fields}, now_s)
            if len(self._things) > THINGS:
                self._end(self._things.popitem(last=False)[1])
        if thing.said >= SAID:
            thing.unsaid += 1
            self.unsaid += 1
        elif self._has_room(record.levelno):
            thing.said += 1
            super().emit(record)

    def close(self) -> None:
        """Say every count that is still open; called at the end of the process, or when another log takes over."""
        if not self.stream.closed:
            self.acquire()
            try:
                self._end_minutes(float("inf"))
            finally:
                self.release()
        super().close()

    def _has_room(self, level: int, lines: int = 1) -> bool:
        """Whether one more line may be written this minute; if not, it is counted as so many."""
        if level >= logging.ERROR or self._all.said < SAID_OF_ALL:
            self._all.said += 1
            return True
        self._all.unsaid += lines
        self.unsaid += lines
        return False

    def _end_minutes(self, now_s: float) -> None:
        while self._things:
            oldest = next(iter(self._things))
            if now_s - self._things[oldest].since_s < WINDOW_S:
                break
            self._end(self._things.pop(oldest))
        if now_s - self._all.since_s >= WINDOW_S:
            full, self._all = self._all, _Thing(self._all.line, now_s)
            self._say_unsaid(full)

    def _end(self, thing: _Thing) -> None:
        if thing.unsaid and self._has_room(thing.line["levelno"], lines=0):
            self._say_unsaid(thing)

    def _say_unsaid(self, thing: _Thing) -> None:
        if thing.unsaid:
            fields = {**thing.line["fields"], "not_written": thing.unsaid, "within_s": WINDOW_S}
            super().emit(logging.makeLogRecord({**thing.line, "fields": fields}))


def start_logging(level: str = "INFO") -> None:
    """Send the log of this process to stderr as JSON lines."""
    handler = CountedRepeats(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def unsaid_lines() -> int:
    """Lines of the log that were counted and not written, since the start."""
    return sum(handler.unsaid for handler in logging.getLogger().handlers if isinstance(handler, CountedRepeats))


def event(logger: logging.Logger, level: int, name: str, **fields: object) -> None:
    """Log one event."""
    logger.log(level, name, extra={"fields": fields})
