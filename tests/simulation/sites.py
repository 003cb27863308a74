"""This file knows a simulated site: the real recorder and historian over the broker model and a database that fails."""

import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

from aggregator.historian import Historian
from aggregator.recorder import Recorder
from aggregator.settings import AggregatorSettings, HistorianSettings
from schemas.link import Received
from schemas.settings import BrokerSettings
from schemas.topics import RECORDS, STATUS
from tests.simulation.broker_model import BrokerModel, SimulatedLink
from tests.simulation.clock import EPOCH_US
from tests.simulation.disk_model import DatabaseFile, Killed, KillPoints
from tests.simulation.keys import SITE, ring, signer_of

QUEUE_MESSAGES, BATCH_MESSAGES, BATCH_WAIT_S = 32, 8, 0.3
AWAY = "database is locked"


class HistorianLink(SimulatedLink):
    """The site's connection; it passes the kill points."""

    points: KillPoints

    def acknowledge(self, received: Received) -> None:
        """Answer the broker."""
        self.points.passes("acknowledge")
        super().acknowledge(received)
        self.points.passes("acknowledged")

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        """Answer a gateway."""
        self.points.passes("publish")
        return super().publish(topic, payload, qos=qos, retained=retained)


class SimulatedSite:
    """The aggregator of one site."""

    def __init__(
        self, broker: BrokerModel, folder: Path, template: Path, draw: random.Random, *, gateways: int,
        historian: type[Historian] = Historian,
    ) -> None:  # fmt: skip
        self.path = folder / "site.db"
        self._broker = broker
        self._clock = broker.clock
        self._draw = draw
        self._gateways = gateways
        self._historian = historian
        self.points = KillPoints()
        self.database = DatabaseFile(self.points)
        self.kills = 0
        self.running = False
        self._run = 0
        shutil.copyfile(template, self.path)

    def start(self) -> None:
        """Put the recorder together and connect."""
        if self.running:
            return
        self.running, self._turn_due = True, False
        self._run += 1
        self._engine = self.database.open(self.path)
        historian = self._historian(self._engine, now_us=lambda: EPOCH_US + self._clock.now_us)
        self.link = HistorianLink(
            self._broker, f"{SITE}-historian", filters=[RECORDS.filter(site=SITE), STATUS.filter(site=SITE)],
            on_message=self._came, manual_ack=True, takes=lambda: not self.recorder._queue.full(), receive_maximum=50,
            max_in_flight=200,
        )  # fmt: skip
        self.link.points = self.points
        self.recorder = Recorder(
            _settings(), historian, signer=signer_of(SITE), keys=ring(self._gateways), now_s=self._clock.now_s,
            link=self.link,
        )  # fmt: skip
        self._broker.story.tell(SITE, "started")
        self.link.start()
        self._guarded(self._look_round)

    def die(self) -> None:
        """End at once; the supervisor starts it again a little later."""
        if not self.running:
            return
        self.running = False
        self.kills += 1
        self.link.end()
        self._engine.dispose()
        self._broker.story.tell(SITE, "died")
        self._clock.after(self._draw.uniform(1.0, 30.0), self.start)

    def stand_still(self) -> None:
        """Finish for good, to be looked at."""
        self.running = False
        self.link.end()
        self._engine.dispose()

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return self.running and self.recorder._queue.empty() and self.recorder._in_hand is None

    def _look_round(self) -> None:
        """Now and then without anything coming: gateways may be silent."""
        if self.database.problem is None:
            self._turn()
        self._soon(60.0, lambda: self._guarded(self._look_round))

    def _came(self, received: Received) -> None:
        self.recorder.put(received)
        self._turn_soon(BATCH_WAIT_S)

    def _turn_soon(self, delay_s: float) -> None:
        if not self._turn_due:
            self._turn_due = True
            self._soon(delay_s, lambda: self._guarded(self._due))

    def _due(self) -> None:
        self._turn_due = False
        self._turn()

    def _turn(self) -> None:
        before = self.recorder.counters.commits
        self.recorder.turn()
        if self.recorder.counters.commits > before:
            self._broker.story.tell(SITE, "stored", self.recorder.counters.messages)
        self.link.drain()
        if self.recorder._in_hand is not None:
            self._turn_soon(self.recorder._pause_s)
        elif not self.recorder._queue.empty():
            self._turn_soon(0.02)

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Killed:
            self.die()

    def _soon(self, delay_s: float, what: Callable[[], None]) -> None:
        run = self._run

        def if_still_running() -> None:
            if self.running and self._run == run:
                what()

        self._clock.after(delay_s, if_still_running)


@cache
def _settings() -> AggregatorSettings:
    return AggregatorSettings(
        name=SITE, broker=BrokerSettings(allow_anonymous=True),
        historian=HistorianSettings(queue_messages=QUEUE_MESSAGES, batch_messages=BATCH_MESSAGES, batch_wait_s=0.0),
    )  # fmt: skip
