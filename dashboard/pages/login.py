"""This file knows how a person gets in: by the link with the token or by typing it, and a name for what they do."""

import streamlit as st

from dashboard import words
from dashboard.access import MAX_NAME, Visitor
from dashboard.components.session_cookie import read_session_cookie, write_session_cookie
from dashboard.pages.notice import show_notice
from dashboard.runtime import Dashboard
from schemas.errors import SecretMissing

_VISITOR, _WORD, _TOKEN_SHOWN = "visitor", "session_word", "token_shown"


def recognised_visitor(board: Dashboard) -> Visitor | None:
    """Who looks at this page; None until they have signed in."""
    _take_token_from_link(board)
    word = st.session_state.get(_WORD) or read_session_cookie(board.settings.port)
    visitor = board.door.recognise(word)
    if visitor is None:
        st.session_state.pop(_VISITOR, None)
        return None
    st.session_state[_WORD] = word
    return visitor


def show_login(board: Dashboard) -> None:
    """Ask for what is missing: token, name."""
    token_needed = board.door.needs_token and not st.session_state.get(_TOKEN_SHOWN)
    with st.container(width=420):
        st.header(words.plain(board.settings.title))
        problem = st.session_state.pop("login_problem", None)
        if problem:
            show_notice(problem)
        with st.form("login", enter_to_submit=True):
            if token_needed:
                st.text_input("Access token", type="password", key="login_token", autocomplete="off")
                where = words.plain(str(board.settings.access.token_file))
                st.caption(f"It is in {where} on the machine that serves this page.")
            st.text_input("Your name", key="login_name", max_chars=MAX_NAME, autocomplete="name")
            st.caption("It stands beside everything you do here, such as an acknowledgement.")
            st.form_submit_button("Look", type="primary", on_click=_sign_in, args=(board,))


def keep_session(board: Dashboard) -> None:
    """Have the browser remember the session, so that a reload needs no new sign-in."""
    word = st.session_state.get(_WORD)
    if word:
        write_session_cookie(board.settings.port, word)


def sign_out(board: Dashboard) -> None:
    """End the session."""
    board.door.dismiss(st.session_state.pop(_WORD, None))
    st.session_state.pop(_TOKEN_SHOWN, None)


def _take_token_from_link(board: Dashboard) -> None:
    token = st.query_params.get("token")
    if token is None:
        return
    del st.query_params["token"]
    st.session_state[_TOKEN_SHOWN] = _check(board, token)


def _sign_in(board: Dashboard) -> None:
    name = str(st.session_state.get("login_name") or "").strip()
    token = str(st.session_state.get("login_token") or "")
    shown = not board.door.needs_token or st.session_state.get(_TOKEN_SHOWN) or _check(board, token)
    if not shown:
        return
    st.session_state[_TOKEN_SHOWN] = True
    if not name:
        st.session_state["login_problem"] = "Enter your name: it stands beside what you do here."
        return
    _, st.session_state[_WORD] = board.door.admit(name)


def _check(board: Dashboard, token: str) -> bool:
    wait_s = board.door.locked_for_s()
    if wait_s > 0.0:
        st.session_state["login_problem"] = f"Too many wrong tokens; try again in {words.span(wait_s)}."
        return False
    try:
        right = board.door.accepts(token)
    except SecretMissing as error:
        st.session_state["login_problem"] = str(error)
        return False
    if not right:
        st.session_state["login_problem"] = "This token is not the right one."
    return right
