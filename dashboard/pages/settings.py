"""This file knows the page of what a plant sets: assets, limits, bearings, who is told, labels, and what is kept."""

import streamlit as st

from dashboard import runtime
from dashboard.errors import DatabaseUnavailable
from dashboard.languages import tr
from dashboard.pages.explaining import explain_unavailable

PARTS = ("assets", "limits", "bearings", "notices", "labels", "policy")


def show_settings() -> None:
    """Show the part named in the address."""
    board = runtime.current()
    st.header(tr("Settings and labels"))
    names = {
        "assets": tr("Assets"), "limits": tr("Limits"), "bearings": tr("Bearings"), "notices": tr("Notifications"),
        "labels": tr("Labels"), "policy": tr("What is kept"),
    }  # fmt: skip
    wanted = st.query_params.get("part")
    part = st.segmented_control(
        tr("Part"), PARTS, default=wanted if wanted in PARTS else "assets", key="settings_part", required=True,
        format_func=lambda name: names[name], label_visibility="collapsed",
    )  # fmt: skip
    st.query_params["part"] = part
    try:
        if part in {"assets", "limits", "bearings"}:
            from dashboard.pages import settings_tables

            show = {
                "assets": settings_tables.show_assets, "limits": settings_tables.show_limits,
                "bearings": settings_tables.show_bearings,
            }[part]  # fmt: skip
        elif part == "notices":
            from dashboard.pages.settings_notices import show_notices as show
        elif part == "labels":
            from dashboard.pages.settings_labels import show_labels as show
        else:
            from dashboard.pages.settings_policy import show_policy as show
        show(board)
    except DatabaseUnavailable as problem:
        explain_unavailable(problem, shown_url=board.reader.shown_url)
