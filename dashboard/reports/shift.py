"""This file knows the shift report: what is open, what happened, what was not watched, and how the plant learns."""

from dataclasses import dataclass

from dashboard import sentences, words
from dashboard.condition import Condition
from dashboard.languages import speaking, tr
from dashboard.pages.alarm_list import level_of
from dashboard.pages.case_desk import event_words
from dashboard.pages.live import judge_plant
from dashboard.queries.cases import CaseEntry, OrderEntry, read_entries, read_orders
from dashboard.queries.plant import read_plant
from dashboard.queries.records import Plant, RoundRecord
from dashboard.queries.reports import Happened, count_lost, read_happened, read_rounds
from dashboard.reports import paper
from dashboard.reports.paper import Flowable
from dashboard.runtime import Dashboard

HOUR_US = 3_600_000_000
MOST_CASES = 200
BLIND_NAMED = 60


@dataclass(frozen=True, slots=True)
class ShiftFacts:
    """Everything of one shift, as the database had it when the report was asked for."""

    since_us: int
    until_us: int
    conditions: tuple[Condition, ...]
    plant: Plant
    active: tuple[CaseEntry, ...]
    shelved: tuple[CaseEntry, ...]
    happened: tuple[Happened, ...]
    orders: tuple[OrderEntry, ...]
    rounds: tuple[RoundRecord, ...]
    lost: int


def read_shift(board: Dashboard, *, hours: float, until_us: int) -> ShiftFacts:
    """Read what a report of the hours before a time needs."""
    since_us = until_us - round(hours * HOUR_US)
    with board.reader.read() as connection:
        plant = read_plant(connection)
        orders = [order for order in read_orders(connection) if since_us <= order.created_at_us <= until_us]
        return ShiftFacts(
            since_us=since_us, until_us=until_us, conditions=tuple(judge_plant(board, plant)), plant=plant,
            active=tuple(read_entries(connection, "active", limit=MOST_CASES)),
            shelved=tuple(read_entries(connection, "shelved", limit=MOST_CASES)),
            happened=tuple(read_happened(connection, since_us=since_us, until_us=until_us)), orders=tuple(orders),
            rounds=tuple(read_rounds(connection, since_us=since_us, until_us=until_us)),
            lost=count_lost(connection, since_us=since_us, until_us=until_us),
        )  # fmt: skip


def shift_report(board: Dashboard, *, hours: float, until_us: int, language: str, zone: str) -> bytes:
    """Print the report of the hours before a time."""
    with speaking(language):
        facts = read_shift(board, hours=hours, until_us=until_us)
        since, until = words.moment(facts.since_us, zone), words.moment(until_us, zone)
        titled = paper.Titled(
            tr("Shift report"), board.settings.title, tr("{since} to {until}", since=since, until=until),
            tr("As of {at}; all times in {zone}", at=until, zone=zone),
        )  # fmt: skip
        story = [
            *_cases(facts, zone), *_coverage(facts), *_history(facts, zone), *_orders(facts), *_gateways(facts),
            *_learning(facts),
        ]  # fmt: skip
        return paper.print_report(titled, story)


def _cases(facts: ShiftFacts, zone: str) -> list[Flowable]:
    story = [paper.heading(tr("Open cases, worst first ({count})", count=len(facts.active)))]
    if not facts.active:
        story.append(paper.line(tr("None.")))
    for case in facts.active:
        story += _case(case, zone)
    if facts.shelved:
        story.append(paper.heading(tr("On the shelf ({count})", count=len(facts.shelved))))
        for case in facts.shelved:
            story += _case(case, zone)
    return story


def _case(case: CaseEntry, zone: str) -> list[Flowable]:
    area = f" · {case.area}" if case.area else ""
    number = tr("case {number}", number=case.case_id)
    title = f"{case.title} ({case.machine}){area}, {number}"
    if case.state == "acknowledged":
        standing = tr("acknowledged by {who}", who=case.acknowledged_by or tr("somebody"))
    else:
        standing = tr("nobody has acknowledged it")
    since = tr("open since {at}, {standing}", at=words.moment(case.opened_at_us, zone), standing=standing)
    story = [paper.marked(case.priority, level_of(case).said, title), paper.line(sentences.said(case.reason))]
    story.append(paper.line(since, grey=True))
    if case.shelved_until_us is not None:
        shelved = tr("on the shelf until {until} by {who}: {reason}", until=words.moment(case.shelved_until_us, zone),
                     who=case.shelved_by or "", reason=case.shelved_reason or "")  # fmt: skip
        story.append(paper.line(shelved, grey=True))
    return [*story, paper.gap(1.5)]


def _coverage(facts: ShiftFacts) -> list[Flowable]:
    points = sum(condition.points for condition in facts.conditions)
    assessable = sum(condition.points_assessable for condition in facts.conditions)
    story = [
        paper.heading(tr("What was watched")),
        paper.line(tr("{assessable} of {points} points are assessable at the end of the shift.",
                      assessable=assessable, points=points)),
    ]  # fmt: skip
    blind = [
        (condition, condition.points - condition.points_assessable)
        for condition in facts.conditions
        if condition.points_assessable < condition.points
    ]
    if blind:
        rows = [
            (condition.title, condition.machine, str(count), condition.level.said, "; ".join(condition.details[:2])
             or condition.reason)
            for condition, count in blind[:BLIND_NAMED]
        ]  # fmt: skip
        columns = (tr("Machine"), tr("Short name"), tr("Blind points"), tr("State"), tr("Why"))
        story.append(paper.table(columns, rows, (25, 16, 10, 14, 45)))
    return story


def _history(facts: ShiftFacts, zone: str) -> list[Flowable]:
    story = [paper.heading(tr("What happened"))]
    if not facts.happened:
        return [*story, paper.line(tr("Nothing happened to any case."))]
    titles = {condition.machine: condition.title for condition in facts.conditions}
    rows = [
        (
            words.clock(one.at_us, zone), titles.get(one.machine, one.machine), f"{one.case_id}",
            event_words(one.kind), "" if one.actor == "site" else one.actor, sentences.told(one.actor, one.text),
        )
        for one in facts.happened
    ]  # fmt: skip
    columns = (tr("At"), tr("Machine"), tr("Case"), tr("What"), tr("Who"), tr("In words"))
    return [*story, paper.table(columns, rows, (8, 20, 6, 17, 13, 46))]


def _orders(facts: ShiftFacts) -> list[Flowable]:
    if not facts.orders:
        return []
    rows = [(order.number, order.machine, order.due_date, order.created_by, order.text) for order in facts.orders]
    columns = (tr("Number"), tr("Machine"), tr("Due"), tr("Who"), tr("What is to be done"))
    return [paper.heading(tr("Work orders")), paper.table(columns, rows, (14, 16, 12, 14, 44))]


def _gateways(facts: ShiftFacts) -> list[Flowable]:
    story = [paper.heading(tr("Gateways"))]
    if not facts.plant.gateways:
        return [*story, paper.line(tr("No gateway has joined this site."))]
    rows = [
        (
            found.gateway, tr("online") if found.online else tr("away"),
            words.NOT_KNOWN if found.last_seen_us is None
            else words.age((facts.until_us - found.last_seen_us) / 1e6),
            str(found.release_version), str(found.status.get("outbox_pending", words.NOT_KNOWN)),
        )
        for found in facts.plant.gateways
    ]  # fmt: skip
    columns = (tr("Gateway"), tr("State"), tr("Last seen"), tr("Release"), tr("Records that wait"))
    story.append(paper.table(columns, rows, (25, 15, 20, 15, 25)))
    if facts.lost:
        story.append(paper.line(tr("Gateways gave up {count} records in this time; each says why.", count=facts.lost)))
    return story


def _learning(facts: ShiftFacts) -> list[Flowable]:
    story = [paper.heading(tr("Learning"))]
    if not facts.rounds:
        return [*story, paper.line(tr("No round of learning was started in this time."))]
    rows = [
        (f"{one.round_id} ({one.level})", one.state, f"{one.accepted} / {one.invited}", str(one.rejected), one.text)
        for one in facts.rounds
    ]
    columns = (tr("Round"), tr("State"), tr("Accepted"), tr("Rejected"), tr("Remark"))
    return [*story, paper.table(columns, rows, (15, 13, 12, 12, 48))]
