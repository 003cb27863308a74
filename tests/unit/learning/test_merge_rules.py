"""Each rule against its loop-written twin, and the steps before it on their own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aggregator.merge.clip import clip_to_median
from aggregator.merge.rules import (
    coordinate_median,
    nearest_neighbour_mixing,
    tolerated,
    trimmed_mean,
    weighted_mean,
)
from tests.support import naive_merge


def deltas(count: int, size: int = 5, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((count, size))


COUNTS = pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 20])


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
def test_trimmed_mean_equals_its_twin(count: int) -> None:
    wrong = tolerated(count)
    np.testing.assert_allclose(
        trimmed_mean(deltas(count), wrong), naive_merge.trimmed_mean(deltas(count).tolist(), wrong), rtol=1e-12
    )


@COUNTS
def test_clip_equals_its_twin(count: int) -> None:
    rows = deltas(count) * np.arange(1, count + 1)[:, None]
    np.testing.assert_allclose(clip_to_median(rows), naive_merge.clip_to_median(rows.tolist()), rtol=1e-12)


@COUNTS
def test_nearest_neighbour_mixing_equals_its_twin(count: int) -> None:
    wrong = tolerated(count)
    np.testing.assert_allclose(
        nearest_neighbour_mixing(deltas(count), wrong),
        naive_merge.nearest_neighbour_mixing(deltas(count).tolist(), wrong),
        rtol=1e-12,
    )


def test_clipping_updates_of_length_zero_changes_nothing() -> None:
    np.testing.assert_array_equal(clip_to_median(np.zeros((3, 4))), np.zeros((3, 4)))


def test_a_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one update"):
        weighted_mean([])


@given(st.integers(min_value=1, max_value=500))
def test_the_tolerated_are_always_fewer_than_half(count: int) -> None:
    assert 0 <= 2 * tolerated(count) < count


def test_a_streamed_mean_holds_one_update_at_a_time() -> None:
    """A generator that would fail if two were alive at once: it hands out the same array again and again."""
    shared = np.zeros(4)

    def stream() -> object:
        for number in range(10):
            shared[:] = number
            yield shared, 1.0

    np.testing.assert_allclose(weighted_mean(stream()), np.full(4, 4.5))  # type: ignore[arg-type]
