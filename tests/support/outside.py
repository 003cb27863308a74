"""A service seen from outside, for tests: its metrics and health over HTTP, and its log as events."""

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""(name, labels) -> value."""


@dataclass
class Web:
    """One port of the loopback."""

    port: int
    token: str | None = None

    def get(self, path: str, *, method: str = "GET", host: str = "127.0.0.1", **headers: str) -> tuple[int, bytes]:
        """Status and body."""
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        connection = http.client.HTTPConnection(host, self.port, timeout=10)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def answers(self) -> bool:
        """Whether somebody listens."""
        try:
            return self.get("/healthz")[0] > 0
        except OSError:
            return False

    def state(self, path: str) -> tuple[int, dict[str, str]]:
        """Status and reasons of /healthz or /readyz."""
        status, body = self.get(path)
        return status, json.loads(body)["reasons"]

    def metrics(self) -> Samples:
        """Every sample, read by Prometheus's own parser."""
        status, body = self.get("/metrics")
        assert status == 200, body
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }


def logged(log: Path, name: str) -> list[dict[str, Any]]:
    """Every event of a name in the log of a service."""
    events = []
    for line in log.read_text().splitlines():
        if line.startswith("{"):
            event = json.loads(line)
            if event["event"] == name:
                events.append(event)
    return events
