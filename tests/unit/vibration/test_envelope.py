"""Envelope: impacts buried in noise are found by their resonance and read by their rhythm."""

import numpy as np
import pytest

from tests.support import naive
from vibration.envelope import (
    Band,
    band_lines,
    cepstrum_prewhiten,
    envelope,
    envelope_spectrum,
    kurtogram,
    select_band,
)
from vibration.errors import BandError
from vibration.indicators import kurtosis
from vibration.spectrum import find_peaks_table, noise_floor

RATE_HZ = 25600.0
RESONANCE_HZ = 4200.0


def impact_train(
    rate_hz: float, seed: int, *, seconds: float = 1.0, slip: float = 0.01, noise_g: float = 0.3
) -> np.ndarray:
    """Ring a resonance at a rate whose intervals vary as a random walk, under noise and a strong shaft line."""
    rng = np.random.default_rng(seed)
    samples = int(seconds * RATE_HZ)
    time_s = np.arange(samples) / RATE_HZ
    intervals = (1.0 + slip * rng.standard_normal(int(2 * seconds * rate_hz))) / rate_hz
    train = np.zeros(samples)
    for at_s in np.cumsum(intervals):
        since = time_s - at_s
        live = (since >= 0.0) & (since < 0.02)
        decay = np.exp(-0.04 * 2 * np.pi * RESONANCE_HZ * since[live])
        train[live] += decay * np.sin(2 * np.pi * RESONANCE_HZ * since[live])
    shaft = 2.0 * np.sin(2 * np.pi * 29.5 * time_s) + 0.8 * np.sin(2 * np.pi * 59.0 * time_s)
    return train + shaft + noise_g * rng.standard_normal(samples)


def prominence_at(frequency_hz: np.ndarray, amplitude: np.ndarray, wanted_hz: float) -> float:
    near = np.abs(frequency_hz - wanted_hz) <= 0.02 * wanted_hz
    return float((amplitude / noise_floor(amplitude))[near].max())


def test_envelope_of_a_modulated_tone_is_its_modulation():
    time_s = np.arange(25600) / RATE_HZ
    modulated = (1.0 + 0.4 * np.cos(2 * np.pi * 40.0 * time_s)) * np.sin(2 * np.pi * 5000.0 * time_s)
    curve, rate_hz = envelope(modulated, sample_rate_hz=RATE_HZ, band_hz=(4000.0, 6000.0))
    expected = 1.0 + 0.4 * np.cos(2 * np.pi * 40.0 * np.arange(curve.size) / rate_hz)
    assert curve.size / rate_hz == pytest.approx(1.0)
    np.testing.assert_allclose(curve, expected, atol=1e-9)


def test_envelope_equals_the_loop_written_twin():
    samples = np.random.default_rng(20).normal(0.0, 1.0, 200)
    curve, _ = envelope(samples, sample_rate_hz=200.0, band_hz=(20.0, 60.0))
    first, last = band_lines(200, 200.0, (20.0, 60.0))
    slow = naive.envelope(samples, first, last - first)
    assert curve.size == 2 * len(slow)
    np.testing.assert_allclose(curve[::2], slow, rtol=1e-9)


@pytest.mark.parametrize("squared", [False, True])
def test_modulation_reads_its_rate_and_depth_in_the_envelope_spectrum(squared):
    time_s = np.arange(25600) / RATE_HZ
    modulated = (1.0 + 0.4 * np.cos(2 * np.pi * 40.0 * time_s)) * np.sin(2 * np.pi * 5000.0 * time_s)
    frequency_hz, amplitude = envelope_spectrum(
        modulated, sample_rate_hz=RATE_HZ, band_hz=(4000.0, 6000.0), squared=squared
    )
    top = int(amplitude.argmax())
    assert frequency_hz[top] == pytest.approx(40.0)
    assert amplitude[top] == pytest.approx(0.8 if squared else 0.4, rel=1e-6)
    assert frequency_hz[-1] <= 2000.0


@pytest.mark.parametrize("seed", range(5))
def test_kurtogram_picks_the_resonance_that_impacts_ring(seed):
    band = select_band(impact_train(105.8, seed), RATE_HZ)
    assert band.low_hz < RESONANCE_HZ < band.high_hz
    assert band.spectral_kurtosis > 0.5


@pytest.mark.parametrize("seed", range(5))
def test_impacts_with_slip_show_their_rate_in_the_chosen_band(seed):
    samples = impact_train(105.8, seed)
    band = select_band(samples, RATE_HZ)
    frequency_hz, amplitude = envelope_spectrum(samples, sample_rate_hz=RATE_HZ, band_hz=band.edges_hz)
    assert prominence_at(frequency_hz, amplitude, 105.8) > 8.0
    assert prominence_at(frequency_hz, amplitude, 211.6) > 4.0
    assert prominence_at(frequency_hz, amplitude, 105.8 * 1.27) < 5.0


def test_single_shock_does_not_draw_the_band_away_from_repeated_impacts():
    """One blow on the housing has a far higher kurtosis than a damaged race."""
    samples = impact_train(105.8, 7)
    since_s = np.arange(4000) / RATE_HZ
    samples[9000:13000] += 30.0 * np.exp(-900.0 * since_s) * np.sin(2 * np.pi * 9500.0 * since_s)
    band = select_band(samples, RATE_HZ)
    assert band.low_hz < RESONANCE_HZ < band.high_hz


def test_logarithmic_envelope_reads_the_rhythm_beside_a_single_shock():
    samples = impact_train(105.8, 7)
    since_s = np.arange(4000) / RATE_HZ
    samples[9000:13000] += 30.0 * np.exp(-900.0 * since_s) * np.sin(2 * np.pi * RESONANCE_HZ * since_s)
    prominences = []
    for option in ({"squared": True}, {"logarithmic": True}):
        frequency_hz, amplitude = envelope_spectrum(samples, sample_rate_hz=RATE_HZ, band_hz=(3200.0, 5200.0), **option)
        prominences.append(prominence_at(frequency_hz, amplitude, 105.8))
    assert prominences[0] < 4.0
    assert prominences[1] > 9.0


def test_ends_that_do_not_meet_do_not_win_the_kurtogram():
    """The transform takes the window as periodic; a shaft line cut off anywhere leaves a step between its ends."""
    time_s = np.arange(25600) / RATE_HZ
    samples = 5.0 * np.sin(2 * np.pi * 29.75 * time_s) + 0.1 * np.random.default_rng(24).normal(size=25600)
    assert select_band(samples, RATE_HZ).spectral_kurtosis < 0.5


def test_known_fault_rate_wins_over_louder_impacts_of_something_else():
    samples = impact_train(105.8, 8, noise_g=0.2)
    blows = np.cumsum(np.random.default_rng(30).integers(900, 2500, 14)).tolist()
    for at in blows:  # about 15 irregular blows a second at 10 kHz: a valve, say
        since_s = np.arange(400) / RATE_HZ
        samples[at : at + 400] += 6.0 * np.exp(-2500.0 * since_s) * np.sin(2 * np.pi * 10500.0 * since_s)
    blind = select_band(samples, RATE_HZ)
    assert blind.low_hz > RESONANCE_HZ
    targeted = select_band(samples, RATE_HZ, fault_frequencies_hz=(105.8, 159.8))
    assert targeted.low_hz < RESONANCE_HZ < targeted.high_hz


def test_kurtogram_of_gaussian_noise_holds_no_impulsive_band():
    noise = np.random.default_rng(21).normal(0.0, 1.0, 25600)
    bands = kurtogram(noise, sample_rate_hz=RATE_HZ)
    assert len(bands) > 50
    assert all(abs(band.spectral_kurtosis) < 1.0 for band in bands)
    assert all(0.0 < band.low_hz < band.high_hz <= RATE_HZ / 2 for band in bands)


def test_band_of_any_choice_can_be_demodulated():
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(0.0, 1.0, 6000)
        for band in kurtogram(noise, sample_rate_hz=12000.0):
            envelope(noise, sample_rate_hz=12000.0, band_hz=band.edges_hz)


def test_window_too_short_for_a_kurtogram_gets_the_broad_band():
    assert select_band(np.random.default_rng(22).normal(size=50), 200.0) == Band(15.0, 90.0, 0.0)


def test_steady_lines_are_not_impulsive():
    time_s = np.arange(25600) / RATE_HZ
    lines = np.sin(2 * np.pi * 3000.0 * time_s) + 1e-3 * np.random.default_rng(23).normal(size=25600)
    by_kurtosis = min(kurtogram(lines, sample_rate_hz=RATE_HZ), key=lambda band: band.spectral_kurtosis)
    assert by_kurtosis.spectral_kurtosis == pytest.approx(-1.0, abs=0.01)
    assert by_kurtosis.low_hz <= 3000.0 < by_kurtosis.high_hz


def test_prewhitening_brings_out_impacts_under_dominant_lines():
    samples = impact_train(80.0, 9, noise_g=0.1)
    white = cepstrum_prewhiten(samples)
    assert kurtosis(white) > kurtosis(samples) + 1.0
    assert np.sqrt(np.mean(white**2)) == pytest.approx(samples.std(), rel=1e-6)


def test_prewhitening_a_constant_gives_silence():
    np.testing.assert_array_equal(cepstrum_prewhiten(np.full(64, 2.0)), np.zeros(64))


@pytest.mark.parametrize(
    ("band_hz", "said"),
    [
        ((5000.0, 4000.0), "rising order"),
        ((0.0, 4000.0), "above 0"),
        ((4000.0, 12801.0), "12800 Hz"),
        ((4000.0, 4003.0), "holds 3 lines"),
    ],
)
def test_impossible_band_is_refused_with_the_reason(band_hz, said):
    with pytest.raises(BandError, match=said):
        envelope(np.zeros(25600), sample_rate_hz=RATE_HZ, band_hz=band_hz)


def test_peak_table_of_an_envelope_spectrum_begins_with_the_fault():
    samples = impact_train(105.8, 3, slip=0.005)
    frequency_hz, amplitude = envelope_spectrum(samples, sample_rate_hz=RATE_HZ, band_hz=(3000.0, 5500.0))
    assert find_peaks_table(frequency_hz, amplitude)[0].frequency_hz == pytest.approx(105.8, rel=0.01)
