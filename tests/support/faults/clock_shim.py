"""This file knows how the wall clock of a process is stepped while it runs, and nobody else's."""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("clock_shim.c")


class WallClock:
    """A wall clock that can be stepped; the monotonic clock runs on."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("NO C COMPILER (cc): STEPPING THE WALL CLOCK IS NOT TESTED HERE (apt install gcc)")
        self._library, self._shift = folder / "clock_shim.so", folder / "clock_shift"
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", self._library, SOURCE], check=True)
        self.step_to(0.0)

    @property
    def environment(self) -> dict[str, str]:
        """What a process must be started with."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_SHIFT_FILE": str(self._shift)}

    def step_to(self, seconds: float) -> None:
        """Be so far ahead of the right time from now on; behind it when negative."""
        fresh = self._shift.with_suffix(".new")
        fresh.write_text(f"{seconds:.3f}")
        fresh.replace(self._shift)
