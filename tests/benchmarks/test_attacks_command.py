"""The benchmark of attacks runs: two rounds of every attack, through the product's own training and merge."""

import math

from benchmarks.robust_rules.__main__ import DEFAULT, SETTINGS, Row
from benchmarks.robust_rules.attacks import ATTACKS
from benchmarks.robust_rules.figures import BASELINE, FIGURES, Lost, lost_in, worst_setting
from benchmarks.run import BENCHMARKS


def test_two_rounds_under_every_attack_give_a_loss_for_the_default_and_for_the_mean() -> None:
    lost = lost_in(SETTINGS["unlike"], "unlike", 0, None, rounds=2)
    for attackers, rows in lost.rows.items():
        assert [row.rule for row in rows] == [DEFAULT, BASELINE]
        for row in rows:
            assert len(row.attacked) == len(ATTACKS) == 12
            assert all(0.0 <= value <= 1.0 for value in (row.none, *row.attacked))
        assert all(math.isfinite(lost.of(attackers, rule)) for rule in (DEFAULT, BASELINE))


def test_what_counts_is_the_mean_of_a_settings_draws_in_the_setting_that_loses_most() -> None:
    def lost(setting: str, seed: int, loss: float) -> Lost:
        return Lost(setting, seed, {4: [Row(DEFAULT, 0.9, (0.95, 0.9 - loss))]})

    found = [lost("alike", 0, 0.03), lost("unlike", 0, 0.02), lost("unlike", 5, 0.06)]
    assert math.isclose(worst_setting(found, 4, DEFAULT), 0.04)


def test_the_promised_losses_are_figures_of_make_bench() -> None:
    assert {one.__name__ for one in FIGURES} <= set(BENCHMARKS)
