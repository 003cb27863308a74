"""A site's desk with everything for work on cases, a clock that stands still until moved, and receivers that listen."""

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator import desk_work
from aggregator.historian import Arrived, Historian
from aggregator.notifications import Notifier
from aggregator.own_limits import OwnLimits
from aggregator.requests_desk import RequestsDesk
from aggregator.settings import DeskSettings, NotificationSettings
from aggregator.work_round import Shelves
from schemas import site_tables as tables
from schemas.messages import encode
from schemas.requests import REQUEST_TOPIC, Action, Request, Role
from schemas.signing import AllowedKey, KeyRing, Signer
from tests.support import gateway_talk as talk

START_S = 1_790_000_000.0
SITE_SIGNER, DASHBOARD = Signer.generate(), Signer.generate()
KEYS = KeyRing([AllowedKey("board", "dashboard", DASHBOARD.public), AllowedKey("plant-a", "site", SITE_SIGNER.public)])


@dataclass
class WorkOffice:
    """What acts on cases, over one database."""

    engine: Engine
    notices: NotificationSettings = field(default_factory=NotificationSettings)
    now_s: float = START_S
    asked: Iterator[int] = field(default_factory=itertools.count)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.historian = Historian(self.engine, now_us=self.now_us)
        self.desk = RequestsDesk(
            self.engine, site=talk.SITE, signer=SITE_SIGNER, keys=KEYS, settings=DeskSettings(),
            publish=lambda topic, sealed: True, now_us=self.now_us, now_s=lambda: self.now_s,
            new_id=lambda: f"{next(self.asked):032x}", handlers=desk_work.HANDLERS,
        )  # fmt: skip
        self.shelves = Shelves(self.engine, now_us=self.now_us)
        self.limits = OwnLimits(self.engine, now_us=self.now_us)
        self.restart_notifier()

    def restart_notifier(self) -> None:
        self.notifier = Notifier(self.engine, self.notices, plant="plant-a", now_us=self.now_us)

    def now_us(self) -> int:
        return int(self.now_s * 1e6)

    def hear(self, *records: Any, gateway: str = talk.GATEWAY) -> None:
        numbered = [(next(self.numbers), record) for record in records]
        self.historian.store([Arrived(talk.batch(*numbered, gateway=gateway))])

    def ask(self, action: Action, *, role: Role = "engineer", machine: str | None = "pump-07", **more: Any) -> Any:
        """Ask for something and return the row with its answer."""
        request_id = f"{next(self.asked):032x}"
        wanted = Request(
            request_id=request_id, action=action, actor="anna", role=role, asked_at_us=0, machine=machine, **more
        )
        sealed = DASHBOARD.seal(REQUEST_TOPIC, encode(wanted))
        with self.engine.begin() as connection:
            connection.execute(
                sa.insert(tables.request).values(request_id=request_id, sealed=sealed, created_at_us=self.now_us())
            )
        self.desk.step()
        with self.engine.connect() as connection:
            return connection.execute(sa.select(tables.request).where(tables.request.c.request_id == request_id)).one()

    def rows(self, table: sa.Table, *order: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(table).order_by(*(order or table.primary_key.columns))).all())

    def case(self, machine: str = "pump-07") -> Any:
        found = [row for row in self.rows(tables.machine_case) if row.machine == machine]
        return found[-1] if found else None

    def kinds(self) -> list[str]:
        return [row.kind for row in self.rows(tables.case_event)]


class Receiver:
    """A program that takes POSTs on the loopback and can be told to refuse."""

    def __init__(self) -> None:
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        self.arrived = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                receiver.taken.append((dict(self.headers.items()), body))
                receiver.arrived.set()
                receiver.may_answer.wait(30.0)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                if receiver.status == 302:
                    self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10.0)


def settings_for(folder: Path, receiver: Receiver, **more: Any) -> NotificationSettings:
    """One channel to people and one to programs, both ending at the receiver; addresses and secrets in files."""
    (folder / "shift.url").write_text(f"json://127.0.0.1:{receiver.port}/people?:token=s3cret-word\n")
    (folder / "cmms.url").write_text(f"http://127.0.0.1:{receiver.port}/orders?token=s3cret-word\n")
    (folder / "cmms.secret").write_text("a-shared-secret\n")
    return NotificationSettings.model_validate(
        {
            "channels": [{"name": "shift", "url_file": folder / "shift.url"}],
            "webhooks": [
                {"name": "cmms", "url_file": folder / "cmms.url", "secret_file": folder / "cmms.secret"}
            ],
            **more,
        }
    )  # fmt: skip
