"""What a fleet knows is sums: they add, they can be taken away again, and lies are refused or scaled down."""

import numpy as np
import pytest

from schemas.container import pack, unpack
from schemas.errors import TensorsRejected
from schemas.variation import MAX_LOG_RATIO, SessionSums, Variation, merge
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
