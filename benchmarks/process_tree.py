"""This file knows how much memory processes hold together, found by a mark in their environment.

Proportional set size: what two processes share counts once. Children that left their parent are found as well.
"""

import contextlib
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = "UNDERTONE_BENCH"
LOOK_S = 0.5


class Watched:
    """Processes that were started with `environment`."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(8)
        self.peak_mb = 0.0
        self._over = threading.Event()

    @property
    def mark_of_ours(self) -> dict[str, str]:
        """What a process must find in its environment to be watched."""
        return {MARK: self.mark}

    @property
    def environment(self) -> dict[str, str]:
        """Our own, with the mark."""
        return {**os.environ, **self.mark_of_ours}

    def now_mb(self) -> float:
        """What all of them hold now."""
        return sum(_held_kb(process) for process in self._processes()) / 1024

    def _processes(self) -> Iterator[Path]:
        wanted = f"{MARK}={self.mark}".encode()
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                with contextlib.suppress(OSError):
                    if wanted in (process / "environ").read_bytes().split(b"\0"):
                        yield process

    def look(self) -> None:
        """Keep the peak until told to end."""
        while not self._over.wait(LOOK_S):
            self.peak_mb = max(self.peak_mb, self.now_mb())

    def end(self) -> None:
        """Look no more."""
        self._over.set()


@contextmanager
def watched() -> Iterator[Watched]:
    """Watch the processes started with its environment."""
    one = Watched()
    looking = threading.Thread(target=one.look, daemon=True)
    looking.start()
    try:
        yield one
    finally:
        one.end()
        looking.join()


def _held_kb(process: Path) -> int:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        lines = (process / "smaps_rollup").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return 0
