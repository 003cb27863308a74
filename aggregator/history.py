"""This file knows how a point's captures become hourly extremes, so that a year of it can be drawn at once.

Full hours that are old enough are summed up a bounded piece at a time; a capture that comes later than that puts the
mark of its point back, and the hours are summed anew.
"""

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from schemas.messages import Health
from schemas.site_tables import HISTORY_QUANTITIES, health, history_hour, history_mark, point

HOUR_US: Final = 3_600_000_000
LATE_US: Final = 2 * HOUR_US  # hours are summed once they ended so long ago: most gateways are back by then
POINTS_AT_ONCE: Final = 20  # of one step, each with at most HOURS_AT_ONCE: a tenth of a second beside the records
HOURS_AT_ONCE: Final = 240


def sum_hours(connection: Connection, *, now_us: int) -> int:
    """Sum up what has become a full hour, of some points; tells how many points were moved on."""
    until_us = (now_us - LATE_US) // HOUR_US * HOUR_US
    mark = history_mark.c.summed_until_us
    behind = connection.execute(
        sa.select(point.c.point, mark)
        .outerjoin(history_mark, history_mark.c.point == point.c.point)
        .where(sa.or_(mark.is_(None), mark < until_us), point.c.last_measured_us.is_not(None))
        .order_by(mark.is_not(None), mark)
        .limit(POINTS_AT_ONCE)
    ).all()
    for name, summed_until_us in behind:
        _sum_point(connection, name, summed_until_us, until_us)
    return len(behind)


def reopen_hours(connection: Connection, windows: Iterable[Health], *, now_us: int) -> None:
    """Have hours summed anew into which late captures fall; on-time ones cost nothing."""
    late: dict[str, int] = {}
    for window in windows:
        if window.measured_at_us < now_us - LATE_US:
            late[window.point] = min(window.measured_at_us, late.get(window.point, window.measured_at_us))
    if late:
        back_to_us = sa.bindparam("back_to_us", type_=sa.BigInteger)
        connection.execute(
            sa.update(history_mark)
            .where(history_mark.c.point == sa.bindparam("of_point"), history_mark.c.summed_until_us > back_to_us)
            .values(summed_until_us=back_to_us),
            [{"of_point": name, "back_to_us": at_us // HOUR_US * HOUR_US} for name, at_us in late.items()],
        )


def _sum_point(connection: Connection, name: str, summed_until_us: int | None, until_us: int) -> None:
    since_us = summed_until_us
    if since_us is None:
        first_us = connection.scalar(sa.select(sa.func.min(health.c.measured_at_us)).where(health.c.point == name))
        since_us = until_us if first_us is None else min(first_us // HOUR_US * HOUR_US, until_us)
    else:  # a long silence is passed over in one step
        next_us = connection.scalar(
            sa.select(sa.func.min(health.c.measured_at_us)).where(
                health.c.point == name, health.c.measured_at_us >= since_us
            )
        )
        since_us = until_us if next_us is None else min(max(since_us, next_us // HOUR_US * HOUR_US), until_us)
    end_us = min(until_us, since_us + HOURS_AT_ONCE * HOUR_US)
    first_hour, end_hour = (summed_until_us or since_us) // HOUR_US, end_us // HOUR_US
    of_point = history_hour.c.point == name
    connection.execute(
        sa.delete(history_hour).where(of_point, history_hour.c.hour >= first_hour, history_hour.c.hour < end_hour)
    )
    columns, sums = _sums()
    hour = health.c.measured_at_us // HOUR_US
    connection.execute(
        sa.insert(history_hour).from_select(
            ["point", "hour", *columns],
            sa.select(sa.literal(name), hour, *sums)
            .where(health.c.point == name, health.c.measured_at_us >= since_us, health.c.measured_at_us < end_us)
            .group_by(hour),
        )
    )
    values = {"summed_until_us": end_us}
    changed = connection.execute(sa.update(history_mark).where(history_mark.c.point == name).values(**values))
    if changed.rowcount == 0:
        connection.execute(sa.insert(history_mark).values(point=name, **values))


def _sums() -> tuple[list[str], list[sa.ColumnElement[Any]]]:
    """The columns of an hour, and what fills them; values only of captures that could be believed."""
    believed = health.c.quality == "ok"
    columns = ["first_us", "last_us", "captures", "believed"]
    sums: list[sa.ColumnElement[Any]] = [
        sa.func.min(health.c.measured_at_us), sa.func.max(health.c.measured_at_us), sa.func.count(),
        sa.func.sum(sa.case((believed, 1), else_=0)),
    ]  # fmt: skip
    for quantity in HISTORY_QUANTITIES:
        value = sa.case((believed, health.c[quantity]), else_=None)
        columns += [f"{quantity}_lowest", f"{quantity}_highest"]
        sums += [sa.func.min(value), sa.func.max(value)]
    return columns, sums
