"""This file knows how a system call of a process is made to fail, or to be its last: strace's injection.

The prefix goes before the command; the process stays the direct child (`-D`), so its id and exit code are its own.
Counts are strace's: of one call, in one thread.
"""

import os
import random
import shutil
import signal
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

WRITES = {"pwrite64": 100, "fdatasync": 10, "write": 12}
"""Calls by which a gateway's store reaches the disk, and how many of one are drawn from: half a second of work."""


@cache
def can_trace() -> bool:
    """Whether strace is here and may trace."""
    program = shutil.which("strace")
    return program is not None and (
        subprocess.run([program, "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0
    )


def require_strace() -> None:
    """Skip, loudly, where no system call can be made to fail."""
    if not can_trace():
        pytest.skip("STRACE IS MISSING OR MAY NOT TRACE: FAILING SYSTEM CALLS ARE NOT TESTED HERE (apt install strace)")


def injecting(call: str, fault: str) -> list[str]:
    """The prefix under which `call` suffers `fault`, e.g. `signal=SIGKILL:when=7` or `error=EIO:when=30+`."""
    return ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e",
            f"inject={call}:{fault}"]  # fmt: skip


def kill_traced(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that strace may hold in a call: that would else keep it until the call's delay is over."""
    state = Path(f"/proc/{process.pid}/status").read_text()
    tracer = next(int(line.split()[1]) for line in state.splitlines() if line.startswith("TracerPid:"))
    process.kill()
    if tracer:
        os.kill(tracer, signal.SIGKILL)
    process.wait()


@dataclass(frozen=True, slots=True)
class KillPoint:
    """Where a process is killed: at the n-th of one system call of a thread, or so long after it was ready."""

    call: str
    number: int
    after_s: float

    @property
    def prefix(self) -> list[str]:
        return injecting(self.call, f"signal=SIGKILL:when={self.number}") if self.call else []

    def __str__(self) -> str:
        return f"{self.call} no. {self.number}" if self.call else f"{self.after_s:.3f} s after it was ready"


def draw_kill_point(draw: random.Random, *, longest_s: float) -> KillPoint:
    """Two of three at a system call, where that can be had; the time limit of those is the longest."""
    if can_trace() and draw.random() < 0.67:
        call = draw.choice(sorted(WRITES))
        return KillPoint(call, draw.randint(1, WRITES[call]), longest_s)
    return KillPoint("", 0, draw.uniform(0, longest_s))
