"""What a fleet knows is sums: they add, they can be taken away again, and lies are refused or scaled down."""

import numpy as np
import pytest

from schemas.container import array_blob, pack, unpack
from schemas.errors import TensorsRejected
from schemas.variation import MAX_LAYOUTS, MAX_LOG_RATIO, MAX_LOG_SCORE, SessionSums, Variation, merge
from vibration.detection_features import DETECTION_COUNT

SLOW, FAST = (200.0, 200), (48_000.0, 12_000)


def told(layout: tuple[float, int], ratio: float, sessions: float = 1.0, score: float = 0.2) -> Variation:
    plays = sessions * np.array([score, score**2 + 0.01, 0.09, 0.1, 0.1**2 + 0.02, 0.1 * score])
    return Variation({layout: SessionSums(sessions, np.full(DETECTION_COUNT, ratio * sessions), sessions, plays)})


def test_sums_add_in_any_order_and_can_be_taken_away_again() -> None:
    parts = [told(SLOW, -2.0), told(FAST, 0.5), told(SLOW, -1.0, 3.0)]
    together = parts[0] + parts[1] + parts[2]
    assert (parts[2] + parts[0] + parts[1]).pack() == together.pack()
    assert (together - parts[0]).pack() == (parts[1] + parts[2]).pack()
    assert (parts[0] - parts[0]).layouts == {}


def test_the_nearer_layout_speaks_louder() -> None:
    knows = told(SLOW, -4.0, 5.0) + told(FAST, 1.0, 5.0)
    slow, fast = knows.prior(*SLOW), knows.prior(*FAST)
    assert float(np.log(slow.variance_ratio[0])) < -3.0
    assert float(np.log(fast.variance_ratio[0])) > 0.5
    far = knows.prior(3_000.0, 1_500)  # nobody near: theory
    assert abs(float(np.log(far.variance_ratio[0]))) < 0.01


def test_nothing_known_is_theory_and_wide() -> None:
    nothing, much = Variation().prior(*FAST), told(FAST, 0.0, 50.0).prior(*FAST)
    np.testing.assert_allclose(nothing.variance_ratio, 1.0)
    assert nothing.between > much.between
    assert 0.0 <= much.slope <= 1.0


def test_what_is_packed_is_read_again() -> None:
    knows = told(SLOW, -1.0) + told(FAST, 2.0)
    again = Variation.unpack(knows.pack())
    assert again.pack() == knows.pack()
    assert Variation.unpack(Variation().pack()).sessions == 0


def test_a_member_that_claims_a_thousand_machines_speaks_for_as_many_as_it_may() -> None:
    honest, loud = told(FAST, 0.0), told(FAST, 10.0, 1000.0)
    merged = merge([honest, loud], max_sessions=4.0)
    assert merged.sessions == pytest.approx(5.0)
    assert float(merged.layouts[FAST].log_ratio[0]) == pytest.approx(40.0)


@pytest.mark.parametrize(
    ("sums", "reason"),
    [
        (SessionSums(1.0, np.full(DETECTION_COUNT, np.nan)), "not_finite"),
        (SessionSums(1.0, np.full(DETECTION_COUNT, 2 * MAX_LOG_RATIO)), "out_of_range"),
        (SessionSums(-1.0, np.zeros(DETECTION_COUNT)), "out_of_range"),
        (SessionSums(1.0, np.zeros(DETECTION_COUNT), 1.0, np.full(6, 1e9)), "out_of_range"),
    ],
)
def test_sums_that_no_sessions_can_have_are_refused(sums: SessionSums, reason: str) -> None:
    with pytest.raises(TensorsRejected) as caught:
        Variation.unpack(Variation({FAST: sums}).pack())
    assert caught.value.reason == reason


def test_sums_of_other_features_are_refused_by_name() -> None:
    meta, blobs = unpack(told(FAST, 0.0).pack())
    with pytest.raises(TensorsRejected, match="log_bands_8") as caught:
        Variation.unpack(pack({**meta, "features": "log_bands_8"}, blobs))
    assert caught.value.reason == "other_features"


@pytest.mark.parametrize("cut", [0, 10, 100])
def test_a_cut_container_is_refused(cut: int) -> None:
    with pytest.raises(TensorsRejected):
        Variation.unpack(told(FAST, 0.0).pack()[:cut])


@pytest.mark.parametrize("layout", [[25_600.0, 0.5], [5e-324, 8192.0], [25_600.0, 1e300], [1e300, 8192.0]])
def test_a_layout_that_no_capture_has_is_refused(layout: list[float]) -> None:
    """Half a sample once was read as none, and its logarithm ended every gateway that took the release."""
    meta, blobs = unpack(told(FAST, 0.0).pack())
    described, blob = array_blob(np.array([layout]))
    with pytest.raises(TensorsRejected) as caught:
        Variation.unpack(pack({**meta, "layouts": described}, {**blobs, "layouts": blob}))
    assert caught.value.reason == "out_of_range"


def test_a_number_in_the_place_of_the_layouts_is_refused() -> None:
    meta, blobs = unpack(told(FAST, 0.0).pack())
    described, blob = array_blob(np.array(3.0))
    with pytest.raises(TensorsRejected) as caught:
        Variation.unpack(pack({**meta, "layouts": described}, {**blobs, "layouts": blob}))
    assert caught.value.reason == "bad_shape"


def test_more_layouts_than_a_release_holds_leave_the_least_heard_out() -> None:
    """A release of 65 layouts once was signed, and then refused by every gateway."""
    many = merge(
        [told((1000.0 + n, 512), 0.0, 1.0 if n == 7 else 2.0) for n in range(MAX_LAYOUTS + 1)], max_sessions=64.0
    )
    again = Variation.unpack(many.pack())
    assert len(again.layouts) == MAX_LAYOUTS
    assert (1007.0, 512) not in again.layouts


def test_plays_are_capped_as_sessions_are() -> None:
    loud = Variation({FAST: SessionSums(1.0, np.zeros(DETECTION_COUNT), 1e6, np.full(6, 1e6))})
    merged = merge([told(FAST, 0.0), loud], max_sessions=4.0)
    assert merged.layouts[FAST].played == pytest.approx(5.0)
    assert merged.layouts[FAST].sessions == pytest.approx(2.0)


def test_one_member_that_lies_as_loud_as_it_may_does_not_make_the_fleet_deaf() -> None:
    """One of twenty once lifted everybody's limits two thousand times above the highest possible score."""
    honest = [told(FAST, 0.1 * (n % 3), 10.0, 0.1) for n in range(20)]
    lie = Variation(
        {
            FAST: SessionSums(
                64.0, np.full(DETECTION_COUNT, 64.0 * MAX_LOG_RATIO), 64.0,
                64.0 * np.array([MAX_LOG_SCORE, MAX_LOG_SCORE**2, MAX_LOG_SCORE, 0.0, 0.02, 0.0]),
            )
        }
    )  # fmt: skip
    before, after = (merge(parts, max_sessions=64.0).prior(*FAST) for parts in (honest, [*honest, lie]))
    assert float((after.variance_ratio / before.variance_ratio).max()) < 2.0
    assert after.log_score < before.log_score + 0.5
    assert after.between < 1.0


def test_members_that_differ_as_sound_machines_do_are_added_as_they_are() -> None:
    parts = [told(FAST, ratio, 3.0, score) for ratio, score in ((0.0, 0.1), (0.7, 0.3), (-0.9, 0.2), (1.2, 0.6))]
    assert merge(parts, max_sessions=64.0).pack() == (parts[0] + parts[1] + parts[2] + parts[3]).pack()
