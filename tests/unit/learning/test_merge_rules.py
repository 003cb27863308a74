"""Each rule against its loop-written twin and against ByzFL's own figures, and what every rule promises."""

import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aggregator.merge.centres import centred_clipping, geometric_median
from aggregator.merge.clip import clip_to_median, level_to_median
from aggregator.merge.coordinates import coordinate_median, trimmed_mean
from aggregator.merge.mean import weighted_mean
from aggregator.merge.neighbours import krum, multi_krum, nearest_neighbour_mixing
from aggregator.merge.pipeline import STEPS, accept
from aggregator.merge.rule_names import ClippedRule
from aggregator.merge.tolerance import tolerated
from aggregator.merge.trust import fltrust
from tests.support import naive_merge

Deltas = NDArray[np.float64]

BYZFL = json.loads((Path(__file__).parent / "merge_vectors_byzfl_0_0_11.json").read_text())
COUNTS = pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 20])
EVERY_RULE = pytest.mark.parametrize("rule", STEPS)
SEEDS = st.integers(0, 2**32 - 1)
MIDDLE = {"rtol": 1e-6, "atol": 1e-6}  # the search stops at 1e-7 of the spread


def deltas(count: int, size: int = 5, seed: int = 0) -> Deltas:
    return np.random.default_rng(seed).standard_normal((count, size))


def after_clipping(rule: ClippedRule, rows: Deltas, wrong: int) -> Deltas:
    """What a merge does with updates of lengths that are even already."""
    for step in STEPS[rule][1:]:
        rows = step(rows, wrong)
    return rows


@pytest.mark.parametrize("case", BYZFL["cases"], ids=lambda case: case["name"])
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("mean", lambda rows, _: weighted_mean((row, 1.0) for row in rows)),
        ("median", lambda rows, _: coordinate_median(rows)),
        ("trimmed_mean", trimmed_mean),
        ("krum", krum),
        ("multi_krum", multi_krum),
        ("geometric_median", lambda rows, _: geometric_median(rows)),
        ("centred_clipping", lambda rows, _: centred_clipping(rows, start=np.zeros(rows.shape[1]), radius=1.5)),
        ("nearest_neighbour_mixing", nearest_neighbour_mixing),
        ("robust", lambda rows, wrong: after_clipping("robust", rows, wrong)),
    ],
)
def test_rules_equal_byzfl(name: str, rule: Callable[[Deltas, int], Deltas], case: dict[str, Any]) -> None:
    tolerance = MIDDLE if name == "geometric_median" else {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(rule(np.array(case["deltas"]), case["wrong"]), case["expected"][name], **tolerance)


@COUNTS
def test_weighted_mean_equals_its_twin(count: int) -> None:
    rows = deltas(count)
    pairs = [(row, float(number + 1)) for number, row in enumerate(rows)]
    expected = naive_merge.weighted_mean([(row.tolist(), weight) for row, weight in pairs])
    np.testing.assert_allclose(weighted_mean(iter(pairs)), expected, rtol=1e-12)


@COUNTS
def test_median_equals_its_twin(count: int) -> None:
    np.testing.assert_allclose(coordinate_median(deltas(count)), naive_merge.median(deltas(count).tolist()))


@COUNTS
@pytest.mark.parametrize("name", ["trimmed_mean", "krum", "multi_krum", "nearest_neighbour_mixing"])
def test_rules_set_for_a_number_of_wrong_members_equal_their_twins(name: str, count: int) -> None:
    rule = {
        "trimmed_mean": trimmed_mean,
        "krum": krum,
        "multi_krum": multi_krum,
        "nearest_neighbour_mixing": nearest_neighbour_mixing,
    }[name]
    wrong = tolerated(count)
    expected = getattr(naive_merge, name)(deltas(count).tolist(), wrong)
    np.testing.assert_allclose(rule(deltas(count), wrong), expected, rtol=1e-12)


@COUNTS
def test_clip_and_level_equal_their_twins(count: int) -> None:
    rows = deltas(count) * np.arange(1, count + 1)[:, None]
    np.testing.assert_allclose(clip_to_median(rows), naive_merge.clip_to_median(rows.tolist()), rtol=1e-12)
    np.testing.assert_allclose(level_to_median(rows), naive_merge.level_to_median(rows.tolist()), rtol=1e-12)


@pytest.mark.parametrize("count", [1, 3, 6, 7])
def test_geometric_median_equals_its_twin(count: int) -> None:
    rows = deltas(count, size=3)
    np.testing.assert_allclose(geometric_median(rows), naive_merge.geometric_median(rows.tolist()), **MIDDLE)


def test_geometric_median_leaves_an_update_that_is_not_the_middle() -> None:
    """Where Weiszfeld's own step divides by 0: the search begins exactly on the first update."""
    pulled = np.array([[0.0, 0.0, 0.0], [4.0, 4.0, 0.0], [4.0, 0.0, 4.0], [0.0, 4.0, 4.0], [-0.1, -0.1, -0.1]])
    np.testing.assert_array_equal(coordinate_median(pulled), pulled[0])
    found = geometric_median(pulled)
    assert np.linalg.norm(found) > 0.5
    np.testing.assert_allclose(found, naive_merge.geometric_median(pulled.tolist()), **MIDDLE)


@COUNTS
def test_centred_clipping_equals_its_twin(count: int) -> None:
    rows = deltas(count)
    expected = naive_merge.centred_clipping(rows.tolist(), [0.0] * 5, 1.2, 3)
    np.testing.assert_allclose(centred_clipping(rows, start=np.zeros(5), radius=1.2), expected, rtol=1e-12)


@COUNTS
def test_fltrust_equals_its_twin(count: int) -> None:
    rows, root = deltas(count) + 0.5, np.arange(1.0, 6.0)
    np.testing.assert_allclose(fltrust(rows, root), naive_merge.fltrust(rows.tolist(), root.tolist()), rtol=1e-12)


def test_fltrust_gives_members_that_point_away_from_the_server_no_voice() -> None:
    root = np.ones(4)
    np.testing.assert_allclose(fltrust(np.array([3 * root, -9 * root, 0 * root]), root), root)
    np.testing.assert_array_equal(fltrust(-np.ones((3, 4)), root), np.zeros(4))
    np.testing.assert_array_equal(fltrust(np.ones((3, 4)), np.zeros(4)), np.zeros(4))


@EVERY_RULE
@given(seed=SEEDS)
@settings(max_examples=20)
def test_the_order_of_updates_does_not_matter(rule: ClippedRule, seed: int) -> None:
    rows = deltas(9, seed=seed)
    shuffled = np.random.default_rng(seed + 1).permutation(rows)
    merged, again = (after_clipping(rule, each, 2) for each in (rows, shuffled))
    np.testing.assert_allclose(merged, again, **MIDDLE)


@EVERY_RULE
@given(seed=SEEDS)
@settings(max_examples=20)
def test_moving_all_updates_moves_the_merge_as_far(rule: ClippedRule, seed: int) -> None:
    rows, by = deltas(9, seed=seed), deltas(1, seed=seed + 1)[0] * 100
    moved = after_clipping(rule, rows + by, 2)
    np.testing.assert_allclose(moved, after_clipping(rule, rows, 2) + by, **MIDDLE)


@EVERY_RULE
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_equal_updates_give_themselves(rule: ClippedRule, count: int) -> None:
    one = deltas(1)[0]
    merged = after_clipping(rule, np.repeat(one[None], count, axis=0), tolerated(count))
    np.testing.assert_allclose(merged, one, rtol=1e-12)


@EVERY_RULE
@pytest.mark.parametrize("far", [1e3, 1e9])
def test_as_many_wrong_members_as_tolerated_cannot_move_a_rule_beyond_the_honest(rule: ClippedRule, far: float) -> None:
    """The same number of wrong members for every rule: 4 of 20, clipped as in a merge; the mean goes with them."""
    honest = 1 + 0.1 * deltas(16)
    everybody = np.concatenate([honest, np.full((tolerated(20), 5), -far)])
    merged = everybody
    for step in STEPS[rule]:
        merged = step(merged, tolerated(20))
    away = np.abs(merged - honest.mean(axis=0)).max()
    assert away < 0.3
    assert np.abs(weighted_mean((row, 1.0) for row in everybody) - honest.mean(axis=0)).max() > far / 10


@pytest.mark.parametrize("rule", [trimmed_mean, krum, multi_krum, nearest_neighbour_mixing])
@pytest.mark.parametrize("wrong", [-1, 2])
def test_a_rule_set_for_half_of_the_members_is_refused(rule: Callable[[Deltas, int], Deltas], wrong: int) -> None:
    with pytest.raises(ValueError, match=f"{wrong} wrong of 4 updates"):
        rule(deltas(4), wrong)


@pytest.mark.parametrize("step", [clip_to_median, level_to_median])
def test_updates_of_length_zero_stay_so(step: Callable[[Deltas], Deltas]) -> None:
    np.testing.assert_array_equal(step(np.zeros((3, 4))), np.zeros((3, 4)))
    some = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    np.testing.assert_array_equal(step(some), some)


def test_a_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one update"):
        weighted_mean([])


@given(st.integers(min_value=1, max_value=500))
def test_the_tolerated_are_always_fewer_than_half(count: int) -> None:
    assert 0 <= 2 * tolerated(count) < count


def test_a_streamed_mean_sums_in_double_precision() -> None:
    """In single precision 1e8 + 1 is 1e8."""
    stream = [np.full(3, value, np.float32) for value in (1e8, 1, 1, -1e8)]
    np.testing.assert_array_equal(weighted_mean((each, 1.0) for each in stream), np.full(3, 0.5))


def test_a_streamed_mean_may_be_fed_from_one_array_that_is_filled_again_and_again() -> None:
    shared = np.zeros(4)

    def stream() -> Iterator[tuple[Deltas, float]]:
        for number in range(20):
            shared[:] = number
            yield shared, 1.0

    np.testing.assert_allclose(weighted_mean(stream()), np.full(4, 9.5))


def test_memory_of_a_streamed_mean_does_not_grow_with_the_count() -> None:
    def stream(count: int) -> Iterator[tuple[NDArray[np.float32], float]]:
        for number in range(count):
            yield np.full(20_000, number, np.float32), 1.0

    peaks = []
    for count in (10, 300):
        tracemalloc.start()
        weighted_mean(stream(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_a_merged_update_beyond_single_precision_is_not_accepted() -> None:
    assert accept(np.array([1.0, 1e39])) is None
    assert accept(np.array([1.0, np.nan])) is None
    accepted = accept(np.array([1.0, 2.0]))
    assert accepted is not None
    assert accepted.dtype == np.float32
