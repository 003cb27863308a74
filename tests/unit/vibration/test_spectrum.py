"""Spectra, densities, velocity and peaks on signals whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import naive
from vibration.errors import BandError, WindowError
from vibration.spectrum import (
    amplitude_spectrum,
    averaged_spectrum,
    find_peaks_table,
    integrate_to_velocity,
    noise_floor,
    power_spectral_density,
    velocity_rms_mm_s,
    velocity_spectrum,
)
from vibration.windows import make_window

RATE_HZ = 5120.0


def tone(amplitude: float, frequency_hz: float, samples: int = 5120, rate_hz: float = RATE_HZ) -> np.ndarray:
    return amplitude * np.cos(2 * np.pi * frequency_hz * np.arange(samples) / rate_hz + 0.7)


@pytest.mark.parametrize("window", ["hann", "flattop", "rectangular"])
def test_two_tones_read_their_amplitudes_through_every_window(window):
    samples = tone(0.8, 100.0) + tone(0.05, 640.0) + 3.0
    frequency_hz, amplitude = amplitude_spectrum(samples, sample_rate_hz=RATE_HZ, window=window)
    assert frequency_hz[100] == pytest.approx(100.0)
    assert amplitude[100] == pytest.approx(0.8, rel=1e-6)
    assert amplitude[640] == pytest.approx(0.05, rel=1e-6)
    assert amplitude[0] == 0.0


def test_flat_top_reads_a_tone_between_two_lines_within_one_percent():
    _, amplitude = amplitude_spectrum(tone(1.0, 100.5), sample_rate_hz=RATE_HZ, window="flattop")
    assert amplitude.max() == pytest.approx(1.0, rel=0.01)


def test_window_gains_and_noise_bandwidths_are_those_of_the_books():
    assert make_window("hann", 1024).coherent_gain == pytest.approx(0.5)
    assert make_window("hann", 1024).noise_bandwidth_lines == pytest.approx(1.5)
    assert make_window("flattop", 1024).noise_bandwidth_lines == pytest.approx(3.77, abs=0.01)
    assert make_window("rectangular", 1024).noise_bandwidth_lines == pytest.approx(1.0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), samples=st.integers(64, 999), rate_hz=st.floats(10.0, 1e5))
def test_density_integrates_to_the_mean_square(seed, samples, rate_hz):
    """Parseval, exact without a window."""
    noise = np.random.default_rng(seed).normal(0.0, 0.3, samples)
    frequency_hz, density = power_spectral_density(noise, sample_rate_hz=rate_hz, window="rectangular")
    assert density.sum() * frequency_hz[1] == pytest.approx(noise.var(), rel=1e-9)


def test_density_of_white_noise_is_its_variance_over_half_the_rate():
    noise = np.random.default_rng(8).normal(0.0, 0.2, 200_000)
    _, density = power_spectral_density(noise, sample_rate_hz=1000.0, segment_samples=500)
    assert density[2:-2].mean() == pytest.approx(0.2**2 / 500.0, rel=0.02)


def test_averaging_steadies_noise_and_keeps_the_line():
    samples = np.random.default_rng(9).normal(0.0, 0.5, 51_200) + tone(0.1, 400.0, 51_200)
    _, once = amplitude_spectrum(samples[:512], sample_rate_hz=RATE_HZ)
    _, averaged = averaged_spectrum(samples, sample_rate_hz=RATE_HZ, segment_samples=512)
    quiet = slice(60, 250)
    assert averaged[quiet].std() < 0.2 * once[quiet].std()
    assert averaged[40] == pytest.approx(
        np.hypot(0.1, averaged[quiet].mean()), rel=0.05
    )  # the line's power on the noise's


@pytest.mark.parametrize("frequency_hz", [12.0, 30.0, 159.2, 999.0])
def test_one_g_of_sine_reads_its_velocity_exactly(frequency_hz):
    """The Hann line is three lines wide and 1/f² curved: the share it adds falls with the square of the line."""
    velocity = velocity_rms_mm_s(tone(1.0, frequency_hz, 51_200), RATE_HZ)
    line = frequency_hz * 10
    exact = 9806.65 / np.sqrt(2) / (2 * np.pi * frequency_hz)
    assert velocity == pytest.approx(exact, rel=1.0 / line**2 + 1e-4)


def test_velocity_equals_the_loop_written_twin():
    samples = np.random.default_rng(10).normal(0.0, 1.0, 300)
    fast = velocity_rms_mm_s(samples, 2000.0, (10.0, 900.0))
    assert fast == pytest.approx(naive.velocity_rms_mm_s(samples, 2000.0, (10.0, 900.0)), rel=1e-9)


def test_velocity_of_the_integrated_waveform_agrees_with_parseval():
    rng = np.random.default_rng(11)
    samples = rng.normal(0.0, 0.1, 51_200) + tone(0.4, 50.0, 51_200)
    waveform = integrate_to_velocity(samples, sample_rate_hz=RATE_HZ)
    assert np.sqrt(np.mean(waveform**2)) == pytest.approx(velocity_rms_mm_s(samples, RATE_HZ), rel=0.02)


def test_offset_and_drift_below_10_hz_add_no_ski_slope():
    slow = 2.0 + 0.3 * np.sin(2 * np.pi * 0.4 * np.arange(20_480) / RATE_HZ)
    clean = velocity_rms_mm_s(tone(0.1, 100.0, 20_480), RATE_HZ)
    assert velocity_rms_mm_s(tone(0.1, 100.0, 20_480) + slow, RATE_HZ) == pytest.approx(clean, rel=0.01)


def test_window_shorter_than_one_period_of_the_band_is_refused_and_not_read_as_still():
    with pytest.raises(BandError, match=r"at least 0\.1 s"):
        velocity_rms_mm_s(np.ones(32), 1000.0)


def test_band_above_half_the_rate_is_refused():
    with pytest.raises(BandError, match="2000 to 1000 Hz"):
        velocity_rms_mm_s(np.ones(3200), 1000.0, (2000.0, 1000.0))


def test_velocity_spectrum_divides_by_omega_and_is_silent_below_its_edge():
    frequency_hz, amplitude = amplitude_spectrum(tone(1.0, 50.0) + tone(1.0, 5.0), sample_rate_hz=RATE_HZ)
    velocity = velocity_spectrum(frequency_hz, amplitude)
    assert velocity[50] == pytest.approx(9806.65 / (2 * np.pi * 50.0), rel=1e-6)
    assert velocity[5] == 0.0


@settings(max_examples=50, deadline=None)
@given(offset=st.floats(-0.5, 0.5), amplitude=st.floats(0.1, 10.0))
def test_peak_between_two_lines_is_read_at_its_own_frequency_and_height(offset, amplitude):
    frequency_hz, lines = amplitude_spectrum(tone(amplitude, 200.0 + offset), sample_rate_hz=RATE_HZ)
    found = find_peaks_table(frequency_hz, lines, count=1)[0]
    assert found.frequency_hz == pytest.approx(200.0 + offset, abs=2e-3)
    assert found.amplitude == pytest.approx(amplitude, rel=2e-3)


def test_peak_table_lists_the_largest_first_and_leaves_noise_out():
    samples = tone(0.2, 300.0) + tone(0.5, 1111.3) + np.random.default_rng(12).normal(0.0, 0.05, 5120)
    frequency_hz, amplitude = amplitude_spectrum(samples, sample_rate_hz=RATE_HZ)
    table = find_peaks_table(frequency_hz, amplitude, min_prominence=8.0)
    assert [round(found.frequency_hz) for found in table] == [1111, 300]
    assert all(found.prominence > 8.0 for found in table)
    flattop = find_peaks_table(
        *amplitude_spectrum(samples, sample_rate_hz=RATE_HZ, window="flattop"), count=2, window="flattop"
    )
    assert [round(found.frequency_hz) for found in flattop] == [1111, 300]


def test_noise_floor_passes_under_a_line():
    amplitude = np.ones(400)
    amplitude[200] = 50.0
    assert noise_floor(amplitude)[200] == 1.0


@pytest.mark.parametrize(
    ("samples", "rate_hz", "said"),
    [
        (np.zeros((2, 64)), 100.0, "one row"),
        (np.zeros(31), 100.0, "at least 32"),
        (np.full(64, np.inf), 100.0, "64 samples that are not finite"),
        (np.zeros(64), 0.0, "sample rate is 0.0"),
    ],
)
def test_window_that_cannot_be_transformed_says_why(samples, rate_hz, said):
    with pytest.raises(WindowError, match=said):
        amplitude_spectrum(samples, sample_rate_hz=rate_hz)


def test_segment_longer_than_the_window_is_refused():
    with pytest.raises(WindowError, match="8 to 64 expected"):
        averaged_spectrum(np.zeros(64), sample_rate_hz=100.0, segment_samples=65)
    with pytest.raises(WindowError, match="overlap is 1"):
        averaged_spectrum(np.zeros(64), sample_rate_hz=100.0, segment_samples=16, overlap=1.0)
    with pytest.raises(WindowError, match="one of hann"):
        make_window("kaiser", 64)  # type: ignore[arg-type]
    with pytest.raises(WindowError, match="at least 8"):
        make_window("hann", 7)
