"""The easy short cut was not taken: impacts are a random walk, not jitter around a perfect clock."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from sensor_sim.impacts import impact_turns, load_zone, pulse_train
from tests.support.machine_scenarios import RPM
from vibration.envelope import envelope_spectrum

ORDER = 3.585


def test_scatter_of_the_kth_impact_grows_with_k_like_a_random_walk():
    order, jitter = ORDER, 0.01
    runs = []
    for seed in range(400):
        at_turns = impact_turns(np.random.default_rng(seed), order=order, jitter=jitter, turns=60.0)
        runs.append((at_turns - at_turns[0])[:200])
    scatter = np.var(np.array(runs), axis=0)
    expected = (jitter / order) ** 2 * np.arange(200)
    for k in (10, 40, 160):
        assert scatter[k] == pytest.approx(expected[k], rel=0.3)  # 400 runs: 7 % standard error
    assert scatter[160] > 10.0 * scatter[10]


def envelope_fall_db(at_turns: NDArray[np.float64]) -> float:
    """How much less the sixth harmonic of the envelope stands out than the first, for impacts at these turns."""
    samples, sample_rate_hz = 1 << 17, 25_600.0
    train = pulse_train(at_turns * (60.0 / RPM) * sample_rate_hz, np.ones(at_turns.size), samples)
    at_s = np.arange(600) / sample_rate_hz
    ringing = fftconvolve(train, np.exp(-600.0 * at_s) * np.sin(2.0 * np.pi * 3500.0 * at_s))[:samples]
    ringing += 0.01 * np.random.default_rng(0).standard_normal(samples)
    at_hz, amplitude = envelope_spectrum(ringing, sample_rate_hz=sample_rate_hz, band_hz=(2500.0, 4500.0))
    heights = []
    for harmonic in (1, 6):
        place_hz = harmonic * ORDER * RPM / 60.0
        near, around = np.abs(at_hz / place_hz - 1.0) < 0.01, np.abs(at_hz - place_hz) < 40.0
        heights.append(20.0 * np.log10(amplitude[near].max() / np.median(amplitude[around])))
    return float(heights[0] - heights[1])


def test_sixth_harmonic_of_the_envelope_stands_far_less_clear_than_the_first():
    """Jitter around a perfect clock would leave it too clear: the twin that does so falls less."""
    ours, clocked = [], []
    for seed in range(6):
        chance = np.random.default_rng(seed)
        ours.append(envelope_fall_db(impact_turns(chance, order=ORDER, jitter=0.015, turns=128.0)))
        clock = np.arange(1, 450) / ORDER
        clocked.append(envelope_fall_db(clock * 1.0 + 0.015 / ORDER * chance.standard_normal(clock.size)))
    assert np.mean(ours) > 12.0
    assert np.mean(ours) > np.mean(clocked) + 3.0


def test_impacts_keep_their_mean_rate():
    at_turns = impact_turns(np.random.default_rng(1), order=5.4, jitter=0.02, turns=500.0)
    assert at_turns.size == pytest.approx(2700, rel=0.005)
    assert at_turns[0] < 1.5 / 5.4
    assert (np.diff(at_turns) > 0).all()


def test_load_zone_is_full_in_its_middle_and_empty_beyond_its_edge():
    angles = np.radians([0.0, 30.0, 78.0, 79.0, 180.0, 360.0])
    share = load_zone(angles, 0.4)
    assert share[0] == share[5] == pytest.approx(1.0)
    assert share[2] > 0.0 == share[3]  # cos a = 1 - 2 x 0.4
    assert share[4] == 0.0


def test_a_pulse_between_two_samples_keeps_its_time_exactly():
    train = pulse_train(np.array([100.37]), np.array([1.0]), 256)
    spectrum = np.fft.rfft(train)
    frequency = np.arange(60) / 256.0
    assert np.unwrap(np.angle(spectrum[:60])) == pytest.approx(-2.0 * np.pi * frequency * 100.37, abs=1e-2)
    assert np.abs(spectrum[:60]) == pytest.approx(np.ones(60), abs=0.02)
