"""This file knows how the figures of the alarms are shown, each beside its target, and what another limit would do."""

import streamlit as st

from dashboard import alarm_figures as figures
from dashboard import words
from dashboard.alarm_figures import AlarmFigures, alarm_figures
from dashboard.languages import tr
from dashboard.pages.addresses import point_address
from dashboard.queries.alarms import MOST_WINDOWS, read_opened, read_standing_since, read_told, read_windows
from dashboard.queries.assets import read_point_names
from dashboard.queries.cases import read_labels
from dashboard.runtime import Dashboard
from schemas.alarm_counting import Rule, raised_at_us

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
        told = read_told(connection, since_us=since_us, until_us=until_us)
        labels = read_labels(connection, since_us=since_us, until_us=until_us)
        opened = read_opened(connection, since_us=since_us, until_us=until_us)
        found = alarm_figures(
            told, read_standing_since(connection), labels, since_us=since_us, until_us=until_us
        )  # fmt: skip
        points = read_point_names(connection)
    if not found.alarms:
        st.markdown(tr("No alarm was told in this time."))
    st.markdown(markdown_table(figure_rows(found, opened)))  # wraps on a phone, with the target in sight
    st.caption(
        tr(
            "An alarm is counted when a person is told of it; ten-minute spans are by the clock. Targets are those of "
            "ISA-18.2 and EEMUA 191 as the trade quotes them; that of false cases is ours. A plant's cases are what "
            "people see: all alarms of one machine are one case."
        )
    )
    _show_worst(found)
    _show_preview(board, found, points, since_us=since_us, until_us=until_us)


def figure_rows(found: AlarmFigures, opened: int) -> list[dict[str, str]]:
    """One row a figure: what it is, what it should be, whether it is."""
    rows = [
        (tr("Alarms in ten minutes, on average"), f"{found.per_ten_minutes:.2f}", "≤ 1",
         found.per_ten_minutes <= figures.TARGET_PER_TEN_MINUTES),
        (tr("Alarms in the worst ten minutes"), str(found.worst_ten_minutes), "≤ 10",
         found.worst_ten_minutes <= figures.TARGET_WORST_TEN_MINUTES),
        (tr("Share of time in flood (10 and more in ten minutes)"), f"{found.flood_share:.1%}", "< 1 %",
         found.flood_share < figures.TARGET_FLOOD_SHARE),
        (tr("Chattering points (3 and more in a minute)"), str(len(found.chattering)), "0", not found.chattering),
        (tr("Stale: cases that stand for more than a day"), str(found.stale), "< 5",
         found.stale < figures.TARGET_STALE),
        (tr("Share of the ten worst points"), f"{found.top_ten_share:.0%}", "≤ 5 %",
         found.top_ten_share <= figures.TARGET_TOP_TEN_SHARE if found.alarms >= HOURS else None),
    ]  # fmt: skip
    mix = " / ".join(f"{found.mix[name]:.0%}" for name in ("notice", "alert", "danger"))
    rows.append((tr("Mix of priorities: notice / alert / danger"), mix if found.alarms else words.NOT_KNOWN,
                 "≈ 80 / 15 / 5 %", None))  # fmt: skip
    share = found.false_share
    said = words.NOT_KNOWN if share is None else f"{share:.0%} ({found.false_labelled} / {found.labelled})"
    rows.append((tr("False cases, of those whose cause was named"), said, "≤ 10 %",
                 None if share is None else share <= figures.TARGET_FALSE_SHARE))  # fmt: skip
    rows.append((tr("Alarms told, and cases opened"), f"{found.alarms} / {opened}", words.NOT_KNOWN, None))
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
    if not found.top_ten:
        return
    st.subheader(tr("Points with most alarms"))
    rows = [
        {
            tr("Point"): point, tr("Alarms"): count, tr("Of all"): f"{count / found.alarms:.0%}",
            tr("Chatters"): tr("yes") if point in found.chattering else "",
            tr("Analysis"): point_address(point),
        }
        for point, count in found.top_ten
    ]  # fmt: skip
    st.dataframe(
        rows, hide_index=True, width="stretch",
        column_config={tr("Analysis"): st.column_config.LinkColumn(tr("Analysis"), display_text=tr("open"))},
    )  # fmt: skip


def _show_preview(board: Dashboard, found: AlarmFigures, points: list[str], *, since_us: int, until_us: int) -> None:
    st.subheader(tr("What another limit would have told"))
    if not points:
        st.markdown(tr("No measurement point is known yet."))
        return
    worst = [point for point, _ in found.top_ten if point in points]
    ordered = [*worst, *(point for point in points if point not in worst)]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = st.selectbox(tr("Point"), ordered, key="preview_point", width=280)
        on = int(st.number_input(tr("So many captures over the limit"), 1, 20, 3, key="preview_on", width=170))
        of = int(st.number_input(tr("of the last"), on, 50, max(5, on), key=f"preview_of:{on}", width=130))
        percent = int(
            st.number_input(tr("Limit, in % of today's"), 50, 500, 100, step=10, key="preview_limit", width=170)
        )
    with board.reader.read() as connection:
        windows = read_windows(connection, name, since_us=since_us, until_us=until_us)
    if not windows:
        st.markdown(tr("No capture of this point could be believed in this time: nothing can be said."))
        return
    rule = Rule(on, of, off_count=Rule().off_count)
    wanted = len(raised_at_us(windows, rule, limit_factor=percent / 100))
    today = len(raised_at_us(windows, Rule()))
    told = dict(found.top_ten).get(name)
    st.markdown(
        tr(
            "**With {on} of {of} and a limit of {percent} % this point would have raised {wanted} alarms instead of "
            "{today}** (by the rule gateways ship with, {ship_on} of {ship_of}).",
            on=on, of=of, percent=percent, wanted=wanted, today=today, ship_on=Rule().on_count,
            ship_of=Rule().of_count,
        )
    )  # fmt: skip
    exceeding = sum(w.score is not None and w.limit is not None and w.score > w.limit * percent / 100 for w in windows)
    st.caption(
        tr(
            "Counted from {windows} stored captures, of which {exceeding} exceed that limit, by the counting of "
            "gateways; a capture four times over the limit counts twice. Its gateway told {told}: it also excuses "
            "what a changed sensor explains, and may have other settings ([alarm] in gateway.toml).",
            windows=len(windows), exceeding=exceeding, told=words.NOT_KNOWN if told is None else told,
        )
        + (" " + tr("Only the newest {count} captures were read.", count=MOST_WINDOWS)
           if len(windows) == MOST_WINDOWS else "")
    )  # fmt: skip
