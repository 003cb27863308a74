"""This file knows how cases stand in the database; what becomes of them is decided in `aggregator.cases`."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aggregator.cases import SITE, AlarmChange, Case, Entry, Outcome, Settled, Shelf, on_alarm, on_unshelve
from aggregator.notice_outbox import queue_notices
from schemas.messages import Alarm, Diagnosis
from schemas.names import machine_of
from schemas.site_tables import alarm as alarm_table
from schemas.site_tables import case_event, machine_case


def open_case(connection: Connection, machine: str) -> tuple[int, Case] | None:
    """The open case of a machine, with its number."""
    row = connection.execute(
        sa.select(machine_case).where(machine_case.c.machine == machine, machine_case.c.state != "closed")
    ).one_or_none()
    return None if row is None else (int(row.case_id), _case(row))


def numbered_case(connection: Connection, case_id: int) -> Case | None:
    """A case by its number, open or closed."""
    row = connection.execute(sa.select(machine_case).where(machine_case.c.case_id == case_id)).one_or_none()
    return None if row is None else _case(row)


def _case(row: Any) -> Case:
    return Case(
        machine=row.machine,
        state=row.state,
        priority=row.priority,
        title=row.title,
        diagnosis=tuple(Diagnosis.model_validate(item) for item in row.diagnosis),
        points=dict(row.points),
        acknowledged_by=row.acknowledged_by,
        shelf=None
        if row.shelved_until_us is None
        else Shelf(row.shelved_until_us, row.shelved_by or "", row.shelved_reason or ""),
    )


def write_case(connection: Connection, case_id: int | None, outcome: Outcome, *, now_us: int) -> int | None:
    """Write what became of a case and its history; return its number, None when there still is no case."""
    case = outcome.case
    if case is None:
        return case_id
    values = {
        "machine": case.machine,
        "state": case.state,
        "priority": case.priority,
        "title": case.title,
        "diagnosis": [item.model_dump() for item in case.diagnosis],
        "changed_at_us": now_us,
        "closed_at_us": now_us if case.state == "closed" else None,
        "acknowledged_by": case.acknowledged_by,
        "points": dict(case.points),
        "shelved_until_us": case.shelf.until_us if case.shelf else None,
        "shelved_by": case.shelf.actor if case.shelf else None,
        "shelved_reason": case.shelf.reason if case.shelf else None,
        "cause": _cause(connection, case_id, case, outcome.entries),
    }
    if case_id is None:
        made = connection.execute(sa.insert(machine_case).values(**values, opened_at_us=now_us)).inserted_primary_key
        assert made is not None
        case_id = int(made[0])
    else:
        connection.execute(sa.update(machine_case).where(machine_case.c.case_id == case_id).values(**values))
    write_entries(connection, case_id, outcome.entries, now_us=now_us)
    queue_notices(connection, case_id, case, outcome.entries, now_us=now_us)
    return case_id


def _cause(connection: Connection, case_id: int | None, case: Case, entries: Sequence[Entry]) -> str | None:
    """What a person named last, else the likeliest diagnosis; None where it is not known."""
    named = [entry.detail["label"] for entry in entries if entry.kind == "label" and entry.detail]
    if named:
        return str(named[-1])
    if case_id is not None:
        before = connection.execute(
            sa.select(case_event.c.detail)
            .where(case_event.c.case_id == case_id, case_event.c.kind == "label")
            .order_by(case_event.c.event_id.desc())
            .limit(1)
        ).scalar_one_or_none()
        if isinstance(before, dict) and before.get("label"):
            return str(before["label"])
    best = max(case.diagnosis, key=lambda item: item.confidence, default=None)
    return None if best is None or best.label == "unknown" else best.label


def end_shelves(connection: Connection, *, now_us: int) -> int:
    """Bring back every case whose time on the shelf is over; return how many."""
    rows = connection.execute(
        sa.select(machine_case).where(machine_case.c.state != "closed", machine_case.c.shelved_until_us <= now_us)
    ).all()
    for row in rows:
        write_case(
            connection, row.case_id, on_unshelve(_case(row), SITE, "the time on the shelf is over"), now_us=now_us
        )
    return len(rows)


def write_entries(connection: Connection, case_id: int, entries: Sequence[Entry], *, now_us: int) -> None:
    """Add lines to the history of a case."""
    if entries:
        connection.execute(
            sa.insert(case_event),
            [
                {
                    "case_id": case_id, "at_us": now_us, "kind": e.kind, "actor": e.actor, "text": e.text,
                    "detail": None if e.detail is None else dict(e.detail),
                }
                for e in entries
            ],
        )  # fmt: skip


def take_alarm(
    connection: Connection, gateway: str, boot: int, sequence: int, alarm: Alarm, *, now_us: int
) -> int | None:
    """Take a change of an alarm into the machine's case; return the number of the case it belongs to."""
    machine = machine_of(alarm.point)
    of_point = (alarm_table.c.gateway == gateway) & (alarm_table.c.boot == boot) & (alarm_table.c.point == alarm.point)
    later = connection.execute(
        sa.select(sa.literal(1)).where(of_point, alarm_table.c.sequence > sequence).limit(1)
    ).first()
    change = AlarmChange(
        point=alarm.point,
        state=alarm.state,
        priority=alarm.priority,
        reason=alarm.reason,
        at_us=alarm.measured_at_us,
        diagnosis=alarm.diagnosis,
        overtaken=later is not None,
    )
    found = open_case(connection, machine)
    if found is not None:
        case_id, case = found
        return write_case(connection, case_id, on_alarm(case, machine, change), now_us=now_us)
    before = connection.execute(
        sa.select(alarm_table.c.state, alarm_table.c.priority, alarm_table.c.alarm_id, alarm_table.c.case_id)
        .where(of_point, alarm_table.c.sequence < sequence)
        .order_by(alarm_table.c.sequence.desc())
        .limit(1)
    ).first()
    goes_on = (
        before is not None
        and before.alarm_id == alarm.alarm_id
        and before.state != "normal"
        and before.case_id is not None
    )
    settled = Settled(before.state, before.priority) if before is not None and goes_on else None
    outcome = on_alarm(None, machine, change, settled=settled)
    case_id_or_none = write_case(connection, None, outcome, now_us=now_us)
    return before.case_id if case_id_or_none is None and before is not None and goes_on else case_id_or_none
