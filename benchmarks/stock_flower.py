"""This file knows how stock Flower processes are run on the loopback: a SuperLink with TLS, SuperNodes known by keys.

Benchmarks and contract tests use it; everything is killed with its process groups at the end.
"""

import datetime as dt
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from aggregator.carriers.superlink import (
    QUIET,
    FlowerTls,
    SuperLinkSettings,
    SuperNodeSettings,
    register_command,
    run_command,
    superlink_command,
    supernode_command,
    write_connection,
)
from aggregator.certificates import Authority, write_private

ROOT = Path(__file__).resolve().parents[1]
CONNECTION = "plant"
LISTENS_WITHIN_S = 60.0


@dataclass
class FlowerPlant:
    """A SuperLink and its SuperNodes, each in a process group of its own."""

    folder: Path
    tls: FlowerTls
    superlink: SuperLinkSettings
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Of every process: Flower's programs on the path, our packages importable, quiet."""
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        home = str(self.folder / "home")
        return {**os.environ, **QUIET, "FLWR_HOME": home, "PATH": programs, "PYTHONPATH": str(ROOT)}

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process; its output goes to a log of its name."""
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command, env={**self.environment, **(environment or {})}, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        return self.processes[name]

    def call(self, command: Sequence[str]) -> None:
        """Run one of Flower's own commands.

        Raises:
            RuntimeError: It failed.
        """
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    def run(self, app: Path, config: Mapping[str, str]) -> None:
        """Start an app."""
        self.call(run_command(app, CONNECTION, config))

    def start_superlink(self) -> None:
        """Start the SuperLink, for the first time or again, and wait until it listens."""
        _wait_listening(self.start("superlink", superlink_command(self.superlink)), self)

    def end(self, name: str) -> None:
        """Kill a process with its whole group."""
        process = self.processes.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def start_node(
        self, member: str, *, registered: bool = True, environment: Mapping[str, str] | None = None,
        node_config: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Start a member's SuperNode with a key of its own, which the SuperLink is told first if `registered`."""
        key = ec.generate_private_key(ec.SECP384R1())
        private, public = self.folder / f"{member}.key", self.folder / f"{member}.pub"
        write_private(private, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        public.write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
        if registered:
            self.call(register_command(public, member, CONNECTION))
        node = SuperNodeSettings(
            superlink=self.superlink.address, tls=self.tls, private_key_file=private, port=free_port(),
            node_config={"member": member, **(node_config or {})},
        )  # fmt: skip
        self.start(member, supernode_command(node), environment)

    def log_of(self, name: str) -> str:
        """What a process has said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def kill(self) -> None:
        """End all of it."""
        for name in list(self.processes):
            self.end(name)


@contextmanager
def flower_plant(members: Sequence[str] = (), *, durable: bool = False) -> Iterator[FlowerPlant]:
    """A SuperLink that listens, with a SuperNode for each member; `durable`: it knows them again after a restart."""
    folder = Path(tempfile.mkdtemp(prefix="undertone-flower-"))
    authority = Authority(folder, "flower", now=dt.datetime.now(dt.UTC))
    certificate, key = authority.server_files(["127.0.0.1", "localhost"], now=dt.datetime.now(dt.UTC))
    tls = FlowerTls(ca_file=authority.certificate_file, certificate_file=certificate, key_file=key)
    database = folder / "superlink.db" if durable else None
    plant = FlowerPlant(folder, tls, SuperLinkSettings(port=free_port(), tls=tls, database=database))
    write_connection(folder / "home", CONNECTION, plant.superlink.address, ca_file=tls.ca_file)
    try:
        plant.start_superlink()
        for member in members:
            plant.start_node(member)
        yield plant
    finally:
        plant.kill()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port of the loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_listening(process: subprocess.Popen[bytes], plant: FlowerPlant) -> None:
    give_up_at_s = time.monotonic() + LISTENS_WITHIN_S
    while process.poll() is None and time.monotonic() < give_up_at_s:
        with socket.socket() as probe:
            if probe.connect_ex((plant.superlink.host, plant.superlink.port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the SuperLink does not listen:\n{plant.log_of('superlink')}")
