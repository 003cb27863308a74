"""What is shown over HTTP is shown to those who may see it, whatever they send and however slowly."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import observe_server
from schemas.errors import SecretMissing
from schemas.metrics import DURATION_BOUNDS_S, Family, Histogram
from schemas.observe_server import REQUEST_BYTES, THREADS, Observed, ObserveServer, listen_as
from schemas.settings import ObserveSettings
from tests.support.brokers import free_port
from tests.support.outside import Web


class Service:
    """What is observed; the test changes it."""

    def __init__(self) -> None:
        self.dead: dict[str, str] = {}
        self.unready: dict[str, str] = {}
        self.stored = 3.0
        self.durations = Histogram(DURATION_BOUNDS_S)
        self.read = 0

    def families(self) -> list[Family]:
        self.read += 1
        return [
            Family("stored_total", "counter", "Stored.", ((((), self.stored)),)),
            Family("points", "gauge", "Points.", (((("state", 'od"d\n'),), 1.0),)),
            Family("took_seconds", "histogram", "Took.", histogram=self.durations),
        ]

    @property
    def observed(self) -> Observed:
        return Observed(self.families, lambda: self.dead, lambda: self.unready)


@contextlib.contextmanager
def serving(service: Service, **settings: object) -> Iterator[Web]:
    port = free_port()
    server = ObserveServer(ObserveSettings.model_validate({"port": port, **settings}), service.observed)
    server.start()
    try:
        yield Web(port)
    finally:
        server.stop()


@pytest.fixture
def service() -> Service:
    return Service()


def test_metrics_are_what_prometheus_reads(service: Service) -> None:
    for value in (0.003, 0.003, 99.0):
        service.durations.observe(value)
    with serving(service) as web:
        told = web.metrics()
    assert told["stored_total", ()] == 3.0
    assert told["points", (("state", 'od"d\n'),)] == 1.0
    assert told["took_seconds_bucket", (("le", "0.002"),)] == 0
    assert told["took_seconds_bucket", (("le", "0.005"),)] == 2
    assert told["took_seconds_bucket", (("le", "+Inf"),)] == told["took_seconds_count", ()] == 3
    assert told["took_seconds_sum", ()] == pytest.approx(99.006)


def test_health_and_readiness_are_503_with_their_reasons(service: Service) -> None:
    with serving(service) as web:
        assert web.state("/healthz") == (200, {})
        assert web.state("/readyz") == (200, {})
        service.unready = {"disk_full": "no room"}
        assert web.state("/healthz") == (200, {})
        assert web.state("/readyz") == (503, {"disk_full": "no room"})
        service.dead = {"worker_stuck": "for 61 s"}
        assert web.state("/healthz") == (503, {"worker_stuck": "for 61 s"})
        assert web.state("/readyz")[1] == {"worker_stuck": "for 61 s", "disk_full": "no room"}


def test_somebody_who_asks_often_does_not_make_the_service_read_often(service: Service) -> None:
    with serving(service) as web:
        for _ in range(20):
            web.metrics()
    assert service.read < 20


def test_other_paths_methods_and_rubbish_are_refused_and_the_next_is_answered(service: Service) -> None:
    with serving(service) as web:
        assert web.get("/")[0] == 404
        assert web.get("/../etc/passwd")[0] == 404
        assert web.get("/metrics", method="POST")[0] == 405
        assert raw(web, b"\x00\xff\x16\x03\x01\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert raw(web, b"GET / HTTP/1.1\r\nX: " + b"x" * REQUEST_BYTES).startswith(b"HTTP/1.1 431 ")
        assert web.get("/metrics?name=x")[0] == 200


def raw(web: Web, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        connection.sendall(request)
        return connection.recv(65536)


def test_slow_clients_are_dropped_and_the_others_answered(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe_server, "WITHIN_S", 0.5)
    with serving(service) as web, contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=10))
            for _ in range(2 * THREADS)
        ]
        for one in slow:
            one.sendall(b"GET /metrics HTT")
        began_s = time.monotonic()
        assert web.get("/healthz")[0] == 200
        assert time.monotonic() - began_s < 5.0
        assert slow[0].recv(100) == b""


def test_without_the_token_nothing_is_shown(service: Service, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    with serving(service, token_file=token) as web:
        for path in ("/metrics", "/healthz", "/readyz", "/"):
            assert web.get(path)[0] == 401
            assert web.get(path, Authorization="Bearer wrong")[0] == 401
            assert web.get(path, Authorization="Basic s3cret")[0] == 401
        assert Web(web.port, "s3cret").get("/metrics")[0] == 200


def test_a_missing_token_shows_nothing_at_all(service: Service, tmp_path: Path) -> None:
    with pytest.raises(SecretMissing, match="token cannot be read"):
        ObserveServer(ObserveSettings(port=free_port(), token_file=tmp_path / "token"), service.observed)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "gateway.example"])
def test_beyond_the_loopback_a_token_is_needed_or_a_plain_word(host: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="token_file"):
        ObserveSettings(port=9464, host=host)
    assert ObserveSettings(port=9464, host=host, token_file=tmp_path)
    assert ObserveSettings(port=9464, host=host, allow_anonymous_beyond_loopback=True)


def test_nothing_listens_without_a_port(service: Service) -> None:
    assert listen_as(ObserveSettings(), None, service.observed) is None


def test_another_port_is_taken_before_the_first_is_given_up(service: Service) -> None:
    first, second = free_port(), free_port()
    server = listen_as(ObserveSettings(port=first), None, service.observed)
    with socket.create_server(("127.0.0.1", second)), pytest.raises(OSError, match="in use"):
        listen_as(ObserveSettings(port=second), server, service.observed)
    assert Web(first).answers()
    server = listen_as(ObserveSettings(port=second), server, service.observed)
    assert (Web(first).answers(), Web(second).answers()) == (False, True)
    assert listen_as(ObserveSettings(), server, service.observed) is None
    assert not Web(second).answers()


def test_a_question_that_fails_costs_one_answer_and_no_thread(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> dict[str, str]:
        raise RuntimeError("a bug")

    port = free_port()
    server = ObserveServer(ObserveSettings(port=port), Observed(service.families, broken, broken))
    server.start()
    try:
        for _ in range(2 * THREADS):
            assert raw(Web(port), b"GET /healthz HTTP/1.1\r\n\r\n") == b""
        assert json.loads(Web(port).get("/nothing")[1])["error"]
    finally:
        server.stop()
    assert "observe_failed" in caplog.text
