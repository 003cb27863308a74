"""This file knows the command `python -m benchmarks.robust_rules`: every merge rule under every attack."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from aggregator.merge.rule_names import ChosenRule, Rule
from aggregator.merge.tolerance import tolerated
from benchmarks.robust_rules.attacks import ATTACKS
from benchmarks.robust_rules.clients import (
    Client,
    as_the_product_does,
    recorded,
    recorded_rigs,
    simulated,
    without_baselines,
)
from benchmarks.robust_rules.federation import Federation
from benchmarks.robust_rules.spectra import drawn

RULES: tuple[Rule, ...] = get_args(ChosenRule)
DEFAULT: Rule = "robust"
MOST_LOST = {2: 0.03, 4: 0.06}


@dataclass(frozen=True, slots=True)
class Setting:
    """Who learns, and how long: until the network is clearly better than untrained."""

    title: str
    clients: Callable[[argparse.Namespace], list[Client]]
    rounds: int
    learning_rate: float


SETTINGS = {
    "product": Setting(
        "Simulated machines, as the product sees them",
        lambda options: as_the_product_does(simulated(options.seed)), 8, 3e-3,
    ),
    "bare": Setting(
        "Simulated machines, without baselines of their own",
        lambda options: without_baselines(simulated(options.seed)), 8, 3e-3,
    ),
    "unlike": Setting("Drawn spectra of machines as unlike as can be", lambda options: drawn(options.seed), 12, 5e-3),
    "recorded": Setting(
        "Recorded machines, as the product sees them",
        lambda options: as_the_product_does(recorded(options.folder)), 8, 3e-3,
    ),
    "rigs": Setting(
        "Recorded machines of four rigs, as the product sees them",
        lambda options: as_the_product_does(recorded_rigs(options.folder)), 8, 3e-3,
    ),
    "rigs bare": Setting(
        "Recorded machines of four rigs, without baselines of their own",
        lambda options: without_baselines(recorded_rigs(options.folder)), 8, 3e-3,
    ),
}  # fmt: skip
RECORDED = frozenset({"recorded", "rigs", "rigs bare"})


@dataclass(frozen=True, slots=True)
class Row:
    """One rule: AUROC without attack and under each, on the same honest clients."""

    rule: str
    none: float
    attacked: tuple[float, ...]

    @property
    def worst(self) -> float:
        """AUROC under the attack that hurts most."""
        return min(self.attacked)

    @property
    def loss(self) -> float:
        """What that attack costs."""
        return self.none - self.worst

    def line(self) -> str:
        """As a line of a table."""
        numbers = [self.none, *self.attacked, self.worst, self.loss]
        return f"| {self.rule} | " + " | ".join(f"{number:.3f}" for number in numbers) + " |"


def measure(federation: Federation, rules: Sequence[Rule]) -> dict[int, list[Row]]:
    """Run every rule without attack and under each, with 2 and with 4 attackers."""
    rows: dict[int, list[Row]] = {count: [] for count in MOST_LOST}
    for rule in rules:
        undisturbed = federation.learn(rule)
        for count, into in rows.items():
            wrong = federation.attackers(count)
            attacked = [federation.auroc(federation.learn(rule, attack, wrong), wrong) for attack in ATTACKS]
            into.append(Row(rule, federation.auroc(undisturbed, wrong), tuple(attacked)))
            print(f"{rule}, {count} attackers: {into[-1].worst:.3f} of {into[-1].none:.3f}", file=sys.stderr)
    return rows


def report(setting: Setting, options: argparse.Namespace) -> list[str]:
    """Measure in one setting and say it as Markdown."""
    began_s = time.process_time()
    clients = setting.clients(options)
    federation = Federation(clients, seed=options.seed, rounds=setting.rounds, learning_rate=setting.learning_rate)
    lines = [f"## {setting.title}", ""]
    for count, rows in measure(federation, options.rules).items():
        wrong = federation.attackers(count)
        untrained = federation.auroc(federation.first, wrong)
        lines += [
            f"### {count} of {len(clients)} attack, rules set for {tolerated(len(clients))}; untrained {untrained:.3f}",
            "",
            f"| rule | no attack | {' | '.join(ATTACKS)} | worst | loss |",
            "|---" * (len(ATTACKS) + 4) + "|",
            *(row.line() for row in sorted(rows, key=lambda row: -row.worst)),
            "",
        ]
        lines += [
            f"The default loses {row.loss:.3f}, at most {MOST_LOST[count]} promised: "
            f"**{'holds' if row.loss <= MOST_LOST[count] else 'DOES NOT HOLD'}**.\n"
            for row in rows
            if row.rule == DEFAULT
        ]
    return [*lines, f"{time.process_time() - began_s:.0f} s of one core.", ""]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robust_rules", description=__doc__)
    named = os.environ.get("UNDERTONE_RECORDINGS")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(named) if named else None, metavar="FOLDER",
                        help="real recordings; UNDERTONE_RECORDINGS if left out")  # fmt: skip
    parser.add_argument("--out", type=Path, help="a Markdown file for the tables")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES, help="measure only these")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="measure only these")
    options = parser.parse_args(arguments)
    lines: list[str] = []
    for name in options.settings:
        if name in RECORDED and options.folder is None:
            lines.append("NO FOLDER OF RECORDINGS GIVEN: real machines are not measured here.")
        else:
            lines += report(SETTINGS[name], options)
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    if options.out is not None:
        options.out.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
