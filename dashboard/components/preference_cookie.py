"""This file knows how a browser is given, and asked for, a choice that is no secret."""

import streamlit as st

from dashboard.components.assets import asset

_cookie = st.components.v2.component("undertone.preference_cookie", js=asset("preference_cookie.js"))


def read_preference(name: str) -> str | None:
    """The choice the browser sent when it connected."""
    return st.context.cookies.get(f"undertone_{name}")


def write_preference(name: str, value: str) -> None:
    """Have the browser keep a choice; an empty one forgets."""
    _cookie(key=f"preference-{name}", data={"name": f"undertone_{name}", "value": value}, height=1)
