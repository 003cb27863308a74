"""Damage grows as its shape says; repairs take back what they say."""

import numpy as np
import pytest

from sensor_sim.life import Fault, FaultLife, Repair

SEED = (7,)
SHAPES = ("slow_monotone", "late_sudden", "stepwise", "fluctuating")


def life(shape: str = "slow_monotone", repairs: tuple[Repair, ...] = (), **more: object) -> FaultLife:
    values = {"kind": "outer", "onset_s": 100.0, "duration_s": 1000.0, "shape": shape, **more}
    return FaultLife(Fault.model_validate(values), repairs, SEED)


@pytest.mark.parametrize("growth", ["exp", "paris"])
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_before_onset_and_the_end_severity_at_the_end(shape, growth):
    fault = life(shape, growth=growth, end_severity=0.8)
    assert fault.at(99.9) == 0.0
    assert 0.0 < fault.at(100.0) <= 0.05
    assert fault.at(1100.0) == pytest.approx(0.8, rel=1e-6)
    assert fault.at(9999.0) == pytest.approx(0.8, rel=1e-6)


@pytest.mark.parametrize("shape", ["slow_monotone", "late_sudden", "stepwise"])
def test_damage_that_does_not_fluctuate_never_shrinks(shape):
    severities = [life(shape).at(t) for t in np.linspace(0.0, 1200.0, 500)]
    assert (np.diff(severities) >= 0.0).all()


def test_slow_growth_is_exponential():
    fault = life(initial_severity=0.05)
    thirds = [fault.at(100.0 + share * 1000.0) for share in (0.25, 0.5, 0.75)]
    assert thirds[1] / thirds[0] == pytest.approx(thirds[2] / thirds[1])


def test_paris_growth_solves_its_equation():
    """ds/dt / s^m is the same everywhere."""
    fault = life(growth="paris", paris_exponent=2.5)
    rates = [(fault.at(t + 1.0) - fault.at(t - 1.0)) / 2.0 / fault.at(t) ** 2.5 for t in (300.0, 600.0, 1000.0)]
    assert rates[1] == pytest.approx(rates[0], rel=1e-3)
    assert rates[2] == pytest.approx(rates[0], rel=1e-3)


def test_late_sudden_damage_is_hardly_there_until_its_end():
    fault = life("late_sudden")
    assert fault.at(100.0 + 840.0) < 0.1
    assert fault.at(100.0 + 990.0) > 0.8


def test_stepwise_damage_stands_still_between_steps():
    severities = np.array([life("stepwise").at(t) for t in np.linspace(100.0, 1100.0, 2000)])
    assert np.unique(severities.round(9)).size == 6
    assert (np.diff(severities) == 0.0).mean() > 0.99


def test_fluctuating_damage_seems_to_heal_and_comes_back():
    severities = np.array([life("fluctuating").at(t) for t in np.linspace(100.0, 1100.0, 500)])
    assert (np.diff(severities) < 0.0).any()
    assert severities[-1] == severities.max()


def test_full_repair_ends_the_fault():
    fault = life(repairs=(Repair(at_s=600.0),))
    assert fault.at(599.0) > 0.1
    assert fault.at(600.0) == fault.at(5000.0) == 0.0


def test_imperfect_repair_leaves_damage_that_grows_again():
    fault = life(repairs=(Repair(at_s=900.0, restores=0.7),))
    assert fault.at(900.0) == pytest.approx(0.3 * life().at(900.0), rel=1e-6)
    assert fault.at(1400.0) > fault.at(900.0)
    assert fault.at(1900.0) == pytest.approx(1.0)


def test_repair_of_another_fault_changes_nothing():
    fault = life(repairs=(Repair(at_s=600.0, faults=("imbalance",)),))
    assert fault.at(800.0) == life().at(800.0)


def test_spread_changes_how_long_a_life_is_and_the_seed_decides():
    fault = Fault(kind="outer", onset_s=0.0, duration_s=1000.0, spread=0.5)
    lengths = {FaultLife(fault, (), (seed,)).duration_s for seed in range(5)}
    assert len(lengths) == 5
    assert FaultLife(fault, (), (3,)).duration_s == FaultLife(fault, (), (3,)).duration_s
