"""This file knows what has to be done about cases while nobody acts: end shelves, watch own limits, tell people."""

from collections.abc import Callable
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.case_book import end_shelves
from aggregator.database import writing
from schemas.site_tables import machine_case


class Step(Protocol):
    """Something that is done again and again, each time whole."""

    def step(self) -> None:
        """Do what is due."""


class Shelves:
    """Brings cases back whose time on the shelf is over."""

    def __init__(self, engine: Engine, *, now_us: Callable[[], int]) -> None:
        self._engine = engine
        self._now_us = now_us

    def step(self) -> None:
        """Look; write only where something is due."""
        with self._engine.connect() as connection:
            due = connection.execute(
                sa.select(machine_case.c.case_id)
                .where(machine_case.c.state != "closed", machine_case.c.shelved_until_us <= self._now_us())
                .limit(1)
            ).first()
        if due is not None:
            with writing(self._engine) as connection:
                end_shelves(connection, now_us=self._now_us())


class WorkRound:
    """Several such things, one after the other."""

    def __init__(self, *steps: Step) -> None:
        self._steps = steps

    def step(self) -> None:
        """Do each once."""
        for one in self._steps:
            one.step()
