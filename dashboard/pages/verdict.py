"""This file knows how a verdict is laid out: what, how sure, by what measure, what speaks for it and what against."""

import streamlit as st

from dashboard import sentences, words
from dashboard.condition import BELIEVED, STOPPED, Condition, Staleness, data_age_s, learning_words, position
from dashboard.fault_words import line_meaning
from dashboard.languages import tr
from dashboard.pages.addresses import point_address
from dashboard.pages.links import link, plain, show_list, show_row
from dashboard.pages.outlook import Outlook, show_similar, show_stage, show_waiting
from dashboard.pages.spectra import family_of
from dashboard.queries.records import MachineRecord, PointRecord
from schemas.messages import Alarm, Contribution

TOLD_CONTRIBUTIONS = 5
CALM_ZONES = frozenset({"A", "B"})
CRITICAL = 4  # of 5: from here on a failure costs more than the machine


def show_verdict(
    condition: Condition, machine: MachineRecord, verdict: Alarm | None, outlook: Outlook, *, now_us: int
) -> None:  # fmt: skip
    """Show the card with the verdict."""
    with st.container(border=True):
        st.subheader(tr("Verdict"))
        st.markdown(words.plain(condition.reason))
        _show_causes(condition, verdict)
        show_stage(outlook.signs)
        _show_remaining_life(condition, machine, now_us=now_us)
        if condition.case is not None or (condition.remaining_life and condition.remaining_life.life):
            show_waiting(condition.remaining_life.life if condition.remaining_life else None, machine.stop)
        for detail in condition.details[1:] if condition.case is not None else condition.details:
            st.caption(words.plain(detail))
        _show_measures(machine, verdict, now_us)
        if verdict is not None:
            _show_findings(verdict, machine)
            _show_contributions(verdict)
        elif condition.case is None:
            for missing in missing_facts(machine):
                st.caption(tr("Would make the next verdict surer: {fact}", fact=missing))
        show_similar(outlook.similar, outlook.cause, st.context.timezone)


def missing_facts(machine: MachineRecord) -> list[str]:
    """Facts of the nameplate without which something cannot be judged."""
    plate = machine.nameplate
    if plate is None:
        return [tr("the machine's nameplate: without it there are no velocity zones and no fault lines")]
    missing = []
    if plate.bearing is None:
        missing.append(tr("the bearing: its fault lines cannot be looked for"))
    if plate.rpm is None and plate.rpm_range is None:
        missing.append(tr("the speed: orders rest on an estimate"))
    if plate.power_kw is None or plate.foundation is None:
        missing.append(tr("power and foundation: velocity zones cannot be given"))
    return missing


def _show_causes(condition: Condition, verdict: Alarm | None) -> None:
    diagnosis = verdict.diagnosis if verdict is not None else condition.case.diagnosis if condition.case else ()
    if not diagnosis:
        return
    parts = [f"**{words.cause(item.label)} {words.confidence(item.confidence)}**" for item in diagnosis[:1]]
    parts += [f"{words.cause(item.label)} {words.confidence(item.confidence)}" for item in diagnosis[1:4]]
    st.markdown(tr("Cause, by confidence:") + " " + " · ".join(parts))


def _show_remaining_life(condition: Condition, machine: MachineRecord, *, now_us: int) -> None:
    said = condition.remaining_life
    if said is None:
        return
    basis = words.plain(sentences.said(said.basis))
    if said.life is None:
        st.caption(tr("How long it may last cannot be said: {basis}", basis=basis))
        return
    how_long = words.remaining_life(said.life)
    st.markdown(f"**{how_long[0].upper()}{how_long[1:]}**" + (f": {basis}" if basis else ""))
    read_at = words.plain(position(said.point))
    st.caption(tr("Read at {point}; meant to hold in four of five cases", point=read_at))
    first_us = now_us + int(said.life.low_s * 1e6)
    st.markdown(waiting_words(first_us, machine.criticality, zone=st.context.timezone))


def waiting_words(first_us: int, criticality: int, *, zone: str | None) -> str:
    """Say what waiting costs, as far as it is known: until when, and how much the plant depends on the machine."""
    moment = words.moment(first_us, zone)
    by_then = tr("**Plan the repair before {moment}**: one in ten fails earlier.", moment=moment)
    if criticality >= CRITICAL:
        return by_then + " " + tr("Criticality {number} of 5: a failure stops what depends on it.", number=criticality)
    return by_then + " " + tr("Criticality {number} of 5.", number=criticality)


def _show_measures(machine: MachineRecord, verdict: Alarm | None, now_us: int) -> None:
    chosen = next((p for p in machine.points if verdict is not None and p.point == verdict.point), None)
    judged = [p for p in machine.points if p.latest is not None]
    chosen = chosen or max(judged, key=_times_limit, default=None)
    if chosen is None or chosen.latest is None:
        return
    latest = chosen.latest
    parts = []
    if latest.quality != "ok":
        parts.append(tr("not judged: {quality}", quality=words.quality(latest.quality)))
    elif latest.score is not None and latest.limit:
        parts.append(
            tr(
                "score {score} against its limit {limit} ({times} times)",
                score=words.number(latest.score), limit=words.number(latest.limit), times=f"{latest.times_limit:.1f}",
            )
        )  # fmt: skip
    if latest.zone_basis and latest.quality == "ok":
        named = latest.zone is None or "zone" in latest.zone_basis
        said = "" if named else tr("zone {zone}:", zone=latest.zone) + " "
        parts.append(said + words.plain(sentences.said(latest.zone_basis)))
    model = tr("release {version}", version=latest.model_version)
    model = model if latest.model_version else tr("the built-in statistics")
    age = words.age((now_us - latest.measured_at_us) / 1e6)
    where = tr("Now at {point}, measured {age}:", point=words.plain(position(chosen.point)), age=age)
    st.markdown(f"{where} " + "; ".join(parts or [tr("not judged")]))
    if latest.zone in CALM_ZONES and latest.times_limit >= 1.0:
        st.caption(
            tr(
                "The zone judges the overall level alone, which a bearing raises late; the score has heard the pattern "
                "change."
            )
        )
    st.caption(tr("Score by {model}; alarm {state}", model=model, state=words.alarm_state(latest.alarm)))


def _show_findings(verdict: Alarm, machine: MachineRecord) -> None:
    best = verdict.diagnosis[0].label if verdict.diagnosis else ""
    asked = [f.text for f in verdict.findings if f.label == "unknown" and not f.speaks_for]
    speaking = [f for f in verdict.findings if f.label != "unknown" or f.speaks_for]
    for_it = [f.text for f in speaking if f.speaks_for and (f.label == best or not best)]
    against = [f.text for f in speaking if not f.speaks_for]
    against += [f.text for f in speaking if f.speaks_for and best and f.label != best]
    _bullets(tr("Speaks for it"), for_it, tr("nothing was said"))
    family = family_of(best)
    if for_it and family:
        show_row([link(tr("See {family} in the signal", family=family), point_address(verdict.point))])
        st.caption(tr("{family}: as often as {event}.", family=family, event=line_meaning(family)))
    _bullets(tr("Speaks against it"), against, tr("nothing was found"))
    _bullets(tr("Would make it surer"), [*asked, *missing_facts(machine)], "")


def _bullets(title: str, texts: list[str], otherwise: str) -> None:
    if not texts and not otherwise:
        return
    lines = "\n".join(f"- {words.plain(sentences.said(text))}" for text in texts) or f"- {otherwise}"
    st.markdown(f"**{title}**\n\n{lines}")


def _show_contributions(verdict: Alarm) -> None:
    """Bars that lead to their band in the chart of the point's bench."""
    lines = [contribution_line(verdict.point, part) for part in verdict.contributions[:TOLD_CONTRIBUTIONS]]
    if lines:
        show_list(lines, title=tr("Where the score comes from"))


def contribution_line(point: str, part: Contribution) -> str:
    """Say one contribution: its share as a number and a bar, and a link to its band."""
    bar = "▪" * max(1, round(20 * min(1.0, max(0.0, part.share))))
    what = words.contribution(part.name)
    axis = tr("axis {number}", number=part.axis + 1)
    if part.low_hz is None or part.high_hz is None:
        return plain(f"{part.share:.0%} {what}, {axis} {bar}")
    band = tr("{low} to {high} Hz", low=f"{part.low_hz:.0f}", high=f"{part.high_hz:.0f}")
    chart = "envelope" if part.name.startswith("envelope") else "spectrum"
    wide_hz = part.high_hz - part.low_hz
    look = f"{chart}:{max(0.0, part.low_hz - wide_hz):.0f}-{part.high_hz + wide_hz:.0f}"
    address = f"{point_address(point)}&look={look}"
    return plain(f"{part.share:.0%} ") + " " + link(f"{what}, {band}", address) + plain(f", {axis} {bar}")


def _times_limit(point: PointRecord) -> float:
    return point.latest.times_limit if point.latest else 0.0


def show_points(machine: MachineRecord, staleness: Staleness, *, now_us: int) -> None:
    """Show the measurement points, each with unit and age."""
    st.subheader(tr("Measurement points"))
    if not machine.points:
        st.markdown(tr("No measurement point has reported yet."))
        return
    st.dataframe(
        [point_row(point, staleness, now_us) for point in machine.points], hide_index=True, width="stretch",
        height="content", column_config={tr("Analysis"): st.column_config.LinkColumn(display_text=tr("Analyse"))},
    )  # fmt: skip


def point_row(point: PointRecord, staleness: Staleness, now_us: int) -> dict[str, str]:
    """Say how one point stands; values of a silent point are not shown as if they were of now."""
    age_s = data_age_s(point, now_us)
    stale = staleness.is_stale(point, now_us)
    latest = point.latest
    row = {
        tr("Point"): position(point.point),
        tr("State"): _point_state(point, stale=stale),
        tr("Last data"): tr("never") if age_s is None else words.age(age_s),
        tr("Analysis"): point_address(point.point),
    }
    measured: dict[str, str] = {}
    if latest is not None:
        speed = f"{latest.rpm:.0f} rpm ({words.speed_source(latest.rpm_source)})" if latest.rpm else words.NOT_KNOWN
        measured = {
            tr("Velocity"): words.number(latest.velocity_rms_mm_s, "mm/s RMS"),
            tr("Zone"): latest.zone or tr("not assessable"),
            tr("Score"): words.number(latest.score),
            tr("Limit"): words.number(latest.limit),
            tr("Envelope"): words.number(latest.envelope_rms_g, "gE RMS"),
            tr("Speed"): speed,
            tr("Temperature"): words.number(latest.temperature_c, "°C"),
            tr("Battery"): words.number(latest.battery_v, "V"),
        }
    if stale:
        measured = {key: f"({value})" if value != words.NOT_KNOWN else value for key, value in measured.items()}
    return row | measured | {tr("Gateway"): point.gateway}


def _point_state(point: PointRecord, *, stale: bool) -> str:
    if stale:
        return f"▨ ? {tr('stale')}"
    if point.quality == STOPPED:
        return tr("stopped: not judged")
    if point.quality not in BELIEVED:
        return f"◆ S {words.quality(point.quality)}"
    if point.learning == "learning":
        return learning_words([point]).partition(";")[0]
    if point.learning == "suspect":
        return f"◆ S {tr('healthy baseline in doubt')}"
    return words.alarm_state(point.latest.alarm) if point.latest else tr("ready")
