"""This file knows how conditions of machines become rows of the list, each a link by the machine's name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dashboard import words
from dashboard.components.assets import asset
from dashboard.condition import Condition
from dashboard.languages import tr
from dashboard.pages.addresses import case_address, machine_address
from dashboard.queries.records import Trend

_list = st.components.v2.component(
    "undertone.machine_list", css=asset("machine_list.css"), js=asset("glyph.js") + asset("machine_list.js")
)


@dataclass(frozen=True, slots=True)
class Pressed:
    """A button beside a row: `shelve` or `report`, of which machine."""

    action: str
    machine: str


def list_rows(
    conditions: Sequence[Condition], trends: dict[str, Trend], *, may_shelve: bool = False
) -> list[dict[str, Any]]:  # fmt: skip
    """Describe the rows in the order given."""
    return [_row(condition, trends.get(condition.machine), may_shelve=may_shelve) for condition in conditions]


def show_machine_list(key: str, rows: Sequence[dict[str, Any]], *, view: str) -> Pressed | None:
    """Draw the list; its order stands while `view`, what is listed, is the same. Tells which button was pressed."""
    texts = {
        "head_state": tr("State"), "head_name": tr("Machine"), "head_why": tr("Why"), "head_zone": tr("Zone"),
        "head_trend": tr("Score, limit dashed"), "head_life": tr("Remaining life"), "head_age": tr("Last data"),
        "zone": tr("Zone"), "spark": tr("score over limit, now {times} times the limit"),
        "sort": tr("Sort by attention"), "keep": tr("Keep sorted"),
        "changed": tr("The order has changed; it stands until you sort."),
        "held": tr("The order has changed; it is held while you are in the list."),
    }  # fmt: skip
    # A component tells what it triggers only where somebody listens.
    result = _list(key=key, data={"rows": list(rows), "texts": texts, "view": view}, on_act_change=lambda: None)
    said = result.act
    return Pressed(str(said["action"]), str(said["machine"])) if isinstance(said, dict) else None


def _row(condition: Condition, trend: Trend | None, *, may_shelve: bool) -> dict[str, Any]:
    level = condition.level
    case = condition.case
    how_long = condition.remaining_life
    work = ""
    if case is not None:
        seen_by = case.acknowledged_by or tr("somebody")
        work = tr("seen by {who}", who=seen_by) if case.state == "acknowledged" else tr("not acknowledged")
    acts = [["shelve", tr("Shelve")]] if case is not None and case.shelved_until_us is None and may_shelve else []
    return {
        "machine": condition.machine,
        "title": condition.title,
        "href": machine_address(condition.machine),
        "shape": level.shape,
        "letter": level.letter,
        "word": level.said,
        "colour": level.colour,
        "reason": condition.reason,
        "details": list(condition.details),
        "zone": condition.zone,
        "life": words.remaining_life(how_long.life) if how_long is not None and how_long.life is not None else "",
        "trend": [] if trend is None else [round(ratio, 3) for ratio in trend.ratios],
        "age": tr("never") if condition.age_s is None else words.age(condition.age_s),
        "work": work,
        "stale": condition.stale,
        "case": None if case is None else {
            "href": case_address(case.case_id), "text": tr("Case {number}", number=case.case_id)
        },
        "acts": [*acts, ["report", tr("Report")]],
    }  # fmt: skip
