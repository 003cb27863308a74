"""This file knows the strip above every page: is it live, how many machines have what, gateways, learning."""

from collections import Counter

import streamlit as st

from dashboard import runtime, words
from dashboard.condition import LEVELS, Condition
from dashboard.errors import DatabaseUnavailable
from dashboard.languages import tr
from dashboard.pages.live import judge_plant, newest_words, read_live_plant
from dashboard.queries.records import Plant

SEPARATOR = "\u2002·\u2002"


def show_strip() -> None:
    """Show the strip and keep it fresh."""
    board = runtime.current()
    st.fragment(_strip, run_every=board.settings.live.refresh_s)()


def strip_parts(plant: Plant, conditions: list[Condition], now_us: int) -> list[str]:
    """The strip's texts, most important first."""
    counts = Counter(condition.level.name for condition in conditions)
    abnormal = [
        f"{level.text}\u00a0{counts[level.name]}"
        for level in LEVELS.values()
        if counts[level.name] and level.name in {"danger", "alert", "notice", "sensor", "unknown"}
    ]
    silent = bool(conditions) and all(condition.stale for condition in conditions)
    parts = (
        [f"**{tr('▨ stale') if silent else tr('live')}**, {newest_words(plant, now_us)}"]
        if conditions
        else [tr("no machines yet")]
    )
    parts += abnormal or ([tr("nothing abnormal on machines that report")] if conditions else [])
    if plant.gateways:
        online = sum(found.online for found in plant.gateways)
        parts.append(tr("gateways {online} of {count} online", online=online, count=len(plant.gateways)))
    if plant.last_round is not None:
        ended = plant.last_round.ended_at_us or plant.last_round.started_at_us
        state = _round_words().get(plant.last_round.state, plant.last_round.state)
        parts.append(tr("learning round {state} {age}", state=state, age=words.age((now_us - ended) / 1e6)))
    return parts


def _strip() -> None:
    board = runtime.current()
    try:
        plant = read_live_plant(board)
        parts = strip_parts(plant, judge_plant(board, plant), board.now_us())
    except DatabaseUnavailable as problem:
        parts = [f"{LEVELS['unknown'].mark} **{tr('state not known')}**: {words.plain(problem.detail)}"]
    st.markdown(SEPARATOR.join([f"**{words.plain(board.settings.title)}**", *parts]))


def _round_words() -> dict[str, str]:
    return {"offered": tr("offered"), "merged": tr("merged"), "released": tr("released"), "void": tr("void")}
