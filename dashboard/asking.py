"""This file knows how a page asks the site for something and waits for the answer, where a person has to know it."""

import time
from collections.abc import Callable

from dashboard.access import Visitor
from dashboard.database import SiteReader
from dashboard.errors import NotAdmitted, RequestNotWritten
from dashboard.queries.people import read_answer
from dashboard.request_writer import RequestWriter
from schemas.requests import Action, Values

PATIENCE_S = 15.0  # the site service looks twice a second
LOOK_S = 0.1


class Asker:
    """Asks, and waits."""

    def __init__(
        self, reader: SiteReader, writer: RequestWriter, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._pause = pause

    def ask(self, action: Action, visitor: Visitor, values: Values | None = None) -> str:
        """Ask without waiting; returns the id of the request. Raises `RequestNotWritten`."""
        return self._writer.ask(action, visitor, values=values)

    def ask_and_wait(self, action: Action, visitor: Visitor, values: Values | None = None) -> str:
        """Ask, and return the site's answer once it is done.

        Raises:
            NotAdmitted: The site refused; its words.
            RequestNotWritten: Nobody took it, or nobody answers.
            DatabaseUnavailable: The answer cannot be read.
        """
        request_id = self.ask(action, visitor, values)
        for _ in range(int(PATIENCE_S / LOOK_S)):
            with self._reader.read() as connection:
                state, answer = read_answer(connection, request_id) or ("new", "")
            if state == "done":
                return answer
            if state == "refused":
                raise NotAdmitted(answer)
            self._pause(LOOK_S)
        raise RequestNotWritten(
            f"the site service has not answered in {PATIENCE_S:.0f} s; does `aggregator run` run, and is the key of "
            "this dashboard on its list?"
        )
