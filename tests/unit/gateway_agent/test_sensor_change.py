"""A sensor that was moved is told from a machine that got worse, and damage is never explained away."""

import numpy as np
import pytest

from gateway_agent.baseline import Baseline, expected_variance, score_of
from gateway_agent.limits import held_back_log_scores, limit_from
from gateway_agent.mounting_watch import MOVE_AFTER, STEADY_OF, MountingWatch
from gateway_agent.operating_states import OperatingStates, Told
from gateway_agent.sensor_change import explain_by_sensor, looks_loose
from schemas.variation import Variation
from tests.support.sessions import LAYOUT
from vibration.detection_features import ENVELOPE, NARROW, detection_features
from vibration.features import band_edges_hz

PRIOR = Variation().prior(*LAYOUT)
EXPECTED = expected_variance(PRIOR, *LAYOUT)
WIDTHS_HZ = np.diff(band_edges_hz(*LAYOUT))
SHAPES = np.random.default_rng(4).standard_normal((3, 48)) * 0.5  # each axis sounds like itself
NOISE_DENSITY = 1e-9


def heard(seed: int, count: int, *, gain_db: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Captures (count, 3, F) of one machine through a sensor with its own noise and a gain on each axis."""
    rng = np.random.default_rng(seed)
    spread = 0.05 * rng.standard_normal((count, 3, 48))
    signal = SHAPES - 4.0 + spread + np.array(gain_db)[:, None] / 10.0
    signal[..., NARROW] = np.log10(10.0 ** signal[..., NARROW] + NOISE_DENSITY * WIDTHS_HZ)
    return detection_features(signal)


def commissioned() -> tuple[Baseline, float]:
    learnt = heard(0, 40)
    limit = limit_from(held_back_log_scores(learnt, EXPECTED), PRIOR, false_alarm_rate=0.01)
    return Baseline.learn(learnt, EXPECTED), limit.score


@pytest.mark.parametrize("gain_db", [(6.0, -4.0, 2.0), (-8.0, -8.0, -2.0), (0.0, 9.0, 0.0)])
def test_axes_that_moved_and_kept_their_shape_are_a_remounted_sensor(gain_db: tuple[float, float, float]) -> None:
    baseline, limit = commissioned()
    (capture,) = heard(1, 1, gain_db=gain_db)
    assert score_of(baseline.standardise(capture)) > limit
    change = explain_by_sensor(capture, baseline, limit, LAYOUT)
    assert change is not None
    assert change.kind == "remounted"
    assert change.gains_db == pytest.approx(gain_db, abs=0.7)
    assert not change.within_drift
    assert "re-mounted" in change.text()


def test_every_axis_louder_beyond_any_mounting_is_a_wrong_gain() -> None:
    baseline, limit = commissioned()
    (capture,) = heard(1, 1, gain_db=(19.8, 19.8, 19.8))
    change = explain_by_sensor(capture, baseline, limit, LAYOUT)
    assert change is not None
    assert change.kind == "wrong_gain"
    assert "sensitivity" in change.text()


def test_axes_in_each_others_place_are_told() -> None:
    baseline, limit = commissioned()
    (capture,) = heard(1, 1)[:, [2, 1, 0]]
    change = explain_by_sensor(capture, baseline, limit, LAYOUT)
    assert change is not None
    assert change.kind == "axes_swapped"
    assert "axes 1 and 3" in change.text()


@pytest.mark.parametrize(("first", "last", "decades"), [(20, 28, 0.8), (0, 4, 1.5), (24, 32, 0.6)])
def test_a_change_of_shape_is_the_machine(first: int, last: int, decades: float) -> None:
    baseline, limit = commissioned()
    (capture,) = heard(1, 1)
    model = np.concatenate([capture[:, NARROW], capture[:, ENVELOPE]], axis=1)
    model[:, first:last] += decades
    assert explain_by_sensor(detection_features(model), baseline, limit, LAYOUT) is None


def test_wear_in_the_high_bands_is_no_better_mounting() -> None:
    baseline, limit = commissioned()
    (capture,) = heard(1, 1)
    model = np.concatenate([capture[:, NARROW], capture[:, ENVELOPE]], axis=1)
    model[:, 22:32] += np.linspace(0.1, 1.0, 10)
    assert explain_by_sensor(detection_features(model), baseline, limit, LAYOUT) is None


def test_a_sensor_that_rattles_below_and_is_deaf_above_is_loose_and_a_loose_machine_is_not() -> None:
    baseline, _ = commissioned()
    (capture,) = heard(1, 1)
    model = np.concatenate([capture[:, NARROW], capture[:, ENVELOPE]], axis=1)
    rattles, shakes = model.copy(), model.copy()
    rattles[:, :16] += 2.0
    rattles[:, 18:28] -= 1.0
    shakes[:, :16] += 2.0
    assert looks_loose(detection_features(rattles), baseline)
    assert not looks_loose(detection_features(shakes), baseline)


def watched(captures: np.ndarray, states: OperatingStates, watch: MountingWatch) -> list[str | None]:
    said = []
    for capture in captures:
        reading = states.read(capture, Told())
        exceeds = reading.score >= reading.state.threshold
        change = watch.look(capture, reading, LAYOUT, exceeds=exceeds, alarm=False)
        said.append(change.kind if change else None)
        if watch.move() is not None:
            said.append("moved")
    return said


def fresh_states() -> OperatingStates:
    return OperatingStates.commission(heard(0, 40), [Told()] * 40, PRIOR, LAYOUT, false_alarm_rate=0.01)


def test_a_step_from_steady_health_moves_the_baseline_after_a_while_and_then_all_is_as_before() -> None:
    states, watch = fresh_states(), MountingWatch()
    assert watched(heard(1, STEADY_OF), states, watch) == [None] * STEADY_OF
    said = watched(heard(2, MOVE_AFTER, gain_db=(6.0, -5.0, 3.0)), states, watch)
    assert said == ["remounted"] * MOVE_AFTER + ["moved"]
    after = heard(3, 20, gain_db=(6.0, -5.0, 3.0))
    assert sum(states.read(one, Told()).score >= states.states[0].threshold for one in after) <= 1


def test_what_begins_without_steady_health_before_it_is_not_excused() -> None:
    """The first captures after commissioning may already be sick."""
    said = watched(heard(2, 5, gain_db=(9.0, 9.0, 0.0)), fresh_states(), MountingWatch())
    assert said == [None] * 5


def test_growth_that_raises_everything_alike_but_slowly_is_not_excused_for_long() -> None:
    states, watch = fresh_states(), MountingWatch()
    watched(heard(1, STEADY_OF), states, watch)
    slow = np.concatenate([heard(n, 1, gain_db=(g, g, g)) for n, g in enumerate(np.linspace(0.0, 9.0, 120))])
    said = watched(slow, states, watch)
    assert "moved" not in said
    assert said[-20:] == [None] * 20
