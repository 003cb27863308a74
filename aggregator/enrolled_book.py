"""This file knows how the dashboard learns who is enrolled: the lists of clients and keys, without their secrets."""

import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.client_list import Client, Clients
from aggregator.database import writing
from schemas.errors import SettingsError
from schemas.logs import event
from schemas.signing import KeyRing
from schemas.site_tables import enrolled

log = logging.getLogger(__name__)

LOOK_S = 2.0
_SIGN_NOTHING = frozenset({"sensors"})  # the gateway beside them vouches


class EnrolledBook:
    """Writes down what has changed; `step` is one look."""

    def __init__(
        self, engine: Engine, *, clients: Callable[[], Clients], keys: KeyRing, now_s: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._clients = clients
        self._keys = keys
        self._now_s = now_s
        self._looked_at_s = -LOOK_S
        self._written: list[dict[str, Any]] | None = None
        self._complained = False

    def step(self) -> None:
        """Look, and write where anything is other than it was written."""
        if self._now_s() - self._looked_at_s < LOOK_S:
            return
        self._looked_at_s = self._now_s()
        known: set[tuple[str, str]] = {(key.name, key.role) for key in self._keys}
        try:
            rows = [_row(client, known) for client in self._clients().clients]
        except SettingsError as error:
            if not self._complained:
                event(log, logging.ERROR, "client_list_unreadable", text=f"{error}; the fleet page shows the last one")
            self._complained = True
            return
        self._complained = False
        if rows == self._written:
            return
        with writing(self._engine) as connection:
            connection.execute(sa.delete(enrolled))
            if rows:
                connection.execute(sa.insert(enrolled), rows)
        self._written = rows


def _row(client: Client, known: AbstractSet[tuple[str, str]]) -> dict[str, Any]:
    return {
        "name": client.name, "kind": client.kind, "revoked": client.revoked,
        "key_known": client.kind in _SIGN_NOTHING or (client.name, client.kind) in known,
        "certificate_until_us": client.not_after_us if client.serials and client.not_after_us else None,
    }  # fmt: skip
