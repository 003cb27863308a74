"""Evidence: a family is found where it is, with its deviation, and chance is not taken for evidence."""

import numpy as np
import pytest

from vibration.errors import SpeedError, WindowError
from vibration.orders import (
    family_strength_db,
    find_family,
    harmonic_prominence,
    overlapping_lines,
    sideband_prominence,
)
from vibration.spectrum import amplitude_spectrum

RATE_HZ = 5120.0
TIME_S = np.arange(20_480) / RATE_HZ


def spectrum_of(lines: list[tuple[float, float]], seed: int = 0, noise: float = 0.2):
    samples = noise * np.random.default_rng(seed).standard_normal(TIME_S.size)
    for frequency_hz, amplitude in lines:
        samples = samples + amplitude * np.sin(2 * np.pi * frequency_hz * TIME_S)
    return amplitude_spectrum(samples, sample_rate_hz=RATE_HZ)


def test_family_is_found_with_its_deviation_and_height():
    frequency_hz, amplitude = spectrum_of([(99.0, 0.3), (198.0, 0.2), (297.0, 0.1)])
    found = harmonic_prominence(frequency_hz, amplitude, 100.0, harmonics=3)
    assert [line.order for line in found] == [1, 2, 3]
    assert all(line.stands_out and line.resolved for line in found)
    assert [line.deviation_share for line in found] == pytest.approx([-0.01] * 3, abs=2e-4)
    assert [line.amplitude for line in found] == pytest.approx([0.3, 0.2, 0.1], rel=0.1)
    assert found[0].prominence_db == pytest.approx(20 * np.log10(found[0].prominence))
    assert family_strength_db(found) > 15.0


def test_pure_noise_reaches_chance_about_as_often_as_stated():
    """1 of 100 searches; 300 searches give 3, and more than 12 would have odds of one in ten thousand."""
    beyond = 0
    for seed in range(100):
        frequency_hz, amplitude = spectrum_of([], seed)
        found = harmonic_prominence(frequency_hz, amplitude, 153.7, harmonics=3)
        beyond += sum(line.stands_out for line in found)
    assert beyond <= 12


def test_family_shares_one_slip():
    frequency_hz, amplitude = spectrum_of([(98.8, 0.3), (197.6, 0.2), (296.4, 0.1)])
    family = find_family(frequency_hz, amplitude, 100.0, harmonics=3)
    assert family.deviation_share == pytest.approx(-0.012, abs=1e-3)
    assert all(line.stands_out for line in family.lines)
    assert family.strength_db > 15.0


def test_lines_that_disagree_about_the_slip_are_not_taken_for_a_family():
    frequency_hz, amplitude = spectrum_of([(101.5, 0.3), (197.0, 0.3), (301.5, 0.3)])
    alone = harmonic_prominence(frequency_hz, amplitude, 100.0, harmonics=3)
    assert all(line.stands_out for line in alone)
    family = find_family(frequency_hz, amplitude, 100.0, harmonics=3)
    assert sum(line.stands_out for line in family.lines) == 1
    assert family.strength_db < 0.7 * family_strength_db(alone)


def test_third_harmonic_alone_is_a_weak_family():
    frequency_hz, amplitude = spectrum_of([(300.0, 0.5)])
    whole, amplitude_whole = spectrum_of([(100.0, 0.5), (200.0, 0.2), (300.0, 0.1)])
    third = find_family(frequency_hz, amplitude, 100.0, harmonics=3).strength_db
    assert third < 0.3 * find_family(whole, amplitude_whole, 100.0, harmonics=3).strength_db


def test_family_beyond_the_spectrum_has_no_lines():
    assert find_family(*spectrum_of([]), 5000.0).lines == ()


def test_silence_holds_no_family():
    family = find_family(np.arange(400.0), np.zeros(400), 100.0)
    assert family.strength_db == 0.0


def test_averaging_over_windows_brings_out_a_line_that_one_window_hides():
    rng = np.random.default_rng(40)
    line = 0.12 * np.sin(2 * np.pi * 100.0 * TIME_S[:2560])
    powers = []
    for _ in range(30):
        frequency_hz, amplitude = amplitude_spectrum(line + rng.standard_normal(2560), sample_rate_hz=RATE_HZ)
        powers.append(amplitude**2)
    averaged = np.sqrt(np.mean(powers, axis=0))
    found = harmonic_prominence(frequency_hz, averaged, 100.0, harmonics=1, averages=30)[0]
    assert found.stands_out
    assert not harmonic_prominence(frequency_hz, averaged, 100.0, harmonics=1)[0].stands_out
    away = harmonic_prominence(frequency_hz, averaged, 333.0, harmonics=3, averages=30)
    assert not any(line.stands_out for line in away)


def test_line_outside_the_tolerance_is_no_evidence():
    frequency_hz, amplitude = spectrum_of([(104.0, 0.5)])
    assert not harmonic_prominence(frequency_hz, amplitude, 100.0, harmonics=1)[0].stands_out


def test_tolerance_narrower_than_a_line_widens_to_it_and_says_so():
    frequency_hz, amplitude = amplitude_spectrum(np.random.default_rng(1).standard_normal(512), sample_rate_hz=RATE_HZ)
    coarse = harmonic_prominence(frequency_hz, amplitude, 100.0, harmonics=(1, 8))
    assert [line.resolved for line in coarse] == [False, True]
    assert coarse[0].tolerance_hz == pytest.approx(10.0)


def test_harmonics_beyond_the_spectrum_are_left_out():
    frequency_hz, amplitude = spectrum_of([])
    assert [line.order for line in harmonic_prominence(frequency_hz, amplitude, 1000.0, harmonics=4)] == [1, 2]
    assert family_strength_db([]) == 0.0


def test_sidebands_at_shaft_speed_are_found_around_their_carrier():
    lines = [(160.0, 0.5), (130.3, 0.2), (189.7, 0.15), (100.6, 0.1), (219.4, 0.1)]
    frequency_hz, amplitude = spectrum_of(lines)
    found = sideband_prominence(frequency_hz, amplitude, 160.0, 29.7)
    assert [line.order for line in found] == [-2, -1, 1, 2]
    assert all(line.stands_out and line.resolved for line in found)
    absent = sideband_prominence(frequency_hz, amplitude, 160.0, 11.9)
    assert not any(line.stands_out for line in absent)


def test_sidebands_inside_the_carriers_own_line_are_not_resolved():
    frequency_hz, amplitude = spectrum_of([(160.0, 1.0)])
    found = sideband_prominence(frequency_hz, amplitude, 160.0, 0.5, pairs=1)
    assert not any(line.resolved for line in found)


def test_third_outer_and_second_inner_race_line_of_nine_balls_overlap_within_slip():
    overlaps = overlapping_lines({"bpfo": 107.4, "bpfi": 162.2}, 0.25, harmonics=3)
    assert [(overlap.first, overlap.second) for overlap in overlaps] == [(("bpfo", 3), ("bpfi", 2))]
    assert not overlaps[0].by_resolution


def test_families_that_only_a_longer_window_separates_are_named():
    overlaps = overlapping_lines({"bpfo": 107.4, "hum": 100.0}, 4.0, harmonics=1)
    assert overlaps[0].by_resolution
    assert overlapping_lines({"bpfo": 107.4, "hum": 100.0}, 1.0, harmonics=1) == []


def test_impossible_search_is_refused():
    frequency_hz, amplitude = spectrum_of([])
    with pytest.raises(SpeedError):
        harmonic_prominence(frequency_hz, amplitude, 0.0)
    with pytest.raises(SpeedError):
        sideband_prominence(frequency_hz, amplitude, 100.0, -1.0)
    with pytest.raises(WindowError, match="equally many"):
        harmonic_prominence(frequency_hz[1:], amplitude, 100.0)
    with pytest.raises(WindowError, match="evenly"):
        harmonic_prominence(np.geomspace(1.0, 100.0, 50), np.ones(50), 10.0)
