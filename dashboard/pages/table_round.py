"""This file knows how a table goes out as CSV and comes back: shown with its differences before anything changes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import streamlit as st
from pydantic import BaseModel
from sqlalchemy.engine import Connection

from dashboard import words
from dashboard.languages import tr
from dashboard.pages.asking import ask, explain_may_not, may, show_asked
from dashboard.queries.assets import Kind, Version, read_rows, read_versions
from dashboard.runtime import Dashboard
from schemas.csv_table import MAX_BYTES, Problem, Table, plain_row, read_table, write_table
from schemas.requests import Action

SHOWN_PROBLEMS = 50
SHOWN_CHANGES = 200
_Row = TypeVar("_Row", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Kept(Generic[_Row]):
    """One table and how it is handled.

    Attributes:
        key: What names a row; two rows must not share it.
        named: The same for people.
        keeps_unlisted: Whether rows that an uploaded table does not name stay as they are.
        check: What else is wrong with a row; empty when nothing is.
        as_of: Reads the rows that put a version in force again, where those it names are not all.
    """

    kind: Kind
    action: Action
    model: type[_Row]
    key: Callable[[_Row], object]
    named: Callable[[_Row], str]
    keeps_unlisted: bool
    check: Callable[[_Row], str] = lambda _: ""
    as_of: Callable[[Connection, int], list[_Row]] | None = None


def show_round(board: Dashboard, kept: Kept[_Row], rows: Sequence[_Row]) -> None:
    """Show download, upload with its preview, and the versions."""
    st.download_button(
        tr("Download the table (CSV)"), write_table(rows, kept.model), f"{kept.kind}.csv", "text/csv",
        key=f"download:{kept.kind}", on_click="ignore", icon=":material/download:",
    )  # fmt: skip
    show_asked(board, kept.kind)
    if not may(board, kept.action):
        explain_may_not(board, kept.action)
    else:
        _upload(board, kept, rows)
    _show_versions(board, kept)


def read_upload(content: bytes, kept: Kept[_Row]) -> Table[_Row]:
    """Read an uploaded table and check every row, as the site will."""
    table = read_table(content, kept.model, key=kept.key)
    problems = [
        Problem(line, "", said)
        for row, line in zip(table.rows, table.lines, strict=True)
        if (said := kept.check(row))
    ]  # fmt: skip
    return Table((), (), tuple(problems)) if problems else table


def differences(before: Iterable[_Row], after: Iterable[_Row], kept: Kept[_Row]) -> list[dict[str, str]]:
    """Say what a table would change: one line a value, in the order of the new table."""
    old = {kept.key(row): row for row in before}
    new = {kept.key(row): row for row in after}
    lines: list[dict[str, str]] = []
    for key, row in new.items():
        known = old.get(key)
        name = kept.named(row)
        if known is None:
            lines.append(
                _line(name, tr("new"), "", ", ".join(f"{k} {v}" for k, v in plain_row(row).items() if v != ""))
            )
            continue
        values, former = row.model_dump(), known.model_dump()
        lines += [
            _line(name, column, _said(former[column]), _said(value))
            for column, value in values.items() if value != former[column]
        ]  # fmt: skip
    if not kept.keeps_unlisted:
        lines += [_line(kept.named(row), tr("taken off"), "", "") for key, row in old.items() if key not in new]
    return lines


def show_problems(problems: Sequence[Problem]) -> None:
    """Show what is wrong, line by line."""
    st.markdown(tr("**Nothing was taken over**: {count} problems.", count=len(problems)))
    st.dataframe(
        [
            {tr("Line number"): one.line or words.NOT_KNOWN, tr("Column"): one.column, tr("Problem"): one.text}
            for one in problems[:SHOWN_PROBLEMS]
        ],
        hide_index=True, width="stretch",
    )  # fmt: skip


def _upload(board: Dashboard, kept: Kept[_Row], rows: Sequence[_Row]) -> None:
    generation = st.session_state.get(f"upload_generation:{kept.kind}", 0)
    file = st.file_uploader(
        tr("Upload a changed table (CSV); you see what it changes before anything happens"),
        key=f"upload:{kept.kind}:{generation}", max_upload_size=max(1, MAX_BYTES >> 20),
    )  # fmt: skip
    if file is None:
        return
    table = read_upload(file.getvalue(), kept)
    if table.problems:
        show_problems(table.problems)
        return
    changes = differences(rows, table.rows, kept)
    if not changes:
        st.markdown(tr("This table says what is in force already."))
        return
    st.markdown(tr("**{count} differences**; nothing has changed yet.", count=len(changes)))
    st.dataframe(changes[:SHOWN_CHANGES], hide_index=True, width="stretch")
    note = st.text_input(tr("Why"), key=f"why:{kept.kind}:{generation}", max_chars=200)
    if st.button(tr("Put it in force"), type="primary", key=f"apply:{kept.kind}"):
        _put_in_force(board, kept, table.rows, note, tr("New table"))
        st.session_state[f"upload_generation:{kept.kind}"] = generation + 1
        st.rerun()


def _put_in_force(board: Dashboard, kept: Kept[_Row], rows: Iterable[_Row], note: str, what: str) -> None:
    listed: list[Any] = [plain_row(row) for row in rows]
    ask(board, kept.kind, what, kept.action, note=note, values={"rows": listed})


def _show_versions(board: Dashboard, kept: Kept[_Row]) -> None:
    with board.reader.read() as connection:
        versions = read_versions(connection, kept.kind)
    if not versions:
        return
    with st.expander(tr("Versions ({count})", count=len(versions))):
        for index, version in enumerate(versions):
            _show_version(board, kept, version, newest=index == 0)


def _show_version(board: Dashboard, kept: Kept[_Row], version: Version, *, newest: bool) -> None:
    number = version.version_id
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        at = words.moment(version.at_us, st.context.timezone)
        said = f"{number} · {at} · {words.plain(version.actor)}"
        st.markdown(f"{said} · {words.plain(version.note)}" if version.note else said, width="content")
        if newest:
            st.caption(tr("in force"), width="content")
            return

        def content() -> bytes:
            with board.reader.read() as connection:
                return write_table(read_rows(connection, kept.kind, kept.model, version_id=number), kept.model)

        st.download_button(
            "CSV", content, f"{kept.kind}-{number}.csv", "text/csv", key=f"version:{kept.kind}:{number}",
            on_click="ignore",
        )  # fmt: skip
        if may(board, kept.action) and st.button(tr("Put in force again"), key=f"again:{kept.kind}:{number}"):
            with board.reader.read() as connection:
                if kept.as_of is not None:
                    rows = kept.as_of(connection, number)
                else:
                    rows = read_rows(connection, kept.kind, kept.model, version_id=number)
            _put_in_force(board, kept, rows, tr("back to version {number}", number=number),
                          tr("Version {number} again", number=number))  # fmt: skip
            st.rerun()


def _line(name: str, column: str, before: str, after: str) -> dict[str, str]:
    return {tr("Row"): name, tr("Column"): column, tr("Before"): before, tr("After"): after}


def _said(value: object) -> str:
    return words.NOT_KNOWN if value is None or value == "" else str(value)
