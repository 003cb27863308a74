"""This file knows who may do what, and changes it: people, roles, passwords, tokens of programs.

The dashboard hashes; only hashes come here. What stands in a request about an actor's role is not believed: a person
must exist, be active and have at least that role now.
"""

import re
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.engine import Connection, Row

from aggregator.audit_book import write_audit
from aggregator.desk_answers import Decision, Handler, RequestRefused
from aggregator.errors import PersonUnknown
from schemas.requests import ROLES, Action, Request, Role
from schemas.site_tables import api_token, person, request

ARGON2ID = r"^\$argon2id\$v=19\$m=[1-9]\d{4,6},t=\d{1,2},p=\d{1,2}\$[A-Za-z0-9+/]{16,}\$[A-Za-z0-9+/]{32,}$"
DIGEST = r"^[0-9a-f]{64}$"
MAX_PEOPLE = 10_000
MAX_TOKENS = 20  # of one person
MAX_TOKEN_US = 366 * 86_400_000_000
MAX_LINK_US = 7 * 86_400_000_000
RESERVED = frozenset({"site", "operator", "unknown", "unnamed"})  # actors of the log that are no people
_NOT_A_PERSON_YET: frozenset[Action] = frozenset({"create_first_admin", "sign_in"})


class _Values(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_V = TypeVar("_V", bound=_Values)


class _FirstAdmin(_Values):
    password_hash: str = Field(pattern=ARGON2ID, max_length=256)


class _NewPerson(_Values):
    person: str = Field(min_length=1, max_length=64)
    role: Role
    link_digest: str = Field(pattern=DIGEST)
    link_until_us: int


class _ChangedPerson(_Values):
    person: str
    role: Role | None = None
    state: str | None = Field(default=None, pattern="^(active|barred)$")


class _Password(_Values):
    person: str | None = None
    password_hash: str | None = Field(default=None, pattern=ARGON2ID, max_length=256)
    used_link_digest: str | None = Field(default=None, pattern=DIGEST)
    link_digest: str | None = Field(default=None, pattern=DIGEST)
    link_until_us: int | None = None


class _Named(_Values):
    person: str


class _MaybeNamed(_Values):
    person: str | None = None


class _SignIn(_Values):
    method: str = Field(pattern="^(password|link|oidc|token)$")
    refused: str = Field(default="", max_length=200)


class _NewToken(_Values):
    title: str = Field(min_length=1, max_length=64)
    role: Role
    token_digest: str = Field(pattern=DIGEST)
    expires_at_us: int


class _OldToken(_Values):
    token_digest: str = Field(pattern=DIGEST)


def require_person(connection: Connection, asked: Request) -> None:
    """Return when the actor is a person who may act in the role the request says.

    While nobody has made a person, the dashboard's own word counts: it has let somebody in by its token.

    Raises:
        RequestRefused: The actor is unknown, barred, or has a lower role by now.
    """
    if asked.action in _NOT_A_PERSON_YET:
        return
    row = _find(connection, asked.actor)
    if row is None:
        if _count(connection) == 0:
            return
        raise RequestRefused(f"{asked.actor} is no person of this site; an administrator can add them")
    if row.state != "active":
        raise RequestRefused(f"{asked.actor} is barred; an administrator can let them in again")
    if ROLES.index(asked.role) > ROLES.index(row.role):
        raise RequestRefused(f"{asked.actor} is a {row.role} now, not a {asked.role}; sign in again")


def promote_or_remove(connection: Connection, what: str, name: str, *, now_us: int) -> str:
    """Do what whoever owns the machine may do without asking: make somebody administrator, or forget them.

    Raises:
        PersonUnknown: There is nobody of this name.
    """
    if _find(connection, name) is None:
        raise PersonUnknown(f"there is no person {name!r}; names are as on the page of people, capitals count")
    if what == "promote":
        connection.execute(sa.update(person).where(person.c.name == name).values(role="admin", state="active"))
        said = f"{name} is administrator"
    else:
        connection.execute(sa.delete(api_token).where(api_token.c.person == name))
        connection.execute(sa.delete(person).where(person.c.name == name))
        said = f"{name} is removed"
    write_audit(
        connection, at_us=now_us, actor="operator", action=f"{what}_person", text=said, about=f"person {name}"
    )  # fmt: skip
    return said


def about(asked: Request) -> str:
    """Say what a request is about, for the log."""
    who = asked.values.get("person")
    parts = [
        asked.point or asked.machine or "",
        f"case {asked.case_id}" if asked.case_id is not None else "",
        f"person {who}" if isinstance(who, str) else "",
    ]
    return ", ".join(part for part in parts if part)


def _create_first_admin(connection: Connection, asked: Request, now_us: int) -> Decision:
    values = _read(_FirstAdmin, asked)
    if _count(connection) > 0:
        raise RequestRefused("there are people already; an administrator can add you")
    _insert(connection, _proper_name(asked.actor), "admin", now_us, by=asked.actor, password_hash=values.password_hash)
    _forget_values(connection, asked)
    return Decision(f"{asked.actor} is the first administrator")


def _create_person(connection: Connection, asked: Request, now_us: int) -> Decision:
    values = _read(_NewPerson, asked)
    name = _proper_name(values.person)
    if _find(connection, name) is not None or _find_alike(connection, name):
        raise RequestRefused(f"there is a person {name} already")
    if _count(connection) >= MAX_PEOPLE:
        raise RequestRefused(f"there are {MAX_PEOPLE} people already; remove some first")
    _require_short(values.link_until_us, now_us, MAX_LINK_US, "link")
    _insert(
        connection, name, values.role, now_us, by=asked.actor,
        link_digest=values.link_digest, link_until_us=values.link_until_us,
    )  # fmt: skip
    _forget_values(connection, asked)
    return Decision(f"{name} is a {values.role}")


def _set_person(connection: Connection, asked: Request, now_us: int) -> Decision:
    values = _read(_ChangedPerson, asked)
    row = _need(connection, values.person)
    role, state = values.role or row.role, values.state or row.state
    if (role, state) == (row.role, row.state):
        raise RequestRefused(f"{row.name} is a {role} and {state} already")
    if row.source == "oidc" and role != row.role:
        raise RequestRefused(f"the role of {row.name} comes from the plant's provider; change it there")
    if role != "admin" or state != "active":
        _keep_an_admin(connection, row)
    lowered = state != "active" or ROLES.index(role) < ROLES.index(row.role)
    changes = {"role": role, "state": state} | ({"sessions_from_us": now_us} if lowered else {})
    connection.execute(sa.update(person).where(person.c.name == row.name).values(**changes))
    return Decision(f"{row.name} is a {role} and {state}, was a {row.role} and {row.state}")


def _set_password(connection: Connection, asked: Request, now_us: int) -> Decision:
    values = _read(_Password, asked)
    row = _need(connection, values.person or asked.actor)
    if row.source != "local":
        raise RequestRefused(f"{row.name} signs in at the plant's provider and has no password here")
    if row.name != asked.actor:
        return _hand_out_link(connection, asked, values, row, now_us)
    if values.password_hash is None:
        raise RequestRefused("the new password is missing")
    if values.used_link_digest is not None:
        _use_link(row, values.used_link_digest, now_us)
    elif row.password_hash is None:
        raise RequestRefused(f"{row.name} has no password yet; the link sets the first one")
    connection.execute(
        sa.update(person)
        .where(person.c.name == row.name)
        .values(
            password_hash=values.password_hash, must_change=False, sessions_from_us=now_us,
            link_digest=None, link_until_us=None,
        )
    )  # fmt: skip
    _forget_values(connection, asked)
    return Decision(f"{row.name} has a new password; all sessions of before are over")


def _hand_out_link(connection: Connection, asked: Request, values: _Password, row: Row[Any], now_us: int) -> Decision:
    if asked.role != "admin":
        raise RequestRefused(f"a {asked.role} may not set the password of somebody else; allowed: admin")
    if values.password_hash is not None or values.link_digest is None or values.link_until_us is None:
        raise RequestRefused("an administrator hands out a link; nobody chooses a password for somebody else")
    _require_short(values.link_until_us, now_us, MAX_LINK_US, "link")
    connection.execute(
        sa.update(person)
        .where(person.c.name == row.name)
        .values(link_digest=values.link_digest, link_until_us=values.link_until_us, must_change=True)
    )
    _forget_values(connection, asked)
    return Decision(f"a link for a new password of {row.name}")


def _use_link(row: Row[Any], digest: str, now_us: int) -> None:
    if row.link_digest != digest:
        raise RequestRefused("this link was used already, or a newer one has taken its place")
    if now_us >= row.link_until_us:
        raise RequestRefused("this link is too old; an administrator can make a new one")


def _remove_person(connection: Connection, asked: Request, _now_us: int) -> Decision:
    row = _need(connection, _read(_Named, asked).person)
    _keep_an_admin(connection, row)
    connection.execute(sa.delete(api_token).where(api_token.c.person == row.name))
    connection.execute(sa.delete(person).where(person.c.name == row.name))
    return Decision(f"{row.name} is removed, was a {row.role}")


def _sign_in(connection: Connection, asked: Request, now_us: int) -> Decision:
    values = _read(_SignIn, asked)
    if values.refused:
        raise RequestRefused(values.refused)
    if values.method == "oidc":
        _take_from_provider(connection, asked, now_us)
    return Decision(f"signed in by {values.method} as {asked.role}")


def _take_from_provider(connection: Connection, asked: Request, now_us: int) -> None:
    row = _find(connection, asked.actor)
    if row is None:
        name = _proper_name(asked.actor)
        if _find_alike(connection, name):
            raise RequestRefused(f"there is another person called like {name}")
        _insert(connection, name, asked.role, now_us, by="provider", source="oidc")
        return
    if row.source != "oidc":
        raise RequestRefused(f"{row.name} is a person with a password of this site, not of the provider")
    if row.state != "active":
        raise RequestRefused(f"{row.name} is barred; an administrator can let them in again")
    connection.execute(sa.update(person).where(person.c.name == row.name).values(role=asked.role))


def _sign_out_everywhere(connection: Connection, asked: Request, now_us: int) -> Decision:
    row = _need(connection, _read(_MaybeNamed, asked).person or asked.actor)
    if row.name != asked.actor and asked.role != "admin":
        raise RequestRefused(f"a {asked.role} may not sign somebody else out; allowed: admin")
    connection.execute(sa.update(person).where(person.c.name == row.name).values(sessions_from_us=now_us))
    return Decision(f"all sessions of {row.name} are over")


def _create_token(connection: Connection, asked: Request, now_us: int) -> Decision:
    values = _read(_NewToken, asked)
    row = _need(connection, asked.actor)
    if ROLES.index(values.role) > ROLES.index(asked.role):
        raise RequestRefused(f"a token of a {asked.role} cannot be one of a {values.role}")
    _require_short(values.expires_at_us, now_us, MAX_TOKEN_US, "token")
    mine = sa.select(sa.func.count()).select_from(api_token).where(api_token.c.person == row.name)
    if connection.execute(mine).scalar_one() >= MAX_TOKENS:
        raise RequestRefused(f"{row.name} has {MAX_TOKENS} tokens already; remove one first")
    connection.execute(
        sa.insert(api_token).values(
            token_digest=values.token_digest, person=row.name, title=values.title, role=values.role,
            created_at_us=now_us, expires_at_us=values.expires_at_us,
        )
    )  # fmt: skip
    return Decision(f"token {values.title!r} as {values.role}")


def _remove_token(connection: Connection, asked: Request, _now_us: int) -> Decision:
    digest = _read(_OldToken, asked).token_digest
    row = connection.execute(sa.select(api_token).where(api_token.c.token_digest == digest)).one_or_none()
    if row is None or (row.person != asked.actor and asked.role != "admin"):
        raise RequestRefused("no such token")
    connection.execute(sa.delete(api_token).where(api_token.c.token_digest == digest))
    return Decision(f"token {row.title!r} of {row.person} is removed")


def _read(kind: type[_V], asked: Request) -> _V:
    try:
        return kind.model_validate(asked.values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "values"
        raise RequestRefused(f"{where}: {first['msg']}") from error


def _find(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(sa.select(person).where(person.c.name == name)).one_or_none()


def _find_alike(connection: Connection, name: str) -> bool:
    names = connection.execute(sa.select(person.c.name)).scalars()
    return any(found.casefold() == name.casefold() for found in names)


def _need(connection: Connection, name: str) -> Row[Any]:
    row = _find(connection, name)
    if row is None:
        raise RequestRefused(f"there is no person {name}")
    return row


def _count(connection: Connection) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(person)).scalar_one()


def _insert(
    connection: Connection, name: str, role: Role, now_us: int, *, by: str, source: str = "local",
    password_hash: str | None = None, link_digest: str | None = None, link_until_us: int | None = None,
) -> None:  # fmt: skip
    connection.execute(
        sa.insert(person).values(
            name=name, role=role, state="active", source=source, password_hash=password_hash,
            must_change=link_digest is not None, link_digest=link_digest, link_until_us=link_until_us,
            sessions_from_us=now_us, created_at_us=now_us, created_by=by,
        )
    )  # fmt: skip


def _keep_an_admin(connection: Connection, row: Row[Any]) -> None:
    if row.role != "admin" or row.state != "active":
        return
    others = sa.select(sa.func.count()).select_from(person).where(
        person.c.role == "admin", person.c.state == "active", person.c.name != row.name,
        sa.or_(person.c.password_hash.is_not(None), person.c.source == "oidc"),
    )  # fmt: skip
    if connection.execute(others).scalar_one() == 0:
        raise RequestRefused(f"{row.name} is the last administrator who can sign in; make another one first")


def _proper_name(name: str) -> str:
    if name != " ".join(name.split()) or not name.isprintable() or not re.search(r"\w", name):
        raise RequestRefused(f"{name!r} is no name: words with single spaces between, 64 characters at most")
    if name.casefold() in RESERVED:
        raise RequestRefused(f"the name {name} belongs to the site itself; choose another")
    return name


def _require_short(until_us: int, now_us: int, most_us: int, what: str) -> None:
    if not now_us < until_us <= now_us + most_us:
        raise RequestRefused(f"the {what} must end within {most_us // 86_400_000_000} days from now")


def _forget_values(connection: Connection, asked: Request) -> None:
    """A hash belongs into `person` alone, and is gone from there once it is replaced."""
    connection.execute(sa.update(request).where(request.c.request_id == asked.request_id).values(sealed=b""))


HANDLERS: dict[Action, Handler] = {
    "create_first_admin": _create_first_admin,
    "create_person": _create_person,
    "set_person": _set_person,
    "set_password": _set_password,
    "remove_person": _remove_person,
    "sign_in": _sign_in,
    "sign_out_everywhere": _sign_out_everywhere,
    "create_token": _create_token,
    "remove_token": _remove_token,
}
