"""This file knows work on alarms: shelving, work orders, routes of notifications, tables of assets and limits."""

from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aggregator import plant_tables
from aggregator.case_book import numbered_case, open_case, write_case
from aggregator.cases import Case, Entry, Outcome, on_shelve, on_unshelve, shelf_refusal
from aggregator.desk_answers import Decision, Handler, RequestRefused
from aggregator.notice_outbox import queue
from schemas.requests import Action, Request
from schemas.site_tables import machine, notice_channel, work_order

HOUR_US = 3600 * 1_000_000
LONGEST_NUMBER, LONGEST_ORDER = 64, 4000


def shelve(connection: Connection, asked: Request, now_us: int) -> Decision:
    """Put a machine's case out of sight for some hours."""
    case_id, case = _case(connection, asked)
    hours = asked.values.get("hours")
    if isinstance(hours, bool) or not isinstance(hours, int | float):
        raise RequestRefused("shelving needs a number of hours, at most 12")
    until_us = now_us + round(min(max(float(hours), -1e6), 1e6) * HOUR_US)
    refusal = shelf_refusal(case, asked.note, until_us=until_us, now_us=now_us)
    if refusal:
        raise RequestRefused(refusal)
    outcome = on_shelve(case, asked.actor, asked.note.strip(), until_us=until_us, hours=float(hours))
    write_case(connection, case_id, outcome, now_us=now_us)
    return Decision(f"case {case_id} is on the shelf for {hours:g} h")


def unshelve(connection: Connection, asked: Request, now_us: int) -> Decision:
    """Bring a machine's case back into sight."""
    case_id, case = _case(connection, asked)
    if case.shelf is None:
        raise RequestRefused(f"case {case_id} is not on the shelf")
    write_case(connection, case_id, on_unshelve(case, asked.actor, asked.note or "back in sight"), now_us=now_us)
    return Decision(f"case {case_id} is in sight again")


def write_work_order(connection: Connection, asked: Request, now_us: int) -> Decision:
    """Write a work order, note it in the case, and queue it for every webhook."""
    known = connection.execute(sa.select(machine).where(machine.c.machine == asked.machine)).one_or_none()
    if known is None:
        raise RequestRefused(f"no machine {asked.machine} is known")
    text = _text(asked, "text", LONGEST_ORDER) or asked.note.strip()
    if not text:
        raise RequestRefused("the work order has no text")
    due = _due(asked)
    number = _number(connection, _text(asked, "number", LONGEST_NUMBER))
    found = (asked.case_id, numbered_case(connection, asked.case_id)) if asked.case_id is not None else None
    if found is not None and (found[1] is None or found[1].machine != asked.machine):
        raise RequestRefused(f"machine {asked.machine} has no case {asked.case_id}")
    case_id, case = found or open_case(connection, known.machine) or (None, None)
    connection.execute(
        sa.insert(work_order).values(
            number=number, case_id=case_id, machine=asked.machine, text=text, due_date=due, created_by=asked.actor,
            created_at_us=now_us,
        )
    )  # fmt: skip
    if case_id is not None and case is not None:
        entry = Entry("work_order", asked.actor, f"{number}, due {due}: {text}", {"number": number, "due_date": due})
        write_case(connection, case_id, Outcome(case, (entry,)), now_us=now_us)
    order = _order(number, known, case_id, case, text=text, due=due, asked=asked, now_us=now_us)
    told = _tell_programs(connection, order, now_us=now_us)
    return Decision(f"work order {number} written{told}")


def test_notification(connection: Connection, asked: Request, now_us: int) -> Decision:
    """Queue a test for one channel; what became of it is shown beside the channel."""
    name = asked.values.get("channel")
    known = sorted(connection.execute(sa.select(notice_channel.c.channel)).scalars())
    if name not in known:
        raise RequestRefused(f"no channel {name!r}; the aggregator's settings name {', '.join(known) or 'none'}")
    if queue(connection, str(name), "test", "notice", {"actor": asked.actor}, due_at_us=now_us, now_us=now_us) is None:
        raise RequestRefused(f"too much waits for channel {name} already")
    return Decision(f"a test for channel {name} is on its way")


def _set_routes(connection: Connection, asked: Request, now_us: int) -> Decision:
    channels = connection.execute(sa.select(notice_channel.c.channel)).scalars()
    return Decision(plant_tables.set_routes(connection, asked, now_us, channels))


HANDLERS: dict[Action, Handler] = {
    "shelve": shelve,
    "unshelve": unshelve,
    "work_order": write_work_order,
    "test_notification": test_notification,
    "set_routes": _set_routes,
    "set_assets": lambda connection, asked, now_us: Decision(plant_tables.set_assets(connection, asked, now_us)),
    "set_limits": lambda connection, asked, now_us: Decision(plant_tables.set_limits(connection, asked, now_us)),
    "set_bearings": lambda connection, asked, now_us: Decision(plant_tables.set_bearings(connection, asked, now_us)),
}


def _case(connection: Connection, asked: Request) -> tuple[int, Case]:
    if asked.machine is None:
        raise RequestRefused(f"{asked.action} needs the name of a machine")
    found = open_case(connection, asked.machine)
    if found is None or (asked.case_id is not None and found[0] != asked.case_id):
        number = "" if asked.case_id is None else f" {asked.case_id}"
        raise RequestRefused(f"machine {asked.machine} has no open case{number}")
    return found


def _text(asked: Request, name: str, longest: int) -> str:
    value = asked.values.get(name, "")
    if not isinstance(value, str):
        raise RequestRefused(f"{name} is no text")
    if len(value) > longest:
        raise RequestRefused(f"{name} has {len(value)} characters, {longest} allowed")
    return value.strip()


def _due(asked: Request) -> str:
    given = _text(asked, "due_date", 10)
    try:
        return date.fromisoformat(given).isoformat()
    except ValueError as error:
        raise RequestRefused(f"due date {given!r} found, a date such as 2026-11-30 expected") from error


def _number(connection: Connection, given: str) -> str:
    if given:
        taken = connection.execute(sa.select(work_order.c.order_id).where(work_order.c.number == given)).first()
        if taken is not None:
            raise RequestRefused(f"work order {given} is there already")
        return given
    last = connection.execute(sa.select(sa.func.max(work_order.c.order_id))).scalar_one() or 0
    number = f"WO-{last + 1:06d}"
    while connection.execute(sa.select(work_order.c.order_id).where(work_order.c.number == number)).first():
        last += 1
        number = f"WO-{last + 1:06d}"
    return number


def _order(
    number: str, known: Any, case_id: int | None, case: Case | None, *, text: str, due: str, asked: Request, now_us: int
) -> dict[str, Any]:
    cause = case.diagnosis[0] if case is not None and case.diagnosis else None
    return {
        "number": number, "machine": known.machine, "title": known.title, "area": known.area, "text": text,
        "due_date": due, "case_id": case_id, "priority": case.priority if case is not None else "notice",
        "cause": cause.label if cause else "unknown", "confidence": cause.confidence if cause else None,
        "created_by": asked.actor, "created_at_us": now_us,
    }  # fmt: skip


def _tell_programs(connection: Connection, order: dict[str, Any], *, now_us: int) -> str:
    webhooks = sorted(
        connection.execute(sa.select(notice_channel.c.channel).where(notice_channel.c.kind == "webhook")).scalars()
    )
    full = [
        name
        for name in webhooks
        if queue(
            connection, name, "work_order", order["priority"], order, due_at_us=now_us, now_us=now_us,
            case_id=order["case_id"], machine=order["machine"],
        ) is None
    ]  # fmt: skip
    told = [name for name in webhooks if name not in full]
    said = f" and on its way to {', '.join(told)}" if told else ""
    return said + (f"; too much waits for {', '.join(full)}, which is not told" if full else "")
