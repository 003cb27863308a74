"""This file knows the first page: is anything wrong, where first, and is the watching itself in order?"""

import streamlit as st

from dashboard import runtime, words
from dashboard.components.machine_list import list_rows, show_machine_list
from dashboard.condition import Condition
from dashboard.errors import DatabaseUnavailable
from dashboard.pages.explaining import explain_empty, explain_unavailable
from dashboard.pages.live import judge_plant, read_live_plant
from dashboard.pages.notice import show_notice
from dashboard.queries.records import Plant

SHOWN = 300
QUIET = frozenset({"normal", "learning", "stopped"})
ATTENTION, EVERYTHING = "Needs attention", "All machines"


def show_overview() -> None:
    """Show all machines, worst first, and keep the list fresh."""
    board = runtime.current()
    st.fragment(_live_list, run_every=board.settings.live.refresh_s)()


def coverage_words(conditions: list[Condition]) -> str:
    """Say how much of the plant is really watched."""
    points = sum(condition.points for condition in conditions)
    assessable = sum(condition.points_assessable for condition in conditions)
    text = f"{assessable} of {points} points assessable"
    return text if assessable == points else f"{text}; the others are silent, learning, stopped or not believed"


def _live_list() -> None:
    board = runtime.current()
    try:
        plant = read_live_plant(board)
    except DatabaseUnavailable as problem:
        explain_unavailable(problem, shown_url=board.reader.shown_url)
        return
    if not plant.machines:
        explain_empty(len(plant.gateways), sum(found.online for found in plant.gateways))
        return
    conditions = judge_plant(board, plant)
    _warn_if_silent(plant, conditions, board.now_us())
    wanted = [condition for condition in conditions if condition.level.name not in QUIET]
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        chosen = st.segmented_control(
            "Machines", [EVERYTHING, ATTENTION], default=EVERYTHING, key="overview_filter", required=True,
            label_visibility="collapsed",
        )  # fmt: skip
        st.caption(
            f"{len(wanted)} of {len(conditions)} machines need attention · {coverage_words(conditions)}",
            width="content",
        )
    listed = wanted if chosen == ATTENTION else conditions
    if not listed:
        st.markdown("No machine needs attention.")
        return
    show_machine_list("machines", list_rows(listed[:SHOWN], plant.trends))
    if len(listed) > SHOWN:
        st.caption(f"The {SHOWN} most urgent of {len(listed)} machines are shown.")


def _warn_if_silent(plant: Plant, conditions: list[Condition], now_us: int) -> None:
    if not all(condition.stale for condition in conditions):
        return
    since = plant.newest_received_us
    if since is None:
        show_notice("No measurement has arrived yet: the state of the machines is not known.")
        return
    show_notice(
        f"**Stale: no data since {words.moment(since, st.context.timezone)}** ({words.age((now_us - since) / 1e6)}). "
        "What you see is the past; the state of the machines is not known. Check the gateways, the broker and the "
        "site service (`aggregator status --json`)."
    )
