"""Real brokers for tests: started on a free port of the loopback, ready when they answer, killed when asked.

    with embedded_broker(["site", "gw-1"]) as broker:
        link = Link(broker.settings_for("gw-1"), "gw-1", ...)

The embedded broker writes every packet to its output: that goes to /dev/null, and it runs in a process of its own.
"""

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from schemas.settings import BrokerSettings

READY_WITHIN_S = 15.0
_EMBEDDED = "import sys; from iotcore import IotCoreBroker; IotCoreBroker(config_path=sys.argv[1]).run_forever()"


def free_port() -> int:
    """A port of the loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes] | None = None, within_s: float = READY_WITHIN_S) -> None:
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
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
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
    """One broker process on the loopback."""

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
        }
        return BrokerSettings.model_validate({**values, **more})

    def start(self) -> None:
        """Start it, again after a kill, and return once it listens."""
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_port(self.port, self.process)

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
def embedded_broker(users: Sequence[str], *, max_packet_bytes: int = 2 << 20) -> Iterator[BrokerServer]:
    """Run the embedded broker (the `iotcore` wheel) with a password for each user."""
    folder, port = Path(tempfile.mkdtemp(prefix="undertone-broker-")), free_port()
    passwords = _write_passwords(folder, users)
    auth = "\n".join(f'"{user}" = "{password}"' for user, password in passwords.items())
    config = folder / "broker.toml"
    config.write_text(
        f'id = 0\n[router]\nid = 0\nmax_connections = 2000\nmax_outgoing_packet_count = 1000\n'
        f'max_segment_size = 67108864\nmax_segment_count = 20\n'
        f'[v5.1]\nname = "v5-1"\nlisten = "127.0.0.1:{port}"\nnext_connection_delay_ms = 1\n'
        f'[v5.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = {max_packet_bytes}\n'
        f'max_inflight_count = 500\ndynamic_filters = true\n[v5.1.connections.auth]\n{auth}\n'
    )  # fmt: skip
    command = [sys.executable, "-c", _EMBEDDED, str(config)]
    yield from _serve(BrokerServer("embedded", "127.0.0.1", port, folder, command, passwords=passwords))


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
        f"persistence true\npersistence_location {folder}/\nmax_inflight_messages 1000\nmax_queued_messages 100000\n"
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
