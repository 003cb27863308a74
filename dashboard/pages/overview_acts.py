"""This file knows what can be done from a row of the list without leaving it: shelve its case, take its report."""

import streamlit as st

from dashboard import sentences, words
from dashboard.components.machine_list import Pressed
from dashboard.condition import LEVELS
from dashboard.errors import DatabaseUnavailable
from dashboard.languages import tr
from dashboard.pages.addresses import case_address
from dashboard.pages.alarm_list import level_of
from dashboard.pages.asking import ask
from dashboard.pages.case_desk import MAX_NOTE, SHELF_HOURS
from dashboard.pages.links import link, show_list
from dashboard.pages.notice import show_notice
from dashboard.pages.report_buttons import DAYS_SHOWN, offer_machine_report
from dashboard.queries.cases import CaseEntry, read_entry
from dashboard.queries.plant import read_open_cases
from dashboard.runtime import Dashboard

PLACE = "overview"
_WANTED = "overview_act"


def want(pressed: Pressed) -> None:
    """Show the page anew with what was pressed: a dialog of a live part would close at the next refresh."""
    st.session_state[_WANTED] = pressed
    st.rerun(scope="app")


def show_wanted(board: Dashboard) -> None:
    """Show the dialog of what was pressed, once."""
    pressed = st.session_state.pop(_WANTED, None)
    if not isinstance(pressed, Pressed):
        return
    try:
        with board.reader.read() as connection:
            open_cases = read_open_cases(connection, machines=[pressed.machine])
            entry = read_entry(connection, open_cases[0].case_id) if open_cases else None
    except DatabaseUnavailable as problem:
        show_notice(tr("The case cannot be read now: {problem}", problem=words.plain(problem.detail)))
        return
    if pressed.action == "report":
        st.dialog(tr("Report of {machine}", machine=words.plain(pressed.machine)))(_report)(board, pressed.machine)
    else:
        st.dialog(tr("Put {machine} on the shelf", machine=words.plain(pressed.machine)))(_shelve)(board, entry)


def _report(board: Dashboard, machine: str) -> None:
    st.markdown(tr("Verdict, evidence, trends and history of the last {days} days.", days=f"{DAYS_SHOWN:.0f}"))
    offer_machine_report(board, machine)


def _shelve(board: Dashboard, case: CaseEntry | None) -> None:
    if case is None:
        st.markdown(tr("This machine has no open case any more."))
        return
    st.markdown(f"{level_of(case).text} {words.plain(sentences.said(case.reason))}")
    number = tr("Case {number}", number=case.case_id)
    if case.priority == "danger" and case.state != "acknowledged":
        st.markdown(tr("A danger has to be acknowledged first: case {numbers}.", numbers=case.case_id))
        show_list([link(number, case_address(case.case_id))])
        return
    with st.form("overview_shelve", border=False):
        hours = st.selectbox(tr("For how long; it comes back by itself"), SHELF_HOURS, index=2,
                             format_func=lambda hours: f"{hours} h")  # fmt: skip
        reason = st.text_input(tr("Reason"), max_chars=MAX_NOTE)
        pressed = st.form_submit_button(tr("Put it on the shelf"), type="primary")
    st.caption(
        tr("Shelved, it stands lower in the list, marked {mark}; gateways go on judging.", mark=LEVELS["shelved"].text)
    )
    if pressed and not reason.strip():
        st.caption(tr("Shelving needs a reason."))
    elif pressed:
        what = f"{number} ({words.plain(sentences.said(case.title))}), {tr('shelve')}"
        if ask(board, PLACE, what, "shelve", case.machine, case_id=case.case_id, note=reason,
               values={"hours": float(hours)}):  # fmt: skip
            st.rerun()
