"""A whole site in real processes for tests: broker, aggregator, gateways; enrolled by the product's own commands."""

import contextlib
import json
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from schemas.database import open_database, sqlite_url
from schemas.site_tables import gateway as gateway_table
from tests.support.brokers import free_port, wait_for_port

WAIT_S = 60.0


class NeverCame(AssertionError):
    """What a test waited for did not come."""


def wait_until(what: str, condition: Callable[[], object], *, within_s: float = WAIT_S, every_s: float = 0.1) -> Any:
    """Ask until the answer is true; its value.

    Raises:
        NeverCame: It never was.
    """
    give_up_at_s = time.monotonic() + within_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > give_up_at_s:
            raise NeverCame(f"{what} did not happen within {within_s:g} s; last answer {answer!r}")
        time.sleep(every_s)


@dataclass
class SitePlant:
    """One site with its gateways."""

    folder: Path
    site: str
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    agent: tuple[str, ...] = ("-m", "gateway_agent")

    @property
    def settings(self) -> Path:
        """The aggregator's settings file."""
        return self.folder / "site.toml"

    def bundle(self, name: str) -> Path:
        """Where the bundle of a client lies."""
        return self.folder / name

    def enroll(self, name: str, *extra: str) -> Path:
        """Enrol a client."""
        out = self.bundle(name)
        run("aggregator", "enroll", name, "--settings", str(self.settings), "--out", str(out), *extra)
        return out

    def start(self, name: str, *command: str) -> None:
        """Start one process of the product, its log beside the settings."""
        self._start(name, "-m", *command)

    def start_gateway(self, name: str) -> None:
        """Start the agent of an enrolled gateway."""
        self._start(name, *self.agent, "run", "--settings", str(self.bundle(name) / "gateway.toml"))

    def _start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=log)

    def stop(self, name: str, *, by: signal.Signals = signal.SIGTERM) -> int:
        """End one process; its exit code."""
        process = self.processes.pop(name)
        process.send_signal(by)
        return process.wait(30)

    def check_alive(self) -> None:
        """Fail early, with the log, when a process has ended by itself."""
        for name, process in self.processes.items():
            assert process.poll() is None, f"{name} ended with {process.returncode}:\n{self.log(name)[-2000:]}"

    def stop_all(self) -> None:
        """End everything, last started first."""
        for name in reversed(list(self.processes)):
            process = self.processes.pop(name)
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def log(self, name: str) -> str:
        """What a process has said."""
        return (self.folder / f"{name}.log").read_text()

    def gateway_status(self, name: str) -> dict[str, Any]:
        """`gateway-agent status --json`."""
        return status("gateway_agent", self.bundle(name) / "gateway.toml")

    def site_status(self) -> dict[str, Any]:
        """`aggregator status --json`."""
        return status("aggregator", self.settings)

    @contextlib.contextmanager
    def site_database(self) -> Iterator[sa.Connection]:
        """The site's database, read-only."""
        engine = open_database(sqlite_url(self.folder / "var" / "site.db"), read_only=True)
        with engine.connect() as connection:
            yield connection


def status(module: str, settings: Path) -> dict[str, Any]:
    """What a service's `status --json` says; empty before it has anything to say."""
    done = subprocess.run(
        [sys.executable, "-m", module, "status", "--json", "--settings", str(settings)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return json.loads(done.stdout) if done.returncode == 0 else {}


def run(module: str, *arguments: str) -> str:
    """Run one command of the product to its end; what it printed.

    Raises:
        AssertionError: It failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False, timeout=WAIT_S
    )
    assert done.returncode == 0, f"{module} {' '.join(arguments)}: {done.stderr}"
    return done.stdout


@contextlib.contextmanager
def site_plant(
    folder: Path, *, site: str = "north", gateways: Sequence[str] = ("gw-1",), settings: str = "",
    gateway_settings: str = "", broker: str = "embedded", agent: tuple[str, ...] = ("-m", "gateway_agent"),
) -> Iterator[SitePlant]:  # fmt: skip
    """Set a site up and start it; everything is stopped at the end.

    Args:
        folder: Where everything lies.
        site: Its name.
        gateways: Which gateways to enrol and start.
        settings: More TOML for the aggregator.
        gateway_settings: More TOML for every gateway.
        broker: `embedded` or `mosquitto`.
        agent: What Python is told to run as the agent; its command follows.
    """
    port = free_port()
    plant = SitePlant(folder, site, port, agent=agent)
    plant.settings.write_text(
        f"""
name = "{site}"
folder = "var"
signing_key_file = "{site}/signing.key"
keys_file = "var/keys.toml"
{settings}
[broker_server]
kind = "{broker}"
port = {port}
[broker]
port = {port}
username = "{site}"
password_file = "{site}/password"
"""
    )
    plant.enroll(site, "--as", "site")
    for gateway in gateways:
        bundle = plant.enroll(gateway)
        add_settings(bundle / "gateway.toml", gateway_settings)
    plant.enroll("sensors", "--as", "sensors", "--gateway", gateways[0])
    try:
        plant.start("broker", "aggregator", "broker", "--settings", str(plant.settings))
        wait_for_port(port)
        plant.start("site", "aggregator", "run", "--settings", str(plant.settings))
        for gateway in gateways:
            plant.start_gateway(gateway)
        for gateway in gateways:
            wait_until(f"{gateway} is online", lambda g=gateway: is_online(plant, g))  # type: ignore[misc]
        yield plant
    finally:
        plant.stop_all()


def is_online(plant: SitePlant, gateway: str) -> bool:
    """Whether the site hears a gateway; by its database, for a command takes a second of processor time."""
    plant.check_alive()
    mine = sa.select(gateway_table.c.online).where(gateway_table.c.gateway == gateway)
    try:
        with plant.site_database() as connection:
            return bool(connection.execute(mine).scalar())
    except sa.exc.OperationalError:  # not there yet, or being made
        return False


def add_settings(path: Path, more: str) -> None:
    """Put top-level TOML before the tables of a settings file, tables behind them."""
    if not more.strip():
        return
    top, _, tables = more.partition("[")
    text = path.read_text()
    path.write_text(top + "\n" + text + ("\n[" + tables if tables else ""))
    tomllib.loads(path.read_text())
