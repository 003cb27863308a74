"""This file knows how the plant's story is told on a terminal: a line a stage with its time, one line that lives."""

import sys
import time
from typing import TextIO


class Story:
    """Tells what happens, with the seconds since the start."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._began_s = time.monotonic()
        self._stage_s = self._began_s
        self._live_width = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began_s

    def stage(self, words: str) -> None:
        """A stage is done; say how long it took."""
        now_s = time.monotonic()
        took_s, self._stage_s = now_s - self._stage_s, now_s
        self._line(f"{now_s - self._began_s:6.1f} s  {words} ({took_s:.1f} s)")

    def say(self, words: str) -> None:
        """One more line, under the last."""
        self._line(f"{'':10}{words}")

    def happened(self, words: str) -> None:
        """Something happened by itself."""
        self._line(f"{self.elapsed_s:6.1f} s  {words}")

    def live(self, words: str) -> None:
        """How things are now: on a terminal in place of the last such line, else one more line."""
        text = f"{self.elapsed_s:6.1f} s  {words}"
        if not self._out.isatty():
            self._line(text)
            return
        self._out.write("\r" + text.ljust(self._live_width))
        self._out.flush()
        self._live_width = len(text)

    def _line(self, text: str) -> None:
        if self._live_width:
            self._out.write("\n")
            self._live_width = 0
        self._out.write(text + "\n")
        self._out.flush()
