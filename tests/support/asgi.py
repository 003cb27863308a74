"""An ASGI application served for real, on a port of its own, and a small client that speaks HTTP to it."""

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from tests.support.brokers import free_port

STARTS_WITHIN_S = 10.0


@dataclass(frozen=True)
class Answer:
    """What came back; names of headers are lower-case."""

    status_code: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks one server; keeps no connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cookies: dict[str, str] = {}

    def request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, json: Any = None,
        content: bytes | None = None,
    ) -> Answer:  # fmt: skip
        sent = dict(headers or {})
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if json is not None:
            sent["Content-Type"] = "application/json"
            content = _dumped(json)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(method.upper(), path, content, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **more: Any) -> Answer:
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> Answer:
        return self.request("POST", path, **more)

    def put(self, path: str, **more: Any) -> Answer:
        return self.request("PUT", path, **more)


@contextmanager
def served(app: Any) -> Iterator[Client]:
    """Serve an application while the block lasts."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off", ws="none")
    )
    started = threading.Event()
    startup = server.startup

    async def told(*args: Any, **more: Any) -> None:
        await startup(*args, **more)
        started.set()

    server.startup = told  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, name="uvicorn", daemon=True)
    thread.start()
    try:
        assert started.wait(STARTS_WITHIN_S), "the server did not start"
        yield Client(port)
    finally:
        server.should_exit = True
        thread.join(10.0)


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()
