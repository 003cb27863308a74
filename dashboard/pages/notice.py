"""This file knows how something that must not be overlooked is said without a colour that belongs to the alarms."""

import streamlit as st

MARK = "▨"


def show_notice(text: str) -> None:
    """Frame a text that qualifies everything below it."""
    with st.container(border=True):
        st.markdown(f"{MARK} {text}")
