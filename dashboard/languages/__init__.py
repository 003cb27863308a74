"""This package knows the languages of the screen: English stands in the code, others in catalogues beside it.

`tr("Open cases")` says it in the viewer's language; values go in by name, `tr("{count} of {all}", count=1, all=2)`. A
catalogue is a folder of TOML files, `languages/de/overview.toml`, one a page, each a table from the English text to
the other one. A text without translation is shown in English; a test holds that none is missing.
"""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import resources
from typing import Final

ENGLISH: Final = "en"
LANGUAGES: Final = {"en": "English", "de": "Deutsch"}
SESSION_KEY: Final = "language"

_spoken: ContextVar[str | None] = ContextVar("spoken", default=None)


def tr(text: str, /, **values: object) -> str:
    """Say a text in the viewer's language, with the values in their places."""
    said = catalogue(language()).get(text, text)
    return said.format(**values) if values else said


def language() -> str:
    """The language in use: that of `speaking`, else the viewer's, else English."""
    spoken = _spoken.get()
    return spoken if spoken is not None else _of_viewer()


@contextmanager
def speaking(code: str) -> Iterator[None]:
    """Use one language whoever looks: for reports, messages and tests.

    Raises:
        KeyError: There is no such language.
    """
    token = _spoken.set(code if code in LANGUAGES else LANGUAGES[code])
    try:
        yield
    finally:
        _spoken.reset(token)


@cache
def catalogue(code: str) -> dict[str, str]:
    """All texts of one language, by the English one; of English none."""
    if code == ENGLISH:
        return {}
    folder = resources.files(__name__) / code
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return {english: said for file in files for english, said in tomllib.loads(file.read_text("utf-8")).items()}


def _of_viewer() -> str:
    import streamlit as st
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    if get_script_run_ctx(suppress_warning=True) is None:
        return ENGLISH
    chosen = st.session_state.get(SESSION_KEY)
    return chosen if chosen in LANGUAGES else ENGLISH
