"""This file knows the strip above every page: is it live, how many machines have what, gateways, learning."""

import streamlit as st

from dashboard import runtime, words
from dashboard.condition import LEVELS
from dashboard.errors import DatabaseUnavailable
from dashboard.languages import tr
from dashboard.pages.live import Summary, newest_words, read_summary

SEPARATOR = "\u2002·\u2002"


def show_strip() -> None:
    """Show the strip and keep it fresh."""
    board = runtime.current()
    st.fragment(_strip, run_every=board.settings.live.refresh_s)()


def strip_parts(summary: Summary, now_us: int) -> list[str]:
    """The strip's texts, most important first."""
    totals = summary.totals
    told = [
        f"{level.text}\u00a0{totals.levels[level.name]}"
        for level in LEVELS.values()
        if level.name in totals.levels
        and level.name in {"danger", "alert", "notice", "sensor", "unknown", "shelved"}
    ]  # fmt: skip
    parts = [tr("no machines yet")]
    if totals.machines:
        silent = totals.silent == totals.machines
        parts = [f"**{tr('▨ stale') if silent else tr('live')}**, {newest_words(totals, now_us)}"]
        if totals.needing == 0:
            parts.append(tr("nothing abnormal on machines that report"))
    parts += told
    if totals.gateways:
        parts.append(tr("gateways {online} of {count} online", online=totals.gateways_online, count=totals.gateways))
    if summary.last_round is not None:
        ended = summary.last_round.ended_at_us or summary.last_round.started_at_us
        state = _round_words().get(summary.last_round.state, summary.last_round.state)
        parts.append(tr("learning round {state} {age}", state=state, age=words.age((now_us - ended) / 1e6)))
    return parts


def _strip() -> None:
    board = runtime.current()
    try:
        parts = strip_parts(read_summary(board), board.now_us())
    except DatabaseUnavailable as problem:
        parts = [f"{LEVELS['unknown'].mark} **{tr('state not known')}**: {words.plain(problem.detail)}"]
    st.markdown(SEPARATOR.join([f"**{words.plain(board.settings.title)}**", *parts]))


def _round_words() -> dict[str, str]:
    return {"offered": tr("offered"), "merged": tr("merged"), "released": tr("released"), "void": tr("without effect")}
