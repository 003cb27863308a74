"""This file knows how people, their tokens and the audit log are asked for."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from schemas.requests import Role
from schemas.site_tables import api_token, audit, person, request

MAX_SHOWN = 10_000


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """One person, without anything secret but the hash.

    Attributes:
        generation: Sessions opened under another one are over.
    """

    name: str
    role: Role
    state: str
    source: str
    password_hash: str | None
    must_change: bool
    link_until_us: int | None
    generation: int
    created_at_us: int
    created_by: str


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """One token of a program, by its digest; `person_role` is what its person may now, None if they may nothing."""

    token_digest: str
    person: str
    title: str
    role: Role
    created_at_us: int
    expires_at_us: int
    person_role: Role | None = None


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One row of the audit log."""

    audit_id: int
    at_us: int
    actor: str
    action: str
    about: str
    text: str
    came_from: str
    seal: str | None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows of the audit log are wanted; empty words mean all."""

    actor: str = ""
    action: str = ""
    about: str = ""
    from_us: int | None = None
    until_us: int | None = None


def anybody(connection: Connection) -> bool:
    """Whether a person has been made already."""
    return connection.execute(sa.select(person.c.name).limit(1)).first() is not None


def read_person(connection: Connection, name: str) -> PersonRecord | None:
    """Read one person by their exact name."""
    row = connection.execute(sa.select(person).where(person.c.name == name)).one_or_none()
    return None if row is None else _person(row)


def read_person_of_link(connection: Connection, digest: str, now_us: int) -> PersonRecord | None:
    """Read the person whose one-time link this is; None if it was used or is too old."""
    query = sa.select(person).where(person.c.link_digest == digest, person.c.link_until_us > now_us)
    row = connection.execute(query).one_or_none()
    return None if row is None or row.state != "active" else _person(row)


def read_people(connection: Connection) -> list[PersonRecord]:
    """Read all people by name."""
    return [_person(row) for row in connection.execute(sa.select(person).order_by(person.c.name).limit(MAX_SHOWN))]


def read_tokens(connection: Connection, name: str) -> list[TokenRecord]:
    """Read the tokens of one person, newest first."""
    query = sa.select(api_token).where(api_token.c.person == name).order_by(api_token.c.created_at_us.desc())
    return [_token(row) for row in connection.execute(query)]


def read_token(connection: Connection, digest: str) -> TokenRecord | None:
    """Read one token by its digest, with what its person may now."""
    query = (
        sa.select(api_token, person.c.role.label("person_role"))
        .join(person, person.c.name == api_token.c.person)
        .where(api_token.c.token_digest == digest, person.c.state == "active")
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _token(row, person_role=row.person_role)


def read_audit(
    connection: Connection, wanted: AuditFilter, *, limit: int, before_id: int | None = None
) -> list[AuditRecord]:
    """Read rows of the audit log, newest first.

    Args:
        connection: To the site's database.
        wanted: Which rows.
        limit: At most so many.
        before_id: Only rows with a smaller `audit_id`; the next page starts behind the last one seen.
    """
    query = sa.select(audit).order_by(audit.c.audit_id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(audit.c.audit_id < before_id)
    if wanted.actor:
        query = query.where(audit.c.actor == wanted.actor)
    if wanted.action:
        query = query.where(audit.c.action == wanted.action)
    if wanted.about:
        query = query.where(audit.c.about.contains(wanted.about, autoescape=True))
    if wanted.from_us is not None:
        query = query.where(audit.c.at_us >= wanted.from_us)
    if wanted.until_us is not None:
        query = query.where(audit.c.at_us < wanted.until_us)
    return [
        AuditRecord(
            row.audit_id, row.at_us, row.actor, row.action, row.about, row.text, row.came_from, row.seal
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def read_answer(connection: Connection, request_id: str) -> tuple[str, str] | None:
    """Read state and answer of one request; None if there is no such request."""
    query = sa.select(request.c.state, request.c.answer).where(request.c.request_id == request_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else (row.state, row.answer)


def _person(row: Row[Any]) -> PersonRecord:
    return PersonRecord(
        row.name, row.role, row.state, row.source, row.password_hash, row.must_change, row.link_until_us,
        row.sessions_from_us, row.created_at_us, row.created_by,
    )  # fmt: skip


def _token(row: Row[Any], *, person_role: Role | None = None) -> TokenRecord:
    return TokenRecord(
        row.token_digest, row.person, row.title, row.role, row.created_at_us, row.expires_at_us, person_role
    )
