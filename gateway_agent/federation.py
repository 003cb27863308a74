"""This file knows how a gateway takes part in learning: its Flower app, and what serves it to the site."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from gateway_agent.own_condition import own_condition
from gateway_agent.personal_parameters import PersonalShelf
from gateway_agent.release_shelf import ReleaseShelf
from gateway_agent.session_sums import Session, answer_variation
from gateway_agent.settings import GatewaySettings
from gateway_agent.supernode_door import SuperNodeDoor
from gateway_agent.training import MIN_ROWS, Noise, Rows, Step, TrainingRefused, check_settings, held_back_loss, train
from schemas.learning_task import EvaluationReply, LearningTask, TrainingReply
from schemas.member_condition import RECORD as CONDITION
from schemas.member_link import MemberLink, Membership
from schemas.messages import MemberReport
from schemas.release import SPEC, TRAIN_STEP, Release
from schemas.signing import KeyRing, Signer
from schemas.training_graph import read_training_graph
from schemas.variation_task import ACTION, VariationMessage

HealthyRows = Callable[[], Rows]
"""Standardised rows of healthy captures, shape (n, F), oldest first, all points of the gateway."""

HealthySessions = Callable[[], Sequence[Session]]
"""Healthy captures of every commissioned point."""

MAX_STEPS = 10_000  # a site may ask for much, but not for a gateway's whole day


def make_client_app(
    release: Callable[[], Release],
    open_step: Callable[[], Step],
    healthy_rows: HealthyRows,
    *,
    min_rows: int = MIN_ROWS,
    sessions: HealthySessions = tuple,
    personal: PersonalShelf | None = None,
    noise_secret: bytes | None = None,
) -> ClientApp:
    """Make the Flower app of one gateway; the same for every carrier.

    Args:
        release: The release in use.
        open_step: Opens its training graph; it is dropped when the task is done.
        healthy_rows: See `HealthyRows`.
        min_rows: With fewer the gateway does not learn.
        sessions: See `HealthySessions`.
        personal: Where this gateway's own parameters are kept; else they live as long as the app.
        noise_secret: What noise is drawn from, where a rule hides rows behind some; else it lives as long as the app.
    """
    app = ClientApp()
    shelf, secret = personal or PersonalShelf(), noise_secret or secrets.token_bytes(32)

    @app.train()
    def learn(message: Message, _context: Context) -> Message:
        task, in_use = LearningTask.read(message), release()
        _check(task, in_use)
        own, rows = shelf.before(in_use, _name(task)), healthy_rows()
        result = train(
            task.theta, rows, open_step(),
            steps=task.steps, learning_rate=task.learning_rate, proximal=task.proximal, seed=task.seed,
            settings=task.settings, own=own, noise=_noise_of(secret, _name(task), rows), min_rows=min_rows,
        )  # fmt: skip
        shelf.keep(in_use, _name(task), own, result.own)
        reply = TrainingReply(
            base_version=task.base_version,
            delta=result.delta,
            weight=result.weight,
            loss_before=result.loss_before,
            loss_after=result.loss_after,
            held_back_rows=result.held_back_rows,
        )
        content = reply.record()
        content[CONDITION] = own_condition(len(rows)).record()
        return Message(content, reply_to=message)

    @app.evaluate()
    def judge(message: Message, _context: Context) -> Message:
        task, in_use = LearningTask.read(message), release()
        _check(task, in_use)
        loss, rows = held_back_loss(
            task.theta, healthy_rows(), open_step(),
            settings=_asked(task), own=shelf.current(in_use), min_rows=min_rows,
        )  # fmt: skip
        return Message(EvaluationReply(loss, rows).record(), reply_to=message)

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
    if not 1 <= task.steps <= MAX_STEPS or task.seed < 0:
        raise TrainingRefused(f"steps {task.steps}, seed {task.seed} asked; 1 to {MAX_STEPS}, from 0 allowed")
    check_settings(read_training_graph(release.files[SPEC], task.graph), _asked(task))


def _asked(task: LearningTask) -> dict[str, float]:
    return {"learning_rate": task.learning_rate, "proximal": task.proximal, **task.settings}


def _name(task: LearningTask) -> str:
    """Name a task by what it asks: asked again after a crash, it is the same."""
    theta = hashlib.sha256(np.ascontiguousarray(task.theta).tobytes()).hexdigest()
    return f"{task.round_number}:{task.base_version}:{task.seed}:{task.steps}:{sorted(_asked(task).items())}:{theta}"


def _noise_of(secret: bytes, task: str, rows: Rows) -> Noise:
    """Standard normal numbers that only this gateway can draw: a seed that the site knows would let it take them off.

    The same task on the same rows has the same noise, so that asking again does not average it out; on other rows it
    has other noise, so that the difference of two answers does not show what has come.
    """
    asked = task.encode() + hashlib.sha256(np.ascontiguousarray(rows).tobytes()).digest()
    draw = np.random.default_rng(int.from_bytes(hmac.digest(secret, asked, "sha256"), "big"))
    return lambda count: draw.standard_normal(count, np.float32)


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
            lambda: shelf.current, shelf.slot.train_step, lambda: healthy_rows()[-rows:], sessions=sessions,
            personal=shelf.personal,
            noise_secret=hashlib.sha256(signer.sign(b"noise of training")).digest(),
        )  # fmt: skip
        learning = settings.learning
        self._link: MemberLink | SuperNodeDoor = (
            MemberLink(
                settings.broker,
                Membership(settings.site, "site", settings.gateway),
                app,
                signer=signer,
                keys=keys,
                clock_us=clock_us,
            )
            if learning.supernode_socket is None
            else SuperNodeDoor(
                learning.supernode_socket, learning.supernode_group, settings.gateway, app, clock_us=clock_us
            )
        )

    def report(self) -> MemberReport | None:
        """What has become of tasks and updates since the start; None before the first."""
        return self._link.report()

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
