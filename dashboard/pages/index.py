"""This file knows which pages there are and under which address each is found."""

from collections.abc import Callable
from typing import Any, Literal

import streamlit as st

from dashboard.pages import addresses


def all_pages(role: Literal["site", "enterprise"] = "site") -> list[Any]:
    """In the order of the navigation."""
    return [
        st.Page(_PAGES[address], title=title, url_path=address, default=address in addresses.STARTS)
        for address, title in addresses.page_titles(role).items()
    ]


def _plant() -> None:
    from dashboard.pages.overview import show_overview

    show_overview()


def _machine() -> None:
    from dashboard.pages.machine import show_machine

    show_machine()


def _point() -> None:
    from dashboard.pages.point import show_point

    show_point()


def _alarms() -> None:
    from dashboard.pages.alarms import show_alarms

    show_alarms()


def _learning() -> None:
    from dashboard.pages.federation import show_federation

    show_federation()


def _fleet() -> None:
    from dashboard.pages.fleet import show_fleet

    show_fleet()


def _settings() -> None:
    from dashboard.pages.settings import show_settings

    show_settings()


def _people() -> None:
    from dashboard.pages.people import show_people

    show_people()


def _audit() -> None:
    from dashboard.pages.audit_log import show_audit_log

    show_audit_log()


def _sites() -> None:
    from dashboard.pages.sites import show_sites

    show_sites()


_PAGES: dict[str, Callable[[], None]] = {
    addresses.PLANT: _plant, addresses.MACHINE: _machine, addresses.POINT: _point, addresses.ALARMS: _alarms,
    addresses.LEARNING: _learning, addresses.FLEET: _fleet, addresses.SETTINGS: _settings, addresses.PEOPLE: _people,
    addresses.AUDIT: _audit, addresses.SITES: _sites,
}  # fmt: skip
