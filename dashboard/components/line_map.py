"""This file knows how the lines of a plant become cards: the worst state of each, and how many machines have what."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard.components.assets import asset
from dashboard.condition import LEVELS, QUIET
from dashboard.languages import tr
from dashboard.pages.addresses import area_address
from dashboard.queries.standing import Area

_map = st.components.v2.component(
    "undertone.line_map", css=asset("line_map.css"), js=asset("glyph.js") + asset("line_map.js")
)


def area_cards(areas: Sequence[Area], chosen: str | None) -> list[dict[str, Any]]:
    """Describe the cards in the order given."""
    return [_card(area, chosen=area.name == chosen) for area in areas]


def show_line_map(areas: Sequence[Area], chosen: str | None) -> None:
    """Draw the cards; each leads to the machines of its line."""
    _map(key="line_map", data={"lines": area_cards(areas, chosen), "title": tr("Lines of the plant")})


def _card(area: Area, *, chosen: bool) -> dict[str, Any]:
    level = LEVELS[area.worst]
    told = [name for name in LEVELS if name in area.levels and name not in QUIET]
    counts = [f"{LEVELS[name].mark} {LEVELS[name].letter} {area.levels[name]}" for name in told]
    said = tr("{count} machines", count=area.machines) if area.machines != 1 else tr("1 machine")
    return {
        "name": area.name or tr("without a line"), "href": area_address(area.name), "chosen": chosen,
        "shape": level.shape, "letter": level.letter, "word": level.said, "colour": level.colour,
        "counts": " · ".join([said, *counts]),
        "coverage": tr("{count} of {all} points assessable", count=area.assessable, all=area.points),
    }  # fmt: skip
