"""This file knows a simulated gateway: the real intake, judge, store, worker and uplink, driven a turn at a time.

What `gateway_agent.service` puts together with threads and connections is put together here over the virtual clock,
the broker model and the disk model. A process that is killed is forgotten where it stands; its disk is not.
"""

import gc
import random
import shutil
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from gateway_agent.batch import URGENT, Batch
from gateway_agent.errors import StoreError, StoreFull
from gateway_agent.healthy_rows import HealthyRows
from gateway_agent.intake import Intake
from gateway_agent.judge import Judge, priority_of
from gateway_agent.settings import (
    AlarmSettings,
    CommissioningSettings,
    GatewaySettings,
    IngestSettings,
    StoreSettings,
)
from gateway_agent.store import Store
from gateway_agent.stream_order import REMEMBERED
from gateway_agent.uplink import RESEND_S, WINDOW_RECORDS, Uplink
from gateway_agent.worker import Clocks, IngestWorker
from schemas.fragments import Reassembly
from schemas.link import Received
from schemas.messages import GatewayStatus, RecordBatch, RecordsAck, decode, encode
from schemas.settings import BrokerSettings
from schemas.signing import SEAL_BYTES
from schemas.topics import CAPTURE, CAPTURE_FRAGMENT, RECORDS_ACK, STATUS
from tests.simulation.broker_model import BrokerModel, Message, SimulatedLink
from tests.simulation.clock import EPOCH_US
from tests.simulation.disk_model import DiskModel, Killed, KillPoints
from tests.simulation.keys import SITE, ring, signer_of

FRAGMENT_AGE_S = 60.0


@dataclass(frozen=True)
class Sizes:
    """How small a gateway's queues and rings are: small ones are full sooner."""

    queue_captures: int
    batch_captures: int
    raw_bytes: int
    outbox_bytes: int


@dataclass(frozen=True)
class Parts:
    """What a gateway is made of; a planted fault puts others in."""

    worker: type[IngestWorker] = IngestWorker
    uplink: type[Uplink] = Uplink
    disk: type[DiskModel] = DiskModel
    store: type[Store] = Store


class BrokenPromise(AssertionError):
    """An invariant does not hold."""


class CapturesLink(SimulatedLink):
    """The connection on which captures come; it passes the kill points and notes what is promised."""

    points: KillPoints
    promised: Callable[[Received], None]

    def acknowledge(self, received: Received) -> None:
        """Answer for a capture."""
        self.points.passes("acknowledge")
        if self.connected and received.connection == self._connection:
            self.promised(received)
        super().acknowledge(received)
        self.points.passes("acknowledged")

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        """Answer a sensor."""
        self.points.passes("publish")
        return super().publish(topic, payload, qos=qos, retained=retained)


class RecordsLink(SimulatedLink):
    """The connection to the site; it passes the kill points and looks at what goes out."""

    points: KillPoints
    sending: Callable[[bytes], None]

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        """Send records or a status."""
        self.points.passes("publish")
        taken = super().publish(topic, payload, qos=qos, retained=retained)
        if taken and not retained:
            self.sending(payload)
        return taken


class SimulatedGateway:
    """One gateway agent and the machine under it."""

    def __init__(
        self, broker: BrokerModel, name: str, folder: Path, template: Path, draw: random.Random, *, sizes: Sizes,
        parts: Parts, gateways: int, promised: Callable[[Received], None],
    ) -> None:  # fmt: skip
        self.name = name
        self.folder = folder
        self._broker = broker
        self._clock = broker.clock
        self._draw = draw
        self.sizes = sizes
        self._parts = parts
        self._keys = ring(gateways)
        self._promised = promised
        self.points = KillPoints()
        self.disk = parts.disk(self.points, lambda: draw.getrandbits(62))
        self.wall_step_us = 0
        self.sent_kinds: dict[int, str] = {}
        """Sequence of every record that has gone out, and what it was."""
        self.kills = 0
        self.running = False
        self._busy = False
        self._run = 0
        folder.mkdir()
        shutil.copyfile(template, folder / "gateway.db")
        with closing(sqlite3.connect(folder / "gateway.db")) as database, database:
            database.execute("UPDATE meta SET value = ? WHERE key = 'boot'", (str(draw.getrandbits(62)),))

    def start(self) -> None:
        """Put the agent together and connect."""
        if self.running:
            return
        self.running, self._busy = True, False
        self._run += 1
        self._ingest_due = self._uplink_due = self._resend_due = self._old_fragments_due = False
        self._sent_at_s: dict[int, float] = {}
        self._control: deque[Received] = deque()
        self._ends = ExitStack()
        try:
            self._put_together()
        except (Killed, StoreError) as struck:  # while it opened its store, or no room to: the supervisor tries again
            if "locked" in str(struck):
                gc.collect()  # what the run before died of still holds a question to its database, and so its lock
            self.die()

    def die(self, *, power_cut: bool = False) -> None:
        """End at once, as killed or without power; the supervisor starts it again a little later."""
        if not self.running:
            return
        self.running = False
        self.kills += 1
        self._ends.close()
        gone = self.disk.cut_power(self.folder, self._draw) if power_cut else 0
        self._broker.story.tell(self.name, "died", int(power_cut), gone)
        self._clock.after(self._draw.uniform(1.0, 20.0), self.start)

    def stand_still(self) -> None:
        """Finish for good, in order, to be looked at."""
        self.running = False
        self._ends.close()

    def step_clock(self, by_us: int) -> None:
        """The clock on the wall is set."""
        self.wall_step_us += by_us

    @property
    def idle(self) -> bool:
        """Whether nothing waits, here or for the site."""
        return self.running and not self._busy and not self.worker.queued and self.store.outbox_state()[0] == 0

    def wall_us(self) -> int:
        """What the clock on the wall says."""
        return EPOCH_US + self._clock.now_us + self.wall_step_us

    def _put_together(self) -> None:
        sizes = self.sizes
        self.store = self._parts.store(
            StoreSettings.model_construct(
                folder=self.folder, raw_bytes=sizes.raw_bytes, segment_bytes=sizes.raw_bytes // 4,
                outbox_bytes=sizes.outbox_bytes, min_free_bytes=1,
            ),
            self.disk.ports,
        )  # fmt: skip
        self._ends.callback(self.store.close)
        settings = _settings(self.name)
        judge = Judge(
            settings, known=self.store.knows,
            recall=lambda point, boot: self.store.highest_sequences(point, boot, REMEMBERED),
        )  # fmt: skip
        for point, state in self.store.point_states().items():
            judge.monitor(point).restore(state)
        intake = Intake(SITE, self.name, frozenset(), True, Reassembly(max_bytes=1 << 16, max_age_s=FRAGMENT_AGE_S))
        self._intake = intake
        ingest = IngestSettings.model_construct(
            queue_captures=sizes.queue_captures, batch_captures=sizes.batch_captures, batch_wait_s=0.05
        )
        clocks = Clocks(self.wall_us, self._clock.now_s, self._wait_for)
        self.worker = self._parts.worker(ingest, judge, intake, self.store, HealthyRows(64), clocks)
        names = {"site": SITE, "gateway": self.name}
        self.captures_link = CapturesLink(
            self._broker, f"{self.name}-captures", filters=[t.filter(**names) for t in (CAPTURE, CAPTURE_FRAGMENT)],
            on_message=self._capture_came, manual_ack=True, receive_maximum=sizes.queue_captures,
            takes=lambda: self.worker.queued < 2 * sizes.queue_captures,
        )  # fmt: skip
        self._ends.callback(self.captures_link.end)
        self.captures_link.points, self.captures_link.promised = self.points, self._promised
        self._status_topic = STATUS.path(**names)
        self.control_link = RecordsLink(
            self._broker, self.name, filters=[RECORDS_ACK.path(**names)], on_message=self._control_came,
            on_connected=self._control_connected, on_room=self._uplink_soon,
            will=Message(self._status_topic, self._status(online=False), retained=True),
        )  # fmt: skip
        self._ends.callback(self.control_link.end)
        self.control_link.points, self.control_link.sending = self.points, self._sending
        self.worker.attach(self.captures_link)
        self.uplink = self._parts.uplink(
            SITE, self.name, self.store, self.control_link, signer_of(self.name), monotonic_s=self._clock.now_s,
            committed=self.worker.committed,
        )  # fmt: skip
        self._broker.story.tell(self.name, "started", self.store.boot)
        self.captures_link.start()
        self.control_link.start()
        self._uplink_soon()

    def _status(self, *, online: bool) -> bytes:
        status = GatewayStatus(
            gateway=self.name, online=online, boot=self.store.boot, at_us=self.wall_us(), software="0",
            release_version=0, release_digest="",
        )  # fmt: skip
        return signer_of(self.name).seal(self._status_topic, encode(status))

    def _guarded(self, work: Callable[[], object]) -> None:
        """Run a part of the process; what strikes it ends the whole."""
        try:
            work()
        except Killed:
            self.die(power_cut=self._draw.random() < 0.5)
        except OSError as error:
            if not self.disk.broken:
                raise
            self._broker.story.tell(self.name, "failed", error.errno)
            self.die()

    def _soon(self, delay_s: float, what: Callable[[], None]) -> None:
        run = self._run

        def if_still_running() -> None:
            if self.running and self._run == run:
                what()

        self._clock.after(delay_s, if_still_running)

    def _capture_came(self, received: Received) -> None:
        self._guarded(lambda: self.worker.put(received))
        self._ingest_soon()

    def _ingest_soon(self) -> None:
        if self.running and not self._ingest_due:
            self._ingest_due = True
            self._soon(0.2, self._ingest)

    def _ingest(self) -> None:
        self._ingest_due = False
        if self._busy:  # stands in a wait for room on the disk, and looks again when that is over
            return
        self._busy = True
        run = self._run
        self._guarded(self.worker.turn)
        if self._run != run or not self.running:
            return
        self._busy = False
        self.captures_link.drain()
        if self.worker.queued or self._control:
            self._ingest_soon()
        if self._intake.fragments.held_bytes and not self._old_fragments_due:
            self._old_fragments_due = True
            self._soon(FRAGMENT_AGE_S + 1.0, self._look_at_old_fragments)
        if self.worker.committed.is_set():
            self._uplink_soon()

    def _look_at_old_fragments(self) -> None:
        self._old_fragments_due = False
        self._ingest_soon()

    def _wait_for(self, _condition: threading.Condition, over: Callable[[], bool], wait_s: float) -> bool:
        """The worker waits with a batch in hand; everybody else goes on meanwhile."""
        run = self._run
        self._clock.run(self._clock.now_us + round(wait_s * 1e6))
        if self._run != run or not self.running:
            raise Killed
        return over()

    def _uplink_soon(self) -> None:
        if self.running and not self._uplink_due:
            self._uplink_due = True
            self._soon(0.01, self._send)

    def _send(self) -> None:
        self._uplink_due = False
        self.uplink._committed.clear()
        self._guarded(self.uplink.turn)
        if not self.running:
            return
        if len(self.uplink._sent_at_s) > WINDOW_RECORDS + 200:
            raise BrokenPromise(f"{self.name} has {len(self.uplink._sent_at_s)} records under way")
        if self.uplink._sent_at_s and not self._resend_due:
            self._resend_due = True
            self._soon(RESEND_S + 0.1, self._send_again)

    def _send_again(self) -> None:
        self._resend_due = False
        self._send()

    def _sending(self, sealed: bytes) -> None:
        """Note what goes out, and see that what is urgent was not left behind."""
        records = decode(RecordBatch, sealed[SEAL_BYTES:]).records
        now_s = self._clock.now_s()
        self.sent_kinds.update((one.sequence, one.record.kind) for one in records)
        self._sent_at_s = {n: at_s for n, at_s in self._sent_at_s.items() if now_s - at_s < RESEND_S}
        self._sent_at_s |= {one.sequence: now_s for one in records}
        if all(priority_of(one.record) == URGENT for one in records):
            return
        run = self.store._connection.exec_driver_sql
        urgent = {row[0] - 1 for row in run(f"SELECT sequence FROM outbox WHERE priority = {URGENT}")}
        self.store._connection.rollback()
        if left := urgent - self._sent_at_s.keys() - set(self.uplink._sent_at_s):
            raise BrokenPromise(f"{self.name} sent other records before the urgent ones {sorted(left)[:5]}")

    def _control_connected(self) -> None:
        self.uplink.forget_what_was_sent()
        self._sent_at_s.clear()
        self._guarded(lambda: self.control_link.publish(self._status_topic, self._status(online=True), retained=True))
        self._uplink_soon()

    def _control_came(self, received: Received) -> None:
        self._control.append(received)
        self.worker.do(self._handle_control)
        self._ingest_soon()

    def _handle_control(self, _judge: Judge, batch: Batch) -> None:
        while self._control:
            received = self._control.popleft()
            body = self._keys.open(received.topic, received.payload, role="site", name=SITE)
            try:
                self.uplink.acknowledge(decode(RecordsAck, body))
            except StoreFull:
                batch.counts["control_refused:StoreFull"] += 1


def _settings(name: str) -> GatewaySettings:
    return GatewaySettings(
        site=SITE, gateway=name, broker=BrokerSettings(allow_anonymous=True), accept_unknown_machines=True,
        commissioning=CommissioningSettings(captures=3), alarm=AlarmSettings(on_count=1, of_count=1, off_count=1),
    )  # fmt: skip
