"""Speed is read from the vibration where it can be, and said to be unknown where it cannot."""

import numpy as np
import pytest

from vibration.errors import SpeedError
from vibration.speed import estimate_speed

RATE_HZ = 5120.0
RANGE_RPM = (300.0, 4500.0)


def machine(speed_hz: float, amplitudes: list[float], *, seconds: float, noise: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    samples = noise * rng.standard_normal(time_s.size)
    for harmonic, amplitude in enumerate(amplitudes, start=1):
        samples += amplitude * np.sin(2 * np.pi * harmonic * speed_hz * time_s + rng.uniform(0, 6))
    return samples


@pytest.mark.parametrize("speed_hz", [9.7, 16.4, 24.8, 29.53, 48.9])
@pytest.mark.parametrize(
    "amplitudes", [[1.0, 0.3, 0.2], [0.2, 1.0, 0.1, 0.3], [0.3, 0.2, 0.9, 0.3, 0.2, 0.1], [0.4] * 8]
)
def test_harmonics_in_noise_give_the_speed_whichever_is_loudest(speed_hz, amplitudes):
    samples = machine(speed_hz, amplitudes, seconds=2.0, noise=1.0, seed=1)
    estimate = estimate_speed(samples, RATE_HZ, rpm_range=RANGE_RPM)
    assert estimate.source == "signal"
    assert estimate.rpm == pytest.approx(60.0 * speed_hz, rel=3e-3)
    assert estimate.confidence >= 0.5


def test_quarter_second_window_still_gives_the_speed_to_one_percent():
    samples = machine(29.53, [1.0, 0.7, 0.5, 0.4, 0.3], seconds=0.25, noise=0.2, seed=2)
    assert estimate_speed(samples, RATE_HZ, rpm_range=RANGE_RPM).rpm == pytest.approx(1771.8, rel=0.01)


@pytest.mark.parametrize("seed", range(10))
def test_noise_has_no_speed_and_low_confidence(seed):
    noise = np.random.default_rng(seed).standard_normal(10_240)
    estimate = estimate_speed(noise, RATE_HZ, rpm_range=RANGE_RPM)
    assert estimate.rpm is None
    assert estimate.source == "none"
    assert estimate.confidence < 0.5


def test_low_confidence_falls_back_to_the_nameplate_and_says_so():
    noise = np.random.default_rng(3).standard_normal(10_240)
    estimate = estimate_speed(noise, RATE_HZ, rpm_range=RANGE_RPM, nameplate_rpm=1480.0)
    assert (estimate.rpm, estimate.source) == (1480.0, "nameplate")
    assert estimate.confidence < 0.5
    assert "1480 rpm is used" in estimate.reason


def test_nameplate_settles_which_of_two_machines_is_meant():
    ours = machine(24.7, [1.0, 0.6, 0.4], seconds=2.0, noise=0.3, seed=4)
    neighbour = machine(37.9, [1.0, 0.6, 0.4], seconds=2.0, noise=0.3, seed=5)
    estimate = estimate_speed(ours + neighbour, RATE_HZ, rpm_range=RANGE_RPM, nameplate_rpm=1500.0)
    assert estimate.rpm == pytest.approx(1482.0, rel=0.005)


def test_window_of_too_few_turns_falls_back():
    estimate = estimate_speed(np.ones(64) * np.arange(64) % 7, 200.0, rpm_range=(60.0, 300.0), nameplate_rpm=200.0)
    assert estimate.source == "nameplate"
    assert "too few turns" in estimate.reason
    assert estimate.confidence == 0.0


def test_silence_has_no_speed():
    assert estimate_speed(np.zeros(4096), RATE_HZ, rpm_range=RANGE_RPM).source == "none"


@pytest.mark.parametrize("rpm_range", [(0.0, 100.0), (200.0, 100.0), (100.0, float("inf"))])
def test_impossible_range_is_refused(rpm_range):
    with pytest.raises(SpeedError):
        estimate_speed(np.zeros(4096), RATE_HZ, rpm_range=rpm_range)
