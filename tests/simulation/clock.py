"""This file knows virtual time: what is due next happens at once, in an order that depends on nothing else."""

import heapq
from collections.abc import Callable
from itertools import count

EPOCH_US = 1_700_000_000_000_000  # what the clock on the wall says when a simulation begins


class VirtualClock:
    """Microseconds since the simulation began, and what is due when."""

    def __init__(self) -> None:
        self.now_us = 0
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()

    def now_s(self) -> float:
        """Monotonic time in s."""
        return self.now_us / 1e6

    def at(self, at_us: int, what: Callable[[], None]) -> None:
        """Have something done at a time; what is due at the same time keeps the order of asking."""
        heapq.heappush(self._due, (max(at_us, self.now_us), next(self._numbers), what))

    def after(self, delay_s: float, what: Callable[[], None]) -> None:
        """Have something done after a while."""
        self.at(self.now_us + round(delay_s * 1e6), what)

    def run(self, until_us: int) -> None:
        """Do everything due until then. What waits for time to pass may call it from within."""
        while self._due and self._due[0][0] <= until_us:
            at_us, _, what = heapq.heappop(self._due)
            self.now_us = max(self.now_us, at_us)
            what()
        self.now_us = max(self.now_us, until_us)
