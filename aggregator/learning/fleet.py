"""This file knows how the fleet's parameters get into use at every site: told again until a site says so.

In a thread of its own, and no site is waited for longer than a moment: one that is busy answers later, one that has
gone answers when it is back. Rounds go on meanwhile.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping

from flwr.app import Message
from sqlalchemy.engine import Engine

from aggregator.carriers.port import Carrier
from aggregator.rollout import write_rollout
from schemas.learning_task import ADOPT, LearningTask
from schemas.logs import event
from schemas.release import TRAIN_STEP, VARIATION, Release
from schemas.variation import Variation
from schemas.variation_task import VariationMessage

log = logging.getLogger(__name__)

TICK_S = 0.5
REPEAT_S = 30.0
PATIENCE_S = 3.0  # a site in the middle of a round answers later, which is noted as well
_NAME = "adopt-"
_ANSWERS = r"adopt-([0-9]{1,18})"


class FleetPush:
    """Tells sites of the enterprise's current release.

    Attributes:
        fault: What ended the thread, if anything did.
    """

    def __init__(
        self, engine: Engine, carrier: Carrier, current: Callable[[], Release], clock_us: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._carrier = carrier
        self._current = current
        self._clock_us = clock_us
        self._told_at_s: dict[str, float] = {}
        self._adopted: dict[str, int] = {}
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="learning-fleet", daemon=True)

    def start(self) -> None:
        """Tell sites in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Tell no more."""
        self._stopping.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE_S + 5.0)

    def wake(self) -> None:
        """There is a new release."""
        self._told_at_s.clear()
        self._changed.set()

    def note(self, site: str, reply: Message) -> None:
        """Take a site's answer; also one that comes late, and then says itself to what."""
        said = re.fullmatch(_ANSWERS, reply.metadata.group_id)
        if said is None or int(said[1]) > self._current().version:
            event(log, logging.WARNING, "adoption_unasked", site=site, answers=reply.metadata.group_id[:80])
            return
        version = int(said[1])
        if reply.has_error():
            text = reply.error.reason or "no reason given"
            write_rollout(self._engine, version, site, "refused", text, self._clock_us())
            event(log, logging.ERROR, "fleet_refused", site=site, version=version, text=text)
        else:
            self._adopted[site] = max(version, self._adopted.get(site, 0))
            write_rollout(self._engine, version, site, "running", "", self._clock_us())

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._tell(self._current())
                self._changed.wait(TICK_S)
                self._changed.clear()
        except Exception as error:
            self.fault = error
            log.exception("learning_fleet_failed")

    def _tell(self, release: Release) -> None:
        if release.manifest.level != "fleet":
            return
        due = self._due(release.version)
        if not due:
            return
        task = LearningTask(
            round_number=release.version, base_version=release.version,
            graph=release.manifest.files[TRAIN_STEP].sha256, theta=release.parameters(),
            steps=0, learning_rate=0.0, proximal=0.0, seed=0,
        )  # fmt: skip
        content = task.record()
        if VARIATION in release.files:
            content.update(VariationMessage(Variation.unpack(release.files[VARIATION])).record())
        name = f"{_NAME}{release.version}"
        messages = [self._carrier.create_message(content, ADOPT, node, name) for node in due]
        for site in due.values():
            self._told_at_s[site] = time.monotonic()
            write_rollout(self._engine, release.version, site, "offered", "", self._clock_us())
        for reply in self._carrier.send_and_receive(messages, timeout=PATIENCE_S):
            self.note(due[reply.metadata.src_node_id], reply)

    def _due(self, version: int) -> Mapping[int, str]:
        now_s = time.monotonic()
        there = {node: self._carrier.member_of(node) or "" for node in self._carrier.get_node_ids()}
        return {
            node: site
            for node, site in there.items()
            if self._adopted.get(site, 0) < version and now_s - self._told_at_s.get(site, -REPEAT_S) >= REPEAT_S
        }
