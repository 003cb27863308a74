"""This file knows the trends of a machine: one point's history against its limits, on one time axis.

All charts share the axis: what is zoomed in one is zoomed in all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from dashboard import words
from dashboard.components.chart import Band, Limit, Line, Mark, Tools, show_chart, trend_data
from dashboard.condition import position
from dashboard.errors import DatabaseUnavailable
from dashboard.languages import tr
from dashboard.pages.addresses import point_address
from dashboard.pages.links import link, show_row
from dashboard.pages.notice import show_notice
from dashboard.queries.machine import Bucket, Landmark, read_buckets, read_landmarks, read_span_us
from dashboard.queries.records import CaseRecord, MachineRecord, PointRecord
from dashboard.runtime import Dashboard
from dashboard.trend_lines import gap_width_us, gaps_ms, quantity_line
from schemas.nameplate import Nameplate
from vibration.errors import VibrationError
from vibration.iso_zones import Nameplate as ZonePlate
from vibration.iso_zones import zone

RANGES: dict[str, float | None] = {"24h": 1.0, "7d": 7.0, "30d": 30.0, "90d": 90.0, "1y": 365.0, "all": None}
DEFAULT_RANGE = "7d"
DAY_US = 86_400_000_000
KURTOSIS_SUSPICIOUS = 4.0


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
    try:
        with board.reader.read() as connection:
            span = read_span_us(connection, point.point)
            if span is None:
                st.markdown(tr("This point has no history yet."))
                return
            last_us = max(span[1], until_us) if span[1] <= until_us + DAY_US else span[1]
            days = RANGES[chosen]
            since_us = span[0] if days is None else max(span[0], last_us - int(days * DAY_US))
            buckets = read_buckets(connection, point.point, since_us=since_us, until_us=last_us)
            landmarks = read_landmarks(connection, machine.machine, since_us=since_us)
    except DatabaseUnavailable as problem:
        show_notice(tr("The history cannot be read now: {problem}", problem=words.plain(problem.detail)))
        return
    if not buckets:
        said = words.moment(span[1], st.context.timezone)
        st.markdown(tr("No captures in this time; the last one is of {moment}. Choose a longer time.", moment=said))
        return
    marks = [Mark(tr("case {number}", number=case.case_id), case.opened_at_us / 1e3) for case in cases]
    marks += [Mark(landmark_words(found), found.at_us / 1e3) for found in landmarks]
    _draw(machine, point, buckets, marks, chosen, (since_us, last_us))


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
        return [], [], tr("No velocity zones: {reason}", reason=words.plain(verdict.reason))
    ab, bc, cd = verdict.limits_mm_s
    bands = [Band("A", 0.0, ab), Band("B", ab, bc), Band("C", bc, cd), Band("D", cd, None)]
    limits = [Limit(f"A/B {ab:g}", ab, keep=True), Limit(f"B/C {bc:g}", bc), Limit(f"C/D {cd:g}", cd)]
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


def _plots(plate: Nameplate | None) -> tuple[list[Plot], str]:
    bands, limits, basis = zone_bands(plate)
    suspicious = (Limit(tr("suspicious above 4"), KURTOSIS_SUSPICIOUS),)
    plots = [
        Plot("score", tr("Anomaly score"), tr("score"), ""),
        Plot("velocity_rms_mm_s", tr("Velocity, 10 to 1000 Hz"), tr("velocity"), "mm/s RMS", bands, limits),
        Plot("envelope_rms_g", tr("Envelope"), tr("envelope"), "gE RMS"),
        Plot("kurtosis", tr("Kurtosis"), tr("kurtosis"), "", limits=suspicious, from_zero=False),
        Plot("acceleration_peak_g", tr("Acceleration, true peak"), tr("acceleration"), "g"),
        Plot("temperature_c", tr("Temperature"), tr("temperature"), "°C", from_zero=False),
        Plot("rpm", tr("Speed"), tr("speed"), tr("rpm"), from_zero=False),
    ]
    return plots, basis


def _draw(
    machine: MachineRecord,
    point: PointRecord,
    buckets: Sequence[Bucket],
    marks: Sequence[Mark],
    chosen: str,
    span_us: tuple[int, int],
) -> None:
    gap_us = gap_width_us(buckets, point.interval_s)
    gaps = gaps_ms(buckets, gap_us=gap_us, until_us=span_us[1])
    range_ms = (span_us[0] / 1e3, max(span_us[1], span_us[0] + 1_000_000) / 1e3)
    plots, basis = _plots(machine.nameplate)
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
                    bands=plot.bands, limits=plot.limits, marks=marks, from_zero=plot.from_zero,
                    with_hint=index == 0, group=f"trend:{point.point}:{chosen}",
                    tools=Tools(file_name=f"{stem}_{plot.quantity}"),
                )
            )  # fmt: skip
    told = tr("Hatched: no captures, or none that could be believed. Dashed red: the score's limit.")
    st.caption(f"{told} {basis}. " + tr("What is zoomed in one chart is zoomed in all."))


def _ratio(point: PointRecord) -> float:
    latest = point.latest
    return latest.score / latest.limit if latest and latest.score is not None and latest.limit else 0.0
