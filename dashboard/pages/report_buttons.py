"""This file knows the button with which the report of one machine is taken from a page."""

from collections.abc import Callable

import streamlit as st

from dashboard.languages import language, tr
from dashboard.runtime import Dashboard

DAYS_SHOWN = 30.0


def offer_machine_report(board: Dashboard, name: str) -> None:
    """Offer the report of one machine, over the last thirty days."""
    zone = st.context.timezone or "UTC"
    st.download_button(
        tr("Report as PDF"), machine_maker(board, name, DAYS_SHOWN, language(), zone), f"{name}.pdf", "application/pdf",
        key=f"machine_pdf:{name}", on_click="ignore", icon=":material/picture_as_pdf:",
    )  # fmt: skip


def machine_maker(board: Dashboard, name: str, days: float, spoken: str, zone: str) -> Callable[[], bytes]:
    """Make the report when the button is pressed, not when it is shown."""

    def make() -> bytes:
        from dashboard.reports.machine import machine_report

        made = machine_report(board, name, days=days, until_us=board.now_us(), language=spoken, zone=zone)
        return made or b""

    return make
