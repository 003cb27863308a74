"""This file knows who gets in: the token in its file, the sessions that showed it, and how often one may guess."""

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
    """A person who got in: the name they gave, the role the settings give."""

    name: str
    role: Role


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
    """Checks tokens and remembers sessions; safe to use from many threads.

    Sessions are opaque random words that a browser keeps as a cookie, so that a reload or a link from a colleague
    need no new sign-in. They end with the process or after `session_s`.
    """

    def __init__(self, token_file: Path | None, *, role: Role, session_s: float, now_s: Callable[[], float]) -> None:
        self._token_file = token_file
        self._role = role
        self._session_s = session_s
        self._now_s = now_s
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, tuple[Visitor, float]] = OrderedDict()
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

    def admit(self, name: str) -> tuple[Visitor, str]:
        """Open a session for somebody whose token was accepted.

        Args:
            name: What the person calls themself; shortened, never empty.

        Returns:
            The visitor and the word that names the session.
        """
        visitor = Visitor(" ".join(name.split())[:MAX_NAME] or "unnamed", self._role)
        word = secrets.token_urlsafe(TOKEN_BYTES)
        with self._lock:
            self._sessions[word] = (visitor, self._now_s() + self._session_s)
            while len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        return visitor, word

    def recognise(self, word: str | None) -> Visitor | None:
        """Find the visitor of a session; None if it never was or is over."""
        if not word:
            return None
        with self._lock:
            known = self._sessions.get(word)
            if known is None:
                return None
            if known[1] <= self._now_s():
                del self._sessions[word]
                return None
            return known[0]

    def dismiss(self, word: str | None) -> None:
        """End a session."""
        with self._lock, contextlib.suppress(KeyError):
            del self._sessions[word or ""]
