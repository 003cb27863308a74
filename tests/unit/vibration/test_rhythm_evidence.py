"""Evidence pays for its tries; lines share a slip; what the shaft or the mains hum is not a bearing's."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from vibration.rhythm import ORDERS, read_rhythm, transform
from vibration.rhythm_evidence import (
    MOST_NATS,
    DepthLaw,
    RhythmRow,
    clean_db,
    depth_nats,
    heights_db,
    presence_nats,
    read_family,
    unit_depth_db,
)


def row_with(lines: dict[float, float], *, healthy: dict[float, float] | None = None, **more: object) -> RhythmRow:
    """Lines of a width of 0.12 orders standing so many dB over noise."""

    def level(of: dict[float, float]) -> np.ndarray:
        power = np.ones(ORDERS.size)
        for order, height_db in of.items():
            power += 10.0 ** (height_db / 10.0) * np.exp(-0.5 * ((ORDERS - order) / 0.06) ** 2)
        return 10.0 * np.log10(power)

    facts = {"line_orders": 0.12, "reach": 15.9, "noise_db": 0.3} | more
    return RhythmRow(level(lines), None if healthy is None else level(healthy), **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("height_db", [-2.0, 0.0, 1.5, 3.0])
def test_presence_is_the_likelihood_ratio_it_says_it_is(height_db: float):
    there = quad(lambda mean: math.exp(-mean / 6.0) / 6.0 * norm.pdf(height_db, mean, 1.0), 0.0, 60.0)[0]
    nothing = norm.pdf(height_db)
    exact = math.log(there / nothing)
    bounded = -math.log(math.exp(-MOST_NATS) + math.exp(-exact))
    assert presence_nats(height_db, 1.0) == pytest.approx(bounded, abs=1e-6)


def test_no_single_line_says_more_than_its_bound_and_what_is_not_seen_says_nothing():
    assert presence_nats(80.0, 1.0) == pytest.approx(MOST_NATS)
    assert presence_nats(math.nan, 1.0) == 0.0


def test_a_family_is_read_at_its_shared_slip():
    row = row_with({3.585 * 0.988: 8.0, 7.17 * 0.988: 6.0, 10.755 * 0.988: 5.0})
    family = read_family(row, clean_db(row), (3.585, 7.17, 10.755))
    assert family.slip == pytest.approx(-0.012, abs=0.004)
    # Half a grid step beside the top a line of this width has lost 0.3 dB; the search costs as much again.
    assert family.height_db == pytest.approx([8.0, 6.0, 5.0], abs=1.2)


def test_a_shaft_line_in_company_leaves_nothing_for_a_bearing_beside_it():
    row = row_with({1.0: 12.0, 2.0: 12.0, 3.0: 12.0, 4.0: 12.0})
    assert heights_db(clean_db(row), np.array([3.05]))[0] < 2.0


def test_a_rhythm_near_a_whole_order_that_stands_alone_is_heard():
    row = row_with({3.05: 12.0})
    assert heights_db(clean_db(row), np.array([3.05]))[0] > 8.0


def test_what_stood_there_when_sound_is_no_evidence():
    row = row_with({3.585: 9.0}, healthy={3.585: 9.0})
    assert heights_db(clean_db(row), np.array([3.585]))[0] == pytest.approx(0.0, abs=0.1)


def test_the_hum_of_the_mains_is_no_evidence():
    row = row_with({3.34: 15.0}, foreign=(3.34,))
    assert heights_db(clean_db(row), np.array([3.34]))[0] < 1.0


def test_lines_beyond_the_reach_are_unknown_not_absent():
    row = row_with({3.0: 5.0}, reach=5.0)
    family = read_family(row, clean_db(row), (3.0, 6.0))
    assert math.isfinite(family.at(0))
    assert math.isnan(family.at(1))
    assert np.isnan(read_family(row, clean_db(row), (9.0,)).height_db).all()


def test_a_swing_of_known_depth_stands_as_high_as_its_depth_says():
    """Noise whose power swings by a known share of an e-fold, in bands of a kilohertz: height and depth agree."""
    rate_hz, swing_hz, depth, heights = 12_000.0, 40.0, 0.4, []
    time_s = np.arange(int(rate_hz)) / rate_hz
    for seed in range(12):
        noise = np.random.default_rng(seed).standard_normal(time_s.size)
        swelling = noise * np.exp(0.5 * depth * np.cos(2 * np.pi * swing_hz * time_s))
        rhythm = read_rhythm(transform(swelling[None], sample_rate_hz=rate_hz), highest_hz=200.0)
        assert rhythm is not None
        heights.append(rhythm.power[0, :, round(swing_hz / rhythm.line_hz)].mean())
    expected = 1.0 + 10.0 ** (unit_depth_db(1.0) / 10.0) * depth**2
    assert 10 * np.log10(np.mean(heights) / expected) == pytest.approx(0.0, abs=1.5)  # bands are tapered


def test_deep_speaks_for_damage_shallow_against_it_and_nothing_seen_says_nothing():
    heights = np.array([15.0, 0.0, math.nan])
    deep, shallow, unseen = depth_nats(heights, 0.8, 20.0, (DepthLaw(0.3, 0.9),))[0]
    assert deep > 3.0
    assert shallow < -1.0
    assert unseen == 0.0
