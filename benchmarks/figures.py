"""This file knows what a measured figure is, and how figures are shown and kept."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, measured.

    Attributes:
        name: Stable; `make bench ONLY=name` measures it alone.
        value: The median of the repeats.
        unit: Of value, target, ours and other; ratios have none.
        target: What the project promises.
        better: Whether the value must stay below or above the target.
        ours: Our side of a ratio, else the value.
        other: The side we compare with, taken in the same run; None when there is none.
        repeats: Every repeat's value.
        note: What was measured, or why it was not.
    """

    name: str
    value: float | None
    unit: str
    target: float
    better: Literal["below", "above"]
    ours: float | None
    other: float | None
    repeats: tuple[float, ...]
    note: str

    @property
    def holds(self) -> bool:
        """Whether the promise is kept; what was not measured is not."""
        if self.value is None:
            return False
        return self.value <= self.target if self.better == "below" else self.value >= self.target


def write_figures(figures: Iterable[Figure], path: Path) -> None:
    """Write results.json; figures measured earlier and not now stay in it."""
    rows: dict[str, object] = {}
    if path.is_file():
        rows = {row["name"]: row for row in json.loads(path.read_text())}
    for figure in figures:
        rows[figure.name] = {**asdict(figure), "holds": figure.holds}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(rows.values()), indent=1) + "\n")


def table(figures: Iterable[Figure]) -> str:
    """Show figures to people."""
    rows = [("figure", "value", "target", "holds", "ours / other", "repeats")]
    for one in figures:
        sides = f"{_number(one.ours)} / {_number(one.other)}" if one.other is not None else ""
        sign = "<=" if one.better == "below" else ">="
        rows.append(
            (one.name, f"{_number(one.value)} {one.unit}".strip(), f"{sign} {_number(one.target)}",
             "yes" if one.holds else "NO", sides, " ".join(_number(value) for value in one.repeats))
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
