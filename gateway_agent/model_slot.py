"""This file knows onnxruntime, and nobody else in the gateway does: the model in use, and how it is exchanged.

A release goes live only after its graphs have been inspected, its golden vectors reproduced and one training step
done; until then, and when anything fails, the model before it goes on scoring. The exchange is one assignment.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from gateway_agent.prognosis_lives import LivesKnowledge
from schemas.errors import RejectedInput, ReleaseRejected, TensorsRejected
from schemas.feature_layout import FEATURE_LAYOUT
from schemas.lives import read_lives_file
from schemas.model_errors import ModelError
from schemas.onnx_inspect import ModelFacts, check_model
from schemas.release import GOLDEN_TOLERANCE, LIVES, SCORE, TRAIN_STEP, VARIATION, Release
from schemas.variation import Variation
from vibration.features import MODEL_FEATURES

INPUTS = MODEL_FEATURES.stop - MODEL_FEATURES.start
GOLDEN_FLOOR = 1e-6  # absolute part of the tolerance: scores are mean squares of about 1
SCORE_INPUTS, SCORE_OUTPUTS = {"x", "theta"}, ["score", "reconstruction"]
STEP_INPUTS = ("theta", "m", "v", "t", "anchor", "lr", "mu", "x", "weight")
STEP_OUTPUTS = 5

Rows = NDArray[np.float32]


class TrainStep:
    """One step of Adam with a pull to the anchor, as the graph of a release.

    Attributes:
        batch: Rows the graph takes at once; fewer are filled up with weight 0.
    """

    def __init__(self, model: bytes, batch: int) -> None:
        self._session = _open_session(model, TRAIN_STEP)
        self.batch = batch

    def __call__(
        self, theta: Rows, m: Rows, v: Rows, t: Rows, *, anchor: Rows, lr: float, mu: float, x: Rows, weight: Rows
    ) -> tuple[Rows, Rows, Rows, Rows, float]:
        """Return theta', m', v', t' and the weighted mean score of `x` before the step.

        Args:
            theta: Parameters, shape (P,).
            m: First moment, shape (P,).
            v: Second moment, shape (P,).
            t: Steps done, shape ().
            anchor: Where the pull goes, shape (P,).
            lr: Step size.
            mu: Weight of the pull.
            x: Rows, shape (batch, F), filled up.
            weight: Weight of each row, shape (batch,); 0 for filling.
        """
        sizes = {"lr": np.asarray(lr, np.float32), "mu": np.asarray(mu, np.float32)}
        feed = {"theta": theta, "m": m, "v": v, "t": t, "anchor": anchor, "x": x, "weight": weight, **sizes}
        theta, m, v, t, loss = self._session.run(None, feed)
        return theta, m, v, t, float(loss)


@dataclass(frozen=True, slots=True, eq=False)
class _Live:
    release: Release
    theta: Rows
    session: Any
    batch: int
    variation: Variation
    lives: LivesKnowledge


class ModelSlot:
    """Holds the model that scores; any thread may score while another loads."""

    def __init__(self) -> None:
        self._live: _Live | None = None

    @property
    def release(self) -> Release | None:
        """The release in use."""
        live = self._live
        return live.release if live else None

    @property
    def version(self) -> int:
        """Number of the release in use; 0 before the first."""
        live = self._live
        return live.release.version if live else 0

    @property
    def variation(self) -> Variation:
        """How healthy machines vary, as the release in use knows it."""
        live = self._live
        return live.variation if live else Variation()

    @property
    def lives(self) -> LivesKnowledge:
        """How machines wear out, as the release in use knows it."""
        live = self._live
        return live.lives if live else LivesKnowledge.none()

    def load(self, release: Release) -> None:
        """Take a release into use, or leave everything as it is.

        Raises:
            ReleaseRejected: With `reason` of `schemas.onnx_inspect`, or other_features, other_shape, bad_golden,
                cannot_run, not_finite.
        """
        self._live = _prepare(release)

    def score(self, rows: Rows) -> tuple[Rows, Rows]:
        """Score standardised rows.

        Args:
            rows: Shape (n, F), float32.

        Returns:
            Scores of shape (n,) and reconstructions of shape (n, F).
        """
        live = self._live
        assert live is not None, "nothing is loaded; ReleaseShelf.open loads the built-in release at least"
        score, reconstruction = live.session.run(SCORE_OUTPUTS, {"x": rows, "theta": live.theta})
        return score, reconstruction

    def train_step(self) -> TrainStep:
        """Open the training graph of the release in use; drop it after the round, it holds memory."""
        live = self._live
        assert live is not None, "nothing is loaded; ReleaseShelf.open loads the built-in release at least"
        return TrainStep(live.release.files[TRAIN_STEP], live.batch)


def _prepare(release: Release) -> _Live:
    manifest = release.manifest
    if manifest.features != FEATURE_LAYOUT or manifest.inputs != INPUTS:
        raise ReleaseRejected(
            "other_features",
            f"release {release.version} wants {manifest.inputs} features {manifest.features!r}; this gateway computes "
            f"{INPUTS} {FEATURE_LAYOUT!r}: update this gateway's software first",
        )
    _check_score(_inspect(release, SCORE), manifest.parameter_count)
    batch = _check_step(_inspect(release, TRAIN_STEP), manifest.parameter_count)
    theta = release.parameters()
    session = _open_session(release.files[SCORE], SCORE)
    try:
        _check_golden(release, session, theta)
        _try_step(TrainStep(release.files[TRAIN_STEP], batch), theta)
    except (ReleaseRejected, MemoryError):
        raise
    except Exception as error:  # onnxruntime has no common base for what its C++ throws
        raise ReleaseRejected("cannot_run", f"release {release.version} cannot run: {error}") from error
    return _Live(release, theta, session, batch, *_read_knowledge(release))


def _read_knowledge(release: Release) -> tuple[Variation, LivesKnowledge]:
    variation, lives = release.files.get(VARIATION), release.files.get(LIVES)
    try:
        return (
            Variation() if variation is None else Variation.unpack(variation),
            LivesKnowledge.none() if lives is None else LivesKnowledge(read_lives_file(lives)),
        )
    except RejectedInput as error:
        raise ReleaseRejected(
            error.reason, f"knowledge of release {release.version} cannot be used: {error}"
        ) from error


def _inspect(release: Release, name: str) -> ModelFacts:
    try:
        return check_model(release.files[name])
    except ModelError as error:
        raise ReleaseRejected(error.reason, f"{name} of release {release.version}: {error}") from error


def _check_score(facts: ModelFacts, parameters: int) -> None:
    inputs = {each.name: each.shape for each in facts.inputs}
    outputs = [each.name for each in facts.outputs]
    x = inputs.get("x", ())
    fits = len(x) == 2 and not isinstance(x[0], int) and x[1] == INPUTS and inputs.get("theta") == (parameters,)
    if set(inputs) != SCORE_INPUTS or outputs != SCORE_OUTPUTS or not fits:
        raise ReleaseRejected(
            "other_shape", f"{SCORE} takes {inputs} and gives {outputs}; x [N, {INPUTS}] and theta [{parameters}] to "
            f"{SCORE_OUTPUTS} allowed"
        )  # fmt: skip


def _check_step(facts: ModelFacts, parameters: int) -> int:
    inputs = {each.name: each.shape for each in facts.inputs}
    batch = (inputs.get("weight") or (0,))[0]
    vectors = all(inputs.get(name) == (parameters,) for name in ("theta", "m", "v", "anchor"))
    x_fits = isinstance(batch, int) and batch > 0 and inputs.get("x") == (batch, INPUTS)
    if set(inputs) != set(STEP_INPUTS) or len(facts.outputs) != STEP_OUTPUTS or not (vectors and x_fits):
        raise ReleaseRejected(
            "other_shape", f"{TRAIN_STEP} takes {inputs}; {', '.join(STEP_INPUTS)} for {parameters} parameters and "
            f"{INPUTS} features allowed"
        )  # fmt: skip
    assert isinstance(batch, int)
    return batch


def _check_golden(release: Release, session: Any, theta: Rows) -> None:
    try:
        x, expected = release.golden()
    except (TensorsRejected, KeyError, TypeError, ValueError) as error:
        raise ReleaseRejected("bad_golden", f"golden vectors cannot be read: {error!r}") from error
    if x.ndim != 2 or x.shape[1] != INPUTS or x.dtype != np.float32 or expected.shape != x.shape[:1] or not len(x):
        raise ReleaseRejected("bad_golden", f"golden vectors have shapes {x.shape} and {expected.shape}")
    score, reconstruction = session.run(SCORE_OUTPUTS, {"x": x, "theta": theta})
    if score.shape != expected.shape or reconstruction.shape != x.shape:
        raise ReleaseRejected("other_shape", f"{SCORE} gives shapes {score.shape} and {reconstruction.shape}")
    gap = np.abs(score - expected)
    if not (gap <= GOLDEN_FLOOR + GOLDEN_TOLERANCE * np.abs(expected)).all():  # false for NaN as well
        raise ReleaseRejected(
            "bad_golden", f"golden scores differ by up to {gap.max():.3g}, {GOLDEN_TOLERANCE:g} of each allowed"
        )


def _try_step(step: TrainStep, theta: Rows) -> None:
    zeros = np.zeros_like(theta)
    theta, *_, loss = step(
        theta, zeros, zeros, np.zeros((), np.float32), anchor=theta, lr=1e-3, mu=0.0,
        x=np.ones((step.batch, INPUTS), np.float32), weight=np.ones(step.batch, np.float32),
    )  # fmt: skip
    if theta.shape != zeros.shape or not (np.isfinite(theta).all() and np.isfinite(loss)):
        raise ReleaseRejected("not_finite", f"one step of {TRAIN_STEP} gives a loss of {loss} and unusable parameters")


def _open_session(model: bytes, name: str) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4  # what it would print, it also raises
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise ReleaseRejected("cannot_run", f"{name} cannot be opened: {error}") from error
