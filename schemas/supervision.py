"""This file knows how a service is supervised: what it tells systemd, and how it is asked to stop."""

import contextlib
import os
import socket
from queue import Empty, SimpleQueue


class Asked:
    """An event that a signal handler may set, whatever the thread is doing that the signal interrupts.

    `threading.Event` may not be set there: every wait for it holds its lock for a moment, and a handler that runs in
    that moment, in that thread, waits for itself for ever. `SimpleQueue.put` is made for it.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._wakes: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Wake whoever waits, now or later."""
        if not self._is_set:
            self._is_set = True
            self._wakes.put(None)

    def clear(self) -> None:
        """Wait anew from now on."""
        self._is_set = False
        with contextlib.suppress(Empty):
            while True:
                self._wakes.get_nowait()

    def is_set(self) -> bool:
        """Whether it was set and not cleared since."""
        return self._is_set

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is set, so many seconds at most; tell whether it is."""
        if self._is_set:
            return True
        with contextlib.suppress(Empty):
            self._wakes.get(timeout=timeout_s)
            if self._is_set:
                self._wakes.put(None)  # for the next who waits
        return self._is_set


def notify(state: str) -> None:
    """Send one state such as `READY=1`, `WATCHDOG=1`, `STOPPING=1`, `STATUS=...` to the service manager."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.settimeout(2.0)  # a manager that does not read must not hold the service up
        link.sendto(state.encode(), address)


def watchdog_interval_s() -> float | None:
    """How often to say `WATCHDOG=1`: half the manager's patience; None when nobody watches."""
    patience_us = os.environ.get("WATCHDOG_USEC")
    return int(patience_us) / 2e6 if patience_us else None
