"""What a merge accepts, what it refuses with which reason, and that a refused update leaves no trace."""

import dataclasses
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aggregator.merge.pipeline import STEPS, MergeOutcome, merge
from aggregator.merge.rule_names import ChosenRule, ClippedRule
from aggregator.merge.validate import Base, Limits, Update

SIZE = 6
ROOT = np.ones(SIZE, np.float32)
BASE = Base(version=4, parameter_count=SIZE)


def updates(count: int, seed: int = 0) -> list[Update]:
    draw = np.random.default_rng(seed)
    return [
        Update(f"gw-{number:02d}", 4, (1 + 0.1 * draw.standard_normal(SIZE)).astype(np.float32), 100.0 + number)
        for number in range(count)
    ]


def delta_of(outcome: MergeOutcome) -> NDArray[np.float32]:
    assert outcome.delta is not None
    return outcome.delta


BAD: dict[str, dict[str, Any]] = {
    "not_finite": {"delta": np.array([1, np.nan, 1, 1, 1, 1], np.float32)},
    "wrong_shape": {"delta": np.ones(SIZE + 1, np.float32)},
    "wrong_dtype": {"delta": np.ones(SIZE, np.int64)},
    "bad_weight": {"weight": 1e9},
    "wrong_base": {"base_version": 3},
    "norm_outlier": {"delta": np.full(SIZE, 50, np.float32)},
}


@pytest.mark.parametrize("reason", BAD)
@pytest.mark.parametrize("count", [3, 7])
def test_a_bad_update_is_rejected_with_its_reason_and_leaves_no_trace(reason: str, count: int) -> None:
    good = updates(count)
    bad = dataclasses.replace(good[0], member="gw-bad", **BAD[reason])
    outcome = merge([*good, bad], BASE)
    assert outcome.rejected["gw-bad"].reason == reason
    assert set(outcome.accepted) == {update.member for update in good}
    np.testing.assert_array_equal(delta_of(outcome), delta_of(merge(good, BASE)))


@pytest.mark.parametrize("rule", get_args(ChosenRule))
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_value_that_is_no_number_is_rejected_before_any_rule(rule: ChosenRule, value: float) -> None:
    good = updates(7)
    spoilt = np.ones(SIZE, np.float32)
    spoilt[2] = value
    outcome = merge([*good, dataclasses.replace(good[0], member="gw-bad", delta=spoilt)], BASE, rule, root=ROOT)
    assert outcome.rejected["gw-bad"].reason == "not_finite"
    assert outcome.rule_used == rule
    np.testing.assert_array_equal(delta_of(outcome), delta_of(merge(good, BASE, rule, root=ROOT)))


def test_a_merge_that_fits_no_gateway_is_not_accepted_and_the_notes_say_so() -> None:
    huge = [Update(f"gw-{number}", 4, np.full(SIZE, 1e39), 1.0) for number in range(3)]
    outcome = merge(huge, BASE, "median")
    assert outcome.delta is None
    assert outcome.accepted == {}
    assert "does not fit float32" in outcome.notes[-1]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_infinities_are_not_finite_either(value: float) -> None:
    bad = dataclasses.replace(updates(1)[0], delta=np.full(SIZE, value, np.float32))
    outcome = merge([bad], BASE)
    assert outcome.delta is None
    assert outcome.rule_used == "none"
    assert "6 of 6 values" in outcome.rejected["gw-00"].text


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf, 4097.0])
def test_impossible_weights_are_rejected(weight: float) -> None:
    outcome = merge([dataclasses.replace(updates(1)[0], weight=weight)], BASE)
    assert outcome.rejected["gw-00"].reason == "bad_weight"


def test_an_update_on_a_release_newer_than_the_base_is_rejected() -> None:
    outcome = merge([dataclasses.replace(updates(1)[0], base_version=5)], BASE, limits=Limits(max_staleness=3))
    assert outcome.rejected["gw-00"].reason == "wrong_base"


def test_a_stale_update_counts_less_where_staleness_is_allowed() -> None:
    stale = dataclasses.replace(updates(1)[0], base_version=1)
    outcome = merge([stale], BASE, limits=Limits(max_staleness=3))
    assert outcome.accepted == {"gw-00": 100.0}
    np.testing.assert_allclose(delta_of(outcome), stale.delta / 2, rtol=1e-6)  # three behind: 1 / sqrt(4)


@pytest.mark.parametrize(("count", "used"), [(1, "mean"), (2, "mean"), (3, "median"), (6, "median"), (7, "robust")])
def test_few_members_fall_back_and_the_merge_says_so(count: int, used: str) -> None:
    outcome = merge(updates(count), BASE)
    assert outcome.rule_used == used
    assert any(used in note for note in outcome.notes) == (count < 7)


def test_without_rows_of_the_servers_own_members_are_not_compared_with_them_and_the_merge_says_so() -> None:
    outcome = merge(updates(7), BASE, "fltrust")
    assert outcome.rule_used == "robust"
    assert "fltrust is not used" in outcome.notes[0]
    assert outcome.digest == merge(updates(7), BASE).digest
    assert merge(updates(7), BASE, "fltrust", root=ROOT).rule_used == "fltrust"


@pytest.mark.parametrize("rule", STEPS)
def test_a_rule_asked_for_falls_back_to_the_mean_where_it_means_nothing(rule: ClippedRule) -> None:
    assert merge(updates(2), BASE, rule).rule_used == "mean"
    assert merge(updates(7), BASE, rule).rule_used == rule


def test_the_clipped_are_named() -> None:
    loud = dataclasses.replace(updates(1)[0], member="gw-loud", delta=np.full(SIZE, 3, np.float32))
    assert any("gw-loud" in note for note in merge([*updates(4), loud], BASE).notes)


@pytest.mark.parametrize("rule", get_args(ChosenRule))
@settings(max_examples=20)
@given(order=st.permutations(range(7)))
def test_the_same_updates_in_any_order_give_the_same_digest(rule: ChosenRule, order: list[int]) -> None:
    members = updates(7)
    again = merge([members[i] for i in order], BASE, rule, root=ROOT)
    assert again.digest == merge(members, BASE, rule, root=ROOT).digest


@given(st.lists(st.integers(min_value=1, max_value=6), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_merging_through_two_levels_equals_merging_all_gateways_at_once(sizes: list[int], seed: int) -> None:
    """With the mean, and with a site's weight the sum of its gateways'."""
    everybody = updates(sum(sizes), seed)
    wide = Limits(max_weight=1e9)
    sites, start = [], 0
    for number, size in enumerate(sizes):
        outcome = merge(everybody[start : start + size], BASE, "mean")
        sites.append(Update(f"site-{number}", 4, delta_of(outcome), sum(outcome.accepted.values())))
        start += size
    two_levels = delta_of(merge(sites, BASE, "mean", limits=wide))
    np.testing.assert_allclose(two_levels, delta_of(merge(everybody, BASE, "mean")), rtol=1e-6)


@pytest.mark.parametrize("attack", ["sign", "scale", "constant"])
def test_one_attacker_in_seven_moves_the_default_less_than_the_mean(attack: str) -> None:
    members = updates(7)
    honest = np.mean([update.delta for update in members], axis=0)
    bad = {"sign": -3 * honest, "scale": 3 * honest, "constant": np.full(SIZE, -3.0)}[attack].astype(np.float32)
    attacked = [*members[:6], dataclasses.replace(members[6], delta=bad)]
    robust = np.abs(delta_of(merge(attacked, BASE)) - honest).max()
    mean = np.abs(delta_of(merge(attacked, BASE, "mean")) - honest).max()
    assert robust < 0.2 < mean
