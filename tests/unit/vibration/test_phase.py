"""Phase between axes: right on signals whose motion is known, silent where nothing moves together."""

import numpy as np
import pytest

from vibration.errors import SpeedError, WindowError
from vibration.phase import CrossPhase, cross_phases

RATE_HZ, SAMPLES, SHAFT_HZ = 12_800.0, 16_384, 24.67


def axes_of(*lines: tuple[float, tuple[complex, ...]], noise_g: float = 0.02, seed: int = 1) -> np.ndarray:
    """Lines (order, complex amplitude of each axis) over noise that each axis has of its own."""
    time_s = np.arange(SAMPLES) / RATE_HZ
    chance = np.random.default_rng(seed)
    axes = chance.normal(0.0, noise_g, (len(lines[0][1]), SAMPLES))
    for order, heights in lines:
        turning = np.exp(1j * (2 * np.pi * order * SHAFT_HZ * time_s + 0.7))
        axes += np.real(np.outer(heights, turning))
    return axes


def read(axes: np.ndarray, **more: float) -> dict[tuple[int, int, float], CrossPhase]:
    given = {"sample_rate_hz": RATE_HZ, "shaft_hz": SHAFT_HZ} | more
    return {(one.first, one.second, one.order): one for one in cross_phases(axes, **given)}


@pytest.mark.parametrize("angle_deg", [-170.0, -90.0, -35.0, 0.0, 20.0, 90.0, 179.0])
def test_angle_between_two_axes_is_read_with_the_second_leading_above_zero(angle_deg: float) -> None:
    turned = 0.2 * np.exp(1j * np.radians(angle_deg))
    found = read(axes_of((1.0, (0.3, turned))))[0, 1, 1.0]
    assert (found.phase_deg - angle_deg + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=2.0)
    assert found.coherence > 0.95
    assert found.uncertainty_deg < 5.0
    assert (found.first_g, found.second_g) == (pytest.approx(0.3, rel=0.02), pytest.approx(0.2, rel=0.02))


def test_rotating_force_turns_and_a_loose_foot_moves_on_a_line() -> None:
    imbalance = read(axes_of((1.0, (0.3, -0.25j, 0.04))))
    assert imbalance[0, 1, 1.0].motion == "turning"
    loose = read(axes_of((1.0, (0.1, -0.3, 0.1)), (2.0, (0.05, -0.2, 0.05))))
    assert {found.motion for found in loose.values()} == {"line"}


def test_orders_are_told_apart() -> None:
    found = read(axes_of((1.0, (0.3, 0.3j)), (2.0, (0.2, -0.2))))
    assert (found[0, 1, 1.0].motion, found[0, 1, 2.0].motion) == ("turning", "line")
    assert found[0, 1, 1.0].phase_deg == pytest.approx(90.0, abs=2.0)


def test_speed_that_is_half_a_percent_wrong_does_not_move_the_angle() -> None:
    found = read(axes_of((1.0, (0.3, 0.3j))), shaft_hz=SHAFT_HZ * 1.005)[0, 1, 1.0]
    assert found.phase_deg == pytest.approx(90.0, abs=2.0)
    assert found.coherence > 0.95


def test_noise_of_two_axes_is_unclear_and_an_axis_that_hardly_moves_too() -> None:
    unclear = [read(axes_of((1.0, (0.0, 0.0)), seed=seed))[0, 1, 1.0].motion for seed in range(20)]
    assert unclear.count("unclear") >= 19
    assert read(axes_of((1.0, (0.5, 0.01)), noise_g=0.0001))[0, 1, 1.0].motion == "unclear"


def test_uncertainty_is_how_far_the_angle_scatters() -> None:
    found = [read(axes_of((1.0, (0.02, 0.02j)), noise_g=0.15, seed=seed))[0, 1, 1.0] for seed in range(60)]
    scatter_deg = np.std([one.phase_deg for one in found])
    assert 0.5 * scatter_deg < np.median([one.uncertainty_deg for one in found]) < 2.0 * scatter_deg


def test_order_beyond_the_sample_rate_is_left_out() -> None:
    assert {order for _, _, order in read(axes_of((1.0, (0.3, 0.3))), shaft_hz=3000.0)} == {1.0}


def test_too_few_turns_and_impossible_input_are_refused_in_words() -> None:
    axes = axes_of((1.0, (0.3, 0.3)))
    with pytest.raises(WindowError, match=r"6\.4 turns of the shaft, at least 20 expected"):
        cross_phases(axes, sample_rate_hz=RATE_HZ, shaft_hz=5.0)
    with pytest.raises(SpeedError):
        cross_phases(axes, sample_rate_hz=RATE_HZ, shaft_hz=0.0)
    with pytest.raises(WindowError, match="two or more rows"):
        cross_phases(axes[:1], sample_rate_hz=RATE_HZ, shaft_hz=SHAFT_HZ)
