"""Learning rules where JAX is at hand: the exported update against double precision, and builds that repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax", reason="the extra foundry (jax) is not installed: rules are checked by golden vectors only")

from aggregator.foundry.artefacts import BuiltSpec, sha256_of
from aggregator.foundry.build import BATCH, build_family, export_rule, export_score
from aggregator.foundry.command import shipped
from aggregator.foundry.errors import UnknownNameError
from aggregator.foundry.families import FAMILIES, family_named
from aggregator.foundry.golden import relative_error
from aggregator.foundry.golden_cases import double_precision
from aggregator.foundry.rules import RULES, Kind, Setting, rule_named
from aggregator.foundry.verification import open_session, verify

pytestmark = pytest.mark.foundry
MODELS = (Kind.MODEL, Kind.ANCHOR, Kind.PERSONAL, Kind.TEACHER)
WIDTHS = {"dense_autoencoder": 13, "conv_autoencoder": 13, "conv_classifier": 10 + 64}
OF_FAMILIES = [
    pytest.param(name, marks=() if name == "dense_autoencoder" else pytest.mark.nightly) for name in sorted(FAMILIES)
]
SINGLE_PRECISION = 2e-5  # relative; long steps
HALF_A_LEVEL = 1e-4  # a weight that lies between two levels to the last digit may fall to either


@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize("family_name", OF_FAMILIES)
def test_update_of_another_width_and_batch_agrees_with_double_precision(family_name: str, name: str) -> None:
    rule, family, batch = rule_named(name), family_named(family_name, WIDTHS[family_name]), 5
    draw = np.random.default_rng(8)
    feed = {}
    for key, spec in rule.input_specs(family, batch).items():
        drawn = draw.standard_normal([int(size) for size in spec.shape])
        kind, values = rule.inputs[key], np.abs(drawn)
        if kind in MODELS:
            values = family.initial_theta(4) + 0.05 * drawn
        elif kind in {Kind.SAMPLES, Kind.QUERY_SAMPLES} and family_name == "conv_classifier":
            values[:, -10:] = np.eye(10)[:batch]  # the label
        elif isinstance(kind, Setting):
            values = np.asarray(kind.tried[2])
        feed[key] = np.asarray(values, np.float32)

    session = open_session(export_rule(rule, family, batch).SerializeToString())
    found = session.run(list(rule.outputs), feed)
    wanted = double_precision(rule.make(family))(*feed.values())

    for key, got, want in zip(rule.outputs, found, wanted, strict=True):
        start = feed[rule.updates[key]].astype(np.float64) if key in rule.updates else 0.0
        allowed = HALF_A_LEVEL if name == "fake_quantised_step" else SINGLE_PRECISION
        assert relative_error(got - start, want - start) < allowed, key


def test_building_twice_gives_the_same_bytes_and_what_is_built_holds(tmp_path: Path) -> None:
    family, rules = family_named("dense_autoencoder", 6), [RULES["adam_prox_step"], RULES["maml_step"]]
    for folder in ("one", "other"):
        build_family(family, rules, tmp_path / folder)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["adam_prox_step.onnx", "golden.npz", "maml_step.onnx", "score.onnx", "spec.json"]
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()
    assert {report.name for report in verify(tmp_path / "one")} == {"score", "adam_prox_step", "maml_step"}


@pytest.mark.parametrize("folder", shipped(), ids=lambda folder: folder.name)
def test_graphs_that_ship_are_those_the_rules_make_today(folder: Path) -> None:
    spec = BuiltSpec.load(folder)
    family = family_named(spec.family, spec.features)
    made = {"score": export_score(family), **{name: export_rule(RULES[name], family, BATCH) for name in RULES}}
    digests = {name: sha256_of(model.SerializeToString(deterministic=True)) for name, model in made.items()}
    assert digests == {name: row.sha256 for name, row in spec.graphs.items()}
    assert spec.parameter_spec == family.parameters
    for name, rule in RULES.items():
        assert spec.graphs[name].inputs == rule.described_inputs(family, BATCH)


def test_unknown_family_or_rule_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'transformer'; known: .*dense_autoencoder"):
        family_named("transformer", 48)
    with pytest.raises(UnknownNameError, match="'sgd'; known: adam_prox_step"):
        rule_named("sgd")
