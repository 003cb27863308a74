"""This file knows the rows of what was refused: how they are found, asked for again, and answered.

A person asks by a row's `reinject_at_us`, whether the agent runs or not; the agent answers in the commit that makes the
capture true, so a letter is never taken in twice nor marked without being stored.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway_agent.batch import LetterAnswer
from gateway_agent.store_tables import dead_letter_table

_c = dead_letter_table.c


@dataclass(frozen=True, slots=True)
class Letter:
    """One payload that was refused; `payload` is None when only its head is left."""

    letter: int
    topic: str
    reason: str
    text: str
    head: bytes
    size_bytes: int
    at_us: int
    payload: bytes | None
    reinject_at_us: int | None
    taken_at_us: int | None

    @property
    def state(self) -> Literal["refused", "asked", "taken"]:
        """Refused for good, to be taken in again, or taken in after all."""
        if self.taken_at_us is not None:
            return "taken"
        return "refused" if self.reinject_at_us is None else "asked"


def find(connection: Connection, *, letters: Sequence[int] = (), reason: str | None = None) -> list[Letter]:
    """Letters by number, or by reason, or all; oldest first."""
    query = sa.select(dead_letter_table).order_by(_c.id)
    if letters:
        query = query.where(_c.id.in_(letters))
    if reason is not None:
        query = query.where(_c.reason == reason)
    return [_letter(row) for row in connection.execute(query)]


def ask_again(connection: Connection, letters: Iterable[int], *, now_us: int) -> None:
    """Note that these are to be taken in again."""
    connection.execute(sa.update(dead_letter_table).where(_c.id.in_(list(letters))).values(reinject_at_us=now_us))


def asked_again(connection: Connection, *, at_most: int) -> list[Letter]:
    """The letters somebody wants taken in again, in the order they came."""
    query = sa.select(dead_letter_table).where(_c.reinject_at_us.is_not(None)).order_by(_c.id).limit(at_most)
    return [_letter(row) for row in connection.execute(query)]


def write_answers(connection: Connection, answers: Iterable[LetterAnswer], *, now_us: int) -> None:
    """Mark what was taken, and say anew why the others were not."""
    for answer in answers:
        refused: dict[str, object] = {"reason": answer.reason, "text": answer.text}
        told = refused if answer.reason else {"taken_at_us": now_us}
        connection.execute(
            sa.update(dead_letter_table).where(_c.id == answer.letter).values(reinject_at_us=None, **told)
        )


def _letter(row: sa.Row[tuple[object, ...]]) -> Letter:
    values = row._asdict()
    return Letter(letter=values.pop("id"), **values)
