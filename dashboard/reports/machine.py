"""This file knows the report of one machine: verdict with evidence for and against, pictures, limits, what was done."""

from dataclasses import dataclass

from dashboard import sentences, words
from dashboard.condition import Condition, judge, position
from dashboard.languages import speaking, tr
from dashboard.pages.case_desk import event_words
from dashboard.pages.live import staleness
from dashboard.pages.verdict import missing_facts
from dashboard.queries.assets import read_rows
from dashboard.queries.cases import OrderEntry, read_orders
from dashboard.queries.machine import (
    QUANTITIES,
    Bucket,
    CaseEvent,
    read_buckets,
    read_cases,
    read_events,
    read_evidence,
    read_evidence_list,
    read_span_us,
    read_verdict,
)
from dashboard.queries.plant import read_machine, read_trends
from dashboard.queries.records import CaseRecord, MachineRecord
from dashboard.reports import paper
from dashboard.reports.paper import Flowable
from dashboard.reports.pictures import Marked, spectrum_picture, trend_picture
from dashboard.runtime import Dashboard
from dashboard.zone_words import velocity_title, zone_basis
from schemas.asset_table import LimitRow
from schemas.errors import MessageRejected
from schemas.messages import Alarm, Evidence

DAY_US = 86_400_000_000
CASES, EVENTS, ORDERS = 10, 60, 20
HARMONICS_SHOWN = 6.0
_FAMILY = {"outer": "BPFO", "inner": "BPFI", "ball": "2xBSF", "cage": "FTF"}


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """Everything of one machine, as the database had it when the report was asked for."""

    machine: MachineRecord
    condition: Condition
    verdict: Alarm | None
    evidence: Evidence | None
    point: str | None
    buckets: tuple[Bucket, ...]
    cases: tuple[CaseRecord, ...]
    events: tuple[tuple[int, CaseEvent], ...]
    orders: tuple[OrderEntry, ...]
    limits: tuple[LimitRow, ...]
    until_us: int


def read_facts(board: Dashboard, name: str, *, days: float, until_us: int) -> MachineFacts | None:
    """Read what a report needs; None if the site knows no such machine."""
    with board.reader.read() as connection:
        found = read_machine(connection, name)
        if found is None:
            return None
        judged = [point.point for point in found.points if point.latest and point.latest.score is not None]
        steepest = max(read_trends(connection, judged), key=lambda trend: trend.ratios[-1], default=None)
        case_id = None if found.case is None else found.case.case_id
        verdict = None if case_id is None else read_verdict(connection, name, case_id)
        entries = read_evidence_list(connection, name)
        chosen = verdict.point if verdict is not None else steepest.point if steepest is not None else None
        chosen = chosen or next((point.point for point in found.points), None)
        buckets: list[Bucket] = []
        if chosen is not None and read_span_us(connection, chosen) is not None:
            buckets = read_buckets(connection, chosen, since_us=until_us - round(days * DAY_US), until_us=until_us)
        cases = read_cases(connection, name)[:CASES]
        events = [(case.case_id, event) for case in cases for event in read_events(connection, case.case_id)]
        return MachineFacts(
            machine=found, condition=judge(found, steepest, staleness(board), until_us), verdict=verdict,
            evidence=read_evidence(connection, entries[0]) if entries else None, point=chosen, buckets=tuple(buckets),
            cases=tuple(cases), events=tuple(events[:EVENTS]),
            orders=tuple(read_orders(connection, machine_name=name)[:ORDERS]),
            limits=tuple(row for row in read_rows(connection, "limits", LimitRow) if row.machine == name),
            until_us=until_us,
        )  # fmt: skip


def machine_report(
    board: Dashboard, name: str, *, days: float, until_us: int, language: str, zone: str
) -> bytes | None:
    """Print the report of a machine; None if the site knows no such machine."""
    with speaking(language):
        facts = read_facts(board, name, days=days, until_us=until_us)
        if facts is None:
            return None
        at = words.moment(until_us, zone)
        titled = paper.Titled(
            tr("Machine report"), board.settings.title, f"{facts.condition.title} ({name})",
            tr("As of {at}; all times in {zone}", at=at, zone=zone),
        )  # fmt: skip
        story = [
            *_verdict(facts), *_trends(facts, zone), *_spectra(facts), *_limits(facts), *_nameplate(facts),
            *_work(facts, zone),
        ]  # fmt: skip
        return paper.print_report(titled, story)


def _verdict(facts: MachineFacts) -> list[Flowable]:
    condition, verdict = facts.condition, facts.verdict
    story = [paper.heading(tr("Verdict")), paper.marked(condition.level.name, condition.level.said, condition.reason)]
    if condition.stale:
        story.append(
            paper.line(tr("Stale: what follows is the past; the state of this machine is not known."), bold=True)
        )
    story += [paper.line(detail, grey=True) for detail in condition.details]
    diagnosis = verdict.diagnosis if verdict is not None else condition.case.diagnosis if condition.case else ()
    if diagnosis:
        causes = " · ".join(f"{words.cause(item.label)} {words.confidence(item.confidence)}" for item in diagnosis[:4])
        story.append(paper.line(tr("Cause, by confidence:") + " " + causes, bold=True))
    remaining = condition.remaining_life
    if remaining is not None and remaining.life is not None:
        how_long = words.remaining_life(remaining.life)
        story.append(paper.line(f"{how_long[0].upper()}{how_long[1:]}: {sentences.said(remaining.basis)}"))
    elif remaining is not None:
        why_not = sentences.said(remaining.basis)
        story.append(paper.line(tr("How long it may last cannot be said: {basis}", basis=why_not), grey=True))
    if verdict is not None:
        for title, speaks_for in ((tr("Speaks for it"), True), (tr("Speaks against it"), False)):
            said = [sentences.said(finding.text) for finding in verdict.findings if finding.speaks_for == speaks_for]
            story.append(paper.line(title, bold=True))
            story += [paper.line(f"· {sentence}") for sentence in said] or [
                paper.line(tr("nothing was said"), grey=True)
            ]
    missing = missing_facts(facts.machine)
    if missing:
        story.append(paper.line(tr("Would make it surer"), bold=True))
        story += [paper.line(f"· {fact}") for fact in missing]
    return story


def _trends(facts: MachineFacts, zone: str) -> list[Flowable]:
    story = [paper.heading(tr("Trends"))]
    if facts.point is None or len(facts.buckets) < 2:
        return [*story, paper.line(tr("No captures in this time."))]
    story.append(paper.line(tr("Point {point}", point=facts.point), grey=True))
    at_us = [bucket.last_us for bucket in facts.buckets]
    none: list[float | None] = [None] * len(at_us)
    speeds = [rpm for bucket in facts.buckets if (rpm := bucket.lowest[QUANTITIES.index("rpm")])]
    lowest_rpm = min(speeds, default=None)
    for quantity, title, unit in (
        ("score", tr("Anomaly score, dashed its limit"), ""),
        ("velocity_rms_mm_s", velocity_title(facts.machine.nameplate, lowest_rpm=lowest_rpm), "mm/s RMS"),
        ("envelope_rms_g", tr("Envelope"), "gE RMS"),
    ):
        values = [bucket.highest[QUANTITIES.index(quantity)] for bucket in facts.buckets]
        if not any(value is not None for value in values):
            story.append(paper.line(tr("{title}: not measured in this time", title=title), grey=True))
            continue
        limit = none
        if quantity == "score":
            limit = [bucket.highest[QUANTITIES.index("score_limit")] for bucket in facts.buckets]
        story += [trend_picture(title, at_us, values, limit, unit=unit, zone=zone), paper.gap(2)]
    return story


def _spectra(facts: MachineFacts) -> list[Flowable]:
    story = [paper.heading(tr("Spectra"))]
    found = facts.evidence
    if found is None:
        return [*story, paper.line(tr("No spectra have been sent. Raw signals stay on the gateway."))]
    speed = tr("speed not known") if found.rpm is None else f"{found.rpm:.0f} rpm"
    story.append(paper.line(f"{found.point}, {speed}, {sentences.said(found.why)}", grey=True))
    label = facts.verdict.diagnosis[0].label if facts.verdict is not None and facts.verdict.diagnosis else ""
    family = _FAMILY.get(label, "")
    lines = [line for line in found.fault_lines if line.name == family and line.frequency_hz > 0.0]
    marks = [
        Marked(line.name if number == 1 else f"{number}x", number * (line.found_hz or line.frequency_hz))
        for line in lines for number in range(1, 7)
    ]  # fmt: skip
    bearing = [line.frequency_hz for line in found.fault_lines if line.name in {*_FAMILY.values(), "BSF"}]
    low_hz, high_hz = found.envelope_band_hz
    title = tr("Envelope spectrum, {low} to {high} Hz demodulated", low=f"{low_hz:.0f}", high=f"{high_hz:.0f}")
    try:
        story.append(
            spectrum_picture(
                title, found.envelope.start, found.envelope.step, found.envelope.unpack(), marks,
                unit=_peak_unit(found.envelope.value_unit, envelope=True),
                up_to_hz=HARMONICS_SHOWN * max(bearing) if bearing else None,
            )
        )  # fmt: skip
        story.append(
            spectrum_picture(tr("Spectrum"), found.spectrum.start, found.spectrum.step, found.spectrum.unpack(), (),
                             unit=_peak_unit(found.spectrum.value_unit))
        )  # fmt: skip
    except MessageRejected as problem:
        story.append(paper.line(tr("The spectra of this capture are damaged: {problem}", problem=str(problem))))
    return story


def _peak_unit(unit: str, *, envelope: bool = False) -> str:
    """Lines of spectra are peak amplitudes; the trade writes acceleration of an envelope as gE."""
    if unit != "g":
        return unit
    return tr("gE peak") if envelope else tr("g peak")


def _limits(facts: MachineFacts) -> list[Flowable]:
    story = [paper.heading(tr("Limits, and on what they rest"))]
    plate = facts.machine.nameplate
    basis = tr("no zones: the nameplate is not known") if plate is None else zone_basis(plate, with_numbers=True)
    rows: list[tuple[str, str, str]] = [(tr("Velocity zones"), basis, tr("standard and nameplate"))]
    rows += [
        (
            tr("Score at {point}", point=position(point.point)), words.number(point.latest.limit),
            tr("learnt from this machine's healthy captures; release {version}", version=point.latest.model_version),
        )
        for point in facts.machine.points if point.latest is not None and point.latest.limit is not None
    ]  # fmt: skip
    rows += [
        (
            f"{row.quantity} · {row.applies_to}",
            f"{tr('Alert')} {words.number(row.alert)}, {tr('Danger')} {words.number(row.danger)} {row.unit}",
            row.source,
        )
        for row in facts.limits
    ]  # fmt: skip
    return [*story, paper.table((tr("Limit"), tr("Value"), tr("Source")), rows, (28, 40, 32))]


def _nameplate(facts: MachineFacts) -> list[Flowable]:
    story = [paper.heading(tr("Nameplate"))]
    plate = facts.machine.nameplate
    if plate is None:
        return [*story, paper.line(tr("not known"))]
    bearing = plate.bearing
    size = ""
    if bearing is not None and bearing.elements and bearing.ball_diameter_mm and bearing.pitch_diameter_mm:
        size = f" ({bearing.elements} × {bearing.ball_diameter_mm:g} mm / {bearing.pitch_diameter_mm:g} mm)"
    rows = [
        (tr("Criticality"), f"{facts.machine.criticality} / 5"), (tr("Power"), words.number(plate.power_kw, "kW")),
        (tr("Foundation"), plate.foundation or words.NOT_KNOWN), (tr("Kind"), plate.kind),
        (tr("Speed"), words.number(plate.rpm, "rpm", 4)),
        (tr("Bearing"), words.NOT_KNOWN if bearing is None else f"{bearing.name or ''}{size}"),
        (tr("Gear teeth"), words.NOT_KNOWN if plate.gear_teeth is None else str(plate.gear_teeth)),
    ]  # fmt: skip
    return [*story, paper.table((tr("What"), tr("Value")), rows, (30, 70))]


def _work(facts: MachineFacts, zone: str) -> list[Flowable]:
    story = [paper.heading(tr("What was done"))]
    if not facts.events:
        return [*story, paper.line(tr("This machine has never had a case."))]
    rows = [
        (
            words.moment(event.at_us, zone), str(case_id), event_words(event.kind),
            "" if event.actor == "site" else event.actor, sentences.told(event.actor, event.text),
        )
        for case_id, event in facts.events
    ]  # fmt: skip
    columns = (tr("At"), tr("Case"), tr("What"), tr("Who"), tr("In words"))
    story.append(paper.table(columns, rows, (24, 7, 16, 14, 39)))
    if facts.orders:
        rows_of_orders = [(one.number, one.due_date, one.created_by, one.text) for one in facts.orders]
        story += [
            paper.gap(), paper.line(tr("Work orders"), bold=True),
            paper.table(
                (tr("Number"), tr("Due"), tr("Who"), tr("What is to be done")), rows_of_orders, (16, 14, 16, 54)
            ),
        ]  # fmt: skip
    return story
