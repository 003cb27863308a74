"""This file knows what the desk and those who carry requests out for it have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.engine import Connection

from schemas.requests import Request

CommandAction = Literal["acknowledge", "maintenance", "label", "request_evidence"]


class RequestRefused(Exception):
    """A request that is not carried out; the message is the answer."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a request comes to: words for the person, a command for each of some points.

    Attributes:
        capture: Boot and sequence of the capture that is meant; the newest without.
    """

    answer: str
    action: CommandAction | None = None
    points: tuple[str, ...] = ()
    capture: tuple[int, int] | None = None


Handler = Callable[[Connection, Request, int], Decision]
"""Carries a request out in the desk's transaction, at a time in microseconds; raises `RequestRefused`."""
