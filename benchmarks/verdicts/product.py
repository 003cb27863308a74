"""This file knows how the product is asked: by its own commands, as anybody would, and by nothing else."""

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aggregator import command as aggregator
from benchmarks.verdicts.errors import ProductRefused
from benchmarks.verdicts.recordings import Head, Part
from gateway_agent import command as gateway_agent

Tell = Callable[[str], None]
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the product says of one window; `remaining_s` is low, median, high or None."""

    at_s: float
    quality: str
    score: float | None
    alarm: bool
    exceeds: bool
    label: str
    remaining_s: tuple[float, float, float] | None


class Product:
    """Fits releases and asks for verdicts; the same question is asked once a run.

    Args:
        folder: Where releases and results go.
        tell: Where progress goes.

    Attributes:
        remarks: What a reader of the figures must know; the reader takes them out.
    """

    def __init__(self, folder: Path, tell: Tell) -> None:
        self.remarks: list[str] = []
        self._folder = folder
        self._tell = tell
        self._releases: dict[tuple[str, ...], Path | None] = {}
        self._answers: dict[tuple[str, ...], list[list[Verdict]]] = {}

    def release(self, captures: Sequence[Head], *, window_s: float, lives: Sequence[Head] = ()) -> Path | None:
        """Fit a release on healthy recordings.

        Returns:
            The release's folder; None where there is nothing to fit on, or where `aggregator fit` finds it too little,
            which `remarks` keeps: then the gateway's built-in model has to serve.
        """
        if not captures:
            return None
        arguments = ["--captures", *sorted(str(head.path) for head in captures)]
        if lives:
            arguments += ["--lives", *sorted(str(head.path) for head in lives)]
        arguments += ["--client-by", "condition", "--window-s", f"{window_s:g}", "--seed", "0"]
        key = tuple(arguments)
        if key not in self._releases:
            folder = self._folder / f"release-{len(self._releases):03d}"
            self._tell(f"fit {len(self._releases) + 1}: {len(captures)} recordings, {len(lives)} lives")
            try:
                _run(aggregator.main, ["fit", *arguments, "--out", str(folder)])
                self._releases[key] = folder
            except ProductRefused as error:
                self._tell(f"no release: {error}")
                self._releases[key] = None
        if self._releases[key] is None:
            self.remarks.append(f"no release from {len(captures)} recordings in windows of {window_s:g} s")
        return self._releases[key]

    def verdicts(
        self, captures: Sequence[Part], *, release: Path | None, commission: Sequence[Part], window_s: float,
        detector: str = "distance",
    ) -> list[list[Verdict]]:  # fmt: skip
        """Ask for the verdict on every window of every part, in order; `detector` as the command takes it.

        Raises:
            ProductRefused: `gateway-agent backtest` ended with bad input, or its lines are not the contract's.
        """
        arguments = ["--commission", *(part.argument for part in commission)] if commission else []
        arguments += ["--captures", *(part.argument for part in captures), "--window-s", f"{window_s:g}"]
        if detector != "distance":
            arguments += ["--detector", detector]
        return self._ask(release, arguments, [part.argument for part in captures])

    def lives(self, lives: Sequence[Head], *, release: Path | None, share: float) -> list[list[Verdict]]:
        """Ask for the verdict on every snapshot of whole lives, each commissioned on its first share.

        Raises:
            ProductRefused: As for `verdicts`.
        """
        answers = []
        for head in lives:
            file = str(head.path)
            answers += self._ask(release, ["--life", file, "--commission-share", f"{share:g}"], [file])
            if len(answers[-1]) != head.snapshots:
                raise ProductRefused(f"{file}: {len(answers[-1])} lines for {head.snapshots} snapshots")
        return answers

    def _ask(self, release: Path | None, arguments: list[str], files: list[str]) -> list[list[Verdict]]:
        key = (str(release), *arguments)
        if key not in self._answers:
            out = self._folder / f"verdicts-{len(self._answers):04d}.jsonl"
            chosen = ["--release", str(release)] if release else []
            _run(gateway_agent.main, ["backtest", *chosen, *arguments, "--out", str(out)])
            self._answers[key] = _by_file(out, files)
        return self._answers[key]


def _run(main: Callable[[list[str]], int], arguments: list[str]) -> None:
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(arguments)
    if code != 0:
        lines = said.getvalue().strip().splitlines() or [f"exit code {code}"]
        raise ProductRefused(f"{arguments[0]}: {lines[-1]}")


def _by_file(out: Path, files: list[str]) -> list[list[Verdict]]:
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    groups: list[list[Verdict]] = []
    place = 0
    for file in files:
        first = place
        while place < len(lines) and lines[place]["file"] == file and (place == first or _follows(lines, place)):
            place += 1
        if place == first:
            raise ProductRefused(f"{file}: no line in the results")
        groups.append([_verdict(line) for line in lines[first:place]])
    if place != len(lines):
        raise ProductRefused(f"{out.name}: {len(lines) - place} lines of no file that was asked about")
    return groups


def _follows(lines: list[dict[str, Any]], place: int) -> bool:
    """Whether this line goes on with the recording of the line before; a file asked twice begins anew."""
    before, now = lines[place - 1], lines[place]
    return bool((now["snapshot"], now["window"]) > (before["snapshot"], before["window"]))


def _verdict(line: dict[str, Any]) -> Verdict:
    found, remaining = line["diagnosis"], line["rul_s"]
    return Verdict(
        line["at_s"], line["quality"], line["score"], line["alarm"], line["exceeds"],
        str(found[0]["label"]) if found else UNKNOWN,
        (remaining["low"], remaining["median"], remaining["high"]) if remaining else None,
    )  # fmt: skip


def flat(answers: Sequence[Sequence[Verdict]]) -> Iterator[Verdict]:
    """All verdicts, one after another."""
    for answer in answers:
        yield from answer
