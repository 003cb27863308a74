"""A rhythm is heard wherever it rings, laid over orders whatever the speed, and never louder than chance allows."""

import numpy as np
import pytest

from tests.support.captures import ORDERS_6205, RPM, impacts_g
from vibration.errors import WindowError
from vibration.rhythm import (
    ORDER_STEP,
    ORDERS,
    hann_leak,
    largest_of,
    noise_db,
    over_orders_db,
    read_rhythm,
    transform,
    velocity_at_orders_mm_s,
)
from vibration.spectrum import amplitude_spectrum
from vibration.units import sine_velocity_mm_s

SHAFT_HZ = RPM / 60.0
RATE_HZ = 24_000.0


def rhythm_db(signal: np.ndarray, shaft_hz: float = SHAFT_HZ) -> np.ndarray:
    rhythm = read_rhythm(transform(signal, sample_rate_hz=RATE_HZ), highest_hz=17.0 * shaft_hz)
    assert rhythm is not None
    return over_orders_db(rhythm, shaft_hz)


def test_one_transform_gives_the_same_spectrum_as_windowing_the_samples():
    signal = np.random.default_rng(3).standard_normal((2, 4096))
    lines = transform(signal, sample_rate_hz=RATE_HZ)
    expected = amplitude_spectrum(signal[1], sample_rate_hz=RATE_HZ)[1]
    # Ends differ by the window's share of the mean, which the one removes before and the other after it.
    assert lines.amplitude_g()[1, 2:-2] == pytest.approx(expected[2:-2], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("label", ["outer", "inner"])
def test_impacts_stand_at_their_order(label: str):
    level = rhythm_db(impacts_g(ORDERS_6205[label], 1))
    away = np.abs(ORDERS - ORDERS_6205[label])
    assert level[0, away < 0.05].max() > 10.0
    assert ORDERS[np.nanargmax(np.where(ORDERS < 6.5, level[0], -99.0))] == pytest.approx(ORDERS_6205[label], rel=0.01)


def test_noise_is_about_nothing_at_every_order():
    level = np.mean(
        [rhythm_db(np.random.default_rng(seed).standard_normal((1, 1 << 13))) for seed in range(20)], axis=0
    )
    beyond_drift = ORDERS > 1.0  # the lowest lines hold what is left of the window's mean
    # The logarithm of an average of 8 looks lies 0.3 dB below the average's; 20 captures scatter by 0.3 dB.
    assert np.nanmean(level[0, beyond_drift]) == pytest.approx(-0.3, abs=0.5)
    assert np.nanmax(np.abs(level[0, beyond_drift])) < 6.0 * noise_db(8.0) / np.sqrt(20)


def test_a_rhythm_is_the_same_over_orders_at_another_length_of_capture():
    signal = impacts_g(ORDERS_6205["outer"], 5, samples=1 << 16)
    short, long = rhythm_db(signal[:, : 1 << 13]), rhythm_db(signal)
    near = np.abs(ORDERS - ORDERS_6205["outer"]) < 0.1
    assert short[0, near].max() > 8.0
    assert long[0, near].max() > short[0, near].max() - 2.0


def test_one_shock_is_not_impulsive_and_repeated_impacts_are():
    noise = np.random.default_rng(2).standard_normal((1, 1 << 14)) * 0.1
    shock = noise.copy()
    shock[0, 5000:5040] += 20.0
    quiet, once, often = (
        read_rhythm(transform(x, sample_rate_hz=RATE_HZ), highest_hz=500.0) for x in (noise, shock, impacts_g(3.6, 2))
    )
    assert quiet is not None
    assert once is not None
    assert often is not None
    assert once.impulsiveness.mean() == pytest.approx(quiet.impulsiveness.mean(), abs=0.2)
    assert often.impulsiveness.mean() > 1.0


def test_captures_too_short_for_two_bands_have_no_rhythm():
    assert read_rhythm(transform(np.ones((1, 100)), sample_rate_hz=200.0), highest_hz=20.0) is None


@pytest.mark.parametrize("signal", [np.zeros(64), np.zeros((1, 8)), np.full((1, 64), np.nan), np.zeros((0, 64))])
def test_what_cannot_be_transformed_is_refused(signal: np.ndarray):
    with pytest.raises(WindowError):
        transform(signal, sample_rate_hz=RATE_HZ)


def test_silence_is_finite():
    level = rhythm_db(np.zeros((1, 1 << 13)))
    assert np.isfinite(level[0, 1 : int(5 / ORDER_STEP)]).all()


def test_the_window_leaks_half_an_amplitude_into_the_next_line_and_nothing_into_whole_ones_beyond():
    assert hann_leak(np.array([0.0, 1.0, 2.0, 3.0])) == pytest.approx([1.0, 0.25, 0.0, 0.0], abs=1e-5)


def test_the_largest_of_many_lies_higher():
    drawn = np.random.default_rng(1).standard_normal((4000, 20)).max(axis=1).mean()
    assert largest_of(20) == pytest.approx(drawn, abs=0.05)  # 4,000 draws scatter by 0.01, Blom errs by 0.01
    assert largest_of(1) == 0.0


def test_velocity_at_an_order_is_that_of_the_sine_there():
    time_s = np.arange(24_000) / RATE_HZ
    lines = transform(np.sin(2 * np.pi * 50.0 * time_s)[None], sample_rate_hz=RATE_HZ)
    read = velocity_at_orders_mm_s(lines.amplitude_g(), lines.line_hz, 25.0, np.array([1.0, 2.0, 1000.0]))
    assert read[0, 1] == pytest.approx(sine_velocity_mm_s(1.0, 50.0), rel=1e-3)
    assert read[0, 0] < 1e-3 * read[0, 1]
    assert read[0, 2] == 0.0
