"""This file knows how a service is seen from outside: `/metrics`, `/healthz`, `/readyz`, on a port somebody asked for.

A fixed number of threads answers; each connection has a deadline and a largest request. A slow client keeps one of
them for as long at most, further ones wait in the system's own short queue, and the service never waits for any.
"""

import hmac
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from schemas.exposition import CONTENT_TYPE, exposition
from schemas.logs import event
from schemas.metrics import Family
from schemas.settings import ObserveSettings, read_secret

log = logging.getLogger(__name__)

THREADS = 3
BACKLOG = 16
REQUEST_BYTES = 8192
WITHIN_S = 5.0  # for a whole connection, however little at a time comes
KEPT_S = 0.2  # metrics are not read more often,
KEPT_TIMES = 20.0  # nor so often that reading them takes more than a twentieth of the time

Reasons = Mapping[str, str]
"""What is wrong: a short stable word and the sentence for a person; empty when all is well."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What a service shows of itself; called from threads of the server.

    Attributes:
        metrics: Every figure as of now.
        alive: Why the process is no good any more; it feeds the service manager's watchdog too.
        ready: Why it cannot do its work now.
    """

    metrics: Callable[[], Sequence[Family]]
    alive: Callable[[], Reasons]
    ready: Callable[[], Reasons]


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"
    more: str = ""

    def encode(self) -> bytes:
        """As it goes over the wire."""
        return (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\nContent-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\nCache-Control: no-store\r\n{self.more}Connection: close\r\n\r\n"
        ).encode() + self.body


class ObserveServer:
    """Answers over HTTP until stopped."""

    def __init__(self, settings: ObserveSettings, observed: Observed) -> None:
        """Read the token, and take the port.

        Raises:
            SecretMissing: The token cannot be read; nothing is shown then.
            OSError: The port cannot be had.
        """
        assert settings.port is not None
        self.settings = settings
        self._observed = observed
        self._token = _token(settings)
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        self._listener = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self._stopping = False
        self._reading = threading.Lock()
        self._kept = b""
        self._kept_until_s = 0.0
        self._threads = [
            threading.Thread(target=self._serve, name=f"observe-{number}", daemon=True) for number in range(THREADS)
        ]

    def start(self) -> None:
        """Answer from now on."""
        for thread in self._threads:
            thread.start()
        event(log, logging.INFO, "observe_listens", host=self.settings.host, port=self.port,
              with_token=self._token is not None)  # fmt: skip

    def use(self, settings: ObserveSettings) -> None:
        """Ask for another token from now on; host and port stay.

        Raises:
            SecretMissing: The token cannot be read; the one before stays.
        """
        self._token = _token(settings)
        self.settings = settings

    def stop(self) -> None:
        """Listen no more, and finish what is being answered."""
        self._stopping = True
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        self._listener.close()
        for thread in self._threads:
            thread.join(WITHIN_S)

    def answer(self, request: bytes) -> Answer:
        """Answer one request head."""
        lines = request.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _problem(HTTPStatus.BAD_REQUEST, "no HTTP request")
        if words[0] != "GET":
            return _problem(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is answered", "Allow: GET\r\n")
        if not self._knows_token(lines[1:]):
            return _problem(HTTPStatus.UNAUTHORIZED, "a bearer token is needed", "WWW-Authenticate: Bearer\r\n")
        match words[1].partition("?")[0]:
            case "/metrics":
                return Answer(HTTPStatus.OK, self._metrics(), CONTENT_TYPE)
            case "/healthz":
                return _state(self._observed.alive())
            case "/readyz":
                return _state({**self._observed.alive(), **self._observed.ready()})
            case _:
                return _problem(HTTPStatus.NOT_FOUND, "there are /metrics, /healthz and /readyz")

    def _knows_token(self, headers: Sequence[str]) -> bool:
        if self._token is None:
            return True
        for line in headers:
            name, _, value = line.partition(":")
            if name.strip().lower() == "authorization":
                scheme, _, given = value.strip().partition(" ")
                return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token)
        return False

    def _metrics(self) -> bytes:
        with self._reading:
            began_s = time.monotonic()
            if began_s >= self._kept_until_s:
                self._kept = exposition(self._observed.metrics())
                took_s = time.monotonic() - began_s
                self._kept_until_s = began_s + max(KEPT_S, KEPT_TIMES * took_s)
            return self._kept

    def _serve(self) -> None:
        while not self._stopping:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if not self._stopping:  # the client has gone again, or descriptors are short: no reason to spin
                    time.sleep(0.1)
                continue
            with connection:
                try:
                    self._talk(connection)
                except OSError:  # too slow, or gone
                    continue
                except Exception:
                    log.exception("observe_failed")

    def _talk(self, connection: socket.socket) -> None:
        until_s = time.monotonic() + WITHIN_S
        head = _read_head(connection, until_s)
        if head is None:
            answer = _problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"at most {REQUEST_BYTES} bytes are read")
        else:
            answer = self.answer(head)
        connection.settimeout(max(0.01, until_s - time.monotonic()))
        connection.sendall(answer.encode())


def listen_as(settings: ObserveSettings, running: ObserveServer | None, observed: Observed) -> ObserveServer | None:
    """Show a service as these settings want it, where it may be shown already; the way it was stays on an error.

    Raises:
        SecretMissing: The token cannot be read.
        OSError: The port cannot be had.
    """
    if settings.port is None:
        if running is not None:
            running.stop()
        return None
    if running is not None and (settings.host, settings.port) == (running.settings.host, running.settings.port):
        running.use(settings)
        return running
    fresh = ObserveServer(settings, observed)
    if running is not None:
        running.stop()
    fresh.start()
    return fresh


def _token(settings: ObserveSettings) -> bytes | None:
    return read_secret(settings.token_file).encode() if settings.token_file is not None else None


def _read_head(connection: socket.socket, until_s: float) -> bytes | None:
    """Everything up to the empty line; None when there is more than we read.

    Raises:
        TimeoutError: It did not come in time.
        ConnectionError: The client has gone.
    """
    head = b""
    while b"\r\n\r\n" not in head:
        if len(head) >= REQUEST_BYTES:
            return None
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        more = connection.recv(REQUEST_BYTES - len(head))
        if not more:
            raise ConnectionError
        head += more
    return head


def _state(reasons: Reasons) -> Answer:
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return Answer(status, json.dumps({"ok": not reasons, "reasons": dict(reasons)}).encode())


def _problem(status: HTTPStatus, text: str, more: str = "") -> Answer:
    return Answer(status, json.dumps({"error": text}).encode(), more=more)
