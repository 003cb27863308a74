"""This file knows how a browser is given, and asked for, the word that names its session."""

import streamlit as st

from dashboard.components.assets import asset

_cookie = st.components.v2.component("undertone.session_cookie", js=asset("session_cookie.js"))


def cookie_name(port: int) -> str:
    """Browsers share cookies between the ports of a host; so the port is part of the name."""
    return f"undertone_session_{port}"


def read_session_cookie(port: int) -> str | None:
    """The word the browser sent when it connected."""
    return st.context.cookies.get(cookie_name(port))


def write_session_cookie(port: int, word: str) -> None:
    """Have the browser keep a word; an empty one forgets."""
    _cookie(key="session-cookie", data={"name": cookie_name(port), "word": word}, height=1)
