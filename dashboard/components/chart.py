"""This file knows how waveform, spectrum, envelope, waterfall and trend are handed to the one canvas that draws them.

What is sent is the full resolution, never a thinned line: the canvas draws the extremes of each pixel, so that a peak
is not lost on the way, and what is exported is what was measured.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard.components.assets import asset
from dashboard.components.chart_texts import chart_texts
from dashboard.languages import tr
from dashboard.units import Shown
from dashboard.units import shown as as_read
from vibration.units import G_MM_S2

Role = Literal["main", "baseline", "other", "limit", "row"]
VELOCITY = "mm/s RMS"

_SCRIPTS = ("chart_numbers.js", "chart_paint.js", "chart_cursors.js", "chart_exports.js", "chart_tables.js", "chart.js")
_canvas = st.components.v2.component(
    "undertone.chart", css=asset("chart.css"), js="\n".join(asset(name) for name in _SCRIPTS)
)


@dataclass(frozen=True, slots=True)
class Line:
    """Values of one line; NaN where there is none. `times_ms` only in a trend.

    Attributes:
        name: On the axis of a waterfall, and over its column in a CSV file.
        name_long: Said when the cursor is on it.
    """

    values: NDArray[np.floating[Any]]
    role: Role = "main"
    times_ms: NDArray[np.float64] | None = None
    name: str = ""
    name_long: str = ""

    def data(self, factor: float) -> dict[str, Any]:
        """What the canvas reads; values are multiplied, into the unit that is shown."""
        return {
            "role": self.role,
            "name": self.name,
            "name_long": self.name_long,
            "values": _packed(self.values * factor, "<f4"),
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


@dataclass(frozen=True, slots=True)
class Period:
    """A time that something took, in a trend; `until_ms` None means up to now."""

    label: str
    from_ms: float
    until_ms: float | None


@dataclass(frozen=True, slots=True)
class Peak:
    """A line of the full resolution that stands above the floor around it."""

    hz: float
    value: float
    prominence_db: float


@dataclass(frozen=True, slots=True)
class Share:
    """What a band adds to the score; it leads there."""

    label: str
    low_hz: float
    high_hz: float
    share: float


@dataclass(frozen=True, slots=True)
class Tools:
    """What a chart of the analyst's bench has beyond drawing.

    Attributes:
        link_name: By which a link to a view of this chart names it; empty for none.
        file_name: Of what is exported, without its ending.
        look: The range a link wants to be seen, in the axis' unit.
    """

    link_name: str = ""
    file_name: str = ""
    look: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Lines over one axis of frequency.

    Attributes:
        lines: The main one, and what it is compared with.
        unit: Of the values; with `in_velocity` they can be shown as velocity too.
        velocity_from_hz: Below it no velocity is given: 10 Hz, 2 Hz for slow machines (ISO 20816-3).
        largest_of: Of so many lines that were measured the largest is here; the list of peaks says so.
        marked_hz: A band to point at.
    """

    start_hz: float
    step_hz: float
    lines: Sequence[Line]
    unit: str
    label: str
    cursors: Sequence[Cursor] = ()
    shaft_hz: float | None = None
    first_view_hz: float | None = None
    in_velocity: bool = False
    velocity_from_hz: float = 10.0
    peaks: Sequence[Peak] = ()
    peaks_open: bool = False
    largest_of: int = 1
    contributions: Sequence[Share] = ()
    marked_hz: tuple[float, float] | None = None
    height: int = 300
    tools: Tools | None = field(default=None)


def spectrum_data(*, view_key: str, title: str, shown: Spectrum, with_hint: bool = False) -> dict[str, Any]:
    """Describe a spectrum; it opens up to `first_view_hz` if given, and a zoom is kept under `view_key`."""
    read, velocity = as_read(shown.unit), as_read(VELOCITY)
    return _data(
        kind="spectrum",
        view_key=view_key,
        title=title,
        y_label=tr("{label} in {unit}", label=shown.label, unit=read.unit),
        y_name=shown.label,
        y_unit=read.unit,
        units=[read.unit, velocity.unit] if shown.in_velocity else [read.unit],
        velocity_scale=G_MM_S2 * velocity.factor / read.factor,
        peaks=[{"hz": p.hz, "value": p.value * read.factor, "prominence_db": p.prominence_db} for p in shown.peaks],
        peaks_open=shown.peaks_open,
        largest_of=shown.largest_of,
        contributions=[
            {"label": c.label, "low": c.low_hz, "high": c.high_hz, "share": c.share} for c in shown.contributions
        ],
        from_zero=True,
        height=shown.height,
        hint=tr("Point, tap or use the arrow keys to read values; drag to zoom, double-click for all.")
        if with_hint
        else "",
        **_over_frequency(shown, read),
        **_tools(shown.tools),
    )


def waterfall_data(*, view_key: str, title: str, shown: Spectrum) -> dict[str, Any]:
    """Describe spectra of many captures, one below the other, the newest on top."""
    read = as_read(shown.unit)
    return _data(
        kind="waterfall",
        view_key=view_key,
        title=title,
        y_label=tr("capture, newest on top; the stronger the ink, the higher"),
        y_name=shown.label,
        y_unit=read.unit,
        from_zero=True,
        height=max(160, 70 + 22 * len(shown.lines)),
        **_over_frequency(shown, read),
        **_tools(shown.tools),
    )


def waveform_data(
    *, view_key: str, title: str, line: Line, step_s: float, unit: str, shaft_hz: float | None, tools: Tools | None
) -> dict[str, Any]:
    """Describe the samples of one capture."""
    read = as_read(unit)
    return _data(
        kind="waveform",
        view_key=view_key,
        title=title,
        lines=[line],
        factor=read.factor,
        y_label=tr("{label} in {unit}", label=tr("instantaneous acceleration"), unit=read.unit),
        y_name=tr("instantaneous acceleration"),
        y_unit=read.unit,
        x_label=tr("time in s"),
        step=step_s,
        count=line.values.size,
        shaft_hz=shaft_hz,
        from_zero=False,
        height=220,
        **_tools(tools),
    )


def trend_data(
    *,
    view_key: str,
    title: str,
    lines: Sequence[Line],
    unit: str,
    label: str,
    range_ms: tuple[float, float],
    zone: str | None,
    gaps_ms: Sequence[tuple[float, float]] = (),
    bands: Sequence[Band] = (),
    limits: Sequence[Limit] = (),
    marks: Sequence[Mark] = (),
    periods: Sequence[Period] = (),
    from_zero: bool = True,
    with_hint: bool = False,
    group: str = "",
    tools: Tools | None = None,
) -> dict[str, Any]:
    """Describe a trend over the viewer's local time; charts of one `group` are zoomed together."""
    read = as_read(unit)
    return _data(
        kind="trend",
        view_key=view_key,
        title=title,
        lines=lines,
        factor=read.factor,
        y_label=tr("{label} in {unit}", label=label, unit=read.unit) if unit else label,
        y_name=label,
        y_unit=read.unit,
        x_label=tr("time in {zone}", zone=zone) if zone else tr("local time"),
        range=list(range_ms),
        gaps=[list(gap) for gap in gaps_ms],
        bands=[
            {"label": b.label, "low": b.low * read.factor, "high": None if b.high is None else b.high * read.factor}
            for b in bands
        ],
        limits=[{"label": x.label, "value": x.value * read.factor, "keep": x.keep} for x in limits],
        marks=[{"label": m.label, "at": m.at_ms} for m in marks],
        periods=[{"label": p.label, "from": p.from_ms, "until": p.until_ms} for p in periods],
        from_zero=from_zero,
        height=210,
        group=group,
        hint=tr("Point, tap or use the arrow keys to read values; drag to zoom, double-click for all.")
        if with_hint
        else "",
        **_tools(tools),
    )


def show_chart(data: dict[str, Any]) -> None:
    """Draw one chart."""
    _canvas(key=f"chart:{data['view_key']}", data=data)


def _over_frequency(shown: Spectrum, read: Shown) -> dict[str, Any]:
    return {
        "lines": shown.lines,
        "factor": read.factor,
        "x_label": tr("frequency in Hz"),
        "start": shown.start_hz,
        "step": shown.step_hz,
        "count": max((line.values.size for line in shown.lines), default=0),
        "shaft_hz": shown.shaft_hz,
        "velocity_from_hz": shown.velocity_from_hz,
        "first_view": shown.first_view_hz,
        "marked_band": None if shown.marked_hz is None else list(shown.marked_hz),
        "cursors": [
            {"label": c.label, "hz": c.hz, "harmonics": c.harmonics, "tolerance": c.tolerance, "shown": c.shown,
             "found_hz": c.found_hz}
            for c in shown.cursors
        ],
    }  # fmt: skip


def _tools(tools: Tools | None) -> dict[str, Any]:
    if tools is None:
        return {}
    look = None if tools.look is None else list(tools.look)
    return {"tools": True, "link_name": tools.link_name, "file_name": tools.file_name, "look": look}


def _data(**given: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "cursors": [], "bands": [], "limits": [], "marks": [], "gaps": [], "shaft_hz": None, "start": 0.0,
        "step": 1.0, "count": 0, "range": [0.0, 1.0], "first_view": None, "units": [], "peaks": [],
        "peaks_open": False, "largest_of": 1, "periods": [], "contributions": [], "marked_band": None, "look": None,
        "group": "", "link_name": "", "file_name": "", "tools": False, "hint": "", "velocity_from_hz": 10.0,
        "velocity_scale": G_MM_S2, "texts": chart_texts(),
    }  # fmt: skip
    factor = given.pop("factor")
    given["lines"] = [line.data(factor) for line in given["lines"]]
    return plain | given


def _packed(values: NDArray[np.floating[Any]], kind: Literal["<f4", "<f8"]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()
