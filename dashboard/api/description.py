"""This file knows how the interface is shown to a person: one page made of its own description, no foreign script."""

from html import escape
from typing import Any

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "code{font-size:.95em}h3{margin:1.4rem 0 .2rem}ul{margin:.2rem 0}summary{cursor:pointer}"
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def as_page(described: dict[str, Any]) -> str:
    """Write an OpenAPI description as HTML."""
    info = described["info"]
    parts = [
        (
            f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>{escape(info['title'])}</title><style>{_STYLE}</style><h1>{escape(info['title'])}</h1>"
            f"<p>{escape(info['description'])}</p><p>For programs: <a href='openapi.json'>openapi.json</a></p>"
        )
    ]
    base = described.get("servers", [{"url": ""}])[0]["url"]
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            parts.append(_operation(f"{method.upper()} {base}{path}", operation))
    return "".join(parts)


def _operation(heading: str, operation: dict[str, Any]) -> str:
    rows = [
        f"<li><code>{escape(one['name'])}</code> ({escape(one['in'])}{', needed' if one.get('required') else ''}) "
        f"{escape(one.get('description', ''))}</li>"
        for one in operation.get("parameters", ())
    ]
    answers = ", ".join(f"{status} {escape(one['description'])}" for status, one in operation["responses"].items())
    return (
        f"<h3><code>{escape(heading)}</code></h3><p>{escape(operation.get('description', operation['summary']))}</p>"
        f"<ul>{''.join(rows)}</ul><details><summary>Answers</summary>{answers}</details>"
    )
