"""This file knows how a site has its learning carried by a SuperLink: submits runs, and sees that one is there.

The run is Flower's, the rounds are ours: a new run carries whatever round the site's database says is open, or the
next. Flower itself says that a run has died some 40 to 80 s after the SuperLink is back; we see its relay go at once.
"""

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from aggregator.carriers.superlink import QUIET, run_command, write_app, write_connection
from aggregator.carriers.superlink_relay import SOCKET, TICKET
from aggregator.carriers.superlink_watch import RunWatch, State, Submit, Told
from aggregator.settings import SuperLinkCarrierSettings
from schemas.errors import SecretMissing, SettingsError
from schemas.logs import event

log = logging.getLogger(__name__)

CONNECTION = "site"
SERVER_APP = "aggregator.carriers.superlink_relay:server"
CLIENT_APP = "gateway_agent.supernode_app:client"
LOOK_S = 0.5
PROBE_WITHIN_S = 2.0
SUBMITTED_WITHIN_S = 60.0  # `flwr run` takes seconds; on a machine that starts up, many
LEVELS: Mapping[State, int] = {
    "away": logging.WARNING, "starting": logging.WARNING, "carrying": logging.INFO, "given_up": logging.ERROR,
}  # fmt: skip


class Runs(Protocol):
    """Whatever submits runs."""

    def submit(self, ticket: str) -> str:
        """Submit one with this ticket; why it was refused, empty when it was not."""

    def stop(self) -> None:
        """Give up the one under way, if any."""


class Supervisor:
    """Keeps a run going on one SuperLink, in a thread of its own.

    Args:
        settings: Which SuperLink.
        runs: Submits them.
        expect: Told each new ticket before it is submitted.
        relayed: Whether that run's relay is there, and why not.

    Attributes:
        counters: Runs submitted, refused, and lost.
        fault: What ended the thread, if anything did.
    """

    def __init__(
        self,
        settings: SuperLinkCarrierSettings,
        runs: Runs,
        *,
        expect: Callable[[str], None],
        relayed: Callable[[], tuple[bool, str]],
    ) -> None:
        self._settings = settings
        self._runs = runs
        self._expect = expect
        self._relayed = relayed
        self._watch = RunWatch(start_within_s=settings.start_within_s, attempts=settings.attempts)
        self._stopping = threading.Event()
        self.counters: Final[Counter[str]] = Counter()
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="superlink-supervisor", daemon=True)

    def start(self) -> None:
        """Keep a run going from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Submit no more; a submission under way is given up."""
        self._stopping.set()
        self._runs.stop()
        if self._thread.is_alive():
            self._thread.join(PROBE_WITHIN_S + 5.0)

    def story(self) -> dict[str, Any]:
        """How it stands, for the status, the metrics and a round's record."""
        watch = self._watch
        return {
            "state": watch.state, "text": watch.text[:500], "attempt": watch.attempt,
            "runs": {name: self.counters[name] for name in ("submitted", "refused", "lost")},
        }  # fmt: skip

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._look()
                self._stopping.wait(LOOK_S)
        except Exception as error:
            self.fault = error
            log.exception("superlink_supervisor_failed")

    def _look(self) -> None:
        relayed, why = self._relayed()
        answers = relayed or self._answers()
        if not answers:
            why = f"SuperLink {self._settings.address} does not answer"
        said = self._watch.look(time.monotonic(), answers=answers, relayed=relayed, why=why)
        self.counters["lost"] = self._watch.losses
        if isinstance(said, Told):
            event(log, LEVELS[said.state], f"superlink_{said.state}", address=self._settings.address, text=said.text,
                  attempt=self._watch.attempt)  # fmt: skip
        elif isinstance(said, Submit):
            self._begin(said.attempt)

    def _begin(self, attempt: int) -> None:
        ticket = secrets.token_hex(8)
        self._expect(ticket)
        event(log, logging.INFO, "superlink_run_submitted", address=self._settings.address, attempt=attempt,
              of=self._settings.attempts)  # fmt: skip
        problem = self._runs.submit(ticket)
        self.counters["submitted"] += 1
        if problem:
            self.counters["refused"] += 1
            self._watch.refused(time.monotonic(), problem)
            event(log, logging.WARNING, "superlink_run_refused", attempt=attempt, of=self._settings.attempts,
                  text=problem)  # fmt: skip

    def _answers(self) -> bool:
        try:
            socket.create_connection((self._settings.host, self._settings.port), PROBE_WITHIN_S).close()
        except OSError:
            return False
        return True


class FlowerRuns:
    """Submits runs with Flower's own command; what it needs is written into one folder.

    Args:
        settings: Which SuperLink.
        folder: Becomes FLWR_HOME.
        relay_socket: Where the relay finds us.

    Raises:
        SecretMissing: The CA's certificate is not there.
        SettingsError: Flower's command is not there.
    """

    def __init__(self, settings: SuperLinkCarrierSettings, folder: Path, relay_socket: Path) -> None:
        self._command = settings.flwr or Path(sys.executable).with_name("flwr")
        self._folder = folder
        self._socket = relay_socket
        self._running: subprocess.Popen[bytes] | None = None
        if settings.ca_file is not None and not os.access(settings.ca_file, os.R_OK):
            raise SecretMissing(
                f"ca_file {settings.ca_file} of [learning.superlink] cannot be read; copy the certificate of the CA "
                "that has signed the SuperLink's there"
            )
        if not os.access(self._command, os.X_OK):
            raise SettingsError(
                f"{self._command} is no program we may run; set learning.superlink.flwr to Flower's command"
            )
        write_connection(folder, CONNECTION, settings.address, ca_file=settings.ca_file)
        self._app = write_app(folder / "app", server=SERVER_APP, client=CLIENT_APP, config={SOCKET: "", TICKET: ""})

    def submit(self, ticket: str) -> str:
        """See `Runs`."""
        command = run_command(self._app, CONNECTION, {SOCKET: str(self._socket), TICKET: ticket})
        try:
            running = self._running = subprocess.Popen(
                [str(self._command), *command[1:]], env={**os.environ, **QUIET, "FLWR_HOME": str(self._folder)},
                start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except OSError as error:
            return f"{self._command} cannot be started: {error}"
        try:
            said, _ = running.communicate(timeout=SUBMITTED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.stop()
            running.communicate()
            return f"flwr run has not ended in {SUBMITTED_WITHIN_S:g} s"
        finally:
            self._running = None
        if running.returncode == 0:
            return ""
        return f"flwr run ended with {running.returncode}: {' '.join(said.decode(errors='replace').split())[-400:]}"

    def stop(self) -> None:
        """See `Runs`."""
        running = self._running
        if running is not None:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
