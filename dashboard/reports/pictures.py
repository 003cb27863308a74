"""This file knows the pictures of a report: a trend against its limit, a spectrum with its fault lines, as vectors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from reportlab.graphics.shapes import Drawing, Line, PolyLine, String
from reportlab.lib.colors import HexColor

from dashboard.reports.paper import FONT, GREY, INK, RULE, WIDTH, fonts
from dashboard.units import shown as as_read

FloatArray = NDArray[np.floating[Any]]

HEIGHT = 150.0
LEFT, BOTTOM, TOP = 42.0, 26.0, 14.0
MOST_POINTS = 1500  # of one line on paper; of several captures at one place the highest
TICKS = 5
GAP_STEPS = 2.5  # times the usual distance
LIMIT_INK, CURSOR_INK = HexColor("#a50d18"), HexColor("#1f5fa8")
MINUTE_US, HOUR_US, DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
_STEPS_US = [
    *(n * MINUTE_US for n in (1, 5, 15, 30)), *(n * HOUR_US for n in (1, 2, 6, 12)),
    *(n * DAY_US for n in (1, 2, 7, 14, 30, 90, 180, 365)),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Marked:
    """A place on the axis with a name, such as a fault line."""

    name: str
    at: float


def trend_picture(
    title: str, at_us: Sequence[int], values: Sequence[float | None], limit: Sequence[float | None], *, unit: str,
    zone: str,
) -> Drawing:  # fmt: skip
    """Draw values over time, with gaps where nothing was measured.

    Args:
        title: Above it.
        at_us: Times, rising.
        values: None where nothing could be believed.
        limit: Of each; drawn dashed.
        unit: Of the values.
        zone: For the days and hours below it.
    """
    read = as_read(unit)
    values, limit = ([None if one is None else one * read.factor for one in line] for line in (values, limit))
    found = [value for value in (*values, *limit) if value is not None and math.isfinite(value)]
    picture = _Picture(title, read.unit, (float(at_us[0]), float(at_us[-1])), (0.0, max(found, default=1.0)))
    span_us = at_us[-1] - at_us[0]
    step_us = next((step for step in _STEPS_US if span_us / step <= 7), _STEPS_US[-1])
    local = ZoneInfo(zone)
    offset = datetime.fromtimestamp(at_us[0] / 1e6, tz=UTC).astimezone(local).utcoffset()
    offset_us = round(offset.total_seconds() * 1e6) if offset is not None else 0
    first_us = -(-(at_us[0] + offset_us) // step_us) * step_us - offset_us
    words = "%m-%d" if step_us >= DAY_US else "%H:%M"
    for tick_us in range(first_us, at_us[-1] + 1, step_us):
        picture.tick(tick_us, datetime.fromtimestamp(tick_us / 1e6, tz=UTC).astimezone(local).strftime(words))
    broken = _breaks(at_us)
    picture.lines(at_us, limit, LIMIT_INK, dashed=True, broken=broken)
    picture.lines(at_us, values, INK, broken=broken)
    return picture.drawing


def spectrum_picture(
    title: str, start_hz: float, step_hz: float, values: FloatArray, marks: Sequence[Marked], *, unit: str,
    up_to_hz: float | None = None,
) -> Drawing:  # fmt: skip
    """Draw a spectrum with named lines where theory expects a fault.

    Args:
        title: Above it.
        start_hz: Frequency of the first value.
        step_hz: Between values.
        values: Amplitudes, shape (n,).
        marks: Named frequencies in Hz.
        unit: Of the values.
        up_to_hz: Where it ends; the whole by default.
    """
    frequency_hz = start_hz + step_hz * np.arange(values.size)
    if up_to_hz is not None:
        shown = frequency_hz <= up_to_hz
        if shown.sum() > 2:
            frequency_hz, values = frequency_hz[shown], values[shown]
    read = as_read(unit)
    frequency_hz, values = _thinned(frequency_hz, values * read.factor)
    picture = _Picture(
        title, read.unit, (float(frequency_hz[0]), float(frequency_hz[-1])), (0.0, float(values.max() or 1.0))
    )
    step = _round_step(float(frequency_hz[-1] - frequency_hz[0]), 8)
    for number in range(math.ceil(frequency_hz[0] / step), int(frequency_hz[-1] / step) + 1):
        picture.tick(
            number * step, f"{number * step:g} Hz" if number * step + step > frequency_hz[-1] else f"{number * step:g}"
        )
    for mark in marks:
        if frequency_hz[0] < mark.at < frequency_hz[-1]:
            picture.mark(mark)
    picture.lines(frequency_hz.tolist(), values.tolist(), INK)
    return picture.drawing


class _Picture:
    """Axes with a grid, and what is drawn into them."""

    def __init__(self, title: str, unit: str, x: tuple[float, float], y: tuple[float, float]) -> None:
        fonts()
        self.drawing = Drawing(WIDTH, HEIGHT)
        self._x, self._y = x, (y[0], y[1] * 1.08 if y[1] > y[0] else y[0] + 1.0)
        said = f"{title}, {unit}" if unit else title
        self._add(String(0, HEIGHT - 9, said, fontName=FONT, fontSize=8, fillColor=INK))
        step = _round_step(self._y[1] - self._y[0], TICKS)
        for number in range(int(self._y[1] / step) + 1):
            height = self._up(number * step)
            self._add(Line(LEFT, height, WIDTH, height, strokeColor=RULE, strokeWidth=0.3))
            said = f"{number * step:.6g}"
            self._add(
                String(LEFT - 4, height - 2.5, said, fontName=FONT, fontSize=6.5, fillColor=GREY, textAnchor="end")
            )
        self._add(Line(LEFT, BOTTOM, WIDTH, BOTTOM, strokeColor=GREY, strokeWidth=0.6))

    def tick(self, at: float, said: str) -> None:
        place = self._across(at)
        self._add(Line(place, BOTTOM, place, BOTTOM - 3, strokeColor=GREY, strokeWidth=0.5))
        self._add(String(place, BOTTOM - 11, said, fontName=FONT, fontSize=6.5, fillColor=GREY, textAnchor="middle"))

    def mark(self, mark: Marked) -> None:
        place = self._across(mark.at)
        top = HEIGHT - TOP - 6
        self._add(Line(place, BOTTOM, place, top, strokeColor=CURSOR_INK, strokeWidth=0.6, strokeDashArray=[2, 2]))
        self._add(String(place + 2, top - 6, mark.name, fontName=FONT, fontSize=6.5, fillColor=CURSOR_INK))

    def lines(
        self, at: Sequence[float], values: Sequence[float | None], colour: Any, *, dashed: bool = False,
        broken: frozenset[int] = frozenset(),
    ) -> None:  # fmt: skip
        run: list[float] = []
        for index, (place, value) in enumerate(zip(at, values, strict=True)):
            missing = value is None or not math.isfinite(value)
            if missing or index in broken:
                self._line(run, colour, dashed=dashed)
                run = []
            if value is not None and not missing:
                run += [self._across(place), self._up(value)]
        self._line(run, colour, dashed=dashed)

    def _line(self, run: list[float], colour: Any, *, dashed: bool) -> None:
        if len(run) >= 4:
            self._add(PolyLine(run, strokeColor=colour, strokeWidth=0.7, strokeDashArray=[4, 2] if dashed else None))

    def _across(self, at: float) -> float:
        low, high = self._x
        return LEFT + (WIDTH - LEFT) * (at - low) / ((high - low) or 1.0)

    def _up(self, value: float) -> float:
        low, high = self._y
        return BOTTOM + (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    def _add(self, shape: Any) -> None:
        self.drawing.add(shape)


def _breaks(at_us: Sequence[int]) -> frozenset[int]:
    """Before which values nothing was measured for so long that no line may lead there."""
    steps = np.diff(np.asarray(at_us, dtype=np.int64))
    return frozenset((np.flatnonzero(steps > GAP_STEPS * np.median(steps)) + 1).tolist()) if steps.size else frozenset()


def _thinned(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of neighbours the highest: no peak is lost on paper."""
    group = -(-x.size // MOST_POINTS)
    if group <= 1:
        return x, y
    starts = np.arange(0, x.size, group)
    best = np.array([start + int(np.argmax(y[start : start + group])) for start in starts])
    return x[best], y[best]


def _round_step(span: float, count: int) -> float:
    raw = max(float(span), 1e-12) / count
    size = math.pow(10.0, math.floor(math.log10(raw)))
    return size * next(factor for factor in (1.0, 2.0, 5.0, 10.0) if size * factor >= raw)
