"""This file knows how the phase between the axes of a sensor is shown, and what it speaks for."""

import streamlit as st

from dashboard import words
from dashboard.analysis import phases_of
from dashboard.languages import tr
from schemas.errors import MessageRejected
from schemas.messages import Evidence
from vibration.errors import VibrationError
from vibration.phase import BELIEVED_COHERENCE, CrossPhase

MUCH = 3.0  # times as much on one axis as on the other: a point that moves one way


def show_phases(evidence: Evidence, *, rpm: float | None) -> None:
    """Show how the axes move against each other at once and twice the shaft's speed."""
    with st.expander(tr("Phase between the axes")):
        if rpm is None:
            st.markdown(tr("The speed is not known: enter it above."))
            return
        try:
            found = phases_of(evidence, rpm=rpm)
        except (MessageRejected, VibrationError) as problem:
            st.markdown(tr("It cannot be read: {problem}", problem=words.plain(str(problem))))
            return
        if not found:
            st.markdown(tr("It needs the waveforms of two axes; they come with a request (below)."))
            return
        st.dataframe([phase_row(one) for one in found], hide_index=True, width="stretch")
        st.caption(
            tr(
                "Above 0° the second axis leads. Believed from a coherence of {least} on. Which axis is horizontal, "
                "vertical or axial is not known here: look at the sensor.",
                least=f"{BELIEVED_COHERENCE:g}",
            )
        )


def phase_row(found: CrossPhase) -> dict[str, str]:
    """One pair of axes at one order: the angle, how sure it is, the amplitudes, and what it speaks for."""
    believed = found.coherence >= BELIEVED_COHERENCE
    angle = f"{found.phase_deg:+.0f}° ± {max(1.0, found.uncertainty_deg):.0f}°" if believed else words.NOT_KNOWN
    return {
        tr("Order"): f"{found.order:g}x",
        tr("Axes"): tr("{first} to {second}", first=found.first + 1, second=found.second + 1),
        tr("Phase"): angle,
        tr("Coherence"): f"{found.coherence:.2f}",
        tr("Amplitudes"): f"{words.number(found.first_g, 'g peak')} / {words.number(found.second_g, 'g peak')}",
        tr("Speaks for"): _speaks_for(found),
    }


def _speaks_for(found: CrossPhase) -> str:
    """What the trade reads from the motion, where both axes are radial or one of them is axial."""
    if found.motion == "unclear":
        if found.coherence >= BELIEVED_COHERENCE:
            return tr("nothing: one axis hardly moves")
        return tr("nothing: the axes do not move together")
    high, low = max(found.first_g, found.second_g), min(found.first_g, found.second_g)
    directional = high >= MUCH * low
    if found.motion == "turning":
        if found.order == 1.0:
            return tr("a rotating force, if both are radial: imbalance")
        return tr("a rotating motion, if both are radial: no looseness of one foot")
    if found.motion == "between":
        return tr("neither a purely rotating force nor a motion on a line; several causes or unequal stiffness")
    if found.order == 1.0:
        if directional:
            return tr("a motion on a line, mostly one way: looseness of a foot, resonance or soft foot, not imbalance")
        return tr("a motion on a line: looseness, resonance; with an axial axis: misalignment or bent shaft")
    return tr("a motion on a line at twice the speed: misalignment, if the axial axis takes part; else looseness")
