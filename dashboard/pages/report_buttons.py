"""This file knows the buttons with which reports are taken from a page: of one machine, of the shift."""

from collections.abc import Callable

import streamlit as st

from dashboard.languages import language, tr
from dashboard.runtime import Dashboard
from dashboard.units import reading_in, units

DAYS_SHOWN = 30.0


def offer_machine_report(board: Dashboard, name: str) -> None:
    """Offer the report of one machine, over the last thirty days."""
    zone = st.context.timezone or "UTC"
    st.download_button(
        tr("Report as PDF"), machine_maker(board, name, DAYS_SHOWN, language(), zone), f"{name}.pdf", "application/pdf",
        key=f"machine_pdf:{name}", on_click="ignore", icon=":material/picture_as_pdf:",
    )  # fmt: skip


def offer_shift_report(board: Dashboard, hours: float) -> None:
    """Offer the report of the hours up to now."""
    zone = st.context.timezone or "UTC"
    st.download_button(
        tr("Shift report as PDF"), shift_maker(board, hours, language(), zone), "shift.pdf", "application/pdf",
        key="overview_shift_pdf", on_click="ignore", icon=":material/picture_as_pdf:",
        help=tr("The last {hours} hours: open cases, what happened, what was not watched.", hours=f"{hours:.0f}"),
    )  # fmt: skip


def shift_maker(board: Dashboard, hours: float, spoken: str, zone: str) -> Callable[[], bytes]:
    """Make the report when the button is pressed, not when it is shown; in the units of who sees the button."""
    chosen = units()

    def make() -> bytes:
        from dashboard.reports.shift import shift_report

        with reading_in(chosen):
            return shift_report(board, hours=hours, until_us=board.now_us(), language=spoken, zone=zone)

    return make


def machine_maker(board: Dashboard, name: str, days: float, spoken: str, zone: str) -> Callable[[], bytes]:
    """Make the report when the button is pressed, not when it is shown; in the units of who sees the button."""
    chosen = units()

    def make() -> bytes:
        from dashboard.reports.machine import machine_report

        with reading_in(chosen):
            made = machine_report(board, name, days=days, until_us=board.now_us(), language=spoken, zone=zone)
        return made or b""

    return make
