"""How two networks are compared on healthy captures that were held back, and on faults made of them."""

from dataclasses import replace

import numpy as np
import pytest

from gateway_agent.acceptance import HealthyPoint, HeldBack, Scorer, auroc, gate_report, judge
from gateway_agent.baseline import Baseline, Rows, expected_variance
from gateway_agent.builtin import builtin_release
from gateway_agent.local_only import machine_fit
from gateway_agent.model_slot import LoadedModel, load_model
from gateway_agent.synthetic_faults import SEVERITIES_DB, fault_patterns, with_fault
from schemas.messages import GateReport
from schemas.variation import Variation
from vibration.bearing_library import lookup_bearing
from vibration.detection_features import detection_features
from vibration.features import BAND_COUNT, ENVELOPE_BAND_COUNT, band_edges_hz

LAYOUT = (12_000.0, 2048)
SHAFT_HZ = 30.0
ORDERS = lookup_bearing("6205").orders
PATTERNS = fault_patterns(LAYOUT, SHAFT_HZ, ORDERS)


class Distance:
    """Sees every fault: the loss is the distance from healthy."""

    def score(self, rows: Rows) -> tuple[Rows, Rows]:
        return np.mean(rows * rows, axis=1), np.zeros_like(rows)


class Blind:
    """Sees nothing."""

    def score(self, rows: Rows) -> tuple[Rows, Rows]:
        return np.ones(len(rows), np.float32), np.zeros_like(rows)


class Lost:
    """Has lost its mind."""

    def score(self, rows: Rows) -> tuple[Rows, Rows]:
        return np.full(len(rows), np.nan, np.float32), np.zeros_like(rows)


def point(seed: int, captures: int = 80, channels: int = 2, machine: str = "pump-07") -> HealthyPoint:
    draw = np.random.default_rng(seed)
    level = draw.normal(-4.0, 0.5, (1, channels, BAND_COUNT + ENVELOPE_BAND_COUNT))
    features = (level + 0.05 * draw.standard_normal((captures, *level.shape[1:]))).astype(np.float32)
    expected = expected_variance(Variation().prior(*LAYOUT), *LAYOUT)
    baseline = Baseline.learn(detection_features(features[:20]), expected)
    return HealthyPoint(machine, features, [baseline] * captures, PATTERNS)


def report(points: list[HealthyPoint], new: Scorer, in_use: Scorer) -> GateReport:
    return gate_report(points, new, in_use, version=2, digest="ab" * 32, in_use_version=1)


def came_with() -> LoadedModel:
    """The network that comes with the software."""
    release = builtin_release()
    assert release is not None
    return load_model(release)


def test_a_fault_adds_power_where_theory_says_and_nowhere_else() -> None:
    edges = band_edges_hz(*LAYOUT)
    band = int(np.searchsorted(edges, SHAFT_HZ, side="right")) - 1
    assert np.flatnonzero(PATTERNS["imbalance"]).tolist() == [band]
    assert not PATTERNS["outer"][:BAND_COUNT][edges[1:] < 500.0].any()  # no ringing below what is demodulated
    assert PATTERNS["outer"][BAND_COUNT:].any()
    assert set(PATTERNS) == {"friction", "imbalance", "misalignment", "looseness", "outer", "inner", "ball"}


def test_severity_is_the_growth_in_the_band_that_is_met_most() -> None:
    healthy = np.full((1, BAND_COUNT + ENVELOPE_BAND_COUNT), -4.0)
    grown = with_fault(healthy, PATTERNS["imbalance"], 6.0) - healthy
    assert 10.0 * grown.max() == pytest.approx(6.0)
    assert np.count_nonzero(grown) == 1


def test_without_speed_or_bearing_only_what_needs_neither_is_made() -> None:
    assert set(fault_patterns(LAYOUT, None, ORDERS)) == {"friction"}
    assert "outer" not in fault_patterns(LAYOUT, SHAFT_HZ, None)


def test_auroc_is_the_share_of_pairs_in_the_right_order_ties_half() -> None:
    healthy, faulty = np.array([1.0, 2.0, 2.0, 5.0]), np.array([2.0, 3.0, 0.0])
    pairs = [float(f > h) + 0.5 * float(f == h) for f in faulty for h in healthy]
    assert auroc(healthy, faulty) == pytest.approx(np.mean(pairs))
    assert auroc(healthy, np.array([np.nan])) == 0.5


def test_the_newest_fifth_is_held_back_and_every_fault_is_made_of_it() -> None:
    held = HeldBack.of([point(1), point(2, captures=40, channels=3)])
    assert held.captures == 16 + 8
    assert held.faults == 24 * len(PATTERNS) * len(SEVERITIES_DB)


def test_a_network_that_sees_is_told_from_one_that_does_not() -> None:
    told = report([point(1), point(2)], Blind(), Distance())
    assert told.auroc == pytest.approx(0.5)
    assert told.auroc_in_use > 0.8
    assert told.by_fault["outer"][1] > told.by_fault["outer"][0]
    assert told.rows == 32
    assert told.problem == ""


def test_equal_networks_get_equal_figures() -> None:
    told = report([point(1)], Distance(), Distance())
    assert (told.auroc, told.loss, told.false_alarm_rate) == (
        told.auroc_in_use, told.loss_in_use, told.false_alarm_rate_in_use,
    )  # fmt: skip


def test_a_network_that_answers_nothing_finite_is_hopeless_and_says_why() -> None:
    told = report([point(1)], Lost(), Distance())
    assert (told.rows, told.auroc, told.problem) == (0, 0.0, "a loss is not finite")


def test_too_few_captures_are_no_judgement() -> None:
    told = report([point(1, captures=30)], Distance(), Distance())
    assert told.auroc is None
    assert told.problem == "6 healthy captures could be held back, 12 needed to judge a candidate"


def test_a_machine_is_compared_with_what_it_would_learn_alone() -> None:
    start = came_with()
    fleet = replace(start, theta=np.zeros_like(start.theta))
    found = machine_fit("pump-07", [point(1), point(2)], fleet, start, at_us=5)
    assert found is not None
    fit = found.fit
    assert fit.loss_local < fit.loss  # a network of zeros has learnt nothing
    assert (fit.machine, fit.release_version, fit.rows, fit.at_us) == ("pump-07", start.version, 32, 5)
    again = machine_fit("pump-07", [point(1), point(2)], fleet, start, at_us=5)
    assert again is not None
    assert again.fit == fit


def test_the_model_that_tells_a_machines_healthy_captures_better_is_the_machines() -> None:
    start = came_with()
    worse = machine_fit("pump-07", [point(1)], replace(start, theta=np.zeros_like(start.theta)), start, at_us=5)
    assert worse is not None
    assert worse.own is not None
    assert not np.array_equal(worse.own.theta, start.theta)
    better = machine_fit("pump-07", [point(1)], worse.own, start, at_us=5)
    assert better is not None
    assert better.fit.loss <= better.fit.loss_local
    assert better.own is None


def test_a_machine_of_which_little_is_known_is_not_compared() -> None:
    start = came_with()
    assert machine_fit("pump-07", [point(1, captures=20)], start, start, at_us=5) is None


def test_judging_leaves_what_was_held_back_as_it_was() -> None:
    held = HeldBack.of([point(1)])
    before = [rows.copy() for rows in held.healthy]
    judge(held, came_with())
    assert all(np.array_equal(a, b) for a, b in zip(before, held.healthy, strict=True))
