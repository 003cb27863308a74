"""The demonstration as somebody starts it: a process that says what it does, and its plant as a visitor reaches it."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.plant import wait_until

ROOT = Path(__file__).resolve().parents[2]
STOPS_WITHIN_S = 60


@dataclass(frozen=True)
class DemoRun:
    """A running demonstration."""

    process: subprocess.Popen[bytes]
    output: Path

    @property
    def said(self) -> str:
        """Everything so far."""
        return self.output.read_text()

    def wait_for(self, words: str, within_s: float) -> str:
        """Wait until it has said something; everything so far."""
        wait_until(f"{words!r} or an end", lambda: words in self.said or self.process.poll() is not None,
                   within_s=within_s, every_s=0.2)  # fmt: skip
        assert words in self.said, self.said
        return self.said

    def wait(self, within_s: float) -> str:
        """Wait until it ends by itself; everything it said."""
        self.process.wait(within_s)
        return self.said

    def stop(self, by: signal.Signals = signal.SIGINT) -> str:
        """Stop it; everything it said."""
        self.process.send_signal(by)
        return self.wait(STOPS_WITHIN_S)


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[DemoRun]:
    """Run the demonstration from the checkout, with the packages that are tested; ended at the end, come what may.

    Args:
        folder: Where its words go, each run into a file of its own.
        arguments: As on its command line.
    """
    environment = {key: value for key, value in os.environ.items() if key != "MAKELEVEL"}
    path = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), str(ROOT)]))
    output = folder / f"demo-{len(list(folder.glob('demo-*.txt')))}.txt"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "deploy.demo", *arguments],
            cwd=ROOT, env=environment | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield DemoRun(process, output)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(STOPS_WITHIN_S)


def marked_processes() -> set[int]:
    """Every process on this machine that belongs to a demonstration."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            alive = (entry / "stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
            if alive and b"DEMO_PLANT_RUN=" in (entry / "environ").read_bytes():
                found.add(int(entry.name))
        except OSError:
            continue
    return found


@dataclass(frozen=True)
class VisitedPlant:
    """What somebody knows who has read what the demonstration printed.

    Attributes:
        run: The demonstration.
        site: The first where a machine fails.
        failing: Machines that fail there, each to the race of its bearing: inner or outer.
        address: Of the site's pages.
        messages: Where it is seen what the plant has told.
    """

    run: DemoRun
    site: str
    failing: Mapping[str, str]
    address: str
    name: str
    password: str
    messages: str
    token: str

    @classmethod
    def of(cls, run: DemoRun) -> "VisitedPlant":
        """Read what was printed."""
        said = run.said
        announced = re.findall(r"(\S+) at site (\S+) starts to fail in about \d+ s \((inner|outer) race", said)
        site = announced[0][1]
        failing = {machine: race for machine, where, race in announced if where == site}
        (address,) = _found(rf"(http://127\.0\.0\.1:\d+/) \(site {site}\)", said)
        name, password = _found(r"Sign in: +(\w+), password (\S+)", said)
        (messages,) = _found(r"Messages: +(\S+)", said)
        (token_file,) = _found(r"Bearer \$\(cat (\S+?)\)", said)
        token = (ROOT / token_file).read_text().strip()
        return cls(run, site, failing, address, name, password, messages, token)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the interface for programs, as a program does."""
        request = urllib.request.Request(
            f"{self.address}api/v1/{path}", data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def told(self) -> list[dict[str, Any]]:
        """What has arrived at the phone and the maintenance system, oldest first."""
        with urllib.request.urlopen(f"{self.messages}messages.json", timeout=30) as answer:
            return list(json.load(answer))


def _found(pattern: str, text: str) -> tuple[str, ...]:
    match = re.search(pattern, text)
    assert match is not None, f"{pattern} is not in:\n{text}"
    return match.groups()
