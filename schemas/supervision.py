"""This file knows how a service talks to systemd: ready, alive, stopping; silent where there is no systemd."""

import contextlib
import os
import socket


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
