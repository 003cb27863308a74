"""This file knows how a gateway takes part in learning: its Flower app, and the link that serves it to the site."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from gateway_agent.release_shelf import ReleaseShelf
from gateway_agent.session_sums import Session, answer_variation
from gateway_agent.settings import GatewaySettings
from gateway_agent.training import MIN_ROWS, Rows, Step, TrainingRefused, mean_score, split_by_time, train
from schemas.learning_task import EvaluationReply, LearningTask, TrainingReply
from schemas.member_link import MemberLink, Membership
from schemas.release import TRAIN_STEP, Release
from schemas.signing import KeyRing, Signer
from schemas.variation_task import ACTION, VariationMessage

if TYPE_CHECKING:
    from collections import Counter

HealthyRows = Callable[[], Rows]
"""Standardised rows of healthy captures, shape (n, F), oldest first, all points of the gateway."""

HealthySessions = Callable[[], Sequence[Session]]
"""Healthy captures of every commissioned point."""

MAX_STEPS = 10_000  # a site may ask for much, but not for a gateway's whole day
MAX_LEARNING_RATE = 0.1
MAX_PROXIMAL = 10.0


def make_client_app(
    release: Callable[[], Release],
    open_step: Callable[[], Step],
    healthy_rows: HealthyRows,
    *,
    min_rows: int = MIN_ROWS,
    sessions: HealthySessions = tuple,
) -> ClientApp:
    """Make the Flower app of one gateway; the same for every carrier.

    Args:
        release: The release in use.
        open_step: Opens its training graph; it is dropped when the task is done.
        healthy_rows: See `HealthyRows`.
        min_rows: With fewer the gateway does not learn.
        sessions: See `HealthySessions`.
    """
    app = ClientApp()

    @app.train()
    def learn(message: Message, _context: Context) -> Message:
        task = LearningTask.read(message)
        _check(task, release())
        result = train(
            task.theta, healthy_rows(), open_step(),
            steps=task.steps, learning_rate=task.learning_rate, proximal=task.proximal, seed=task.seed,
            min_rows=min_rows,
        )  # fmt: skip
        reply = TrainingReply(
            base_version=task.base_version,
            delta=result.delta,
            weight=result.weight,
            loss_before=result.loss_before,
            loss_after=result.loss_after,
            held_back_rows=result.held_back_rows,
        )
        return Message(reply.record(), reply_to=message)

    @app.evaluate()
    def judge(message: Message, _context: Context) -> Message:
        task = LearningTask.read(message)
        _check(task, release())
        _, held_back = split_by_time(healthy_rows(), min_rows=min_rows)
        loss = mean_score(task.theta, held_back, open_step())
        return Message(EvaluationReply(loss, len(held_back)).record(), reply_to=message)

    @app.query(ACTION)
    def tell_variation(message: Message, _context: Context) -> Message:
        known = VariationMessage.read(message).known
        return Message(VariationMessage(answer_variation(sessions(), known)).record(), reply_to=message)

    return app


def _check(task: LearningTask, release: Release) -> None:
    """Refuse a task this gateway cannot or must not do.

    Raises:
        TrainingRefused: Its parameters fit no graph here, or it asks beyond the limits.
    """
    manifest = release.manifest
    if task.graph != manifest.files[TRAIN_STEP].sha256:
        raise TrainingRefused(
            f"base release {task.base_version} is of another model than release {release.version} in use here; "
            "it must be rolled out first"
        )
    theta = task.theta
    if theta.shape != (manifest.parameter_count,) or theta.dtype != np.float32:
        raise TrainingRefused(f"parameters are {theta.dtype} {theta.shape}, float32 ({manifest.parameter_count},) fit")
    if not np.isfinite(theta).all():
        raise TrainingRefused("parameters hold NaN or infinity")
    allowed = (
        1 <= task.steps <= MAX_STEPS
        and 0 < task.learning_rate <= MAX_LEARNING_RATE
        and 0 <= task.proximal <= MAX_PROXIMAL
        and task.seed >= 0
    )
    if not allowed:
        raise TrainingRefused(
            f"steps {task.steps}, learning_rate {task.learning_rate}, proximal {task.proximal}, seed {task.seed} "
            f"asked; 1 to {MAX_STEPS}, up to {MAX_LEARNING_RATE}, up to {MAX_PROXIMAL}, from 0 allowed"
        )


def _wall_clock_us() -> int:
    return time.time_ns() // 1000


class LearningMember:
    """This gateway as a member of its site's learning; learns in a thread of its own, ingest never waits for it."""

    def __init__(
        self,
        settings: GatewaySettings,
        signer: Signer,
        keys: KeyRing,
        shelf: ReleaseShelf,
        healthy_rows: HealthyRows,
        *,
        sessions: HealthySessions = tuple,
        clock_us: Callable[[], int] = _wall_clock_us,
    ) -> None:
        rows = settings.learning.window_rows
        app = make_client_app(
            lambda: shelf.current, shelf.slot.train_step, lambda: healthy_rows()[-rows:], sessions=sessions
        )  # fmt: skip
        self._link = MemberLink(
            settings.broker,
            Membership(settings.site, "site", settings.gateway),
            app,
            signer=signer,
            keys=keys,
            clock_us=clock_us,
        )

    @property
    def counters(self) -> "Counter[str]":
        """Tasks answered and repeated, and what was dropped by reason."""
        return self._link.counters

    @property
    def fault(self) -> Exception | None:
        """What ended the thread that learns, if anything did."""
        return self._link.fault

    def start(self) -> None:
        """Connect in the background and answer the site from now on."""
        self._link.start()

    def stop(self) -> None:
        """Withdraw, finish the task under way, disconnect."""
        self._link.stop()
