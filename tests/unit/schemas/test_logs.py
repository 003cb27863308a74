"""A log tells what happened once, and how often it happened again."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from schemas.logs import SAID, SAID_OF_ALL, THINGS, WINDOW_S, CountedRepeats, JsonLines, event


@dataclass
class Log:
    """A log into memory, with a clock of the test's."""

    logger: logging.Logger
    out: io.StringIO = field(default_factory=io.StringIO)
    now_s: float = 1000.0

    def __post_init__(self) -> None:
        self.handler = CountedRepeats(self.out, now_s=lambda: self.now_s)
        self.handler.setFormatter(JsonLines())
        self.logger.addHandler(self.handler)
        self.logger.setLevel(logging.INFO)
        self.logger.propagate = False

    def say(self, name: str, level: int = logging.WARNING, **fields: object) -> None:
        event(self.logger, level, name, **fields)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log(logging.getLogger("tests.logs"))
    yield log
    log.logger.removeHandler(log.handler)


def test_a_repeat_is_counted_and_told_when_its_minute_is_over(log: Log) -> None:
    for number in range(100):
        log.say("capture_refused", reason="bad_crc", text=f"of capture {number}")
    assert len(log.lines()) == SAID
    log.now_s += WINDOW_S
    log.say("broker_lost")
    told, last = log.lines()[SAID:]
    assert (told["event"], told["reason"], told["not_written"]) == ("capture_refused", "bad_crc", 100 - SAID)
    assert last["event"] == "broker_lost"
    log.say("capture_refused", reason="bad_crc")
    assert len(log.lines()) == SAID + 3


def test_the_same_event_about_something_else_is_no_repeat(log: Log) -> None:
    for number in range(SAID + 1):
        log.say("capture_refused", reason="bad_crc", topic="a")
        log.say("capture_refused", reason="truncated", topic="a")
        log.say("capture_refused", reason="bad_crc", topic=f"b{number}")
    assert len(log.lines()) == 3 * SAID + 1


def test_hostile_variety_is_bounded_in_lines_and_memory_and_errors_are_still_said(log: Log) -> None:
    for number in range(10_000):
        log.say("capture_refused", topic=str(number))
    assert len(log.lines()) == SAID_OF_ALL
    assert len(log.handler._things) == THINGS
    log.say("disk_full", logging.ERROR)
    assert log.lines()[-1]["event"] == "disk_full"
    log.now_s += WINDOW_S
    log.say("broker_lost")
    (told,) = [line for line in log.lines() if line["event"] == "log_lines_not_written"]
    assert told["not_written"] == log.handler.unsaid == 10_000 - SAID_OF_ALL


def test_what_was_counted_is_told_at_the_end_of_the_process(log: Log) -> None:
    for _ in range(SAID + 7):
        log.say("broker_away", host="a")
    log.handler.close()
    assert log.lines()[-1]["not_written"] == 7
