"""This file knows the trends of a machine: one point's history against its limits, on one time axis.

All charts share the axis: what is zoomed in one is zoomed in all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st

from dashboard import sentences, words
from dashboard.components.chart import Band, Limit, Line, Mark, Period, Tools, show_chart, trend_data
from dashboard.condition import position
from dashboard.errors import DatabaseUnavailable
from dashboard.languages import tr
from dashboard.pages.addresses import point_address
from dashboard.pages.links import link, show_row
from dashboard.pages.notice import show_notice
from dashboard.queries.assets import read_rows
from dashboard.queries.machine import (
    QUANTITIES,
    Bucket,
    Landmark,
    read_baseline,
    read_buckets,
    read_landmarks,
    read_span_us,
)
from dashboard.queries.records import CaseRecord, MachineRecord, PointRecord
from dashboard.runtime import Dashboard
from dashboard.trend_lines import gap_width_us, gaps_ms, quantity_line
from dashboard.units import shown
from dashboard.zone_words import velocity_title
from schemas.asset_table import LimitRow
from schemas.nameplate import Nameplate
from vibration.errors import VibrationError
from vibration.features import WIDE_BAND_EDGES_HZ
from vibration.iso_zones import Nameplate as ZonePlate
from vibration.iso_zones import zone

RANGES: dict[str, float | None] = {"24h": 1.0, "7d": 7.0, "30d": 30.0, "90d": 90.0, "1y": 365.0, "all": None}
DEFAULT_RANGE = "7d"
DAY_US = 86_400_000_000
KURTOSIS_SUSPICIOUS = 4.0
CREST_IMPULSIVE = 5.0
SOURCE_CHARACTERS = 40  # of a limit's source, beside its line
MAIN = (
    "score", "velocity_rms_mm_s", "envelope_rms_g", "kurtosis", "acceleration_peak_g", "temperature_c", "rpm",
)  # fmt: skip
MORE = ("acceleration_rms_g", "crest_factor", "band_low_rms_g", "band_middle_rms_g", "band_high_rms_g")


@dataclass(frozen=True, slots=True)
class Plot:
    """One quantity over time."""

    quantity: str
    title: str
    label: str
    unit: str
    bands: Sequence[Band] = ()
    limits: Sequence[Limit] = ()
    from_zero: bool = True


def show_trends(board: Dashboard, machine: MachineRecord, cases: Sequence[CaseRecord], *, until_us: int) -> None:
    """Show the trends of a chosen point over a chosen time; the address keeps both."""
    st.subheader(tr("Trends"))
    if not machine.points:
        return
    point, chosen = _choices(machine)
    more = _more_wanted(machine)
    try:
        with board.reader.read() as connection:
            span = read_span_us(connection, point.point)
            if span is None:
                st.markdown(tr("This point has no history yet."))
                return
            last_us = max(span[1], until_us) if span[1] <= until_us + DAY_US else span[1]
            days = RANGES[chosen]
            since_us = span[0] if days is None else max(span[0], last_us - int(days * DAY_US))
            wanted = ["score_limit", *(MAIN + MORE if more else MAIN)]
            buckets = read_buckets(connection, point.point, since_us=since_us, until_us=last_us, quantities=wanted)
            landmarks = read_landmarks(connection, machine.machine, since_us=since_us)
            baseline = read_baseline(connection, point.point)
            limits = read_rows(connection, "limits", LimitRow)
    except DatabaseUnavailable as problem:
        show_notice(tr("The history cannot be read now: {problem}", problem=words.plain(problem.detail)))
        return
    if not buckets:
        said = words.moment(span[1], st.context.timezone)
        st.markdown(tr("No captures in this time; the last one is of {moment}. Choose a longer time.", moment=said))
        return
    marks = [Mark(tr("case {number}", number=case.case_id), case.opened_at_us / 1e3) for case in cases]
    marks += [Mark(landmark_words(found), found.at_us / 1e3) for found in landmarks]
    own = [limit for limit in limits if limit.applies_to in {point.point, machine.machine}]
    _draw(
        _plots(machine.nameplate, own, buckets, more=more), point, buckets, marks, baseline_periods(baseline), chosen,
        (since_us, last_us),
    )  # fmt: skip
    st.caption(_caption(machine.nameplate))


def baseline_periods(baseline: tuple[int, int | None] | None) -> list[Period]:
    """From when to when the point learnt what healthy is, as a span with its name."""
    if baseline is None:
        return []
    from_us, until_us = baseline
    return [Period(tr("baseline"), from_us / 1e3, None if until_us is None else until_us / 1e3)]


def own_limits(rows: Sequence[LimitRow], quantity: str, unit: str) -> list[Limit]:
    """The plant's own limits of a quantity, each with its name: what it is, at which speeds, on what it rests."""
    factor, found = shown(unit).factor, []
    for row in rows:
        if row.quantity != quantity:
            continue
        speeds = ""
        if row.rpm_from is not None or row.rpm_to is not None:
            high = "" if row.rpm_to is None else f"{row.rpm_to:.0f}"
            speeds = tr(" at {low}–{high} rpm", low=f"{row.rpm_from or 0.0:.0f}", high=high)
        for name, value in ((tr("own alert"), row.alert), (tr("own danger"), row.danger)):
            if value is not None:
                words_of_it = f"{name} {value * factor:.4g}{speeds} ({row.source[:SOURCE_CHARACTERS]})"
                found.append(Limit(words_of_it, value, keep=value == row.alert or row.alert is None))
    return found


def landmark_words(found: Landmark) -> str:
    """Name a landmark within a chart."""
    if found.kind == "model":
        return tr("model {version}", version=found.release_version)
    return tr("maintenance")


def zone_bands(plate: Nameplate | None) -> tuple[list[Band], list[Limit], str]:
    """The velocity zones of a machine as bands and limits, and on what they rest or why there are none."""
    if plate is None:
        return [], [], tr("No velocity zones: the nameplate is not known")
    try:
        verdict = zone(
            0.0, ZonePlate(power_kw=plate.power_kw, foundation=plate.foundation, kind=plate.kind, rpm=plate.rpm)
        )
    except VibrationError as error:
        return [], [], tr("No velocity zones: {reason}", reason=words.plain(str(error)))
    if verdict.limits_mm_s is None:
        return [], [], tr("No velocity zones: {reason}", reason=words.plain(sentences.said(verdict.reason)))
    ab, bc, cd = verdict.limits_mm_s
    bands = [Band("A", 0.0, ab), Band("B", ab, bc), Band("C", bc, cd), Band("D", cd, None)]
    factor = shown("mm/s RMS").factor  # the canvas turns the values; these are words
    limits = [
        Limit(f"A/B {ab * factor:.3g}", ab, keep=True), Limit(f"B/C {bc * factor:.3g}", bc),
        Limit(f"C/D {cd * factor:.3g}", cd),
    ]  # fmt: skip
    basis = tr("Zones by {edition}, class {group}", edition=verdict.edition, group=verdict.machine_class)
    return bands, limits, basis


def _choices(machine: MachineRecord) -> tuple[PointRecord, str]:
    worst = max(machine.points, key=_ratio)
    names = [point.point for point in machine.points]
    titles = {
        "24h": tr("24 h"), "7d": tr("7 days"), "30d": tr("30 days"), "90d": tr("90 days"), "1y": tr("1 year"),
        "all": tr("All"),
    }  # fmt: skip
    asked_point, asked_range = st.query_params.get("point"), st.query_params.get("range")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = st.segmented_control(
            tr("Point"), names, default=asked_point if asked_point in names else worst.point, format_func=position,
            key=f"trend_point:{machine.machine}", required=True,
        )  # fmt: skip
        chosen = st.segmented_control(
            tr("Time"), list(RANGES), default=asked_range if asked_range in RANGES else DEFAULT_RANGE,
            format_func=lambda key: titles[key], key="trend_range", required=True,
        )  # fmt: skip
    point = next((found for found in machine.points if found.point == name), worst)
    chosen = chosen or DEFAULT_RANGE
    if point.point != worst.point or asked_point:
        st.query_params["point"] = point.point
    if chosen != DEFAULT_RANGE or asked_range:
        st.query_params["range"] = chosen
    bench = link(tr("Analyse this point"), point_address(point.point))
    show_row([bench, tr("waveform, spectrum, envelope, waterfall")])
    return point, chosen


def _more_wanted(machine: MachineRecord) -> bool:
    """Whether the quantities that are seldom looked at are shown too; the address keeps it."""
    more = st.toggle(
        tr("More quantities: acceleration RMS, crest factor, band RMS"), value="more" in st.query_params,
        key=f"trend_more:{machine.machine}",
    )  # fmt: skip
    if more:
        st.query_params["more"] = "1"
    else:
        st.query_params.pop("more", None)
    return more


def _plots(
    plate: Nameplate | None, own: Sequence[LimitRow], buckets: Sequence[Bucket], *, more: bool
) -> list[Plot]:  # fmt: skip
    bands, limits, _ = zone_bands(plate)
    suspicious = [Limit(tr("suspicious above 4"), KURTOSIS_SUSPICIOUS)]
    impulsive = [Limit(tr("impulsive above 5"), CREST_IMPULSIVE)]
    lows_rpm = [rpm for bucket in buckets if (rpm := bucket.lowest[QUANTITIES.index("rpm")])]
    low, middle, high = (f"{edge_hz:g}" for edge_hz in WIDE_BAND_EDGES_HZ)
    velocity = velocity_title(plate, lowest_rpm=min(lows_rpm, default=None))
    acceleration = tr("acceleration")
    plots = [
        Plot("score", tr("Anomaly score"), tr("score"), ""),
        Plot("velocity_rms_mm_s", velocity, tr("velocity"), "mm/s RMS", bands, limits),
        Plot("envelope_rms_g", tr("Envelope"), tr("envelope"), "gE RMS"),
        Plot("kurtosis", tr("Kurtosis"), tr("kurtosis"), "", limits=suspicious, from_zero=False),
        Plot("acceleration_peak_g", tr("Acceleration, true peak"), acceleration, tr("g true peak")),
        Plot("temperature_c", tr("Temperature"), tr("temperature"), "°C", from_zero=False),
        Plot("rpm", tr("Speed"), tr("speed"), tr("rpm"), from_zero=False),
    ]
    if more:
        plots += [
            Plot("acceleration_rms_g", tr("Acceleration, RMS"), acceleration, "g RMS"),
            Plot("crest_factor", tr("Crest factor"), tr("crest factor"), "", limits=impulsive),
            Plot("band_low_rms_g", _band_title(low, middle), acceleration, "g RMS"),
            Plot("band_middle_rms_g", _band_title(middle, high), acceleration, "g RMS"),
            Plot("band_high_rms_g", tr("Band RMS, above {low} Hz", low=high), acceleration, "g RMS"),
        ]
    return [replace(plot, limits=[*plot.limits, *own_limits(own, plot.quantity, plot.unit)]) for plot in plots]


def _band_title(low: str, high: str) -> str:
    return tr("Band RMS, {low} to {high} Hz", low=low, high=high)


def _draw(
    plots: Sequence[Plot],
    point: PointRecord,
    buckets: Sequence[Bucket],
    marks: Sequence[Mark],
    periods: Sequence[Period],
    chosen: str,
    span_us: tuple[int, int],
) -> None:
    gap_us = gap_width_us(buckets, point.interval_s)
    gaps = gaps_ms(buckets, gap_us=gap_us, until_us=span_us[1])
    range_ms = (span_us[0] / 1e3, max(span_us[1], span_us[0] + 1_000_000) / 1e3)
    stem = point.point.replace("/", "_")
    for index, plot in enumerate(plots):
        times_ms, values = quantity_line(buckets, plot.quantity, gap_us=gap_us)
        if index % 2 == 0:
            columns = st.columns(2, gap="large")
        with columns[index % 2]:
            if not np.isfinite(values).any():
                st.markdown(f"**{plot.title}**  \n{tr('not measured in this time')}")
                continue
            lines = [Line(values, "main", times_ms)]
            if plot.quantity == "score":
                limit_ms, limit = quantity_line(buckets, "score_limit", gap_us=gap_us)
                lines.append(Line(limit, "limit", limit_ms))
            show_chart(
                trend_data(
                    view_key=f"trend:{plot.quantity}:{point.point}:{chosen}", title=plot.title, lines=lines,
                    unit=plot.unit, label=plot.label, range_ms=range_ms, zone=st.context.timezone, gaps_ms=gaps,
                    bands=plot.bands, limits=plot.limits, marks=marks, periods=periods, from_zero=plot.from_zero,
                    with_hint=index == 0, group=f"trend:{point.point}:{chosen}",
                    tools=Tools(file_name=f"{stem}_{plot.quantity}"),
                )
            )  # fmt: skip


def _caption(plate: Nameplate | None) -> str:
    told = tr("Hatched: no captures, or none that could be believed. Dashed red: the score's limit.")
    shaded = tr("Shaded: the baseline, when the point learnt what healthy is.")
    return f"{told} {shaded} {zone_bands(plate)[2]}. " + tr("What is zoomed in one chart is zoomed in all.")


def _ratio(point: PointRecord) -> float:
    latest = point.latest
    return latest.score / latest.limit if latest and latest.score is not None and latest.limit else 0.0
