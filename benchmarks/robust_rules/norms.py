"""This file knows the command `python -m benchmarks.robust_rules.norms`: how far apart honest updates' norms lie."""

import argparse
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from aggregator.merge.validate import SCREEN_FACTOR, Usual
from benchmarks.robust_rules.__main__ import DEFAULT, RECORDED, SETTINGS, Setting
from benchmarks.robust_rules.federation import STEPS, Federation

SEEDS = {"product": (0, 1, 2), "bare": (0, 1, 2), "unlike": (0, 1, 5, 6)}
RECORDED_SEEDS = (0, 1)
COURSES = ((STEPS, None), (60, 1e-3))
"""Steps and rate of a round: as the attacks are measured (the setting's own rate), and as a site asks by default."""


@dataclass(frozen=True, slots=True)
class Norms:
    """Norms of honest updates, (rounds, clients), and how far the steps lead at most."""

    rounds: list[list[float]]
    reach: float

    def of_median(self) -> list[float]:
        """Each over the median of its round."""
        return [norm / median(row) for row in self.rounds for norm in row]

    def apart(self) -> float:
        """The largest over the smallest of a round, in the worst round."""
        return max(max(row) / min(row) for row in self.rounds)

    def of_usual(self) -> list[float]:
        """Each over what a site of this one member would have accepted before."""
        found = []
        for client in range(len(self.rounds[0])):
            for number in range(1, len(self.rounds)):
                usual = Usual([row[client] for row in self.rounds[:number]]).norm
                assert usual is not None
                found.append(self.rounds[number][client] / usual)
        return found

    def of_reach(self) -> list[float]:
        """Each over how far the steps lead."""
        return [norm / self.reach for row in self.rounds for norm in row]


def measured(setting: Setting, folder: Path | None, seeds: Sequence[int]) -> Iterator[Norms]:
    """Learn without attack by the default, and note every norm."""
    for seed in seeds:
        clients = setting.clients(argparse.Namespace(seed=seed, folder=folder))
        for steps, rate in COURSES:
            learning_rate = rate or setting.learning_rate
            federation = Federation(
                clients, seed=seed, rounds=setting.rounds, learning_rate=learning_rate, steps=steps
            )  # fmt: skip
            norms: list[list[float]] = []
            federation.learn(DEFAULT, noted=norms)
            yield Norms(norms, steps * learning_rate * math.sqrt(federation.first.size))


def main() -> int:
    """Measure all settings and print a table; recorded ones where their folder is named."""
    named = os.environ.get("UNDERTONE_RECORDINGS")
    folder = Path(named) if named else None
    print(f"screen: {SCREEN_FACTOR:.3g} times the median; between {1 / SCREEN_FACTOR:.3g} and that both promises hold")
    print("| setting | rounds | of the median | largest / smallest | of what was usual | of the reach |")
    print("|---" * 6 + "|")
    for name, setting in SETTINGS.items():
        if name in RECORDED and folder is None:
            print(f"| {setting.title} | NOT MEASURED: no recordings | | | | |")
            continue
        found = list(measured(setting, folder, SEEDS.get(name, RECORDED_SEEDS)))
        cells = [setting.title, str(sum(len(one.rounds) for one in found))]
        sides = [[value for one in found for value in take(one)] for take in (Norms.of_median, Norms.of_usual)]
        reach = [value for one in found for value in one.of_reach()]
        cells += [_between(sides[0]), f"{max(one.apart() for one in found):.2f}", _between(sides[1]), _between(reach)]
        print(f"| {' | '.join(cells)} |", flush=True)
    return 0


def _between(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


if __name__ == "__main__":
    sys.exit(main())
