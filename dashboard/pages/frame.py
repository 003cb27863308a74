"""This file knows what surrounds every page: sign-in, navigation, the strip, and nothing before a person is known."""

import streamlit as st

from dashboard import runtime, words
from dashboard.errors import DashboardNotStarted
from dashboard.pages.addresses import PLANT, show_links
from dashboard.pages.explaining import explain_unstarted
from dashboard.pages.index import all_pages
from dashboard.pages.login import keep_session, recognised_visitor, show_login, sign_out
from dashboard.pages.strip import show_strip


def run() -> None:
    """Run the page that was asked for, once the person has signed in."""
    st.set_page_config(page_title="Undertone", layout="wide", initial_sidebar_state="collapsed")
    try:
        board = runtime.current()
    except DashboardNotStarted as problem:
        explain_unstarted(str(problem))
        return
    visitor = recognised_visitor(board)
    page = st.navigation(all_pages(), position="hidden")
    if visitor is None:
        show_login(board)
        return
    show_links(page.url_path or PLANT)
    show_strip()
    page.run()
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        st.caption(f"Signed in as {words.plain(visitor.name)} ({visitor.role})", width="content")
        st.button("Sign out", type="tertiary", on_click=sign_out, args=(board,))
    keep_session(board)
