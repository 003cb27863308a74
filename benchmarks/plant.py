"""This file knows a site for measuring: broker, aggregator and one gateway agent, each a process."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aggregator.broker_files import ServedBy, served_by
from aggregator.settings import BrokerServerSettings
from deploy.demo.joining import enrol
from deploy.demo.names import AggregatorPlace
from deploy.demo.ports import HOST, choose_ports
from deploy.demo.processes import Processes, Running, wait_until
from deploy.demo.settings_files import broker_table
from deploy.demo.toml_text import toml_text
from schemas.settings import BrokerSettings

SITE, GATEWAY, SENSORS = "bench", "bench-gw", "bench-sensors"
COMMISSIONING_CAPTURES = 20
MOST_QUEUED_BYTES = 1 << 30  # a reader that is slower than the publisher loses nothing


@dataclass(frozen=True, slots=True)
class Bench:
    """What is running.

    Attributes:
        by: Which broker serves.
        site: Its aggregator's place.
        gateway_folder: Bundle, settings and store of the gateway.
        sensors_broker: How a publisher reaches the broker.
        sensors_folder: The publisher's bundle.
        gateway: The agent's process, where it runs.
        processes: All of them.
    """

    by: ServedBy
    site: AggregatorPlace
    gateway_folder: Path
    sensors_folder: Path
    sensors_broker: BrokerSettings
    gateway: Running | None
    processes: Processes

    def wait(self, what: str, holds: Callable[[], bool], within_s: float) -> None:
        """Wait until something holds, with every process alive."""
        wait_until(what, holds, within_s=within_s, processes=self.processes, tick=lambda: time.sleep(0.1))

    def gateway_cpu_s(self) -> float:
        """Seconds of a core that the gateway agent has used, all its threads."""
        assert self.gateway is not None, "the agent was not asked for"
        fields = Path(f"/proc/{self.gateway.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system time

    @contextlib.contextmanager
    def site_elsewhere(self) -> Iterator[None]:
        """The site's work takes none of this machine meanwhile: in a plant it is another one."""
        aggregator = next(one for one in self.processes.running if one.name == "aggregator").process
        aggregator.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            aggregator.send_signal(signal.SIGCONT)

    def gateway_memory_mb(self, field: str) -> float:
        """`VmRSS` (now) or `VmHWM` (ever) of the gateway agent."""
        assert self.gateway is not None, "the agent was not asked for"
        lines = Path(f"/proc/{self.gateway.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


@contextlib.contextmanager
def bench_site(
    machines: int, *, learns: bool, judged: bool = True, keep_raw: bool = True, status_interval_s: float = 1.0
) -> Iterator[Bench]:
    """Run the site; everything is gone afterwards.

    Args:
        machines: How many the gateway knows, `m-00` and on.
        learns: Whether rounds of learning are run, one every few seconds.
        judged: Whether the gateway's agent runs; without it captures go to whoever listens.
        keep_raw: Whether it keeps raw captures.
        status_interval_s: How often it tells its status.
    """
    folder = Path(tempfile.mkdtemp(prefix="undertone-bench-"))
    processes = Processes(folder / "logs")
    port = choose_ports({"broker": 18840}, folder / "ports.json")["broker"]
    site = AggregatorPlace("site", SITE, folder / "site", port, None)
    by = served_by(BrokerServerSettings())
    try:
        _write_site(site, by, learns=learns)
        gateway_folder, sensors_folder = folder / GATEWAY, folder / SENSORS
        enrol(site, SITE, "--as", "site", out=site.own_bundle)
        enrol(site, GATEWAY, out=gateway_folder)
        enrol(site, SENSORS, "--as", "sensors", "--gateway", GATEWAY, out=sensors_folder)
        settings = gateway_folder / "gateway.toml"
        settings.write_text(_gateway_settings(
            port, by, machines, learns=learns, keep_raw=keep_raw, status_interval_s=status_interval_s,
        ))  # fmt: skip
        gateway = _start(processes, site, settings if judged else None)
        table = broker_table(Path(), port, by, user=SENSORS, stem="sensors")
        files = {key: sensors_folder / str(value) for key, value in table.items() if key.endswith("_file")}
        yield Bench(
            by, site, gateway_folder, sensors_folder, BrokerSettings.model_validate(table | files), gateway, processes
        )
    finally:
        processes.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _start(processes: Processes, site: AggregatorPlace, gateway_settings: Path | None) -> Running | None:
    def start(name: str, module: str, command: str, file: Path) -> Running:
        one = processes.start(name, name, module, command, "--settings", str(file))
        wait_until(name, lambda: one.ready, within_s=60, processes=processes, tick=lambda: time.sleep(0.1))
        return one

    start("broker", "aggregator", "broker", site.settings_file)
    start("aggregator", "aggregator", "run", site.settings_file)
    return start("gateway", "gateway_agent", "run", gateway_settings) if gateway_settings else None


def _write_site(site: AggregatorPlace, by: ServedBy, *, learns: bool) -> None:
    own = site.own_bundle.relative_to(site.folder)
    table: dict[str, object] = {
        "role": "site",
        "name": site.name,
        "folder": "var",
        "broker": broker_table(own, site.broker_port, by, user=site.name, stem="site"),
        "broker_server": {"kind": by, "host": HOST, "port": site.broker_port, "max_queued_bytes": MOST_QUEUED_BYTES},
        "learning": {"enabled": learns, "round_interval_s": 5.0, "deadline_s": 30.0},
        "rollout": {"staged": False},  # so that every round's release is taken while it is measured
    }
    site.settings_file.parent.mkdir(parents=True, exist_ok=True)
    site.settings_file.write_text(toml_text(table))


def _gateway_settings(
    port: int, by: ServedBy, machines: int, *, learns: bool, keep_raw: bool, status_interval_s: float
) -> str:
    table: dict[str, object] = {
        "site": SITE,
        "gateway": GATEWAY,
        "status_interval_s": status_interval_s,
        "broker": broker_table(Path(), port, by, user=GATEWAY, stem="gateway"),
        "store": {"folder": "var", "raw_bytes": 512 << 20, "keep_raw": keep_raw},
        "commissioning": {"captures": COMMISSIONING_CAPTURES},
        "learning": {"take_part": learns},
        "machines": [
            {"machine": f"m-{number:02d}", "power_kw": 30.0, "foundation": "rigid", "rpm": 1480.0,
             "bearing": {"name": "6205"}}
            for number in range(machines)
        ],
    }  # fmt: skip
    return toml_text(table)


def how_to_reach(bench: Bench) -> list[str]:
    """What `mosquitto_sub` needs to reach the broker with the gateway's own right to read."""
    folder, broker = bench.gateway_folder, bench.sensors_broker
    where = ["-h", broker.host, "-p", str(broker.port)]
    if bench.by == "mosquitto":
        return [*where, "--cafile", str(folder / "ca.crt"), "--cert", str(folder / "gateway.crt"),
                "--key", str(folder / "gateway.key")]  # fmt: skip
    return [*where, "-u", GATEWAY, "-P", Path(folder / "password").read_text().strip()]
