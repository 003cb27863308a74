"""This file knows what a gateway may learn from: the newest standardised rows of healthy captures, in a ring."""

import threading

import numpy as np

from gateway_agent.baseline import Rows


class HealthyRows:
    """Bounded memory of rows (n, F), oldest first; when full the oldest rows give way. Safe between threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._rows: Rows | None = None
        self._next = 0
        self._count = 0

    def add(self, rows: Rows) -> None:
        """Take rows (n, F) of one capture."""
        with self._lock:
            if self._rows is None or self._rows.shape[1] != rows.shape[1]:
                self._rows = np.zeros((self._capacity, rows.shape[1]), np.float32)
                self._next = self._count = 0
            for row in rows[-self._capacity :]:
                self._rows[self._next] = row
                self._next = (self._next + 1) % self._capacity
            self._count = min(self._capacity, self._count + len(rows))

    def __call__(self) -> Rows:
        """A copy of all rows, oldest first; shape (0, 0) before the first."""
        with self._lock:
            if self._rows is None:
                return np.zeros((0, 0), np.float32)
            if self._count < self._capacity:
                return self._rows[: self._count].copy()
            return np.roll(self._rows, -self._next, axis=0)
