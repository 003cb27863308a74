"""This file knows how a gateway agent is put together, started and stopped in order; nothing else makes a connection.

Threads: the network's own, `ingest` (owns the judge and the store's writes), `uplink`, and the learning's. One that
fails ends the process with a clear line; what was acknowledged is on disk, and the supervisor starts us again.
"""

import contextlib
import json
import logging
import math
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from importlib.metadata import version

import numpy as np

from gateway_agent.arrays_aside import ArraysAside
from gateway_agent.batch import CONTROL_REFUSED_PREFIX, URGENT, Batch, GaveWay
from gateway_agent.commands import CommandDesk
from gateway_agent.errors import StoreFull
from gateway_agent.federation import LearningMember
from gateway_agent.foreign.mapping import ForeignSensors
from gateway_agent.healthy_rows import HealthyRows
from gateway_agent.intake import Intake
from gateway_agent.interpreter import share_interpreter
from gateway_agent.judge import Judge
from gateway_agent.memory import give_back
from gateway_agent.meters import MeteredJudge, MeteredStore, Meters
from gateway_agent.outside import Outside
from gateway_agent.personal_parameters import PersonalShelf
from gateway_agent.reinjection import Reinjection
from gateway_agent.release_shelf import ReleaseShelf
from gateway_agent.release_taker import ReleaseTaker
from gateway_agent.reload import Reload, use_plates
from gateway_agent.settings import GatewaySettings
from gateway_agent.site_plates import SitePlates
from gateway_agent.status import compose_status, points_in_turn, told_machines
from gateway_agent.stream_order import REMEMBERED
from gateway_agent.uplink import Uplink
from gateway_agent.worker import Clocks, IngestWorker
from schemas.collector import tune_collector
from schemas.errors import ContractError
from schemas.fast_link import FastLink
from schemas.fragments import Reassembly
from schemas.link import Link, Received, Will
from schemas.logs import event
from schemas.messages import Command, GatewayStatus, RecordsAck, decode, encode
from schemas.names import machine_of
from schemas.plate_table import PlateTable
from schemas.signing import KeyRing, Signer
from schemas.supervision import Asked, notify, watchdog_interval_s
from schemas.topics import (
    CANDIDATE,
    CAPTURE,
    CAPTURE_FRAGMENT,
    COMMAND,
    NAMEPLATES,
    RECORDS_ACK,
    RELEASE,
    STATUS,
    topic_of,
)
from vibration.features import BAND_COUNT, ENVELOPE_BAND_COUNT

log = logging.getLogger(__name__)

LOOK_S = 1.0  # how often it is looked whether a person wants something: settings again, dead letters again
GIVE_BACK_S = 60.0  # how often free memory goes back to the system: some milliseconds of work
CONTROL_WAITING = 1000  # messages from the site; when full the oldest gives way, the site repeats what matters
_F = BAND_COUNT + ENVELOPE_BAND_COUNT


class GatewayAgent:
    """All parts of one gateway agent."""

    def __init__(
        self, settings: GatewaySettings, clocks: Clocks | None = None, *,
        read_again: Callable[[], GatewaySettings] | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.clocks = clocks or Clocks()
        self.meters = Meters()
        self.keys = KeyRing.load(settings.keys_file)
        self.signer = Signer.load(settings.signing_key_file)
        self.store = MeteredStore(settings.store, self.meters, wall_us=self.clocks.wall_us)
        self.aside = ArraysAside(settings.store.folder)
        self.shelf = ReleaseShelf(
            settings.store.folder / "releases", self.keys, personal=PersonalShelf(settings.store.folder),
            wall_us=self.clocks.wall_us,
        )  # fmt: skip
        self.shelf.open()
        self.plates = SitePlates.open(self.store, settings.gateway)
        self.judge = MeteredJudge(
            self.plates.over(settings), self.meters, known=lambda keys: self._settled_store().knows(keys),
            model=self.shelf.slot.loaded,
            recall=lambda point, boot: self._settled_store().highest_sequences(point, boot, REMEMBERED),
            aside=self.aside,
        )  # fmt: skip
        self.healthy = HealthyRows(settings.learning.window_rows)
        self._restore()
        foreign = ForeignSensors(
            settings.foreign, max_bytes=settings.ingest.fragment_bytes, max_age_s=settings.ingest.fragment_age_s
        )
        intake = Intake(
            settings.site, settings.gateway, frozenset(plate.machine for plate in settings.machines),
            settings.accept_unknown_machines,
            Reassembly(max_bytes=settings.ingest.fragment_bytes, max_age_s=settings.ingest.fragment_age_s),
            foreign,
        )  # fmt: skip
        self.worker = IngestWorker(settings.ingest, self.judge, intake, self.store, self.healthy, self.clocks)
        self.desk = CommandDesk(self.store)
        self.taker = ReleaseTaker(
            self.shelf, self.store, self.judge, site=settings.site, do=self.worker.do, tell=self._tell_soon,
            wall_us=self.clocks.wall_us, compare_every_s=settings.learning.compare_every_s,
        )  # fmt: skip
        self.reinjection = Reinjection(settings.store.folder, self.store, intake, self.healthy, self.clocks)
        self._started_at_us = self.clocks.wall_us()
        self._site_heard_at_s = self.clocks.monotonic_s()  # silence is counted from the start
        self._release_topics = {
            t.path(site=settings.site, gateway=settings.gateway) for t in (RELEASE, CANDIDATE)
        }  # fmt: skip
        self._stop = Asked()
        self._failed: Exception | None = None
        self._control: deque[Received] = deque(maxlen=CONTROL_WAITING)
        self._control_gave_way = GaveWay()
        self._tell_now = Asked()
        self._statuses_told = 0
        names = {"site": settings.site, "gateway": settings.gateway}
        self._names = names
        self._status_topic = STATUS.path(**names)
        self.captures_link = captures_link(
            settings, self.worker,
            [*((t.filter(**names), t.qos) for t in (CAPTURE, CAPTURE_FRAGMENT)), *((f, 1) for f in foreign.filters)],
            on_connected=self._captures_connected,
        )  # fmt: skip
        self.control_link = Link(
            settings.broker, settings.gateway, on_message=self._control_message, on_connected=self._control_connected,
            will=Will(self._status_topic, self.signer.seal(self._status_topic, encode(self._offline()))),
            subscriptions=[(t.path(**names), t.qos) for t in (RECORDS_ACK, COMMAND, NAMEPLATES, RELEASE, CANDIDATE)],
        )  # fmt: skip
        self.worker.attach(self.captures_link)
        self.uplink = Uplink(
            settings.site, settings.gateway, self.store, self.control_link, self.signer,
            monotonic_s=self.clocks.monotonic_s, committed=self.worker.committed,
        )  # fmt: skip
        self.member: LearningMember | None = None
        if settings.learning.take_part:
            self.member = LearningMember(
                settings, self.signer, self.keys, self.shelf, self.healthy,
                sessions=lambda: [s for m in list(self.judge.monitors.values()) for s in m.sessions()],
            )  # fmt: skip
        self.outside = Outside(
            settings, self.clocks, self.keys, self.judge, self.worker, self.uplink,
            {"captures": self.captures_link, "control": self.control_link}, self.meters, lambda: self._failed,
            self.member,
        )  # fmt: skip
        self._reload = Reload(read_again or (lambda: settings), self.outside, intake, self.worker, self.plates)
        self._reload_wanted = False
        self._threads = [
            threading.Thread(target=self._guard(self.worker.run), name="ingest", daemon=True),
            threading.Thread(target=self._guard(self.uplink.run), name="uplink", daemon=True),
            threading.Thread(target=self._guard(self.taker.run), name="releases", daemon=True),
        ]

    def start(self) -> None:
        """Start every part; the broker may still be away.

        Raises:
            SecretMissing: The token for looking in from outside cannot be read; nothing has been started.
        """
        tune_collector()
        share_interpreter()
        try:
            self.outside.listen(self.settings.observe)
        except OSError as error:  # captures matter more than their figures; a reload tries again
            event(log, logging.ERROR, "observe_cannot_listen", host=self.settings.observe.host,
                  port=self.settings.observe.port, text=f"{error}; set observe.port to another and reload")  # fmt: skip
        for thread in self._threads:
            thread.start()
        self.captures_link.start()
        self.control_link.start()
        if self.member is not None:
            self.member.start()
        event(log, logging.INFO, "gateway_started", gateway=self.settings.gateway, release=self.shelf.current.version,
              points=len(self.judge.monitors), boot=self.store.boot)  # fmt: skip

    def wait(self) -> int:
        """Tell status and feed the watchdog until stopped or failed; the exit code."""
        notify("READY=1")
        patience_s = watchdog_interval_s() or LOOK_S
        since_status_s, gave_back_s = -1e9, self.clocks.monotonic_s()
        while not self._stop.is_set():
            now_s = self.clocks.monotonic_s()
            if now_s - since_status_s >= self.settings.status_interval_s or self._tell_now.is_set():
                since_status_s = now_s
                self._tell_now.clear()
                self.worker.do(self._tell_status)
            if now_s - gave_back_s >= GIVE_BACK_S:
                gave_back_s = now_s
                give_back()
            if self._reload_wanted:
                self._reload_wanted = False
                notify("RELOADING=1")
                self.settings = self._reload.carry_out(self.settings)
                notify("READY=1")
            if self.reinjection.wanted():
                self.worker.do(self._take_in_again)
            if not self.outside.alive():
                notify("WATCHDOG=1")
            self._tell_now.wait(min(LOOK_S, patience_s, self.settings.status_interval_s))
        if self._failed is not None:
            event(log, logging.ERROR, "gateway_failed", error=repr(self._failed))
            return 1
        return 0

    def stop(self) -> None:
        """Stop every part in order: no new captures, then finish what is under way."""
        notify("STOPPING=1")
        self.outside.stop()
        if self.member is not None:
            self.member.stop()
        self.taker.stop()
        self.worker.stop()
        self.uplink.stop()
        for thread in self._threads:
            thread.join(timeout=30.0)
        self.captures_link.stop()
        self.control_link.publish(
            self._status_topic, self.signer.seal(self._status_topic, encode(self._offline())), retained=True
        )
        self.control_link.wait_published(2.0)
        self.control_link.stop()
        self.reinjection.close()
        self.store.close()
        self.aside.close()
        event(log, logging.INFO, "gateway_stopped", gateway=self.settings.gateway)

    def request_reload(self) -> None:
        """Read the settings again soon; from a signal handler, which must take no lock."""
        self._reload_wanted = True

    def request_stop(self) -> None:
        """Make `wait` return."""
        self._stop.set()
        self._tell_now.set()

    def _settled_store(self) -> MeteredStore:
        """The store, once it holds everything judged so far: the judge runs ahead of it."""
        self.worker.settle()
        return self.store

    def _restore(self) -> None:
        for point, state in self.store.point_states().items():
            monitor = self.judge.monitor(point)
            monitor.restore(state)
            monitor.use_model(self.judge.model)
            if not monitor.ready or monitor.shape is None:
                continue
            channels = monitor.shape[1]
            for blob in self.store.healthy_features(point, self.settings.learning.window_rows // channels):
                features = np.frombuffer(blob, np.float32).reshape(-1, _F)
                if features.shape[0] == channels:
                    self.healthy.add(monitor.rows_of(features))
        self.judge.labels_changed()

    def thread_ended(self, ended: threading.ExceptHookArgs) -> None:
        """Take note of a thread that nobody guards, as the network's: without it the agent would go on, deaf."""
        log.error("thread_failed", exc_info=ended.exc_value)
        self._failed = ended.exc_value if isinstance(ended.exc_value, Exception) else RuntimeError(str(ended.exc_type))
        self.request_stop()

    def _guard(self, work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except Exception as error:
                log.exception("thread_failed")
                self._failed = error
                self.request_stop()

        return run

    def _take_in_again(self, judge: Judge, batch: Batch) -> None:
        self.reinjection.carry_out(judge, batch)
        if self.reinjection.more:
            self.worker.do(self._take_in_again)

    def _captures_connected(self) -> None:
        self.meters.connections["captures"] += 1

    def _control_connected(self) -> None:
        self.meters.connections["control"] += 1
        self.uplink.forget_what_was_sent(broker_remembers=self.control_link.session_present)
        self._tell_now.set()

    def _tell_soon(self) -> None:
        self._tell_now.set()

    def _control_message(self, received: Received) -> None:
        if received.topic in self._release_topics:
            self.taker.put(received)
            return
        if len(self._control) == CONTROL_WAITING:
            self._control_gave_way.one()
        self._control.append(received)
        self.worker.do(self._handle_control)

    def _handle_control(self, judge: Judge, batch: Batch) -> None:
        """In the ingest worker's thread: everything that came from the site since the last batch."""
        self._control_gave_way.count(batch)
        while self._control:
            received = self._control.popleft()
            try:
                self._handle_one(received, judge, batch)
            except (ContractError, StoreFull) as error:
                reason = getattr(error, "reason", type(error).__name__)
                batch.counts[CONTROL_REFUSED_PREFIX + reason] += 1
                event(log, logging.WARNING, "control_refused", topic=received.topic, reason=reason, text=str(error))

    def _handle_one(self, received: Received, judge: Judge, batch: Batch) -> None:
        topic, _ = topic_of(received.topic)
        body = self.keys.open(received.topic, received.payload, role="site", name=self.settings.site)
        if not received.retained:
            self._site_heard_at_s = self.clocks.monotonic_s()
        if topic is RECORDS_ACK:
            self.meters.records_acknowledged += self.uplink.acknowledge(decode(RecordsAck, body))
        elif topic is COMMAND:
            command = decode(Command, body)
            if command.gateway == self.settings.gateway:
                self.desk.carry_out(command, judge, batch)
        elif topic is NAMEPLATES:
            heard = {machine_of(point) for point in judge.monitors}
            if self.plates.take(decode(PlateTable, body), self.settings, heard):
                use_plates(judge, batch, self.plates.over(self.settings))
                event(log, logging.INFO, "nameplates_in_force", revision=self.plates.revision)
            self._tell_now.set()

    def _tell_status(self, judge: Judge, batch: Batch) -> None:
        self._end_shelving(judge, batch)
        status = compose_status(
            self.settings, self.store, judge, self.shelf, now_us=self.clocks.wall_us(), software=version("undertone"),
            queue=self.worker.queued, taker=self.taker, started_at_us=self._started_at_us,
            site_heard_s=self.clocks.monotonic_s() - max(self._site_heard_at_s, self.shelf.heard_at_s or -math.inf),
            plates=self.plates, learning=self.member.report() if self.member is not None else None,
        )  # fmt: skip
        with contextlib.suppress(StoreFull):  # the site is told all the same
            told = {**status.model_dump(mode="json"), "live": self.outside.live()}
            self.store.remember("status", json.dumps(told))
        part = points_in_turn(status, self._statuses_told)
        self._statuses_told += 1
        self.control_link.publish(self._status_topic, self.signer.seal(self._status_topic, encode(part)), retained=True)

    @staticmethod
    def _end_shelving(judge: Judge, batch: Batch) -> None:
        for point, monitor in judge.monitors.items():
            records = monitor.alarm_records(monitor.alarm.expire_shelf(batch.now_us), batch.now_us)
            if records:
                batch.records += [(URGENT, record) for record in records]
                batch.point_states[point] = monitor.dump()

    def _offline(self) -> GatewayStatus:
        release = self.shelf.current
        return GatewayStatus(
            gateway=self.settings.gateway, online=False, boot=self.store.boot, at_us=self.clocks.wall_us(),
            software=version("undertone"), release_version=release.version, release_digest=release.digest,
            machines=told_machines(self.settings),
        )  # fmt: skip


def captures_link(
    settings: GatewaySettings, worker: IngestWorker, subscriptions: list[tuple[str, int]], *,
    on_connected: Callable[[], None],
) -> FastLink | Link:  # fmt: skip
    """The connection on which captures come, by the reader that the settings name."""
    client_id, window = f"{settings.gateway}-captures", 2 * settings.ingest.queue_captures
    if settings.ingest.reader == "fast":
        return FastLink(
            settings.broker, client_id, subscriptions=subscriptions, on_messages=worker.put_all,
            on_connected=on_connected, receive_maximum=window,
        )  # fmt: skip
    return Link(
        settings.broker, client_id, manual_ack=True, receive_maximum=window, on_message=worker.put,
        on_connected=on_connected, subscriptions=subscriptions,
    )  # fmt: skip


def run(settings: GatewaySettings, read_again: Callable[[], GatewaySettings] | None = None) -> int:
    """Run one gateway agent until a signal or a failure; the exit code.

    Args:
        settings: As they are now.
        read_again: Reads them as they are when a reload is asked for.
    """
    agent = GatewayAgent(settings, read_again=read_again)
    signal.signal(signal.SIGHUP, lambda *_: agent.request_reload())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.request_stop())
    threading.excepthook = agent.thread_ended
    agent.start()
    code = agent.wait()
    agent.stop()
    if code:
        sys.stderr.flush()
        os._exit(code)  # a thread may hang for ever; the supervisor must see us gone
    return code
