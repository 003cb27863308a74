"""The feature vector: right in every number, at every rate and length, whatever comes in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import naive
from vibration.errors import BandError, WindowError
from vibration.features import (
    BAND_COUNT,
    BANDS,
    ENVELOPE_BAND_COUNT,
    ENVELOPE_BANDS,
    FEATURE_NAMES,
    FEATURE_UNITS,
    MODEL_FEATURES,
    STATISTICS,
    WIDE_BAND_EDGES_HZ,
    WIDE_BANDS,
    FeatureKernel,
    band_edges_hz,
    default_envelope_band_hz,
    envelope_band_edges_hz,
)

ONE = np.ones(1)


def index(name: str) -> int:
    return FEATURE_NAMES.index(name)


def sine(amplitude: float, frequency_hz: float, sample_rate_hz: float, samples: int) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(samples) / sample_rate_hz + 0.3)


def features_of(samples_g: np.ndarray, sample_rate_hz: float) -> np.ndarray:
    kernel = FeatureKernel(sample_rate_hz=sample_rate_hz, samples=samples_g.size, channels=1)
    return kernel.run([samples_g[None, :]], ONE)[0, 0]


def test_names_units_and_groups_describe_one_vector_that_ends_in_the_models_48():
    assert len(FEATURE_NAMES) == len(FEATURE_UNITS) == len(set(FEATURE_NAMES)) == 12 + 32 + 16
    assert FEATURE_NAMES[STATISTICS][0] == "velocity_rms_mm_s"
    assert len(FEATURE_NAMES[BANDS]) == BAND_COUNT == 32
    assert len(FEATURE_NAMES[ENVELOPE_BANDS]) == ENVELOPE_BAND_COUNT == 16
    assert FEATURE_NAMES[MODEL_FEATURES] == FEATURE_NAMES[-48:]


@pytest.mark.parametrize(
    ("sample_rate_hz", "samples"),
    [(25600.0, 256), (12000.0, 301), (200.0, 50), (48000.0, 128), (20000.0, 32), (1.0, 60), (48000.0, 33)],
)
def test_every_feature_equals_the_loop_written_twin(sample_rate_hz, samples):
    """float32 against float64: the tolerance is a few rounding errors of the largest line."""
    rng = np.random.default_rng(samples)
    capture = rng.normal(0.0, 0.5, (3, samples)) * (1.0 + np.sin(np.arange(samples) / 9.0))
    capture += sine(1.0, 0.11 * sample_rate_hz, sample_rate_hz, samples) + 0.7
    kernel = FeatureKernel(sample_rate_hz=sample_rate_hz, samples=samples, channels=3)
    fast = kernel.run([capture], np.ones(3))[0]
    line_hz = sample_rate_hz / samples
    first = round(kernel.envelope_band_hz[0] / line_hz)
    for channel in range(3):
        slow = naive.feature_vector(
            capture[channel],
            sample_rate_hz=sample_rate_hz,
            velocity_band_hz=kernel.velocity_band_hz,
            slow_velocity_band_hz=kernel.slow_velocity_band_hz,
            wide_band_edges_hz=WIDE_BAND_EDGES_HZ,
            band_edges_hz=np.clip(kernel.band_edges_hz, None, (samples // 2 - 0.5) * line_hz),
            first_line=first,
            points=round(kernel.envelope_band_hz[1] / line_hz) - first,
            envelope_band_edges_hz=kernel.envelope_band_edges_hz,
        )
        np.testing.assert_allclose(fast[channel], slow, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("frequency_hz", [24.7, 100.0, 333.3, 900.0])
def test_sine_of_known_acceleration_reads_its_velocity(frequency_hz):
    features = features_of(sine(0.5, frequency_hz, 25600.0, 25600), 25600.0)
    exact = 9806.65 * 0.5 / np.sqrt(2) / (2 * np.pi * frequency_hz)
    # The Hann line is three lines wide and 1/f² is curved: 0.2 % at line 24, nothing above.
    assert features[index("velocity_rms_mm_s")] == pytest.approx(exact, rel=3e-3)
    assert features[index("acceleration_rms_g")] == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)
    assert features[index("peak_g")] == pytest.approx(0.5, rel=1e-2)  # a broken cycle has a mean
    assert features[index("kurtosis")] == pytest.approx(1.5, rel=1e-2)


def test_velocity_ignores_what_lies_outside_10_to_1000_hz():
    loud_outside = sine(5.0, 3000.0, 25600.0, 25600) + sine(0.05, 2.0, 25600.0, 25600)
    inside = sine(0.1, 50.0, 25600.0, 25600)
    quiet = features_of(inside, 25600.0)[0]
    assert features_of(inside + loud_outside, 25600.0)[0] == pytest.approx(quiet, rel=1e-3)


def test_velocity_of_a_slow_machine_counts_from_2_hz_on():
    """1x of 300 rpm lies at 5 Hz: from 10 Hz on, the worst imbalance would read as a good machine."""
    rate_hz, samples = 2560.0, 10_240
    features = features_of(sine(0.02, 5.0, rate_hz, samples) + sine(0.5, 0.5, rate_hz, samples), rate_hz)
    exact = 9806.65 * 0.02 / np.sqrt(2) / (2 * np.pi * 5.0)
    # 1/f² is curved over the three Hann lines: 0.4 % at line 20.
    assert features[index("velocity_from_2_hz_rms_mm_s")] == pytest.approx(exact, rel=6e-3)
    assert features[index("velocity_rms_mm_s")] < 0.02 * exact


def test_window_too_short_for_2_hz_says_from_where_on_its_velocity_counts():
    kernel = FeatureKernel(sample_rate_hz=25_600.0, samples=8192, channels=1)
    assert kernel.slow_velocity_band_hz == (3.125, 1000.0)
    assert kernel.velocity_band_hz == (10.0, 1000.0)


def test_band_rms_is_of_its_own_band_and_the_bands_add_up():
    tones = {0: (0.3, 700.0), 1: (0.2, 3000.0), 2: (0.1, 9000.0)}
    together = np.zeros(25_600)
    for band, (height_g, frequency_hz) in tones.items():
        tone = sine(height_g, frequency_hz, 25_600.0, 25_600)
        together += tone
        alone = features_of(tone, 25_600.0)[WIDE_BANDS]
        assert alone[band] == pytest.approx(height_g / np.sqrt(2), rel=1e-3)
        assert np.delete(alone, band).max() < 1e-3 * alone[band]
    features = features_of(together, 25_600.0)
    assert np.sqrt((features[WIDE_BANDS] ** 2).sum()) == pytest.approx(features[index("acceleration_rms_g")], rel=1e-3)


def test_band_that_the_rate_does_not_reach_is_zero():
    assert features_of(np.random.default_rng(6).normal(0.0, 1.0, 512), 2000.0)[WIDE_BANDS][1:].tolist() == [0.0, 0.0]


def test_band_powers_add_up_to_the_mean_square_of_a_steady_signal():
    """Parseval: nothing is counted twice at an edge, nothing is lost between two bands."""
    samples = sine(0.3, 60.0, 20000.0, 5000) + sine(0.2, 777.0, 20000.0, 5000) + sine(0.1, 7013.0, 20000.0, 5000)
    bands = 10.0 ** features_of(samples, 20000.0)[BANDS]
    assert bands.sum() == pytest.approx((0.3**2 + 0.2**2 + 0.1**2) / 2, rel=1e-3)


def test_line_lands_in_the_band_whose_edges_hold_it():
    edges = band_edges_hz(25600.0, 6400)
    assert len(edges) == BAND_COUNT + 1
    assert edges[0] == pytest.approx(4.0)
    assert edges[-1] == pytest.approx(12800.0)
    frequency_hz = np.sqrt(edges[20] * edges[21])
    bands = features_of(sine(1.0, frequency_hz, 25600.0, 6400), 25600.0)[BANDS]
    assert bands.argmax() == 20


def test_amplitude_modulated_tone_shows_in_the_envelope_band_of_its_rhythm():
    sample_rate_hz, samples = 25600.0, 25600
    time_s = np.arange(samples) / sample_rate_hz
    modulated = (1.0 + 0.5 * np.cos(2 * np.pi * 87.0 * time_s)) * np.sin(2 * np.pi * 4300.0 * time_s)
    features = features_of(modulated, sample_rate_hz)
    edges = envelope_band_edges_hz(sample_rate_hz, samples)
    band = int(np.searchsorted(edges, 87.0)) - 1
    assert features[ENVELOPE_BANDS].argmax() == band
    assert 10.0 ** features[ENVELOPE_BANDS][band] == pytest.approx(0.5**2 / 2, rel=0.01)
    assert features[index("envelope_rms_g")] == pytest.approx(0.5 / np.sqrt(2), rel=0.01)
    assert features[index("envelope_peak_g")] == pytest.approx(1.5, rel=0.01)


@settings(max_examples=40, deadline=None)
@given(gain=st.floats(0.2, 50.0), seed=st.integers(0, 1000))
def test_gain_moves_levels_and_leaves_shapes(gain, seed):
    samples = np.random.default_rng(seed).normal(0.0, 1.0, 500)
    once, scaled = features_of(samples, 2000.0), features_of(gain * samples, 2000.0)
    for name in ("velocity_rms_mm_s", "acceleration_rms_g", "peak_g", "envelope_rms_g", "envelope_peak_g"):
        assert scaled[index(name)] == pytest.approx(gain * once[index(name)], rel=1e-3)
    for name in ("crest_factor", "kurtosis", "skewness"):
        assert scaled[index(name)] == pytest.approx(once[index(name)], rel=1e-3, abs=1e-4)
    moved = scaled[MODEL_FEATURES] - once[MODEL_FEATURES]
    np.testing.assert_allclose(moved, 2 * np.log10(gain), atol=5e-3)


@settings(max_examples=60, deadline=None)
@given(
    sample_rate_hz=st.floats(0.5, 200_000.0),
    samples=st.integers(32, 700),
    level=st.sampled_from([0.0, 1e-9, 1.0, 1000.0]),
)
def test_any_rate_and_length_gives_finite_features(sample_rate_hz, samples, level):
    capture = level * np.random.default_rng(samples).normal(0.0, 1.0, (2, samples)) + 3.0
    kernel = FeatureKernel(sample_rate_hz=sample_rate_hz, samples=samples, channels=2)
    assert np.isfinite(kernel.run([capture], np.ones(2))).all()
    assert (np.diff(kernel.band_edges_hz) > 0).all()
    assert (np.diff(kernel.envelope_band_edges_hz) > 0).all()


def test_no_band_is_empty_in_a_quarter_second_at_200_hz():
    features = features_of(np.random.default_rng(1).normal(0.0, 0.01, 50), 200.0)
    assert (features[MODEL_FEATURES] > -11.9).all()


def test_constant_channel_gives_zero_statistics_and_floor_powers_and_spares_its_neighbour():
    capture = np.stack([np.full(2048, 12345, np.int16), np.arange(2048, dtype=np.int16) % 97])
    kernel = FeatureKernel(sample_rate_hz=10000.0, samples=2048, channels=2)
    dead, alive = kernel.run([capture], np.array([0.001, 0.001]))[0]
    np.testing.assert_allclose(dead[STATISTICS], 0.0, atol=1e-5)
    np.testing.assert_allclose(dead[MODEL_FEATURES], -12.0, atol=0.5)
    assert alive[index("acceleration_rms_g")] > 0.02


def test_sample_that_is_not_finite_makes_its_channel_nan_and_no_other():
    capture = np.random.default_rng(2).normal(0.0, 1.0, (2, 512))
    capture[0, 100] = np.nan
    bad, good = FeatureKernel(sample_rate_hz=5000.0, samples=512, channels=2).run([capture], np.ones(2))[0]
    assert np.isnan(bad).all()
    assert np.isfinite(good).all()


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 20])
def test_blocks_give_what_single_captures_give(count):
    rng = np.random.default_rng(3)
    captures = [rng.integers(-3000, 3000, (3, 1024)).astype(np.int16) for _ in range(count)]
    scale_g = np.array([0.001, 0.002, 0.0005])
    kernel = FeatureKernel(sample_rate_hz=12000.0, samples=1024, channels=3, block=8)
    together = kernel.run(captures, scale_g)
    assert together.shape == (count, 3, len(FEATURE_NAMES))
    assert together.dtype == np.float32
    for number, capture in enumerate(captures):
        alone = kernel.run([capture], scale_g)[0]
        np.testing.assert_allclose(together[number], alone, rtol=1e-4, atol=1e-4)


def test_each_capture_may_have_its_own_scale():
    capture = np.random.default_rng(4).integers(-3000, 3000, (1, 256)).astype(np.int16)
    kernel = FeatureKernel(sample_rate_hz=2000.0, samples=256, channels=1)
    features = kernel.run([capture, capture], np.array([[0.001], [0.002]]))
    assert features[1, 0, 1] == pytest.approx(2 * features[0, 0, 1])


def test_counts_and_grams_give_the_same_features():
    counts = np.random.default_rng(5).integers(-3000, 3000, (1, 512)).astype(np.int16)
    kernel = FeatureKernel(sample_rate_hz=2000.0, samples=512, channels=1)
    from_counts = kernel.run([counts], np.array([0.001]))
    from_g = kernel.run([counts * 0.001], ONE)
    np.testing.assert_allclose(from_counts, from_g, rtol=1e-4, atol=1e-4)


def test_default_envelope_band_is_2_to_10_khz_where_the_rate_allows_it():
    assert default_envelope_band_hz(48000.0, 12000) == (2000.0, 10000.0)
    assert default_envelope_band_hz(12000.0, 3000) == pytest.approx((900.0, 5400.0))
    assert default_envelope_band_hz(200.0, 50) == pytest.approx((15.0, 90.0))


def test_capture_of_another_shape_is_refused_with_both_shapes():
    kernel = FeatureKernel(sample_rate_hz=2000.0, samples=256, channels=3)
    with pytest.raises(WindowError, match=r"\(3, 255\).*\(3, 256\) expected"):
        kernel.run([np.zeros((3, 255))], np.ones(3))
    with pytest.raises(WindowError, match=r"scale has shape \(2,\)"):
        kernel.run([np.zeros((3, 256))], np.ones(2))


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 31},
        {"sample_rate_hz": 0.0},
        {"sample_rate_hz": float("nan")},
        {"channels": 0},
        {"block": 0},
    ],
)
def test_impossible_kernel_is_refused(wrong):
    with pytest.raises(WindowError):
        FeatureKernel(**({"sample_rate_hz": 1000.0, "samples": 64, "channels": 1} | wrong))


def test_envelope_band_above_half_the_rate_is_refused():
    with pytest.raises(BandError, match="6000 Hz"):
        FeatureKernel(sample_rate_hz=12000.0, samples=4096, channels=1, envelope_band_hz=(2000.0, 7000.0))
