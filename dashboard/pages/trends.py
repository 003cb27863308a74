"""This file knows the trends of a machine: one point's history against its limits, on one time axis."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from dashboard import words
from dashboard.components.chart import Band, Limit, Line, Mark, show_chart, trend_data
from dashboard.condition import position
from dashboard.errors import DatabaseUnavailable
from dashboard.pages.notice import show_notice
from dashboard.queries.machine import Bucket, read_buckets, read_span_us
from dashboard.queries.records import CaseRecord, MachineRecord, PointRecord
from dashboard.runtime import Dashboard
from dashboard.trend_lines import gap_width_us, gaps_ms, quantity_line
from schemas.nameplate import Nameplate
from vibration.errors import VibrationError
from vibration.iso_zones import Nameplate as ZonePlate
from vibration.iso_zones import zone

RANGES = {"24 h": 1.0, "7 d": 7.0, "30 d": 30.0, "All": None}
DAY_US = 86_400_000_000
KURTOSIS_SUSPICIOUS = 4.0


def show_trends(board: Dashboard, machine: MachineRecord, cases: Sequence[CaseRecord], *, until_us: int) -> None:
    """Show the trends of a chosen point over a chosen time."""
    st.subheader("Trends")
    if not machine.points:
        return
    worst = max(machine.points, key=_ratio)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        names = [point.point for point in machine.points]
        name = st.segmented_control(
            "Point",
            names,
            default=worst.point,
            format_func=position,
            key=f"trend_point:{machine.machine}",
            required=True,
        )
        chosen = st.segmented_control("Time", list(RANGES), default="7 d", key="trend_range", required=True)
    point = next((found for found in machine.points if found.point == name), worst)
    try:
        with board.reader.read() as connection:
            span = read_span_us(connection, point.point)
            if span is None:
                st.markdown("This point has no history yet.")
                return
            last_us = max(span[1], until_us) if span[1] <= until_us + DAY_US else span[1]
            days = RANGES[chosen or "7 d"]
            since_us = span[0] if days is None else max(span[0], last_us - int(days * DAY_US))
            buckets = read_buckets(connection, point.point, since_us=since_us, until_us=last_us)
    except DatabaseUnavailable as problem:
        show_notice(f"The history cannot be read now: {words.plain(problem.detail)}")
        return
    if not buckets:
        st.markdown("No captures in this time. Choose a longer one.")
        return
    _draw(machine, point, buckets, cases, chosen or "7 d", (since_us, last_us))


def zone_bands(plate: Nameplate | None) -> tuple[list[Band], list[Limit], str]:
    """The velocity zones of a machine as bands and limits, and on what they rest or why there are none."""
    if plate is None:
        return [], [], "no velocity zones: the nameplate is not known"
    try:
        verdict = zone(
            0.0, ZonePlate(power_kw=plate.power_kw, foundation=plate.foundation, kind=plate.kind, rpm=plate.rpm)
        )
    except VibrationError as error:
        return [], [], f"no velocity zones: {error}"
    if verdict.limits_mm_s is None:
        return [], [], f"no velocity zones: {verdict.reason}"
    ab, bc, cd = verdict.limits_mm_s
    bands = [Band("A", 0.0, ab), Band("B", ab, bc), Band("C", bc, cd), Band("D", cd, None)]
    limits = [Limit(f"A/B {ab:g}", ab, keep=True), Limit(f"B/C {bc:g}", bc), Limit(f"C/D {cd:g}", cd)]
    return bands, limits, f"zones by {verdict.edition}, class {verdict.machine_class}"


def _draw(
    machine: MachineRecord,
    point: PointRecord,
    buckets: Sequence[Bucket],
    cases: Sequence[CaseRecord],
    chosen: str,
    span_us: tuple[int, int],
) -> None:
    gap_us = gap_width_us(buckets, point.interval_s)
    gaps = gaps_ms(buckets, gap_us=gap_us, until_us=span_us[1])
    marks = [Mark(f"case {case.case_id}", case.opened_at_us / 1e3) for case in cases]
    range_ms = (span_us[0] / 1e3, max(span_us[1], span_us[0] + 1_000_000) / 1e3)
    bands, limits, basis = zone_bands(machine.nameplate)
    plots = (
        ("score", "Anomaly score", "score", "", (), (), True),
        ("velocity_rms_mm_s", "Velocity, 10 to 1000 Hz", "velocity", "mm/s RMS", bands, limits, True),
        ("envelope_rms_g", "Envelope", "envelope", "g RMS", (), (), True),
        ("kurtosis", "Kurtosis", "kurtosis", "", (), (Limit("suspicious above 4", KURTOSIS_SUSPICIOUS),), False),
        ("acceleration_peak_g", "Acceleration, true peak", "acceleration", "g", (), (), True),
        ("temperature_c", "Temperature", "temperature", "°C", (), (), False),
    )
    for index, (quantity, title, label, unit, in_bands, at_limits, from_zero) in enumerate(plots):
        times_ms, values = quantity_line(buckets, quantity, gap_us=gap_us)
        if index % 2 == 0:
            columns = st.columns(2, gap="large")
        with columns[index % 2]:
            if not np.isfinite(values).any():
                st.markdown(f"**{title}**  \nnot measured in this time")
                continue
            lines = [Line(values, "main", times_ms)]
            if quantity == "score":
                limit_ms, limit = quantity_line(buckets, "score_limit", gap_us=gap_us)
                lines.append(Line(limit, "limit", limit_ms))
            show_chart(
                trend_data(
                    view_key=f"trend:{quantity}:{point.point}:{chosen}", title=title, lines=lines, unit=unit,
                    label=label,
                    range_ms=range_ms, gaps_ms=gaps, bands=in_bands, limits=at_limits, marks=marks, from_zero=from_zero,
                    with_hint=index == 0,
                )
            )  # fmt: skip
    st.caption(
        "Hatched: no captures, or none that could be believed. Dashed red: the score's limit. "
        f"{basis[0].upper()}{basis[1:]}."
    )


def _ratio(point: PointRecord) -> float:
    latest = point.latest
    return latest.score / latest.limit if latest and latest.score is not None and latest.limit else 0.0
