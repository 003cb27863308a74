"""This file knows every way in which the dashboard cannot show what it should.

DashboardError
├── DashboardNotStarted   a page runs outside `dashboard run`
├── DatabaseUnavailable   the site's database cannot be read; carries which page explains it
├── RequestNotWritten     what a person asked for did not reach the database
└── NotAdmitted           somebody does not get in, or the site refused what they asked; carries how long to wait
"""

from typing import Literal

ProblemKind = Literal["missing", "unreachable", "no_database", "unprepared", "foreign", "wrong_version", "locked"]


class DashboardError(Exception):
    """The dashboard cannot show what it should."""


class DashboardNotStarted(DashboardError):
    """A page runs outside `dashboard run`."""


class DatabaseUnavailable(DashboardError):
    """The site's database cannot be read.

    Attributes:
        kind: Which page explains it.
        detail: What was found, for the person who mends it.
    """

    def __init__(self, kind: ProblemKind, detail: str) -> None:
        super().__init__(detail)
        self.kind: ProblemKind = kind
        self.detail = detail


class RequestNotWritten(DashboardError):
    """What a person asked for did not reach the database; it may be asked again."""


class NotAdmitted(DashboardError):
    """Somebody does not get in, or the site refused what they asked for.

    Attributes:
        wait_s: How long it makes no sense to try again; 0 where it may be tried at once.
    """

    def __init__(self, words: str, *, wait_s: float = 0.0) -> None:
        super().__init__(words)
        self.wait_s = wait_s
