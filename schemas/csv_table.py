"""This file knows how a table goes to a spreadsheet and comes back: CSV both ways, each wrong row with line and reason.

Reading is all or nothing: rows are only used when no line has a problem. A comma, semicolon or tab may part the
values, numbers may have a decimal comma where a semicolon or tab parts them. Text that a spreadsheet would take for a
formula travels with an apostrophe before it, and loses it again.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

MAX_ROWS = 5000
MAX_BYTES = 1 << 20
MAX_PROBLEMS = 100  # then no more are looked for: nobody reads them
SHOWN_CHARACTERS = 60
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")

_Row = TypeVar("_Row", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one line.

    Attributes:
        line: As an editor counts, 1 is the heading; 0 is the file as a whole.
        column: Where; empty for the whole line.
    """

    line: int
    column: str
    text: str

    def __str__(self) -> str:
        """Where and what, in one sentence."""
        where = f"line {self.line}" if self.line else "file"
        return f"{where}, {self.column}: {self.text}" if self.column else f"{where}: {self.text}"


@dataclass(frozen=True, slots=True)
class Table(Generic[_Row]):
    """What was read: rows with the lines they were on, or problems and no rows."""

    rows: tuple[_Row, ...]
    lines: tuple[int, ...]
    problems: tuple[Problem, ...]


def read_table(content: bytes, kind: type[_Row], *, key: Callable[[_Row], object]) -> Table[_Row]:
    """Read a table from a file.

    Args:
        content: The file.
        kind: One row; its fields are the columns.
        key: What must not be there twice.
    """
    raw, problems = _read_csv(content, tuple(kind.model_fields), required(kind))
    if problems:
        return Table((), (), tuple(problems))
    return check_rows(raw, kind, key=key)


def check_rows(
    numbered: Iterable[tuple[int, Mapping[str, Any]]], kind: type[_Row], *, key: Callable[[_Row], object]
) -> Table[_Row]:
    """Check rows that are in memory already, each with its line."""
    problems: list[Problem] = []
    rows: list[_Row] = []
    lines: list[int] = []
    first_line: dict[object, int] = {}
    for line, values in numbered:
        if len(problems) >= MAX_PROBLEMS:
            problems.append(Problem(0, "", f"more than {MAX_PROBLEMS} problems; the rest was not looked at"))
            break
        try:
            row = kind.model_validate(values)
        except ValidationError as error:
            problems += _explain(line, values, error)
            continue
        before = first_line.setdefault(key(row), line)
        if before != line:
            problems.append(Problem(line, "", f"stands on line {before} already"))
        rows.append(row)
        lines.append(line)
    return Table((), (), tuple(problems)) if problems else Table(tuple(rows), tuple(lines), ())


def write_table(rows: Iterable[BaseModel], kind: type[BaseModel]) -> bytes:
    """Write a table so that a spreadsheet opens it as it is: UTF-8 with its mark, CRLF, a comma between values."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\r\n")
    writer.writerow(kind.model_fields)
    for row in rows:
        writer.writerow([_cell(getattr(row, name)) for name in kind.model_fields])
    return sink.getvalue().encode("utf-8-sig")


def plain_row(row: BaseModel) -> dict[str, Any]:
    """A row as it travels in a request: single values only, nothing that is absent."""
    return row.model_dump(mode="json", exclude_none=True)


def required(kind: type[BaseModel]) -> frozenset[str]:
    """Columns that must be there."""
    return frozenset(name for name, field in kind.model_fields.items() if field.is_required())


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    text = str(value)
    return f"'{text}" if text.startswith((*_FORMULA, "'")) else text


def _read_csv(
    content: bytes, columns: Sequence[str], needed: frozenset[str]
) -> tuple[list[tuple[int, dict[str, str]]], list[Problem]]:
    if len(content) > MAX_BYTES:
        return [], [Problem(0, "", f"{len(content)} bytes found, {MAX_BYTES} allowed")]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return [], [Problem(line, "", "is not UTF-8; save the sheet as “CSV UTF-8”")]
    if "\0" in text:
        return [], [Problem(text.count("\n", 0, text.index("\0")) + 1, "", "holds a zero byte; this is no CSV")]
    delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    problems: list[Problem] = []
    heading: list[str] = []
    line = 1
    try:
        for cells in reader:
            first, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not heading:
                heading = [cell.strip().lower() for cell in cells]
                problems = _check_heading(heading, columns, needed, first)
                if problems:
                    break
            elif len(cells) != len(heading):
                problems.append(Problem(first, "", f"{len(cells)} values found, {len(heading)} expected"))
            else:
                values = zip(heading, (_value(cell, delimiter) for cell in cells), strict=True)
                rows.append((first, {name: value for name, value in values if value}))
            if len(rows) > MAX_ROWS or len(problems) >= MAX_PROBLEMS:
                problems.append(Problem(first, "", f"more than {MAX_ROWS} rows, or {MAX_PROBLEMS} problems"))
                break
    except csv.Error as error:
        problems.append(Problem(line, "", f"cannot be read as CSV: {error}"))
    if not heading and not problems:
        problems.append(Problem(1, "", f"no heading found; expected {', '.join(columns)}"))
    return rows, problems


def _check_heading(heading: Sequence[str], columns: Sequence[str], needed: frozenset[str], line: int) -> list[Problem]:
    problems = [
        Problem(line, name[:SHOWN_CHARACTERS], f"no such column; known are {', '.join(columns)}")
        for name in heading if name not in columns
    ]  # fmt: skip
    problems += [Problem(line, name, "the column is missing") for name in sorted(needed - set(heading))]
    problems += [Problem(line, name, "the column is there twice") for name in sorted(
        {name for name in heading if heading.count(name) > 1})]  # fmt: skip
    return problems


def _delimiter(text: str) -> str:
    heading = text.partition("\n")[0]
    return max(",;\t", key=heading.count)


def _value(cell: str, delimiter: str) -> str:
    text = cell.strip()
    if text.startswith("'") and text[1:].startswith((*_FORMULA, "'")):
        return text[1:]
    if delimiter != "," and _DECIMAL_COMMA.fullmatch(text):
        return text.replace(",", ".")
    return text


def _explain(line: int, values: Mapping[str, Any], error: ValidationError) -> list[Problem]:
    found = []
    for item in error.errors(include_url=False, include_context=False):
        column = str(item["loc"][0]) if item["loc"] else ""
        text = item["msg"].removeprefix("Value error, ")
        given = values.get(column)
        if given is not None and column and item["type"] != "value_error":
            text = f"{str(given)[:SHOWN_CHARACTERS]!r} found: {text}"
        found.append(Problem(line, column[:SHOWN_CHARACTERS], text))
    return found
