"""This file knows how long tables are read in pieces: newest first, from behind the last row that was seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

Key = Sequence[sa.Column[Any]]
LARGEST = 2**63 - 1  # of a column
LONGEST_SHOWN = 80  # characters of a cursor that is refused


class CursorRefused(ValueError):
    """A cursor that no answer of ours has given."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows, and where the next piece begins; None at the end."""

    rows: tuple[Row[Any], ...]
    next: str | None


def read_piece(connection: Connection, query: sa.Select[Any], key: Key, *, limit: int, cursor: str | None) -> Piece:
    """Read one piece of a query.

    Args:
        connection: To the site's database.
        query: Without order and limit; must select the columns of `key`.
        key: Columns that order the rows without ties, newest first.
        limit: At most so many rows.
        cursor: What the piece before gave as `next`.

    Raises:
        CursorRefused: The cursor does not fit the key.
    """
    if cursor is not None:
        query = query.where(sa.tuple_(*key) < sa.tuple_(*_values(cursor, key)))
    rows = connection.execute(query.order_by(*(column.desc() for column in key)).limit(limit + 1)).all()
    more = len(rows) > limit
    rows = rows[:limit]
    last = ":".join(str(getattr(rows[-1], column.name)) for column in key) if more else None
    return Piece(tuple(rows), last)


def _values(cursor: str, key: Key) -> list[Any]:
    parts = cursor.split(":")
    if len(parts) != len(key):
        raise _refused(cursor)
    try:
        return [_literal(column, part) for column, part in zip(key, parts, strict=True)]
    except ValueError as error:
        raise _refused(cursor) from error


def _literal(column: sa.Column[Any], part: str) -> sa.BindParameter[Any]:
    value = column.type.python_type(part)
    if isinstance(value, int) and not -LARGEST - 1 <= value <= LARGEST:
        raise ValueError("no database has such a number")
    return sa.literal(value, column.type)


def _refused(cursor: str) -> CursorRefused:
    return CursorRefused(f"cursor {cursor[:LONGEST_SHOWN]!r} found; send what `next` of an answer said")
