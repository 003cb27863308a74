"""This file knows how a verdict is laid out: what, how sure, by what measure, what speaks for it and what against."""

import streamlit as st

from dashboard import words
from dashboard.condition import BELIEVED, STOPPED, Condition, Staleness, data_age_s, learning_words, position
from dashboard.queries.records import MachineRecord, PointRecord
from schemas.messages import Alarm, Contribution

TOLD_CONTRIBUTIONS = 5


def show_verdict(condition: Condition, machine: MachineRecord, verdict: Alarm | None, *, now_us: int) -> None:
    """Show the card with the verdict."""
    with st.container(border=True):
        st.subheader("Verdict")
        st.markdown(words.plain(condition.reason))
        _show_causes(condition, verdict)
        _show_remaining_life(condition)
        for detail in condition.details[1:] if condition.case is not None else condition.details:
            st.caption(words.plain(detail))
        _show_measures(machine, verdict, now_us)
        if verdict is not None:
            _show_findings(verdict, machine)
            _show_contributions(verdict.contributions)
        elif condition.case is None:
            for missing in missing_facts(machine):
                st.caption(f"Would make the next verdict surer: {missing}")


def missing_facts(machine: MachineRecord) -> list[str]:
    """Facts of the nameplate without which something cannot be judged."""
    plate = machine.nameplate
    if plate is None:
        return ["the machine's nameplate: without it there are no velocity zones and no fault lines"]
    missing = []
    if plate.bearing is None:
        missing.append("the bearing: its fault lines cannot be looked for")
    if plate.rpm is None and plate.rpm_range is None:
        missing.append("the speed: orders rest on an estimate")
    if plate.power_kw is None or plate.foundation is None:
        missing.append("power and foundation: velocity zones cannot be given")
    return missing


def _show_causes(condition: Condition, verdict: Alarm | None) -> None:
    diagnosis = verdict.diagnosis if verdict is not None else condition.case.diagnosis if condition.case else ()
    if not diagnosis:
        return
    parts = [f"**{words.cause(item.label)} {item.confidence:.0%}**" for item in diagnosis[:1]]
    parts += [f"{words.cause(item.label)} {item.confidence:.0%}" for item in diagnosis[1:4]]
    st.markdown("Cause, by confidence: " + " · ".join(parts))


def _show_remaining_life(condition: Condition) -> None:
    said = condition.remaining_life
    if said is None:
        return
    basis = words.plain(said.basis)
    if said.life is None:
        st.caption(f"How long it may last cannot be said: {basis}")
        return
    how_long = words.remaining_life(said.life)
    st.markdown(f"**{how_long[0].upper()}{how_long[1:]}**" + (f": {basis}" if basis else ""))
    st.caption(f"Read at {words.plain(position(said.point))}; meant to hold in four of five cases")


def _show_measures(machine: MachineRecord, verdict: Alarm | None, now_us: int) -> None:
    chosen = next((p for p in machine.points if verdict is not None and p.point == verdict.point), None)
    judged = [p for p in machine.points if p.latest is not None]
    chosen = chosen or max(judged, key=_times_limit, default=None)
    if chosen is None or chosen.latest is None:
        return
    latest = chosen.latest
    parts = []
    if latest.quality != "ok":
        parts.append(f"not judged: {words.quality(latest.quality)}")
    elif latest.score is not None and latest.limit:
        parts.append(
            f"score {words.number(latest.score)} against its limit {words.number(latest.limit)} "
            f"({latest.times_limit:.1f} times)"
        )
    if latest.zone_basis and latest.quality == "ok":
        said = "" if latest.zone is None or "zone" in latest.zone_basis else f"zone {latest.zone}: "
        parts.append(said + words.plain(latest.zone_basis))
    model = f"release {latest.model_version}" if latest.model_version else "the built-in statistics"
    age = words.age((now_us - latest.measured_at_us) / 1e6)
    st.markdown(f"Now at {words.plain(position(chosen.point))}, measured {age}: " + "; ".join(parts or ["not judged"]))
    st.caption(f"Score by {model}; alarm {words.alarm_state(latest.alarm)}")


def _show_findings(verdict: Alarm, machine: MachineRecord) -> None:
    best = verdict.diagnosis[0].label if verdict.diagnosis else ""
    asked = [f.text for f in verdict.findings if f.label == "unknown" and not f.speaks_for]
    speaking = [f for f in verdict.findings if f.label != "unknown" or f.speaks_for]
    for_it = [f.text for f in speaking if f.speaks_for and (f.label == best or not best)]
    against = [f.text for f in speaking if not f.speaks_for]
    against += [f.text for f in speaking if f.speaks_for and best and f.label != best]
    _bullets("Speaks for it", for_it, "nothing was said")
    _bullets("Speaks against it", against, "nothing was found")
    _bullets("Would make it surer", [*asked, *missing_facts(machine)], "")


def _bullets(title: str, texts: list[str], otherwise: str) -> None:
    if not texts and not otherwise:
        return
    lines = "\n".join(f"- {words.plain(text)}" for text in texts) or f"- {otherwise}"
    st.markdown(f"**{title}**\n\n{lines}")


def _show_contributions(contributions: tuple[Contribution, ...]) -> None:
    if not contributions:
        return
    lines = []
    for part in contributions[:TOLD_CONTRIBUTIONS]:
        band = "" if part.low_hz is None or part.high_hz is None else f", {part.low_hz:.0f} to {part.high_hz:.0f} Hz"
        bar = "▪" * max(1, round(20 * min(1.0, max(0.0, part.share))))
        what = words.plain(words.contribution(part.name))
        lines.append(f"- {part.share:.0%} {what}{band}, axis {part.axis + 1} {bar}")
    st.markdown("**Where the score comes from**\n\n" + "\n".join(lines))


def _times_limit(point: PointRecord) -> float:
    return point.latest.times_limit if point.latest else 0.0


def show_points(machine: MachineRecord, staleness: Staleness, *, now_us: int) -> None:
    """Show the measurement points, each with unit and age."""
    st.subheader("Measurement points")
    if not machine.points:
        st.markdown("No measurement point has reported yet.")
        return
    st.dataframe(
        [point_row(point, staleness, now_us) for point in machine.points], hide_index=True, width="stretch",
        height="content",
    )  # fmt: skip


def point_row(point: PointRecord, staleness: Staleness, now_us: int) -> dict[str, str]:
    """Say how one point stands; values of a silent point are not shown as if they were of now."""
    age_s = data_age_s(point, now_us)
    stale = staleness.is_stale(point, now_us)
    latest = point.latest
    row = {
        "Point": position(point.point),
        "State": _point_state(point, stale=stale),
        "Last data": "never" if age_s is None else words.age(age_s),
    }
    measured: dict[str, str] = {}
    if latest is not None:
        measured = {
            "Velocity": words.number(latest.velocity_rms_mm_s, "mm/s RMS"),
            "Zone": latest.zone or "not assessable",
            "Score": words.number(latest.score),
            "Limit": words.number(latest.limit),
            "Envelope": words.number(latest.envelope_rms_g, "g RMS"),
            "Speed": f"{latest.rpm:.0f} rpm ({latest.rpm_source})" if latest.rpm else words.NOT_KNOWN,
            "Temperature": words.number(latest.temperature_c, "°C"),
            "Battery": words.number(latest.battery_v, "V"),
        }
    if stale:
        measured = {key: f"({value})" if value != words.NOT_KNOWN else value for key, value in measured.items()}
    return row | measured | {"Gateway": point.gateway}


def _point_state(point: PointRecord, *, stale: bool) -> str:
    if stale:
        return "▨ ? stale"
    if point.quality == STOPPED:
        return "stopped: not judged"
    if point.quality not in BELIEVED:
        return f"◆ S {words.quality(point.quality)}"
    if point.learning == "learning":
        return learning_words([point]).partition(";")[0]
    if point.learning == "suspect":
        return "◆ S healthy baseline in doubt"
    return words.alarm_state(point.latest.alarm) if point.latest else "ready"
