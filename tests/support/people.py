"""People for tests: put straight into a site's database, and a desk that answers what a dashboard asks."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator import desk_people
from aggregator.requests_desk import RequestsDesk
from aggregator.settings import DeskSettings
from dashboard import passwords
from dashboard.people_door import digest_of
from dashboard.runtime import Dashboard
from schemas.requests import Role
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.site_tables import api_token, person
from tests.support.site_database import NOW_US

PASSWORD = "four words that rhyme with nothing"
FAR_US = 4_000_000_000_000_000
_numbers = itertools.count()


@cache
def hashed(password: str = PASSWORD) -> str:
    """A hash that need not be made for every test."""
    return passwords.hash_password(password)


def add_person(engine: Engine, name: str, role: Role, *, password: str = PASSWORD, state: str = "active") -> None:
    """Make somebody known who can sign in with `PASSWORD`."""
    with engine.begin() as connection:
        connection.execute(
            sa.insert(person).values(
                name=name, role=role, state=state, source="local", password_hash=hashed(password), must_change=False,
                link_digest=None, link_until_us=None, sessions_from_us=1, created_at_us=NOW_US, created_by="test",
            )
        )  # fmt: skip


def add_token(engine: Engine, name: str, role: Role, *, expires_at_us: int = FAR_US) -> str:
    """Give somebody a token; returns what a program sends."""
    word = f"ut_test-{next(_numbers)}"
    with engine.begin() as connection:
        connection.execute(
            sa.insert(api_token).values(
                token_digest=digest_of(word), person=name, title="test", role=role, created_at_us=NOW_US,
                expires_at_us=expires_at_us,
            )
        )  # fmt: skip
    return word


def bearer(word: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {word}"}


def desk_of(engine: Engine, ring: KeyRing) -> RequestsDesk:
    """The desk of a site that knows these dashboards; nothing it says reaches a gateway."""
    return RequestsDesk(
        engine, site="plant-a", signer=Signer.generate(), keys=ring, settings=DeskSettings(),
        publish=lambda topic, sealed: False, now_us=lambda: time.time_ns() // 1000, now_s=time.monotonic,
        new_id=lambda: f"{next(_numbers):032x}", handlers=desk_people.HANDLERS,
    )  # fmt: skip


def ring_of(board: Dashboard) -> KeyRing:
    """A list of keys with that of one dashboard."""
    signer = Signer.load(board.settings.signing_key_file)
    return KeyRing([AllowedKey("dashboard", "dashboard", signer.public)])


@contextmanager
def answering(engine: Engine, ring: KeyRing) -> Iterator[None]:
    """That desk at work, while the block lasts."""
    with working(desk_of(engine, ring)):
        yield


@contextmanager
def working(desk: RequestsDesk) -> Iterator[None]:
    """A site's desk in a thread of its own, while the block lasts."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            desk.step()

    thread = threading.Thread(target=work, name="desk", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10.0)
