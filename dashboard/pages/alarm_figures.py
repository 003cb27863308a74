"""This file knows how the figures of the alarms are shown, each beside its target, and what another limit would do."""

import streamlit as st

from dashboard import alarm_figures as figures
from dashboard import words
from dashboard.alarm_figures import AlarmFigures, alarm_figures
from dashboard.languages import tr
from dashboard.pages.addresses import point_address
from dashboard.pages.limit_preview import show_preview
from dashboard.queries.alarms import read_counts
from dashboard.queries.assets import read_point_names
from dashboard.runtime import Dashboard

RANGES = {"24 h": 1, "7 d": 7, "30 d": 30, "90 d": 90}
HOURS = 24
DAY_US = 86_400_000_000


def show_figures(board: Dashboard) -> None:
    """Show figures of a chosen time, and the preview of another rule."""
    chosen = st.segmented_control(
        tr("Time"), list(RANGES), default="7 d", key="figures_range", required=True, label_visibility="collapsed"
    )
    until_us = board.now_us()
    since_us = until_us - RANGES[chosen] * DAY_US
    with board.reader.read() as connection:
        counts = read_counts(connection, since_us=since_us, until_us=until_us)
        points = read_point_names(connection)
    found = alarm_figures(counts, since_us=since_us, until_us=until_us)
    if not counts.alarms:
        st.markdown(tr("No alarm was told in this time."))
    st.markdown(markdown_table(figure_rows(found)))  # wraps on a phone, with the target in sight
    st.caption(
        tr(
            "An alarm is counted when a person is told of it, by a gateway or by the plant's own limits; ten-minute "
            "spans are by the clock. Targets are those of ISA-18.2 and EEMUA 191 as the trade quotes them; that of "
            "false cases is ours. A plant's cases are what people see: all alarms of one machine are one case."
        )
    )
    _show_worst(found)
    show_preview(board, found, points, since_us=since_us, until_us=until_us)


def figure_rows(found: AlarmFigures) -> list[dict[str, str]]:
    """One row a figure: what it is, what it should be, whether it is."""
    counts = found.counts
    rows = [
        (tr("Alarms in ten minutes, on average"), f"{found.per_ten_minutes:.2f}", "≤ 1",
         found.per_ten_minutes <= figures.TARGET_PER_TEN_MINUTES),
        (tr("Alarms in the worst ten minutes"), str(counts.worst_span), "≤ 10",
         counts.worst_span <= figures.TARGET_WORST_TEN_MINUTES),
        (tr("Share of time in flood (10 and more in ten minutes)"), f"{found.flood_share:.1%}", "< 1 %",
         found.flood_share < figures.TARGET_FLOOD_SHARE),
        (tr("Chattering points (3 and more in a minute)"), str(counts.chattering), "0", not counts.chattering),
        (tr("Stale: cases that stand for more than a day"), str(counts.stale), "< 5",
         counts.stale < figures.TARGET_STALE),
        (tr("Share of the ten worst points"), f"{found.top_ten_share:.0%}", "≤ 5 %",
         found.top_ten_share <= figures.TARGET_TOP_TEN_SHARE if counts.alarms >= HOURS else None),
    ]  # fmt: skip
    mix = " / ".join(f"{found.mix[name]:.0%}" for name in ("notice", "alert", "danger"))
    rows.append((tr("Mix of priorities: notice / alert / danger"), mix if counts.alarms else words.NOT_KNOWN,
                 "≈ 80 / 15 / 5 %", None))  # fmt: skip
    share = found.false_share
    said = words.NOT_KNOWN if share is None else f"{share:.0%} ({counts.false_labelled} / {counts.labelled})"
    rows.append((tr("False cases, of those whose cause was named"), said, "≤ 10 %",
                 None if share is None else share <= figures.TARGET_FALSE_SHARE))  # fmt: skip
    rows.append((tr("Alarms told, and cases opened"), f"{counts.alarms} / {counts.opened}", words.NOT_KNOWN, None))
    rows.append((tr("Of these alarms, of the plant's own limits"), str(counts.of_own_limits), words.NOT_KNOWN, None))
    return [
        {
            tr("Figure"): name, tr("Found"): value, tr("Target"): target,
            tr("Held?"): words.NOT_KNOWN if holds is None else tr("held") if holds else tr("✕ not held"),
        }
        for name, value, target, holds in rows
    ]  # fmt: skip


def markdown_table(rows: list[dict[str, str]]) -> str:
    """Rows of our own words as a table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _show_worst(found: AlarmFigures) -> None:
    if not found.counts.top:
        return
    st.subheader(tr("Points with most alarms"))
    rows = [
        {
            tr("Point"): point, tr("Alarms"): count, tr("Of all"): f"{count / found.counts.alarms:.0%}",
            tr("Chatters"): tr("yes") if chatters else "",
            tr("Analysis"): point_address(point),
        }
        for point, count, chatters in found.counts.top
    ]  # fmt: skip
    st.dataframe(
        rows, hide_index=True, width="stretch",
        column_config={tr("Analysis"): st.column_config.LinkColumn(tr("Analysis"), display_text=tr("open"))},
    )  # fmt: skip
