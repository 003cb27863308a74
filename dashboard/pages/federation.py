"""This file knows the page of the learning: does it work, is it safe, whom does it serve, and what left the plant.

A snapshot, read when the page is opened: what a person looks at stands still.
"""

import streamlit as st

from dashboard import runtime, words
from dashboard.errors import DatabaseUnavailable
from dashboard.languages import tr
from dashboard.learning_state import Stalled, stalled
from dashboard.pages.explaining import explain_unavailable
from dashboard.pages.federation_benefit import show_benefit
from dashboard.pages.federation_rounds import show_rounds
from dashboard.pages.ledger import show_ledger
from dashboard.pages.notice import show_notice
from dashboard.pages.release_desk import show_releases
from dashboard.queries.federation import Federation, read_federation
from dashboard.runtime import Dashboard

PARTS = ("rounds", "benefit", "releases", "ledger")


def show_federation() -> None:
    """Show the part named in the address."""
    board = runtime.current()
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.header(tr("Learning together"), width="content")
        if st.button(tr("Read again"), icon=":material/refresh:"):
            st.rerun()
    try:
        _show(board)
    except DatabaseUnavailable as problem:
        explain_unavailable(problem, shown_url=board.reader.shown_url)


def chosen_number(name: str) -> int | None:
    """A number in the address; None where there is none that could be one of ours."""
    said = st.query_params.get(name, "")
    return int(said) if said.isdecimal() and len(said) < 16 else None


def _show(board: Dashboard) -> None:
    names = {
        "rounds": tr("Rounds and members"), "benefit": tr("Whom it serves"), "releases": tr("Releases"),
        "ledger": tr("What left the plant"),
    }  # fmt: skip
    wanted = st.query_params.get("part")
    part = st.segmented_control(
        tr("Part"), PARTS, default=wanted if wanted in PARTS else "rounds", key="learning_part", required=True,
        format_func=lambda name: names[name], label_visibility="collapsed",
    )  # fmt: skip
    st.query_params["part"] = part
    round_id = chosen_number("round")
    with board.reader.read() as connection:
        found = read_federation(connection, round_id=round_id)
    _show_state(found, board.now_us())
    if part == "benefit":
        show_benefit(board)
    elif part == "releases":
        show_releases(board, found, chosen_number("release"))
    elif part == "ledger":
        show_ledger(board, found)
    else:
        show_rounds(board, found, round_id)


def _show_state(found: Federation, now_us: int) -> None:
    """Say what keeps the learning from going on, where something does."""
    hangs = stalled(found, now_us)
    if hangs is not None:
        show_notice(stalled_words(hangs, found, now_us))
    elif found.rounds and found.rounds[0].row.state == "void":
        why = words.plain(found.rounds[0].row.text) or tr("no reason was given")
        show_notice(tr("The last round did not count: {why}. Models stay as they are.", why=why))


def stalled_words(hangs: Stalled, found: Federation, now_us: int) -> str:
    """Say on whom a round hangs, since when, and what runs meanwhile."""
    since = words.span((now_us - hangs.since_us) / 1e6)
    usual = "" if hangs.usual_s is None else f" ({tr('usual: {span}', span=words.span(hangs.usual_s))})"
    if hangs.round_id is None:
        text = tr(
            "**No round for {since}**{usual}. Too few members are present, or learning was switched off in the site's "
            "settings.",
            since=since, usual=usual,
        )  # fmt: skip
    else:
        text = tr("**Round {number} has been open for {since}**{usual}.", number=hangs.round_id, since=since,
                  usual=usual)  # fmt: skip
        gateways = {one.gateway: one for one in found.gateways}
        said = []
        for name in hangs.waits_for[:10]:
            one = gateways.get(name)
            seen_us = None if one is None else one.last_seen_us
            seen = words.NOT_KNOWN if seen_us is None else words.age((now_us - seen_us) / 1e6)
            said.append(tr("{member} (last heard {seen})", member=words.plain(name), seen=seen))
        if said:
            text += " " + tr("It waits for {members}.", members=", ".join(said))
        else:
            text += " " + tr("All have answered: see whether the site service runs (`aggregator status`).")
    current = next((entry.version for entry in found.releases if entry.state == "current"), None)
    meanwhile = (
        tr("Meanwhile every gateway goes on judging by the model that came with the product.") if current is None
        else tr("Meanwhile every gateway goes on judging by release {version}.", version=current)
    )  # fmt: skip
    return f"{text} {meanwhile}"
