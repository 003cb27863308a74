"""This file knows how a capture's quality is shown: what says whether its lines can be believed."""

import streamlit as st

from dashboard import words
from dashboard.analysis import Analysis, CaptureFacts, facts_of
from dashboard.languages import tr
from dashboard.queries.point import NamedCapture
from dashboard.queries.records import LatestHealth
from vibration.capture_figures import SpeedDrift

SHORT_S = 4.0  # 1 % slip of a 2-pole motor and twice the mains frequency need 0.3 Hz: 4 s with a Hann window
KURTOSIS_SUSPICIOUS = 4.0
CREST_IMPULSIVE = 5.0
SATURATED_SHARE = 0.98
UNUSED_SHARE = 0.01
UNSTEADY_SHARE = 0.005  # the tenth harmonic then smears over five percent of the speed


def show_quality(
    analysis: Analysis, judged: LatestHealth | None, *, rpm: float | None, before: NamedCapture | None
) -> None:
    """Show the facts of a capture and what they mean."""
    with st.expander(tr("Quality of this capture")):
        evidence = analysis.evidence
        this = NamedCapture(evidence.capture_boot, evidence.capture_sequence, evidence.measured_at_us)
        rows = quality_rows(facts_of(analysis, rpm=rpm), judged, rpm=rpm)
        st.dataframe([*rows, gap_row(this, before)], hide_index=True, width="stretch", height="content")
        st.caption(tr("Axis {number} of the sensor; the gateway judged all axes.", number=analysis.axis + 1))


def gap_row(this: NamedCapture, before: NamedCapture | None) -> dict[str, str]:
    """How many captures are missing between one and the one before it, as the sensor numbered them."""
    if before is None:
        return _row(tr("Gap before"), words.NOT_KNOWN, tr("no earlier capture is known"))
    pause = words.span((this.measured_at_us - before.measured_at_us) / 1e6)
    if this.boot != before.boot:
        return _row(tr("Gap before"), words.NOT_KNOWN, tr("the sensor started anew; {pause} between", pause=pause))
    missing = max(0, this.sequence - before.sequence - 1)
    meaning = tr("none is missing; {pause} since the one before", pause=pause)
    if missing:
        meaning = tr("captures were lost or have not arrived; {pause} since the one before", pause=pause)
    return _row(tr("Gap before"), tr("{count} captures", count=missing), meaning)


def quality_rows(facts: CaptureFacts, judged: LatestHealth | None, *, rpm: float | None) -> list[dict[str, str]]:
    """One row a fact: its name, its value with unit, and what it means."""
    unknown = tr("needs the waveform")
    rows = [
        (tr("Gateway's verdict"), words.quality(judged.quality) if judged else words.NOT_KNOWN, ""),
        (
            tr("Waveform's verdict"), words.quality(facts.verdict) if facts.verdict else words.NOT_KNOWN,
            facts.detail if facts.verdict else unknown,
        ),
        (
            tr("Length"), words.number(facts.length_s, "s"),
            tr("short: lines of slip and mains run together") if (facts.length_s or SHORT_S) < SHORT_S else "",
        ),
        (tr("Sample rate"), words.number(facts.sample_rate_hz, "Hz", 5), ""),
        (tr("Resolution"), words.number(facts.resolution_hz, "Hz"), tr("lines closer than 1.5 times this are one")),
        (tr("Mean (DC)"), words.number(facts.mean_g, "g"), tr("removed before every transform")),
        (tr("True peak"), words.number(facts.peak_g, "g peak"), ""),
        (tr("Clipped samples"), _percent(facts.clipped_share), _clipped(facts)),
        (tr("Use of the sensor's range"), _percent(facts.range_share), _range(facts)),
        (tr("Ski slope"), _ratio(facts.ski_slope), _ski_slope(facts)),
        (
            tr("Crest factor"), words.number(facts.crest_factor),
            tr("impulsive") if (facts.crest_factor or 0.0) > CREST_IMPULSIVE else "",
        ),
        (
            tr("Kurtosis"), words.number(facts.kurtosis),
            tr("suspicious above 4") if (facts.kurtosis or 0.0) > KURTOSIS_SUSPICIOUS else tr("3 is plain noise"),
        ),
        (tr("Speed"), words.number(rpm, "rpm", 5), _speed_source(judged, rpm)),
        (tr("Change of speed within it"), _drift_value(facts.speed_drift), _drift(facts)),
        (
            tr("Resonance of the mounting"),
            words.number(facts.mounting.resonance_hz if facts.mounting else None, "Hz"), _mounting(facts),
        ),
    ]  # fmt: skip
    return [_row(name, value, meaning) for name, value, meaning in rows]


def _row(name: str, value: str, meaning: str) -> dict[str, str]:
    return {tr("Fact"): name, tr("Value"): value, tr("Meaning"): meaning}


def _percent(share: float | None) -> str:
    return words.NOT_KNOWN if share is None else f"{100.0 * share:.3g} %"


def _ratio(value: float | None) -> str:
    return words.NOT_KNOWN if value is None else f"{value:.2g}"


def _clipped(facts: CaptureFacts) -> str:
    if facts.clipped_share is None:
        return tr("needs the waveform")
    if facts.clipped_share > 0.0:
        return tr("cut off: peak, crest factor and the spectrum above are wrong")
    return tr("none is cut off")


def _range(facts: CaptureFacts) -> str:
    if facts.range_share is None:
        return tr("needs the waveform") if facts.verdict is None else tr("the sensor does not tell its range")
    if facts.range_share >= SATURATED_SHARE:
        return tr("saturated: take a sensor of a larger range")
    if facts.range_share <= UNUSED_SHARE:
        return tr("little of it: the sensor's own noise may show")
    return tr("in range")


def _ski_slope(facts: CaptureFacts) -> str:
    low = f"{facts.low_hz:g}"
    if facts.ski_slope is None:
        return tr("needs the waveform") if facts.verdict is None else tr("too short to see below {low} Hz", low=low)
    if facts.ski_slope > 1.0:
        return tr("drift or shocks below {low} Hz outweigh what is judged: check cable and mounting", low=low)
    return tr("velocity below {low} Hz over that above it; harmless up to 1", low=low)


def _drift_value(found: SpeedDrift | None) -> str:
    return words.NOT_KNOWN if found is None else f"{100.0 * found.share:.2g} ± {100.0 * found.uncertainty:.1g} %"


def _drift(facts: CaptureFacts) -> str:
    found = facts.speed_drift
    if found is None:
        return tr("needs the waveform") if facts.verdict is None else tr("no line of the shaft stands out enough")
    if found.share - 2.0 * found.uncertainty > UNSTEADY_SHARE:
        return tr("lines smear, high harmonics most; read from {harmonic}x", harmonic=found.harmonic)
    if found.uncertainty > UNSTEADY_SHARE:
        return tr("too short or too noisy to tell; read from {harmonic}x", harmonic=found.harmonic)
    return tr("steady; read from {harmonic}x", harmonic=found.harmonic)


def _mounting(facts: CaptureFacts) -> str:
    if facts.mounting is None:
        return tr("needs the waveform") if facts.verdict is None else tr("none in sight")
    usable = words.number(facts.mounting.resonance_hz / 3.0, "Hz", 2)
    return tr("magnet, probe or loose mount? Amplitudes hold up to about {usable}, a third of it", usable=usable)


def _speed_source(judged: LatestHealth | None, rpm: float | None) -> str:
    if judged is None or judged.rpm is None:
        return tr("not known to the gateway") if rpm is None else tr("as entered here")
    if rpm is not None and abs(rpm - judged.rpm) > 0.005 * judged.rpm:
        return tr("as entered here; the gateway found {rpm}", rpm=words.number(judged.rpm, "rpm", 5))
    return tr(
        "from {source}, confidence {share}",
        source=words.speed_source(judged.rpm_source), share=f"{judged.rpm_confidence:.0%}",
    )  # fmt: skip
