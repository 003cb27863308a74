"""Impacts with a walking rhythm are named by where they come from; without proof the answer is `unknown`."""

import numpy as np
import pytest

from gateway_agent.baseline import WEIGHTS
from gateway_agent.diagnosis import (
    HARMONICS,
    Findings,
    MachineFacts,
    diagnose,
)
from gateway_agent.explanation import contributions, reason
from schemas.messages import Contribution, Diagnosis, Finding
from tests.support.captures import ORDERS_6205, RPM, impacts_g
from vibration.bearing_library import lookup_bearing
from vibration.detection_features import DETECTION_COUNT, ENVELOPE

FACTS = MachineFacts(RPM / 60, lookup_bearing("6205").orders)
RATE_HZ = 24_000.0


def found(signal: np.ndarray, facts: MachineFacts = FACTS) -> Findings:
    return diagnose(signal, sample_rate_hz=RATE_HZ, facts=facts)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("label", ["outer", "inner"])
def test_impacts_of_a_race_are_named_after_it(label: str, seed: int) -> None:
    findings = found(impacts_g(ORDERS_6205[label], seed, modulated=label == "inner"))
    assert findings.ranked[0].label == label
    assert findings.ranked[0].confidence > 0.7
    proof = [f for f in findings.findings if f.label == label and f.speaks_for]
    assert "above the noise of the envelope" in proof[0].text


def test_an_inner_race_cites_the_lines_that_belong_to_it() -> None:
    proof = [f for f in found(impacts_g(ORDERS_6205["inner"], 1, modulated=True)).findings if f.label == "inner"]
    assert proof[0].speaks_for
    assert "lines that belong to it" in proof[0].text


@pytest.mark.parametrize("seed", range(6))
def test_noise_is_of_unknown_cause(seed: int) -> None:
    noise = np.random.default_rng(seed).standard_normal((1, 1 << 14)) * 0.1
    assert found(noise).ranked[0].label == "unknown"


def test_impacts_at_no_fault_order_are_of_unknown_cause() -> None:
    top = found(impacts_g(4.37, 3)).ranked[0]
    assert top.label == "unknown" or top.confidence < 0.7


def test_a_bearing_nobody_named_is_searched_for_and_its_name_asked_for() -> None:
    findings = found(impacts_g(ORDERS_6205["outer"], 1), MachineFacts(RPM / 60, None))
    assert findings.ranked[0].label == "outer"
    assert any("3.5" in f.text and "searched" in f.text for f in findings.findings if f.speaks_for)
    assert any("enter the bearing" in f.text and not f.speaks_for for f in findings.findings)


def test_without_a_speed_the_answer_is_unknown_and_says_what_is_needed() -> None:
    findings = found(impacts_g(ORDERS_6205["outer"], 1), MachineFacts(None, FACTS.orders))
    assert findings.ranked == (Diagnosis(label="unknown", confidence=1.0),)
    assert any("enter the nameplate speed" in f.text and not f.speaks_for for f in findings.findings)


def test_confidences_are_shares_and_fall() -> None:
    for seed in range(4):
        confidences = [d.confidence for d in found(impacts_g(ORDERS_6205["outer"], seed, peak_g=0.3)).ranked]
        assert confidences == sorted(confidences, reverse=True)
        assert sum(confidences) <= 1.005


def test_the_axis_that_shows_it_is_the_one_that_is_shown() -> None:
    noise = np.random.default_rng(1).standard_normal((2, 1 << 14)) * 0.1
    findings = found(np.concatenate([noise, impacts_g(ORDERS_6205["outer"], 1)]))
    assert findings.axis == 2


def test_cursors_stand_where_theory_puts_them() -> None:
    lines = {line.name: line for line in found(impacts_g(ORDERS_6205["outer"], 2)).lines}
    assert set(lines) == {"BPFO", "BPFI", "2xBSF", "FTF", "1x"}
    assert lines["BPFO"].frequency_hz == pytest.approx(ORDERS_6205["outer"] * RPM / 60, rel=1e-3)
    assert lines["BPFO"].harmonics == HARMONICS
    assert lines["BPFO"].found_hz == pytest.approx(lines["BPFO"].frequency_hz, rel=0.03)
    assert (lines["BPFO"].prominence_db or 0) > 6.0  # dB: twice the amplitude of noise


def test_signals_without_any_floor_have_finite_answers() -> None:
    """A line above a floor of exactly nothing stands out without end; it once broke the message."""
    pulse = np.zeros((1, 1 << 14))
    pulse[0, 100] = 1.0
    square = np.sign(np.sin(np.arange(1 << 14)[None] * 0.7))
    for signal in (pulse, square, np.zeros((1, 1 << 14))):
        assert all(np.isfinite(d.confidence) for d in found(signal).ranked)


def shares(z: np.ndarray) -> tuple[Contribution, ...]:
    low_hz = 100.0 * np.arange(DETECTION_COUNT)
    return contributions(z, np.stack([low_hz, low_hz + 100.0], axis=1))


def test_the_score_is_shared_out_over_bands_and_axes_without_a_rest() -> None:
    z = np.zeros((2, DETECTION_COUNT))
    envelope = ENVELOPE.start + 2
    z[1, 3], z[0, envelope] = 3.0 / np.sqrt(WEIGHTS[3]), -4.0 / np.sqrt(WEIGHTS[envelope])
    first, second = shares(z)[:2]
    assert (first.name, first.axis, first.low_hz) == ("envelope down", 0, 100.0 * envelope)
    assert (second.name, second.axis, second.low_hz, second.high_hz) == ("spectrum up", 1, 300.0, 400.0)
    assert [first.share, second.share] == pytest.approx([0.64, 0.36])
    assert sum(one.share for one in shares(z)) == pytest.approx(1.0)


def test_a_score_of_nothing_is_shared_out_as_nothing() -> None:
    assert {one.share for one in shares(np.zeros((1, DETECTION_COUNT)))} == {0.0}


def test_the_reason_is_one_sentence_a_fitter_understands() -> None:
    text = reason(
        score=5.0, limit=2.0, zone="D", velocity_mm_s=11.2, ranked=(Diagnosis(label="outer", confidence=0.83),),
        findings=(Finding(label="outer", speaks_for=True, text="3 of 4 lines stand out"),),
        shares=(Contribution(name="spectrum up", axis=1, low_hz=800.0, high_hz=900.0, share=0.6),),
    )  # fmt: skip
    assert text.startswith("Outer race")
    for part in ("83%", "3 of 4 lines", "2.5 times its healthy limit", "800 and 900 Hz on axis 2", "zone D: 11.2 mm/s"):
        assert part in text


def test_nothing_wrong_is_said_as_such() -> None:
    nothing = reason(score=1.0, limit=2.0, zone="A", velocity_mm_s=1.0, ranked=(), findings=(), shares=())
    assert nothing == "Back within its healthy limits"
