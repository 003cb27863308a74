"""This file knows the whole path in real processes, and what must be true of it after any fault.

    sensor (in the test) -> broker -> gateway agent -> broker -> site aggregator -> site database

The promises that `check_invariants` holds are those of docs/delivery.md.
"""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gateway_agent.batch import RECORDS_LEFT
from gateway_agent.settings import GatewaySettings
from gateway_agent.status import read_status
from gateway_agent.store import RAW, read_only
from gateway_agent.store_tables import capture_table, counter_table, outbox_table
from gateway_agent.uplink import BATCH_RECORDS, WINDOW_RECORDS
from schemas.settings import load_settings
from schemas.signing import AllowedKey, KeyRing, Signer
from tests.support.brokers import BrokerServer, ServiceProcess, embedded_broker, mosquitto_broker
from tests.support.faults.keeping_sensor import KeepingSensor
from tests.support.plant import wait_until

SITE, GATEWAY = "plant-a", "gw-1"
USERS = [GATEWAY, "gw-2", SITE, "sensors"]
RSS_BOUND_BYTES = 250 << 20  # what the unit of the gateway is given before it is held back: 320 MB


@contextlib.contextmanager
def preferred_broker(**more: Any) -> Iterator[BrokerServer]:
    """Mosquitto, which forgets everything when killed, where it is installed; else the embedded one."""
    kind = mosquitto_broker if shutil.which("mosquitto", path="/usr/local/sbin:/usr/sbin:/usr/bin") else embedded_broker
    with kind(USERS, **more) as broker:
        yield broker


@dataclass
class DataPath:
    """Settings and keys of gateways and their site on one broker."""

    folder: Path
    broker: BrokerServer
    gateways: tuple[str, ...]
    stores: Path
    site_folder: Path
    started: list[ServiceProcess] = field(default_factory=list)
    overridden: dict[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def site_settings(self) -> Path:
        return self.folder / "site.toml"

    @property
    def site_database(self) -> Path:
        return self.site_folder / "site.db"

    def settings(self, name: str = GATEWAY) -> Path:
        return self.folder / f"{name}.toml"

    def store(self, name: str = GATEWAY) -> Path:
        return self.stores / name

    def gateway(
        self, name: str = GATEWAY, *, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> ServiceProcess:
        """Start an agent; `environment` overrides settings as operators would."""
        self.overridden[name] = environment or {}
        return self._started("gateway_agent", self.settings(name), prefix, environment)

    def site(self, *, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> ServiceProcess:
        """Start the aggregator."""
        return self._started("aggregator", self.site_settings, prefix, environment)

    def _started(
        self, service: str, settings: Path, prefix: Sequence[str], environment: Mapping[str, str] | None
    ) -> ServiceProcess:
        one = ServiceProcess(
            self.folder, service, "run", "--settings", str(settings), prefix=prefix, environment=environment
        )
        self.started.append(one)
        return one

    @contextlib.contextmanager
    def running(
        self, *, environment: Mapping[str, str] | None = None
    ) -> Iterator[tuple[ServiceProcess, ServiceProcess]]:
        """Gateway and site, both ready; both alive at the end."""
        with self.site(environment=environment) as site, self.gateway(environment=environment) as agent:
            site.wait_notice()
            agent.wait_notice()
            yield agent, site
            for one in (agent, site):
                assert one.process.poll() is None, one.log.read_text()[-3000:]

    def sensor(self, gateway: str = GATEWAY, **more: Any) -> KeepingSensor:
        """A sensor that keeps its captures."""
        return KeepingSensor(self.broker.settings_for("sensors"), site=SITE, gateway=gateway, **more)

    def site_rows(self, sql: str) -> list[Any]:
        """Ask the site's database; empty before there is one."""
        try:
            with contextlib.closing(
                sqlite3.connect(f"file:{self.site_database}?mode=ro", uri=True, timeout=10)
            ) as connection:
                return connection.execute(sql).fetchall()
        except sqlite3.OperationalError:
            return []

    def at_site(self) -> list[tuple[str, int, int]]:
        """(point, boot, sequence) of every capture whose result the site has, in the order they were stored."""
        return self.site_rows("SELECT point, capture_boot, capture_sequence FROM health ORDER BY sequence")

    def at_gateway(self, name: str = GATEWAY) -> list[tuple[str, int, int]]:
        """The same of every capture in a gateway's store, in the order they were committed."""
        c = capture_table.c
        with read_only(self.store(name)) as store:
            return [tuple(row) for row in store.execute(sa.select(c.point, c.boot, c.sequence).order_by(c.id))]  # type: ignore[misc]

    def in_outbox(self, name: str = GATEWAY) -> int:
        """Records that wait in a gateway's store."""
        with read_only(self.store(name)) as store:
            return int(store.scalar(sa.select(sa.func.count()).select_from(outbox_table)) or 0)

    def dead_letters(self, name: str = GATEWAY) -> dict[str, int]:
        """What a gateway refused, counted by reason."""
        with read_only(self.store(name)) as store:
            rows = store.execute(sa.text("SELECT name, value FROM counter WHERE name LIKE 'dead:%'"))
            return {name.removeprefix("dead:"): value for name, value in rows}

    def wait_drained(self, within_s: float = 60.0) -> None:
        """Return once no gateway owes the site anything."""
        for name in self.gateways:
            wait_until(f"the outbox of {name} is empty", lambda n=name: self.in_outbox(n) == 0, within_s=within_s,  # type: ignore[misc]
                       every_s=0.05)  # fmt: skip

    def live(self, name: str = GATEWAY) -> dict[str, Any]:
        """What a gateway last said of its queues."""
        found: dict[str, Any] = read_status(self.gateway_settings(name))["live"]
        return found

    def gateway_settings(self, name: str = GATEWAY) -> GatewaySettings:
        """As the agent has read them last."""
        return load_settings(GatewaySettings, self.settings(name), self.overridden.get(name, {}))

    def check_invariants(self, *sensors: KeepingSensor, seed: object = "none", given_up: int = 0) -> int:
        """Hold every promise against databases, stores and processes; how many captures the site has.

        Nothing acknowledged is missing and nothing is there twice; what was dropped on purpose has its gap record;
        queues, stores and memory are within their bounds. `given_up` results may be missing at the site, dropped on
        purpose: what is missing is told by gap records; these may name more, as the broker may still bring what a
        gateway has given up.

        Raises:
            AssertionError: One is broken; the message names what and the seed.
        """
        rows = self.at_site()
        have = set(rows)
        assert len(rows) == len(have), f"seed {seed}: stored twice: {_twice(rows)}"
        for sensor in sensors:
            promised = [(sensor.point, sensor.boot, s) for s in range(sensor.acknowledged + 1)]
            missing = sorted(set(promised) - have)
            assert len(missing) <= given_up, f"seed {seed}: acknowledged and not at the site: {missing}"
            assert set(promised) <= set(self.at_gateway(sensor.gateway)), f"seed {seed}: acknowledged and not stored"
        for gateway, boot, through, stored, gone, ahead in self.site_rows(_RECORDS):
            numbered = through + 1 + ahead
            assert stored <= numbered <= stored + gone, (
                f"seed {seed}: {gateway} ({boot}) numbered {numbered} records, the site stored {stored} and "
                f"knows {gone} as given up"
            )
            assert ahead == 0, f"seed {seed}: {ahead} records of {gateway} wait for one that never came"
        for name in self.gateways:
            self._check_drops_are_told(name, seed)
        self.check_bounds(seed)
        return len(have)

    def _check_drops_are_told(self, name: str, seed: object) -> None:
        """Each record that a gateway gave up, told to the site by a gap record that is as durable as the record was."""
        count = sa.select(counter_table.c.value).where(counter_table.c.name == RECORDS_LEFT)
        with read_only(self.store(name)) as store:
            left, waiting = (
                int(store.scalar(count) or 0),
                store.scalar(sa.select(sa.func.count(outbox_table.c.sequence))),
            )
        ((told,),) = self.site_rows(
            "SELECT coalesce(sum(count), 0) FROM gap WHERE what = 'records' AND source != 'site' "
            f"AND gateway = '{name}'"
        )
        assert told == left or waiting, f"seed {seed}: {name} gave up {left} records and told of {told}"

    def check_bounds(self, seed: object = "none") -> None:
        """Hold every queue, store and process against what docs/delivery.md allows it."""
        for name in self.gateways:
            settings, live = self.gateway_settings(name), self.live(name)
            with read_only(self.store(name)) as store:
                outbox = int(store.scalar(sa.select(sa.func.sum(outbox_table.c.size_bytes))) or 0)
            raw = sum(file.stat().st_size for file in (self.store(name) / RAW).glob("*.seg"))
            held = {
                "outbox": (outbox, 1.05 * settings.store.outbox_bytes),  # alarms beyond it
                "raw captures": (raw, settings.store.raw_bytes + 2 * settings.store.segment_bytes),
                "captures between network and worker": (live["queue"], live["queue_limit"]),
                "records under way": (live["under_way"], WINDOW_RECORDS + BATCH_RECORDS),
            }
            for what, (found, bound) in held.items():
                assert found <= bound, f"seed {seed}: {what} of {name}: {found}, {bound:.0f} allowed"
        live_file = self.site_folder / "site-live.json"
        if live_file.exists():
            site = json.loads(live_file.read_text())
            assert site["queue"] <= site["queue_limit"], f"seed {seed}: {site['queue']} messages at the site"
        for one in self.started:
            if one.process.poll() is None:
                most = resident_bytes(one.process.pid, peak=True)
                assert most < RSS_BOUND_BYTES, f"seed {seed}: {one.log.name} held {most >> 20} MB"


_RECORDS = """
SELECT u.gateway, u.boot, u.through, u.stored,
       (SELECT coalesce(sum(count), 0) FROM gap g
        WHERE g.gateway = u.gateway AND g.boot = u.boot AND g.what = 'records'),
       (SELECT count(*) FROM uplink_ahead a WHERE a.gateway = u.gateway AND a.boot = u.boot)
FROM uplink u
"""


def _twice(rows: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    seen: set[tuple[str, int, int]] = set()
    return [row for row in rows if row in seen or seen.add(row)]  # type: ignore[func-returns-value]


def resident_bytes(pid: int, *, peak: bool = False) -> int:
    """Resident memory of a process, now or at its highest; of the process it traces, where it is a tracer."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    traced = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if traced and Path(f"/proc/{pid}/comm").read_text().strip() == "strace":
        return resident_bytes(int(traced[0]), peak=peak)
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(wanted):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no {wanted}")


def within(what: str, condition: Callable[[], object], within_s: float = 60.0) -> Any:
    """Wait for a condition, looking often."""
    return wait_until(what, condition, within_s=within_s, every_s=0.03)


_COMMON = """
[broker]
port = {port}
username = "{user}"
password_file = "{passwords}/{user}.password"
keepalive_s = 5
"""


@contextlib.contextmanager
def data_path(
    folder: Path, broker: BrokerServer, *, gateways: Sequence[str] = (GATEWAY,), stores: Path | None = None,
    site_folder: Path | None = None,
) -> Iterator[DataPath]:  # fmt: skip
    """Write settings and keys of gateways and their site; nothing is started."""
    site = Signer.generate()
    site.save(folder / "site.key")
    keys = [AllowedKey(SITE, "site", site.public)]
    path = DataPath(folder, broker, tuple(gateways), stores or folder, site_folder or folder / "site")
    for name in gateways:
        signer = Signer.generate()
        signer.save(folder / f"{name}.key")
        keys.append(AllowedKey(name, "gateway", signer.public))
        path.settings(name).write_text(
            f'site = "{SITE}"\ngateway = "{name}"\nsigning_key_file = "{name}.key"\nstatus_interval_s = 0.5\n'
            + _COMMON.format(port=broker.port, user=name, passwords=broker.folder)
            + f'[store]\nfolder = "{path.store(name)}"\nraw_bytes = 33554432\nsegment_bytes = 1048576\n'
            "min_free_bytes = 0\n[commissioning]\ncaptures = 8\n[learning]\ntake_part = false\n"
            '[[machines]]\nmachine = "pump-07"\nrpm = 1797.0\n'
        )
    KeyRing(keys).save(folder / "keys.toml")
    path.site_settings.write_text(
        f'name = "{SITE}"\nfolder = "{path.site_folder}"\nsigning_key_file = "site.key"\nkeys_file = "keys.toml"\n'
        + _COMMON.format(port=broker.port, user=SITE, passwords=broker.folder)
        + "[learning]\nenabled = false\n"
    )
    yield path
