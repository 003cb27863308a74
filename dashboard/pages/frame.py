"""This file knows what surrounds every page: sign-in, navigation, the strip, and nothing before a person is known."""

import streamlit as st

from dashboard import runtime, words
from dashboard.errors import DashboardNotStarted
from dashboard.languages import tr
from dashboard.pages.addresses import PLANT, show_links
from dashboard.pages.explaining import explain_unstarted
from dashboard.pages.index import all_pages
from dashboard.pages.login import keep_session, recognised_visitor, show_login, sign_out
from dashboard.pages.roles import role_word
from dashboard.pages.speaking import settle_language, show_language_choice
from dashboard.pages.strip import show_strip
from dashboard.runtime import Dashboard

LOOK_S = 20.0  # how often an open page looks whether its session is still one


def run() -> None:
    """Run the page that was asked for, once the person has signed in."""
    st.set_page_config(page_title="Undertone", layout="wide", initial_sidebar_state="collapsed")
    settle_language()
    try:
        board = runtime.current()
    except DashboardNotStarted as problem:
        explain_unstarted(str(problem))
        return
    visitor = recognised_visitor(board)
    page = st.navigation(all_pages(), position="hidden")
    if visitor is None:
        show_login(board)
        show_language_choice()
        return
    keep_session(board)  # first: whoever follows a link at once is still signed in
    st.fragment(_end_when_over, run_every=LOOK_S)(board)
    show_links(page.url_path or PLANT)
    show_strip()
    page.run()
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        show_language_choice()
        st.caption(
            tr("Signed in as {name} ({role})", name=words.plain(visitor.name), role=role_word(visitor.role)),
            width="content",
        )
        st.button(tr("Sign out"), type="tertiary", on_click=sign_out, args=(board,))
    runtime.settle()


def _end_when_over(board: Dashboard) -> None:
    """A page that refreshes by itself shows nothing any more once its session is over."""
    if recognised_visitor(board, touch=False) is None:
        st.rerun()
