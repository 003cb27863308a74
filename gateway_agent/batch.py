"""This file knows what one commit makes true at once: captures, records, states, refusals, counts."""

from collections import Counter
from dataclasses import dataclass, field

from schemas.messages import Record

URGENT, NORMAL, BULK = 0, 1, 2
"""Order in the outbox: alarms and answers, then health, then evidence."""

DUPLICATES, GAPS = "captures_duplicate", "captures_gap"
DEAD_PREFIX = "dead:"


@dataclass(frozen=True, slots=True)
class CaptureRow:
    """One judged capture on its way to disk."""

    point: str
    boot: int
    sequence: int
    measured_at_us: int
    received_at_us: int
    quality: str
    healthy: bool
    score: float | None
    model_features: bytes | None
    health: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One payload that could not be used."""

    topic: str
    reason: str
    text: str
    payload: bytes
    at_us: int


@dataclass(slots=True)
class Batch:
    """Everything that one commit makes true at once."""

    now_us: int
    captures: list[CaptureRow] = field(default_factory=list)
    records: list[tuple[int, Record]] = field(default_factory=list)
    point_states: dict[str, bytes] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    commands_done: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (
            self.captures or self.records or self.point_states or self.dead_letters or self.counts or self.commands_done
        )
