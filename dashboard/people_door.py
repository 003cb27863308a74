"""This file knows how people get in by name and password, by a one-time link, or through the plant's own provider."""

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dashboard import passwords
from dashboard.access import MAX_NAME, TOKEN_BYTES, Sessions, Visitor
from dashboard.asking import Asker
from dashboard.database import SiteReader
from dashboard.errors import DatabaseUnavailable, NotAdmitted
from dashboard.guessing import Lockout
from dashboard.queries.people import PersonRecord, anybody, read_person, read_person_of_link
from schemas.requests import Role, Values

FIRST_LINK_S = 3600.0
LINK_US = 3 * 86_400_000_000  # of somebody whom an administrator added, or whose password is lost
FRESH_S = 300.0  # so new must the provider's word be; an old cookie of it opens nothing
KNOWN_S = 2.0  # how long a row of `person` is believed before it is read again
MAX_KNOWN = 1000
Method = Literal["password", "link", "oidc"]


def digest_of(word: str) -> str:
    """What is kept of a word that only one person may know."""
    return hashlib.sha256(word.encode()).hexdigest()


def new_word() -> str:
    """A word that cannot be guessed."""
    return secrets.token_urlsafe(TOKEN_BYTES)


@dataclass(frozen=True, slots=True)
class Provider:
    """How the plant's provider says who somebody is, and which of its groups may what."""

    name_claim: str
    role_claim: str
    roles: Mapping[str, Role]


class PeopleDoor:
    """Lets people in whom the site knows; safe to use from many threads."""

    def __init__(
        self,
        reader: SiteReader,
        asker: Asker,
        sessions: Sessions,
        *,
        now_us: Callable[[], int],
        now_s: Callable[[], float],
        provider: Provider | None = None,
    ) -> None:
        self._reader = reader
        self._asker = asker
        self._sessions = sessions
        self._now_us = now_us
        self._now_s = now_s
        self._provider = provider
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[float, PersonRecord | None]] = OrderedDict()
        self._first: tuple[str, float] | None = None
        self.lockout = Lockout(now_s)

    def make_first_link(self) -> str:
        """Make the word of the link by which the first administrator comes; an earlier one ends."""
        word = new_word()
        self._first = (digest_of(word), self._now_s() + FIRST_LINK_S)
        return word

    def nobody_yet(self) -> bool:
        """Whether the first person is still to be made.

        Raises:
            DatabaseUnavailable: Nobody can know.
        """
        with self._reader.read() as connection:
            return not anybody(connection)

    def opens_first(self, word: str) -> bool:
        """Tell whether a link is the one printed at this start, in time, and nobody has been made with it yet.

        Raises:
            DatabaseUnavailable: Nobody can know.
        """
        if self._first is None or self._now_s() >= self._first[1]:
            return False
        return secrets.compare_digest(self._first[0], digest_of(word)) and self.nobody_yet()

    def create_first_admin(self, word: str, name: str, password: str, came_from: str) -> str:
        """Have the first administrator made; returns the word of their session.

        Raises:
            NotAdmitted: The link is no longer valid, or the site refused.
            PasswordRefused: The password is none.
            RequestNotWritten: The database did not take it.
            DatabaseUnavailable: The database cannot be read.
        """
        name = _tidy(name)
        if not self.opens_first(word):
            raise NotAdmitted("This link was used already or is too old. Start `dashboard run` again for a new one.")
        passwords.require_good(password, name)
        values: Values = {"password_hash": passwords.hash_password(password)}
        self._asker.ask_and_wait("create_first_admin", Visitor(name, "admin", came_from), values)
        self._first = None
        return self._open(self._need(name), "link", came_from)

    def person_of_link(self, word: str) -> PersonRecord | None:
        """Who may set their password by this link; None if it is over.

        Raises:
            DatabaseUnavailable: Nobody can know.
        """
        with self._reader.read() as connection:
            return read_person_of_link(connection, digest_of(word), self._now_us())

    def set_password_by_link(self, word: str, password: str, came_from: str) -> str:
        """Have a password set by a one-time link; returns the word of the session. Raises as `create_first_admin`."""
        found = self.person_of_link(word)
        if found is None:
            raise NotAdmitted("This link was used already or is too old. Ask an administrator for a new one.")
        passwords.require_good(password, found.name)
        values: Values = {"password_hash": passwords.hash_password(password), "used_link_digest": digest_of(word)}
        self._asker.ask_and_wait("set_password", Visitor(found.name, found.role, came_from), values)
        self.lockout.right(found.name)
        return self._open(self._need(found.name), "link", came_from)

    def change_password(self, visitor: Visitor, old: str, new: str) -> str:
        """Have somebody's own password changed; returns the word of a new session, all others end.

        Raises:
            NotAdmitted: The old password is not the right one.
            PasswordRefused: The new password is none.
            RequestNotWritten: The database did not take it.
            DatabaseUnavailable: The database cannot be read.
        """
        self._check(visitor.name, old, visitor.came_from)
        passwords.require_good(new, visitor.name)
        values: Values = {"password_hash": passwords.hash_password(new)}
        self._asker.ask_and_wait("set_password", visitor, values)
        return self._open(self._need(visitor.name), "password", visitor.came_from)

    def sign_in(self, name: str, password: str, came_from: str) -> str:
        """Let somebody in by name and password; returns the word of the session.

        Raises:
            NotAdmitted: Not so, or not now; the words say which.
            RequestNotWritten: It could not be written down; who cannot be recorded does not get in.
            DatabaseUnavailable: The database cannot be read.
        """
        name = _tidy(name)
        return self._open(self._check(name, password, came_from), "password", came_from)

    def admit_from_provider(self, claims: Mapping[str, Any], came_from: str) -> str:
        """Let somebody in whom the plant's provider has just vouched for; raises as `sign_in`.

        Args:
            claims: Of the identity token, whose signature Streamlit has checked.
            came_from: The address they came from.
        """
        assert self._provider is not None
        issued_s = claims.get("iat")
        if not isinstance(issued_s, int | float) or abs(self._now_us() / 1e6 - issued_s) > FRESH_S:
            raise NotAdmitted("Your sign-in at the provider is too long ago; sign in there again.")
        name = _tidy(str(claims.get(self._provider.name_claim) or ""))
        if not name:
            raise NotAdmitted("The provider does not say your name; its settings need another name_claim.")
        role = self._role(claims.get(self._provider.role_claim))
        if role is None:
            self._tell(name, "viewer", "oidc", came_from, refused="no role for what the provider says")
            raise NotAdmitted("The provider knows you, but none of your groups has a role here.")
        self._asker.ask_and_wait("sign_in", Visitor(name, role, came_from), {"method": "oidc"})
        found = self._need(name)
        return self._sessions.open(Visitor(name, found.role, came_from), generation=found.generation)

    def recognise(self, word: str | None, *, touch: bool = True) -> Visitor | None:
        """Find the visitor of a session with the role they have now; None if it is over, or they are barred or gone."""
        session = self._sessions.find(word, touch=touch)
        if session is None:
            return None
        try:
            found = self._person(session.visitor.name)
        except DatabaseUnavailable:
            return session.visitor  # the page says so; whatever they ask for is checked by the site again
        if found is None or found.state != "active" or found.generation != session.generation:
            self._sessions.end(word)
            return None
        return Visitor(found.name, found.role, session.visitor.came_from)

    def dismiss(self, word: str | None) -> None:
        """End a session."""
        self._sessions.end(word)

    def _check(self, name: str, password: str, came_from: str) -> PersonRecord:
        wait_s = self.lockout.wait_s(name)
        if wait_s > 0.0:
            raise NotAdmitted("Too many wrong passwords.", wait_s=wait_s)
        with self._reader.read() as connection:
            found = read_person(connection, name)
        if passwords.matches(None if found is None else found.password_hash, password) and found is not None:
            if found.state != "active":
                self._tell(name, found.role, "password", came_from, refused="barred")
                raise NotAdmitted("You are barred; an administrator can let you in again.")
            self.lockout.right(name)
            return found
        count = self.lockout.wrong(name)
        unheard = self.lockout.take_turned_away()
        also = f", {unheard} further tries were turned away unheard" if unheard else ""
        self._tell(
            name or "unknown", "viewer", "password", came_from, refused=f"wrong password, {count} in a row{also}"
        )
        raise NotAdmitted("This name and password do not belong together.")

    def _open(self, found: PersonRecord, method: Method, came_from: str) -> str:
        self._tell(found.name, found.role, method, came_from)
        return self._sessions.open(Visitor(found.name, found.role, came_from), generation=found.generation)

    def _tell(self, name: str, role: Role, method: Method, came_from: str, *, refused: str = "") -> None:
        values: Values = {"method": method, "refused": refused} if refused else {"method": method}
        self._asker.ask("sign_in", Visitor(name, role, came_from), values)

    def _need(self, name: str) -> PersonRecord:
        with self._reader.read() as connection:
            found = read_person(connection, name)
        if found is None or found.state != "active":
            raise NotAdmitted("You are barred; an administrator can let you in again.")
        return found

    def _person(self, name: str) -> PersonRecord | None:
        now_s = self._now_s()
        with self._lock:
            known = self._known.get(name)
        if known is not None and now_s - known[0] < KNOWN_S:
            return known[1]
        with self._reader.read() as connection:
            found = read_person(connection, name)
        with self._lock:
            self._known[name] = (now_s, found)
            while len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return found

    def _role(self, said: Any) -> Role | None:
        assert self._provider is not None
        groups = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        granted = [role for group, role in self._provider.roles.items() if group in groups]
        return granted[0] if granted else None


def _tidy(name: str) -> str:
    return " ".join(name.replace("\0", " ").split())[:MAX_NAME]
