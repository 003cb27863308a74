"""This file knows the page of the fleet: gateways, sensors, and devices that nobody has made known.

A snapshot, read when the page is opened.
"""

import streamlit as st

from dashboard import runtime
from dashboard.errors import DatabaseUnavailable
from dashboard.languages import tr
from dashboard.pages.explaining import explain_unavailable
from dashboard.pages.fleet_devices import show_devices
from dashboard.pages.fleet_gateways import show_gateways
from dashboard.pages.fleet_sensors import show_sensors
from dashboard.runtime import Dashboard

PARTS = ("gateways", "sensors", "devices")


def show_fleet() -> None:
    """Show the part named in the address."""
    board = runtime.current()
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.header(tr("Fleet"), width="content")
        if st.button(tr("Read again"), icon=":material/refresh:"):
            st.rerun()
    try:
        _show(board)
    except DatabaseUnavailable as problem:
        explain_unavailable(problem, shown_url=board.reader.shown_url)


def _show(board: Dashboard) -> None:
    names = {"gateways": tr("Gateways"), "sensors": tr("Sensors"), "devices": tr("Unknown devices")}
    wanted = st.query_params.get("part")
    part = st.segmented_control(
        tr("Part"), PARTS, default=wanted if wanted in PARTS else "gateways", key="fleet_part", required=True,
        format_func=lambda name: names[name], label_visibility="collapsed",
    )  # fmt: skip
    st.query_params["part"] = part
    if part == "sensors":
        show_sensors(board)
    elif part == "devices":
        show_devices(board)
    else:
        show_gateways(board)
