"""This file knows the first page: is anything wrong, where first, and is the watching itself in order?"""

from collections.abc import Sequence

import streamlit as st

from dashboard import runtime, sentences, words
from dashboard.components.line_map import show_line_map
from dashboard.components.machine_list import list_rows, show_machine_list
from dashboard.errors import DatabaseUnavailable
from dashboard.languages import tr
from dashboard.pages import overview_acts
from dashboard.pages.addresses import ALARMS, machine_address
from dashboard.pages.asking import may, show_asked
from dashboard.pages.explaining import explain_empty, explain_unavailable
from dashboard.pages.links import link, plain, show_list
from dashboard.pages.live import LISTED, Listed, Summary, read_listed, read_summary
from dashboard.pages.notice import show_notice
from dashboard.pages.report_buttons import offer_shift_report
from dashboard.queries.plant import PlantEvent, read_plant_events
from dashboard.queries.standing import AREAS, Blind, Totals, View
from dashboard.runtime import Dashboard

SHIFT_S = 8 * 3600.0
TOLD_EVENTS = 8
ATTENTION, EVERYTHING = "attention", "everything"


def show_overview() -> None:
    """Show the machines, worst first, and keep the list fresh."""
    board = runtime.current()
    overview_acts.show_wanted(board)
    show_asked(board, overview_acts.PLACE)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.text_input(
            tr("Find"), key="overview_find", max_chars=60, width=260, label_visibility="collapsed",
            placeholder=tr("machine, name or line"),
        )  # fmt: skip
        offer_shift_report(board, SHIFT_S / 3600)
    st.fragment(_live_list, run_every=board.settings.live.refresh_s)()


def coverage_words(totals: Totals) -> str:
    """Say how much of the plant is really watched."""
    return tr("{count} of {all} points assessable", count=totals.assessable, all=totals.points)


def blind_words(blind: Sequence[Blind]) -> list[str]:
    """Say which machines are not, or not fully, watched, and why; one line a reason."""
    reasons = {
        "silent": tr("silent"), "sensor": tr("sensor in doubt"), "learning": tr("learning what is healthy"),
        "stopped": tr("standing still"), "some": tr("some points"),
    }  # fmt: skip
    return [f"{reasons[group.reason]}: {_named(group)}" for group in blind]


def event_words(event: PlantEvent, zone: str | None) -> str:
    """Say one thing that happened, with a link to its machine."""
    what = {
        "opened": tr("case opened"), "acknowledged": tr("acknowledged"), "closed": tr("case closed"),
        "maintenance": tr("maintenance recorded"), "label": tr("cause labelled"), "note": tr("note"),
        "alarm": tr("alarm"), "shelved": tr("put on the shelf"), "unshelved": tr("off the shelf"),
    }.get(event.kind, event.kind)  # fmt: skip
    who = "" if event.actor == "site" else f" ({event.actor})"
    machine = link(event.title or event.machine, machine_address(event.machine))
    text = sentences.told(event.actor, event.text)
    text = text if len(text) <= 100 else text[:99] + "…"
    return f"{words.clock(event.at_us, zone)} {machine} {plain(f'{what}{who}: {text}')}"


def _named(group: Blind) -> str:
    links = [link(title, machine_address(name)) for name, title in group.named]
    more = group.count - len(links)
    return ", ".join(links) + (" " + tr("and {count} more", count=more) if more else "")


def _live_list() -> None:
    board = runtime.current()
    area = st.query_params.get("area")
    find = str(st.session_state.get("overview_find") or "").strip()
    try:
        summary = read_summary(board)
        if not summary.totals.machines:
            explain_empty(summary.totals.gateways, summary.totals.gateways_online)
            return
        events = board.shared.get("plant_events", 0.8 * board.settings.live.refresh_s, lambda: _events(board))
        _warn_if_silent(summary.totals, board.now_us())
        _show_map(summary, area)
        needing = _choose_part(summary.totals, area)
        number = int(st.session_state.get("overview_page") or 1)
        view = View(needing, area, find, (number - 1) * LISTED)
        listed = read_listed(board, view)
        if not listed.conditions and view.first:
            view = View(needing, area, find)
            listed = read_listed(board, view)
    except DatabaseUnavailable as problem:
        explain_unavailable(problem, shown_url=board.reader.shown_url)
        return
    _show_list(board, listed, view)
    _cards(summary, events)


def _show_map(summary: Summary, area: str | None) -> None:
    if len(summary.areas) > 1 or area is not None:
        show_line_map(summary.areas, area)
    if summary.all_areas > AREAS:
        st.caption(tr("The {shown} lines that stand worst of {all} are shown.", shown=AREAS, all=summary.all_areas))


def _choose_part(totals: Totals, area: str | None) -> bool:
    """Whether only machines that need somebody are wanted."""
    titles = {EVERYTHING: tr("All machines"), ATTENTION: tr("Needs attention")}
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        chosen = st.segmented_control(
            tr("Machines"), list(titles), default=EVERYTHING, key="overview_filter", required=True,
            label_visibility="collapsed", format_func=lambda name: titles[name],
        )  # fmt: skip
        needing = tr("{count} of {all} machines need attention", count=totals.needing, all=totals.machines)
        st.caption(f"{needing} · {coverage_words(totals)}", width="content")
        if area is not None:
            name = area or tr("without a line")
            st.html(f"{plain(tr('Only {area}.', area=name))} {link(tr('All lines'), './')}", width="content")
    return chosen == ATTENTION


def _show_list(board: Dashboard, listed: Listed, view: View) -> None:
    if not listed.conditions:
        said = tr("No machine here is like “{find}”.", find=words.plain(view.find)) if view.find else None
        st.markdown(said or (tr("No machine needs attention.") if view.needing else tr("This line has no machines.")))
        return
    rows = list_rows(listed.conditions, listed.trends, may_shelve=may(board, "shelve"))
    pressed = show_machine_list("machines", rows, view=f"{view.needing}:{view.area}:{view.find}:{view.first}")
    if pressed is not None:
        overview_acts.want(pressed)
    if listed.matching > LISTED:
        last = view.first + len(listed.conditions)
        with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
            st.pagination(-(-listed.matching // LISTED), key="overview_page")
            st.caption(
                tr("Machines {first} to {last} of {all}, by attention.", first=view.first + 1, last=last,
                   all=listed.matching),
                width="content",
            )  # fmt: skip


def _events(board: Dashboard) -> list[PlantEvent]:
    since_us = board.now_us() - int(SHIFT_S * 1e6)
    with board.reader.read() as connection:
        return read_plant_events(connection, since_us=since_us, limit=TOLD_EVENTS + 1)


def _cards(summary: Summary, events: Sequence[PlantEvent]) -> None:
    left, right = st.columns(2, gap="medium")
    with left, st.container(border=True):
        st.markdown(f"**{tr('Is the watching in order?')}**  \n{coverage_words(summary.totals)}")
        if summary.blind:
            show_list(blind_words(summary.blind))
        else:
            st.markdown(tr("Every point is watched."))
    with right, st.container(border=True):
        zone = st.context.timezone
        st.markdown(f"**{tr('What changed in the last 8 hours')}** ({zone or 'UTC'})")
        lines = [event_words(event, zone) for event in events[:TOLD_EVENTS]]
        if len(events) > TOLD_EVENTS:
            lines.append(link(tr("and earlier ones, on the page of alarms"), ALARMS))
        if lines:
            show_list(lines)
        else:
            st.markdown(tr("Nothing was opened, closed or done."))


def _warn_if_silent(totals: Totals, now_us: int) -> None:
    if totals.silent < totals.machines:
        return
    since = totals.newest_received_us
    if since is None:
        show_notice(tr("No measurement has arrived yet: the state of the machines is not known."))
        return
    show_notice(
        tr(
            "**Stale: no data since {moment}** ({age}). What you see is the past; the state of the machines is not "
            "known. Check the gateways, the broker and the site service (`aggregator status --json`).",
            moment=words.moment(since, st.context.timezone), age=words.age((now_us - since) / 1e6),
        )
    )  # fmt: skip
