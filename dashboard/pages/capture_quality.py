"""This file knows how a capture's quality is shown: what says whether its lines can be believed."""

import streamlit as st

from dashboard import words
from dashboard.analysis import Analysis, CaptureFacts, facts_of
from dashboard.languages import tr
from dashboard.queries.records import LatestHealth

SHORT_S = 4.0  # 1 % slip of a 2-pole motor and twice the mains frequency need 0.3 Hz: 4 s with a Hann window
KURTOSIS_SUSPICIOUS = 4.0
CREST_IMPULSIVE = 5.0


def show_quality(analysis: Analysis, judged: LatestHealth | None, *, rpm: float | None) -> None:
    """Show the facts of a capture and what they mean."""
    with st.expander(tr("Quality of this capture")):
        st.dataframe(quality_rows(facts_of(analysis), judged, rpm=rpm), hide_index=True, width="stretch")
        st.caption(tr("Axis {number} of the sensor; the gateway judged all axes.", number=analysis.evidence.axis + 1))


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
        (tr("True peak"), words.number(facts.peak_g, "g"), ""),
        (
            tr("Crest factor"), words.number(facts.crest_factor),
            tr("impulsive") if (facts.crest_factor or 0.0) > CREST_IMPULSIVE else "",
        ),
        (
            tr("Kurtosis"), words.number(facts.kurtosis),
            tr("suspicious above 4") if (facts.kurtosis or 0.0) > KURTOSIS_SUSPICIOUS else tr("3 is plain noise"),
        ),
        (tr("Speed"), words.number(rpm, "rpm", 5), _speed_source(judged, rpm)),
    ]  # fmt: skip
    return [{tr("Fact"): name, tr("Value"): value, tr("Meaning"): meaning} for name, value, meaning in rows]


def _speed_source(judged: LatestHealth | None, rpm: float | None) -> str:
    if judged is None or judged.rpm is None:
        return tr("not known to the gateway") if rpm is None else tr("as entered here")
    if rpm is not None and abs(rpm - judged.rpm) > 0.005 * judged.rpm:
        return tr("as entered here; the gateway found {rpm}", rpm=words.number(judged.rpm, "rpm", 5))
    return tr(
        "from {source}, confidence {share}",
        source=words.speed_source(judged.rpm_source), share=f"{judged.rpm_confidence:.0%}",
    )  # fmt: skip
