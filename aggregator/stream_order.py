"""This file knows which of a gateway's records are stored: all up to one sequence, and single ones beyond it.

Records arrive twice, out of order and late; urgent ones overtake. What a gateway gave up on purpose (a gap) will
never come, so the sequence moves past it. Pure: no database, no clock.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class StreamOrder:
    """What is stored of one `(gateway, boot)`.

    Attributes:
        through: Everything up to here is stored or was given up; -1 before the first.
        ahead: Stored beyond `through`.
        given_up: First and last of each range beyond `through` that will never come.
    """

    through: int = -1
    ahead: set[int] = field(default_factory=set)
    given_up: list[tuple[int, int]] = field(default_factory=list)

    def take(self, sequence: int) -> bool:
        """Note one record as stored; False when it already was, or was given up before `through`."""
        if sequence <= self.through or sequence in self.ahead:
            return False
        self.ahead.add(sequence)
        return True

    def give_up(self, first: int, last: int) -> None:
        """Note that the sequences from `first` to `last` will never come."""
        if last >= first and last > self.through:
            self.given_up.append((first, last))

    def advance(self) -> bool:
        """Move `through` over everything that follows it without a hole; tell whether it moved."""
        start = self.through
        self.given_up.sort()
        moved = True
        while moved:
            before = self.through
            while self.through + 1 in self.ahead:
                self.through += 1
                self.ahead.discard(self.through)
            for first, last in self.given_up:
                if first <= self.through + 1 <= last:
                    self.through = last
            moved = self.through > before
        if self.through > start:
            self.ahead = {sequence for sequence in self.ahead if sequence > self.through}
            self.given_up = [(first, last) for first, last in self.given_up if last > self.through]
        return self.through > start


def acknowledgements(
    stream: StreamOrder, seen: Iterable[int], *, at_most: int
) -> Sequence[tuple[int, tuple[int, ...]]]:
    """Say what is stored, in as few messages as it takes.

    Args:
        stream: After the commit.
        seen: Sequences that came in this time, new or not: their sender waits for an answer.
        at_most: How many single sequences go into one message.

    Returns:
        Pairs of `through` and single sequences beyond it; at least one.
    """
    beyond = sorted({sequence for sequence in seen if sequence in stream.ahead})
    pieces = [tuple(beyond[i : i + at_most]) for i in range(0, len(beyond), at_most)] or [()]
    return [(stream.through, piece) for piece in pieces]
