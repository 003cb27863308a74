"""This file knows the promised figures of merging under attack; `make bench` measures them."""

import argparse
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from aggregator.merge.rule_names import Rule
from benchmarks.figures import Figure
from benchmarks.personalisation.figures import NO_FOLDER, folder_of_recordings
from benchmarks.robust_rules.__main__ import DEFAULT, MOST_LOST, RECORDED, SETTINGS, Row, Setting, measure
from benchmarks.robust_rules.federation import Federation

BASELINE: Rule = "mean"
DRAWS: Sequence[tuple[str, int]] = (*((name, 0) for name in SETTINGS), *(("unlike", seed) for seed in (5, 6, 7)))
"""Every setting, and of that in which most is lost the draws of docs/proof/robust_rules.md."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What the worst of twelve attacks costs in one setting, by the number of attackers and rule."""

    setting: str
    seed: int
    rows: dict[int, list[Row]]

    def of(self, attackers: int, rule: Rule) -> float:
        """AUROC lost."""
        return next(row.loss for row in self.rows[attackers] if row.rule == rule)


def lost_in(setting: Setting, name: str, seed: int, folder: Path | None, *, rounds: int | None = None) -> Lost:
    """Learn with the default and with the mean, without attack and under each."""
    clients = setting.clients(argparse.Namespace(seed=seed, folder=folder))
    federation = Federation(
        clients, seed=seed, rounds=rounds or setting.rounds, learning_rate=setting.learning_rate
    )  # fmt: skip
    return Lost(name, seed, measure(federation, (DEFAULT, BASELINE)))


@functools.cache
def _lost(folder: Path | None) -> tuple[Lost, ...]:
    return tuple(
        lost_in(SETTINGS[name], name, seed, folder)
        for name, seed in DRAWS
        if folder is not None or name not in RECORDED
    )


def _figure(attackers: int) -> Figure:
    folder = folder_of_recordings()
    found = _lost(folder)
    each = [one.of(attackers, DEFAULT) for one in found]
    worst = max(found, key=lambda one: one.of(attackers, DEFAULT))
    said = ", ".join(f"{one.setting} {one.seed}: {lost:.3f}" for one, lost in zip(found, each, strict=True))
    note = (
        f"{attackers} of 20 attack, worst of twelve attacks that know the screen; mean over the draws of the setting "
        f"in which most is lost, beside it the same of the mean rule; worst single draw {worst.setting} {worst.seed} "
        f"with {max(each):.3f}; all draws: {said}"
    )
    if folder is None:
        note += f"; recorded machines NOT MEASURED: {NO_FOLDER}"
    ours, theirs = (worst_setting(found, attackers, rule) for rule in (DEFAULT, BASELINE))
    return Figure(
        f"attackers_{attackers}_of_20_auroc_lost", ours, "", MOST_LOST[attackers], "below", ours, theirs, tuple(each),
        note,
    )  # fmt: skip


def worst_setting(found: Sequence[Lost], attackers: int, rule: Rule) -> float:
    """AUROC lost on the mean of a setting's draws, in the setting where that is most."""
    by_setting: dict[str, list[float]] = {}
    for one in found:
        by_setting.setdefault(one.setting, []).append(one.of(attackers, rule))
    return max(mean(losses) for losses in by_setting.values())


def attackers_2_of_20_auroc_lost() -> Figure:
    """AUROC that two attackers of twenty cost with the default rule."""
    return _figure(2)


def attackers_4_of_20_auroc_lost() -> Figure:
    """AUROC that four attackers of twenty cost with the default rule."""
    return _figure(4)


FIGURES = (attackers_2_of_20_auroc_lost, attackers_4_of_20_auroc_lost)
