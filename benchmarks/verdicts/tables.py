"""This file knows how results are written: tables for people, one markdown file, and figures for programs."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

NOT_IN_FOLDER = "not in folder"


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is printed; cells are ready text."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        widths = [max(len(row[i]) for row in (self.columns, *self.rows)) for i in range(len(self.columns))]
        line = "| " + " | ".join("-" * width for width in widths) + " |"
        body = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in self.rows]
        head = "| " + " | ".join(c.ljust(w) for c, w in zip(self.columns, widths, strict=True)) + " |"
        return "\n".join([f"**{self.title}**", "", head, line, *body])


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the product that has a target; `value` is None where it could not be had."""

    name: str
    value: float | None
    sense: Literal["at least", "at most"]
    target: float
    best_known: str = ""

    @property
    def holds(self) -> bool:
        """Whether the target is reached."""
        if self.value is None or math.isnan(self.value):
            return False
        return self.value >= self.target if self.sense == "at least" else self.value <= self.target


@dataclass(slots=True)
class Outcome:
    """What one protocol gave.

    Attributes:
        name: As on the command line.
        title: For people.
        how: What was done, so that the figures can be judged.
        missing: Why there is nothing, if there is nothing.
        tables: For people.
        figures: With targets.
        data: Everything that was counted, for programs.
        failed: The product broke its contract; `missing` says how.
        remarks: What else a reader must know.
    """

    name: str
    title: str
    how: str
    missing: str = ""
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    data: dict[str, object] = field(default_factory=dict)
    failed: bool = False
    remarks: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"## {self.title}", self.how]
        if self.missing:
            parts.append(f"*{self.missing}*")
        parts += [f"*{remark}*" for remark in self.remarks]
        if self.figures:
            parts.append(str(_targets(self.figures)))
        return "\n\n".join([*parts, *map(str, self.tables)])


def number(value: float | None, digits: int = 3) -> str:
    """Write a number, or that there is none."""
    return "none" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def write_results(outcomes: Sequence[Outcome], folder: Path, command: str) -> None:
    """Write `verdicts.md` and `results.json` with the command that made them."""
    folder.mkdir(parents=True, exist_ok=True)
    head = f"# Verdicts on real recordings\n\nMade by `{command}`."
    (folder / "verdicts.md").write_text("\n\n".join([head, *map(str, outcomes)]) + "\n")
    protocols = [
        {"name": o.name, "missing": o.missing or None, "failed": o.failed, "data": o.data,
         "figures": [asdict(f) | {"value": _finite(f.value), "holds": f.holds} for f in o.figures]}
        for o in outcomes
    ]  # fmt: skip
    text = json.dumps({"command": command, "protocols": protocols}, indent=1, allow_nan=False, default=_plain)
    (folder / "results.json").write_text(text + "\n")


def _targets(figures: Sequence[Figure]) -> Table:
    rows = tuple(
        (f.name, number(f.value), f"{f.sense} {f.target:g}", "yes" if f.holds else "no", f.best_known) for f in figures
    )
    return Table("The product against its targets", ("figure", "product", "target", "holds", "best known"), rows)


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _plain(value: object) -> object:
    return str(value)
