"""This file knows what stands in for a phone and a maintenance system: it takes what the plant tells, and shows it.

Started by the demonstration as a process of its own. It listens on the loopback only, and everything lies under a word
that cannot be guessed: whoever does not know the word neither reads nor writes.
"""

import argparse
import hmac
import html
import http.client
import json
import re
import sys
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from aggregator.notice_senders import IDEMPOTENCY, SIGNATURE, TIMESTAMP, signature
from deploy.demo.names import PHONE
from deploy.demo.ports import HOST
from schemas.settings import read_secret
from schemas.supervision import notify

MAX_BODY_BYTES = 65_536
KEPT = 200  # the oldest goes; numbers go on, so that it is seen
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
article { border-top: 1px solid #8886; padding: .7rem 0 }
p { margin: .2rem 0; white-space: pre-wrap; overflow-wrap: anywhere }
small { opacity: .75 }"""


@dataclass(frozen=True, slots=True)
class Message:
    """One thing that was told.

    Attributes:
        number: Counts from 1 since the receiver started.
        seal: What was found about its signature.
    """

    number: int
    site: str
    channel: str
    title: str
    text: str
    at: str
    seal: str


class Received:
    """What has arrived lately; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[Message] = deque(maxlen=KEPT)
        self._keys: deque[str] = deque(maxlen=KEPT)
        self._count = 0

    def take(self, site: str, channel: str, body: dict[str, Any], *, seal: str, key: str) -> None:
        """Keep one; a repetition, known by its key, is kept once."""
        with self._lock:
            if key and key in self._keys:
                return
            self._keys.append(key)
            self._count += 1
            title, text = _in_words(body)
            now = datetime.now(UTC).strftime("%H:%M:%S UTC")
            self._kept.append(Message(self._count, site, channel, title, text, now, seal))

    def after(self, number: int) -> list[Message]:
        """Those with a higher number, oldest first."""
        with self._lock:
            return [one for one in self._kept if one.number > number]


def read_messages(port: int, word: str, *, after: int) -> list[Message]:
    """Ask the running receiver what has arrived after a number; nothing while it does not answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", f"/{word}/messages.json?after={after}")
        answer = connection.getresponse()
        found = json.loads(answer.read()) if answer.status == http.HTTPStatus.OK else []
    except (OSError, ValueError, http.client.HTTPException):
        return []
    finally:
        connection.close()
    return [Message(**one) for one in found]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo.messages")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--word-file", type=Path, required=True, help="under which everything lies")
    parser.add_argument("--secret-file", type=Path, required=True, help="the key of signed bodies")
    options = parser.parse_args(arguments)
    word, secret, received = read_secret(options.word_file), read_secret(options.secret_file), Received()

    class Ours(_Handler):
        under, key, kept = word, secret, received

    with ThreadingHTTPServer((HOST, options.port), Ours) as server:
        notify("READY=1")
        server.serve_forever()
    return 0


class _Handler(BaseHTTPRequestHandler):
    under: ClassVar[str]
    key: ClassVar[str]
    kept: ClassVar[Received]
    timeout = 10

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if hmac.compare_digest(path, f"/{self.under}/"):
            self._answer(200, "text/html", _page(self.kept.after(0)))
        elif hmac.compare_digest(path, f"/{self.under}/messages.json"):
            number = int(query.removeprefix("after=")) if re.fullmatch(r"after=\d{1,9}", query) else 0
            self._answer(200, "application/json", json.dumps([asdict(one) for one in self.kept.after(number)]))
        else:
            self._answer(404, "text/plain", "nothing here")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        place = re.fullmatch(r"/([\w-]+)/([\w-]+)/([\w-]+)/?", self.path, re.ASCII)
        if place is None or not hmac.compare_digest(place[1], self.under):
            self._answer(404, "text/plain", "nothing here")
            return
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self._answer(413, "text/plain", f"at most {MAX_BODY_BYTES} bytes")
            return
        content = self.rfile.read(int(length))
        try:
            body = json.loads(content)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            self._answer(400, "text/plain", "no JSON object")
            return
        seal = self._seal(content, channel=place[3])
        if seal is None:
            self._answer(401, "text/plain", "the signature is missing or wrong")
            return
        self.kept.take(place[2], place[3], body, seal=seal, key=self.headers.get(IDEMPOTENCY, ""))
        self._answer(200, "text/plain", "taken")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing: the word stands in the path."""

    def _seal(self, content: bytes, *, channel: str) -> str | None:
        """What to say about the signature; None where it is wrong, or missing though programs are told."""
        given, at_s = self.headers.get(SIGNATURE, ""), self.headers.get(TIMESTAMP, "")
        if channel == PHONE:
            return "for people"
        right = at_s.isdecimal() and hmac.compare_digest(given, signature(self.key, int(at_s), content))
        return "for a program, signature right" if right else None

    def _answer(self, status: int, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in (
            ("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(content))),
            ("Content-Security-Policy", _POLICY), ("Referrer-Policy", "no-referrer"), ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _in_words(body: dict[str, Any]) -> tuple[str, str]:
    """Title and text, of a message as apprise sends it or of what programs are told."""
    order = body.get("order")
    if isinstance(order, dict):
        return f"Work order {order.get('number')}", "\n".join(f"{name}: {value}" for name, value in order.items())
    return str(body.get("title", "")), str(body.get("message", body.get("text", "")))


def _page(messages: Sequence[Message]) -> str:
    said = html.escape
    shown = "".join(
        f"<article><small>{one.number} · {one.at} · {said(one.channel)}, site {said(one.site)}, {one.seal}</small>"
        f"<p><b>{said(one.title)}</b></p><p>{said(one.text)}</p></article>"
        for one in reversed(messages)
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="refresh" content="3"><title>Messages of the plant</title><style>{_STYLE}</style>'
        "<h1>What the plant has told</h1><p>This page stands in for a phone (channel shift-phone) and a maintenance "
        "system (channel maintenance). Try it: Settings, Channels, “Send a test”; or write a work order in a case.</p>"
        + (shown or "<p>Nothing yet.</p>")
    )


if __name__ == "__main__":
    sys.exit(main())
