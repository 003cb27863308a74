"""This file knows the address of every page, and the links between them: plain ones that load the page anew.

Streamlit's own page change races with live fragments: one that is due while the next page is being built makes the
browser throw away what it has of that page and end blank ("Bad delta path index"; seen with 1.67 in one change out of
fifty). A link that loads the page cannot meet that, opens in a new tab, and can be sent to a colleague.
"""

from html import escape
from typing import Literal
from urllib.parse import quote

import streamlit as st

from dashboard.languages import tr

PLANT, MACHINE, POINT, ALARMS = "plant", "machine", "point", "alarms"
LEARNING, FLEET, SETTINGS, PEOPLE, AUDIT = "learning", "fleet", "settings", "people", "audit"
SITES = "sites"
STARTS = frozenset({PLANT, SITES})
_STYLE = """<style>
.ut-nav { display: flex; gap: 0.3rem; flex-wrap: wrap; }
.ut-nav a { color: inherit; text-decoration: none; padding: 0.35rem 0.6rem; border-radius: 6px; }
.ut-nav a:hover { text-decoration: underline; }
.ut-nav a[aria-current] { background: rgba(128, 128, 128, 0.2); font-weight: 600; }
@media (pointer: coarse) { .ut-nav { gap: 0.1rem; } .ut-nav a { padding: 0.7rem 0.55rem; } }
</style>"""


def machine_address(machine: str) -> str:
    """Where one machine's page is, relative to every page."""
    return f"machine?machine={quote(machine)}"


def point_address(point: str) -> str:
    """Where the analysis of one measurement point is, relative to every page."""
    return f"point?point={quote(point, safe='')}"


def case_address(case_id: int) -> str:
    """Where one case is among all, relative to every page."""
    return f"alarms?case={case_id}"


def area_address(area: str) -> str:
    """Where the machines of one line are listed, relative to every page."""
    return f"./?area={quote(area, safe='')}"


def page_titles(role: Literal["site", "enterprise"] = "site") -> dict[str, str]:
    """The title of every page by its address, in the order of the navigation; the first is the one to start from."""
    if role == "enterprise":
        return {SITES: tr("Sites"), LEARNING: tr("Learning"), PEOPLE: tr("People"), AUDIT: tr("Audit log")}
    return {
        PLANT: tr("Plant"), MACHINE: tr("Machine"), POINT: tr("Point"), ALARMS: tr("Alarms"), LEARNING: tr("Learning"),
        FLEET: tr("Fleet"), SETTINGS: tr("Settings"), PEOPLE: tr("People"), AUDIT: tr("Audit log"),
    }  # fmt: skip


def show_links(here: str, role: Literal["site", "enterprise"] = "site") -> None:
    """Show the links to all pages; the audit log is found from the people."""
    links = "".join(
        f'<a href="{"./" if page in STARTS else page}"{" aria-current=page" if page == here else ""}>{escape(said)}</a>'
        for page, said in page_titles(role).items()
        if page != AUDIT
    )
    st.html(f'{_STYLE}<nav class="ut-nav" aria-label="{escape(tr("Pages"))}">{links}</nav>')
