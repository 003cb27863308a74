"""This file knows how the plant's processes are started, watched and stopped in order, and that none is left behind.

Each runs in a process group of its own, so that Ctrl-C at the terminal reaches the orchestrator alone, and asks the
kernel to be ended with it. A mark in the environment tells our processes from everybody else's, grandchildren too.
"""

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from deploy.demo.errors import StageFailed

STOP_WITHIN_S = 15.0  # a round of learning under way is given up, stores are closed
_PR_SET_PDEATHSIG = 1
_MARK = "DEMO_PLANT_RUN"
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONSAFEPATH",
              "XDG_DATA_HOME")  # fmt: skip
LAST_LINES = 12


@dataclass(slots=True)
class Running:
    """One process of the plant.

    Attributes:
        name: For people, and of its log file.
        kind: Processes of one kind stop together.
        log_file: What it says.
        process: Itself.
    """

    name: str
    kind: str
    log_file: Path
    process: subprocess.Popen[bytes]
    _manager: socket.socket
    _ready: bool = False

    @property
    def ready(self) -> bool:
        """Whether it has told its manager, as it would tell systemd, that it is ready."""
        with contextlib.suppress(BlockingIOError):
            while not self._ready:
                self._ready = b"READY=1" in self._manager.recv(4096).split(b"\n")
        if self._ready:
            self._manager.close()  # a full queue would make it wait for us with its next word
        return self._ready

    def close(self) -> None:
        """Listen to it no more."""
        self._manager.close()


@dataclass(slots=True)
class Processes:
    """All processes of one run, in the order they were started."""

    log_folder: Path
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    running: list[Running] = field(default_factory=list)

    def start(self, name: str, kind: str, module: str, *arguments: str) -> Running:
        """Start `python -m module arguments`, its output into a log file of its name."""
        self.log_folder.mkdir(parents=True, exist_ok=True)
        log_file = self.log_folder / f"{name}.log"
        address = f"undertone-demo-{self.mark}-{name}"
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.setblocking(False)
        manager.bind(f"\0{address}")
        environment = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment | {_MARK: self.mark, "NOTIFY_SOCKET": f"@{address}", "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - no thread runs yet when processes are started
            )
        started = Running(name, kind, log_file, process, manager)
        self.running.append(started)
        return started

    def require_alive(self) -> None:
        """See that all run, but for those that may end by themselves with 0.

        Raises:
            StageFailed: One has ended; the message shows its last lines.
        """
        for one in self.running:
            code = one.process.poll()
            if code:
                lines = one.log_file.read_text(errors="replace").splitlines()[-LAST_LINES:]
                raise StageFailed(f"{one.name} has ended with {code}; {one.log_file} ends with:\n" + "\n".join(lines))

    def stop(self) -> list[str]:
        """Stop all, last started first: sensors, screens, gateways, aggregators, brokers. Return who had to be killed.

        Processes of one kind stop together; the next kind waits for them.
        """
        killed: list[str] = []
        waves: list[list[Running]] = []
        for one in reversed(self.running):
            if waves and waves[-1][0].kind == one.kind:
                waves[-1].append(one)
            else:
                waves.append([one])
        for wave in waves:
            for one in wave:
                if one.process.poll() is None:
                    one.process.terminate()
            give_up_s = time.monotonic() + STOP_WITHIN_S
            for one in wave:
                try:
                    one.process.wait(max(0.1, give_up_s - time.monotonic()))
                except subprocess.TimeoutExpired:
                    _kill_group(one.process)
                    killed.append(one.name)
                one.close()
        self.running.clear()
        return killed

    def left_behind(self) -> list[tuple[int, str]]:
        """Processes that carry our mark and still live: (pid, command)."""
        mark = f"{_MARK}={self.mark}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                alive = (entry / "stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
                if alive and mark in (entry / "environ").read_bytes().split(b"\0"):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found.append((int(entry.name), command.strip()))
        return found


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _die_with(parent: int) -> Callable[[], None]:
    """Make what a child does before it becomes another program: end when we end, however that comes about."""
    library = ctypes.CDLL(None)

    def prepare() -> None:
        with contextlib.suppress(AttributeError):  # Linux only; elsewhere we stop what we started, and no more
            library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def wait_until(
    what: str, holds: Callable[[], bool], *, within_s: float, processes: Processes, tick: Callable[[], None]
) -> float:
    """Wait until something holds; return how long that took.

    Args:
        what: In words, for the error.
        holds: Asked again and again.
        within_s: Patience.
        processes: Must all stay alive meanwhile.
        tick: Called between two looks; raises to end the waiting, and sleeps.

    Raises:
        StageFailed: It did not come to that.
    """
    began_s = time.monotonic()
    while not holds():
        processes.require_alive()
        if time.monotonic() - began_s > within_s:
            raise StageFailed(f"{what}: not within {within_s:.0f} s; logs are in {processes.log_folder}")
        tick()
    return time.monotonic() - began_s
