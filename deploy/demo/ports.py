"""This file knows how to find ports on the loopback that nobody uses, and to keep them over a restart."""

import contextlib
import json
import socket
from pathlib import Path

HOST = "127.0.0.1"


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
    with contextlib.ExitStack() as held:
        for name, preferred in wanted.items():
            taken = set(chosen.values())
            candidates = [port for port in (before.get(name, preferred), preferred) if port not in taken]
            chosen[name] = next((port for port in candidates if is_free(port)), 0) or _any_port(held)
    remembered.parent.mkdir(parents=True, exist_ok=True)
    remembered.write_text(json.dumps(chosen, indent=1) + "\n")
    return chosen


def _any_port(held: contextlib.ExitStack) -> int:
    """A port of the system's choice; kept bound until all are chosen, so that none comes twice."""
    probe = held.enter_context(socket.socket())
    probe.bind((HOST, 0))
    return int(probe.getsockname()[1])
