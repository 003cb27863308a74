"""This file knows how a person chooses units; the browser keeps the choice, as it keeps that of the language."""

import streamlit as st

from dashboard.components.preference_cookie import read_preference, write_preference
from dashboard.languages import tr
from dashboard.units import ACCELERATIONS, METRIC, SESSION_KEY, VELOCITIES, Units, units

_VELOCITY, _ACCELERATION = "units_velocity", "units_acceleration"
_KEPT_AS = {  # a cookie holds no slash and no raised 2
    "metric-g": METRIC, "metric-si": Units("mm/s", "m/s²"), "inch-g": Units("in/s", "g"),
    "inch-si": Units("in/s", "m/s²"),
}  # fmt: skip


def settle_units() -> None:
    """Decide the units before the first number is shown."""
    kept = _kept()
    chosen = Units(
        st.session_state.setdefault(_VELOCITY, kept.velocity),
        st.session_state.setdefault(_ACCELERATION, kept.acceleration),
    )
    st.session_state[SESSION_KEY] = chosen if chosen in _KEPT_AS.values() else METRIC


def show_unit_choice() -> None:
    """Offer the units, of velocity and of acceleration."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", width="content"):
        st.segmented_control(
            tr("Unit of velocity"), VELOCITIES, key=_VELOCITY, required=True, label_visibility="collapsed",
            help=tr("RMS in both: 1 in/s is 25.4 mm/s. A peak would hold for a sine only."),
        )  # fmt: skip
        st.segmented_control(
            tr("Unit of acceleration"), ACCELERATIONS, key=_ACCELERATION, required=True, label_visibility="collapsed"
        )


def keep_units() -> None:
    """Have the browser keep what was chosen."""
    wanted = units()
    if wanted != _kept():
        write_preference("units", next(name for name, found in _KEPT_AS.items() if found == wanted))


def _kept() -> Units:
    """What the browser has kept; a cookie of a stranger is nothing."""
    return _KEPT_AS.get(read_preference("units") or "", METRIC)
