"""Many captures together say what one cannot; growth over the healthy machine names what has no rhythm."""

import numpy as np
import pytest

from gateway_agent.diagnosis import (
    MEMORY,
    EvidenceLedger,
    Findings,
    MachineFacts,
    OrderReference,
    diagnose,
    picture_of,
    rank,
)
from gateway_agent.diagnosis_picture import COLUMNS
from tests.support.captures import ORDERS_6205, RPM, impacts_g
from vibration.bearing_library import lookup_bearing

SHAFT_HZ = RPM / 60.0
RATE_HZ = 12_000.0
SAMPLES = 12_000
FACTS = MachineFacts(SHAFT_HZ, lookup_bearing("6205").orders)
TIME_S = np.arange(SAMPLES) / RATE_HZ


def running(seed: int, lines_g: dict[float, float] | None = None, noise_g: float = 0.05) -> np.ndarray:
    """Two axes of a machine: noise, a little 1x and 2x, and lines at more orders."""
    rng = np.random.default_rng(seed)
    signal = noise_g * rng.standard_normal((2, SAMPLES))
    for order, height_g in ({1.0: 0.01, 2.0: 0.005} | (lines_g or {})).items():
        signal += height_g * np.sin(2 * np.pi * order * SHAFT_HZ * TIME_S + rng.uniform(0, 6))
    return signal


def reference(facts: MachineFacts = FACTS, lines_g: dict[float, float] | None = None) -> OrderReference:
    healthy = OrderReference()
    for seed in range(5):
        healthy.learn(picture_of(running(100 + seed, lines_g), sample_rate_hz=RATE_HZ, facts=facts))
    return healthy


def found(signal: np.ndarray, facts: MachineFacts = FACTS, **more: object) -> Findings:
    return diagnose(signal, sample_rate_hz=RATE_HZ, facts=facts, **more)  # type: ignore[arg-type]


def weak(seed: int) -> np.ndarray:
    return impacts_g(ORDERS_6205["outer"], seed, samples=3000, rate_hz=RATE_HZ, peak_g=0.3)


def test_captures_that_say_nothing_alone_name_the_fault_together():
    alone = [diagnose(weak(seed), sample_rate_hz=RATE_HZ, facts=FACTS).ranked[0].confidence for seed in range(30)]
    ledger = EvidenceLedger()
    for seed in range(30):
        together = diagnose(weak(seed), sample_rate_hz=RATE_HZ, facts=FACTS, ledger=ledger)
    assert together.ranked[0].label == "outer"
    assert together.ranked[0].confidence > np.median(alone)
    assert any("judged over the last 30 captures" in f.text for f in together.findings)


def test_a_healthy_machine_stays_unknown_however_long_it_is_watched():
    ledger, healthy = EvidenceLedger(), reference()
    for seed in range(40):
        findings = found(running(seed), reference=healthy, ledger=ledger)
        assert findings.ranked[0].label == "unknown"
    assert findings.ranked[0].confidence > 0.6


def test_a_ledger_forgets_slowly_and_begins_anew_with_another_number_of_axes():
    ledger = EvidenceLedger()
    for _ in range(2 * MEMORY):
        ledger.take(np.zeros((1, COLUMNS)))
    assert ledger.count == MEMORY
    ledger.take(np.ones((1, COLUMNS)))
    assert ledger.mean[0, 0] == pytest.approx(1.0 / MEMORY)
    ledger.take(np.full((3, COLUMNS), 2.0))
    assert (ledger.count, ledger.mean[0, 0]) == (1.0, 2.0)


def test_a_bearing_that_was_damaged_when_the_point_was_commissioned_is_still_named():
    healthy, signal = OrderReference(), impacts_g(ORDERS_6205["outer"], 1, samples=SAMPLES, rate_hz=RATE_HZ)
    for seed in range(5):
        knocking = impacts_g(ORDERS_6205["outer"], seed, samples=SAMPLES, rate_hz=RATE_HZ)
        healthy.learn(picture_of(knocking, sample_rate_hz=RATE_HZ, facts=FACTS))
    assert found(signal, reference=healthy).ranked[0].label == "outer"


def test_a_reference_of_another_shape_is_learnt_anew():
    """States saved before the picture had its shape held nine numbers an axis."""
    old = OrderReference(4, np.ones((1, 9)))
    assert found(running(1)[:1], reference=old).ranked
    old.learn(np.ones((1, COLUMNS)))
    assert (old.count, old.mean.shape) == (1, (1, COLUMNS))


def test_what_one_capture_does_not_show_keeps_what_others_showed():
    healthy = OrderReference()
    first, second = np.ones((1, COLUMNS)), np.full((1, COLUMNS), 3.0)
    second[0, 5] = np.nan
    healthy.learn(first)
    healthy.learn(second)
    assert (healthy.mean[0, 4], healthy.mean[0, 5]) == (2.0, 1.0)


@pytest.mark.parametrize(
    ("lines_g", "label"),
    [
        ({1.0: 0.1}, "imbalance"),
        ({2.0: 0.1}, "misalignment"),
        (
            {0.5: 0.05, 1.0: 0.06, 1.5: 0.05, 2.0: 0.05, 2.5: 0.06, 3.0: 0.06, 4.0: 0.06, 5.0: 0.06, 6.0: 0.06},
            "looseness",
        ),
    ],
)
def test_lines_that_have_grown_are_named_after_their_orders(lines_g: dict[float, float], label: str):
    assert found(running(1, lines_g), reference=reference()).ranked[0].label == label


def test_a_machine_that_always_had_its_lines_is_not_named_after_them():
    lines_g = {1.0: 0.1, 2.0: 0.1}
    assert found(running(1, lines_g), reference=reference(lines_g=lines_g)).ranked[0].label == "unknown"


def test_sidebands_of_the_mesh_that_have_grown_are_a_gear():
    facts = MachineFacts(SHAFT_HZ, FACTS.orders, gear_teeth=23)
    sound = {23.0: 0.2, 22.0: 0.01, 24.0: 0.01}
    worn = {23.0: 0.3, 22.0: 0.1, 24.0: 0.1}
    findings = found(running(1, worn), facts, reference=reference(facts, sound))
    assert findings.ranked[0].label == "gear"
    assert "GMF" in {line.name for line in findings.lines}


def test_twice_line_frequency_that_has_grown_off_the_shafts_orders_is_electrical():
    lines_g = {100.0 / SHAFT_HZ: 0.2}
    assert found(running(1, lines_g), reference=reference()).ranked[0].label == "electrical"


def test_an_unnamed_bearing_with_a_healthy_reference_is_found_by_its_knocking():
    facts = MachineFacts(SHAFT_HZ, None)
    knocks = impacts_g(3.9, 4, samples=SAMPLES, rate_hz=RATE_HZ, peak_g=1.0)
    findings = found(np.repeat(knocks, 2, axis=0), facts, reference=reference(facts))
    assert findings.ranked[0].label == "outer"
    assert any("3.9" in f.text for f in findings.findings)


def test_an_exceeded_limit_makes_every_cause_likelier_by_the_same_odds():
    evidence = {"outer": 1.0, "imbalance": 0.5}
    calm, suspected = ({d.label: d.confidence for d in rank(evidence, suspected=s)} for s in (False, True))
    assert suspected["unknown"] < calm["unknown"]
    assert suspected["outer"] / suspected["imbalance"] == pytest.approx(calm["outer"] / calm["imbalance"], rel=0.02)


def test_a_bearing_known_to_be_damaged_that_shows_no_rhythm_is_named_after_its_balls_with_modest_confidence():
    """Race faults nearly always show, ball faults half the time: silence is itself evidence."""
    silent = running(1)
    assert found(silent).ranked[0].label == "unknown"
    first, second = found(silent, damaged=True).ranked[:2]
    assert first.label == "ball"
    assert second.confidence < first.confidence < 0.9


def test_a_weak_hum_that_stands_out_only_by_long_listening_is_no_damage():
    """Sound bearings hum at their races' rates: what grows clear with the number of captures is not deep."""
    ledger = EvidenceLedger()
    for seed in range(40):
        hum = 1.0 + 0.03 * np.sin(2 * np.pi * FACTS.orders.bpfo * SHAFT_HZ * TIME_S)  # type: ignore[union-attr]
        findings = found(running(seed) * hum, ledger=ledger)
    assert findings.ranked[0].label == "unknown"
