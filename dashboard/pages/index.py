"""This file knows which pages there are and under which address each is found."""

from typing import Any

import streamlit as st

from dashboard.pages.addresses import LEARNING, MACHINE, PLANT


def overview_page() -> Any:
    """The plant, worst first."""
    from dashboard.pages.overview import show_overview

    return st.Page(show_overview, title="Plant", url_path=PLANT, default=True)


def machine_page() -> Any:
    """One machine: `/machine?machine=pump-07`."""
    from dashboard.pages.machine import show_machine

    return st.Page(show_machine, title="Machine", url_path=MACHINE)


def federation_page() -> Any:
    """The learning, and what left the plant."""
    from dashboard.pages.federation import show_federation

    return st.Page(show_federation, title="Learning", url_path=LEARNING)


def all_pages() -> list[Any]:
    """In the order of the navigation."""
    return [overview_page(), machine_page(), federation_page()]
