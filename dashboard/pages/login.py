"""This file knows how a person gets in: name and password, a one-time link, the plant's provider, or one token."""

from collections.abc import Callable
from typing import cast

import streamlit as st

from dashboard import words
from dashboard.access import MAX_NAME, Door, Visitor
from dashboard.components.session_cookie import read_session_cookie, write_session_cookie
from dashboard.errors import DatabaseUnavailable, NotAdmitted, RequestNotWritten
from dashboard.languages import tr
from dashboard.pages.explaining import explain_unavailable
from dashboard.pages.notice import show_notice
from dashboard.passwords import MAX_LENGTH, PasswordRefused
from dashboard.people_door import PeopleDoor
from dashboard.runtime import Dashboard
from schemas.errors import SecretMissing

_VISITOR, _WORD, _TOKEN_SHOWN, _PROBLEM = "visitor", "session_word", "token_shown", "login_problem"
_LINKS = ("first", "welcome")
HERE = "this machine"


def recognised_visitor(board: Dashboard, *, touch: bool = True) -> Visitor | None:
    """Who looks at this page, with the role they have now; None until they have signed in.

    Args:
        board: The dashboard.
        touch: False where the page refreshes by itself, which keeps nobody in.
    """
    _take_from_link(board)
    word = st.session_state.get(_WORD) or read_session_cookie(board.settings.port)
    visitor = board.door.recognise(word, touch=touch)
    if visitor is None:
        st.session_state.pop(_VISITOR, None)
        return None
    st.session_state[_WORD] = word
    return visitor


def show_login(board: Dashboard) -> None:
    """Ask for what is missing."""
    with st.container(width=420):
        st.header(words.plain(board.settings.title))
        st.caption(tr("Undertone: how this site's machines are, and why."))
        problem = st.session_state.pop(_PROBLEM, None)
        if problem:
            show_notice(problem)
        if isinstance(board.door, Door):
            _token_form(board, board.door)
            return
        try:
            _people_form(board, board.door)
        except DatabaseUnavailable as unavailable:
            explain_unavailable(unavailable, shown_url=board.reader.shown_url)


def keep_session(board: Dashboard) -> None:
    """Have the browser remember the session, so that a reload needs no new sign-in."""
    word = st.session_state.get(_WORD)
    if word:
        write_session_cookie(board.settings.port, word)


def take_session(word: str) -> None:
    """Go on in another session, such as after a new password."""
    st.session_state[_WORD] = word


def sign_out(board: Dashboard) -> None:
    """End the session."""
    board.door.dismiss(st.session_state.pop(_WORD, None))
    st.session_state.pop(_TOKEN_SHOWN, None)


def came_from() -> str:
    """The address of the browser, as far as it is seen."""
    return st.context.ip_address or HERE


def _take_from_link(board: Dashboard) -> None:
    for name in _LINKS:
        word = st.query_params.get(name)
        if word is not None:
            del st.query_params[name]
            if isinstance(board.door, PeopleDoor):
                st.session_state[name] = word
    token = st.query_params.get("token")
    if token is not None:
        del st.query_params["token"]
        if isinstance(board.door, Door):
            st.session_state[_TOKEN_SHOWN] = _check_token(board.door, token)


def _people_form(board: Dashboard, door: PeopleDoor) -> None:
    if "first" in st.session_state:
        if door.opens_first(str(st.session_state["first"])):
            _first_form(door)
            return
        del st.session_state["first"]
        show_notice(tr("This link was used already or is too old. Start `dashboard run` again for a new one."))
    if "welcome" in st.session_state:
        found = door.person_of_link(str(st.session_state["welcome"]))
        if found is not None:
            _welcome_form(door, found.name)
            return
        del st.session_state["welcome"]
        show_notice(tr("This link was used already or is too old. Ask an administrator for a new one."))
    if board.settings.access.by == "oidc":
        _provider_form(door)
        return
    if door.nobody_yet():
        show_notice(
            tr(
                "Nobody can sign in yet. `dashboard run` prints a link for the first administrator when it starts; it "
                "is valid for an hour. Start it again for a new one."
            )
        )
        return
    with st.form("sign_in", enter_to_submit=True):
        st.text_input(tr("Name"), key="login_name", max_chars=MAX_NAME, autocomplete="username")
        st.text_input(
            tr("Password"), type="password", key="login_password", max_chars=MAX_LENGTH,
            autocomplete="current-password",
        )  # fmt: skip
        st.form_submit_button(tr("Sign in"), type="primary", on_click=_sign_in, args=(door,))


def _first_form(door: PeopleDoor) -> None:
    st.markdown(tr("You become the first administrator. You add everybody else."))
    with st.form("first_admin", enter_to_submit=True):
        st.text_input(tr("Your name"), key="login_name", max_chars=MAX_NAME, autocomplete="username")
        st.caption(tr("It stands beside everything you do here, such as an acknowledgement."))
        _new_password_fields()
        st.form_submit_button(tr("Become administrator"), type="primary", on_click=_become_admin, args=(door,))


def _welcome_form(door: PeopleDoor, name: str) -> None:
    st.markdown(tr("Welcome, {name}. Choose your password.", name=words.plain(name)))
    with st.form("welcome_form", enter_to_submit=True):
        _new_password_fields()
        st.form_submit_button(tr("Set password"), type="primary", on_click=_set_by_link, args=(door,))


def _provider_form(door: PeopleDoor) -> None:
    if st.user.is_logged_in and not st.session_state.get("provider_refused"):
        claims = cast("dict[str, object]", st.user.to_dict())
        if attempt(lambda: door.admit_from_provider(claims, came_from())):
            st.rerun()
        st.session_state["provider_refused"] = True
        problem = st.session_state.pop(_PROBLEM, None)
        if problem:
            show_notice(problem)
    st.button(tr("Sign in at the plant's provider"), type="primary", on_click=st.login)


def _new_password_fields() -> None:
    for label, key in ((tr("New password"), "new_password"), (tr("The same again"), "new_password_again")):
        st.text_input(label, type="password", key=key, max_chars=MAX_LENGTH, autocomplete="new-password")
    st.caption(tr("12 characters or more; four words that do not belong together are good."))


def new_password() -> str | None:
    """What stands in both fields of a new password; None, with a word about it, when they differ."""
    first, again = (str(st.session_state.get(key) or "") for key in ("new_password", "new_password_again"))
    if first != again:
        st.session_state[_PROBLEM] = tr("The two passwords differ.")
        return None
    return first


def attempt(act: Callable[[], str]) -> bool:
    """Do what opens a session, or keep the reason why not for the page; tells whether it did."""
    try:
        st.session_state[_WORD] = act()
    except NotAdmitted as refusal:
        wait = tr("Try again in {span}.", span=words.span(refusal.wait_s)) if refusal.wait_s > 0.0 else ""
        st.session_state[_PROBLEM] = f"{words.plain(tr(str(refusal)))} {wait}".rstrip()
    except PasswordRefused as refusal:
        st.session_state[_PROBLEM] = tr(str(refusal))
    except RequestNotWritten as problem:
        st.session_state[_PROBLEM] = words.plain(str(problem))
    except DatabaseUnavailable as problem:
        st.session_state[_PROBLEM] = words.plain(problem.detail)
    else:
        return True
    return False


def _sign_in(door: PeopleDoor) -> None:
    name, password = (str(st.session_state.get(key) or "") for key in ("login_name", "login_password"))
    st.session_state["login_password"] = ""
    attempt(lambda: door.sign_in(name, password, came_from()))


def _become_admin(door: PeopleDoor) -> None:
    name, password = str(st.session_state.get("login_name") or "").strip(), new_password()
    if not name:
        st.session_state[_PROBLEM] = tr("Enter your name: it stands beside what you do here.")
    elif password is not None and attempt(
        lambda: door.create_first_admin(str(st.session_state["first"]), name, password, came_from())
    ):
        del st.session_state["first"]


def _set_by_link(door: PeopleDoor) -> None:
    password = new_password()
    if password is not None and attempt(
        lambda: door.set_password_by_link(str(st.session_state["welcome"]), password, came_from())
    ):
        del st.session_state["welcome"]


def _token_form(board: Dashboard, door: Door) -> None:
    with st.form("login", enter_to_submit=True):
        if door.needs_token and not st.session_state.get(_TOKEN_SHOWN):
            st.text_input(tr("Access token"), type="password", key="login_token", autocomplete="off")
            where = words.plain(str(board.settings.access.token_file))
            st.caption(tr("It is in {file} on the machine that serves this page.", file=where))
        st.text_input(tr("Your name"), key="login_name", max_chars=MAX_NAME, autocomplete="name")
        st.caption(tr("It stands beside everything you do here, such as an acknowledgement."))
        st.form_submit_button(tr("Look"), type="primary", on_click=_look, args=(door,))


def _look(door: Door) -> None:
    name = str(st.session_state.get("login_name") or "").strip()
    token = str(st.session_state.get("login_token") or "")
    shown = not door.needs_token or st.session_state.get(_TOKEN_SHOWN) or _check_token(door, token)
    if not shown:
        return
    st.session_state[_TOKEN_SHOWN] = True
    if not name:
        st.session_state[_PROBLEM] = tr("Enter your name: it stands beside what you do here.")
        return
    _, st.session_state[_WORD] = door.admit(name, came_from())


def _check_token(door: Door, token: str) -> bool:
    wait_s = door.locked_for_s()
    if wait_s > 0.0:
        st.session_state[_PROBLEM] = tr("Too many wrong tokens; try again in {span}.", span=words.span(wait_s))
        return False
    try:
        right = door.accepts(token)
    except SecretMissing as error:
        st.session_state[_PROBLEM] = words.plain(str(error))
        return False
    if not right:
        st.session_state[_PROBLEM] = tr("This token is not the right one.")
    return right
