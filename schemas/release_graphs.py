"""This file knows what must hold of a release's graphs before anybody runs them, wherever it is made or taken in.

What a file says is read here; what it computes is run by the caller, who has a runtime.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from schemas.errors import RejectedInput, ReleaseRejected, TensorsRejected
from schemas.feature_layout import FEATURE_LAYOUT
from schemas.lives import LifeSums, read_lives_file
from schemas.model_errors import ModelError
from schemas.onnx_inspect import ModelFacts, check_model
from schemas.release import GOLDEN_TOLERANCE, LIVES, PARAMETERS, SCORE, SPEC, TEACHER, TRAIN_STEP, VARIATION, Release
from schemas.training_graph import TrainingGraph, check_roles, read_training_graph
from schemas.variation import Variation
from vibration.features import MODEL_FEATURES

INPUTS = MODEL_FEATURES.stop - MODEL_FEATURES.start
GOLDEN_FLOOR = 1e-6  # absolute part of the tolerance: scores are mean squares of about 1
SCORE_INPUTS, SCORE_OUTPUTS = {"x", "theta"}, ["score", "reconstruction"]

Rows = NDArray[np.float32]
Score: TypeAlias = Callable[[Rows], tuple[Rows, Rows]]
"""Rows (n, F) to scores (n,) and reconstructions (n, F), by the release's inference graph and parameters."""


def check_features(release: Release) -> None:
    """Refuse a model of other features than this software computes.

    Raises:
        ReleaseRejected: other_features.
    """
    manifest = release.manifest
    if manifest.features != FEATURE_LAYOUT or manifest.inputs != INPUTS:
        raise ReleaseRejected(
            "other_features",
            f"release {release.version} wants {manifest.inputs} features {manifest.features!r}; this software computes "
            f"{INPUTS} {FEATURE_LAYOUT!r}: update the software first",
        )


def check_score(release: Release) -> None:
    """Refuse an inference graph that a gateway may not open, or that takes and gives other than it must.

    Raises:
        ReleaseRejected: With `reason` of `schemas.onnx_inspect`, or other_shape.
    """
    facts, parameters = _inspect(release, SCORE), release.manifest.parameter_count
    inputs = {each.name: each.shape for each in facts.inputs}
    outputs = [each.name for each in facts.outputs]
    x = inputs.get("x", ())
    fits = len(x) == 2 and not isinstance(x[0], int) and x[1] == INPUTS and inputs.get("theta") == (parameters,)
    if set(inputs) != SCORE_INPUTS or outputs != SCORE_OUTPUTS or not fits:
        raise ReleaseRejected(
            "other_shape", f"{SCORE} takes {inputs} and gives {outputs}; x [N, {INPUTS}] and theta [{parameters}] to "
            f"{SCORE_OUTPUTS} allowed"
        )  # fmt: skip


def check_step(release: Release) -> TrainingGraph:
    """Hold what spec.json says of the training graph against the graph, and give it.

    Raises:
        ReleaseRejected: With `reason` of `schemas.onnx_inspect` or `schemas.training_graph`, or other_shape.
    """
    facts = _inspect(release, TRAIN_STEP)
    graph = read_training_graph(release.files[SPEC], release.manifest.files[TRAIN_STEP].sha256)
    said = {each.name: each.shape for each in graph.inputs}
    inputs = {each.name: each.shape for each in facts.inputs}
    outputs = tuple(each.name for each in facts.outputs)
    if inputs != said or outputs != graph.outputs:
        raise ReleaseRejected(
            "other_shape", f"{TRAIN_STEP} takes {inputs} and gives {outputs}; {SPEC} says {said} and {graph.outputs}"
        )
    check_roles(graph, release.manifest.parameter_count, INPUTS)
    return graph


def teacher_of(release: Release) -> Rows:
    """Parameters to learn from (P,): the release's teacher, or its own where it has none.

    Raises:
        ReleaseRejected: bad_teacher.
    """
    teacher = np.frombuffer(release.files.get(TEACHER, release.files[PARAMETERS]), "<f4")
    if teacher.size != release.manifest.parameter_count or not np.isfinite(teacher).all():
        raise ReleaseRejected(
            "bad_teacher",
            f"{TEACHER} holds {teacher.size} parameters, {release.manifest.parameter_count} finite needed",
        )
    return teacher


def read_knowledge(release: Release) -> tuple[Variation, LifeSums]:
    """What the release knows beside its model.

    Raises:
        ReleaseRejected: It cannot be read; the reason says what of it.
    """
    variation, lives = release.files.get(VARIATION), release.files.get(LIVES)
    try:
        return (
            Variation() if variation is None else Variation.unpack(variation),
            LifeSums.none() if lives is None else read_lives_file(lives),
        )
    except RejectedInput as error:
        raise ReleaseRejected(
            error.reason, f"knowledge of release {release.version} cannot be used: {error}"
        ) from error


def check_golden(release: Release, score: Score) -> None:
    """Refuse a release whose graph does not reproduce its known inputs and outputs here.

    Raises:
        ReleaseRejected: bad_golden, or other_shape.
    """
    try:
        x, expected = release.golden()
    except (TensorsRejected, KeyError, TypeError, ValueError) as error:
        raise ReleaseRejected("bad_golden", f"golden vectors cannot be read: {error!r}") from error
    if x.ndim != 2 or x.shape[1] != INPUTS or x.dtype != np.float32 or expected.shape != x.shape[:1] or not len(x):
        raise ReleaseRejected("bad_golden", f"golden vectors have shapes {x.shape} and {expected.shape}")
    found, reconstruction = score(x)
    if found.shape != expected.shape or reconstruction.shape != x.shape:
        raise ReleaseRejected("other_shape", f"{SCORE} gives shapes {found.shape} and {reconstruction.shape}")
    gap = np.abs(found - expected)
    if not (gap <= GOLDEN_FLOOR + GOLDEN_TOLERANCE * np.abs(expected)).all():  # false for NaN as well
        raise ReleaseRejected(
            "bad_golden", f"golden scores differ by up to {gap.max():.3g}, {GOLDEN_TOLERANCE:g} of each allowed"
        )


def _inspect(release: Release, name: str) -> ModelFacts:
    try:
        return check_model(release.files[name])
    except ModelError as error:
        raise ReleaseRejected(error.reason, f"{name} of release {release.version}: {error}") from error
