"""This file knows how the current release gets onto every gateway: offered until it runs there, or was refused.

What a gateway runs is what its own status says, nothing else.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import writing
from schemas.errors import RejectedInput, SignatureRejected
from schemas.link import Link, Received
from schemas.logs import event
from schemas.member_link import send_in_fragments
from schemas.messages import GatewayStatus, decode
from schemas.release import Release
from schemas.settings import BrokerSettings
from schemas.signing import KeyRing, Signer
from schemas.site_tables import rollout as rollout_table
from schemas.topics import RELEASE, STATUS

log = logging.getLogger(__name__)

REPEAT_S = 30.0  # three statuses at their usual rate: by then a gateway that took a release has said so
PATIENCE_S = 5.0

State = Literal["offered", "running", "refused"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one gateway: what to write down (None: nothing), and whether to offer now."""

    state: State | None
    offer: bool
    text: str = ""


def decide(
    release_version: int, digest: str, status: GatewayStatus, *, offered_at_s: float | None, now_s: float
) -> Decision:
    """Decide from what a gateway says.

    Args:
        release_version: Of the release that is to run.
        digest: Of the release that is to run.
        status: What the gateway said last.
        offered_at_s: When it was offered last; None if never.
        now_s: Now, on the same clock.
    """
    if status.release_digest == digest:
        return Decision("running", offer=False)
    if status.release_problem.startswith(f"release {release_version} refused"):
        return Decision("refused", offer=False, text=status.release_problem)
    if status.release_version > release_version:
        text = f"runs release {status.release_version}, newer than any of this site; the next release goes above it"
        return Decision("refused", offer=False, text=text)
    if not status.online:
        return Decision(None, offer=False)
    due = offered_at_s is None or now_s - offered_at_s >= REPEAT_S
    return Decision("offered" if due else None, offer=due)


class Rollout:
    """Offers the current release to the gateways of a site, on a connection and in a thread of its own.

    Attributes:
        fault: What ended the thread, if anything did.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        site: str,
        current: Callable[[], Release],
        engine: Engine,
        *,
        signer: Signer,
        keys: KeyRing,
        clock_us: Callable[[], int],
    ) -> None:
        self._site = site
        self._current = current
        self._engine = engine
        self._signer = signer
        self._keys = keys
        self._clock_us = clock_us
        self._changed = threading.Condition()
        self._stale = True
        self._statuses: dict[str, GatewayStatus] = {}
        self._offered_at_s: dict[tuple[str, int], float] = {}
        self._written: dict[str, tuple[int, str, str]] = {}
        self._items = 0
        self._stopping = threading.Event()
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="rollout", daemon=True)
        self._link = Link(
            broker,
            f"{site}-rollout",
            subscriptions=[(STATUS.filter(site=site), STATUS.qos)],
            on_message=self._receive,
            on_connected=self.wake,
            persistent=False,  # so that retained statuses come again after a restart
        )

    def start(self) -> None:
        """Connect and offer in the background."""
        self._link.start()
        self._thread.start()

    def stop(self) -> None:
        """End the thread and disconnect."""
        self._stopping.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(PATIENCE_S + 5.0)
        self._link.stop()

    def wake(self) -> None:
        """Look again now: there is a new release, or something has changed."""
        with self._changed:
            self._stale = True
            self._changed.notify_all()

    @property
    def highest_version(self) -> int:
        """The highest version any gateway says it runs."""
        with self._changed:
            return max((status.release_version for status in self._statuses.values()), default=0)

    def wait_running(self, gateways: int, timeout_s: float) -> bool:
        """Wait until the current release runs on so many gateways; tell whether it came to that."""
        digest = self._current().digest

        def running() -> bool:
            return sum(status.release_digest == digest for status in self._statuses.values()) >= gateways

        with self._changed:
            return self._changed.wait_for(running, timeout_s)

    def _receive(self, received: Received) -> None:
        names = STATUS.match(received.topic)
        if names is None or not received.payload:
            return
        try:
            body = self._keys.open(received.topic, received.payload, role="gateway", name=names["gateway"])
            status = decode(GatewayStatus, body)
        except (RejectedInput, SignatureRejected) as error:
            event(log, logging.WARNING, "status_refused", topic=received.topic, reason=error.reason)
            return
        if status.gateway != names["gateway"]:
            event(log, logging.WARNING, "status_refused", topic=received.topic, reason="wrong_sender")
            return
        with self._changed:
            self._statuses[status.gateway] = status
            self._stale = True
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                with self._changed:
                    self._changed.wait_for(lambda: self._stale or self._stopping.is_set(), REPEAT_S / 4)
                    self._stale = False
                    statuses = dict(self._statuses)
                if statuses and not self._stopping.is_set():
                    self._serve(self._current(), statuses)
        except Exception as error:
            self.fault = error
            log.exception("rollout_failed")

    def _serve(self, release: Release, statuses: dict[str, GatewayStatus]) -> None:
        for gateway, status in sorted(statuses.items()):
            offered_at_s = self._offered_at_s.get((gateway, release.version))
            decision = decide(
                release.version, release.digest, status, offered_at_s=offered_at_s, now_s=time.monotonic()
            )
            if decision.state is not None:
                self._write(gateway, release.version, decision.state, decision.text)
            if decision.offer:
                self._offer(gateway, release)

    def _offer(self, gateway: str, release: Release) -> None:
        self._items += 1
        topic = RELEASE.path(site=self._site, gateway=gateway)
        sent_bytes = send_in_fragments(
            self._link, self._signer, topic, release.bundle(),
            stream=release.version, item=self._clock_us() + self._items, give_up=self._stopping, patience_s=PATIENCE_S,
        )  # fmt: skip
        if sent_bytes:
            self._offered_at_s = {
                key: at_s for key, at_s in self._offered_at_s.items() if key[1] == release.version
            } | {(gateway, release.version): time.monotonic()}
            event(log, logging.INFO, "release_offered", gateway=gateway, version=release.version, bytes=sent_bytes)

    def _write(self, gateway: str, version: int, state: State, text: str) -> None:
        if self._written.get(gateway) == (version, state, text):
            return
        write_rollout(self._engine, version, gateway, state, text, self._clock_us())
        self._written[gateway] = (version, state, text)
        level = logging.ERROR if state == "refused" else logging.INFO
        event(log, level, f"release_{state}", gateway=gateway, version=version, text=text)


def write_rollout(engine: Engine, version: int, taker: str, state: State, text: str, at_us: int) -> None:
    """Write down how far a release has come at one gateway, or below an enterprise at one site."""
    mine = (rollout_table.c.release_version == version) & (rollout_table.c.gateway == taker)
    values = {"state": state, "text": text, "at_us": at_us}
    with writing(engine) as connection:
        if not connection.execute(sa.update(rollout_table).where(mine).values(values)).rowcount:
            connection.execute(sa.insert(rollout_table).values(release_version=version, gateway=taker, **values))
