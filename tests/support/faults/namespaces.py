"""This file knows a cable between this machine and a second one that is a network namespace; needs root."""

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class Wire:
    """One cable: our end has `here`, the namespace `there`."""

    namespace: str
    device: str
    here: str
    there: str

    @property
    def prefix(self) -> list[str]:
        """Before a command that is to run at the other end."""
        return ["ip", "netns", "exec", self.namespace]

    def cut(self) -> None:
        """Pull the plug: packets of both directions are lost."""
        _ip("link", "set", self.device, "down")

    def drop_answers(self) -> None:
        """Lose what goes to the other end; what it sends still arrives."""
        _ip("route", "add", "blackhole", f"{self.there}/32")

    def mend(self) -> None:
        """Let everything pass again."""
        subprocess.run(["ip", "route", "del", "blackhole", f"{self.there}/32"], capture_output=True, check=False)
        _ip("link", "set", self.device, "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def wire() -> Iterator[Wire]:
    """Lay a cable to a fresh namespace; skip, loudly, where that is not allowed."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("NOT ROOT, OR NO ip (apt install iproute2): NETWORK NAMESPACES ARE NOT TESTED HERE")
    tag = secrets.token_hex(3)
    cable = Wire(f"ut-{tag}", f"ut{tag}", "10.77.83.1", "10.77.83.2")
    made = subprocess.run(["ip", "netns", "add", cable.namespace], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"NO NETWORK NAMESPACE CAN BE MADE HERE: PARTITIONS ARE NOT TESTED ({made.stderr.strip()})")
    try:
        inside = ("-n", cable.namespace)
        _ip("link", "add", cable.device, "type", "veth", "peer", "name", "eth0", "netns", cable.namespace)
        _ip("addr", "add", f"{cable.here}/30", "dev", cable.device)
        _ip("link", "set", cable.device, "up")
        _ip(*inside, "addr", "add", f"{cable.there}/30", "dev", "eth0")
        _ip(*inside, "link", "set", "eth0", "up")
        _ip(*inside, "link", "set", "lo", "up")
        yield cable
    finally:
        cable_gone = subprocess.run(["ip", "link", "del", cable.device], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", cable.namespace], capture_output=True, check=not cable_gone.returncode)
