"""Units turn into each other as the trade has it; indicators read what the books say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import naive
from vibration import indicators, units
from vibration.errors import VibrationError, WindowError

positive = st.floats(1e-6, 1e6)


def test_one_g_at_159_hz_is_about_10_mm_s():
    assert units.sine_velocity_mm_s(1.0, 159.155) == pytest.approx(9.80665, rel=1e-5)


def test_one_inch_a_second_peak_is_17_96_mm_s_rms():
    assert units.in_s_peak_to_mm_s_rms(1.0) == pytest.approx(17.96, abs=0.005)


def test_displacement_of_a_slow_sine():
    """1 mm/s RMS at 25 Hz is 18 µm peak to peak, on every vibration nomogram."""
    assert units.sine_displacement_um_pk_pk(1.0, 25.0) == pytest.approx(18.0, abs=0.05)


@given(positive, st.floats(0.1, 1e5))
def test_conversions_undo_each_other(value, frequency_hz):
    assert units.m_s2_to_g(units.g_to_m_s2(value)) == pytest.approx(value)
    velocity = units.sine_velocity_mm_s(value, frequency_hz)
    assert units.sine_acceleration_g(velocity, frequency_hz) == pytest.approx(value)
    assert units.mm_s_rms_to_in_s_peak(units.in_s_peak_to_mm_s_rms(value)) == pytest.approx(value)
    assert units.hz_to_rpm(units.rpm_to_hz(value)) == pytest.approx(value)
    assert units.db_to_ratio(units.ratio_to_db(value)) == pytest.approx(value)


def test_twice_the_amplitude_is_6_db_and_nothing_is_minus_infinity():
    assert units.ratio_to_db(2.0) == pytest.approx(6.02, abs=0.01)
    assert units.ratio_to_db(0.0) == -math.inf
    with pytest.raises(VibrationError):
        units.ratio_to_db(-1.0)


@pytest.mark.parametrize("frequency_hz", [0.0, -1.0, math.nan])
def test_velocity_without_a_frequency_is_refused(frequency_hz):
    with pytest.raises(VibrationError, match="above 0 expected"):
        units.sine_velocity_mm_s(1.0, frequency_hz)


def test_sine_reads_as_the_books_say():
    sine = 2.0 * np.sin(2 * np.pi * np.arange(1000) / 100) + 5.0
    assert indicators.rms(sine) == pytest.approx(math.sqrt(2.0))
    assert indicators.peak(sine) == pytest.approx(2.0)
    assert indicators.crest_factor(sine) == pytest.approx(math.sqrt(2.0))
    assert indicators.kurtosis(sine) == pytest.approx(1.5)
    assert indicators.skewness(sine) == pytest.approx(0.0, abs=1e-9)


def test_gaussian_noise_has_a_kurtosis_of_3_and_impacts_more():
    noise = np.random.default_rng(0).standard_normal(100_000)
    assert indicators.kurtosis(noise) == pytest.approx(3.0, abs=0.1)
    noise[::1000] += 8.0
    assert indicators.kurtosis(noise) > 4.0


def test_indicators_equal_the_loop_written_twin():
    samples = np.random.default_rng(1).gamma(2.0, 1.0, 500)
    fast = [
        indicators.rms(samples),
        indicators.peak(samples),
        indicators.crest_factor(samples),
        indicators.kurtosis(samples),
        indicators.skewness(samples),
    ]
    assert fast == pytest.approx(list(naive.statistics(samples)), rel=1e-9)


@pytest.mark.parametrize("level", [0.0, 0.1, 1e9])
def test_constant_reads_zero_everywhere(level):
    constant = np.full(100, level)
    for indicator in (
        indicators.rms,
        indicators.peak,
        indicators.crest_factor,
        indicators.kurtosis,
        indicators.skewness,
    ):
        assert indicator(constant) == 0.0


def test_indicator_of_nothing_is_refused():
    with pytest.raises(WindowError, match=r"shape \(0,\)"):
        indicators.rms(np.array([]))
