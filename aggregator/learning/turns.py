"""This file knows a lock whose waiters come before whoever has just let it go."""

import threading
from types import TracebackType


class FairLock:
    """A lock for two that take it again and again: a plain one may be had by the same for ever.

    A site whose rounds follow one another without a pause would never answer its enterprise.
    """

    def __init__(self) -> None:
        self._line = threading.Lock()  # held by whoever is next
        self._turn = threading.Lock()

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for it."""
        return self._line.locked()

    def __enter__(self) -> None:
        with self._line:
            self._turn.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        self._turn.release()
