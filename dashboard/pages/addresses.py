"""This file knows the address of every page, and the links between them: plain ones that load the page anew.

Streamlit's own page change races with live fragments: one that is due while the next page is being built makes the
browser throw away what it has of that page and end blank ("Bad delta path index"; seen with 1.67 in one change out of
fifty). A link that loads the page cannot meet that, opens in a new tab, and can be sent to a colleague.
"""

from urllib.parse import quote

import streamlit as st

PLANT, MACHINE, LEARNING = "plant", "machine", "learning"
_LINKS = {PLANT: ("./", "Plant"), MACHINE: ("machine", "Machine"), LEARNING: ("learning", "Learning")}
_STYLE = """<style>
.ut-nav { display: flex; gap: 0.4rem; flex-wrap: wrap; }
.ut-nav a { color: inherit; text-decoration: none; padding: 0.35rem 0.7rem; border-radius: 6px; }
.ut-nav a:hover { text-decoration: underline; }
.ut-nav a[aria-current] { background: rgba(128, 128, 128, 0.2); font-weight: 600; }
@media (pointer: coarse) { .ut-nav a { padding: 0.7rem 0.9rem; } }
</style>"""


def machine_address(machine: str) -> str:
    """Where one machine's page is, relative to every page."""
    return f"machine?machine={quote(machine)}"


def show_links(here: str) -> None:
    """Show the links to all pages."""
    links = "".join(
        f'<a href="{address}"{" aria-current=page" if page == here else ""}>{title}</a>'
        for page, (address, title) in _LINKS.items()
    )
    st.html(f'{_STYLE}<nav class="ut-nav" aria-label="Pages">{links}</nav>')
