"""This file knows how a page asks the site for something and follows it: by number, never by what a row shows now."""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from dashboard import runtime, sentences, words
from dashboard.errors import DatabaseUnavailable, RequestNotWritten
from dashboard.languages import tr
from dashboard.pages.login import recognised_visitor
from dashboard.pages.notice import show_notice
from dashboard.pages.roles import role_word
from dashboard.queries.cases import AskedEntry, read_asked
from dashboard.runtime import Dashboard
from schemas.requests import ALLOWED, ROLES, Action, Values

PATIENCE_S = 15.0  # the site service looks twice a second; longer silence means that it does not run
REMEMBERED = 100


@dataclass(slots=True)
class Pending:
    """One request of this page, in words; `told` once its answer has been seen."""

    request_id: str
    what: str
    told: bool = False


def may(board: Dashboard, action: Action) -> bool:
    """Whether the person who looks may ask for something; the site checks it again.

    Somebody whose session is over is told so when they ask.
    """
    visitor = recognised_visitor(board)
    return visitor is None or visitor.role in ALLOWED[action]


def explain_may_not(board: Dashboard, action: Action) -> None:
    """Say who may, where the person who looks may not."""
    visitor = recognised_visitor(board)
    least = next(role for role in ROLES if role in ALLOWED[action])
    if visitor is not None and visitor.role not in ALLOWED[action]:
        st.caption(
            tr(
                "As {role} you may read this and change nothing; {least} and those above may.",
                role=role_word(visitor.role), least=role_word(least),
            )
        )  # fmt: skip


def ask(
    board: Dashboard, place: str, what: str, action: Action, machine: str | None = None, *, case_id: int | None = None,
    note: str = "", label: str = "", values: Values | None = None,
) -> bool:  # fmt: skip
    """Ask for one thing; tells whether it was written.

    Args:
        board: The dashboard.
        place: Where its answer is shown, by `show_asked`.
        what: It, in words.
        action: It, as the site knows it.
        machine: What it is about.
        case_id: Which case.
        note: Words of the person.
        label: The cause, for a label.
        values: What the action needs beyond that.
    """
    visitor = recognised_visitor(board)
    if visitor is None:
        show_notice(tr("Your session is over; sign in again. Nothing was asked."))
        return False
    try:
        request_id = board.writer.ask(action, visitor, machine, case_id=case_id, note=note, label=label, values=values)
    except RequestNotWritten as problem:
        show_notice(tr("Nothing was asked: {problem}", problem=words.plain(str(problem))))
        return False
    pending = _pending(place)
    pending.insert(0, Pending(request_id, what))
    del pending[REMEMBERED:]
    return True


def show_asked(board: Dashboard, place: str, *, answered: Callable[[], None] | None = None) -> None:
    """Show what became of what this page asked for, and keep it fresh while something is open.

    Args:
        board: The dashboard.
        place: As for `ask`.
        answered: Called once everything has its answer; the page is shown anew then.
    """
    if not _pending(place):
        return
    live = any(not one.told for one in _pending(place))
    st.fragment(_followed, run_every=min(2.0, board.settings.live.refresh_s) if live else None)(place, answered)


def forget_asked(place: str) -> None:
    """Show nothing of it any more."""
    st.session_state.pop(_key(place), None)


def answer_words(found: AskedEntry | None, what: str, now_us: int, zone: str | None) -> str:
    """Say what became of one request."""
    if found is None:
        return tr("… {what}: sent to the site service", what=what)
    answer = words.plain(sentences.said(found.answer))
    if found.state == "done":
        return tr(
            "✓ {what}: done at {at} ({answer})", what=what, at=words.moment(found.answered_at_us, zone), answer=answer
        )
    if found.state == "refused":
        return tr("✕ {what}: **refused**: {answer}", what=what, answer=answer)
    if found.state == "sent":
        return tr("… {what}: sent to the gateway, which has not answered yet ({answer})", what=what, answer=answer)
    waiting_s = (now_us - found.created_at_us) / 1e6
    if waiting_s > PATIENCE_S:
        return tr(
            "… {what}: sent {age}, but the site service has not taken it up. Does `aggregator run` run? Is this "
            "dashboard's key on the site's list?",
            what=what, age=words.age(waiting_s),
        )  # fmt: skip
    return tr("… {what}: sent to the site service", what=what)


def _followed(place: str, answered: Callable[[], None] | None) -> None:
    board = runtime.current()
    pending = _pending(place)
    try:
        with board.reader.read() as connection:
            found = {entry.request_id: entry for entry in read_asked(connection, [one.request_id for one in pending])}
    except DatabaseUnavailable as problem:
        st.caption(tr("What became of requests is not known: {problem}", problem=words.plain(problem.detail)))
        return
    for one in pending[:10]:
        st.markdown(answer_words(found.get(one.request_id), one.what, board.now_us(), st.context.timezone))
    if len(pending) > 10:
        st.caption(tr("and {count} more", count=len(pending) - 10))
    fresh = [one for one in pending if not one.told]
    # "sent" counts too: the site has done its part, and a gateway that is away may take days.
    if fresh and all(
        (entry := found.get(one.request_id)) is not None and entry.state in {"done", "refused", "sent"} for one in fresh
    ):
        for one in fresh:
            one.told = True
        if answered is not None:
            answered()
        st.rerun()


def _key(place: str) -> str:
    return f"asked:{place}"


def _pending(place: str) -> list[Pending]:
    kept: list[Pending] = st.session_state.setdefault(_key(place), [])
    return kept
