"""This file knows the page of people: one's own password, sessions and tokens; for administrators everybody's roles."""

from collections.abc import Callable

import streamlit as st

from dashboard import runtime, words
from dashboard.access import MAX_NAME, Visitor
from dashboard.api.callers import TOKEN_PREFIX
from dashboard.errors import DatabaseUnavailable, NotAdmitted, RequestNotWritten
from dashboard.languages import tr
from dashboard.pages.addresses import AUDIT
from dashboard.pages.explaining import explain_unavailable
from dashboard.pages.login import attempt, came_from, new_password, recognised_visitor
from dashboard.pages.notice import show_notice
from dashboard.pages.roles import role_rights, role_word
from dashboard.passwords import MAX_LENGTH
from dashboard.people_door import LINK_US, PeopleDoor, digest_of, new_word
from dashboard.queries.people import PersonRecord, TokenRecord, read_people, read_person, read_tokens
from dashboard.runtime import Dashboard
from schemas.requests import ROLES, Action, Role, Values

TOKEN_DAYS = (30, 90, 365)
_SAID, _PROBLEM, _SECRET = "people_said", "login_problem", "people_secret"


def show_people() -> None:
    """Show who may what, and let it be changed by who may."""
    board = runtime.current()
    st.header(tr("People"))
    visitor = recognised_visitor(board)
    if visitor is None:
        show_notice(tr("Your session is over; sign in again. Nothing was asked."))
        return
    if not isinstance(board.door, PeopleDoor):
        show_notice(
            tr('Everybody gets in here by the same token. People with names and roles: `access.by = "people"`.')
        )
        st.markdown(tr("Programs use it too: [interface]({address})", address="api/v1/docs"))
        _show_example(board)
        return
    _show_said()
    try:
        with board.reader.read() as connection:
            me = read_person(connection, visitor.name)
            tokens = read_tokens(connection, visitor.name)
            everybody = read_people(connection) if visitor.role == "admin" else []
    except DatabaseUnavailable as problem:
        explain_unavailable(problem, shown_url=board.reader.shown_url)
        return
    own, others = st.columns([2, 3]) if everybody else (st.container(), None)
    with own:
        _own_account(board, board.door, visitor, me, tokens)
    if others is not None:
        with others:
            _everybody(board, visitor, everybody)


def _own_account(
    board: Dashboard, door: PeopleDoor, visitor: Visitor, me: PersonRecord | None, tokens: list[TokenRecord]
) -> None:
    st.subheader(words.plain(visitor.name))
    st.markdown(f"{role_word(visitor.role)}: {role_rights(visitor.role)}")
    if me is not None and me.source == "local":
        with st.expander(tr("Change your password")), st.form("own_password", clear_on_submit=True):
            st.text_input(tr("Old password"), type="password", key="old_password", max_chars=MAX_LENGTH,
                          autocomplete="current-password")  # fmt: skip
            for label, key in ((tr("New password"), "new_password"), (tr("The same again"), "new_password_again")):
                st.text_input(label, type="password", key=key, max_chars=MAX_LENGTH, autocomplete="new-password")
            st.form_submit_button(tr("Change"), on_click=_change_password, args=(door, visitor))
    st.button(
        tr("Sign out everywhere"), on_click=_press, args=(board, visitor, "sign_out_everywhere", {}),
        help=tr("Ends all your sessions in every browser, this one too. Tokens stay."),
    )  # fmt: skip
    st.subheader(tr("Tokens for programs"))
    st.markdown(tr("A program reads and acts in your name with a token. Description: [interface]({address})",
                   address="api/v1/docs"))  # fmt: skip
    _show_example(board)
    for token in tokens:
        _show_token(board, visitor, token)
    with st.expander(tr("New token")), st.form("new_token", clear_on_submit=True):
        st.text_input(tr("What for"), key="token_title", max_chars=64)
        may = ROLES[: ROLES.index(visitor.role) + 1]
        st.selectbox(tr("Role"), may, format_func=role_word, key="token_role")
        st.selectbox(tr("Valid"), TOKEN_DAYS, format_func=lambda days: tr("{days} days", days=days), key="token_days")
        st.form_submit_button(tr("Make token"), on_click=_make_token, args=(board, visitor))


def _show_example(board: Dashboard) -> None:
    """A line to try: how a program asks."""
    asked = f'curl -H "Authorization: Bearer $TOKEN" {_own_address(board)}api/v1/machines'
    st.code(asked, language=None, wrap_lines=True)


def _show_token(board: Dashboard, visitor: Visitor, token: TokenRecord) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        until = words.moment(token.expires_at_us, st.context.timezone)
        over = tr("too old since {moment}", moment=until) if token.expires_at_us <= board.now_us() else (
            tr("valid until {moment}", moment=until)
        )  # fmt: skip
        st.markdown(f"**{words.plain(token.title)}** · {role_word(token.role)} · {over}", width="stretch")
        st.button(
            tr("Remove"), key=f"remove:{token.token_digest}", on_click=_press,
            args=(board, visitor, "remove_token", {"token_digest": token.token_digest}),
        )  # fmt: skip


def _everybody(board: Dashboard, visitor: Visitor, people: list[PersonRecord]) -> None:
    st.subheader(tr("Everybody"))
    st.markdown(f"[{tr('Audit log: who did what')}]({AUDIT})")
    for role in ROLES:
        st.caption(f"**{role_word(role)}** {role_rights(role)}")
    with st.expander(tr("Add a person")), st.form("new_person", clear_on_submit=True):
        st.text_input(tr("Name"), key="person_name", max_chars=MAX_NAME)
        st.selectbox(tr("Role"), ROLES, format_func=role_word, key="person_role", index=1)
        st.form_submit_button(tr("Add"), on_click=_add_person, args=(board, visitor))
    for found in people:
        with st.expander(f"{words.plain(found.name)} · {_standing(board, found)}"):
            _one_person(board, visitor, found)


def _standing(board: Dashboard, found: PersonRecord) -> str:
    if found.state != "active":
        return tr("{role}, barred", role=role_word(found.role))
    if found.source == "local" and found.password_hash is None:
        open_link = found.link_until_us is not None and found.link_until_us > board.now_us()
        waits = tr("{role}, has a link and no password yet", role=role_word(found.role))
        return waits if open_link else tr("{role}, the link is too old", role=role_word(found.role))
    return role_word(found.role)


def _one_person(board: Dashboard, visitor: Visitor, found: PersonRecord) -> None:
    name = found.name
    st.caption(
        tr("Added {moment} by {name}", moment=words.moment(found.created_at_us, st.context.timezone),
           name=words.plain(found.created_by))
    )  # fmt: skip
    if found.source == "local":
        with st.container(horizontal=True, vertical_alignment="bottom"):
            key = f"role_of:{name}"
            st.selectbox(tr("Role"), ROLES, format_func=role_word, key=key, index=ROLES.index(found.role))
            st.button(tr("Give this role"), key=f"give:{name}", on_click=_give_role, args=(board, visitor, name))
    with st.container(horizontal=True):
        if found.source == "local" and name != visitor.name:
            st.button(tr("Link for a new password"), key=f"link:{name}", on_click=_make_link,
                      args=(board, visitor, "set_password", name, {}))  # fmt: skip
        barred = found.state != "active"
        st.button(
            tr("Let in again") if barred else tr("Bar"), key=f"bar:{name}", on_click=_press,
            args=(board, visitor, "set_person", {"person": name, "state": "active" if barred else "barred"}),
        )  # fmt: skip
        st.button(tr("Sign out everywhere"), key=f"out:{name}", on_click=_press,
                  args=(board, visitor, "sign_out_everywhere", {"person": name}))  # fmt: skip
        with st.popover(tr("Remove")):
            st.markdown(tr("{name} and their tokens are removed; what they did stays in the log.",
                           name=words.plain(name)))  # fmt: skip
            st.button(tr("Remove for good"), key=f"gone:{name}", on_click=_press,
                      args=(board, visitor, "remove_person", {"person": name}))  # fmt: skip


def _show_said() -> None:
    problem = st.session_state.pop(_PROBLEM, None)
    if problem:
        show_notice(problem)
    said = st.session_state.pop(_SAID, None)
    if said:
        st.markdown(f"✓ {words.plain(said)}")
    secret = st.session_state.pop(_SECRET, None)
    if secret:
        with st.container(border=True):
            st.markdown(secret[0])
            st.code(secret[1], language=None, wrap_lines=True)


def _attempt(act: Callable[[], str]) -> bool:
    try:
        st.session_state[_SAID] = act()
    except NotAdmitted as refusal:
        st.session_state[_PROBLEM] = tr("Refused: {answer}", answer=words.plain(str(refusal)))
    except RequestNotWritten as problem:
        st.session_state[_PROBLEM] = words.plain(str(problem))
    except DatabaseUnavailable as problem:
        st.session_state[_PROBLEM] = words.plain(problem.detail)
    else:
        return True
    return False


def _do(board: Dashboard, visitor: Visitor, action: Action, values: Values) -> bool:
    return _attempt(lambda: board.asker.ask_and_wait(action, visitor, values))


def _press(board: Dashboard, visitor: Visitor, action: Action, values: Values) -> None:
    _do(board, visitor, action, values)


def _give_role(board: Dashboard, visitor: Visitor, name: str) -> None:
    role: Role = st.session_state[f"role_of:{name}"]
    _do(board, visitor, "set_person", {"person": name, "role": role})


def _add_person(board: Dashboard, visitor: Visitor) -> None:
    name = " ".join(str(st.session_state.get("person_name") or "").split())
    role: Role = st.session_state["person_role"]
    _make_link(board, visitor, "create_person", name, {"role": role})


def _make_link(board: Dashboard, visitor: Visitor, action: Action, name: str, more: Values) -> None:
    word = new_word()
    values: Values = {
        **more, "person": name, "link_digest": digest_of(word), "link_until_us": board.now_us() + LINK_US,
    }  # fmt: skip
    if _do(board, visitor, action, values):
        told = tr("Give this link to {name}. It is shown once, works once, and for three days.", name=words.plain(name))
        st.session_state[_SECRET] = (told, f"{_own_address(board)}?welcome={word}")


def _make_token(board: Dashboard, visitor: Visitor) -> None:
    word = TOKEN_PREFIX + new_word()
    role: Role = st.session_state["token_role"]
    values: Values = {
        "title": " ".join(str(st.session_state.get("token_title") or "").split()), "role": role,
        "token_digest": digest_of(word),
        "expires_at_us": board.now_us() + int(st.session_state["token_days"]) * 86_400_000_000,
    }  # fmt: skip
    if _do(board, visitor, "create_token", values):
        st.session_state[_SECRET] = (tr("Your token. It is shown once; keep it as a password."), word)


def _change_password(door: PeopleDoor, visitor: Visitor) -> None:
    old, new = str(st.session_state.get("old_password") or ""), new_password()
    here = Visitor(visitor.name, visitor.role, came_from())
    if new is not None and attempt(lambda: door.change_password(here, old, new)):
        st.session_state[_SAID] = tr("Your password is changed; all other sessions of yours are over.")


def _own_address(board: Dashboard) -> str:
    """How the administrator's own browser got here: so that the link works for others too."""
    url = st.context.url
    return url.rsplit("/", 1)[0] + "/" if url else board.settings.address
