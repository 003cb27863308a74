"""Each fault shows where the theory of rotating machines puts it."""

from typing import Any

import numpy as np
import pytest

from sensor_sim.impacts import impact_order
from tests.support.machine_scenarios import RPM, felt, one_machine
from vibration.bearing_library import lookup_bearing
from vibration.envelope import envelope_spectrum
from vibration.spectrum import amplitude_spectrum

FS_HZ = 25_600.0
SHAFT_HZ = RPM / 60.0
ORDERS = lookup_bearing("6205").orders
H, V, A = 0, 1, 2


def line(signal: Any, frequency_hz: float, reach_hz: float = 0.8) -> float:
    """Peak amplitude near a frequency, in g."""
    at_hz, amplitude = amplitude_spectrum(signal, sample_rate_hz=FS_HZ)
    return float(amplitude[np.abs(at_hz - frequency_hz) <= reach_hz].max())


def envelope_of(signal: Any) -> tuple[Any, Any]:
    return envelope_spectrum(signal, sample_rate_hz=FS_HZ, band_hz=(2000.0, 6500.0))


def strongest_hz(at_hz: Any, amplitude: Any, low_hz: float, high_hz: float) -> float:
    inside = (at_hz >= low_hz) & (at_hz <= high_hz)
    return float(at_hz[inside][np.argmax(amplitude[inside])])


def over_floor(at_hz: Any, amplitude: Any, frequency_hz: float, reach_hz: float = 1.2) -> float:
    near = np.abs(at_hz - frequency_hz) <= reach_hz
    around = np.abs(at_hz - frequency_hz) <= 30.0
    return float(amplitude[near].max() / np.median(amplitude[around]))


def test_outer_race_shows_at_bpfo_moved_down_by_the_cage_slip():
    signal = felt(one_machine(faults=({"kind": "outer", "slip": 0.015, "jitter": 0.005},)))[V]
    at_hz, amplitude = envelope_of(signal)
    theory_hz = ORDERS.bpfo * SHAFT_HZ
    found_hz = strongest_hz(at_hz, amplitude, 0.9 * theory_hz, 1.1 * theory_hz)
    assert found_hz / theory_hz - 1.0 == pytest.approx(-0.015, abs=0.005)  # one line is 0.44 %
    assert over_floor(at_hz, amplitude, found_hz) > 20.0


def test_outer_race_has_no_sidebands_at_shaft_speed():
    signal = felt(one_machine(faults=({"kind": "outer", "jitter": 0.005},)))[V]
    at_hz, amplitude = envelope_of(signal)
    bpfo_hz = ORDERS.bpfo * 0.99 * SHAFT_HZ
    assert line_at(at_hz, amplitude, bpfo_hz + SHAFT_HZ) < 0.15 * line_at(at_hz, amplitude, bpfo_hz)


def test_inner_race_shows_at_bpfi_with_sidebands_at_shaft_speed():
    signal = felt(one_machine(faults=({"kind": "inner", "slip": 0.01, "jitter": 0.005},)))[V]
    at_hz, amplitude = envelope_of(signal)
    bpfi_hz = impact_order("inner", ORDERS, 0.01) * SHAFT_HZ
    assert over_floor(at_hz, amplitude, bpfi_hz) > 10.0
    for side in (-1, 1):
        assert over_floor(at_hz, amplitude, bpfi_hz + side * SHAFT_HZ) > 8.0
    assert over_floor(at_hz, amplitude, SHAFT_HZ) > 8.0  # the load zone itself


def test_slip_moves_the_inner_race_up_and_the_outer_race_down_so_that_their_sum_stays_the_number_of_balls():
    total = impact_order("inner", ORDERS, 0.02) + impact_order("outer", ORDERS, 0.02)
    assert total == pytest.approx(9.0)
    assert impact_order("inner", ORDERS, 0.02) > ORDERS.bpfi


def test_ball_shows_at_twice_the_spin_frequency_with_cage_sidebands():
    signal = felt(one_machine(faults=({"kind": "ball", "slip": 0.01, "jitter": 0.003},)))[V]
    at_hz, amplitude = envelope_of(signal)
    strike_hz = 2.0 * ORDERS.bsf * 0.99 * SHAFT_HZ
    cage_hz = ORDERS.ftf * 0.99 * SHAFT_HZ
    assert over_floor(at_hz, amplitude, strike_hz) > 8.0
    for side in (-1, 1):
        assert over_floor(at_hz, amplitude, strike_hz + side * cage_hz) > 5.0


def test_cage_shows_at_the_train_frequency():
    scenario = one_machine(faults=({"kind": "cage", "slip": 0.01, "jitter": 0.005},), point={"samples": 131_072})
    at_hz, amplitude = envelope_of(felt(scenario)[V])
    cage_hz = ORDERS.ftf * 0.99 * SHAFT_HZ
    for harmonic in (1, 2, 3):
        assert over_floor(at_hz, amplitude, harmonic * cage_hz, 0.6) > 4.0


def test_imbalance_is_radial_and_a_quarter_turn_apart_at_1x():
    signal = felt(one_machine(faults=({"kind": "imbalance"},)))
    assert line(signal[A], SHAFT_HZ) < 0.2 * line(signal[H], SHAFT_HZ)
    spectrum = np.fft.rfft(signal[:2] * np.hanning(signal.shape[1]), axis=1)
    at_1x = round(SHAFT_HZ * signal.shape[1] / FS_HZ)
    turn_deg = np.degrees(np.angle(spectrum[0, at_1x] / spectrum[1, at_1x]))
    assert abs(turn_deg) == pytest.approx(90.0, abs=12.0)  # looking a little aside: some 1x is misalignment's


def test_imbalance_grows_with_the_square_of_speed():
    faults = ({"kind": "imbalance"},)
    shaft = {"misalignment_mm_s": 0.0}
    slow = one_machine(faults=faults, shaft=shaft, speed={"kind": "constant", "value": 750.0})
    fast = one_machine(faults=faults, shaft=shaft, speed={"kind": "constant", "value": 1500.0})
    assert line(felt(fast)[H], 25.0) / line(felt(slow)[H], 12.5) == pytest.approx(4.0, rel=0.02)


def test_misalignment_shows_at_2x_and_axially():
    sound, bent = felt(one_machine()), felt(one_machine(faults=({"kind": "misalignment"},)))
    two_x = 2.0 * SHAFT_HZ
    assert line(bent[H], two_x) > 10.0 * line(sound[H], two_x)
    assert line(bent[H], two_x) > 2.0 * line(bent[H], SHAFT_HZ)
    assert line(bent[A], two_x) > 0.5 * line(bent[H], two_x)


def test_looseness_shows_harmonics_subharmonics_and_a_truncated_waveform():
    sound, loose = felt(one_machine()), felt(one_machine(faults=({"kind": "looseness"},)))
    for order in (0.5, 1.5, 3.0, 4.0, 6.0, 8.0, 10.0):
        assert line(loose[V], order * SHAFT_HZ) > 5.0 * line(sound[V], order * SHAFT_HZ), order
    assert loose[V].max() < 0.75 * -loose[V].min()


def test_gear_wear_shows_sidebands_of_the_mesh_at_shaft_speed():
    gear = {"gear_teeth": 23}
    sound = felt(one_machine(plate=gear))
    worn = felt(one_machine(plate=gear, faults=({"kind": "gear_wear"},)))
    mesh_hz = 23 * SHAFT_HZ
    for side in (-2, -1, 1, 2):
        assert line(worn[H], mesh_hz + side * SHAFT_HZ) > 10.0 * line(sound[H], mesh_hz + side * SHAFT_HZ)
    assert line(worn[H], 2.0 * mesh_hz) > 5.0 * line(sound[H], 2.0 * mesh_hz)


def test_vanes_and_stator_show_in_a_sound_machine():
    shaft = {"vanes": 7, "vane_g": 0.05, "electrical_g": 0.02, "misalignment_mm_s": 0.0}
    signal = felt(one_machine(shaft=shaft, load={"kind": "constant", "value": 1.0}))
    assert line(signal[H], 7 * SHAFT_HZ) == pytest.approx(0.05, rel=0.1)
    assert line(signal[H], 100.0) == pytest.approx(0.02, rel=0.1)


def test_lines_follow_a_speed_that_changes_within_a_capture():
    ramp = {"kind": "ramp", "start": 1200.0, "end": 1800.0, "from_s": 100.0, "to_s": 102.56}
    model_signal = felt(one_machine(speed=ramp))[H]
    half = model_signal.size // 2
    first_hz, early = amplitude_spectrum(model_signal[:half], sample_rate_hz=FS_HZ)
    _, late = amplitude_spectrum(model_signal[half:], sample_rate_hz=FS_HZ)
    band = (first_hz > 15.0) & (first_hz < 40.0)
    assert first_hz[band][np.argmax(early[band])] == pytest.approx(22.5, abs=2.5)
    assert first_hz[band][np.argmax(late[band])] == pytest.approx(27.5, abs=2.5)


def test_a_bearing_in_its_last_stage_raises_the_floor_while_its_impacts_blur():
    clear = felt(one_machine(faults=({"kind": "outer", "end_severity": 0.8},), noise={}))
    broken = felt(one_machine(faults=({"kind": "outer", "end_severity": 1.5},), noise={}))
    kurtosis = [float(((s - s.mean()) ** 4).mean() / s.var() ** 2) for s in (clear[V], broken[V])]
    assert kurtosis[1] < kurtosis[0]
    assert np.median(np.abs(broken[V])) > 2.0 * np.median(np.abs(clear[V]))
    assert line(broken[H], SHAFT_HZ) > 2.0 * line(clear[H], SHAFT_HZ)


def test_distributed_wear_has_the_rhythm_and_no_impacts():
    worn = {"kind": "outer", "extent": "distributed", "jitter": 0.002}
    signal = felt(one_machine(faults=(worn,)))[V]
    at_hz, amplitude = envelope_of(signal)
    assert over_floor(at_hz, amplitude, ORDERS.bpfo * 0.99 * SHAFT_HZ) > 4.0
    assert ((signal - signal.mean()) ** 4).mean() / signal.var() ** 2 < 7.0


def test_a_machine_that_stands_still_shows_nothing_of_its_shaft_or_bearing():
    signal = felt(one_machine(faults=({"kind": "outer"},), speed={"kind": "constant", "value": 0.0}))
    assert np.abs(signal).max() < 0.02


def line_at(at_hz: Any, amplitude: Any, frequency_hz: float, reach_hz: float = 1.0) -> float:
    return float(amplitude[np.abs(at_hz - frequency_hz) <= reach_hz].max())
