"""This file knows how to find ports on the loopback that nobody uses, and to keep them over a restart."""

import contextlib
import json
import socket
from pathlib import Path

HOST = "127.0.0.1"
_held: list[socket.socket] = []  # until we end: another demonstration must not choose what ours has not opened yet


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of the loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def choose_ports(wanted: dict[str, int], remembered: Path) -> dict[str, int]:
    """Give each name a free port: the one it had, else the one it wants, else any.

    Args:
        wanted: Name to preferred port.
        remembered: JSON file of the last choice; written anew.
    """
    before: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError):
        before = json.loads(remembered.read_text())
    chosen: dict[str, int] = {}
    for name, preferred in wanted.items():
        candidates = (before.get(name, preferred), preferred)
        chosen[name] = next((port for port in candidates if is_free(port) and _hold(port)), 0) or _any_port()
    remembered.parent.mkdir(parents=True, exist_ok=True)
    remembered.write_text(json.dumps(chosen, indent=1) + "\n")
    return chosen


def _hold(port: int) -> bool:
    """Claim a port among demonstrations of this machine; tell whether nobody else has."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0undertone-demo-port-{port}")
    except OSError:
        claim.close()
        return False
    _held.append(claim)
    return True


def _any_port() -> int:
    """A port of the system's choice."""
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
        if _hold(port):
            return port
