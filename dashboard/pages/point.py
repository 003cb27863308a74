"""This file knows the bench of one measurement point: does the signal support the verdict?

What is shown is a capture that stands still. The address names it, what it is compared with, the demodulated band and
the view, so that a link shows a colleague the same.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st
from sqlalchemy.engine import Connection

from dashboard import runtime, words
from dashboard.analysis import Analysis, analyse, fault_lines_at
from dashboard.components.chart import Line, Spectrum, Tools, show_chart, waterfall_data, waveform_data
from dashboard.condition import position
from dashboard.errors import DatabaseUnavailable
from dashboard.languages import tr
from dashboard.pages.addresses import machine_address, point_address
from dashboard.pages.bench_controls import (
    BASELINE,
    axis_choice,
    band_choice,
    bearing_choice,
    compare_choice,
    parse_band,
    speed_choice,
)
from dashboard.pages.capture_quality import show_quality
from dashboard.pages.cross_phase import show_phases
from dashboard.pages.evidence_request import TOLD, arrived_for, request_words, show_request, wanted_reason
from dashboard.pages.explaining import explain_unavailable
from dashboard.pages.links import link, show_row
from dashboard.pages.live import point_titles
from dashboard.pages.notice import show_notice
from dashboard.pages.spectra import (
    Compared,
    Seen,
    capture_words,
    cursors,
    damaged_words,
    entry_words,
    envelope_chart,
    family_of,
    opens_at_hz,
    show_lines,
    spectrum_chart,
)
from dashboard.queries.assets import read_rows
from dashboard.queries.machine import EvidenceEntry, read_entry, read_verdict
from dashboard.queries.plant import read_gateways, read_machine
from dashboard.queries.point import (
    WATERFALL,
    Explained,
    NamedCapture,
    newest_evidence,
    read_arrived,
    read_capture_before,
    read_explained,
    read_judgement,
    read_many,
    read_point_evidence,
)
from dashboard.queries.records import LatestHealth, MachineRecord, PointRecord
from dashboard.runtime import Dashboard
from schemas.asset_table import BearingRow
from schemas.errors import MessageRejected
from schemas.messages import Alarm, Evidence
from schemas.names import machine_of
from vibration.errors import VibrationError

FOLLOW = "bench_follow"
KNOWN = "bench_known"  # the newest capture when the page was opened, or somebody asked for a newer one
CHARTS = ("envelope", "spectrum", "waveform", "waterfall")


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything the page shows of one capture."""

    machine: MachineRecord
    point: PointRecord
    entries: tuple[EvidenceEntry, ...]
    entry: EvidenceEntry
    evidence: Evidence | None
    judged: LatestHealth | None
    explained: Explained | None
    verdict: Alarm | None
    bearings: Sequence[BearingRow] = ()
    before: NamedCapture | None = None


def show_point() -> None:
    """Show the point named in the address."""
    board = runtime.current()
    name = st.query_params.get("point", "")
    try:
        with board.reader.read() as connection:
            machine = read_machine(connection, machine_of(name)) if "/" in name else None
            point = next((p for p in machine.points if p.point == name), None) if machine else None
            if machine is None or point is None:
                _choose(board, name)
                return
            entries = _with_named(connection, name, read_point_evidence(connection, name))
    except DatabaseUnavailable as problem:
        explain_unavailable(problem, shown_url=board.reader.shown_url)
        return
    _head(machine, point)
    if not entries:
        _show_nothing_sent(board, point)
        return
    entry = _chosen_entry(entries)
    _navigation(entries, entry)
    known: str = st.session_state.setdefault(f"{KNOWN}:{name}", entries[0].name)
    st.fragment(_freshness, run_every=board.settings.live.refresh_s)(name, entry.name, known)
    try:
        _show(board, _read(board, machine, point, entries, entry))
    except DatabaseUnavailable as problem:
        show_notice(tr("The evidence cannot be read now: {problem}", problem=words.plain(problem.detail)))


def _with_named(
    connection: Connection, point: str, newest: Sequence[EvidenceEntry]
) -> tuple[EvidenceEntry, ...]:  # fmt: skip
    """The newest pieces of evidence, and those that the address names beside, newest first."""
    known = {entry.name for entry in newest}
    named = {st.query_params.get("capture", ""), st.query_params.get("with", "")} - known
    found = [entry for name in named if (entry := read_entry(connection, name)) is not None and entry.point == point]
    return tuple(sorted([*newest, *found], key=lambda entry: -entry.measured_at_us))


def parse_look(text: str | None) -> tuple[str, tuple[float, float]] | None:
    """Read `envelope:80-100` out of an address; None where it names no chart or no range."""
    chart, _, span = (text or "").partition(":")
    band = parse_band(span)
    return None if band is None or chart not in CHARTS else (chart, band)


def _choose(board: Dashboard, name: str) -> None:
    st.header(tr("Which measurement point?"))
    if name:
        st.markdown(tr("No measurement point is called {name} here.", name=words.plain(name)))
    titles = point_titles(board)
    if not titles:
        st.markdown(tr("No measurement point has reported yet."))
        return
    chosen = st.selectbox(
        tr("Point"), list(titles), format_func=lambda key: titles[key], index=None, placeholder=tr("Choose")
    )
    if chosen:
        st.query_params.from_dict({"point": chosen})
        st.rerun()


def _head(machine: MachineRecord, point: PointRecord) -> None:
    st.header(f"{words.plain(machine.title or machine.machine)}, {words.plain(position(point.point))}")
    others = [other for other in machine.points if other.point != point.point]
    show_row(
        [
            link(f"← {tr('Verdict of the machine')}", machine_address(machine.machine)),
            *(link(position(other.point), point_address(other.point)) for other in others),
        ]
    )


def _show_nothing_sent(board: Dashboard, point: PointRecord) -> None:
    show_notice(
        tr(
            "Only features of this point are here: no spectra have been sent. Raw signals stay on the gateway until "
            "somebody asks."
        )
    )
    show_request(board, point.point)
    st.fragment(_freshness, run_every=board.settings.live.refresh_s)(point.point, "", "")


def _chosen_entry(entries: Sequence[EvidenceEntry]) -> EvidenceEntry:
    wanted = st.query_params.get("capture")
    if st.session_state.get(FOLLOW):
        wanted = entries[0].name
    entry = next((found for found in entries if found.name == wanted), None)
    if entry is None and wanted:
        show_notice(tr("The capture of this link is not here any more; the newest is shown."))
    entry = entry or entries[0]
    st.query_params["capture"] = entry.name
    return entry


def _go(entry: EvidenceEntry) -> None:
    st.query_params["capture"] = entry.name
    st.session_state.pop(f"{KNOWN}:{entry.point}", None)
    for name in ("look", "band", "axis"):
        st.query_params.pop(name, None)


def _navigation(entries: Sequence[EvidenceEntry], entry: EvidenceEntry) -> None:
    at = entries.index(entry)
    by_name = {found.name: found for found in entries}
    st.session_state["bench_capture"] = entry.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button(
            f"◀ {tr('Previous')}", disabled=at + 1 >= len(entries), on_click=_go,
            args=(entries[min(at + 1, len(entries) - 1)],),
        )  # fmt: skip
        st.button(f"{tr('Next')} ▶", disabled=at == 0, on_click=_go, args=(entries[max(at - 1, 0)],))
        st.button(tr("Latest"), disabled=at == 0, on_click=_go, args=(entries[0],))
        st.toggle(tr("Follow new captures"), key=FOLLOW)
    st.selectbox(
        tr("Capture"), list(by_name), key="bench_capture", format_func=lambda name: entry_words(by_name[name]),
        on_change=lambda: _go(by_name[st.session_state["bench_capture"]]),
    )  # fmt: skip


def _freshness(point: str, shown: str, newest_known: str) -> None:
    """Say that there is a newer capture, and what became of requests; a capture that is followed is shown at once."""
    board = runtime.current()
    zone, now_us = st.context.timezone, board.now_us()
    try:
        with board.reader.read() as connection:
            newest = newest_evidence(connection, point)
            asked = [
                found for found in board.writer.follow(connection, machine_of(point))
                if found.request.action == "request_evidence" and found.request.point in {None, point}
            ][:TOLD]  # fmt: skip
            gateways = {found.gateway: found for found in read_gateways(connection)} if asked else {}
            machine = read_machine(connection, machine_of(point)) if asked else None
            entries = read_arrived(connection, point, [wanted_reason(one) for one in asked]) if asked else []
    except DatabaseUnavailable as problem:
        st.caption(tr("Newer data is not known of: {problem}", problem=words.plain(problem.detail)))
        return
    source = next((p.gateway for p in machine.points if p.point == point), "") if machine else ""
    for entry in asked:
        st.markdown(request_words(entry, entries, gateways.get(source), now_us=now_us, zone=zone))
        arrived = arrived_for(entry, entries) if entry.state == "done" else None
        if arrived is not None and arrived.name != shown:
            label = tr("Show the capture of {moment}", moment=words.moment(arrived.measured_at_us, zone))
            if st.button(label, key=f"show_arrived:{entry.request.request_id}"):
                _go(arrived)
                st.rerun()
    if newest is None or newest.name == newest_known:
        return
    if st.session_state.get(FOLLOW):
        st.session_state.pop(f"{KNOWN}:{point}", None)
        st.rerun()
    age = words.age((now_us - newest.measured_at_us) / 1e6)
    if st.button(tr("New data available, measured {age}: show it", age=age), key="show_new", icon=":material/refresh:"):
        _go(newest)
        st.rerun()
    if shown:
        st.caption(tr("What you see stands still until then."))


def _read(
    board: Dashboard, machine: MachineRecord, point: PointRecord, entries: tuple[EvidenceEntry, ...],
    entry: EvidenceEntry,
) -> Bench:  # fmt: skip
    with board.reader.read() as connection:
        found = read_many(connection, [entry])
        case_id = None if machine.case is None else machine.case.case_id
        return Bench(
            machine=machine, point=point, entries=entries, entry=entry, evidence=found[0][1] if found else None,
            judged=read_judgement(connection, point.point, entry.measured_at_us),
            explained=read_explained(connection, machine.machine, point.point, until_us=entry.measured_at_us),
            verdict=read_verdict(connection, machine.machine, case_id) if case_id is not None else None,
            bearings=read_rows(connection, "bearings", BearingRow),
            before=read_capture_before(connection, point.point, entry.measured_at_us),
        )  # fmt: skip


def _show(board: Dashboard, bench: Bench) -> None:
    evidence = bench.evidence
    if evidence is None:
        show_notice(tr("This evidence is gone or cannot be read; choose another capture."))
        return
    try:
        plain = analyse(evidence)
        left, middle, right = st.columns([3, 3, 2], gap="medium")
        below, beside, _ = st.columns([3, 3, 2], gap="medium")
        plate = bench.machine.nameplate
        with below:
            axis = axis_choice(plain)
        with beside:
            orders, instead = bearing_choice(plate.bearing if plate else None, bench.bearings)
        plain = plain if axis == plain.axis else analyse(evidence, axis=axis)
        with left:
            compared_name = compare_choice(bench.entries, bench.entry, evidence)
        with middle:
            band_hz = band_choice(plain)
        with right:
            rpm = speed_choice(evidence)
        analysis = plain if band_hz in {None, plain.band_hz} else analyse(evidence, band_hz=band_hz, axis=axis)
        compared = _compared(board, bench, compared_name, analysis)
    except (MessageRejected, VibrationError) as problem:
        show_notice(damaged_words(problem))
        return
    lines = fault_lines_at(evidence, analysis.envelope, rpm=rpm, orders=orders, instead=instead)
    label = bench.verdict.diagnosis[0].label if bench.verdict and bench.verdict.diagnosis else ""
    seen = Seen(
        analysis, lines, rpm, family_of(label), compared=compared,
        contributions=bench.explained.contributions if bench.explained else (), tools=_tools(bench),
    )  # fmt: skip
    st.caption(_said_of(bench, seen))
    key = bench.point.point
    show_chart(envelope_chart(seen, view_key=f"bench:envelope:{key}"))
    show_chart(spectrum_chart(seen, view_key=f"bench:spectrum:{key}"))
    show_lines(lines)
    _show_waveform(seen, key)
    _show_waterfall(board, bench, seen)
    show_phases(evidence, rpm=rpm)
    show_quality(analysis, bench.judged, rpm=rpm, before=bench.before)
    show_request(board, bench.point.point, evidence)


def _said_of(bench: Bench, seen: Seen) -> str:
    parts = [capture_words(seen)]
    if bench.judged is not None and bench.judged.score is not None and bench.judged.limit:
        parts.append(tr("score {times} times its limit", times=f"{bench.judged.times_limit:.1f}"))
    if seen.compared is not None:
        parts.append(tr("compared with {name}", name=words.plain(seen.compared.name)))
    if bench.explained is not None and bench.explained.measured_at_us != bench.entry.measured_at_us:
        moment = words.moment(bench.explained.measured_at_us, st.context.timezone)
        parts.append(tr("contributions of the alarm of {moment}", moment=moment))
    return " · ".join(parts)


def _tools(bench: Bench) -> dict[str, Tools]:
    look = parse_look(st.query_params.get("look"))
    stem = f"{bench.point.point.replace('/', '_')}_{words.file_moment(bench.entry.measured_at_us)}"
    return {
        chart: Tools(chart, f"{stem}_{chart}", look[1] if look is not None and look[0] == chart else None)
        for chart in CHARTS
    }


def _compared(board: Dashboard, bench: Bench, name: str, analysis: Analysis) -> Compared | None:
    if name == BASELINE:
        return Compared(tr("Healthy baseline"), analysis.baseline, None, is_baseline=True)
    entry = next((found for found in bench.entries if found.name == name), None)
    if entry is None:
        return None
    with board.reader.read() as connection:
        found = read_many(connection, [entry])
    if not found:
        show_notice(tr("The capture to compare with cannot be read; choose another one."))
        return None
    other = analyse(
        found[0][1], band_hz=analysis.band_hz if found[0][1].waveform is not None else None, axis=analysis.axis
    )  # fmt: skip
    if other.axis != analysis.axis:
        st.caption(tr("The other capture shows axis {number}: of this one it has no samples.", number=other.axis + 1))
    if analysis.recomputed and not other.recomputed:
        st.caption(tr("The other capture has no waveform: its spectra are those its gateway sent."))
    return Compared(words.moment(entry.measured_at_us, st.context.timezone), other.spectrum, other.envelope)


def _show_waveform(seen: Seen, point: str) -> None:
    wave = seen.analysis.waveform
    if wave is None:
        st.caption(tr("No waveform: it stays on the gateway until somebody requests it (below)."))
        return
    show_chart(
        waveform_data(
            view_key=f"bench:waveform:{point}", title=tr("Waveform"), line=Line(wave.samples_g),
            step_s=1.0 / wave.sample_rate_hz, unit="g", shaft_hz=seen.shaft_hz,
            tools=None if seen.tools is None else seen.tools["waveform"],
        )
    )  # fmt: skip


def _show_waterfall(board: Dashboard, bench: Bench, seen: Seen) -> None:
    """Show the envelopes the gateway sent, of this capture and those before, one below the other."""
    earlier = [entry for entry in bench.entries if entry.measured_at_us <= bench.entry.measured_at_us][:WATERFALL]
    if len(earlier) < 2:
        st.caption(tr("A waterfall needs two captures; there is one."))
        return
    with board.reader.read() as connection:
        found = read_many(connection, earlier)
    lines, others = _rows(found, st.context.timezone)
    if len(lines) < 2:
        st.caption(tr("A waterfall needs two captures; there is one."))
        return
    grid = found[0][1].envelope
    show_chart(
        waterfall_data(
            view_key=f"bench:waterfall:{bench.point.point}",
            title=tr("Waterfall of envelope spectra, the last {count} captures", count=len(lines)),
            shown=Spectrum(
                start_hz=grid.start, step_hz=grid.step, lines=lines, unit=tr("gE peak"), label=tr("amplitude"),
                cursors=cursors(seen.lines, shown=frozenset({seen.family or "1x"})), shaft_hz=seen.shaft_hz,
                first_view_hz=opens_at_hz(seen.lines), tools=None if seen.tools is None else seen.tools["waterfall"],
            ),
        )
    )  # fmt: skip
    if others:
        st.caption(tr("Left out, of another resolution or not readable: {count}", count=others))


def _rows(found: Sequence[tuple[EvidenceEntry, Evidence]], zone: str | None) -> tuple[list[Line], int]:
    """The envelopes that share the first one's lines, and how many do not or cannot be read."""
    lines: list[Line] = []
    for entry, evidence in found:
        grid = found[0][1].envelope
        if (evidence.envelope.start, evidence.envelope.step) != (grid.start, grid.step):
            continue
        with contextlib.suppress(MessageRejected):
            name, name_long = words.day(entry.measured_at_us, zone), words.moment(entry.measured_at_us, zone)
            lines.append(Line(evidence.envelope.unpack(), "row", name=name, name_long=name_long))
    return lines, len(found) - len(lines)
