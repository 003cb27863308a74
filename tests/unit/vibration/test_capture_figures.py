"""The figures of a capture's quality: each moves with what it names, and only with that."""

import numpy as np
import pytest

from sensor_sim.structure import mounting_response
from vibration.capture_figures import clipped_share, mounting_hint, ski_slope_ratio, speed_drift

RATE_HZ, SAMPLES = 25_600.0, 32_768
TIME_S = np.arange(SAMPLES) / RATE_HZ


def noise(level_g: float = 0.05, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, level_g, SAMPLES)


def test_clipped_share_counts_flat_tops_and_what_lies_at_the_range() -> None:
    sine = np.sin(2 * np.pi * 50.0 * TIME_S)
    assert clipped_share(noise()) == 0.0
    assert clipped_share(np.clip(sine, -0.8, 0.8)) == pytest.approx(2 * np.arccos(0.8) / np.pi, rel=0.03)
    assert clipped_share(sine, range_g=0.8) == pytest.approx(2 * np.arccos(0.8) / np.pi, rel=0.03)
    assert clipped_share(np.zeros(SAMPLES)) == 0.0


def test_ski_slope_outweighs_the_band_only_where_there_is_one() -> None:
    healthy = noise(0.01) + 0.1 * np.sin(2 * np.pi * 25.0 * TIME_S)
    drifting = healthy + 0.5 * np.sin(2 * np.pi * 2.5 * TIME_S)
    plain = ski_slope_ratio(healthy, sample_rate_hz=RATE_HZ, low_hz=10.0)
    sloped = ski_slope_ratio(drifting, sample_rate_hz=RATE_HZ, low_hz=10.0)
    assert plain is not None
    assert sloped is not None
    assert plain < 0.2
    assert sloped == pytest.approx((0.5 / 2.5) / (0.1 / 25.0), rel=0.1)


def test_ski_slope_of_a_window_without_a_line_below_the_band_is_not_known() -> None:
    assert ski_slope_ratio(noise()[:2048], sample_rate_hz=RATE_HZ, low_hz=10.0) is None


def shaft(drift: float, *, harmonic: int = 1, height_g: float = 0.2) -> np.ndarray:
    """A line whose speed rises evenly by a share of 25 Hz over the window."""
    speed_hz = 25.0 * (1.0 + drift * (TIME_S / TIME_S[-1] - 0.5))
    turns = np.cumsum(speed_hz) / RATE_HZ
    return np.asarray(height_g * np.sin(2 * np.pi * harmonic * turns)) + noise(0.02)


@pytest.mark.parametrize(("drift", "harmonic"), [(0.0, 1), (0.01, 1), (0.02, 1), (0.01, 3)])
def test_speed_drift_is_read_from_the_clearest_harmonic(drift: float, harmonic: int) -> None:
    found = speed_drift(shaft(drift, harmonic=harmonic), sample_rate_hz=RATE_HZ, shaft_hz=25.1)
    assert found is not None
    assert found.harmonic == harmonic
    assert found.share == pytest.approx(drift, abs=max(0.0005, 3.0 * found.uncertainty))
    assert found.uncertainty < 0.001


def test_speed_drift_of_a_noisy_line_says_how_little_is_known() -> None:
    found = [
        speed_drift(shaft(0.0, height_g=0.004) + noise(0.02, seed=seed), sample_rate_hz=RATE_HZ, shaft_hz=25.0)
        for seed in range(10, 40)
    ]
    known = [one for one in found if one is not None]
    assert len(known) > 10
    assert np.mean([one.share < 3.0 * one.uncertainty for one in known]) > 0.9


def test_speed_without_a_line_that_stands_out_is_not_known() -> None:
    assert speed_drift(noise(), sample_rate_hz=RATE_HZ, shaft_hz=25.0) is None
    assert speed_drift(shaft(0.0)[:4096], sample_rate_hz=RATE_HZ, shaft_hz=25.0) is None


def mounted(resonance_hz: float, *, damping: float = 0.1) -> np.ndarray:
    lines = np.fft.rfft(noise(0.2))
    response = mounting_response(np.fft.rfftfreq(SAMPLES, 1 / RATE_HZ), resonance_hz, damping)
    return np.asarray(np.fft.irfft(lines * response, SAMPLES)) + noise(0.001, seed=9)


@pytest.mark.parametrize("resonance_hz", [2_000.0, 3_500.0])
def test_resonance_of_a_weak_mounting_is_found_where_it_is(resonance_hz: float) -> None:
    found = mounting_hint(mounted(resonance_hz), sample_rate_hz=RATE_HZ)
    assert found is not None
    assert found.resonance_hz == pytest.approx(resonance_hz, rel=0.1)
    assert found.fall_db >= 12.0


def test_stud_and_plain_noise_give_no_hint() -> None:
    hints = [mounting_hint(noise(0.2, seed=seed), sample_rate_hz=RATE_HZ) for seed in range(20)]
    assert hints == [None] * 20
    assert mounting_hint(mounted(30_000.0), sample_rate_hz=RATE_HZ) is None
    machine = noise(0.01) + sum(0.1 * np.sin(2 * np.pi * k * 400.0 * TIME_S) for k in range(1, 9))
    assert mounting_hint(machine, sample_rate_hz=RATE_HZ) is None
