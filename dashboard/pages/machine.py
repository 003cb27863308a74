"""This file knows the machine's page: what is wrong, how sure, since when, what speaks for and against, what was done.

The analysis is a snapshot: it stands still while a person reads it, and says when there is newer data.
"""

from dataclasses import dataclass

import streamlit as st
from sqlalchemy.engine import Connection

from dashboard import runtime, words
from dashboard.bearing_stage import bearing_signs
from dashboard.components.train_sketch import show_train
from dashboard.condition import Condition, judge
from dashboard.errors import DatabaseUnavailable
from dashboard.failure_codes import BEARING_CAUSES
from dashboard.languages import tr
from dashboard.pages.case_desk import show_case_desk
from dashboard.pages.explaining import explain_unavailable
from dashboard.pages.live import machine_titles, staleness
from dashboard.pages.notice import show_notice
from dashboard.pages.outlook import Outlook
from dashboard.pages.spectra import family_of, show_spectra
from dashboard.pages.trends import show_trends
from dashboard.pages.verdict import show_points, show_verdict
from dashboard.queries.cases import read_similar
from dashboard.queries.machine import (
    CaseEvent,
    EvidenceEntry,
    count_newer,
    read_cases,
    read_events,
    read_evidence,
    read_evidence_list,
    read_verdict,
)
from dashboard.queries.plant import read_machine, read_trends
from dashboard.queries.point import newest_evidence
from dashboard.queries.records import CaseRecord, MachineRecord
from dashboard.runtime import Dashboard
from schemas.errors import MessageRejected
from schemas.messages import Alarm

_KEPT = "machine_snapshot"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the page shows of one machine, of one moment."""

    machine: MachineRecord
    condition: Condition
    verdict: Alarm | None
    cases: tuple[CaseRecord, ...]
    events: tuple[CaseEvent, ...]
    evidence: tuple[EvidenceEntry, ...]
    outlook: Outlook
    taken_us: int


def show_machine() -> None:
    """Show the machine named in the address."""
    board = runtime.current()
    name = st.query_params.get("machine")
    try:
        if not name:
            _choose(board)
            return
        snapshot = _snapshot(board, name)
    except DatabaseUnavailable as problem:
        explain_unavailable(problem, shown_url=board.reader.shown_url)
        return
    if snapshot is None:
        st.header(tr("This site knows no such machine"))
        st.markdown(
            tr(
                "No machine is called {name} here. It may have been renamed, or the link is of another site.",
                name=words.plain(name),
            )
        )
        return
    _show(board, snapshot)


def take_snapshot(board: Dashboard, name: str) -> Snapshot | None:
    """Read everything about a machine at one moment; None if the site does not know it.

    Raises:
        DatabaseUnavailable: The database cannot be read.
    """
    with board.reader.read() as connection:
        found = read_machine(connection, name)
        if found is None:
            return None
        judged = [point.point for point in found.points if point.latest and point.latest.score is not None]
        trends = read_trends(connection, judged)
        steepest = max(trends, key=lambda trend: trend.ratios[-1], default=None)
        case_id = None if found.case is None else found.case.case_id
        now_us = board.now_us()
        verdict = read_verdict(connection, name, case_id) if case_id is not None else None
        return Snapshot(
            machine=found,
            condition=judge(found, steepest, staleness(board), now_us),
            verdict=verdict,
            cases=tuple(read_cases(connection, name)),
            events=() if case_id is None else tuple(read_events(connection, case_id)),
            evidence=tuple(read_evidence_list(connection, name)),
            outlook=_read_outlook(connection, found, verdict),
            taken_us=now_us,
        )


def _read_outlook(connection: Connection, machine: MachineRecord, verdict: Alarm | None) -> Outlook:
    diagnosis = machine.case.diagnosis if machine.case is not None else ()
    diagnosis = verdict.diagnosis if verdict is not None and verdict.diagnosis else diagnosis
    cause = diagnosis[0].label if diagnosis and diagnosis[0].label != "unknown" else ""
    if not cause:
        return Outlook()
    kind = machine.nameplate.kind if machine.nameplate is not None else "general"
    similar = tuple(read_similar(connection, machine.machine, kind=kind, cause=cause))
    family = family_of(cause) if cause in BEARING_CAUSES else ""
    entry = newest_evidence(connection, verdict.point) if verdict is not None and family else None
    content = read_evidence(connection, entry) if entry is not None else None
    try:
        signs = bearing_signs(content, family) if content is not None else None
    except MessageRejected:  # the part with the spectra says so
        signs = None
    return Outlook(cause, signs, similar)


def _snapshot(board: Dashboard, name: str) -> Snapshot | None:
    kept = st.session_state.get(_KEPT)
    if isinstance(kept, Snapshot) and kept.machine.machine == name:
        return kept
    fresh = take_snapshot(board, name)
    st.session_state[_KEPT] = fresh
    return fresh


def _choose(board: Dashboard) -> None:
    titles = machine_titles(board)
    st.header(tr("Which machine?"))
    if not titles:
        st.markdown(tr("No machine has reported yet."))
        return
    chosen = st.selectbox(
        tr("Machine"), list(titles), format_func=lambda key: titles[key], index=None, placeholder=tr("Choose")
    )
    if chosen:
        st.query_params["machine"] = chosen
        st.rerun()


def _show(board: Dashboard, snapshot: Snapshot) -> None:
    condition, machine = snapshot.condition, snapshot.machine
    st.header(words.plain(condition.title))
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.markdown(condition.level.text, width="content")
        st.caption(f"{machine.machine} · {_facts(machine)}", width="content")
    st.fragment(_freshness, run_every=board.settings.live.refresh_s)(machine.machine, snapshot.taken_us)
    if condition.stale:
        age = tr("never") if condition.age_s is None else words.age(condition.age_s)
        show_notice(
            tr("**Stale**: last data {age}. What follows is the past; the state of this machine is not known.", age=age)
        )
    show_train(machine, staleness(board), now_us=snapshot.taken_us)
    left, right = st.columns([3, 2], gap="large")
    with left:
        show_verdict(condition, machine, snapshot.verdict, snapshot.outlook, now_us=snapshot.taken_us)
    with right:
        show_case_desk(board, snapshot.machine, snapshot.cases, snapshot.events, forget=_forget)
    show_points(machine, staleness(board), now_us=snapshot.taken_us)
    show_trends(board, machine, snapshot.cases, until_us=snapshot.taken_us)
    show_spectra(board, machine, snapshot.evidence, condition)


def _facts(machine: MachineRecord) -> str:
    parts = [tr("criticality {number} of 5", number=machine.criticality)]
    plate = machine.nameplate
    if plate is not None:
        parts += [words.number(plate.power_kw, "kW")] if plate.power_kw else []
        parts += [tr("{rpm} rpm by nameplate", rpm=f"{plate.rpm:.0f}")] if plate.rpm else []
        parts += [_foundation(plate.foundation)] if plate.foundation else []
        parts += (
            [tr("bearing {name}", name=words.plain(plate.bearing.name))] if plate.bearing and plate.bearing.name else []
        )
    return " · ".join(parts)


def _foundation(kind: str) -> str:
    return tr("rigid foundation") if kind == "rigid" else tr("flexible foundation")


def _freshness(machine_name: str, taken_us: int) -> None:
    board = runtime.current()
    age = words.age((board.now_us() - taken_us) / 1e6)
    try:
        with board.reader.read() as connection:
            points, newest_us = count_newer(connection, machine_name, received_after_us=taken_us)
    except DatabaseUnavailable as problem:
        problem_said = words.plain(problem.detail)
        st.caption(tr("Snapshot of {age}; newer data is not known of: {problem}", age=age, problem=problem_said))
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(tr("Snapshot taken {age}: it stands still while you read.", age=age), width="content")
        if points and newest_us is not None:
            when = words.age((board.now_us() - newest_us) / 1e6)
            if st.button(tr("New data {when} · show it", when=when), key="show_new", icon=":material/refresh:"):
                _forget()
                st.rerun()


def _forget() -> None:
    st.session_state.pop(_KEPT, None)
