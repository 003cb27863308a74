"""This file knows how an analysed capture becomes charts: envelope and spectrum, with cursors where faults would show.

The machine's page shows those of the newest evidence; the bench of a measurement point shows the rest too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dashboard import sentences, words
from dashboard.analysis import BEARING, Analysis, Lines, analyse, on_grid, peaks_of
from dashboard.components.chart import Cursor, Line, Peak, Role, Share, Spectrum, Tools, show_chart, spectrum_data
from dashboard.condition import Condition, position
from dashboard.errors import DatabaseUnavailable
from dashboard.fault_words import line_meaning
from dashboard.languages import tr
from dashboard.pages.addresses import point_address
from dashboard.pages.links import link, show_row
from dashboard.pages.notice import show_notice
from dashboard.queries.machine import EvidenceEntry, read_evidence
from dashboard.queries.records import MachineRecord
from dashboard.runtime import Dashboard
from schemas.errors import MessageRejected
from schemas.messages import Contribution, FaultLine
from vibration.errors import VibrationError
from vibration.iso_zones import velocity_band_at
from vibration.orders import SLIP_TOLERANCE
from vibration.units import ratio_to_db

OPEN_HARMONICS = 6.0
_FAMILY = {
    "outer": "BPFO", "inner": "BPFI", "ball": "2xBSF", "cage": "FTF", "imbalance": "1x", "misalignment": "1x",
    "looseness": "1x", "gear": "GMF",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Compared:
    """What a capture is laid over: the healthy baseline or another capture."""

    name: str
    spectrum: Lines | None
    envelope: Lines | None
    is_baseline: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """How an analysed capture is looked at.

    Attributes:
        lines: Where faults would show, at the speed that is believed.
        family: Whose lines are shown at first.
        tools: Of the envelope and of the spectrum; none on the machine's page.
    """

    analysis: Analysis
    lines: Sequence[FaultLine]
    rpm: float | None
    family: str
    compared: Compared | None = None
    contributions: Sequence[Contribution] = ()
    tools: dict[str, Tools] | None = None

    @property
    def shaft_hz(self) -> float | None:
        return self.rpm / 60.0 if self.rpm else None


def family_of(label: str) -> str:
    """Whose lines speak for a diagnosis; empty where none do."""
    return _FAMILY.get(label, "")


def show_spectra(
    board: Dashboard, machine: MachineRecord, entries: Sequence[EvidenceEntry], condition: Condition
) -> None:
    """Show spectrum and envelope of a chosen capture."""
    st.subheader(tr("Spectra"))
    if not entries:
        st.markdown(
            tr(
                "No spectra have been sent. A gateway sends them with an alarm, or when somebody asks for them on the "
                "page of a measurement point. Raw signals stay on the gateway."
            )
        )
        return
    chosen = st.selectbox(
        tr("Capture"), list(range(len(entries))), key=f"evidence:{machine.machine}",
        format_func=lambda index: entry_words(entries[index]),
    )  # fmt: skip
    entry = entries[chosen or 0]
    address = f"{point_address(entry.point)}&capture={entry.name}"
    show_row([link(tr("Analyse this capture"), address), tr("with cursors, comparison, waterfall and waveform")])
    label = condition.case.diagnosis[0].label if condition.case and condition.case.diagnosis else ""
    try:
        with board.reader.read() as connection:
            evidence = read_evidence(connection, entry)
        if evidence is None:
            show_notice(tr("This evidence is gone or cannot be read; choose another capture."))
            return
        seen = Seen(analyse(evidence), evidence.fault_lines, evidence.rpm, family_of(label))
    except DatabaseUnavailable as problem:
        show_notice(tr("The evidence cannot be read now: {problem}", problem=words.plain(problem.detail)))
        return
    except (MessageRejected, VibrationError) as problem:
        show_notice(damaged_words(problem))
        return
    st.caption(capture_words(seen))
    show_chart(envelope_chart(seen, view_key=f"envelope:{evidence.point}"))
    show_chart(spectrum_chart(seen, view_key=f"spectrum:{evidence.point}"))
    show_lines(seen.lines)


def damaged_words(problem: Exception) -> str:
    """Say that a capture cannot be analysed, and why."""
    return tr(
        "The spectra of this capture are damaged ({problem}); choose another capture.",
        problem=words.plain(str(problem)),
    )


def capture_words(seen: Seen) -> str:
    """Say what was measured: where, which axis, at which speed."""
    evidence = seen.analysis.evidence
    speed = tr("speed not known") if seen.rpm is None else tr("{rpm} rpm", rpm=f"{seen.rpm:.0f}")
    axis = tr("axis {number}", number=seen.analysis.axis + 1)
    return f"{words.plain(evidence.point)}, {axis}, {speed}"


def entry_words(entry: EvidenceEntry) -> str:
    """Say one piece of evidence in a list: without its age, for a choice whose words change is lost."""
    moment = words.moment(entry.measured_at_us, st.context.timezone)
    raw = f", {tr('with waveform')}" if entry.waveform_samples else ""
    why = tr("at its alarm") if entry.why.startswith("alarm ") else sentences.said(entry.why)
    return f"{position(entry.point)}, {moment}: {why}{raw}"


def envelope_chart(seen: Seen, *, view_key: str) -> dict[str, Any]:
    """Describe the envelope spectrum of a capture."""
    analysis = seen.analysis
    low_hz, high_hz = analysis.band_hz
    return spectrum_data(
        view_key=view_key,
        title=_thinned_title(
            tr("Envelope spectrum, {low} to {high} Hz demodulated", low=f"{low_hz:.0f}", high=f"{high_hz:.0f}"),
            analysis.envelope,
        ),
        shown=Spectrum(
            start_hz=analysis.envelope.start_hz, step_hz=analysis.envelope.step_hz,
            lines=_laid_over(analysis.envelope, seen.compared, seen.compared.envelope if seen.compared else None),
            unit=envelope_unit(analysis.envelope.unit), label=tr("amplitude"), shaft_hz=seen.shaft_hz,
            cursors=cursors(seen.lines, shown=frozenset({seen.family or "1x"})),
            first_view_hz=opens_at_hz(seen.lines),
            peaks=_peaks(analysis.envelope, seen), peaks_open=True, largest_of=analysis.envelope.largest_of,
            contributions=_shares(seen, "envelope"), tools=None if seen.tools is None else seen.tools["envelope"],
        ),
        with_hint=True,
    )  # fmt: skip


def spectrum_chart(seen: Seen, *, view_key: str) -> dict[str, Any]:
    """Describe the spectrum of a capture, with the demodulated band marked."""
    analysis, compared = seen.analysis, seen.compared
    if compared is None and analysis.baseline is not None and not analysis.recomputed:
        compared = Compared(tr("healthy"), analysis.baseline, None, is_baseline=True)
    title = tr("Spectrum")
    if compared is not None and compared.is_baseline and compared.spectrum is not None:
        title = tr("Spectrum, healthy in grey")
    return spectrum_data(
        view_key=view_key,
        title=_thinned_title(title, analysis.spectrum),
        shown=Spectrum(
            start_hz=analysis.spectrum.start_hz, step_hz=analysis.spectrum.step_hz,
            lines=_laid_over(analysis.spectrum, compared, compared.spectrum if compared else None),
            unit=tr("g peak") if analysis.spectrum.unit == "g" else analysis.spectrum.unit, label=tr("amplitude"),
            shaft_hz=seen.shaft_hz,
            cursors=cursors(seen.lines, shown=frozenset({seen.family} if seen.family not in BEARING else ())),
            in_velocity=analysis.spectrum.unit == "g", velocity_from_hz=velocity_band_at(seen.rpm)[0],
            peaks=_peaks(analysis.spectrum, seen), largest_of=analysis.spectrum.largest_of,
            contributions=_shares(seen, "spectrum", "level"),
            marked_hz=analysis.band_hz, tools=None if seen.tools is None else seen.tools["spectrum"],
        ),
    )  # fmt: skip


def show_lines(lines: Sequence[FaultLine]) -> None:
    """Show where each line was expected and found."""
    if not lines:
        st.caption(tr("No fault lines: bearing or speed are not known. Enter them in the machine's nameplate."))
        return
    st.dataframe(line_rows(lines), hide_index=True, width="stretch")
    st.caption(
        tr(
            "Bearing lines may lie {share} beside their place (slip): the shaded band. The small triangle below the "
            "axis is where a line was found: by the gateway over its last captures, so that a peak of this capture "
            "alone may lie a little beside it.",
            share=f"{SLIP_TOLERANCE:.0%}",
        )
    )


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
        above = words.NOT_KNOWN if line.prominence_db is None else f"{line.prominence_db:.1f} dB"
        off = "" if not line.found_hz else f"{100 * (line.found_hz / line.frequency_hz - 1):+.1f} %"
        rows.append(
            {
                tr("Line"): line.name,
                tr("As often as"): line_meaning(line.name),
                tr("Expected"): words.number(line.frequency_hz, "Hz", 4),
                tr("Found"): words.number(line.found_hz, "Hz", 4),
                tr("Deviation"): off or words.NOT_KNOWN,
                tr("Above surroundings"): above,
            }
        )
    return rows


def _laid_over(lines: Lines, compared: Compared | None, other: Lines | None) -> list[Line]:
    """The capture, over what it is compared with."""
    shown = [Line(lines.values)]
    if compared is not None and other is not None:
        role: Role = "baseline" if compared.is_baseline else "other"
        shown.insert(0, Line(on_grid(other, lines), role, name=compared.name))
    return shown


def envelope_unit(unit: str) -> str:
    """The trade writes acceleration of an envelope as gE; lines of a spectrum are peak amplitudes."""
    return tr("gE peak") if unit == "g" else unit


def _thinned_title(title: str, lines: Lines) -> str:
    """Say in a chart's title that not every line is there."""
    if lines.largest_of == 1:
        return title
    return tr("{title}; of every {every} lines the largest", title=title, every=lines.largest_of)


def _peaks(lines: Lines, seen: Seen) -> list[Peak]:
    if seen.tools is None:
        return []
    return [Peak(p.frequency_hz, p.amplitude, ratio_to_db(p.prominence)) for p in peaks_of(lines)]


def _shares(seen: Seen, *kinds: str) -> list[Share]:
    """Contributions whose band lies in this chart: of the envelope's rhythm, or of the spectrum."""
    return [
        Share(
            f"{words.contribution(part.name)}, {part.low_hz:.0f} – {part.high_hz:.0f} Hz, "
            + tr("axis {number}", number=part.axis + 1),
            part.low_hz, part.high_hz, part.share,
        )
        for part in seen.contributions
        if part.name.partition(" ")[0] in kinds and part.low_hz is not None and part.high_hz is not None
    ]  # fmt: skip


def opens_at_hz(lines: Sequence[FaultLine]) -> float | None:
    """Up to where an envelope opens: a few harmonics beyond the highest bearing line, not the whole band."""
    bearing = [line.frequency_hz for line in lines if line.name in BEARING]
    return OPEN_HARMONICS * max(bearing) if bearing else None
