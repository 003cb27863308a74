"""A broken sensor is told from a broken machine, and a good capture is left alone."""

import numpy as np
import pytest

from vibration.errors import WindowError
from vibration.quality import assess_quality, measure_baseline

RATE_HZ = 5120.0
SAMPLES = 5120 * 2


def noise(seed: int = 0, level: float = 3000.0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal((1, SAMPLES))).clip(-32767, 32767).astype(np.int16)


def verdict(raw: np.ndarray, **known: object) -> str:
    return assess_quality(raw, sample_rate_hz=RATE_HZ, **known).verdict  # type: ignore[arg-type]


def test_ordinary_vibration_is_ok():
    quality = assess_quality(noise(), sample_rate_hz=RATE_HZ)
    assert quality.ok
    assert quality.detail == ""


def test_samples_at_the_rails_of_the_number_format_are_not_clipping():
    """Recordings are often scaled so that their largest sample is 32767."""
    raw = noise()
    raw[0, [100, 4000]] = 32767
    raw[0, 2000] = -32767
    assert verdict(raw) == "ok"


@pytest.mark.parametrize("limit", [32767, 7000])
def test_flat_tops_are_clipping_wherever_they_are(limit):
    tone = 1.6 * limit * np.sin(2 * np.pi * 37.0 * np.arange(SAMPLES) / RATE_HZ)
    raw = np.clip(tone, -limit, limit).astype(np.int16)[None, :]
    quality = assess_quality(raw, sample_rate_hz=RATE_HZ)
    assert quality.verdict == "saturated"
    assert "flat tops" in quality.detail


def test_smooth_top_of_a_coarse_slow_sine_is_not_clipping():
    slow = np.round(50 * np.sin(2 * np.pi * 3.0 * np.arange(SAMPLES) / RATE_HZ)).astype(np.int16)[None, :]
    assert verdict(slow) == "ok"


def test_quiet_sensor_of_few_counts_is_ok():
    quiet = np.random.default_rng(1).integers(-2, 3, (1, SAMPLES)).astype(np.int16)
    assert verdict(quiet) == "ok"


def test_known_range_tells_an_overdriven_sensor_whose_top_is_not_flat():
    raw = np.random.default_rng(2).normal(0.0, 8000.0, (1, SAMPLES)).clip(-16000, 16000)
    raw += np.random.default_rng(3).normal(0.0, 3.0, raw.shape)
    assert verdict(raw) == "ok"
    assert verdict(raw, full_scale_counts=16000.0) == "saturated"


@pytest.mark.parametrize("value", [0, -7, 12345])
def test_constant_channel_is_stuck(value):
    raw = np.concatenate([noise(), np.full((1, SAMPLES), value, np.int16)])
    quality = assess_quality(raw, sample_rate_hz=RATE_HZ)
    assert quality.verdict == "stuck"
    assert quality.detail.startswith("channel 1")
    assert [channel.verdict for channel in quality.channels] == ["ok", "stuck"]


def test_channel_that_stops_moving_within_the_window_is_stuck():
    raw = noise()
    raw[0, 6000:] = raw[0, 6000]
    assert verdict(raw) == "stuck"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_sample_that_is_not_finite_is_never_ok_and_the_worst_of_all(value):
    raw = np.concatenate([noise().astype(float), np.zeros((1, SAMPLES))])
    raw[0, 17] = value
    quality = assess_quality(raw, sample_rate_hz=RATE_HZ)
    assert quality.verdict == "non_finite"
    assert "1 of 10240" in quality.detail


def test_settling_amplifier_is_a_ski_slope():
    settling = 20_000 * np.exp(-np.arange(SAMPLES) / 4000.0) + noise(level=100.0)
    assert verdict(settling) == "ski_slope"


def test_slow_machine_in_a_short_window_is_not_a_ski_slope():
    turning = np.sin(2 * np.pi * 1.5 * np.arange(1280) / RATE_HZ)[None, :]
    assert verdict(turning) == "ok"


@pytest.mark.parametrize("mains_hz", [50.0, 60.0])
def test_nothing_but_mains_is_hum_unless_the_machine_turns_at_it(mains_hz):
    time_s = np.arange(SAMPLES) / RATE_HZ
    hum = np.sin(2 * np.pi * mains_hz * time_s) + 0.3 * np.sin(2 * np.pi * 3 * mains_hz * time_s)
    raw = 5000.0 * hum[None, :] + noise(level=200.0)
    assert verdict(raw) == "mains_hum"
    assert verdict(raw, shaft_speed_hz=mains_hz) == "ok"
    assert verdict(raw + noise(seed=5)) == "ok"


def test_two_pole_motor_with_slip_is_not_hum():
    raw = 5000.0 * np.sin(2 * np.pi * 48.5 * np.arange(SAMPLES) / RATE_HZ)[None, :] + noise(level=200.0)
    assert verdict(raw) == "ok"


def test_sensor_that_lost_its_highs_and_rattles_is_loose():
    time_s = np.arange(SAMPLES) / RATE_HZ
    baseline = measure_baseline(noise())
    rattle = 12_000.0 * np.sin(2 * np.pi * 23.0 * time_s)[None, :] + noise(level=50.0)
    assert verdict(rattle) == "ok"
    assert verdict(rattle, baseline=baseline) == "loose"
    assert verdict(noise(seed=6), baseline=baseline) == "ok"


def test_machine_that_stopped_is_not_a_loose_sensor():
    assert verdict(noise(level=30.0), baseline=measure_baseline(noise())) == "ok"


def test_process_signal_may_stand_drift_and_sit_at_its_limit():
    pressure = np.minimum(np.arange(100.0), 60.0)[None, :]
    assert assess_quality(pressure, sample_rate_hz=1.0).ok
    assert assess_quality(np.ones((1, 100)), sample_rate_hz=1.0).verdict == "stuck"


@pytest.mark.parametrize("shape", [(100,), (0, 100), (2, 0), (1, 2, 3)])
def test_capture_without_channels_and_samples_is_refused(shape):
    with pytest.raises(WindowError):
        assess_quality(np.zeros(shape), sample_rate_hz=RATE_HZ)


def test_impossible_rate_or_baseline_is_refused():
    with pytest.raises(WindowError, match="rate"):
        assess_quality(noise(), sample_rate_hz=0.0)
    with pytest.raises(WindowError, match="2 channels, 1 expected"):
        assess_quality(noise(), sample_rate_hz=RATE_HZ, baseline=measure_baseline(noise()) * 2)
