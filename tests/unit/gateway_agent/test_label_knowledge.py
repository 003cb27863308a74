"""What labels teach adds up over gateways, is bounded, and leaves alone what it was not taught."""

import numpy as np
import pytest

from gateway_agent.diagnosis_picture import COLUMNS, LEVEL
from gateway_agent.label_knowledge import LABELS, MOST_NATS, VECTOR_NAMES, LabelKnowledge, LabelSums, evidence_vector


def vectors(label: str, seed: int, count: int = 6) -> list[np.ndarray]:
    """Evidence of one machine: its label's direction, its own way, and the scatter of captures."""
    rng = np.random.default_rng(seed)
    mean = np.zeros(len(VECTOR_NAMES))
    mean[LABELS.index(label)] = 8.0
    own = rng.standard_normal(mean.size)
    return [mean + own + 0.3 * rng.standard_normal(mean.size) for _ in range(count)]


def taught(machines: int = 6, first: int = 0) -> LabelSums:
    sums = LabelSums()
    for number in range(machines):
        for label in ("outer", "ball", "misalignment"):
            sums = sums.add(label, vectors(label, first + 10 * number + LABELS.index(label)))
    return sums


def test_a_machine_like_those_of_a_label_is_moved_towards_it():
    knowledge = LabelKnowledge(taught())
    for label in ("outer", "ball", "misalignment"):
        added = knowledge.adds_nats(vectors(label, 777)[0])
        assert max(added, key=lambda name: added[name]) == label
        assert added[label] > 0.3


def test_nobody_is_moved_by_more_than_the_bound_and_untaught_causes_not_at_all():
    added = LabelKnowledge(taught(40)).adds_nats(100.0 * vectors("outer", 1)[0])
    assert set(added) == {"outer", "ball", "misalignment"}
    assert max(abs(value) for value in added.values()) <= MOST_NATS


def test_two_gateways_added_are_one_that_saw_both():
    first, second, both = taught(2), taught(2, first=500), taught(2)
    for number in range(2):
        for label in ("outer", "ball", "misalignment"):
            both = both.add(label, vectors(label, 500 + 10 * number + LABELS.index(label)))
    joined = (first + second).arrays()
    for name, array in both.arrays().items():
        assert joined[name] == pytest.approx(array)


def test_a_thousand_captures_of_one_machine_teach_no_more_than_a_few():
    few, many = (LabelSums().add("outer", vectors("outer", 3, count)).series.sum() for count in (5, 1000))
    assert few == many == 1.0


def test_little_knowledge_says_nothing():
    assert LabelKnowledge(LabelSums()).adds_nats(np.zeros(len(VECTOR_NAMES))) == {}
    assert LabelKnowledge(LabelSums().add("outer", vectors("outer", 1))).adds_nats(vectors("outer", 2)[0]) == {}
    assert LabelKnowledge(taught()).adds_nats(None) == {}


def test_arrays_make_the_round_trip_and_others_are_refused():
    sums = taught(2)
    again = LabelSums.of(sums.arrays())
    assert np.array_equal(again.squares, sums.squares)
    with pytest.raises(ValueError, match="sums has shape"):
        LabelSums.of(sums.arrays() | {"sums": np.zeros((2, 2))})
    with pytest.raises(ValueError, match="series"):
        LabelSums.of(sums.arrays() | {"series": np.full(len(LABELS), np.nan)})
    with pytest.raises(ValueError, match="cavitation"):
        sums.add("cavitation", vectors("outer", 1))


def test_the_vector_holds_growth_and_is_missing_without_a_healthy_picture():
    now, healthy = np.zeros((2, COLUMNS)), np.zeros((2, COLUMNS))
    now[:, LEVEL] = 0.5
    vector = evidence_vector({"outer": 2.0, "cage": -99.0}, now, healthy)
    assert vector is not None
    assert vector[VECTOR_NAMES.index("outer_nats")] == 2.0
    assert vector[VECTOR_NAMES.index("cage_nats")] == -6.0
    assert vector[VECTOR_NAMES.index("level_0_growth_db")] == pytest.approx(10.0)
    assert evidence_vector({}, now, None) is None
