"""This file knows what waits to be told: a row of `delivery` in the transaction of what it tells, so that none is lost.

What waits for one channel is bounded. When there is too much, what is new is counted instead of queued, and the next
summary says how many those were.
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.engine import Connection

from aggregator.cases import SITE, Case, Entry
from schemas.notice_routes import Route
from schemas.site_tables import delivery, notice_channel, table_version

QUEUED_ROWS = 1000  # that wait for one channel; at ten messages in ten minutes nobody would read more
MINUTE_US = 60_000_000
CASE_KINDS = ("reopened", "worse", "opened", "unshelved", "shelved")
"""Entries of a case's history that are told; the first of these where one change made several."""
_NEEDING_HANDS = frozenset({"reopened", "worse", "opened"})


def read_routes(connection: Connection) -> list[Route]:
    """The routes in force; one that cannot be read any more is left out."""
    rows = connection.execute(
        sa.select(table_version.c.rows)
        .where(table_version.c.kind == "routes")
        .order_by(table_version.c.version_id.desc())
        .limit(1)
    ).scalar_one_or_none()
    routes = []
    for row in rows or ():
        try:
            routes.append(Route.model_validate(row))
        except ValidationError:
            continue
    return routes


def queue_notices(connection: Connection, case_id: int, case: Case, entries: Iterable[Entry], *, now_us: int) -> None:
    """Queue what a change of a case has to tell, to each route that wants it, once."""
    kind = _told(case, entries)
    if kind is None:
        return
    for route in read_routes(connection):
        if not route.wants(case.priority) or (route.after_min and kind not in _NEEDING_HANDS):
            continue
        due_at_us = route.held_until_us(now_us + route.after_min * MINUTE_US, case.priority)
        payload = {"route": route.name, "at_us": now_us, "after_min": route.after_min}
        queue(
            connection, route.channel, kind, case.priority, payload, due_at_us=due_at_us, now_us=now_us,
            case_id=case_id, machine=case.machine,
        )  # fmt: skip


def queue(
    connection: Connection, channel: str, kind: str, priority: str, payload: Mapping[str, Any], *, due_at_us: int,
    now_us: int, case_id: int | None = None, machine: str | None = None,
) -> str | None:  # fmt: skip
    """Queue one delivery.

    Returns:
        Its key, the same at every try; None when too much waits for the channel: then it is counted.
    """
    waiting = connection.execute(
        sa.select(sa.func.count()).where(
            delivery.c.channel == channel, delivery.c.done_at_us.is_(None), delivery.c.state.in_(("waiting", "sending"))
        )
    ).scalar_one()
    if waiting >= QUEUED_ROWS:
        connection.execute(
            sa.update(notice_channel)
            .where(notice_channel.c.channel == channel)
            .values(dropped=notice_channel.c.dropped + 1)
        )
        return None
    key = secrets.token_hex(8)
    connection.execute(
        sa.insert(delivery).values(
            key=key, channel=channel, kind=kind, priority=priority, case_id=case_id, machine=machine,
            payload=dict(payload), state="waiting", due_at_us=due_at_us, attempts=0, created_at_us=now_us, text="",
        )
    )  # fmt: skip
    return key


def _told(case: Case, entries: Iterable[Entry]) -> str | None:
    kinds = {
        entry.kind
        for entry in entries
        if (entry.kind != "shelved" or case.priority == "danger") and (entry.kind != "unshelved" or entry.actor == SITE)
    }
    if case.state == "closed":
        return None
    return next((kind for kind in CASE_KINDS if kind in kinds), None)
