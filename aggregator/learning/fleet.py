"""This file knows how the fleet's parameters get into use at every site: told again until a site says so.

In a thread of its own, and no site is waited for longer than a moment: one that is busy answers later, one that has
gone answers when it is back. Rounds go on meanwhile.
"""

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

from flwr.app import Message, RecordDict
from pydantic import ValidationError
from sqlalchemy.engine import Engine

from aggregator.carriers.port import Carrier
from aggregator.registry import Registry
from aggregator.rollout import State, write_rollout
from schemas.flower_codec import CLIENT_FAILED
from schemas.learning_task import ADOPT, NEEDS_RELEASE, LearningTask, add_whole_release, is_in_use
from schemas.logs import event
from schemas.messages import GateReport
from schemas.release import TRAIN_STEP, VARIATION, Release
from schemas.release_fate import ReleaseFate
from schemas.variation import Variation
from schemas.variation_task import VariationMessage

log = logging.getLogger(__name__)

TICK_S = 0.5
REPEAT_S = 30.0
LONGEST_REPEAT_S = 3600.0  # to a site that refuses: it may have learnt better, and parameters are large
PATIENCE_S = 3.0  # a site in the middle of a round answers later, which is noted as well
GATE_FIGURES = ("auroc", "auroc_in_use", "loss", "loss_in_use", "false_alarm_rate", "false_alarm_rate_in_use")
_NAME = "adopt-"
_ANSWERS = r"adopt-([0-9]{1,18})"


class FleetPush:
    """Tells sites of the enterprise's current release.

    Attributes:
        fault: What ended the thread, if anything did.
    """

    def __init__(
        self, engine: Engine, carrier: Carrier, registry: Registry, clock_us: Callable[[], int]
    ) -> None:  # fmt: skip
        self._engine = engine
        self._carrier = carrier
        self._registry = registry
        self._clock_us = clock_us
        self._told_at_s: dict[tuple[str, int], float] = {}
        self._refusals: Counter[tuple[str, int]] = Counter()
        self._lacking: set[str] = set()  # sites that know another network: they need the release with everything in it
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
        if said is None or int(said[1]) > self._registry.current().version:
            event(log, logging.WARNING, "adoption_unasked", site=site, answers=reply.metadata.group_id[:80])
            return
        version = int(said[1])
        if reply.has_error():
            text = reply.error.reason or "no reason given"
            if NEEDS_RELEASE in text and site not in self._lacking:
                self._lacking.add(site)
                self.wake()
                return
            if reply.error.code == CLIENT_FAILED:  # its own word, and not a broker's silence
                self._refusals[site, version] += 1
            write_rollout(self._engine, version, site, "refused", text, self._clock_us())
            event(log, logging.ERROR, "fleet_refused", site=site, version=version, text=text)
        else:
            self._adopted[site] = max(version, self._adopted.get(site, 0))
            self._lacking.discard(site)
            state: State = "running" if is_in_use(reply) else "trying"
            write_rollout(self._engine, version, site, state, "", self._clock_us())

    def note_fate(self, site: str, fate: ReleaseFate) -> str:
        """Take what a site says became of a release of ours; why that cannot be, empty when it is written down."""
        digest = self._registry.digest_of(fate.fleet_version)
        if digest is None:
            return f"there is no release {fate.fleet_version} here"
        write_rollout(
            self._engine, fate.fleet_version, site, fate.state, fate.text, self._clock_us(), gate=_gate_of(fate, digest)
        )
        level = logging.ERROR if fate.state == "withdrawn" else logging.INFO
        event(log, level, f"fleet_{fate.state}", site=site, version=fate.fleet_version, stage=fate.stage,
              text=fate.text)  # fmt: skip
        return ""

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._take_back()
                self._tell(self._registry.current())
                self._changed.wait(TICK_S)
                self._changed.clear()
        except Exception as error:
            self.fault = error
            log.exception("learning_fleet_failed")

    def _take_back(self) -> None:
        """Withdraw what a person wants withdrawn; sites get the one before as a new release."""
        for one in self._registry.standings():
            if (one.asked or {}).get("action") != "roll_back_release":
                continue
            assert one.asked is not None
            why = f"taken back by {one.asked['actor']}: {one.asked['note']}"
            back = self._registry.withdraw(one.version, why, {}, actor=one.asked["actor"], level="fleet")
            if back is None:
                self._registry.answered(one.version)
            event(log, logging.ERROR, "release_withdrawn", version=one.version, text=why,
                  back=None if back is None else back.version)  # fmt: skip
            return

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
        whole = RecordDict(dict(content.items()))
        add_whole_release(whole, release.bundle())
        name = f"{_NAME}{release.version}"
        messages = [
            self._carrier.create_message(whole if site in self._lacking else content, ADOPT, node, name)
            for node, site in due.items()
        ]
        self._told_at_s = {key: at_s for key, at_s in self._told_at_s.items() if key[1] == release.version}
        self._refusals = Counter({key: count for key, count in self._refusals.items() if key[1] == release.version})
        for site in due.values():
            self._told_at_s[site, release.version] = time.monotonic()
            write_rollout(self._engine, release.version, site, "offered", "", self._clock_us())
        for reply in self._carrier.send_and_receive(messages, timeout=PATIENCE_S):
            self.note(due[reply.metadata.src_node_id], reply)

    def _due(self, version: int) -> Mapping[int, str]:
        there = {node: self._carrier.member_of(node) or "" for node in self._carrier.get_node_ids()}
        return {
            node: site
            for node, site in there.items()
            if self._adopted.get(site, 0) < version and self._silent_s(site, version) >= self._repeat_s(site, version)
        }

    def _silent_s(self, site: str, version: int) -> float:
        return time.monotonic() - self._told_at_s.get((site, version), -LONGEST_REPEAT_S)

    def _repeat_s(self, site: str, version: int) -> float:
        return float(min(LONGEST_REPEAT_S, REPEAT_S * 2.0 ** min(self._refusals[site, version], 10)))


def _gate_of(fate: ReleaseFate, digest: str) -> GateReport | None:
    """What the site's hold-outs said of a release, where they said anything that can be."""
    figures = dict(fate.figures)
    if "auroc" not in figures:
        return None
    told = {name: figures[name] for name in GATE_FIGURES if name in figures}
    try:
        return GateReport.model_validate(
            {**told, "version": fate.fleet_version, "digest": digest, "in_use_version": 0, "rows": int(figures["rows"])}
        )
    except (ValidationError, KeyError):
        return None
