"""This file knows how cases are asked for: those that need somebody, those on the shelf, those that are over."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from dashboard.queries.plant import read_diagnosis
from schemas.messages import Diagnosis
from schemas.site_tables import case_event, machine, machine_case, request, work_order

Tab = Literal["active", "shelved", "history"]
SHOWN = 60  # cases of one list; a search finds the others
LABELS = 2000
SEARCHED = 1000  # cases that are over, among which those without a label are looked for
ORDERS = 500
SIMILAR = 5
OUTCOMES_TOLD = 2
_OUTCOMES = ("label", "maintenance", "note", "closed")
_WORST_FIRST = sa.case({"danger": 3, "alert": 2, "notice": 1}, value=machine_case.c.priority, else_=0).desc()


@dataclass(frozen=True, slots=True)
class CaseEntry:
    """One case with what a list says of its machine.

    Attributes:
        points: Last alarm state of each point that joined.
        shelved_until_us: When it comes back by itself; None when it is in sight.
    """

    case_id: int
    machine: str
    title: str
    area: str
    criticality: int
    state: str
    priority: str
    reason: str
    diagnosis: tuple[Diagnosis, ...]
    opened_at_us: int
    changed_at_us: int
    closed_at_us: int | None
    acknowledged_by: str | None
    points: dict[str, str]
    shelved_until_us: int | None
    shelved_by: str | None
    shelved_reason: str | None


@dataclass(frozen=True, slots=True)
class Label:
    """What a person said a case really was."""

    case_id: int
    machine: str
    at_us: int
    actor: str
    label: str
    text: str
    said_before: str
    """The best diagnosis of the case; empty where there was none."""


@dataclass(frozen=True, slots=True)
class SimilarCase:
    """A case of another machine that is over; `told` is what people and site said of it last, kind and text."""

    case_id: int
    machine: str
    title: str
    opened_at_us: int
    closed_at_us: int | None
    told: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class OrderEntry:
    """One work order."""

    number: str
    machine: str
    case_id: int | None
    text: str
    due_date: str
    created_by: str
    created_at_us: int


@dataclass(frozen=True, slots=True)
class AskedEntry:
    """What became of one request, by its number."""

    request_id: str
    state: str
    answer: str
    created_at_us: int
    answered_at_us: int | None


def read_counts(connection: Connection) -> dict[Tab, int]:
    """How many cases each tab has."""
    shelved = machine_case.c.shelved_until_us.is_not(None)
    row = connection.execute(
        sa.select(
            sa.func.count().filter(~shelved).label("active"), sa.func.count().filter(shelved).label("shelved")
        ).where(machine_case.c.state != "closed")
    ).one()
    ever = connection.execute(sa.select(sa.func.count(machine_case.c.case_id))).scalar_one()
    return {"active": row.active, "shelved": row.shelved, "history": ever - row.active - row.shelved}


def read_entries(
    connection: Connection, tab: Tab, *, find: str = "", before: int | None = None, limit: int = SHOWN
) -> list[CaseEntry]:
    """Read one tab: what is open worst first, what is over newest first.

    Args:
        connection: The database.
        tab: Which.
        find: Only machines whose name, title or area contains this.
        before: For history: only cases of a lower number, to go on where a page ended.
        limit: At most so many.
    """
    query = _entries()
    shelved = machine_case.c.shelved_until_us.is_not(None)
    if tab == "history":
        query = query.where(machine_case.c.state == "closed").order_by(machine_case.c.case_id.desc())
        if before is not None:
            query = query.where(machine_case.c.case_id < before)
    else:
        query = query.where(machine_case.c.state != "closed", shelved if tab == "shelved" else ~shelved)
        query = query.order_by(
            _WORST_FIRST, machine_case.c.state.desc(), machine.c.criticality.desc(), machine_case.c.case_id
        )
    if find:
        wanted = search_pattern(find)
        query = query.where(
            sa.or_(
                *(
                    sa.func.lower(column).like(wanted, escape="\\")
                    for column in (machine_case.c.machine, machine.c.title, machine.c.area)
                )
            )
        )
    return [_entry(row) for row in connection.execute(query.limit(limit))]


def read_entry(connection: Connection, case_id: int) -> CaseEntry | None:
    """Read one case."""
    row = connection.execute(_entries().where(machine_case.c.case_id == case_id)).one_or_none()
    return None if row is None else _entry(row)


def count_changed(connection: Connection, *, since_us: int) -> int:
    """How many cases have changed since a list was read."""
    return int(
        connection.execute(
            sa.select(sa.func.count(sa.distinct(case_event.c.case_id))).where(case_event.c.at_us > since_us)
        ).scalar_one()
    )


def read_orders(connection: Connection, *, machine_name: str | None = None) -> list[OrderEntry]:
    """Read work orders, newest first."""
    query = sa.select(work_order).order_by(work_order.c.order_id.desc()).limit(ORDERS)
    if machine_name is not None:
        query = query.where(work_order.c.machine == machine_name)
    return [
        OrderEntry(
            row.number, row.machine, row.case_id, row.text, row.due_date, row.created_by, row.created_at_us
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def read_labels(connection: Connection, *, since_us: int, until_us: int, limit: int = LABELS) -> list[Label]:
    """Read what people said cases really were, newest first; of a case labelled twice, both."""
    query = (
        sa.select(case_event, machine_case.c.machine, machine_case.c.diagnosis)
        .join(machine_case, machine_case.c.case_id == case_event.c.case_id)
        .where(case_event.c.at_us.between(since_us, until_us), case_event.c.kind == "label")
        .order_by(case_event.c.at_us.desc(), case_event.c.event_id.desc())
        .limit(limit)
    )
    return [
        Label(
            row.case_id, row.machine, row.at_us, row.actor, _label(row), row.text,
            next((item.label for item in read_diagnosis(row.diagnosis)), ""),
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def read_unlabelled(connection: Connection, *, limit: int = SHOWN) -> list[CaseEntry]:
    """Read cases that are over and of which nobody said what it was, newest first, among the newest `SEARCHED`."""
    labelled = sa.exists().where(case_event.c.case_id == machine_case.c.case_id, case_event.c.kind == "label")
    c = machine_case.c
    newest = sa.select(c.case_id).where(c.state == "closed").order_by(c.case_id.desc()).limit(SEARCHED).subquery()
    oldest = sa.select(sa.func.min(newest.c.case_id)).scalar_subquery()
    query = (
        _entries()
        .where(machine_case.c.state == "closed", machine_case.c.case_id >= oldest, ~labelled)
        .order_by(machine_case.c.case_id.desc())
        .limit(limit)
    )
    return [_entry(row) for row in connection.execute(query)]


def read_similar(connection: Connection, machine_name: str, *, kind: str, cause: str) -> list[SimilarCase]:
    """Read cases of other machines of the same kind with the same cause that are over, newest first.

    Args:
        connection: The database.
        machine_name: Whose cases are left out.
        kind: As nameplates say it: pump, fan ...
        cause: What a person named, or else the likeliest.
    """
    query = (
        sa.select(
            machine_case.c.case_id, machine_case.c.machine, machine.c.title, machine_case.c.opened_at_us,
            machine_case.c.closed_at_us,
        )
        .join(machine, machine.c.machine == machine_case.c.machine)
        .where(
            machine_case.c.cause == cause, machine_case.c.state == "closed", machine_case.c.machine != machine_name,
            machine.c.nameplate["kind"].as_string() == kind,
        )
        .order_by(machine_case.c.case_id.desc())
        .limit(SIMILAR)
    )  # fmt: skip
    cases = connection.execute(query).all()
    place = sa.func.row_number().over(partition_by=case_event.c.case_id, order_by=case_event.c.event_id.desc())
    last = (
        sa.select(case_event.c.case_id, case_event.c.kind, case_event.c.text, place.label("place"))
        .where(case_event.c.case_id.in_([row.case_id for row in cases]), case_event.c.kind.in_(_OUTCOMES))
        .subquery()
    )
    told: dict[int, list[tuple[str, str]]] = {}
    said = sa.select(last).where(last.c.place <= OUTCOMES_TOLD).order_by(last.c.case_id, last.c.place.desc())
    for row in connection.execute(said) if cases else ():
        told.setdefault(row.case_id, []).append((row.kind, row.text))
    return [
        SimilarCase(
            row.case_id, row.machine, row.title or row.machine, row.opened_at_us, row.closed_at_us,
            tuple(told.get(row.case_id, ())),
        )
        for row in cases
    ]  # fmt: skip


def read_asked(connection: Connection, request_ids: Sequence[str]) -> list[AskedEntry]:
    """Read what became of some requests."""
    query = sa.select(
        request.c.request_id, request.c.state, request.c.answer, request.c.created_at_us, request.c.answered_at_us
    ).where(request.c.request_id.in_(list(request_ids)))
    return [AskedEntry(*row) for row in connection.execute(query)]


def _entries() -> sa.Select[Any]:
    return sa.select(machine_case, machine.c.title.label("machine_title"), machine.c.area, machine.c.criticality).join(
        machine, machine.c.machine == machine_case.c.machine, isouter=True
    )


def _entry(row: Row[Any]) -> CaseEntry:
    return CaseEntry(
        case_id=row.case_id, machine=row.machine, title=row.machine_title or row.machine, area=row.area or "",
        criticality=row.criticality or 3, state=row.state, priority=row.priority, reason=row.title,
        diagnosis=read_diagnosis(row.diagnosis), opened_at_us=row.opened_at_us, changed_at_us=row.changed_at_us,
        closed_at_us=row.closed_at_us, acknowledged_by=row.acknowledged_by, points=dict(row.points or {}),
        shelved_until_us=row.shelved_until_us, shelved_by=row.shelved_by, shelved_reason=row.shelved_reason,
    )  # fmt: skip


def _label(row: Row[Any]) -> str:
    detail = row.detail if isinstance(row.detail, dict) else {}
    return str(detail.get("label") or row.text.partition(":")[0].strip())


def search_pattern(text: str) -> str:
    """A LIKE pattern that finds a text anywhere; its signs stand for themselves, escaped by a backslash."""
    escaped = text.casefold().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
