"""This file knows in which language a viewer reads: their choice, kept by the browser, else that of the browser."""

import streamlit as st

from dashboard.components.preference_cookie import read_preference, write_preference
from dashboard.languages import ENGLISH, LANGUAGES, SESSION_KEY, tr

AUTO = "auto"
_CHOICE = "language_choice"


def settle_language() -> None:
    """Decide the language before the first text is shown."""
    chosen = st.session_state.setdefault(_CHOICE, read_preference("language") or AUTO)
    if chosen not in LANGUAGES:
        chosen = (st.context.locale or "").partition("-")[0].casefold()
    st.session_state[SESSION_KEY] = chosen if chosen in LANGUAGES else ENGLISH


def show_language_choice() -> None:
    """Offer the languages; the names are in their own language, so that everybody finds theirs."""
    names = {AUTO: tr("Browser language"), **LANGUAGES}
    chosen = st.session_state.get(_CHOICE, AUTO)
    if chosen not in names:
        st.session_state[_CHOICE] = AUTO
    st.segmented_control(
        tr("Language"), list(names), format_func=lambda code: names[code], key=_CHOICE, required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    if st.session_state[_CHOICE] != (read_preference("language") or AUTO):
        write_preference("language", "" if st.session_state[_CHOICE] == AUTO else str(st.session_state[_CHOICE]))
