"""This file knows what a person chooses on the bench: comparison, axis, speed, bearing, demodulated band.

The address keeps what was chosen, so that a link shows a colleague the same.
"""

from collections.abc import Sequence

import streamlit as st

from dashboard.analysis import Analysis, orders_named, orders_of
from dashboard.languages import tr
from dashboard.pages.spectra import entry_words
from dashboard.queries.machine import EvidenceEntry
from schemas.asset_table import BearingRow
from schemas.messages import Evidence
from schemas.nameplate import BearingPlate
from vibration.bearing import FaultOrders
from vibration.bearing_library import load_library

BASELINE = "baseline"
OWN_BAND = "own"
MIN_BAND_HZ = 50.0
MOST_RPM = 200_000.0


def parse_band(text: str | None) -> tuple[float, float] | None:
    """Read `2400-4000` out of an address; None where it is no band."""
    low, dash, high = (text or "").partition("-")
    try:
        band = float(low), float(high)
    except ValueError:
        return None
    return band if dash and 0.0 <= band[0] < band[1] < 1e9 else None


def compare_choice(entries: Sequence[EvidenceEntry], entry: EvidenceEntry, evidence: Evidence) -> str:
    """Offer the healthy baseline and the other captures; the name of what was chosen, empty for nothing."""
    others = {found.name: found for found in entries if found.name != entry.name}
    options = ["", *([BASELINE] if evidence.baseline is not None else []), *others]
    wanted = st.query_params.get("with", "")

    def said(name: str) -> str:
        if name == BASELINE:
            return tr("Healthy baseline")
        return entry_words(others[name]) if name else tr("Nothing")

    chosen = st.selectbox(
        tr("Compare with"), options, index=options.index(wanted) if wanted in options else 0, format_func=said,
        key=f"bench_with:{entry.name}",
    )  # fmt: skip
    keep_in_address("with", chosen or "")
    return chosen or ""


def speed_choice(evidence: Evidence) -> float | None:
    """Let a person say the speed; all lines follow it. None where nobody knows it."""
    source = tr("Speed in rpm") if evidence.rpm is not None else tr("Speed in rpm (the gateway knows none)")
    chosen = st.number_input(
        source, min_value=0.0, max_value=MOST_RPM, value=evidence.rpm or 0.0, step=1.0, format="%.1f",
        key=f"bench_rpm:{evidence.point}:{evidence.capture_boot}:{evidence.capture_sequence}",
        help=tr("All fault lines and orders follow it. Change it where the speed is known better."),
    )  # fmt: skip
    return chosen or None


def band_choice(analysis: Analysis) -> tuple[float, float] | None:
    """Let a person choose what is demodulated; None where there is no waveform to do it with."""
    if analysis.waveform is None:
        st.caption(tr("Without the waveform the band is the gateway's; request it to choose another."))
        return None
    half_hz = analysis.waveform.sample_rate_hz / 2.0
    wanted = parse_band(st.query_params.get("band"))
    options = {"gateway": analysis.band_hz} | {f"kurtogram {n}": b.edges_hz for n, b in enumerate(analysis.bands)}
    kurtosis = {f"kurtogram {n}": band.spectral_kurtosis for n, band in enumerate(analysis.bands)}

    def said(name: str) -> str:
        if name == OWN_BAND:
            return tr("Own band")
        low_hz, high_hz = options[name]
        span = f"{low_hz:.0f} – {high_hz:.0f} Hz"
        if name == "gateway":
            return tr("{span}, as the gateway chose it", span=span)
        return tr("{span} by kurtogram, spectral kurtosis {kurtosis}", span=span, kurtosis=f"{kurtosis[name]:.1f}")

    key = f"bench_band:{analysis.evidence.point}:{analysis.evidence.capture_sequence}:{analysis.axis}"
    chosen = st.selectbox(
        tr("Demodulated band"), [*options, OWN_BAND], index=len(options) if wanted else 0, format_func=said, key=key
    )
    if chosen != OWN_BAND:
        keep_in_address("band", "")
        low_hz, high_hz = options[chosen or "gateway"]
        return low_hz, min(high_hz, 0.999 * half_hz)
    least_hz = min(MIN_BAND_HZ, 0.1 * half_hz)
    low_hz, high_hz = (min(max(edge_hz, least_hz), half_hz) for edge_hz in wanted or analysis.band_hz)
    band_hz: tuple[float, float] = st.slider(
        tr("Band in Hz"), least_hz, half_hz, (low_hz, high_hz), step=10.0, format="%.0f", key=f"{key}:own"
    )
    keep_in_address("band", f"{band_hz[0]:.0f}-{band_hz[1]:.0f}")
    return band_hz[0], min(band_hz[1], 0.999 * half_hz)


def asked_axis(text: str, *, own: int, axes: Sequence[int]) -> int:
    """The axis that an address names, counted from 1 as people do; the gateway's own where it names none."""
    named = next((axis for axis in axes if text == str(axis + 1)), None)
    return own if named is None else named


def axis_choice(analysis: Analysis) -> int:
    """Let a person look at another axis whose samples are here; the gateway's where there is no choice."""
    if len(analysis.axes) < 2:
        return analysis.axis
    wanted, own = st.query_params.get("axis", ""), analysis.evidence.axis
    names = {axis: tr("axis {number}", number=axis + 1) for axis in analysis.axes}
    names[own] = tr("{axis}, as the gateway chose it", axis=names[own])
    options = list(analysis.axes)
    chosen = st.selectbox(
        tr("Axis of the sensor"), options, index=options.index(asked_axis(wanted, own=own, axes=options)),
        format_func=lambda axis: names[axis], key=f"bench_axis:{analysis.evidence.capture_sequence}",
    )  # fmt: skip
    chosen = own if chosen is None else chosen
    keep_in_address("axis", "" if chosen == own else str(chosen + 1))
    return chosen


def bearing_choice(plate: BearingPlate | None, own: Sequence[BearingRow]) -> tuple[FaultOrders | None, bool]:
    """Let a person say which bearing it is: of the plant's own table, or of the library.

    Returns:
        Its fault orders, if they are known; and whether it was chosen here, instead of the gateway's.
    """
    names = {"": tr("As on the nameplate and at the gateway")}
    names |= {row.name: tr("{name}, of the plant's own table", name=row.name) for row in own}
    names |= {bearing.name: bearing.name for bearing in load_library()}
    wanted, options = st.query_params.get("bearing", ""), list(names)
    chosen = st.selectbox(
        tr("Bearing"), options, index=options.index(wanted) if wanted in names else 0,
        format_func=lambda name: names[name], key="bench_bearing",
        help=tr("Whose lines are shown. The plant's own table is kept in the settings."),
    )  # fmt: skip
    keep_in_address("bearing", chosen or "")
    return (orders_named(chosen, own), True) if chosen else (orders_of(plate, own), False)


def keep_in_address(name: str, value: str) -> None:
    """Write a choice into the address; an empty one is left out of it."""
    if value:
        st.query_params[name] = value
    else:
        st.query_params.pop(name, None)
