"""This file knows how a person works on one case: acknowledge, shelve, order work, name the cause, and its history."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import streamlit as st

from dashboard import runtime, sentences, words
from dashboard.errors import DatabaseUnavailable
from dashboard.failure_codes import BEARING_CAUSES, CAUSES, MECHANISM, bearing_modes, codes_of
from dashboard.languages import tr
from dashboard.pages.asking import answer_words, ask, explain_may_not, may
from dashboard.pages.notice import show_notice
from dashboard.pages.report_buttons import offer_machine_report
from dashboard.queries.cases import AskedEntry, CaseEntry, read_entry
from dashboard.queries.machine import CaseEvent
from dashboard.queries.records import CaseRecord, MachineRecord
from dashboard.request_writer import Asked
from dashboard.runtime import Dashboard
from schemas.requests import Action

MAX_NOTE = 2000
SHELF_HOURS = (1, 2, 4, 8, 12)
DUE_DAYS = 7
_CASELESS: tuple[Action, ...] = ("work_order", "request_evidence", "maintenance")
_OF_A_CASE: tuple[Action, ...] = (
    "note", "shelve", "unshelve", "work_order", "request_evidence", "maintenance", "label", "close",
)  # fmt: skip


def show_case_desk(
    board: Dashboard,
    machine: MachineRecord,
    cases: Sequence[CaseRecord],
    events: Sequence[CaseEvent],
    *,
    forget: Callable[[], None],
) -> None:
    """Show the open case of a machine with its actions and its history.

    Args:
        board: The dashboard.
        machine: Whose case it is.
        cases: All known ones of the machine, newest first.
        events: The history of the open case, newest first.
        forget: Called after an action, so that the page reads anew.
    """
    entry = None
    if machine.case is not None:
        try:
            with board.reader.read() as connection:
                entry = read_entry(connection, machine.case.case_id)
        except DatabaseUnavailable as problem:
            show_notice(tr("The case cannot be read now: {problem}", problem=words.plain(problem.detail)))
            return
    earlier = [found for found in cases if machine.case is None or found.case_id != machine.case.case_id]
    show_case(board, machine.machine, entry, events, earlier, forget=forget)


def show_case(
    board: Dashboard, machine: str, case: CaseEntry | None, events: Sequence[CaseEvent],
    earlier: Sequence[CaseRecord], *, forget: Callable[[], None],
) -> None:  # fmt: skip
    """Show one case, or that there is none, with what can be done."""
    with st.container(border=True):
        st.subheader(tr("Case") if case is None else tr("Case {number}", number=case.case_id))
        if case is None:
            st.markdown(tr("No open case."))
        else:
            st.markdown(standing_words(case, board.now_us(), st.context.timezone))
            if case.state == "open":
                _acknowledge_form(board, case, forget)
        shown = None if case is None else case.state
        st.fragment(_followed, run_every=board.settings.live.refresh_s)(machine, shown)
        _other_actions(board, machine, case, forget)
        _history(events, earlier)
        offer_machine_report(board, machine)


def standing_words(case: CaseEntry, now_us: int, zone: str | None) -> str:
    """Say how a case stands: since when, who has it, and until when it is out of sight."""
    opened, age = words.moment(case.opened_at_us, zone), words.age((now_us - case.opened_at_us) / 1e6)
    who = words.plain(case.acknowledged_by or tr("somebody"))
    if case.state == "closed":
        said = tr("Over since {at}.", at=words.moment(case.closed_at_us, zone))
    elif case.state == "acknowledged":
        said = tr("Open since {at} ({age}), acknowledged by **{who}**.", at=opened, age=age, who=who)
    else:
        said = tr("Open since {at} ({age}), **nobody has acknowledged it**.", at=opened, age=age)
    if case.shelved_until_us is None:
        return said
    return f"{said} " + tr(
        "**On the shelf** until {until} (for {span} more) by {who}: {reason}",
        until=words.moment(case.shelved_until_us, zone),
        span=words.span(max(0.0, (case.shelved_until_us - now_us) / 1e6)),
        who=words.plain(case.shelved_by or ""), reason=words.plain(case.shelved_reason or ""),
    )  # fmt: skip


def action_words(action: str) -> str:
    """The words for an action."""
    return {
        "acknowledge": tr("Acknowledge"),
        "note": tr("Add a note"),
        "shelve": tr("Put on the shelf for some hours"),
        "unshelve": tr("Take off the shelf"),
        "work_order": tr("Write a work order"),
        "request_evidence": tr("Ask the gateway for new spectra"),
        "maintenance": tr("Record maintenance (learns anew, closes the case)"),
        "label": tr("Say what it really was (teaches)"),
        "close": tr("Close the case"),
    }.get(action, action.replace("_", " "))


def _acknowledge_form(board: Dashboard, case: CaseEntry, forget: Callable[[], None]) -> None:
    if not may(board, "acknowledge"):
        explain_may_not(board, "acknowledge")
        return
    with st.form(f"acknowledge:{case.case_id}", border=False):
        st.text_area(
            tr("Note"), key=f"ack_note:{case.case_id}", max_chars=MAX_NOTE, height=80,
            placeholder=tr("What you will do about it, and when"),
        )  # fmt: skip
        pressed = st.form_submit_button(tr("Acknowledge case {number}", number=case.case_id), type="primary")
    if pressed:
        note = str(st.session_state.get(f"ack_note:{case.case_id}") or "")
        if ask(board, "case", tr("Acknowledge"), "acknowledge", case.machine, case_id=case.case_id, note=note):
            forget()
            st.rerun()


def offered_actions(board: Dashboard, case: CaseEntry | None) -> list[Action]:
    """What can be asked for, as the case stands and by the role of the person who looks."""
    actions = [action for action in (_CASELESS if case is None else _OF_A_CASE) if may(board, action)]
    if case is None:
        return actions
    over, shelved = case.state == "closed", case.shelved_until_us is not None
    unfit: set[Action] = {"unshelve" if not shelved else "shelve"}
    if over:
        unfit |= {"shelve", "unshelve", "close", "maintenance"}
    return [action for action in actions if action not in unfit]


def _other_actions(board: Dashboard, machine: str, case: CaseEntry | None, forget: Callable[[], None]) -> None:
    choices = offered_actions(board, case)
    number = None if case is None else case.case_id
    if not choices:
        explain_may_not(board, "note")
        return
    with st.expander(tr("Other actions")):
        action = st.selectbox(tr("Action"), choices, format_func=action_words, key=f"action:{machine}:{number}")
        cause = mode = None
        if action == "label":
            cause = st.selectbox(tr("Cause"), CAUSES, format_func=_cause_words, key=f"cause:{machine}:{number}")
            if cause in BEARING_CAUSES:
                modes = bearing_modes()
                mode = st.selectbox(
                    tr("Kind of damage (ISO 15243), if the bearing was opened"), list(modes), index=None,
                    format_func=lambda code: f"{code} {modes[code][0]}", key=f"mode:{machine}:{number}",
                    placeholder=tr("not known"),
                )  # fmt: skip
        with st.form(f"other:{machine}:{number}", border=False, clear_on_submit=True):
            values: dict[str, str | float] = {}
            if action == "shelve":
                values["hours"] = float(_hours_choice(f"hours:{machine}:{number}"))
            if action == "work_order":
                values |= _order_fields()
            words_of_note = tr("Reason") if action == "shelve" else tr("Note")
            note = (
                "" if action == "work_order"
                else st.text_area(words_of_note, key=f"other_note:{machine}:{number}", max_chars=MAX_NOTE, height=80)
            )  # fmt: skip
            pressed = st.form_submit_button(tr("Ask for it"))
        if pressed and action is not None:
            if cause is not None:
                values = dict(codes_of(cause, mode))
            asked = ask(
                board, "case", action_words(action), action, machine, case_id=number, note=note, label=cause or "",
                values={name: value for name, value in values.items() if value != ""},
            )  # fmt: skip
            if asked:
                forget()
                st.rerun()


def _cause_words(cause: str) -> str:
    if cause == "healthy":
        return tr("false alarm: the machine was healthy")
    return f"{words.cause(cause)} · ISO 14224 {MECHANISM[cause]}"


def _hours_choice(key: str) -> int:
    return st.selectbox(
        tr("For how long; it comes back by itself"),
        SHELF_HOURS,
        index=2,
        key=key,
        format_func=lambda hours: f"{hours} h",
    )


def _order_fields() -> dict[str, str | float]:
    text = st.text_area(tr("What is to be done"), max_chars=4000, height=80)
    due = st.date_input(tr("Due"), datetime.now(UTC).date() + timedelta(days=DUE_DAYS), format="YYYY-MM-DD")
    number = st.text_input(tr("Number, if your maintenance system gave one"), max_chars=64)
    return {"text": text, "due_date": due.isoformat(), "number": number}


def request_words(asked: Asked, now_us: int, zone: str | None) -> str:
    """Say what became of one request, and who asked."""
    request = asked.request
    entry = AskedEntry(request.request_id, asked.state, asked.answer, request.asked_at_us, asked.answered_at_us)
    what = tr("{action} by {who}", action=asked_words(request.action), who=words.plain(request.actor))
    return answer_words(entry, what, now_us, zone)


def asked_words(action: str) -> str:
    """The words for an action that was asked for."""
    return {
        "acknowledge": tr("acknowledge"), "note": tr("note"), "shelve": tr("shelve"), "unshelve": tr("unshelve"),
        "work_order": tr("work order"), "request_evidence": tr("request evidence"), "maintenance": tr("maintenance"),
        "label": tr("label"), "close": tr("close"),
    }.get(action, action.replace("_", " "))  # fmt: skip


def _followed(machine: str, shown_state: str | None) -> None:
    board = runtime.current()
    try:
        with board.reader.read() as connection:
            asked = board.writer.follow(connection, machine)[:5]
    except DatabaseUnavailable as problem:
        st.caption(tr("What became of requests is not known: {problem}", problem=words.plain(problem.detail)))
        return
    zone = st.context.timezone
    for entry in asked:
        st.markdown(request_words(entry, board.now_us(), zone))
    answered = [entry for entry in asked if entry.state in {"done", "sent"} and entry.request.action == "acknowledge"]
    if answered and shown_state == "open" and st.button(tr("Show the case as it is now"), key="case_again"):
        st.session_state.pop("machine_snapshot", None)
        st.rerun()


def event_words(kind: str) -> str:
    """The words for a line of a case's history."""
    return {
        "opened": tr("opened"), "alarm": tr("alarm"), "sensor": tr("sensor"), "notice": tr("notice of the gateway"),
        "worse": tr("worse"), "reopened": tr("open again"), "acknowledged": tr("acknowledged"), "note": tr("note"),
        "shelved": tr("put on the shelf"), "unshelved": tr("off the shelf"), "work_order": tr("work order"),
        "maintenance": tr("maintenance"), "label": tr("cause named"), "closed": tr("closed"),
    }.get(kind, kind)  # fmt: skip


def _history(events: Sequence[CaseEvent], earlier: Sequence[CaseRecord]) -> None:
    zone = st.context.timezone
    if events:
        title = tr("History of this case ({count})", count=len(events))
        with st.expander(title, expanded=len(events) <= 4):
            for event in events:
                who = "" if event.actor == "site" else f", **{words.plain(event.actor)}**"
                st.markdown(
                    f"{words.moment(event.at_us, zone)} · {event_words(event.kind)}{who}  \n"
                    f"{words.plain(sentences.told(event.actor, event.text))}"
                )
    if earlier:
        with st.expander(tr("Earlier cases ({count})", count=len(earlier))):
            for case in earlier:
                opened = words.moment(case.opened_at_us, zone)
                number = tr("Case {number}", number=case.case_id)
                st.markdown(f"{opened} · {number}  \n{words.plain(sentences.said(case.title))}")
