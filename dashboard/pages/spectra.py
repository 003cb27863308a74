"""This file knows how spectra are shown: the evidence of one capture, with cursors where theory expects a fault."""

from collections.abc import Sequence

import streamlit as st

from dashboard import runtime, words
from dashboard.components.chart import Cursor, Line, show_chart, spectrum_data
from dashboard.condition import Condition, position
from dashboard.errors import DatabaseUnavailable
from dashboard.pages.notice import show_notice
from dashboard.queries.machine import EvidenceEntry, read_evidence
from dashboard.queries.records import MachineRecord
from dashboard.runtime import Dashboard
from schemas.errors import MessageRejected
from schemas.messages import Evidence, FaultLine, Series
from vibration.orders import SLIP_TOLERANCE

BEARING = frozenset({"BPFO", "BPFI", "BSF", "2xBSF", "FTF"})
OPEN_HARMONICS = 6.0
_FAMILY = {
    "outer": "BPFO", "inner": "BPFI", "ball": "2xBSF", "cage": "FTF", "imbalance": "1x", "misalignment": "1x",
    "looseness": "1x", "gear": "GMF",
}  # fmt: skip


def show_spectra(
    board: Dashboard, machine: MachineRecord, entries: Sequence[EvidenceEntry], condition: Condition
) -> None:
    """Show spectrum and envelope of a chosen capture."""
    st.subheader("Spectra")
    if not entries:
        st.markdown(
            "No spectra have been sent. A gateway sends them with an alarm, or when somebody asks "
            "(Other actions: ask the gateway for new spectra). Raw signals stay on the gateway."
        )
        return
    chosen = st.selectbox(
        "Capture", list(range(len(entries))), key=f"evidence:{machine.machine}",
        format_func=lambda index: _entry_words(entries[index]),
    )  # fmt: skip
    entry = entries[chosen or 0]
    try:
        with board.reader.read() as connection:
            evidence = read_evidence(connection, entry)
        if evidence is None:
            show_notice("This evidence is gone or cannot be read; choose another capture.")
            return
        label = condition.case.diagnosis[0].label if condition.case and condition.case.diagnosis else ""
        _draw(evidence, _FAMILY.get(label, ""))
    except DatabaseUnavailable as problem:
        show_notice(f"The evidence cannot be read now: {words.plain(problem.detail)}")
    except MessageRejected as problem:
        show_notice(f"The spectra of this capture are damaged ({words.plain(str(problem))}); choose another capture.")


def cursors(lines: Sequence[FaultLine], *, shown: frozenset[str]) -> list[Cursor]:
    """Make cursors of fault lines; bearing lines carry the band in which slip may put them."""
    return [
        Cursor(
            line.name, line.frequency_hz, line.harmonics, SLIP_TOLERANCE if line.name in BEARING else 0.0,
            line.name in shown, line.found_hz,
        )
        for line in lines if line.frequency_hz > 0.0
    ]  # fmt: skip


def line_rows(lines: Sequence[FaultLine]) -> list[dict[str, str]]:
    """Say where each line was expected, where it was found and how far it stands out."""
    rows = []
    for line in lines:
        off = "" if not line.found_hz else f"{100 * (line.found_hz / line.frequency_hz - 1):+.1f} %"
        rows.append(
            {
                "Line": line.name,
                "Expected": words.number(line.frequency_hz, "Hz", 4),
                "Found": words.number(line.found_hz, "Hz", 4),
                "Deviation": off or words.NOT_KNOWN,
                "Above surroundings": words.number(line.prominence_db, "dB"),
            }
        )
    return rows


def _entry_words(entry: EvidenceEntry) -> str:
    age = words.age((runtime.current().now_us() - entry.measured_at_us) / 1e6)
    return f"{position(entry.point)}, {words.moment(entry.measured_at_us, st.context.timezone)} ({age}): {entry.why}"


def _draw(evidence: Evidence, family: str) -> None:
    shaft_hz = evidence.rpm / 60.0 if evidence.rpm else None
    low, high = evidence.envelope_band_hz
    speed = "speed not known" if evidence.rpm is None else f"{evidence.rpm:.0f} rpm"
    st.caption(f"{words.plain(evidence.point)}, axis {evidence.axis + 1}, {speed}")
    envelope = _lines(evidence.envelope, None)
    show_chart(
        spectrum_data(
            view_key=f"envelope:{evidence.point}", title=f"Envelope spectrum, {low:.0f} to {high:.0f} Hz demodulated",
            start_hz=evidence.envelope.start, step_hz=evidence.envelope.step, lines=envelope,
            unit=evidence.envelope.value_unit, label="amplitude", shaft_hz=shaft_hz,
            cursors=cursors(evidence.fault_lines, shown=frozenset({family or "1x"})),
            with_hint=True, first_view_hz=_where_faults_show(evidence),
        )
    )  # fmt: skip
    show_chart(
        spectrum_data(
            view_key=f"spectrum:{evidence.point}",
            title="Spectrum" + (", healthy in grey" if evidence.baseline else ""),
            start_hz=evidence.spectrum.start, step_hz=evidence.spectrum.step,
            lines=_lines(evidence.spectrum, evidence.baseline), unit=evidence.spectrum.value_unit, label="amplitude",
            shaft_hz=shaft_hz,
            cursors=cursors(evidence.fault_lines, shown=frozenset({family} if family not in BEARING else ())),
        )
    )  # fmt: skip
    if evidence.fault_lines:
        st.dataframe(line_rows(evidence.fault_lines), hide_index=True, width="stretch")
        st.caption(
            f"Bearing lines may lie {SLIP_TOLERANCE:.0%} beside their place (slip): the shaded band. "
            "The small triangle below the axis is where a line was found."
        )
    else:
        st.caption("No fault lines: bearing or speed are not known. Enter them in the machine's nameplate.")


def _where_faults_show(evidence: Evidence) -> float | None:
    """Up to where an envelope opens: a few harmonics beyond the highest bearing line, not the whole band."""
    bearing = [line.frequency_hz for line in evidence.fault_lines if line.name in BEARING]
    return OPEN_HARMONICS * max(bearing) if bearing else None


def _lines(series: Series, baseline: Series | None) -> list[Line]:
    lines = []
    if baseline is not None and (baseline.start, baseline.step) == (series.start, series.step):
        lines.append(Line(baseline.unpack(), "baseline"))
    return [*lines, Line(series.unpack())]
