"""This file knows what one commit makes true at once: captures, records, states, refusals, counts."""

from collections import Counter
from dataclasses import dataclass, field

from schemas.messages import Record

URGENT, NORMAL, BULK = 0, 1, 2
"""Order in the outbox: alarms and answers, then health, then evidence."""

DUPLICATES, GAPS = "captures_duplicate", "captures_gap"
ACKNOWLEDGED_EARLY = "fragments_acknowledged_early"  # before their capture was whole, for want of room in the window
DEAD_PREFIX, CONTROL_REFUSED_PREFIX = "dead:", "control_refused:"
NO_ROOM = "no_room"  # messages from the site that gave way to newer ones
GIVEN_UP_SUFFIX = "_left"
RECORDS_LEFT = "records_left"
AGAIN_TAKEN, AGAIN_REFUSED = "dead_letters_again_taken", "dead_letters_again_refused"


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


@dataclass(frozen=True, slots=True)
class LetterAnswer:
    """What became of a dead letter that was given in again: taken where there is no reason, else refused anew."""

    letter: int
    reason: str = ""
    text: str = ""


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
    letter_answers: list[LetterAnswer] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (
            self.captures or self.records or self.point_states or self.dead_letters or self.counts
            or self.commands_done or self.letter_answers
        )  # fmt: skip

    def take_over(self, other: "Batch") -> None:
        """Make true with this what another would have made."""
        self.captures += other.captures
        self.records += other.records
        self.point_states |= other.point_states
        self.dead_letters += other.dead_letters
        self.counts.update(other.counts)  # not +=, which drops what is below zero: a hole that was filled
        self.commands_done += other.commands_done
        self.letter_answers += other.letter_answers


@dataclass(slots=True)
class GaveWay:
    """Messages from the site without room: told by the thread that hears, counted by the one that judges."""

    _told: int = 0
    _counted: int = 0

    def one(self) -> None:
        """One more; by one thread alone."""
        self._told += 1

    def count(self, batch: Batch) -> None:
        """Have what was not counted yet counted with a batch; by one thread alone."""
        new = self._told - self._counted
        if new:
            batch.counts[CONTROL_REFUSED_PREFIX + NO_ROOM] += new
            self._counted += new
