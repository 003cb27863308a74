"""Learning rules where JAX is at hand: the exported update against double precision, and builds that repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax", reason="the extra foundry (jax) is not installed: rules are checked by golden vectors only")

from aggregator.foundry.artefacts import BUILT, BuiltSpec
from aggregator.foundry.build import build, export_rule
from aggregator.foundry.errors import UnknownNameError
from aggregator.foundry.families import family_named
from aggregator.foundry.golden import relative_error
from aggregator.foundry.golden_cases import double_precision
from aggregator.foundry.rules import RULES, Kind, rule_named
from aggregator.foundry.verification import open_session, verify


@pytest.mark.parametrize("name", sorted(RULES))
def test_update_of_another_width_and_batch_agrees_with_double_precision(name: str) -> None:
    rule, family, batch = rule_named(name), family_named("dense_autoencoder", 13), 5
    draw = np.random.default_rng(8)
    feed = {}
    for key, spec in rule.input_specs(family, batch).items():
        values = np.abs(draw.standard_normal([int(size) for size in spec.shape]))
        if rule.inputs[key] is Kind.MODEL:
            values = family.initial_theta(4) + 0.1 * values
        feed[key] = np.asarray(values, np.float32)

    session = open_session(export_rule(rule, family, batch).SerializeToString())
    found = session.run(list(rule.outputs), feed)
    wanted = double_precision(rule.make(family))(*feed.values())

    for key, got, want in zip(rule.outputs, found, wanted, strict=True):
        start = feed[rule.updates[key]].astype(np.float64) if key in rule.updates else 0.0
        assert relative_error(got - start, want - start) < 2e-5, key  # single precision, long steps


def test_building_twice_gives_the_same_bytes_and_what_is_built_holds(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        build("dense_autoencoder", 6, tmp_path / folder)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted([*(f"{name}.onnx" for name in ("score", *RULES)), "golden.npz", "spec.json"])
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()
    assert {report.name for report in verify(tmp_path / "one")} == {"score", *RULES}


def test_graphs_that_ship_are_those_the_rules_make_today(tmp_path: Path) -> None:
    shipped = BuiltSpec.load(BUILT / "dense_autoencoder_48")
    fresh = build(shipped.family, shipped.features, tmp_path)
    assert fresh.graphs == shipped.graphs
    assert fresh.parameters == shipped.parameters


def test_unknown_family_or_rule_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="'transformer'; known: dense_autoencoder"):
        family_named("transformer", 48)
    with pytest.raises(UnknownNameError, match="'sgd'; known: adam_prox_step"):
        rule_named("sgd")
