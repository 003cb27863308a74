"""This file knows the list of cases: worst first, standing still, and what a person does with several at once."""

from dataclasses import dataclass
from typing import Literal

import streamlit as st

from dashboard import runtime, sentences, words
from dashboard.condition import LEVELS, Level
from dashboard.errors import DatabaseUnavailable
from dashboard.languages import tr
from dashboard.pages.addresses import case_address, machine_address
from dashboard.pages.asking import ask, explain_may_not, may, show_asked
from dashboard.pages.case_desk import MAX_NOTE, SHELF_HOURS, asked_words, standing_words
from dashboard.pages.live import read_summary
from dashboard.queries.cases import SHOWN, CaseEntry, Tab, count_changed, read_entries
from dashboard.runtime import Dashboard

_KEPT = "alarm_list"
_GENERATION = "alarm_list_generation"
PLACE = "alarms"
CaseWork = Literal["acknowledge", "shelve", "unshelve"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A list as it was read; it stays so until somebody wants it new."""

    tab: Tab
    find: str
    before: int | None
    entries: tuple[CaseEntry, ...]
    taken_us: int


def show_list(board: Dashboard, tab: Tab) -> None:
    """Show one tab."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        find = st.text_input(
            tr("Find"), key=f"find:{tab}", max_chars=60, width=260, placeholder=tr("machine, name or line"),
            label_visibility="collapsed",
        ).strip()  # fmt: skip
        st.fragment(_freshness, run_every=board.settings.live.refresh_s)()
    listed = _listed(board, tab, find)
    show_asked(board, PLACE, answered=forget_list)
    if not listed.entries:
        _explain_nothing(board, tab, find)
        return
    if tab == "history":
        _show_rows(listed, choosing=False)
        _offer_older(listed)
        return
    left, right = st.columns([7, 4], gap="large")
    with left:
        _show_rows(listed, choosing=may(board, "acknowledge"))
        if len(listed.entries) == SHOWN:
            st.caption(tr("The {count} most urgent are shown; find the others by name.", count=SHOWN))
    with right:
        _work(board, listed)


def forget_list() -> None:
    """Read the list anew next time, with nothing chosen."""
    st.session_state.pop(_KEPT, None)
    st.session_state[_GENERATION] = st.session_state.get(_GENERATION, 0) + 1


def level_of(entry: CaseEntry) -> Level:
    """Glyph, letter and word of a case's priority."""
    return next((level for name, level in LEVELS.items() if name == entry.priority), LEVELS["notice"])


def _listed(board: Dashboard, tab: Tab, find: str) -> Listed:
    before = st.session_state.get("history_before") if tab == "history" else None
    kept = st.session_state.get(_KEPT)
    if isinstance(kept, Listed) and (kept.tab, kept.find, kept.before) == (tab, find, before):
        return kept
    with board.reader.read() as connection:
        entries = tuple(read_entries(connection, tab, find=find, before=before))
    fresh = Listed(tab, find, before, entries, board.now_us())
    st.session_state[_KEPT] = fresh
    return fresh


def _freshness() -> None:
    board = runtime.current()
    kept = st.session_state.get(_KEPT)
    if not isinstance(kept, Listed):
        return
    age = words.age((board.now_us() - kept.taken_us) / 1e6)
    try:
        with board.reader.read() as connection:
            changed = count_changed(connection, since_us=kept.taken_us)
    except DatabaseUnavailable as problem:
        st.caption(tr("List of {age}; newer is not known of: {problem}", age=age, problem=words.plain(problem.detail)))
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(tr("Read {age}; it stands still while you work on it.", age=age), width="content")
        if changed and st.button(
            tr("{count} cases have changed · show them", count=changed), key="alarms_new", icon=":material/refresh:"
        ):
            forget_list()
            st.rerun()


def _pick_key(case_id: int) -> str:
    return f"pick:{st.session_state.get(_GENERATION, 0)}:{case_id}"


def _show_rows(listed: Listed, *, choosing: bool) -> None:
    if choosing and len(listed.entries) > 1:
        whole = f"pick_all:{st.session_state.get(_GENERATION, 0)}"
        st.checkbox(tr("Choose all {count} shown", count=len(listed.entries)), key=whole,
                    on_change=_choose_all, args=(whole, [entry.case_id for entry in listed.entries]))  # fmt: skip
    for entry in listed.entries:
        _show_row(entry, listed.taken_us, choosing=choosing)


def _choose_all(whole: str, numbers: list[int]) -> None:
    for number in numbers:
        st.session_state[_pick_key(number)] = bool(st.session_state.get(whole))


def _show_row(entry: CaseEntry, now_us: int, *, choosing: bool) -> None:
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            if choosing:
                st.checkbox(
                    tr("Choose case {number} of {machine}", number=entry.case_id, machine=entry.machine),
                    key=_pick_key(entry.case_id), label_visibility="collapsed", width=28,
                )  # fmt: skip
            st.markdown(level_of(entry).text, width="content")
            if entry.shelved_until_us is not None and entry.shelved_until_us > now_us:
                st.markdown(LEVELS["shelved"].text, width="content")
            area = f" · {words.plain(entry.area)}" if entry.area else ""
            st.markdown(
                f"[**{words.plain(entry.title)}**]({machine_address(entry.machine)}) "
                f"({words.plain(entry.machine)}){area} · "
                f"[{tr('Case {number}', number=entry.case_id)}]({case_address(entry.case_id)})",
                width="content",
            )
        st.markdown(words.plain(sentences.said(entry.reason)))
        st.caption(standing_words(entry, now_us, st.context.timezone))


def _chosen(listed: Listed) -> list[CaseEntry]:
    return [entry for entry in listed.entries if st.session_state.get(_pick_key(entry.case_id))]


def _work(board: Dashboard, listed: Listed) -> None:
    with st.container(border=True):
        chosen = _chosen(listed)
        if not may(board, "acknowledge"):
            explain_may_not(board, "acknowledge")
            return
        if not chosen:
            st.markdown(tr("Choose cases in the list to work on several at once, or open one by its number."))
            return
        numbers = ", ".join(str(entry.case_id) for entry in chosen[:12]) + (" …" if len(chosen) > 12 else "")
        st.markdown(tr("**{count} chosen**: case {numbers}", count=len(chosen), numbers=numbers))
        if listed.tab == "shelved":
            _unshelve_form(board, chosen)
        else:
            _acknowledge_form(board, chosen)
            _shelve_form(board, chosen)


def _acknowledge_form(board: Dashboard, chosen: list[CaseEntry]) -> None:
    waiting = [entry for entry in chosen if entry.state == "open"]
    if not waiting:
        st.caption(tr("All of them are acknowledged already."))
        return
    with st.form("bulk_acknowledge", border=False, clear_on_submit=True):
        note = st.text_area(tr("Note for all of them"), max_chars=MAX_NOTE, height=80,
                            placeholder=tr("What you will do about it, and when"))  # fmt: skip
        pressed = st.form_submit_button(tr("Acknowledge {count}", count=len(waiting)), type="primary")
    if pressed and _ask_each(board, "acknowledge", waiting, note, {}):
        st.rerun()


def _shelve_form(board: Dashboard, chosen: list[CaseEntry]) -> None:
    refused = [entry for entry in chosen if entry.priority == "danger" and entry.state != "acknowledged"]
    fit = [entry for entry in chosen if entry not in refused]
    with st.expander(tr("Put on the shelf")):
        if refused:
            st.caption(tr("A danger has to be acknowledged first: case {numbers}.",
                          numbers=", ".join(str(entry.case_id) for entry in refused)))  # fmt: skip
        if not fit:
            return
        with st.form("bulk_shelve", border=False, clear_on_submit=True):
            hours = st.selectbox(tr("For how long; it comes back by itself"), SHELF_HOURS, index=2,
                                 format_func=lambda hours: f"{hours} h")  # fmt: skip
            reason = st.text_input(tr("Reason"), max_chars=MAX_NOTE)
            pressed = st.form_submit_button(tr("Put {count} on the shelf", count=len(fit)))
        if pressed and not reason.strip():
            st.caption(tr("Shelving needs a reason."))
        elif pressed and _ask_each(board, "shelve", fit, reason, {"hours": float(hours)}):
            st.rerun()


def _unshelve_form(board: Dashboard, chosen: list[CaseEntry]) -> None:
    with st.form("bulk_unshelve", border=False, clear_on_submit=True):
        note = st.text_input(tr("Note"), max_chars=MAX_NOTE)
        pressed = st.form_submit_button(tr("Take {count} off the shelf", count=len(chosen)), type="primary")
    if pressed and _ask_each(board, "unshelve", chosen, note, {}):
        st.rerun()


def _ask_each(board: Dashboard, action: CaseWork, chosen: list[CaseEntry], note: str, values: dict[str, float]) -> bool:
    """One request a case, by its number: each is checked and answered by itself."""
    said = asked_words(action)
    asked = [
        ask(
            board, PLACE, tr("Case {number}", number=entry.case_id) + f" ({words.plain(entry.title)}), {said}",
            action, entry.machine, case_id=entry.case_id, note=note, values=dict(values),
        )
        for entry in chosen
    ]  # fmt: skip
    return any(asked)


def _offer_older(listed: Listed) -> None:
    with st.container(horizontal=True):
        if listed.before is not None and st.button(tr("Newest")):
            st.session_state.pop("history_before", None)
            st.rerun()
        if len(listed.entries) == SHOWN and st.button(tr("Older")):
            st.session_state["history_before"] = listed.entries[-1].case_id
            st.rerun()


def _explain_nothing(board: Dashboard, tab: Tab, find: str) -> None:
    if find:
        st.markdown(tr("No case here is of a machine like “{find}”.", find=words.plain(find)))
    elif tab == "shelved":
        st.markdown(tr("Nothing is on the shelf."))
    elif tab == "history":
        st.markdown(tr("No case is over yet."))
    else:
        totals = read_summary(board).totals
        points, assessable = totals.points, totals.assessable
        st.markdown(tr("**No open cases.**"))
        if not points:
            st.markdown(tr("But nothing is being watched: no measurement point has reported yet."))
        elif assessable == points:
            st.markdown(tr("All {points} points are assessable: silence is good news.", points=points))
        else:
            st.markdown(
                tr(
                    "{assessable} of {points} points are assessable, {blind} are blind: silent, learning, stopped or "
                    "not believed. Of those this says nothing.",
                    assessable=assessable, points=points, blind=points - assessable,
                )
            )  # fmt: skip
