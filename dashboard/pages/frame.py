"""This file knows what surrounds every page: sign-in, navigation, the strip, where one is, units."""

import streamlit as st

from dashboard import runtime, words
from dashboard.errors import DashboardNotStarted
from dashboard.languages import tr
from dashboard.pages.addresses import PLANT, SITES, show_links
from dashboard.pages.breadcrumb import show_breadcrumb
from dashboard.pages.explaining import explain_unstarted
from dashboard.pages.index import all_pages
from dashboard.pages.login import keep_session, recognised_visitor, show_login, sign_out
from dashboard.pages.roles import role_word
from dashboard.pages.sites import show_sites_strip
from dashboard.pages.speaking import settle_language, show_language_choice
from dashboard.pages.strip import show_strip
from dashboard.pages.unit_choice import keep_units, settle_units, show_unit_choice
from dashboard.runtime import Dashboard
from dashboard.theme import PAGE_STYLE

LOOK_S = 20.0  # how often an open page looks whether its session is still one


def run() -> None:
    """Run the page that was asked for, once the person has signed in."""
    st.set_page_config(page_title="Undertone", layout="wide", initial_sidebar_state="collapsed")
    st.html(PAGE_STYLE)
    settle_language()
    settle_units()
    try:
        board = runtime.current()
    except DashboardNotStarted as problem:
        explain_unstarted(str(problem))
        return
    visitor = recognised_visitor(board)
    page = st.navigation(all_pages(board.settings.role), position="hidden")
    if visitor is None:
        show_login(board)
        show_language_choice()
        return
    keep_session(board)  # first: whoever follows a link at once is still signed in
    st.fragment(_end_when_over, run_every=LOOK_S)(board)
    _show_head(board, page.url_path)
    page.run()
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        show_language_choice()
        st.caption(
            tr("Signed in as {name} ({role})", name=words.plain(visitor.name), role=role_word(visitor.role)),
            width="content",
        )
        st.button(tr("Sign out"), type="tertiary", on_click=sign_out, args=(board,))
    runtime.settle()


def _show_head(board: Dashboard, path: str) -> None:
    if board.settings.role == "enterprise":
        show_links(path or SITES, "enterprise")
        show_sites_strip()
        return
    show_links(path or PLANT)
    show_strip()
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", gap="small"):
        show_breadcrumb(board, path or PLANT)
        show_unit_choice()
    keep_units()


def _end_when_over(board: Dashboard) -> None:
    """A page that refreshes by itself shows nothing any more once its session is over."""
    if recognised_visitor(board, touch=False) is None:
        st.rerun()
