"""This file knows how a built folder is proved, on any machine with onnxruntime: digests, policy, golden vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from aggregator.foundry import golden
from aggregator.foundry.artefacts import BuiltSpec, GraphRow, read_checked
from aggregator.foundry.errors import ArtefactError
from schemas.model_errors import ModelError
from schemas.onnx_inspect import ModelFacts, check_model

RUNTIME_ERRORS = (
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.InvalidGraph,
    runtime_errors.InvalidProtobuf,
    runtime_errors.NotImplemented,
    runtime_errors.RuntimeException,
)


@dataclass(frozen=True, slots=True)
class GraphReport:
    """One graph that holds: its name, size and the worst relative error over all golden cases and outputs."""

    name: str
    size_bytes: int
    worst_error: float


def verify(folder: Path) -> list[GraphReport]:
    """Check everything a built folder promises.

    Raises:
        ArtefactError: A file is missing, altered, not what `spec.json` says, or computes something else.
    """
    spec = BuiltSpec.load(folder)
    content = read_checked(folder, spec.golden.file, spec.golden.sha256)
    vectors = golden.from_bytes(content, spec.golden.cases)
    if vectors.keys() != spec.graphs.keys():
        found, wanted = ", ".join(sorted(vectors)), ", ".join(sorted(spec.graphs))
        raise ArtefactError(f"{folder}: golden vectors for {found}, {wanted} expected; build the folder again")
    return [_verify_graph(folder, name, row, vectors[name], spec.golden.tolerance) for name, row in spec.graphs.items()]


def open_session(model: bytes) -> onnxruntime.InferenceSession:
    """Load a graph the way gateways do: one thread, and no memory kept from one call to the next."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _verify_graph(folder: Path, name: str, row: GraphRow, vectors: golden.GoldenGraph, tolerance: float) -> GraphReport:
    model = read_checked(folder, row.file, row.sha256)
    sides = (vectors.inputs, row.inputs), (vectors.outputs, row.outputs)
    if any(set(named) != {each.name for each in said} for named, said in sides):
        raise ArtefactError(f"{folder}: golden vectors of {name} do not fit its inputs and outputs; build it again")
    try:
        _compare_with_spec(folder / row.file, check_model(model), row)
        session = open_session(model)
        names = [output.name for output in session.get_outputs()]

        def run(feed: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
            return dict(zip(names, session.run(names, dict(feed)), strict=True))

        errors = vectors.errors(run, row.updates)
    except (ModelError, *RUNTIME_ERRORS) as error:
        reason = " ".join(str(error).split())  # onnxruntime writes several lines
        raise ArtefactError(f"{folder / row.file}: {reason}") from error
    output, worst = max(errors.items(), key=lambda item: item[1])
    if not worst <= tolerance:
        raise ArtefactError(
            f"{folder / row.file}: output {output} is off by {worst:.2e} (relative), {tolerance:g} allowed; "
            "build the folder again"
        )
    return GraphReport(name, row.size_bytes, worst)


def _compare_with_spec(path: Path, facts: ModelFacts, row: GraphRow) -> None:
    for kind, said, held in (
        ("operators", row.ops, tuple(sorted(facts.op_types))),
        (
            "inputs",
            [(each.name, each.shape) for each in row.inputs],
            [(each.name, each.shape) for each in facts.inputs],
        ),
        (
            "outputs",
            [(each.name, each.shape) for each in row.outputs],
            [(each.name, each.shape) for each in facts.outputs],
        ),
    ):
        if said != held:
            raise ArtefactError(f"{path} has {kind} {held}, spec.json says {said}; build the folder again")
