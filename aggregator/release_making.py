"""This file knows how a release is made: of graphs and parameters, of a merge, or of one that was made elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from aggregator.foundry import golden
from aggregator.foundry.artefacts import SPEC_FILE, BuiltSpec, read_checked
from aggregator.foundry.errors import UnknownNameError
from aggregator.foundry.families import FAMILIES, family_named
from schemas.errors import ReleaseRejected
from schemas.feature_layout import FEATURE_LAYOUT
from schemas.parameter_levels import MergeLevel
from schemas.release import (
    GOLDEN,
    MANIFEST,
    PARAMETERS,
    SCORE,
    SIGNATURE,
    SPEC,
    TRAIN_STEP,
    Release,
    golden_file,
    make_release,
)
from schemas.signing import Signer

Level = Literal["builtin", "fleet", "site"]
Parameters = NDArray[np.float32]

GOLDEN_ROWS = 16
GOLDEN_SEED = 20
LEARNING_RULE = "adam_prox_step"


def golden_vectors(score_graph: bytes, parameters: Parameters, inputs: int) -> bytes:
    """Compute what a gateway must reproduce before it takes a release into use."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(score_graph, options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(GOLDEN_SEED).standard_normal((GOLDEN_ROWS, inputs)).astype(np.float32)
    (score,) = session.run(["score"], {"x": x, "theta": parameters})
    return golden_file(x, score)


def first_release(
    graphs: Path,
    signer: Signer,
    *,
    created_at_us: int,
    rule: str = LEARNING_RULE,
    levels: Mapping[str, MergeLevel] | None = None,
    parameters: Parameters | None = None,
    seed: int = 0,
    name: str = "undertone",
    version: int = 1,
    data: Mapping[str, int] | None = None,
    metrics: Mapping[str, float] | None = None,
    knowledge: Mapping[str, bytes] | None = None,
) -> Release:
    """Make a release from a folder of graphs, with parameters given or drawn from a seed.

    Args:
        graphs: A folder built by `aggregator foundry`.
        signer: Who vouches for it.
        created_at_us: Microseconds since 1970 UTC.
        rule: Which of the folder's training graphs gateways are to learn by.
        levels: Parts of the parameters that are not merged across the fleet (`schemas.parameter_levels`).
        parameters: Theta, shape (P,); the family's first values if None. A family that this program does not know
            starts from what its graphs were checked with, which is a first value a little shaken.
        seed: For those first values.
        name: Name of the release.
        version: Its number.
        data: Counts of what the parameters were learnt from.
        metrics: Losses on data held back.
        knowledge: Files beside the model: `schemas.release.VARIATION`, `LIVES`, `TEACHER`.

    Raises:
        ArtefactError: The folder is incomplete or altered.
        UnknownNameError: It has no graph of that rule.
        ReleaseRejected: The parameters do not fit.
    """
    spec = BuiltSpec.load(graphs)
    count = spec.parameter_spec.count
    if rule not in spec.graphs:
        raise UnknownNameError("training graph", rule, sorted(spec.graphs.keys() - {"score"}))
    if parameters is None:
        parameters = _first_values(graphs, spec, seed)
    score, step = (
        read_checked(graphs, spec.graphs[graph].file, spec.graphs[graph].sha256) for graph in ("score", rule)
    )
    description = {
        "name": name,
        "release_version": version,
        "created_at_us": created_at_us,
        "level": "builtin",
        "family": spec.family,
        "features": FEATURE_LAYOUT,
        "inputs": spec.features,
        "parameter_count": count,
        "data": dict(data or {}),
        "metrics": dict(metrics or {}),
        "levels": dict(levels or {}),
    }
    files = {SPEC: (graphs / SPEC_FILE).read_bytes(), SCORE: score, TRAIN_STEP: step, **(knowledge or {})}
    return _sign(description, files, parameters, signer)


def _first_values(graphs: Path, spec: BuiltSpec, seed: int) -> Parameters:
    if spec.family in FAMILIES:
        return family_named(spec.family, spec.features).initial_theta(seed)
    vectors = golden.from_bytes(read_checked(graphs, spec.golden.file, spec.golden.sha256), spec.golden.cases)
    return np.asarray(vectors["score"].inputs["theta"][0], np.float32)


def foreign_release(
    made: Release,
    signer: Signer,
    *,
    version: int,
    level: Level,
    created_at_us: int,
    data: Mapping[str, int],
    merge: Mapping[str, str | int | float],
    knowledge: Mapping[str, bytes],
) -> Release:
    """Make a release of everything that one made elsewhere holds, golden vectors included, under a number of ours.

    Raises:
        ReleaseRejected: It is too large with what is known here.
    """
    description = {
        **made.manifest.model_dump(exclude={"files"}),
        "release_version": version,
        "base_version": 0,
        "created_at_us": created_at_us,
        "level": level,
        "data": dict(data),
        "merge": dict(merge),
    }
    kept = {name: blob for name, blob in made.files.items() if name not in {MANIFEST, SIGNATURE}}
    return make_release(description, {**kept, **knowledge}, signer)


def next_release(
    parent: Release,
    parameters: Parameters,
    signer: Signer,
    *,
    version: int,
    level: Level,
    created_at_us: int,
    data: Mapping[str, int],
    metrics: Mapping[str, float],
    merge: Mapping[str, str | int | float],
    knowledge: Mapping[str, bytes] | None = None,
) -> Release:
    """Make a release of the parent's graphs with other parameters.

    Raises:
        ReleaseRejected: The parameters do not fit, or are not finite.
    """
    description = {
        **parent.manifest.model_dump(exclude={"files"}),
        "release_version": version,
        "base_version": parent.version,
        "created_at_us": created_at_us,
        "level": level,
        "data": dict(data),
        "metrics": dict(metrics),
        "merge": dict(merge),
    }
    kept = {n: blob for n, blob in parent.files.items() if n not in {MANIFEST, SIGNATURE, PARAMETERS, GOLDEN}}
    return _sign(description, {**kept, **(knowledge or {})}, parameters, signer)


def _sign(
    description: Mapping[str, Any], files: Mapping[str, bytes], parameters: Parameters, signer: Signer
) -> Release:
    if parameters.shape != (description["parameter_count"],) or not np.isfinite(parameters).all():
        raise ReleaseRejected(
            "wrong_shape" if np.isfinite(parameters).all() else "not_finite",
            f"parameters of shape {parameters.shape} cannot make a release of {description['parameter_count']}",
        )
    vectors = golden_vectors(files[SCORE], parameters, description["inputs"])
    theta = np.ascontiguousarray(parameters, "<f4").tobytes()
    return make_release(description, {**files, PARAMETERS: theta, GOLDEN: vectors}, signer)
