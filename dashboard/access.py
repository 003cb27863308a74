"""This file knows how long somebody stays in, how often one may guess, and the door that one token opens for all."""

import contextlib
import os
import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from schemas.requests import Role
from schemas.settings import read_secret

TOKEN_BYTES = 24
GUESSES = 10  # wrong tokens within GUESS_WINDOW_S, over all visitors, until nobody may try
GUESS_WINDOW_S = 60.0
MAX_SESSIONS = 1000  # the oldest has to sign in again
MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person who got in: their name, the role they have, the address they came from as far as it is seen."""

    name: str
    role: Role
    came_from: str = ""


@dataclass(slots=True)
class Session:
    """One person in one browser.

    Attributes:
        generation: `sessions_from_us` of the person when it was opened; once that is another, it is over.
    """

    visitor: Visitor
    generation: int
    opened_s: float
    seen_s: float


class Sessions:
    """Who is in; safe to use from many threads.

    Sessions are opaque random words that a browser keeps as a cookie, so that a reload or a link from a colleague
    need no new sign-in. They end with the process, after `session_s`, or after `idle_s` without a page being asked for.
    """

    def __init__(self, *, session_s: float, idle_s: float, now_s: Callable[[], float]) -> None:
        self._session_s = session_s
        self._idle_s = idle_s
        self._now_s = now_s
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Session] = OrderedDict()

    def open(self, visitor: Visitor, *, generation: int = 0) -> str:
        """Open a session; returns the word that names it."""
        word = secrets.token_urlsafe(TOKEN_BYTES)
        now_s = self._now_s()
        with self._lock:
            self._open[word] = Session(visitor, generation, now_s, now_s)
            while len(self._open) > MAX_SESSIONS:
                self._open.popitem(last=False)
        return word

    def find(self, word: str | None, *, touch: bool = True) -> Session | None:
        """Find a session; None if it never was or is over.

        Args:
            word: What the browser keeps.
            touch: Whether a person did something; a page that refreshes by itself keeps nobody in.
        """
        now_s = self._now_s()
        with self._lock:
            known = self._open.get(word or "")
            if known is None:
                return None
            if now_s - known.opened_s >= self._session_s or now_s - known.seen_s >= self._idle_s:
                del self._open[word or ""]
                return None
            if touch:
                known.seen_s = now_s
            return known

    def end(self, word: str | None) -> None:
        """End a session."""
        with self._lock, contextlib.suppress(KeyError):
            del self._open[word or ""]


def create_token(path: Path) -> bool:
    """Make the token file unless it is there; only its owner can read it. Tells whether it was made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
    return True


class Door:
    """The door that one token opens for everybody, in one role; for a demonstration or a first look."""

    def __init__(self, token_file: Path | None, sessions: Sessions, *, role: Role, now_s: Callable[[], float]) -> None:
        self._token_file = token_file
        self._role = role
        self._now_s = now_s
        self._lock = threading.Lock()
        self._sessions = sessions
        self._wrong_at_s: deque[float] = deque(maxlen=GUESSES)

    @property
    def needs_token(self) -> bool:
        """Whether a token must be shown at all."""
        return self._token_file is not None

    def locked_for_s(self) -> float:
        """How long nobody may try after too many wrong tokens; 0 when one may."""
        with self._lock:
            if len(self._wrong_at_s) < GUESSES:
                return 0.0
            return max(0.0, self._wrong_at_s[0] + GUESS_WINDOW_S - self._now_s())

    def accepts(self, token: str) -> bool:
        """Compare a token in constant time; the file is read anew, so that a new token counts at once.

        Raises:
            SecretMissing: The token file is gone or empty.
        """
        if self._token_file is None:
            return True
        if self.locked_for_s() > 0.0:
            return False
        right = secrets.compare_digest(token.encode(), read_secret(self._token_file).encode())
        if not right:
            with self._lock:
                self._wrong_at_s.append(self._now_s())
        return right

    def admit(self, name: str, came_from: str = "") -> tuple[Visitor, str]:
        """Open a session for somebody whose token was accepted.

        Args:
            name: What the person calls themself; shortened, never empty.
            came_from: The address they came from.

        Returns:
            The visitor and the word that names the session.
        """
        visitor = Visitor(" ".join(name.split())[:MAX_NAME] or "unnamed", self._role, came_from)
        return visitor, self._sessions.open(visitor)

    def recognise(self, word: str | None, *, touch: bool = True) -> Visitor | None:
        """Find the visitor of a session; None if it never was or is over."""
        found = self._sessions.find(word, touch=touch)
        return None if found is None else found.visitor

    def dismiss(self, word: str | None) -> None:
        """End a session."""
        self._sessions.end(word)
