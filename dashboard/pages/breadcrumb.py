"""This file knows where a person is: plant, line, machine, point or case; each step a link that can be sent."""

import streamlit as st

from dashboard.condition import position
from dashboard.errors import DatabaseUnavailable
from dashboard.languages import tr
from dashboard.pages.addresses import (
    ALARMS,
    AUDIT,
    MACHINE,
    PEOPLE,
    PLANT,
    POINT,
    area_address,
    machine_address,
    page_titles,
)
from dashboard.pages.links import link, plain
from dashboard.queries.cases import read_entry
from dashboard.queries.plant import Place, read_place
from dashboard.runtime import Dashboard
from schemas.names import machine_of

_STEP = ' <span aria-hidden="true">›</span> '


def show_breadcrumb(board: Dashboard, page: str) -> None:
    """Show the way from the plant to what this page shows."""
    steps = "".join(f"{_STEP}{step}" for step in way(board, page))
    plant = link(tr("Plant"), "./") if steps else plain(tr("Plant"))
    st.html(f'<nav class="ut-text" aria-label="{plain(tr("Where you are"))}">{plant}{steps}</nav>', width="content")


def way(board: Dashboard, page: str) -> list[str]:
    """The steps below the plant, as HTML; names alone while the database cannot be read."""
    asked = st.query_params
    if page == PLANT:
        return [plain(asked["area"] or tr("without a line"))] if "area" in asked else []
    point = asked.get("point", "") if page == POINT else ""
    machine = machine_of(point) if point else asked.get("machine", "") if page == MACHINE else ""
    number = asked.get("case", "") if page == ALARMS else ""
    steps = []
    if page == AUDIT:
        steps.append(link(page_titles()[PEOPLE], PEOPLE))
    if number.isdecimal() and len(number) < 16:
        machine = _machine_of_case(board, int(number))
        steps.append(link(page_titles()[ALARMS], ALARMS))
    if machine:
        steps += _to_machine(_place(board, machine), last=page == MACHINE)
    if point:
        return [*steps, plain(position(point))]
    if number:
        return [*steps, plain(tr("Case {number}", number=number[:20]))]
    return steps if machine or page not in page_titles() else [*steps, plain(page_titles()[page])]


def _to_machine(place: Place, *, last: bool) -> list[str]:
    title = place.title or place.machine
    line = [link(place.area, area_address(place.area))] if place.area else []
    return [*line, plain(title) if last else link(title, machine_address(place.machine))]


def _place(board: Dashboard, machine: str) -> Place:
    try:
        with board.reader.read() as connection:
            return read_place(connection, machine) or Place(machine)
    except DatabaseUnavailable:  # the page says so
        return Place(machine)


def _machine_of_case(board: Dashboard, number: int) -> str:
    try:
        with board.reader.read() as connection:
            entry = read_entry(connection, number)
    except DatabaseUnavailable:  # the page says so
        return ""
    return "" if entry is None else entry.machine
