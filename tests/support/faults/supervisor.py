"""This file knows a supervisor that does for one service what systemd does by our units: watch, kill, start again.

Real sockets and signals, without systemd: `Restart=on-failure`, `WatchdogSec` and `RestartSec`. An agent killed for
lack of memory or by its watchdog is a failure like any other.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.support.faults.system_calls import kill_traced


class Supervisor:
    """Keeps one service alive.

    Attributes:
        ended: How each life of it ended: exit code, negative for a signal.
        silences: How often it was killed because its watchdog was not fed.
        last_fed_s: Monotonic time of its last sign of life.
    """

    def __init__(
        self, folder: Path, *command: str, watchdog_s: float, restart_s: float = 0.2,
        environment: Mapping[str, str] | None = None, first_prefix: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.log = folder / f"supervised-{command[0]}.log"
        self.ended: list[int] = []
        self.silences = 0
        self.last_fed_s = time.monotonic()
        self._command, self._watchdog_s, self._restart_s = command, watchdog_s, restart_s
        self._first_prefix = list(first_prefix)
        address = folder / f"supervisor-{time.monotonic_ns()}"
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.bind(str(address))
        self._notices.settimeout(0.1)
        told = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": str(int(watchdog_s * 1e6))}
        self._environment = {**os.environ, **told, **(environment or {})}
        self._stopping = threading.Event()
        self.process = self._start()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()
        self._notices.close()

    def _start(self) -> subprocess.Popen[bytes]:
        prefix, self._first_prefix = self._first_prefix, []
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*prefix, sys.executable, "-m", *self._command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self._environment,
            )  # fmt: skip

    def _watch(self) -> None:
        ready = False
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                said = self._notices.recv(4096).decode()
                ready = ready or "READY=1" in said
                if "READY=1" in said or "WATCHDOG=1" in said:
                    self.last_fed_s = time.monotonic()
            if ready and time.monotonic() - self.last_fed_s > self._watchdog_s and self.process.poll() is None:
                self.silences += 1
                kill_traced(self.process)
            if self.process.poll() is not None:
                self.ended.append(self.process.returncode)
                ready = False
                self._stopping.wait(self._restart_s)
                self.process = self._start()
