"""This file knows the command `python -m benchmarks.personalisation`: the tables of docs/proof/personalisation.md."""

import argparse
import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.personalisation import comparison, conditions, skew
from benchmarks.personalisation.clients import read_machines
from benchmarks.personalisation.figures import NO_FOLDER, NO_FOUNDRY, SEEDS, folder_of_recordings

WINDOWS_S = (0.05, 0.1, 0.25)
SKEWS = (skew.Skew(), skew.Skew(window_s=0.05), skew.Skew(held=2))
CONDITION_HEADINGS = (
    "| window | windows learnt, tested | federated | central | central less federated, worst seed | untrained "
    "| unseen, mean | unseen, worst of six, worst seed | the same, learnt centrally |"
)
NOT_HERE = "NOT MEASURED: the folder holds none of the recordings this table is about."
PARTS = ("methods", "conditions", "skew")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.personalisation", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=folder_of_recordings(), metavar="FOLDER",
                        help="real recordings; UNDERTONE_RECORDINGS if left out")  # fmt: skip
    parser.add_argument("--out", type=Path, help="a Markdown file for the tables")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="measure only these")
    options = parser.parse_args(arguments)
    if options.folder is None:
        print(f"NOT MEASURED: {NO_FOLDER}", file=sys.stderr)
        return 2
    lines: list[str] = []
    for part, measure in {"methods": _methods, "conditions": _conditions, "skew": _skew}.items():
        if part in options.parts:
            began_s = time.process_time()
            lines += [
                *measure(options.folder, options.seeds),
                f"{time.process_time() - began_s:.0f} s of one core.",
                "",
            ]
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    if options.out is not None:
        options.out.write_text(text)
    return 0


def _methods(folder: Path, seeds: int) -> list[str]:
    machines = read_machines(folder)
    if not machines:
        return [NOT_HERE, ""]
    lines = []
    for inputs in comparison.TITLES:
        lines += comparison.report(machines, inputs, comparison.compare(machines, inputs, seeds, tell=_tell))
    return lines


def _conditions(folder: Path, seeds: int) -> list[str]:
    lines = [
        "## Six conditions of one rig, and one unseen", "",
        CONDITION_HEADINGS,
        "|---" * 9 + "|",
    ]  # fmt: skip
    for window_s in WINDOWS_S:
        machines = read_machines(folder, [conditions.DATASET], window_s=window_s)
        if not machines:
            return [NOT_HERE, ""]
        found = [conditions.learn_conditions(machines, seed) for seed in range(seeds)]
        federated, central, untrained = (
            sum(getattr(one, what) for one in found) / seeds for what in ("federated", "central", "untrained")
        )
        unseen = [each for one in found for each in one.unseen]
        lines.append(
            f"| {window_s} s | {len(machines[0].learnt)}, {len(machines[0].tested)} | {federated:.4f} | {central:.4f} "
            f"| {max(one.lost for one in found):.4f} | {untrained:.4f} | {sum(unseen) / len(unseen):.4f} "
            f"| {min(unseen):.4f} | {min(min(one.unseen_central) for one in found):.4f} |"
        )
        _tell(lines[-1])
    return [*lines, ""]


def _skew(folder: Path, seeds: int) -> list[str]:
    if importlib.util.find_spec("jax") is None:
        return [f"NOT MEASURED: {NO_FOUNDRY}", ""]
    lines = [
        "## Clients that hold some of nine labels", "",
        "| way of learning | " + " | ".join(f"{one.held} of 9, windows of {one.window_s} s" for one in SKEWS) + " |",
        "|---" * (len(SKEWS) + 1) + "|",
    ]  # fmt: skip
    found = [skew.accuracies(folder, one, seeds, list(skew.WAYS)) for one in SKEWS]
    if not found[0][skew.CENTRAL]:
        return [NOT_HERE, ""]
    for way in skew.WAYS:
        cells = [f"{sum(each[way]) / seeds:.4f} ({min(each[way]):.4f} to {max(each[way]):.4f})" for each in found]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return [*lines, ""]


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
