"""This file knows how a spectrum, an envelope or a trend is handed to the one canvas that draws all three."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard.components.assets import asset

Role = Literal["main", "baseline", "limit"]
HINT = "Point, tap or use the arrow keys to read values; drag to zoom, double-click for all."

_canvas = st.components.v2.component("undertone.chart", css=asset("chart.css"), js=asset("chart.js"))


@dataclass(frozen=True, slots=True)
class Line:
    """Values of one line; NaN where there is none. `times_ms` only in a trend."""

    values: NDArray[np.floating[Any]]
    role: Role = "main"
    times_ms: NDArray[np.float64] | None = None

    def data(self) -> dict[str, Any]:
        """What the canvas reads."""
        return {
            "role": self.role,
            "values": _packed(self.values, "<f4"),
            "times": None if self.times_ms is None else _packed(self.times_ms, "<f8"),
            "dots": self.times_ms is not None and self.role == "main",
        }


@dataclass(frozen=True, slots=True)
class Cursor:
    """A family of lines that theory expects, with how far slip may move them."""

    label: str
    hz: float
    harmonics: int
    tolerance: float
    shown: bool
    found_hz: float | None = None


@dataclass(frozen=True, slots=True)
class Band:
    """A range of values with a name, such as a zone; `high` None means without end."""

    label: str
    low: float
    high: float | None


@dataclass(frozen=True, slots=True)
class Limit:
    """A value with a name; with `keep` the scale always reaches it."""

    label: str
    value: float
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened, in a trend."""

    label: str
    at_ms: float


def spectrum_data(
    *,
    view_key: str,
    title: str,
    start_hz: float,
    step_hz: float,
    lines: Sequence[Line],
    unit: str,
    label: str,
    cursors: Sequence[Cursor],
    shaft_hz: float | None,
    with_hint: bool = False,
    first_view_hz: float | None = None,
) -> dict[str, Any]:
    """Describe a spectrum; it opens up to `first_view_hz` if given, and a zoom is kept under `view_key`."""
    return _data(
        kind="spectrum",
        view_key=view_key,
        title=title,
        lines=lines,
        y_label=f"{label} in {unit}",
        y_unit=unit,
        x_label="frequency in Hz",
        start=start_hz,
        step=step_hz,
        count=max((line.values.size for line in lines), default=0),
        shaft_hz=shaft_hz,
        cursors=[
            {"label": c.label, "hz": c.hz, "harmonics": c.harmonics, "tolerance": c.tolerance, "shown": c.shown,
             "found_hz": c.found_hz}
            for c in cursors
        ],
        from_zero=True,
        height=300,
        hint=HINT if with_hint else "",
        first_view=first_view_hz,
    )  # fmt: skip


def trend_data(
    *,
    view_key: str,
    title: str,
    lines: Sequence[Line],
    unit: str,
    label: str,
    range_ms: tuple[float, float],
    gaps_ms: Sequence[tuple[float, float]] = (),
    bands: Sequence[Band] = (),
    limits: Sequence[Limit] = (),
    marks: Sequence[Mark] = (),
    from_zero: bool = True,
    with_hint: bool = False,
) -> dict[str, Any]:
    """Describe a trend over the viewer's local time."""
    return _data(
        kind="trend",
        view_key=view_key,
        title=title,
        lines=lines,
        y_label=f"{label} in {unit}" if unit else label,
        y_unit=unit,
        x_label="local time",
        range=list(range_ms),
        gaps=[list(gap) for gap in gaps_ms],
        bands=[{"label": b.label, "low": b.low, "high": b.high} for b in bands],
        limits=[{"label": x.label, "value": x.value, "keep": x.keep} for x in limits],
        marks=[{"label": m.label, "at": m.at_ms} for m in marks],
        from_zero=from_zero,
        height=210,
        hint=HINT if with_hint else "",
    )


def show_chart(data: dict[str, Any]) -> None:
    """Draw one chart."""
    _canvas(key=f"chart:{data['view_key']}", data=data)


def _data(**given: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "cursors": [], "bands": [], "limits": [], "marks": [], "gaps": [], "shaft_hz": None, "start": 0.0,
        "step": 1.0, "count": 0, "range": [0.0, 1.0], "first_view": None,
    }  # fmt: skip
    given["lines"] = [line.data() for line in given["lines"]]
    return plain | given


def _packed(values: NDArray[np.floating[Any]], kind: Literal["<f4", "<f8"]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()
