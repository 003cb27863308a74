"""Stale updates count less under every rule that looks at lengths, and a member has one voice however much it sends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.merge.pipeline import merge
from aggregator.merge.staleness import discount, one_voice, staleness_share
from aggregator.merge.validate import Base, Limits, Update

BASE = Base(version=10, parameter_count=4)
LIMITS = Limits(max_staleness=8)


def update(member: str, base_version: int, value: float, weight: float = 100.0) -> Update:
    return Update(member, base_version, np.full(4, value, np.float32), weight)


def test_the_share_falls_with_the_root_of_the_releases_behind() -> None:
    assert [staleness_share(behind) for behind in (0, 3, 8)] == [1.0, 0.5, pytest.approx(1 / 3)]


def test_a_fresh_update_passes_as_it_is() -> None:
    fresh = update("gw-1", 10, 1.0)
    assert discount(fresh) is fresh


@settings(max_examples=50)
@given(
    sent=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(2, 10), st.floats(-1, 1), st.floats(1, 4000)),
        min_size=1,
        max_size=9,
    )
)
def test_under_the_mean_a_buffer_merges_as_fedbuff_says_whoever_has_sent_how_many(
    sent: list[tuple[str, int, float, float]],
) -> None:
    """The twin: sum of weight x share x delta over the sum of weights, update by update."""
    outcome = merge((update(*one) for one in sent), BASE, "mean", limits=LIMITS)
    wanted = sum(weight * staleness_share(10 - base) * np.float32(value) for _, base, value, weight in sent)
    assert outcome.delta is not None or outcome.rejected
    if not outcome.rejected:  # an outlier beside the others is screened as ever
        assert outcome.delta is not None
        np.testing.assert_allclose(outcome.delta, wanted / sum(one[3] for one in sent), atol=1e-6)


def test_a_member_that_sends_five_has_one_voice_in_a_median() -> None:
    loud = [update("gw-1", 10, 2.0 + 0.1 * number) for number in range(5)]
    others = [update(f"gw-{number}", 10, 1.0) for number in (2, 3)]
    outcome = merge([*loud, *others], BASE, "median")
    np.testing.assert_array_equal(outcome.delta, np.ones(4, np.float32))
    assert set(outcome.accepted) == {"gw-1", "gw-2", "gw-3"}


@given(order=st.permutations(range(6)))
def test_a_members_updates_in_any_order_give_the_same_bits(order: list[int]) -> None:
    draw = np.random.default_rng(3)
    mine = [Update("gw-1", 10 - number, draw.standard_normal(4), 1.0 + number) for number in range(6)]
    (first,), (again,) = one_voice(mine), one_voice([mine[number] for number in order])
    assert first.delta.tobytes() == again.delta.tobytes()
    assert first.weight == again.weight == 21.0


def test_what_is_further_behind_than_allowed_is_refused_and_the_members_other_update_counts() -> None:
    outcome = merge([update("gw-1", 1, 5.0), update("gw-1", 10, 1.0)], BASE, limits=LIMITS)
    assert outcome.rejected["gw-1"].reason == "wrong_base"
    np.testing.assert_array_equal(outcome.delta, np.ones(4, np.float32))
