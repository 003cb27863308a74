"""This file knows how what a person asks for reaches the aggregator: one sealed row, and how to follow it."""

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.engine import Connection, Engine

from dashboard.access import Visitor
from dashboard.errors import RequestNotWritten
from schemas.database import open_database
from schemas.errors import SignatureRejected
from schemas.requests import REQUEST_TOPIC, Action, Request, Values
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.site_tables import request

MAX_CAME_FROM = 64
FOLLOWED = 20  # newest requests of one machine


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of one request.

    Attributes:
        state: new (nobody took it yet), sent (a gateway has to answer), done or refused.
        answer: The aggregator's words.
    """

    request: Request
    state: str
    answer: str
    answered_at_us: int | None


class RequestWriter:
    """Seals requests with the dashboard's own key and writes them; it writes nothing else."""

    def __init__(self, database_url: str, signer: Signer, *, now_us: Callable[[], int]) -> None:
        self._url = sa.make_url(database_url)
        self._signer = signer
        self._ring = KeyRing([AllowedKey("dashboard", "dashboard", signer.public)])
        self._now_us = now_us
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    def ask(
        self,
        action: Action,
        visitor: Visitor,
        machine: str | None = None,
        *,
        case_id: int | None = None,
        point: str | None = None,
        note: str = "",
        label: str = "",
        values: Values | None = None,
    ) -> str:
        """Write one request.

        Returns:
            The id under which it can be followed.

        Raises:
            RequestNotWritten: The database did not take it, or the text is too long.
        """
        now_us = self._now_us()
        try:
            asked = Request(
                request_id=uuid.uuid4().hex,
                action=action,
                actor=visitor.name,
                role=visitor.role,
                machine=machine,
                point=point,
                case_id=case_id,
                note=note,
                label=label,
                values=values or {},
                came_from=visitor.came_from[:MAX_CAME_FROM],
                asked_at_us=now_us,
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise RequestNotWritten(f"{first['loc'][-1]}: {first['msg']}") from error
        sealed = self._signer.seal(REQUEST_TOPIC, asked.model_dump_json().encode())
        row = {
            "request_id": asked.request_id, "sealed": sealed, "created_at_us": now_us, "state": "new",
            "actor": asked.actor, "action": asked.action, "answer": "", "machine": asked.machine,
        }  # fmt: skip
        try:
            with self._open().begin() as connection:
                connection.execute(sa.insert(request).values(**row))
        except sa.exc.DBAPIError as error:
            self.close()  # the file may be another one by now, put back from a back-up
            raise RequestNotWritten(f"the site's database did not take it ({error.orig}); try again") from error
        return asked.request_id

    def follow(self, connection: Connection, machine: str) -> list[Asked]:
        """Find what this dashboard asked of one machine lately, newest first."""
        rows = connection.execute(
            sa.select(request.c.sealed, request.c.state, request.c.answer, request.c.answered_at_us)
            .where(request.c.machine == machine)
            .order_by(request.c.created_at_us.desc())
            .limit(FOLLOWED)
        )
        found = []
        for row in rows:
            try:
                asked = Request.model_validate_json(self._ring.open(REQUEST_TOPIC, row.sealed, role="dashboard"))
            except (SignatureRejected, ValidationError):
                continue  # of another dashboard, or of one before this one's key
            if asked.machine == machine:
                found.append(Asked(asked, row.state, row.answer, row.answered_at_us))
        return found

    def close(self) -> None:
        """Let go of the connections that are kept; a further request opens others."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
            self._engine = None

    def _open(self) -> Engine:
        with self._lock:
            if self._engine is None:
                if self._url.get_backend_name() == "sqlite" and not Path(self._url.database or "").is_file():
                    raise RequestNotWritten("the site's database is not there; nothing was asked")
                self._engine = open_database(self._url.render_as_string(hide_password=False))
            return self._engine
