"""This file knows how a person works on a case: acknowledge, note and the rest, and what became of each request."""

from collections.abc import Callable, Sequence

import streamlit as st

from dashboard import runtime, words
from dashboard.errors import DatabaseUnavailable, RequestNotWritten
from dashboard.pages.login import recognised_visitor
from dashboard.pages.notice import show_notice
from dashboard.queries.machine import CaseEvent
from dashboard.queries.records import CaseRecord, MachineRecord
from dashboard.request_writer import Asked
from dashboard.runtime import Dashboard
from schemas.requests import Action

PATIENCE_S = 15.0  # the site service looks twice a second; longer silence means that it does not run
MAX_NOTE = 2000
_OTHERS: dict[Action, str] = {
    "note": "Add a note",
    "request_evidence": "Ask the gateway for new spectra",
    "maintenance": "Record maintenance (learns anew, closes the case)",
    "label": "Say what it really was",
    "close": "Close the case",
}
_LABELS = (
    "healthy", "outer", "inner", "ball", "cage", "imbalance", "misalignment", "looseness", "gear", "electrical",
    "unknown",
)  # fmt: skip
_CASELESS: tuple[Action, ...] = ("request_evidence", "maintenance")


def show_case_desk(
    board: Dashboard,
    machine: MachineRecord,
    cases: Sequence[CaseRecord],
    events: Sequence[CaseEvent],
    *,
    forget: Callable[[], None],
) -> None:
    """Show the open case with its actions and its history.

    Args:
        board: The dashboard.
        machine: Whose case it is.
        cases: All known ones of the machine, newest first.
        events: The history of the open case, newest first.
        forget: Called after an action, so that the page reads anew.
    """
    with st.container(border=True):
        case = machine.case
        st.subheader("Case" if case is None else f"Case {case.case_id}")
        if case is None:
            st.markdown("No open case.")
        else:
            _show_standing(case)
            _acknowledge_form(board, machine, case, forget)
        st.fragment(_followed, run_every=board.settings.live.refresh_s)(
            machine.machine, None if case is None else case.state
        )
        _other_actions(board, machine, case, forget)
        _history(events, [found for found in cases if case is None or found.case_id != case.case_id])


def _show_standing(case: CaseRecord) -> None:
    zone = st.context.timezone
    opened = words.moment(case.opened_at_us, zone)
    if case.state == "acknowledged":
        st.markdown(f"Open since {opened}, acknowledged by **{words.plain(case.acknowledged_by or 'somebody')}**.")
    else:
        st.markdown(f"Open since {opened}, **nobody has acknowledged it**.")


def _acknowledge_form(board: Dashboard, machine: MachineRecord, case: CaseRecord, forget: Callable[[], None]) -> None:
    if case.state == "acknowledged":
        return
    with st.form(f"acknowledge:{case.case_id}", border=False):
        st.text_area(
            "Note", key=f"ack_note:{case.case_id}", max_chars=MAX_NOTE, height=80,
            placeholder="What you will do about it, and when",
        )  # fmt: skip
        pressed = st.form_submit_button(f"Acknowledge case {case.case_id}", type="primary")
    if pressed:
        note = str(st.session_state.get(f"ack_note:{case.case_id}") or "")
        _ask(board, "acknowledge", machine.machine, case.case_id, note, "", forget)


def _other_actions(
    board: Dashboard, machine: MachineRecord, case: CaseRecord | None, forget: Callable[[], None]
) -> None:
    choices = list(_OTHERS) if case is not None else list(_CASELESS)
    number = None if case is None else case.case_id
    with st.expander("Other actions"):
        action = st.selectbox(
            "Action", choices, format_func=lambda chosen: _OTHERS[chosen], key=f"action:{machine.machine}:{number}"
        )
        with st.form(f"other:{machine.machine}:{number}", border=False, clear_on_submit=True):
            label = ""
            if action == "label":
                label = st.selectbox("Cause", _LABELS, format_func=words.cause)
            note = st.text_area("Note", key=f"other_note:{machine.machine}:{number}", max_chars=MAX_NOTE, height=80)
            pressed = st.form_submit_button("Ask for it")
        if pressed and action is not None:
            _ask(board, action, machine.machine, number, note, label, forget)


def _ask(
    board: Dashboard,
    action: Action,
    machine: str,
    case_id: int | None,
    note: str,
    label: str,
    forget: Callable[[], None],
) -> None:
    visitor = recognised_visitor(board)
    if visitor is None:
        show_notice("Your session is over; sign in again. Nothing was asked.")
        return
    try:
        board.writer.ask(action, visitor, machine, case_id=case_id, note=note, label=label)
    except RequestNotWritten as problem:
        show_notice(f"Nothing was asked: {words.plain(str(problem))}")
        return
    forget()
    st.rerun()


def request_words(asked: Asked, now_us: int, zone: str | None) -> str:
    """Say what became of one request."""
    request = asked.request
    what = f"{request.action.replace('_', ' ')} by {words.plain(request.actor)}"
    if asked.state == "done":
        return f"✓ {what}: done at {words.moment(asked.answered_at_us, zone)} ({words.plain(asked.answer)})"
    if asked.state == "refused":
        return f"✕ {what}: **refused**: {words.plain(asked.answer)}"
    if asked.state == "sent":
        return f"… {what}: sent to the gateway, which has not answered yet ({words.plain(asked.answer)})"
    waiting_s = (now_us - request.asked_at_us) / 1e6
    if waiting_s > PATIENCE_S:
        return (
            f"… {what}: sent {words.age(waiting_s)}, but the site service has not taken it up. "
            "Does `aggregator run` run? Is this dashboard's key on the site's list?"
        )
    return f"… {what}: sent to the site service"


def _followed(machine: str, shown_state: str | None) -> None:
    board = runtime.current()
    try:
        with board.reader.read() as connection:
            asked = board.writer.follow(connection, machine)[:5]
    except DatabaseUnavailable as problem:
        st.caption(f"What became of requests is not known: {words.plain(problem.detail)}")
        return
    zone = st.context.timezone
    for entry in asked:
        st.markdown(request_words(entry, board.now_us(), zone))
    answered = [entry for entry in asked if entry.state == "done" and entry.request.action == "acknowledge"]
    if answered and shown_state == "open" and st.button("Show the case as it is now", key="case_again"):
        st.session_state.pop("machine_snapshot", None)
        st.rerun()


def _history(events: Sequence[CaseEvent], earlier: Sequence[CaseRecord]) -> None:
    zone = st.context.timezone
    if events:
        with st.expander(f"History of this case ({len(events)})", expanded=len(events) <= 4):
            for event in events:
                who = "" if event.actor == "site" else f" by **{words.plain(event.actor)}**"
                st.markdown(
                    f"{words.moment(event.at_us, zone)} · {words.plain(event.kind)}{who}  \n{words.plain(event.text)}"
                )
    if earlier:
        with st.expander(f"Earlier cases ({len(earlier)})"):
            for case in earlier:
                opened = words.moment(case.opened_at_us, zone)
                st.markdown(f"{opened} · case {case.case_id}, {case.state}  \n{words.plain(case.title)}")
