"""This file knows a whole plant in one process: sensors, gateways, a broker and a site, on a virtual clock.

One seed is one hour: the seed draws what sensors say and when, latencies, losses, and every fault. The same seed
is the same story to the last byte.
"""

import gc
import logging
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aggregator.database import open_current
from aggregator.historian import Historian
from gateway_agent.settings import StoreSettings
from gateway_agent.store import Store
from schemas.database import sqlite_url
from schemas.link import Received
from tests.simulation import invariants
from tests.simulation.broker_model import BrokerModel, SimulatedLink
from tests.simulation.clock import VirtualClock
from tests.simulation.faults import Fault, draw_faults
from tests.simulation.gateways import BrokenPromise, Parts, SimulatedGateway, Sizes
from tests.simulation.keys import SITE, names
from tests.simulation.poison import draw_poison
from tests.simulation.sensors import INTERVAL_S, Key, Kind, Sensor, SensorHub
from tests.simulation.sites import AWAY, SimulatedSite
from tests.simulation.story import Story

HOUR_S = 3600.0
DRAIN_S = 900.0  # after the hour everything has healed, and by then everything has drained
LOOK_S = 600.0
SHIFTS = 2  # in which the sensors of a plant measure, half an interval apart: much comes at once
KINDS: tuple[Kind, ...] = ("keeps", "keeps", "says_once", "says_once", "in_pieces", "keeps_in_pieces")


@dataclass(frozen=True)
class Plan:
    """What a simulation is made of.

    Attributes:
        faults: Instead of those that the seed draws; so are `sizes` of every gateway and `sensors` on each.
    """

    gateways: int = 20
    duration_s: float = HOUR_S
    parts: Parts = field(default_factory=Parts)
    historian: type[Historian] = Historian
    faults: Sequence[Fault] | None = None
    sizes: Sizes | None = None
    sensors: Sequence[Kind] | None = None


@dataclass(frozen=True)
class Outcome:
    """How one seed ended."""

    seed: int
    digest: str
    broken: list[str]
    captures: int
    records: int
    drained_s: float
    counts: dict[str, int]
    newest: list[str] = field(repr=False)

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return not self.broken


@contextmanager
def workshop() -> Iterator[Path]:
    """A folder in memory for simulations, with an empty database of each kind to copy."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="undertone-simulation-", dir=memory if memory.is_dir() else None))
    try:
        Store(StoreSettings(folder=folder)).close()
        open_current(sqlite_url(folder / "site.db")).dispose()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def again(seed: int) -> str:
    """How to see one seed again."""
    return f"again: python -m tests.simulation --seeds 1 --start {seed}"


def simulate(seed: int, workshop: Path, plan: Plan | None = None) -> Outcome:
    """Run one seed."""
    folder = Path(tempfile.mkdtemp(prefix=f"seed-{seed}-", dir=workshop))
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    gc.freeze()
    gc.disable()  # a fifth of the time, for what one collection at the end does as well
    try:
        return World(seed, workshop, folder, plan or Plan()).run()
    except Exception as error:
        error.add_note(again(seed))
        raise
    finally:
        gc.enable()
        gc.collect()
        logging.disable(before)
        shutil.rmtree(folder, ignore_errors=True)


class World:
    """One plant, one seed."""

    def __init__(self, seed: int, workshop: Path, folder: Path, plan: Plan) -> None:
        self._seed = seed
        self._plan = plan
        self.clock = VirtualClock()
        self.story = Story(self.clock)
        self.broker = BrokerModel(self.clock, self._draw("broker"), self.story)
        self.made: dict[Key, bytes] = {}
        self._key_of: dict[bytes, Key] = {}
        self._poison: set[bytes] = set()
        self._healed = False
        self.broken: list[str] = []
        self.site = SimulatedSite(
            self.broker, folder, workshop / "site.db", self._draw("site"), gateways=plan.gateways,
            historian=plan.historian,
        )  # fmt: skip
        self.gateways: dict[str, SimulatedGateway] = {}
        self.hubs: dict[str, SensorHub] = {}
        self._promised: dict[str, set[Key]] = {}
        self._poisoned: dict[str, set[bytes]] = {}
        for name in names(plan.gateways):
            self._add_gateway(name, folder, workshop)

    def run(self) -> Outcome:
        """Live through the hour, heal, drain, and look."""
        try:
            self._live()
            drained_s = self._drain()
        except BrokenPromise as error:
            self.broken.append(str(error))
            drained_s = 0.0
        for gateway in self.gateways.values():
            gateway.stand_still()
        self.site.stand_still()
        if not self.broken:
            self._look_at_the_end()
        self.story.counts.update(invariants.totals(self.site.path))
        return Outcome(
            self._seed, self.story.digest(), self.broken, len(self.made),
            sum(len(gateway.sent_kinds) for gateway in self.gateways.values()), drained_s, dict(self.story.counts),
            list(self.story.newest),
        )  # fmt: skip

    def _draw(self, of: str) -> random.Random:
        return random.Random(f"{self._seed}/{of}")

    def _add_gateway(self, name: str, folder: Path, workshop: Path) -> None:
        draw = self._draw(name)
        promised, poisoned = self._promised.setdefault(name, set()), self._poisoned.setdefault(name, set())

        def promise(received: Received) -> None:
            if key := self._key_of.get(received.payload):
                promised.add(key)
            elif received.payload in self._poison:
                poisoned.add(received.payload)

        sizes = self._plan.sizes or Sizes(
            queue_captures=draw.choice((8, 16, 64)), batch_captures=draw.choice((1, 4, 16)),
            raw_bytes=draw.choice((2_000, 8_000, 1 << 20)), outbox_bytes=draw.choice((2_500, 8_000, 1 << 20)),
        )  # fmt: skip
        self.gateways[name] = SimulatedGateway(
            self.broker, name, folder / name, workshop / "gateway.db", draw, sizes=sizes, parts=self._plan.parts,
            gateways=self._plan.gateways, promised=promise,
        )  # fmt: skip
        hub = SensorHub(self.broker, SITE, name, made=self._made, forgotten=promised.add)
        self.hubs[name] = hub
        kinds = self._plan.sensors or [draw.choice(KINDS) for _ in range(draw.randint(1, 3))]
        for number, kind in enumerate(kinds):
            hub.add(Sensor(hub, f"{name}-m{number}", kind, draw))

    def _made(self, key: Key, raw: bytes) -> None:
        self.made[key] = raw
        self._key_of[raw] = key

    def _live(self) -> None:
        plan = self._plan
        faults = plan.faults
        if faults is None:
            faults = draw_faults(self._draw("faults"), list(self.gateways), duration_s=plan.duration_s)
        self.site.start()
        for name, gateway in self.gateways.items():
            gateway.start()
            self.hubs[name].link.start()
            self._measure_later(self.hubs[name], self._draw(f"{name}/when"), first=True)
        for fault in faults:
            self.clock.at(round(fault.at_s * 1e6), lambda fault=fault: self._strike(fault))  # type: ignore[misc]
        for at_s in range(round(LOOK_S), round(plan.duration_s), round(LOOK_S)):
            self.clock.at(round(at_s * 1e6), self._look_at_queues)
        self.clock.run(round(plan.duration_s * 1e6))

    def _measure_later(self, hub: SensorHub, draw: random.Random, *, first: bool = False) -> None:
        def measure() -> None:
            if self.clock.now_s() < self._plan.duration_s:
                for sensor in hub.sensors.values():
                    sensor.measure()
                self._measure_later(hub, draw)

        self.clock.after(
            INTERVAL_S * draw.randint(1, SHIFTS) / SHIFTS if first else INTERVAL_S + draw.uniform(-0.2, 0.2), measure
        )

    def _drain(self) -> float:
        self.story.tell("world", "heals")
        self._healed = True
        self._heal()
        began_s = self.clock.now_s()
        while not self._idle():
            if self.clock.now_s() > began_s + DRAIN_S:
                self.broken += [f"{name} has not drained" for name, g in self.gateways.items() if not g.idle]
                self.broken += [
                    f"{sensor.point} ({sensor.kind}) still keeps {sensor.kept} captures"
                    for hub in self.hubs.values() for sensor in hub.sensors.values() if sensor.kept
                ]  # fmt: skip
                self.broken += [] if self.site.idle else ["the site has not drained"]
                break
            self.clock.run(self.clock.now_us + 5_000_000)
        self._look_at_queues()
        return self.clock.now_s() - began_s

    def _idle(self) -> bool:
        sensors = (sensor for hub in self.hubs.values() for sensor in hub.sensors.values())
        return (
            self.site.idle and all(gateway.idle for gateway in self.gateways.values())
            and not any(sensor.kept for sensor in sensors)
        )  # fmt: skip

    def _heal(self) -> None:
        self.broker.start()
        self.site.points.disarm()
        self.site.database.problem = None
        self.site.link.heal()
        self.site.start()
        for name, gateway in self.gateways.items():
            gateway.points.disarm()
            gateway.disk.heal()
            for link in self._links(name, "all"):
                link.heal()
            gateway.start()

    def _links(self, gateway: str, which: str) -> list[SimulatedLink]:
        of = self.gateways[gateway]
        links: dict[str, SimulatedLink] = {
            "radio": self.hubs[gateway].link, "captures": of.captures_link, "control": of.control_link,
            "historian": self.site.link,
        }  # fmt: skip
        if which == "all":
            return [links["radio"], links["captures"], links["control"]]
        return [links[which]]

    def _strike(self, fault: Fault) -> None:  # noqa: PLR0912 - one case a kind of fault
        self.story.tell(fault.gateway, fault.kind, fault.place, fault.count, round(fault.lasts_s))
        gateway, hub = self.gateways[fault.gateway], self.hubs[fault.gateway]
        draw = self._draw(f"fault {fault.at_s}")
        sensors = list(hub.sensors.values())
        sensor = draw.choice(sensors) if fault.sensor is None else sensors[fault.sensor]

        def after(heal: Callable[[], None]) -> None:
            self.clock.after(fault.lasts_s, heal)

        match fault.kind:
            case "gateway_killed":
                gateway.points.arm(fault.place, fault.count)
                after(gateway.points.disarm)
            case "sync_fails":
                gateway.disk.broken = True
                after(gateway.disk.heal)
            case "disk_full":
                gateway.disk.fill(database_too=fault.place == "database_too")
                after(gateway.disk.heal)
            case "broker_killed":
                self.broker.when_holding(fault.count, lambda: self._kill_broker(fault))
            case "broker_saves":
                self.broker.save()
            case "link_cut":
                self._cut(self._links(fault.gateway, fault.place), fault.lasts_s)
            case "link_flaps":
                for number in range(fault.count):
                    self.clock.after(number * 7.0, lambda: self._cut(self._links(fault.gateway, fault.place), 0.5))
            case "plant_partition":
                half = sorted(self.gateways)[:: draw.choice((1, 2, 3))]
                self._cut([link for name in half for link in self._links(name, "control")], fault.lasts_s)
            case "site_killed":
                self.site.points.arm(fault.place, fault.count)
                after(self.site.points.disarm)
            case "database_away":
                self.site.database.problem = AWAY
                after(lambda: setattr(self.site.database, "problem", None))
            case "clock_step":
                gateway.step_clock(-3_600_000_000 if fault.place == "hour_back" else 86_400_000_000)
            case "sensor_reboots":
                sensor.reboot(forgets=fault.place == "forgets")
            case "machine_fails" | "sensor_sticks":
                sensor.sound("loud" if fault.kind == "machine_fails" else "stuck", fault.count)
            case "burst":
                if fault.place == "after_reboot":
                    sensor.reboot(forgets=False)
                for number in range(fault.count):
                    self.clock.after(number * 0.7, sensor.measure)
            case "poison":
                self._send_poison(sensor, draw, fault.count)

    def _kill_broker(self, fault: Fault) -> None:
        if self.broker.up and not self._healed:
            self.story.tell("broker", "killed", fault.place)
            self.broker.kill(from_autosave=fault.place == "from_autosave")
            self.clock.after(fault.lasts_s, self.broker.start)

    def _send_poison(self, sensor: Sensor, draw: random.Random, count: int) -> None:
        for _ in range(count):
            payload = draw_poison(draw, draw.choice(list(self.made.values()) or [b"UC"]))
            if payload not in self._key_of:
                self._poison.add(payload)
                sensor.hub.link.publish(sensor.topic, payload)

    def _cut(self, links: Sequence[SimulatedLink], lasts_s: float) -> None:
        for link in links:
            link.cut()
            self.clock.after(lasts_s, link.heal)

    def _look_at_queues(self) -> None:
        for gateway in self.gateways.values():
            for problem in invariants.of_queues(gateway):
                raise BrokenPromise(problem)

    def _look_at_the_end(self) -> None:
        if self.broker.dropped:
            self.broken.append(f"the broker dropped {self.broker.dropped} messages; its queue was not enough")
        for name, gateway in self.gateways.items():
            self.broken += invariants.of_gateway(gateway, self.made, self._promised[name], len(self._poisoned[name]))
            self.broken += invariants.of_site(self.site.path, gateway)
        self.broken += invariants.of_historian(self.site.path)
