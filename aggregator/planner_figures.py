"""This file knows how an SQLite database keeps knowing which of its tables are large, so that it uses their indexes.

Without that it walks through a year of cases as if there were ten. PostgreSQL sees to it by itself.
"""

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Engine

EVERY_S = 6 * 3600.0
ROWS_LOOKED_AT = 1000  # of each index; a database of 2 GB is done in a second, in which nobody else writes


class PlannerFigures:
    """Has the database look; `step` does so at the start and every `EVERY_S`."""

    def __init__(self, engine: Engine, *, now_s: Callable[[], float]) -> None:
        self._engine = engine
        self._now_s = now_s
        self._due_s = now_s()

    def step(self) -> None:
        """Look, where it is time."""
        if self._now_s() < self._due_s:
            return
        self._due_s = self._now_s() + EVERY_S
        if self._engine.dialect.name != "sqlite":
            return
        with self._engine.begin() as connection:
            connection.execute(sa.text(f"PRAGMA analysis_limit={ROWS_LOOKED_AT}"))
            connection.execute(sa.text("ANALYZE"))
