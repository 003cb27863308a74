"""This file knows how what a report needs is asked for: what happened between two times, over all cases."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dashboard.queries.plant import round_record
from dashboard.queries.records import RoundRecord
from schemas.site_tables import case_event, gap, learning_round, machine_case

EVENTS = 500


@dataclass(frozen=True, slots=True)
class Happened:
    """One line of the history of any case."""

    at_us: int
    case_id: int
    machine: str
    kind: str
    actor: str
    text: str


def read_happened(connection: Connection, *, since_us: int, until_us: int) -> list[Happened]:
    """Read what happened to cases, oldest first; of too much the newest."""
    query = (
        sa.select(
            case_event.c.at_us, case_event.c.case_id, machine_case.c.machine, case_event.c.kind, case_event.c.actor,
            case_event.c.text,
        )
        .join(machine_case, machine_case.c.case_id == case_event.c.case_id)
        .where(case_event.c.at_us.between(since_us, until_us))
        .order_by(case_event.c.at_us.desc(), case_event.c.event_id.desc())
        .limit(EVENTS)
    )  # fmt: skip
    return [Happened(*row) for row in connection.execute(query)][::-1]


def read_rounds(connection: Connection, *, since_us: int, until_us: int) -> list[RoundRecord]:
    """Read rounds of learning that were started, newest first."""
    query = (
        sa.select(learning_round)
        .where(learning_round.c.started_at_us.between(since_us, until_us))
        .order_by(learning_round.c.round_id.desc())
        .limit(50)
    )
    return [round_record(row) for row in connection.execute(query)]


def count_lost(connection: Connection, *, since_us: int, until_us: int) -> int:
    """How many records gateways said they gave up."""
    query = sa.select(sa.func.sum(gap.c["count"])).where(gap.c.at_us.between(since_us, until_us))
    return int(connection.execute(query).scalar_one_or_none() or 0)
