"""This file knows onnxruntime, and nobody else in the gateway does: the model in use, and how it is exchanged.

A release goes live only after its graphs have been inspected, its golden vectors reproduced and one training step
done; until then, and when anything fails, the model before it goes on scoring. The exchange is one assignment.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from gateway_agent.prognosis_lives import LivesKnowledge
from gateway_agent.training import NOTHING_OWN, OwnParameters, TrainingRefused, try_once
from schemas.errors import ReleaseRejected
from schemas.parameter_levels import ParameterLevels
from schemas.release import SCORE, SPEC, TRAIN_STEP, Release
from schemas.release_graphs import (
    SCORE_OUTPUTS,
    check_features,
    check_golden,
    check_score,
    check_step,
    read_knowledge,
    teacher_of,
)
from schemas.training_graph import TrainingGraph
from schemas.variation import Variation

Rows = NDArray[np.float32]


class BoundGraph:
    """A graph that is run over and over on what it has given: its results lie where the next run takes them.

    Measured for 18,704 parameters and batches of 32, beside `run`, which makes new arrays each time: 128 against 147
    microseconds a step.

    Attributes:
        outputs: Names of what it gives, in its order.
    """

    def __init__(self, model: bytes, name: str) -> None:
        session = _open_session(model, name, keep_memory=True)
        self.outputs = tuple(each.name for each in session.get_outputs())
        self._turns = [_Turn(session), _Turn(session)]

    def run(self, feed: Mapping[str, Rows]) -> dict[str, Rows]:
        """Inputs by name to outputs by name, which hold until the run after the next."""
        self._turns.reverse()
        return self._turns[0].run(feed)


class _Turn:
    """One of two sets of results."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._bound: dict[str, Rows] = {}
        self._results: dict[str, Rows] = {each.name: np.zeros(each.shape, np.float32) for each in session.get_outputs()}
        for name, result in self._results.items():
            self._binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(result))

    def run(self, feed: Mapping[str, Rows]) -> dict[str, Rows]:
        for name, value in feed.items():
            if self._bound.get(name) is not value:
                self._binding.bind_cpu_input(name, value)
                self._bound[name] = value  # the runtime reads its memory, and does not keep it alive
        self._session.run_with_iobinding(self._binding)
        return self._results


class TrainStep:
    """One step of learning, as the graph of a release, and what of the release it needs beside it.

    Attributes:
        graph: What goes in and comes out.
        levels: Which parameters are merged where.
        teacher: Parameters to learn from, shape (P,).
    """

    def __init__(self, model: bytes, graph: TrainingGraph, levels: ParameterLevels, teacher: Rows, score: Any) -> None:
        self._bound = BoundGraph(model, TRAIN_STEP)
        self._score = score
        self.graph = graph
        self.levels = levels
        self.teacher = teacher

    def __call__(self, feed: Mapping[str, Rows]) -> dict[str, Rows]:
        """Run the graph once: inputs by name to outputs by name, which hold until the call after the next."""
        return self._bound.run(feed)

    def score(self, theta: Rows, rows: Rows) -> Rows:
        """Scores, shape (n,), that parameters (P,) give rows (n, F)."""
        score: Rows = self._score.run(SCORE_OUTPUTS[:1], {"x": rows, "theta": theta})[0]
        return score


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """One release as it scores; never changes, so that a point may keep it with the limits calibrated by it.

    Attributes:
        release: What it was made from.
        theta: What it scores by: the release's parameters, with this gateway's own in their places.
        session: The runtime of its inference graph.
        training: What its training graph takes and gives.
        levels: Which of its parameters are merged where.
        teacher: Parameters that training may learn from.
        variation: How healthy machines vary, as the release knows it.
        lives: How machines wear out, as the release knows it.
    """

    release: Release
    theta: Rows
    session: Any
    training: TrainingGraph
    levels: ParameterLevels
    teacher: Rows
    variation: Variation
    lives: LivesKnowledge

    @property
    def version(self) -> int:
        """Number of the release."""
        return self.release.version

    def score(self, rows: Rows) -> tuple[Rows, Rows]:
        """Score standardised rows.

        Args:
            rows: Shape (n, F), float32.

        Returns:
            Scores of shape (n,) and reconstructions of shape (n, F).
        """
        score, reconstruction = self.session.run(SCORE_OUTPUTS, {"x": rows, "theta": self.theta})
        return score, reconstruction

    def train_step(self) -> TrainStep:
        """Open the training graph; drop it after use, it holds memory."""
        files = self.release.files
        return TrainStep(files[TRAIN_STEP], self.training, self.levels, self.teacher, self.session)


class ModelSlot:
    """Holds the model in use; any thread may score while another loads."""

    def __init__(self) -> None:
        self._live: LoadedModel | None = None

    @property
    def loaded(self) -> LoadedModel:
        """The model in use, as it is now: it stays the same when another is loaded."""
        live = self._live
        assert live is not None, "nothing is loaded; ReleaseShelf.open loads the built-in release at least"
        return live

    @property
    def release(self) -> Release | None:
        """The release in use."""
        live = self._live
        return live.release if live else None

    @property
    def version(self) -> int:
        """Number of the release in use; 0 before the first."""
        live = self._live
        return live.version if live else 0

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

    def load(self, release: Release, own: OwnParameters = NOTHING_OWN) -> None:
        """Take a release into use, or leave everything as it is; errors as in `load_model`."""
        self._live = load_model(release, self._live, own)

    def score(self, rows: Rows) -> tuple[Rows, Rows]:
        """Score by the model in use; see `LoadedModel.score`."""
        return self.loaded.score(rows)

    def train_step(self) -> TrainStep:
        """Open the training graph of the release in use; drop it after the round, it holds memory."""
        return self.loaded.train_step()


def load_model(release: Release, like: LoadedModel | None = None, own: OwnParameters = NOTHING_OWN) -> LoadedModel:
    """Make a release ready to score: graphs inspected, golden vectors reproduced, one training step done.

    Args:
        release: Signed, its digests checked.
        like: A model whose graphs may be the same: what was inspected and opened then serves both, for parameters
            are an input. Most releases differ in nothing else.
        own: What this gateway has learnt for itself. Golden vectors are of the release alone.

    Raises:
        ReleaseRejected: With `reason` of `schemas.onnx_inspect`, or other_features, other_shape, bad_golden,
            cannot_run, not_finite, bad_levels, bad_teacher, and of `schemas.training_graph` bad_spec, unknown_role,
            wrong_role.
    """
    manifest = release.manifest
    check_features(release)
    scores_alike = like is not None and _same(release, like.release, SCORE)
    if not scores_alike:
        check_score(release)
    if like is not None and _same(release, like.release, TRAIN_STEP, SPEC):
        training = like.training
    else:
        training = check_step(release)
    levels = ParameterLevels.of(release.spec().get("parameters"), manifest.levels, manifest.parameter_count)
    teacher, theta = teacher_of(release), release.parameters()
    session = like.session if like is not None and scores_alike else _open_session(release.files[SCORE], SCORE)
    try:
        check_golden(release, lambda x: session.run(SCORE_OUTPUTS, {"x": x, "theta": theta}))
        try_once(TrainStep(release.files[TRAIN_STEP], training, levels, teacher, session), theta)
    except (ReleaseRejected, MemoryError):
        raise
    except TrainingRefused as error:
        raise ReleaseRejected("not_finite", f"{TRAIN_STEP} of release {release.version}: {error}") from error
    except Exception as error:  # onnxruntime has no common base for what its C++ throws
        raise ReleaseRejected("cannot_run", f"release {release.version} cannot run: {error}") from error
    variation, lives = read_knowledge(release)
    return LoadedModel(
        release, _scoring(theta, own, training, levels), session, training, levels, teacher, variation,
        LivesKnowledge(lives),
    )  # fmt: skip


def _scoring(theta: Rows, own: OwnParameters, training: TrainingGraph, levels: ParameterLevels) -> Rows:
    if own.personal is not None and training.named("personal"):
        theta = own.personal
    return theta if own.machine is None else np.where(levels.machine, own.machine, theta)


def _same(release: Release, other: Release, *files: str) -> bool:
    """Whether files of two releases are the same bytes, for as many parameters."""
    alike = release.manifest.parameter_count == other.manifest.parameter_count
    return alike and all(release.files[name] == other.files[name] for name in files)


def _open_session(model: bytes, name: str, *, keep_memory: bool = False) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = (
        keep_memory  # without, a step of a convolution of 47,802 parameters takes twice as long
    )
    options.log_severity_level = 4  # what it would print, it also raises
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise ReleaseRejected("cannot_run", f"{name} cannot be opened: {error}") from error
