"""This file knows the preview of another limit: how often it would have raised an alarm in what is stored.

For the score, whose limit gateways learn, in per cent of it; for what a plant limits itself (velocity, acceleration,
envelope, temperature ...) in the quantity's own unit. Counted as gateways and site count.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import streamlit as st
from sqlalchemy.engine import Connection

from dashboard import words
from dashboard.alarm_figures import AlarmFigures
from dashboard.languages import tr
from dashboard.queries.alarms import (
    MOST_CAPTURES,
    Seen,
    Value,
    read_highest,
    read_score_windows,
    read_value_windows,
)
from dashboard.queries.assets import read_rows
from dashboard.runtime import Dashboard
from schemas.alarm_counting import Rule, Window, judge_value, raised_at_us, raised_by
from schemas.asset_table import UNITS, LimitRow, chosen_limit
from schemas.names import machine_of

SCORE = "score"


@dataclass(frozen=True, slots=True)
class Span:
    """One point over one time."""

    point: str
    since_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one quantity in its unit; one of the two is given."""

    alert: float | None
    danger: float | None

    @property
    def lowest(self) -> float:
        """From here on something is told."""
        return min(bound for bound in (self.alert, self.danger) if bound is not None)


def show_preview(board: Dashboard, found: AlarmFigures, points: list[str], *, since_us: int, until_us: int) -> None:
    """Let a person try another limit and another counting on one point."""
    st.subheader(tr("What another limit would have told"))
    if not points:
        st.markdown(tr("No measurement point is known yet."))
        return
    worst = [point for point, _, _ in found.counts.top if point in points]
    ordered = [*worst, *(point for point in points if point not in worst)]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = st.selectbox(tr("Point"), ordered, key="preview_point", width=280)
        quantity = st.selectbox(tr("Limit of"), [SCORE, *UNITS], format_func=quantity_word, key="preview_of_what",
                                width=220)  # fmt: skip
        on = int(st.number_input(tr("So many captures over the limit"), 1, 20, 3, key="preview_on", width=170))
        of = int(st.number_input(tr("of the last"), on, 50, max(5, on), key=f"preview_of:{on}", width=130))
    span, rule = Span(name, since_us, until_us), Rule(on, of, off_count=Rule().off_count)
    with board.reader.read() as connection:
        if quantity == SCORE:
            told = next((count for point, count, _ in found.counts.top if point == name), None)
            _preview_score(connection, span, rule, told)
        else:
            _preview_value(connection, span, rule, quantity)


def quantity_word(quantity: str) -> str:
    """The word for a quantity with a limit, with its unit where it has one."""
    said = {
        SCORE: tr("Anomaly score"), "velocity_rms_mm_s": tr("Velocity"), "acceleration_rms_g": tr("Acceleration"),
        "acceleration_peak_g": tr("Acceleration, true peak"), "envelope_rms_g": tr("Envelope"),
        "kurtosis": tr("Kurtosis"), "crest_factor": tr("Crest factor"), "temperature_c": tr("Temperature"),
    }[quantity]  # fmt: skip
    unit = UNITS.get(quantity, "1")
    return said if unit == "1" else f"{said}, {unit}"


def count_raised(captures: Iterable[Value], bounds: Bounds, rule: Rule) -> int:
    """How often limits of a quantity would have raised an alarm."""
    judged = ((one.at_us, *judge_value(one.value, bounds.alert, bounds.danger, rule.dead_band)) for one in captures)
    return len(raised_by(judged, rule))


def count_raised_by_table(captures: Iterable[Value], limits: Sequence[LimitRow], point: str, rule: Rule) -> int:
    """How often the limits in force would have, each at the speeds it speaks of."""
    judged = [
        (one.at_us, *judge_value(one.value, limit.alert, limit.danger, rule.dead_band))
        for one in captures
        if (limit := chosen_limit(limits, point, one.rpm)) is not None
    ]
    return len(raised_by(judged, rule))


def _preview_score(connection: Connection, span: Span, rule: Rule, told: int | None) -> None:
    percent = int(
        st.number_input(tr("Limit, in % of today's"), 50, 500, 100, step=10, key="preview_limit", width=170)
    )  # fmt: skip
    asked = {"since_us": span.since_us, "until_us": span.until_us, "reach": rule.reach}
    seen = read_score_windows(connection, span.point, factor=percent / 100, **asked)
    if not seen.captures:
        st.markdown(tr("No capture of this point could be believed in this time: nothing can be said."))
        return
    wanted = len(raised_at_us(seen.read, rule, limit_factor=percent / 100))
    shipped = read_score_windows(connection, span.point, factor=1.0, **(asked | {"reach": Rule().reach}))
    today = len(raised_at_us(shipped.read, Rule()))
    st.markdown(
        tr(
            "**With {on} of {of} and a limit of {percent} % this point would have raised {wanted} alarms instead of "
            "{today}** (by the rule gateways ship with, {ship_on} of {ship_of}).",
            on=rule.on_count, of=rule.of_count, percent=percent, wanted=wanted, today=today, ship_on=Rule().on_count,
            ship_of=Rule().of_count,
        )
    )  # fmt: skip
    st.caption(
        tr(
            "Counted from {windows} stored captures, of which {exceeding} exceed that limit, by the counting of "
            "gateways; a capture four times over the limit counts twice. Its gateway told {told}: it also excuses "
            "what a changed sensor explains, and may have other settings ([alarm] in gateway.toml).",
            windows=seen.captures, exceeding=seen.exceeding, told=words.NOT_KNOWN if told is None else told,
        )
        + _cut_words(seen)
    )  # fmt: skip


def _preview_value(connection: Connection, span: Span, rule: Rule, quantity: str) -> None:
    highest = read_highest(connection, span.point, quantity, since_us=span.since_us, until_us=span.until_us)
    if highest is None:
        st.markdown(tr("This point has not measured that in this time: nothing can be said."))
        return
    limits = [
        limit
        for limit in read_rows(connection, "limits", LimitRow)
        if limit.quantity == quantity and limit.applies_to in {span.point, machine_of(span.point)}
    ]
    bounds = _choose_bounds(span.point, quantity, limits, highest)
    seen = read_value_windows(
        connection, span.point, quantity, since_us=span.since_us, until_us=span.until_us, bounds=[bounds.lowest],
        reach=rule.reach,
    )  # fmt: skip
    wanted = count_raised(seen.read, bounds, rule)
    if limits:
        ruled = read_value_windows(
            connection, span.point, quantity, since_us=span.since_us, until_us=span.until_us,
            bounds=[Bounds(limit.alert, limit.danger).lowest for limit in limits], reach=Rule().reach,
            speeds=[(limit.rpm_from, limit.rpm_to) for limit in limits],
        )  # fmt: skip
        today = count_raised_by_table(ruled.read, limits, span.point, Rule())
        said = tr(
            "**With {on} of {of} these limits would have raised {wanted} alarms instead of {today}** (by the limits in "
            "force, {ship_on} of {ship_of}).",
            on=rule.on_count, of=rule.of_count, wanted=wanted, today=today, ship_on=Rule().on_count,
            ship_of=Rule().of_count,
        )  # fmt: skip
    else:
        said = tr(
            "**With {on} of {of} these limits would have raised {wanted} alarms**; the plant has set none for this "
            "quantity here.",
            on=rule.on_count, of=rule.of_count, wanted=wanted,
        )  # fmt: skip
    st.markdown(said)
    st.caption(
        tr(
            "Counted from {windows} stored captures, of which {exceeding} reach the lower limit, by the counting of "
            "the site; a capture at the danger limit counts twice. The highest value was {highest}.",
            windows=seen.captures, exceeding=seen.exceeding, highest=words.number(highest, _unit(quantity)),
        )
        + _cut_words(seen)
    )  # fmt: skip


def _choose_bounds(point: str, quantity: str, limits: Sequence[LimitRow], highest: float) -> Bounds:
    """Ask for the limits to try; those in force stand there first, else one that the highest value is above."""
    now = chosen_limit(limits, point, None) or next(iter(limits), None)
    start = Bounds(now.alert, now.danger) if now is not None else Bounds(float(f"{0.9 * highest:.2g}"), None)
    unit = _unit(quantity)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        alert = st.number_input(
            tr("Alert from, {unit}", unit=unit) if unit else tr("Alert from"), value=start.alert, format="%g",
            key=f"preview_alert:{point}:{quantity}", width=170,
        )  # fmt: skip
        danger = st.number_input(
            tr("Danger from, {unit}", unit=unit) if unit else tr("Danger from"), value=start.danger, format="%g",
            key=f"preview_danger:{point}:{quantity}", width=170,
        )  # fmt: skip
    return start if alert is None and danger is None else Bounds(alert, danger)


def _unit(quantity: str) -> str:
    return "" if UNITS[quantity] == "1" else UNITS[quantity]


def _cut_words(seen: Seen[Value] | Seen[Window]) -> str:
    if len(seen.read) < MOST_CAPTURES:
        return ""
    return " " + tr("Only the newest {count} captures were read.", count=MOST_CAPTURES)
