"""This file knows how the history of alarms is asked for: every change within a time, and the captures behind it."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from schemas.alarm_counting import Window
from schemas.site_tables import alarm, case_event, health, machine_case

MOST_CHANGES = 200_000
MOST_WINDOWS = 60_000  # of one point: a year at one capture in nine minutes


@dataclass(frozen=True, slots=True)
class AlarmTold:
    """One change of an alarm as a person was told of it."""

    at_us: int
    point: str
    state: str
    priority: str


def read_told(connection: Connection, *, since_us: int, until_us: int) -> list[AlarmTold]:
    """Read what a person was told, by when it arrived, oldest first; other changes of alarms tell nobody anything."""
    query = (
        sa.select(alarm.c.received_at_us, alarm.c.point, alarm.c.state, alarm.c.priority)
        .where(alarm.c.received_at_us.between(since_us, until_us), alarm.c.state == "unacknowledged")
        .order_by(alarm.c.received_at_us.desc())
        .limit(MOST_CHANGES)
    )
    return [AlarmTold(*row) for row in connection.execute(query)][::-1]


def read_opened(connection: Connection, *, since_us: int, until_us: int) -> int:
    """How many cases were opened."""
    query = sa.select(sa.func.count(case_event.c.event_id)).where(
        case_event.c.kind == "opened", case_event.c.at_us.between(since_us, until_us)
    )
    return int(connection.execute(query).scalar_one())


def read_standing_since(connection: Connection) -> list[int]:
    """When each case that is not over was opened."""
    query = sa.select(machine_case.c.opened_at_us).where(machine_case.c.state != "closed")
    return list(connection.execute(query).scalars())


def read_windows(connection: Connection, point_name: str, *, since_us: int, until_us: int) -> list[Window]:
    """Read the believable captures of a point, oldest first; of too many the newest."""
    query = (
        sa.select(health.c.measured_at_us, health.c.score, health.c.score_limit, health.c.zone)
        .where(
            health.c.point == point_name, health.c.measured_at_us.between(since_us, until_us), health.c.quality == "ok"
        )
        .order_by(health.c.measured_at_us.desc())
        .limit(MOST_WINDOWS)
    )
    return [Window(*row) for row in connection.execute(query)][::-1]
