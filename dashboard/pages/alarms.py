"""This file knows the page of alarms: what needs somebody now, what is on the shelf, what was, and how good alarms are.

A list stands still while a person works on it; it says when there is something newer. Cases are chosen by number.
"""

import streamlit as st

from dashboard import runtime, sentences, words
from dashboard.condition import LEVELS
from dashboard.errors import DatabaseUnavailable
from dashboard.languages import tr
from dashboard.pages.addresses import machine_address
from dashboard.pages.alarm_list import forget_list, level_of, show_list
from dashboard.pages.case_desk import show_case
from dashboard.pages.explaining import explain_unavailable
from dashboard.queries.cases import Tab, read_counts, read_entry
from dashboard.queries.machine import read_cases, read_events
from dashboard.runtime import Dashboard

_LISTS: dict[str, Tab] = {"active": "active", "shelved": "shelved", "history": "history"}
TABS = (*_LISTS, "figures", "reports")


def show_alarms() -> None:
    """Show the tab, or the one case, named in the address."""
    board = runtime.current()
    try:
        number = st.query_params.get("case")
        if number is not None:
            _show_one(board, number)
        else:
            _show_tabs(board)
    except DatabaseUnavailable as problem:
        explain_unavailable(problem, shown_url=board.reader.shown_url)


def _show_tabs(board: Dashboard) -> None:
    st.header(tr("Alarms and cases"))
    with board.reader.read() as connection:
        counts = read_counts(connection)
    names = {
        "active": tr("Active ({count})", count=counts["active"]),
        "shelved": tr("On the shelf ({count})", count=counts["shelved"]),
        "history": tr("Over ({count})", count=counts["history"]),
        "figures": tr("How good are the alarms?"),
        "reports": tr("Reports"),
    }
    wanted = st.query_params.get("tab")
    tab = st.segmented_control(
        tr("Part"), TABS, default=wanted if wanted in TABS else "active", key="alarms_tab", required=True,
        format_func=lambda name: names[name], label_visibility="collapsed",
    )  # fmt: skip
    st.query_params["tab"] = tab
    if tab == "figures":
        from dashboard.pages.alarm_figures import show_figures

        show_figures(board)
    elif tab == "reports":
        from dashboard.pages.reports import show_reports

        show_reports(board)
    else:
        show_list(board, _LISTS[tab])


def _show_one(board: Dashboard, number: str) -> None:
    st.markdown(f"[{tr('All cases')}](alarms)")
    entry = None
    if number.isdecimal() and len(number) < 16:
        with board.reader.read() as connection:
            entry = read_entry(connection, int(number))
            events = read_events(connection, int(number))
            earlier = [] if entry is None else read_cases(connection, entry.machine)
    if entry is None:
        st.header(tr("This site knows no such case"))
        st.markdown(tr("No case has the number {number} here. The link may be of another site.",
                       number=words.plain(number[:20])))  # fmt: skip
        return
    st.header(words.plain(entry.title))
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.markdown(level_of(entry).text, width="content")
        if entry.shelved_until_us is not None and entry.shelved_until_us > board.now_us():
            st.markdown(LEVELS["shelved"].text, width="content")
        st.markdown(f"[{tr('The machine, its evidence and its spectra')}]({machine_address(entry.machine)})",
                    width="content")  # fmt: skip
    st.markdown(words.plain(sentences.said(entry.reason)))
    others = [found for found in earlier if found.case_id != entry.case_id]
    show_case(board, entry.machine, entry, events, others, forget=forget_list)
