"""This file knows where reports and lists of work orders are taken from the screen: PDF, CSV, JSON."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict

import streamlit as st

from dashboard import words
from dashboard.languages import ENGLISH, LANGUAGES, language, tr
from dashboard.pages.live import machine_titles
from dashboard.pages.report_buttons import machine_maker, shift_maker
from dashboard.queries.cases import OrderEntry, read_orders
from dashboard.runtime import Dashboard

SHIFTS_H = (8, 12, 24, 168)
DAYS = {"7 d": 7.0, "30 d": 30.0, "90 d": 90.0, "365 d": 365.0}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def show_reports(board: Dashboard) -> None:
    """Offer the shift report, the report of a machine, and work orders."""
    zone = st.context.timezone or "UTC"
    spoken = st.selectbox(
        tr("Language of the report"), list(LANGUAGES), index=list(LANGUAGES).index(language()),
        format_func=lambda code: LANGUAGES[code], width=220,
    )  # fmt: skip
    left, right = st.columns(2, gap="large")
    with left, st.container(border=True):
        _offer_shift(board, spoken or ENGLISH, zone)
    with right, st.container(border=True):
        _offer_machine(board, spoken or ENGLISH, zone)
    st.caption(tr("Times in reports are in {zone}, as in this browser.", zone=words.plain(zone)))
    _offer_orders(board)


def orders_csv(orders: Sequence[OrderEntry]) -> bytes:
    """Work orders for a spreadsheet; no cell is taken for a formula."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\r\n")
    writer.writerow(OrderEntry.__slots__)
    for order in orders:
        cells = ["" if value is None else str(value) for value in asdict(order).values()]
        writer.writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells])
    return sink.getvalue().encode("utf-8-sig")


def orders_json(orders: Sequence[OrderEntry]) -> bytes:
    """Work orders for a program."""
    return json.dumps({"work_orders": [asdict(order) for order in orders]}, ensure_ascii=False, indent=1).encode()


def _offer_shift(board: Dashboard, spoken: str, zone: str) -> None:
    st.subheader(tr("Shift report"))
    hours = st.selectbox(tr("The last"), SHIFTS_H, format_func=lambda hours: f"{hours} h", width=160)
    st.download_button(
        f"{tr('Shift report as PDF')} ({LANGUAGES[spoken]})", shift_maker(board, float(hours), spoken, zone),
        "shift.pdf", "application/pdf",
        key=f"shift_pdf:{spoken}:{hours}", on_click="ignore", type="primary", icon=":material/picture_as_pdf:",
    )  # fmt: skip


def _offer_machine(board: Dashboard, spoken: str, zone: str) -> None:
    st.subheader(tr("Machine report"))
    titles = machine_titles(board)
    if not titles:
        st.markdown(tr("No machine has reported yet."))
        return
    with st.container(horizontal=True):
        name = st.selectbox(tr("Machine"), list(titles), format_func=lambda key: titles[key], key="report_machine")
        days = st.selectbox(tr("Trends of the last"), list(DAYS), index=1, width=160)
    st.download_button(
        f"{tr('Machine report as PDF')} ({LANGUAGES[spoken]})", machine_maker(board, name, DAYS[days], spoken, zone),
        f"{name}.pdf", "application/pdf", key=f"machine_pdf:{spoken}:{name}:{days}", on_click="ignore",
        type="primary", icon=":material/picture_as_pdf:",
    )  # fmt: skip


def _offer_orders(board: Dashboard) -> None:
    with board.reader.read() as connection:
        orders = read_orders(connection)
    st.subheader(tr("Work orders ({count})", count=len(orders)))
    if not orders:
        st.markdown(tr("None yet. Write one from a case: other actions, write a work order."))
        return
    st.dataframe(
        [
            {
                tr("Number"): order.number, tr("Machine"): order.machine,
                tr("Case"): words.NOT_KNOWN if order.case_id is None else str(order.case_id), tr("Due"): order.due_date,
                tr("What is to be done"): order.text, tr("Who"): order.created_by,
                tr("When"): words.moment(order.created_at_us, st.context.timezone),
            }
            for order in orders
        ],
        hide_index=True, width="stretch",
    )  # fmt: skip
    with st.container(horizontal=True):
        st.download_button("CSV", orders_csv(orders), "work-orders.csv", "text/csv", key="orders_csv",
                           on_click="ignore", icon=":material/download:")  # fmt: skip
        st.download_button("JSON", orders_json(orders), "work-orders.json", "application/json", key="orders_json",
                           on_click="ignore", icon=":material/download:")  # fmt: skip
