"""This file knows the limits a plant sets itself: judged at the site on what gateways tell, and joined to the case.

A gateway judges by ISO zones and by what it has learnt; a plant may know better: a maker's limit, a contract, a
measurement. Counting is the gateway's (`schemas.alarm_counting`); the point that joins the case is named after both,
`pump-07/de:temperature_c`. What was measured before a limit came into force raises nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row

from aggregator.case_book import open_case, write_case
from aggregator.cases import AlarmChange, on_alarm, on_own_limit
from aggregator.database import writing
from aggregator.plant_tables import current_rows
from schemas.alarm_counting import Counting, Rule, Severity, judge_value
from schemas.asset_table import UNITS, LimitRow, chosen_limit
from schemas.messages import AlarmState, Priority
from schemas.names import machine_of
from schemas.site_tables import health, limit_alarm, limit_watch, point, table_version

WINDOWS_A_STEP = 200  # of one point; the rest waits for the next step
POINTS_A_STEP = 500
KEPT_US = 400 * 86_400_000_000  # of what was told: a year of figures, and a month to compare it with


class OwnLimits:
    """Looks at new health records of limited points; `step` is one look."""

    def __init__(self, engine: Engine, *, now_us: Callable[[], int], rule: Rule | None = None) -> None:
        self._engine = engine
        self._now_us = now_us
        self._rule = rule or Rule()
        self._version: int | None = None
        self._limits: list[LimitRow] = []

    def step(self) -> None:
        """Judge what is new."""
        with self._engine.connect() as connection:
            self._read_limits(connection)
            due = self._due(connection)
        for name, quantity in due:
            with writing(self._engine) as connection:
                self._judge(connection, name, quantity)

    def _read_limits(self, connection: Connection) -> None:
        version = connection.execute(
            sa.select(sa.func.max(table_version.c.version_id)).where(table_version.c.kind == "limits")
        ).scalar_one_or_none()
        if version != self._version:
            self._limits = current_rows(connection, "limits", LimitRow)
            self._version = version

    def _due(self, connection: Connection) -> list[tuple[str, str]]:
        """Points with a limit and newer captures than were judged; also watches whose limit is gone."""
        watched = {
            (row.point, row.quantity): row.through_us
            for row in connection.execute(
                sa.select(limit_watch.c.point, limit_watch.c.quantity, limit_watch.c.through_us)
            )
        }
        if not self._limits and not watched:
            return []
        newest = {
            row.point: row.last_measured_us or 0
            for row in connection.execute(sa.select(point.c.point, point.c.last_measured_us))
        }
        limited: set[tuple[str, str]] = {
            (name, limit.quantity)
            for limit in self._limits
            for name in newest
            if limit.applies_to in {name, machine_of(name)}
        }
        due = sorted(pair for pair in limited if newest[pair[0]] > watched.get(pair, -1))
        due += sorted(set(watched) - limited)
        return due[:POINTS_A_STEP]

    def _judge(self, connection: Connection, name: str, quantity: str) -> None:
        watch = connection.execute(
            sa.select(limit_watch).where(limit_watch.c.point == name, limit_watch.c.quantity == quantity)
        ).one_or_none()
        limits = [limit for limit in self._limits if limit.quantity == quantity and limit.machine == machine_of(name)]
        limits = [limit for limit in limits if limit.applies_to in {name, machine_of(name)}]
        if not limits:
            self._forget(connection, name, quantity, watch)
            return
        if watch is None:
            newest_us = connection.execute(
                sa.select(point.c.last_measured_us).where(point.c.point == name)
            ).scalar_one_or_none()
            counting = Counting(self._rule)
            connection.execute(
                sa.insert(limit_watch).values(
                    point=name, quantity=quantity, through_us=newest_us or 0, state=counting.dump()
                )
            )
            return
        counting = Counting.load(self._rule, watch.state)
        through_us = watch.through_us
        for row in self._windows(connection, name, quantity, through_us):
            through_us = row.measured_at_us
            limit = chosen_limit(limits, name, row.rpm)
            if row.value is None or limit is None:
                continue
            severity, calm = judge_value(row.value, limit.alert, limit.danger, self._rule.dead_band)
            change = counting.take(severity, calm=calm)
            if change is not None:
                standing = counting.standing
                self._tell(connection, name, quantity, change, standing, row.value, limit, row.measured_at_us)
        connection.execute(
            sa.update(limit_watch)
            .where(limit_watch.c.point == name, limit_watch.c.quantity == quantity)
            .values(through_us=through_us, state=counting.dump())
        )

    @staticmethod
    def _windows(connection: Connection, name: str, quantity: str, after_us: int) -> Sequence[Row[Any, Any, Any]]:
        return connection.execute(
            sa.select(health.c.measured_at_us, health.c.rpm, health.c[quantity].label("value"))
            .where(health.c.point == name, health.c.measured_at_us > after_us, health.c.quality == "ok")
            .order_by(health.c.measured_at_us)
            .limit(WINDOWS_A_STEP)
        ).all()

    def _tell(
        self, connection: Connection, name: str, quantity: str, change: str, standing: Severity, value: float,
        limit: LimitRow, at_us: int,
    ) -> None:  # fmt: skip
        state: AlarmState = "normal" if change == "ended" else "unacknowledged"
        priority: Priority = "danger" if standing == "danger" else "alert"
        bound = limit.danger if priority == "danger" else limit.alert
        unit = "" if UNITS[quantity] == "1" else f" {UNITS[quantity]}"
        words = quantity_words(quantity)
        reason = (
            f"{words} {value:.3g}{unit} is back below the plant's own limit"
            if change == "ended"
            else f"{words} {value:.3g}{unit} is above the plant's own limit of {bound:g}{unit} ({limit.source})"
        )
        self._note(connection, name, quantity, AlarmChange(name, state, priority, reason, at_us), value, bound)
        self._join(connection, name, AlarmChange(f"{name}:{quantity}", state, priority, reason, at_us))

    def _note(
        self, connection: Connection, name: str, quantity: str, change: AlarmChange, value: float | None = None,
        bound: float | None = None,
    ) -> None:  # fmt: skip
        """Keep it for the figures of the alarms; what is older than they reach leaves."""
        now_us = self._now_us()
        connection.execute(
            sa.insert(limit_alarm).values(
                point=name, machine=machine_of(name), quantity=quantity, state=change.state, priority=change.priority,
                value=value, bound=bound, measured_at_us=change.at_us, told_at_us=now_us, reason=change.reason,
            )
        )  # fmt: skip
        connection.execute(sa.delete(limit_alarm).where(limit_alarm.c.told_at_us < now_us - KEPT_US))

    def _join(self, connection: Connection, name: str, change: AlarmChange, *, by_a_person: bool = False) -> None:
        found = open_case(connection, machine_of(name))
        case_id, case = found if found is not None else (None, None)
        take = on_alarm if by_a_person else on_own_limit
        write_case(connection, case_id, take(case, machine_of(name), change), now_us=self._now_us())

    def _forget(self, connection: Connection, name: str, quantity: str, watch: Row[Any] | None) -> None:
        if watch is None:
            return
        if Counting.load(self._rule, watch.state).standing != "none":
            gone = AlarmChange(
                f"{name}:{quantity}", "normal", "alert", "the plant's own limit was taken away", watch.through_us
            )
            self._note(connection, name, quantity, gone)
            self._join(connection, name, gone, by_a_person=True)
        connection.execute(
            sa.delete(limit_watch).where(limit_watch.c.point == name, limit_watch.c.quantity == quantity)
        )


def quantity_words(quantity: str) -> str:
    """A quantity in words, as the reason of a case says it."""
    return {
        "velocity_rms_mm_s": "velocity", "acceleration_rms_g": "acceleration", "acceleration_peak_g": "acceleration",
        "envelope_rms_g": "envelope", "crest_factor": "crest factor", "temperature_c": "temperature",
    }.get(quantity, quantity)  # fmt: skip
