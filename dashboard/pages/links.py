"""This file knows how links stand within text: plain HTML that opens in the same tab; Markdown's would open another.

Whatever comes from outside goes through `plain` or `link`, which escape it; nothing else makes markup.
"""

from collections.abc import Iterable
from html import escape

import streamlit as st

_STYLE = (
    "<style>.ut-text{font-size:.95rem;line-height:1.5}.ut-text ul{margin:.2rem 0;padding-left:1.2rem}"
    ".ut-text a{color:inherit;text-decoration:underline;text-underline-offset:2px}.ut-text .ut-gap{margin-right:1rem}"
    "@media (pointer:coarse){.ut-text a{display:inline-block;padding:.55rem 0}}</style>"
)


def plain(text: str) -> str:
    """Text as it is, whatever it contains."""
    return escape(" ".join(text.split()))


def link(title: str, address: str) -> str:
    """A link to another page of ours."""
    return f'<a href="{escape(address)}">{plain(title)}</a>'


def show_row(parts: Iterable[str]) -> None:
    """Show links or texts beside each other."""
    _show("".join(f'<span class="ut-gap">{part}</span>' for part in parts))


def show_list(parts: Iterable[str], *, title: str = "") -> None:
    """Show lines made of `plain` and `link`, one below the other."""
    headed = f"<b>{plain(title)}</b>" if title else ""
    _show(f"{headed}<ul>{''.join(f'<li>{part}</li>' for part in parts)}</ul>")


def _show(body: str) -> None:
    st.html(f'{_STYLE}<div class="ut-text">{body}</div>')
