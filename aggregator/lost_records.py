"""This file knows which records a gateway will never send again though they are not here, and how the loss is told.

Acknowledged once, deleted by the gateway, and then gone with a database that was restored from a back-up: what a
gateway says of its outbox shows it. The loss becomes a gap with its exact numbers, and the stream goes on past it.
"""

import logging

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aggregator.stream_order import StreamOrder
from schemas.logs import event
from schemas.messages import GatewayStatus
from schemas.site_tables import gap

log = logging.getLogger(__name__)

REASON = (
    "acknowledged once and not here any more: this database is older than its acknowledgements "
    "(restored from a back-up); results of these captures are still on the gateway"
)


def missing_below(stream: StreamOrder, first_waiting: int) -> list[tuple[int, int]]:
    """First and last of each range below what a gateway still has that is neither stored nor given up."""
    if first_waiting <= stream.through + 1:
        return []
    known = [(sequence, sequence) for sequence in stream.ahead] + stream.given_up
    missing: list[tuple[int, int]] = []
    reached = stream.through
    for first, last in [*sorted(known), (first_waiting, first_waiting)]:
        if min(first, first_waiting) > reached + 1:
            missing.append((reached + 1, min(first, first_waiting) - 1))
        reached = max(reached, last)
    return missing


def tell_lost(connection: Connection, stream: StreamOrder, status: GatewayStatus, *, now_us: int) -> bool:
    """Write a gap for what a gateway no longer has and we have not; tell whether there was any."""
    missing = missing_below(stream, status.outbox_first or 0)
    for first, last in missing:
        stream.give_up(first, last)
        count = last - first + 1
        connection.execute(
            sa.insert(gap).values(
                gateway=status.gateway, boot=status.boot, sequence=first, what="records", source="site", first=first,
                last=last, count=count, reason=REASON, at_us=now_us,
            )
        )  # fmt: skip
        event(log, logging.ERROR, "records_lost", gateway=status.gateway, boot=status.boot, first=first, last=last,
              count=count)  # fmt: skip
    return bool(missing)
