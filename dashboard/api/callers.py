"""This file knows which program or person asks, what they may, and how often.

A token acts with its own role, never with more than its person has now. The session of a page may only read, and only
from the page's own origin: so no foreign page can make a browser change anything.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from dashboard.access import Door, Visitor
from dashboard.api.problems import refusal
from dashboard.components.session_cookie import cookie_name
from dashboard.people_door import digest_of
from dashboard.queries.people import read_token
from dashboard.runtime import Dashboard
from schemas.requests import ROLES, Role

TOKEN_PREFIX = "ut_"  # noqa: S105 - what a token begins with, so that a search for lost secrets finds it
BURST, PER_S = 120.0, 20.0  # requests of one caller
WRONG_BURST, WRONG_PER_S = 20.0, 0.2  # wrong tokens of one address
MAX_CALLERS = 2000  # the one longest unheard starts afresh
_OWN_ORIGIN = frozenset({"same-origin", "none", ""})


class Allowance:
    """A bucket of requests for each caller, filled again as time goes by; safe to use from many threads."""

    def __init__(self, burst: float, per_s: float, now_s: Callable[[], float]) -> None:
        self._burst = burst
        self._per_s = per_s
        self._now_s = now_s
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """Take one; returns how many seconds to wait, 0 when there was one."""
        now_s = self._now_s()
        with self._lock:
            left, at_s = self._left.pop(caller, (self._burst, now_s))
            left = min(self._burst, left + (now_s - at_s) * self._per_s)
            wait_s = 0.0 if left >= 1.0 else (1.0 - left) / self._per_s
            self._left[caller] = (left - 1.0 if left >= 1.0 else left, now_s)
            while len(self._left) > MAX_CALLERS:
                self._left.popitem(last=False)
            return wait_s


@dataclass(frozen=True, slots=True)
class Callers:
    """Recognises who asks."""

    board: Dashboard
    calls: Allowance
    wrong: Allowance
    told: Allowance

    @classmethod
    def build(cls, board: Dashboard, now_s: Callable[[], float]) -> "Callers":
        """With the bounds of this file."""
        return cls(
            board,
            Allowance(BURST, PER_S, now_s),
            Allowance(WRONG_BURST, WRONG_PER_S, now_s),
            Allowance(1.0, 1.0 / 60.0, now_s),
        )

    def dependency(self) -> Callable[..., Visitor]:
        """What a path asks for to know its caller."""
        bearer = HTTPBearer(auto_error=False, description="A token made on the page People.")
        cookie = APIKeyCookie(
            name=cookie_name(self.board.settings.port), auto_error=False,
            description="The session of a page; it may only read.",
        )  # fmt: skip

        def caller(
            request: Request,
            token: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
            session: Annotated[str | None, Depends(cookie)],
        ) -> Visitor:
            came_from = request.client.host if request.client is not None else ""
            if token is not None:
                return self._by_token(token.credentials, came_from)
            if session is not None:
                return self._by_session(request, session)
            raise refusal(401, "no token found; send `Authorization: Bearer ...`, made on the page People")

        return caller

    def needs(self, caller: Callable[..., Visitor], least: Role) -> Callable[..., Visitor]:
        """A dependency on a caller with at least this role."""

        def checked(visitor: Annotated[Visitor, Depends(caller)]) -> Visitor:
            if ROLES.index(visitor.role) < ROLES.index(least):
                raise refusal(403, f"a {visitor.role} may not; at least {least} is needed")
            return visitor

        return checked

    def _by_token(self, word: str, came_from: str) -> Visitor:
        door = self.board.door
        if isinstance(door, Door):
            return self._by_access_token(door, word, came_from)
        digest = digest_of(word)
        with self.board.reader.read() as connection:
            found = read_token(connection, digest)
        if found is None or found.person_role is None or found.expires_at_us <= self.board.now_us():
            wait_s = self.wrong.take(came_from)
            if self.told.take(came_from) == 0.0:
                refused: dict[str, Any] = {"method": "token", "refused": "token unknown, removed or too old"}
                self.board.asker.ask("sign_in", Visitor("unknown", "viewer", came_from), refused)
            if wait_s > 0.0:
                raise refusal(429, "too many wrong tokens from this address", retry_after_s=math.ceil(wait_s))
            raise refusal(401, "this token is unknown, was removed or is too old")
        self._count(digest)
        role = min(found.role, found.person_role, key=ROLES.index)
        return Visitor(found.person, role, came_from)

    def _by_access_token(self, door: Door, word: str, came_from: str) -> Visitor:
        if not door.needs_token or not door.accepts(word):
            raise refusal(401, "this token is not the right one")
        self._count("access token")
        return Visitor("access token", self.board.settings.access.token_role, came_from)

    def _by_session(self, request: Request, session: str) -> Visitor:
        if request.method not in {"GET", "HEAD"} or request.headers.get("sec-fetch-site", "") not in _OWN_ORIGIN:
            raise refusal(403, "the session of a page may only read, and only from the page itself; use a token")
        visitor = self.board.door.recognise(session, touch=False)
        if visitor is None:
            raise refusal(401, "the session is over; sign in on the page")
        self._count(session)
        return visitor

    def _count(self, caller: str) -> None:
        wait_s = self.calls.take(caller)
        if wait_s > 0.0:
            raise refusal(429, f"more than {PER_S:.0f} requests a second", retry_after_s=math.ceil(wait_s))
