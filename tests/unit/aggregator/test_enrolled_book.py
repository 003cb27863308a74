"""Who is enrolled, as the fleet page shows it: without secrets, as it is now, and as it last was when unreadable."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.client_list import Client, Clients
from aggregator.enrolled_book import LOOK_S, EnrolledBook
from schemas.errors import SettingsError
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.site_tables import enrolled

GATEWAY = Client(name="gw-1", kind="gateway", serials=(7,), password="secret-word", not_after_us=5)


@dataclass
class Lists:
    """The lists on disk, a clock, and the book over them."""

    engine: Engine
    clients: Clients = field(default_factory=lambda: Clients(clients=(GATEWAY,)))
    keys: KeyRing = field(default_factory=lambda: KeyRing([AllowedKey("gw-1", "gateway", Signer.generate().public)]))
    now_s: float = 0.0
    damaged: bool = False

    def __post_init__(self) -> None:
        self.book = EnrolledBook(self.engine, clients=self.read, keys=self.keys, now_s=lambda: self.now_s)

    def read(self) -> Clients:
        if self.damaged:
            raise SettingsError("list of clients cannot be read")
        return self.clients

    def look(self) -> list[dict[str, Any]]:
        self.now_s += LOOK_S
        self.book.step()
        with self.engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(sa.select(enrolled).order_by(enrolled.c.name))]


@pytest.fixture
def lists(engine: Engine) -> Lists:
    return Lists(engine)


def test_an_enrolled_gateway_is_there_with_its_certificate_and_no_secret(lists: Lists) -> None:
    (row,) = lists.look()
    assert row == {"name": "gw-1", "kind": "gateway", "revoked": False, "key_known": True, "certificate_until_us": 5}
    assert "secret-word" not in str(row)


def test_a_gateway_whose_key_is_not_on_the_list_is_shown_so_and_sensors_need_none(lists: Lists) -> None:
    others = (Client(name="gw-2", kind="gateway"), Client(name="sensors", kind="sensors", gateway="gw-1"))
    lists.clients = Clients(clients=(GATEWAY, *others))
    known = {row["name"]: (row["key_known"], row["certificate_until_us"]) for row in lists.look()}
    assert known == {"gw-1": (True, 5), "gw-2": (False, None), "sensors": (True, None)}


def test_who_is_revoked_or_gone_is_so_at_the_next_look(lists: Lists) -> None:
    lists.look()
    lists.clients = Clients(clients=(GATEWAY.model_copy(update={"revoked": True, "serials": ()}),))
    assert [(row["revoked"], row["certificate_until_us"]) for row in lists.look()] == [(True, None)]
    lists.clients = Clients()
    assert lists.look() == []


def test_a_list_that_cannot_be_read_leaves_what_was_known_and_is_told_once(
    lists: Lists, caplog: pytest.LogCaptureFixture
) -> None:
    lists.look()
    lists.damaged = True
    assert [row["name"] for row in (lists.look(), lists.look())[1]] == ["gw-1"]
    assert caplog.text.count("client_list_unreadable") == 1
