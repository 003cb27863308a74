"""This file knows how a family becomes a folder of graphs: the build step, run offline with the extra `foundry`.

The inference graph takes `theta` as an input beside `x`, so that changing the model is changing a reference: nothing
is loaded, nothing can be stale, and a graph holds no weights. Measured with onnxruntime 1.31.1 on the 48-feature
autoencoder, one thread, microseconds a call for 1 and 64 samples: theta as input 14.0 and 22.4, weights inside the
file 8.3 and 16.4, weights as external data with a location that does not exist, given by `add_external_initializers`
(which works: nothing is folded, a new session takes 0.8 ms) 8.5 and 16.4. The 6 microseconds a call are 0.1 % of
computing the features; the file without external data is what gateways accept.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx

from aggregator.foundry import golden
from aggregator.foundry.artefacts import (
    GOLDEN_FILE,
    SPEC_FILE,
    BuiltSpec,
    GoldenRow,
    GraphRow,
    ParameterRow,
    TensorRow,
    sha256_of,
)
from aggregator.foundry.exporter import TensorSpec, export
from aggregator.foundry.exporter.graph import IR_VERSION, OPSET
from aggregator.foundry.families import Family, family_named
from aggregator.foundry.golden_cases import CASES, golden_score, golden_step
from aggregator.foundry.rules import RULES, LearningRule
from schemas.onnx_inspect import check_model

BATCH = 32
GOLDEN_SEED = 20
TOLERANCE = 1e-4  # single precision leaves 1e-6 at worst; other processors round in another order


def build(family_name: str, features: int, out_dir: Path) -> BuiltSpec:
    """Build a family of `FAMILIES` for F features with every rule there is; see `build_family`.

    Raises:
        UnknownNameError: There is no such family.
    """
    return build_family(family_named(family_name, features), RULES.values(), out_dir)


def build_family(family: Family, rules: Iterable[LearningRule], out_dir: Path) -> BuiltSpec:
    """Write `score.onnx`, one graph per learning rule, `golden.npz` and `spec.json`; the same bytes every time.

    Args:
        family: Of which to build.
        rules: Which steps to write.
        out_dir: Folder to write to; made if missing.

    Raises:
        ExportError: A rule uses what cannot be exported.
        ModelError: A graph is one that gateways would refuse.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    graphs = {"score": _write(out_dir, export_score(family))}
    vectors = {"score": golden_score(family, GOLDEN_SEED)}
    for rule in rules:
        graphs[rule.name] = _write(out_dir, export_rule(rule, family, BATCH)).model_copy(
            update={
                "inputs": rule.described_inputs(family, BATCH),
                "updates": rule.updates,
                "next_values": rule.next_values,
            }
        )
        vectors[rule.name] = golden_step(rule, family, BATCH, GOLDEN_SEED)
    content = golden.to_bytes(vectors)
    (out_dir / GOLDEN_FILE).write_bytes(content)
    spec = BuiltSpec(
        family=family.name,
        features=family.features,
        batch=BATCH,
        opset=OPSET,
        ir_version=IR_VERSION,
        parameters=tuple(
            ParameterRow(name=each.name, shape=each.shape, offset=each.offset) for each in family.parameters.slices
        ),
        graphs=graphs,
        golden=GoldenRow(sha256=sha256_of(content), cases=CASES, tolerance=TOLERANCE),
    )
    (out_dir / SPEC_FILE).write_bytes(spec.to_bytes())
    return spec


def export_score(family: Family) -> onnx.ModelProto:
    """Make the inference graph: x (N, F) and theta in, score (N,) and reconstruction (N, F) out, any N."""
    return export(
        lambda x, theta: family.score_for_inference(theta, x),
        {"x": TensorSpec(("N", family.features)), "theta": TensorSpec((family.parameters.count,))},
        ("score", "reconstruction"),
        name="score",
        summary="mean squared reconstruction error of each sample",
    )


def export_rule(rule: LearningRule, family: Family, batch: int) -> onnx.ModelProto:
    """Make the graph of one training step for batches of a fixed size."""
    specs = rule.input_specs(family, batch)
    return export(rule.make(family), specs, rule.outputs, name=rule.name, summary=rule.summary)


def _write(out_dir: Path, model: onnx.ModelProto) -> GraphRow:
    content = model.SerializeToString(deterministic=True)
    facts = check_model(content)
    file = f"{model.graph.name}.onnx"
    (out_dir / file).write_bytes(content)
    return GraphRow(
        file=file,
        summary=model.graph.doc_string,
        size_bytes=len(content),
        sha256=sha256_of(content),
        ops=tuple(sorted(facts.op_types)),
        inputs=tuple(TensorRow(name=each.name, shape=each.shape) for each in facts.inputs),
        outputs=tuple(TensorRow(name=each.name, shape=each.shape) for each in facts.outputs),
        updates={},
    )
