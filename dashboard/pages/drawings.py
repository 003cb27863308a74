"""This file knows the small drawings of the learning: plain HTML in the colours of the text, readable without colour.

What is said comes in as text and is escaped here; numbers are ours. A drawing never stands alone: a table beside it
says the same in figures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import streamlit as st

_STYLE = """<style>
.ut-draw { font-size: .9rem; line-height: 1.4; }
.ut-draw dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .5rem 1rem;
  margin: 0 !important; padding: 0 !important; }
.ut-draw dl > div { margin: 0; }
.ut-draw dt { font-size: .8rem; opacity: .8; }
.ut-draw dt, .ut-draw dd { margin: 0 !important; padding: 0; }
.ut-draw dd { font-size: 1.05rem; overflow-wrap: anywhere; }
.ut-draw .steps { display: flex; flex-wrap: wrap; gap: .3rem; }
.ut-draw .steps span { border: 1px solid rgba(128,128,128,.6); border-radius: 6px; padding: .15rem .6rem; }
.ut-draw .steps .here { border: 2px solid currentColor; font-weight: 600; }
.ut-draw .steps .todo { border-style: dashed; opacity: .75; }
.ut-draw .tree { display: flex; flex-wrap: wrap; align-items: stretch; gap: .6rem; }
.ut-draw .tree > div { border: 1px solid rgba(128,128,128,.6); border-radius: 6px; padding: .4rem .7rem;
  flex: 1 1 12rem; }
.ut-draw .tree > b { align-self: center; font-size: 1.3rem; }
@media (max-width: 640px) { .ut-draw .tree { flex-direction: column; } .ut-draw .tree > b { transform: rotate(90deg); }
  .ut-draw .tree > div { flex: none; } }
.ut-draw .bar { display: flex; align-items: center; gap: .5rem; }
.ut-draw .bar i { display: block; height: .55rem; background: currentColor; opacity: .55; flex: none; }
.ut-draw .bar em { font-style: normal; min-width: 6.5rem; overflow-wrap: anywhere; }
.ut-draw .plot { position: relative; height: 13rem; margin: .4rem 4.2rem 1.8rem 3.6rem;
  border-left: 1px solid rgba(128,128,128,.8); border-bottom: 1px solid rgba(128,128,128,.8); }
.ut-draw .plot span { position: absolute; transform: translate(-50%, 50%); line-height: 1; white-space: nowrap; }
.ut-draw .plot .label { transform: translate(.6rem, 50%); font-size: .8rem; }
.ut-draw .plot .y { transform: translate(-100%, 50%); left: -.4rem; font-size: .8rem; }
.ut-draw .plot .limit { transform: none; left: .4rem; font-size: .8rem; padding-bottom: .2rem; }
.ut-draw .plot .x { transform: translate(-50%, 100%); bottom: -.5rem; font-size: .8rem; }
.ut-draw .plot hr { position: absolute; left: 0; right: 0; margin: 0; border: 0; border-top: 1px dashed currentColor; }
.ut-draw .columns { display: flex; align-items: flex-end; height: 4.5rem; gap: 1px; max-width: 46rem; }
.ut-draw .columns i { flex: 1; background: currentColor; opacity: .6; min-width: 2px; }
.ut-draw .columns.open i { background: none; border: 1px solid currentColor; opacity: .8; box-sizing: border-box; }
.ut-draw .columns i[hidden] { display: block; visibility: hidden; }
.ut-draw .columns u { align-self: stretch; border-left: 2px dashed currentColor; text-decoration: none; }
.ut-draw .scale { display: flex; justify-content: space-between; max-width: 46rem; font-size: .8rem; }
</style>"""


@dataclass(frozen=True, slots=True)
class Step:
    """One stage: `state` is done, here or todo."""

    title: str
    state: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A name, its share of the longest, and the share in words."""

    title: str
    share: float
    said: str


@dataclass(frozen=True, slots=True)
class Dot:
    """One update in the plot; one that does not count is a cross and bears its name."""

    column: int
    value: float
    counts: bool
    title: str


def show_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Show names with their values, as many beside each other as there is room for."""
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    _show(f"<dl>{cells}</dl>")


def show_steps(steps: Sequence[Step]) -> None:
    """Show stages in a row: behind, here, to come."""
    marks = {"done": "✓ ", "here": "▶ ", "todo": ""}
    _show(
        '<div class="steps">'
        + "".join(f'<span class="{step.state}">{marks[step.state]}{escape(step.title)}</span>' for step in steps)
        + "</div>"
    )


def show_tree(levels: Sequence[tuple[str, Sequence[Bar]]]) -> None:
    """Show levels from left to right, on a phone from top to bottom, each with its members and their weights."""
    boxes = [
        f"<div><strong>{escape(title)}</strong>{''.join(_bar(bar) for bar in bars)}</div>" for title, bars in levels
    ]
    _show(f'<div class="tree">{"<b>→</b>".join(boxes)}</div>')


def show_plot(dots: Sequence[Dot], columns: Sequence[str], *, limit: float | None, limit_title: str) -> None:
    """Show values over columns on a logarithmic scale, with a dashed limit.

    Args:
        dots: Values above 0.
        columns: Title of each column, left to right.
        limit: None for none.
        limit_title: What it is.
    """
    values = [dot.value for dot in dots] + ([limit] if limit else [])
    low, high = math.log10(min(values) / 1.3), math.log10(max(values) * 1.3)

    def height(value: float) -> float:
        return 100.0 * (math.log10(value) - low) / (high - low)

    parts = []
    for dot in dots:
        left = 100.0 * (dot.column + 0.5) / len(columns)
        place = f"left:{left:.2f}%;bottom:{height(dot.value):.2f}%"
        parts.append(f'<span style="{place}" title="{escape(dot.title)}">{"●" if dot.counts else "<b>✕</b>"}</span>')
        if not dot.counts:
            parts.append(f'<span class="label" style="{place}">{escape(dot.title)}</span>')
    every = max(1, math.ceil(len(columns) / 8))
    parts += [
        f'<span class="x" style="left:{100.0 * (number + 0.5) / len(columns):.2f}%">{escape(title)}</span>'
        for number, title in enumerate(columns)
        if number % every == 0
    ]
    parts += [
        f'<span class="y" style="bottom:{height(value):.2f}%">{value:.3g}</span>'
        for value in (min(values), max(values))
    ]
    if limit:
        parts.append(f'<hr style="bottom:{height(limit):.2f}%">')
        parts.append(f'<span class="limit" style="bottom:{height(limit):.2f}%">{escape(limit_title)}</span>')
    _show(f'<div class="plot">{"".join(parts)}</div>')


def show_columns(counts: Sequence[int], *, filled: bool, split: int, scale: Sequence[str]) -> None:
    """Show a histogram with a dashed line between two of its bins, and words under it.

    Args:
        counts: From the lowest bin on.
        filled: Else outlined, to tell two apart without colour.
        split: The line stands before this bin.
        scale: Words at the left, the middle and the right.
    """
    most = max(max(counts, default=0), 1)
    bars = []
    for number, count in enumerate(counts):
        hidden = "" if count else " hidden"
        line = "<u></u>" if number == split else ""
        bars.append(f'{line}<i{hidden} style="height:{100.0 * _visible(count, most):.1f}%"></i>')
    said = "".join(f"<span>{escape(word)}</span>" for word in scale)
    _show(
        f'<div class="columns{"" if filled else " open"}">{"".join(bars)}</div><div class="scale">{said}</div>'
    )  # fmt: skip


def _visible(count: int, most: int) -> float:
    """A single capture is seen beside thousands: heights are square roots."""
    return math.sqrt(count / most)


def _bar(bar: Bar) -> str:
    width_rem = 8.0 * min(1.0, max(0.02, bar.share))
    return (
        f'<div class="bar"><em>{escape(bar.title)}</em><i style="width:{width_rem:.2f}rem"></i>'
        f"<span>{escape(bar.said)}</span></div>"
    )


def _show(body: str) -> None:
    st.html(f'{_STYLE}<div class="ut-draw">{body}</div>')
