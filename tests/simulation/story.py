"""This file knows what happened in a simulation: every event in order, hashed; the newest kept to read."""

import hashlib
from collections import Counter, deque

from tests.simulation.clock import VirtualClock

LINES_KEPT = 40


class Story:
    """The event log of one seed."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._hash = hashlib.sha256()
        self.newest: deque[str] = deque(maxlen=LINES_KEPT)
        self.counts: Counter[str] = Counter()

    def tell(self, who: str, event: str, *details: object) -> None:
        """Append one event; details are plain numbers and words."""
        line = f"{self._clock.now_us / 1e6:12.6f} {who} {event} {' '.join(map(str, details))}"
        self._hash.update(line.encode() + b"\n")
        self.newest.append(line)
        self.counts[event] += 1

    def digest(self) -> str:
        """SHA-256 over all events so far."""
        return self._hash.hexdigest()
