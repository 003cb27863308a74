"""This file knows how the site's broker is run: mosquitto where it is installed, else the embedded one on the loopback.

It writes the broker's settings from the list of clients, starts it, and follows the list: somebody new is let in
without a pause, somebody revoked is thrown out by a restart, because a live connection survives everything less.
"""

import contextlib
import ctypes
import datetime as dt
import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

from aggregator.broker_files import ServedBy, embedded_settings, find_mosquitto, served_by
from aggregator.certificates import write_private
from aggregator.client_list import Clients, read_clients
from aggregator.enrolment import write_mosquitto_files
from aggregator.errors import BrokerUnavailable
from aggregator.settings import AggregatorSettings
from schemas.errors import SettingsError
from schemas.logs import event
from schemas.supervision import Asked, notify, watchdog_interval_s

log = logging.getLogger(__name__)

READY_WITHIN_S = 20.0
LOOK_S = 0.5  # how often the list of clients is looked at
WRITTEN_ANEW_S = 86_400.0  # the list of revoked certificates runs out
STOP_WITHIN_S = 10.0  # mosquitto writes its memory to disk first
RESTARTS_AT_MOST = 5  # in a minute; then the supervisor above us decides
_EMBEDDED = "import sys; from iotcore import IotCoreBroker; IotCoreBroker(config_path=sys.argv[1]).run_forever()"
_PR_SET_PDEATHSIG = 1


class BrokerRunner:
    """One broker process, watched."""

    def __init__(self, settings: AggregatorSettings, *, now: Callable[[], dt.datetime]) -> None:
        self._settings = settings
        self._now = now
        self.by: ServedBy = served_by(settings.broker_server)
        self._program = find_mosquitto()
        if self.by == "mosquitto" and self._program is None:
            raise BrokerUnavailable("mosquitto is not installed; install it, or set broker_server.kind = 'embedded'")
        self._clients = Clients()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{self._settings.broker_server.host}:{self._settings.broker_server.port}"

    def start(self) -> None:
        """Write its settings, start it, and return once it listens.

        Raises:
            BrokerUnavailable: The port is taken, or it does not come up.
        """
        server = self._settings.broker_server
        if _answers(server.host, server.port):
            raise BrokerUnavailable(
                f"somebody listens on {self.address} already; stop it, or set broker_server.port to another"
            )
        self._clients = read_clients(self._settings)
        command = self._command()
        log_file: int | None = subprocess.DEVNULL if self.by == "embedded" else None
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - this command has one thread
        )
        give_up_s = time.monotonic() + READY_WITHIN_S
        while not _answers(server.host, server.port):
            if self.process.poll() is not None:
                raise BrokerUnavailable(f"{self.by} ended with {self.process.returncode} at start; see its lines above")
            if time.monotonic() > give_up_s:
                self.stop()
                raise BrokerUnavailable(f"{self.by} does not listen on {self.address} after {READY_WITHIN_S:.0f} s")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)
        known = sum(1 for client in self._clients.clients if not client.revoked)
        event(log, logging.INFO, "broker_serves", by=self.by, address=self.address, clients=known)

    def stop(self) -> None:
        """End it, politely first: what it holds for clients that are away is written down."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def follow(self) -> None:
        """Take over what has changed in the list of clients."""
        try:
            clients = read_clients(self._settings)
        except SettingsError as error:
            event(log, logging.ERROR, "client_list_unreadable", problem=str(error))
            return
        if clients == self._clients:
            return
        before, after = _held_by(self._clients), _held_by(clients)
        ended = len(before - after) + len({*clients.revoked_serials} - {*self._clients.revoked_serials})
        self._clients = clients
        if not ended and self.by == "mosquitto":
            self.reread()
            return
        if self.by == "embedded" and _passwords(before) == _passwords(after):
            return
        event(log, logging.WARNING, "broker_restarts", by=self.by, ended=ended)
        self.stop()
        self.start()

    def reread(self) -> None:
        """Write mosquitto's files anew and make it read them; connections stay."""
        if self.by != "mosquitto" or self.process is None:
            return
        write_mosquitto_files(self._settings, self._clients, now=self._now())
        self.process.send_signal(signal.SIGHUP)
        event(log, logging.INFO, "broker_reread", clients=len(self._clients.clients))

    def _command(self) -> list[str]:
        if self.by == "mosquitto":
            assert self._program is not None
            config = write_mosquitto_files(self._settings, self._clients, now=self._now())
            return [self._program, "-c", str(config)]
        config = self._settings.broker_server.folder / "embedded.toml"
        write_private(config, embedded_settings(self._settings.broker_server, self._clients).encode())
        return [sys.executable, "-c", _EMBEDDED, str(config)]


def run_broker(settings: AggregatorSettings, *, stop: Asked) -> int:
    """Run the broker until told to stop; the exit code of the command.

    Raises:
        BrokerUnavailable: It cannot be started.
    """
    runner = BrokerRunner(settings, now=lambda: dt.datetime.now(dt.UTC))
    watchdog_s = watchdog_interval_s()
    ended_s: list[float] = []
    try:
        runner.start()
        notify(f"READY=1\nSTATUS={runner.by} on {runner.address}")
        written_s = time.monotonic()
        while not stop.wait(min(LOOK_S, watchdog_s or LOOK_S)):
            now_s = time.monotonic()
            if runner.process is not None and runner.process.poll() is not None:
                event(log, logging.ERROR, "broker_ended", by=runner.by, code=runner.process.returncode)
                ended_s = [*(at_s for at_s in ended_s if now_s - at_s < 60), now_s]
                if len(ended_s) > RESTARTS_AT_MOST:
                    event(log, logging.ERROR, "broker_keeps_ending", by=runner.by, times=len(ended_s))
                    return 1
                runner.start()
            runner.follow()
            if now_s - written_s > WRITTEN_ANEW_S:
                runner.reread()
                written_s = now_s
            notify("WATCHDOG=1")
    finally:
        notify("STOPPING=1")
        runner.stop()
    event(log, logging.INFO, "broker_stopped", by=runner.by)
    return 0


def _held_by(clients: Clients) -> set[tuple[str, str, int]]:
    """Every right to connect: what is missing in a later list must be cut off."""
    passwords = {(one.name, one.password, 0) for one in clients.clients if one.password}
    revoked = set(clients.revoked_serials)
    return passwords | {(one.name, "", serial) for one in clients.clients for serial in {*one.serials} - revoked}


def _passwords(held: set[tuple[str, str, int]]) -> set[tuple[str, str]]:
    return {(name, password) for name, password, _ in held if password}


def _answers(host: str, port: int) -> bool:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    try:
        socket.create_connection((reachable, port), timeout=1).close()
    except OSError:
        return False
    return True


def _die_with_parent() -> None:
    """Leave no broker behind when this process is killed; Linux only, elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
