"""This file knows the first page: is anything wrong, where first, and is the watching itself in order?"""

from collections.abc import Sequence

import streamlit as st

from dashboard import runtime, words
from dashboard.components.machine_list import list_rows, show_machine_list
from dashboard.condition import Condition
from dashboard.errors import DatabaseUnavailable
from dashboard.languages import tr
from dashboard.pages.addresses import ALARMS, machine_address
from dashboard.pages.explaining import explain_empty, explain_unavailable
from dashboard.pages.links import link, plain, show_list
from dashboard.pages.live import judge_plant, read_live_plant
from dashboard.pages.notice import show_notice
from dashboard.queries.plant import PlantEvent, read_plant_events
from dashboard.queries.records import Plant
from dashboard.runtime import Dashboard

SHOWN = 200
SHIFT_S = 8 * 3600.0
TOLD_EVENTS = 8
TOLD_MACHINES = 6
QUIET = frozenset({"normal", "learning", "stopped"})
ATTENTION, EVERYTHING = "attention", "everything"


def show_overview() -> None:
    """Show all machines, worst first, and keep the list fresh."""
    board = runtime.current()
    st.fragment(_live_list, run_every=board.settings.live.refresh_s)()


def coverage_words(conditions: Sequence[Condition]) -> str:
    """Say how much of the plant is really watched."""
    points = sum(condition.points for condition in conditions)
    assessable = sum(condition.points_assessable for condition in conditions)
    return tr("{count} of {all} points assessable", count=assessable, all=points)


def blind_words(conditions: Sequence[Condition]) -> list[str]:
    """Say which machines are not, or not fully, watched, and why; one line a reason."""
    blind = [found for found in conditions if found.points_assessable < found.points or not found.points]
    groups = {
        tr("silent"): [found for found in blind if found.stale],
        tr("sensor in doubt"): [found for found in blind if not found.stale and found.level.name == "sensor"],
        tr("learning what is healthy"): [found for found in blind if found.level.name == "learning"],
        tr("standing still"): [found for found in blind if found.level.name == "stopped"],
    }
    told = {found.machine for group in groups.values() for found in group}
    groups[tr("some points")] = [found for found in blind if found.machine not in told]
    return [f"{reason}: {_named(group)}" for reason, group in groups.items() if group]


def event_words(event: PlantEvent, titles: dict[str, str], zone: str | None) -> str:
    """Say one thing that happened, with a link to its machine."""
    what = {
        "opened": tr("case opened"), "acknowledged": tr("acknowledged"), "closed": tr("case closed"),
        "maintenance": tr("maintenance recorded"), "label": tr("cause labelled"), "note": tr("note"),
        "alarm": tr("alarm"),
    }.get(event.kind, event.kind)  # fmt: skip
    who = "" if event.actor == "site" else f" ({event.actor})"
    machine = link(titles.get(event.machine) or event.machine, machine_address(event.machine))
    text = event.text if len(event.text) <= 100 else event.text[:99] + "…"
    return f"{words.clock(event.at_us, zone)} {machine} {plain(f'{what}{who}: {text}')}"


def _named(conditions: Sequence[Condition]) -> str:
    links = [link(found.title, machine_address(found.machine)) for found in conditions[:TOLD_MACHINES]]
    more = len(conditions) - len(links)
    return ", ".join(links) + (" " + tr("and {count} more", count=more) if more else "")


def _live_list() -> None:
    board = runtime.current()
    try:
        plant = read_live_plant(board)
        events = board.shared.get("plant_events", 0.8 * board.settings.live.refresh_s, lambda: _events(board))
    except DatabaseUnavailable as problem:
        explain_unavailable(problem, shown_url=board.reader.shown_url)
        return
    if not plant.machines:
        explain_empty(len(plant.gateways), sum(found.online for found in plant.gateways))
        return
    conditions = judge_plant(board, plant)
    _warn_if_silent(plant, conditions, board.now_us())
    wanted = [condition for condition in conditions if condition.level.name not in QUIET]
    titles = {EVERYTHING: tr("All machines"), ATTENTION: tr("Needs attention")}
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        chosen = st.segmented_control(
            tr("Machines"), list(titles), default=EVERYTHING, key="overview_filter", required=True,
            label_visibility="collapsed", format_func=lambda name: titles[name],
        )  # fmt: skip
        needing = tr("{count} of {all} machines need attention", count=len(wanted), all=len(conditions))
        st.caption(f"{needing} · {coverage_words(conditions)}", width="content")
    listed = wanted if chosen == ATTENTION else conditions
    if listed:
        show_machine_list("machines", list_rows(listed[:SHOWN], plant.trends), view=chosen or EVERYTHING)
    else:
        st.markdown(tr("No machine needs attention."))
    if len(listed) > SHOWN:
        st.caption(tr("The {shown} most urgent of {all} machines are shown.", shown=SHOWN, all=len(listed)))
    _cards(conditions, events)


def _events(board: Dashboard) -> list[PlantEvent]:
    since_us = board.now_us() - int(SHIFT_S * 1e6)
    with board.reader.read() as connection:
        return read_plant_events(connection, since_us=since_us, limit=TOLD_EVENTS + 1)


def _cards(conditions: Sequence[Condition], events: Sequence[PlantEvent]) -> None:
    left, right = st.columns(2, gap="medium")
    with left, st.container(border=True):
        st.markdown(f"**{tr('Is the watching in order?')}**  \n{coverage_words(conditions)}")
        blind = blind_words(conditions)
        if blind:
            show_list(blind)
        else:
            st.markdown(tr("Every point is watched."))
    with right, st.container(border=True):
        zone = st.context.timezone
        st.markdown(f"**{tr('What changed in the last 8 hours')}** ({zone or 'UTC'})")
        titles = {found.machine: found.title for found in conditions}
        lines = [event_words(event, titles, zone) for event in events[:TOLD_EVENTS]]
        if len(events) > TOLD_EVENTS:
            lines.append(link(tr("and earlier ones, on the page of alarms"), ALARMS))
        if lines:
            show_list(lines)
        else:
            st.markdown(tr("Nothing was opened, closed or done."))


def _warn_if_silent(plant: Plant, conditions: Sequence[Condition], now_us: int) -> None:
    if not all(condition.stale for condition in conditions):
        return
    since = plant.newest_received_us
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
