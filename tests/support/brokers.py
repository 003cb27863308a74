"""Real brokers for tests: started on a free port of the loopback, ready when they answer, killed when asked.

    with embedded_broker(["site", "gw-1"]) as broker:
        link = Link(broker.settings_for("gw-1"), "gw-1", ...)

The embedded broker writes every packet to its output: that goes to /dev/null, and it runs in a process of its own.
"""

import contextlib
import itertools
import os
import queue
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from schemas.link import Link, Received
from schemas.settings import BrokerSettings

READY_WITHIN_S = 15.0
FIRST_PORT, PORT_BLOCKS, BLOCK_PORTS = 12_000, 40, 500  # up to 32,000
_EMBEDDED = "import sys; from iotcore import IotCoreBroker; IotCoreBroker(config_path=sys.argv[1]).run_forever()"


def free_port() -> int:
    """A port of the loopback that nobody listens on right now.

    It lies below those that the system hands out for connections, and in a block of this process's own, so that
    tests that run beside each other do not take the same one before anybody listens.
    """
    while True:
        port = next(_ports)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _own_ports() -> Iterator[int]:
    block = FIRST_PORT + os.getpid() % PORT_BLOCKS * BLOCK_PORTS
    start = random.randrange(BLOCK_PORTS)
    for number in itertools.count(start):
        yield block + number % BLOCK_PORTS


_ports = _own_ports()


def wait_for_port(
    port: int, process: subprocess.Popen[bytes] | None = None, within_s: float = READY_WITHIN_S, host: str = "127.0.0.1"
) -> None:
    """Return once somebody accepts connections on the port.

    Raises:
        RuntimeError: Nobody did in time, or the process that should have has ended.
    """
    give_up_at_s = time.monotonic() + within_s
    pause = 0.01
    while time.monotonic() < give_up_at_s:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"broker ended with {process.returncode} before it listened on {port}")
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                if process is not None:
                    process.wait(pause)
                else:
                    time.sleep(pause)
        else:
            return
    raise RuntimeError(f"nobody listens on {port} after {within_s} s")


@dataclass
class BrokerServer:
    """One broker process, on the loopback or at the other end of a cable."""

    kind: str
    host: str
    port: int
    folder: Path
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    passwords: dict[str, str] = field(default_factory=dict)

    def settings_for(self, user: str, **more: object) -> BrokerSettings:
        """How `user` reaches this broker; further fields of BrokerSettings as keywords."""
        values: dict[str, object] = {
            "host": self.host,
            "port": self.port,
            "username": user,
            "password_file": self.folder / f"{user}.password",
            "keepalive_s": 5,
            "allow_plaintext_beyond_loopback": self.host != "127.0.0.1",
        }
        return BrokerSettings.model_validate({**values, **more})

    def start(self) -> None:
        """Start it, again after a kill, and return once it listens."""
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_port(self.port, self.process, host=self.host)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End it politely, so that it can write down what it holds; by force after a while."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()


def _serve(server: BrokerServer) -> Iterator[BrokerServer]:
    try:
        server.start()
        yield server
    finally:
        server.kill() if server.kind == "embedded" else server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


def _write_passwords(folder: Path, users: Sequence[str]) -> dict[str, str]:
    passwords = {user: f"password-of-{user}" for user in users}
    for user, password in passwords.items():
        (folder / f"{user}.password").write_text(password + "\n")
    return passwords


@contextlib.contextmanager
def embedded_broker(
    users: Sequence[str], *, max_packet_bytes: int = 2 << 20, host: str = "127.0.0.1", prefix: Sequence[str] = ()
) -> Iterator[BrokerServer]:
    """Run the embedded broker (the `iotcore` wheel) with a password for each user, `prefix` before its command."""
    folder, port = Path(tempfile.mkdtemp(prefix="undertone-broker-")), free_port()
    passwords = _write_passwords(folder, users)
    auth = "\n".join(f'"{user}" = "{password}"' for user, password in passwords.items())
    config = folder / "broker.toml"
    config.write_text(
        f'id = 0\n[router]\nid = 0\nmax_connections = 2000\nmax_outgoing_packet_count = 1000\n'
        f'max_segment_size = 67108864\nmax_segment_count = 20\n'
        f'[v5.1]\nname = "v5-1"\nlisten = "{host}:{port}"\nnext_connection_delay_ms = 1\n'
        f'[v5.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = {max_packet_bytes}\n'
        f'max_inflight_count = 500\ndynamic_filters = true\n[v5.1.connections.auth]\n{auth}\n'
    )  # fmt: skip
    command = [*prefix, sys.executable, "-c", _EMBEDDED, str(config)]
    yield from _serve(BrokerServer("embedded", host, port, folder, command, passwords=passwords))


@contextlib.contextmanager
def mosquitto_broker(users: Sequence[str], *, max_packet_bytes: int = 2 << 20) -> Iterator[BrokerServer]:
    """Run mosquitto with a password for each user and a memory on disk; skip the test, loudly, where it is missing."""
    program = require_mosquitto()
    folder, port = Path(tempfile.mkdtemp(prefix="undertone-broker-")), free_port()
    passwords = _write_passwords(folder, users)
    listed = folder / "passwords"
    listed.write_text("".join(f"{user}:{password}\n" for user, password in passwords.items()))
    listed.chmod(0o600)
    subprocess.run(
        [shutil.which("mosquitto_passwd") or "mosquitto_passwd", "-U", listed], check=True, capture_output=True
    )
    config = folder / "mosquitto.conf"
    config.write_text(
        f"user {folder.owner()}\nlistener {port} 127.0.0.1\nallow_anonymous false\npassword_file {listed}\n"
        f"persistence true\npersistence_location {folder}/\nset_tcp_nodelay true\n"
        f"max_inflight_messages 1000\nmax_queued_messages 100000\n"
        f"max_packet_size {max_packet_bytes}\nlog_dest none\n"
    )
    command = [program, "-c", str(config)]
    yield from _serve(BrokerServer("mosquitto", "127.0.0.1", port, folder, command, passwords=passwords))


def require_mosquitto() -> str:
    """The program, or skip: certificates and access lists cannot be tested without it."""
    program = shutil.which("mosquitto", path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/opt/homebrew/sbin")
    if program is None:
        pytest.skip("MOSQUITTO IS NOT INSTALLED: certificates and access lists are not tested here")
    return program


class Inbox:
    """What a link hears, to be waited for."""

    def __init__(self) -> None:
        self._heard: queue.Queue[Received] = queue.Queue()
        self.seen: list[Received] = []

    def __call__(self, received: Received) -> None:
        self._heard.put(received)

    def wait_for(self, wanted: Callable[[Received], bool], within_s: float = 15.0) -> Received:
        """Return the next message that is wanted; what came before it is in `seen` with it.

        Raises:
            AssertionError: None came in time.
        """
        give_up_at_s = time.monotonic() + within_s
        while True:
            try:
                received = self._heard.get(timeout=max(0.0, give_up_at_s - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"not heard in {within_s} s; heard: {[one.topic for one in self.seen]}") from None
            self.seen.append(received)
            if wanted(received):
                return received


@contextlib.contextmanager
def linked(
    settings: BrokerSettings, client_id: str, *subscriptions: str, connected: bool = True
) -> Iterator[tuple[Link, Inbox]]:
    """A connection that is up, with its inbox."""
    inbox = Inbox()
    link = Link(settings, client_id, subscriptions=[(one, 1) for one in subscriptions], on_message=inbox)
    link.start()
    try:
        assert not connected or link.wait_connected(10), f"{client_id} was not let in"
        yield link, inbox
    finally:
        link.stop()


class ServiceProcess:
    """One of our services in a process of its own, watched as systemd would."""

    def __init__(
        self, folder: Path, *command: str, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = folder / f"{command[0]}-{command[1]}-{time.monotonic_ns()}.log"
        address = folder / f"{time.monotonic_ns()}.notify"
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.bind(str(address))
        self._notices.settimeout(0.2)
        self._said: queue.Queue[str] = queue.Queue()
        self._closing = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        watched = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "2000000", "PYTHONFAULTHANDLER": "1"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **watched, **(environment or {})},
            )  # fmt: skip

    def _listen(self) -> None:
        """Read on, as a service manager does: a full socket would hold the service up."""
        while True:
            with contextlib.suppress(TimeoutError):
                self._said.put(self._notices.recv(4096).decode())
            if self._closing.is_set():
                return

    def wait_notice(self, notice: str = "READY=1", within_s: float = 60.0) -> str:
        """Return the next notice to the service manager that holds this."""
        give_up_at_s = time.monotonic() + within_s
        while time.monotonic() < give_up_at_s:
            with contextlib.suppress(queue.Empty):
                said = self._said.get(timeout=0.2)
                if notice in said:
                    return said
                continue
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log.read_text()}"
        raise AssertionError(f"{notice} not said in {within_s} s:\n{self.log.read_text()}")

    def terminate(self, within_s: float = 20.0) -> int:
        """Ask it to end; its exit code.

        Raises:
            AssertionError: It did not; the message shows where each of its threads stood.
        """
        self.process.terminate()
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
        raise AssertionError(f"did not end in {within_s} s:\n{self.log.read_text()}")

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.process.poll() is None:
                self.terminate()
        finally:
            self._closing.set()
            self._listener.join()
            self._notices.close()
