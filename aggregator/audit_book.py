"""This file knows the audit log: rows are only ever added, and each is sealed together with the one before.

A row that is changed, removed or put in between breaks every seal from there on; `verify` finds the first. What it
cannot see is the end cut off: whoever wants that too keeps the newest seal elsewhere and asks for it.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from schemas.site_tables import audit

MAX_CAME_FROM = 64


@dataclass(frozen=True, slots=True)
class Verified:
    """What a walk along the chain has found.

    Attributes:
        rows: All rows looked at.
        unsealed: Rows from before there were seals, at the beginning.
        broken_row: The first row, counted from 1, whose seal does not hold; None where all do.
        broken_id: Its `audit_id`.
        why: What is wrong with it.
        head: The newest seal that holds.
        head_found: Whether the seal that was asked for is in the chain.
    """

    rows: int
    unsealed: int
    broken_row: int | None
    broken_id: int | None
    why: str
    head: str
    head_found: bool


def write_audit(
    connection: Connection, *, at_us: int, actor: str, action: str, text: str, about: str = "", came_from: str = ""
) -> None:
    """Add one row, in a transaction that no other writer can interleave with (`aggregator.database.writing`)."""
    newest = sa.select(audit.c.seal).where(audit.c.seal.is_not(None)).order_by(audit.c.audit_id.desc()).limit(1)
    previous = connection.execute(newest).scalar_one_or_none() or ""
    came_from = came_from[:MAX_CAME_FROM]
    connection.execute(
        sa.insert(audit).values(
            at_us=at_us, actor=actor, action=action, text=text, about=about, came_from=came_from,
            seal=seal_of(previous, at_us, actor, action, text, about, came_from),
        )
    )  # fmt: skip


def seal_of(previous: str, at_us: int, actor: str, action: str, text: str, about: str, came_from: str) -> str:
    """The seal of a row: sha256 over the seal before it and everything it says."""
    said = json.dumps([previous, at_us, actor, action, text, about, came_from], separators=(",", ":"))
    return hashlib.sha256(said.encode()).hexdigest()


def verify(connection: Connection, *, head: str | None = None) -> Verified:
    """Walk along the whole chain, row by row.

    Args:
        connection: To the site's database.
        head: A seal noted earlier, which must be in the chain.
    """
    rows = connection.execute(sa.select(audit).order_by(audit.c.audit_id), execution_options={"yield_per": 1000})
    return walk(rows, head=head)


def walk(rows: Iterable[Row[Any]], *, head: str | None = None) -> Verified:
    """Check rows in their order; stops counting nothing, so that `rows` is all there are."""
    previous, number, unsealed, found = "", 0, 0, head is None
    broken: tuple[int, int, str] | None = None
    for number, row in enumerate(rows, start=1):
        if broken is not None:
            continue
        if row.seal is None and not previous:
            unsealed += 1
        elif row.seal is None:
            broken = (number, row.audit_id, "it carries no seal")
        elif row.seal != seal_of(previous, row.at_us, row.actor, row.action, row.text, row.about, row.came_from):
            broken = (number, row.audit_id, "its seal does not fit: it, or one before it, was changed or removed")
        else:
            previous = row.seal
            found = found or previous == head
    at, row_id, why = broken or (None, None, "")
    return Verified(number, unsealed, at, row_id, why, previous, found)
