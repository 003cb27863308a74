"""This file knows how health windows become rows, and how thousands of them enter the database at once.

They are nearly all that a site stores, so they go past the building of statements: SQLite takes tuples, PostgreSQL
a COPY, both within the caller's transaction.
"""

import json
from collections.abc import Iterable
from operator import itemgetter
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from schemas.messages import Health
from schemas.site_tables import health

Row = tuple[object, ...]

_MADE = (
    "gateway", "boot", "sequence", "received_at_us", "score_limit", "quality", "rpm_source", "diagnosis",
    "remaining_life_low_s", "remaining_life_median_s", "remaining_life_high_s",
)  # fmt: skip
_SAID = tuple(name for name in Health.model_fields if name in health.c and name not in _MADE)  # stored as they are
_said = itemgetter(*_SAID)
_COLUMNS = ", ".join((*_MADE, *_SAID))
_MARKS = ", ".join("?" * len((*_MADE, *_SAID)))
_INSERT = f"INSERT INTO health ({_COLUMNS}) VALUES ({_MARKS})"  # noqa: S608  (names of our own table)
_COPY = f"COPY health ({_COLUMNS}) FROM STDIN"
# PostgreSQL would refuse the row for words longer than their column.
_QUALITY_CHARACTERS = cast("sa.String", health.c.quality.type).length
_SOURCE_CHARACTERS = cast("sa.String", health.c.rpm_source.type).length
_NO_LIFE = (None, None, None)


def row_of(gateway: str, boot: int, sequence: int, window: Health, *, now_us: int) -> Row:
    """The row of one window, as `write_rows` wants it."""
    life = window.remaining_life
    low_s, median_s, high_s = (life.low_s, life.median_s, life.high_s) if life is not None else _NO_LIFE
    causes = [{"label": cause.label, "confidence": cause.confidence} for cause in window.diagnosis]
    return (
        gateway, boot, sequence, now_us, window.limit, window.quality[:_QUALITY_CHARACTERS],
        window.rpm_source[:_SOURCE_CHARACTERS], json.dumps(causes) if causes else "[]", low_s, median_s, high_s,
        *_said(vars(window)),
    )  # fmt: skip


def write_rows(connection: Connection, rows: Iterable[Row]) -> None:
    """Write rows of the table `health`, all or none of them; each is asked for while the one before it is written.

    Raises:
        sqlalchemy.exc.DBAPIError: Of its kinds the one that a statement of SQLAlchemy's own would raise.
        OverflowError: A number is larger than a column of SQLite.
    """
    postgresql = connection.dialect.name == "postgresql"
    of_driver = connection.dialect.loaded_dbapi.Error
    cursor: Any = connection.connection.cursor()
    try:
        if postgresql:
            with cursor.copy(_COPY) as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            cursor.executemany(_INSERT, rows)
    except of_driver as error:
        statement = _COPY if postgresql else _INSERT
        raise sa.exc.DBAPIError.instance(statement, None, error, of_driver, dialect=connection.dialect) from error
    finally:
        cursor.close()
