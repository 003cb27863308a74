"""Over angle, lines stay where theory puts them whatever the shaft does."""

import numpy as np
import pytest

from vibration.errors import SpeedError, WindowError
from vibration.order_tracking import order_spectrum, resample_to_angle
from vibration.spectrum import amplitude_spectrum

RATE_HZ = 5120.0
TIME_S = np.arange(20_480) / RATE_HZ


def test_run_up_smears_the_spectrum_and_not_the_order_spectrum():
    speed_hz = 20.0 + 5.0 * TIME_S
    phase = 2 * np.pi * np.cumsum(speed_hz) / RATE_HZ
    samples = np.sin(3.585 * phase)
    orders, amplitude = order_spectrum(samples, sample_rate_hz=RATE_HZ, shaft_speed_hz=speed_hz)
    top = int(amplitude.argmax())
    assert orders[top] == pytest.approx(3.585, abs=0.02)
    assert amplitude[top] > 0.8
    assert amplitude_spectrum(samples, sample_rate_hz=RATE_HZ)[1].max() < 0.3


def test_steady_shaft_has_its_lines_at_whole_orders():
    orders, amplitude = order_spectrum(np.sin(2 * np.pi * 25.0 * TIME_S), sample_rate_hz=RATE_HZ, shaft_speed_hz=25.0)
    assert orders[amplitude.argmax()] == pytest.approx(1.0, abs=0.01)
    over_angle, per_turn = resample_to_angle(
        np.sin(2 * np.pi * 25.0 * TIME_S), sample_rate_hz=RATE_HZ, shaft_speed_hz=25.0, samples_per_turn=64
    )
    assert per_turn == 64
    np.testing.assert_allclose(over_angle, np.sin(2 * np.pi * np.arange(over_angle.size) / 64), atol=1e-3)


@pytest.mark.parametrize("speed", [0.0, -1.0, np.nan, np.ones(7), np.linspace(-1.0, 30.0, 20_480)])
def test_speed_that_no_shaft_has_is_refused(speed):
    with pytest.raises(SpeedError):
        resample_to_angle(TIME_S, sample_rate_hz=RATE_HZ, shaft_speed_hz=speed)


def test_less_than_one_turn_is_refused():
    with pytest.raises(WindowError, match=r"0\.40 turns"):
        resample_to_angle(TIME_S, sample_rate_hz=RATE_HZ, shaft_speed_hz=0.1)
