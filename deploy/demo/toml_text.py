"""This file knows how to write TOML that a person can read: tables with a heading, what lies deeper in one line."""

import json
from collections.abc import Mapping, Sequence


def toml_text(table: Mapping[str, object], *, heading: str = "") -> str:
    """Write a table: plain values first, then `[tables]` and `[[lists of tables]]`.

    Args:
        table: Text, numbers, truth values, lists and tables of these; what is None stays out.
        heading: A comment for the first line.
    """
    lines = [f"# {heading}"] if heading else []
    lines += [f"{key} = {_value(value)}" for key, value in table.items() if not _is_table(value) and value is not None]
    for key, value in table.items():
        if not _is_table(value):
            continue
        rows = [value] if isinstance(value, Mapping) else value
        for row in rows if isinstance(rows, Sequence) else ():
            lines += ["", f"[{key}]" if isinstance(value, Mapping) else f"[[{key}]]"]
            lines += [f"{name} = {_value(item)}" for name, item in row.items() if item is not None]
    return "\n".join(lines) + "\n"


def _is_table(value: object) -> bool:
    if isinstance(value, Mapping):
        return True
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case Mapping():
            inner = ", ".join(f"{key} = {_value(item)}" for key, item in value.items() if item is not None)
            return f"{{ {inner} }}" if inner else "{}"
        case list() | tuple():
            return f"[{', '.join(_value(item) for item in value)}]"
        case _:
            return json.dumps(str(value), ensure_ascii=False)
