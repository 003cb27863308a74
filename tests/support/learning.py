"""A plant that learns, in one process: releases made on the spot, members with known healthy rows, a small gateway.

`SmallGateway` is what a gateway agent does around learning: it takes releases in, says what it runs, and trains.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from flwr.app import Context, Message
from numpy.typing import NDArray

from aggregator.foundry.artefacts import BUILT
from aggregator.release_making import first_release
from aggregator.settings import AggregatorSettings
from gateway_agent.federation import LearningMember, make_client_app
from gateway_agent.model_slot import ModelSlot
from gateway_agent.personal_parameters import PersonalShelf
from gateway_agent.release_shelf import ReleaseShelf
from gateway_agent.session_sums import Session
from gateway_agent.settings import GatewaySettings
from schemas.flower_codec import ClientCall
from schemas.link import Link, Received
from schemas.messages import GatewayStatus, encode
from schemas.release import Release
from schemas.settings import BrokerSettings
from schemas.signing import AllowedKey, KeyRing, Role, Signer
from schemas.topics import RELEASE, STATUS
from tests.support.sessions import LAYOUT, session

GRAPHS = BUILT / "dense_autoencoder_48"
CREATED_AT_US = 1_700_000_000_000_000
FEATURES = 48

Rows = NDArray[np.float32]


def healthy_rows(seed: int, count: int = 320) -> Rows:
    """Standardised features of a healthy machine: three slow causes move all 48, plus a little noise."""
    draw = np.random.default_rng(seed)
    causes = draw.standard_normal((count, 3))
    mixing = np.random.default_rng(7).standard_normal((3, FEATURES)) + 0.2 * draw.standard_normal((3, FEATURES))
    rows = causes @ mixing / np.sqrt(3) + 0.2 * draw.standard_normal((count, FEATURES))
    healthy: Rows = rows.astype(np.float32)
    return healthy


class People:
    """Keys of everybody in a test, each on the list."""

    def __init__(self, people: Iterable[tuple[str, Role]]) -> None:
        self.signers = {name: Signer.generate() for name, _ in people}
        self.keys = KeyRing(AllowedKey(name, role, self.signers[name].public) for name, role in people)

    def __getitem__(self, name: str) -> Signer:
        return self.signers[name]


def builtin(signer: Signer, *, seed: int = 1, version: int = 1) -> Release:
    """The release everybody starts from."""
    return first_release(GRAPHS, signer, created_at_us=CREATED_AT_US, seed=seed, version=version)


def client_app(release: Release, rows: Rows) -> ClientCall:
    """The Flower app of a gateway that runs `release` and has `rows`."""
    slot = ModelSlot()
    slot.load(release)
    return make_client_app(lambda: release, slot.train_step, lambda: rows)


def site_settings(name: str, broker: BrokerSettings, **learning: object) -> AggregatorSettings:
    """Settings of an aggregator whose rounds are quick and run only when the test says so."""
    quick = {"enabled": False, "steps": 20, "deadline_s": 10.0, "learning_rate": 3e-3, **learning}
    return AggregatorSettings.model_validate(
        {"name": name, "broker": broker, "learning": quick, "rollout": {"staged": False}}
    )


class Held:
    """An app that counts its training and waits with each until it is let go."""

    def __init__(self, app: ClientCall) -> None:
        self._app = app
        self.asked = threading.Event()
        self.let_go = threading.Event()
        self.trained = 0

    def __call__(self, message: Message, context: Context) -> Message:
        if message.metadata.message_type == "train":
            self.trained += 1
            self.asked.set()
            assert self.let_go.wait(30)
        return self._app(message, context)


class SmallGateway:
    """A gateway without ingest: shelf, learning member, status; stopped or killed like one."""

    def __init__(
        self, name: str, site: str, broker: BrokerSettings, signer: Signer, keys: KeyRing, folder: Path,
        first: Release, rows: Callable[[], Rows], **learning: object,
    ) -> None:  # fmt: skip
        self.name = name
        self._signer = signer
        self._site = site
        if not (folder / "builtin").exists():
            first.save(folder / "builtin")
        self.shelf = ReleaseShelf(folder / "shelf", keys, builtin=folder / "builtin", personal=PersonalShelf(folder))
        self.shelf.open()
        settings = GatewaySettings.model_validate(
            {"site": site, "gateway": name, "broker": broker, "learning": learning}
        )  # fmt: skip
        heard = Session(session(sum(name.encode()), 12), LAYOUT)
        self.member = LearningMember(settings, signer, keys, self.shelf, rows, sessions=lambda: [heard])
        self._topic = RELEASE.path(site=site, gateway=name)
        self._arrived: queue.Queue[bytes | None] = queue.Queue(1000)
        self._worker = threading.Thread(target=self._take_releases, daemon=True)
        self._link = Link(
            broker, name, subscriptions=[(self._topic, RELEASE.qos)], on_message=self._hand_over,
            on_connected=self.say_status,
        )  # fmt: skip

    def start(self) -> "SmallGateway":
        self._worker.start()
        self._link.start()
        self.member.start()
        return self

    def stop(self) -> None:
        self.member.stop()
        self._arrived.put(None)
        self._worker.join(10)
        self._link.stop()

    def say_status(self) -> None:
        topic = STATUS.path(site=self._site, gateway=self.name)
        release = self.shelf.current
        status = GatewayStatus(
            gateway=self.name, online=True, boot=1, at_us=time.time_ns() // 1000, software="test",
            release_version=release.version, release_digest=release.digest, release_problem=self.shelf.problem,
        )  # fmt: skip
        self._link.publish(topic, self._signer.seal(topic, encode(status)), retained=True)

    def _hand_over(self, received: Received) -> None:
        self._arrived.put_nowait(received.payload)

    def _take_releases(self) -> None:
        while (payload := self._arrived.get()) is not None:
            problem = self.shelf.problem
            taken = self.shelf.receive(self._topic, payload, site=self._site, now_s=time.monotonic())
            if taken is not None or self.shelf.problem != problem:
                self.say_status()


def wait_until(true: Callable[[], bool], within_s: float = 10.0) -> bool:
    """Poll what no event announces, such as a row another thread writes."""
    give_up_at_s = time.monotonic() + within_s
    tick = threading.Event()
    while not true():
        if time.monotonic() >= give_up_at_s:
            return False
        tick.wait(0.02)
    return True
