"""This file knows how long a round of three members takes over the plant's broker, and over Flower's own engine.

The same apps, 50,000 parameters, members in processes of their own, TLS on both sides, one machine, one run. The
members have next to no work: the round is the carrier's, asking twice (train, evaluate), and the merge.
"""

import contextlib
import functools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from aggregator.broker_files import served_by
from aggregator.carriers.mqtt import MqttCarrier, Server
from aggregator.carriers.superlink import write_app
from aggregator.settings import AggregatorSettings, BrokerServerSettings
from benchmarks.figures import Figure
from benchmarks.fleet_app import MEMBERS, PARAMETERS, rounds_s
from benchmarks.stock_flower import flower_plant, free_port
from deploy.demo.joining import enrol
from deploy.demo.names import AggregatorPlace
from deploy.demo.processes import Processes, wait_until
from deploy.demo.settings_files import broker_table
from deploy.demo.toml_text import toml_text
from schemas.settings import load_settings
from schemas.signing import KeyRing, Signer

SITE = "bench"
ROUNDS, FLOWER_ROUNDS = 50, 5
ROUND_TARGET_MS, RATIO_TARGET = 50.0, 50.0
THERE_WITHIN_S, FLOWER_WITHIN_S = 120.0, 600.0


def federated_round_ms() -> Figure:
    """A round over the broker, with nothing taken off for what little the members do."""
    by, taken_s = _over_broker_s()
    repeats = tuple(1e3 * one for one in taken_s)
    value = median(repeats)
    note = f"{len(MEMBERS)} member processes, {PARAMETERS} parameters, {by}, median of {ROUNDS} rounds"
    return Figure(
        "federated_round_ms", value if by == "mosquitto with TLS" else None, "ms", ROUND_TARGET_MS, "below", value,
        None, repeats, note,
    )  # fmt: skip


def federated_round_ratio() -> Figure:
    """Time of the same round over a stock SuperLink and SuperNodes, over ours."""
    by, ours_s = _over_broker_s()
    flower_s = over_superlink_s(FLOWER_ROUNDS)
    ours, other = median(ours_s), median(flower_s)
    note = (
        f"s a round; {by} against SuperLink and SuperNodes with TLS and node keys, isolation subprocess; replies are "
        f"looked for every 0.2 s, where Flower's own grid waits 3 s"
    )
    return Figure(
        "federated_round_ratio", other / ours, "", RATIO_TARGET, "above", ours, other,
        tuple(one / ours for one in flower_s), note,
    )  # fmt: skip


FIGURES = (federated_round_ms, federated_round_ratio)


@functools.cache
def _over_broker_s() -> tuple[str, list[float]]:
    with member_plant() as (by, carrier, _):
        return by, rounds_s(carrier, "small", ROUNDS)


@contextlib.contextmanager
def member_plant(
    members: Sequence[str] = MEMBERS, program: str = "benchmarks.fleet_app"
) -> Iterator[tuple[str, MqttCarrier, list[subprocess.Popen[bytes]]]]:
    """A broker, members in processes, and the site's carrier in this one; everything is gone afterwards.

    Args:
        members: Their names.
        program: The module each of them runs, with its settings file.

    Yields:
        The broker in words, the carrier, and the members' processes.
    """
    folder = Path(tempfile.mkdtemp(prefix="undertone-bench-"))
    processes = Processes(folder / "logs")
    site = AggregatorPlace("site", SITE, folder / "site", free_port(), None)
    by = served_by(BrokerServerSettings())
    own = site.own_bundle.relative_to(site.folder)
    table: dict[str, object] = {
        "name": SITE,
        "folder": "var",
        "signing_key_file": str(own / "signing.key"),
        "keys_file": str(own / "keys.toml"),
        "broker": broker_table(own, site.broker_port, by, user=SITE, stem="site"),
        "broker_server": {"kind": by, "port": site.broker_port},
    }
    site.settings_file.parent.mkdir(parents=True, exist_ok=True)
    site.settings_file.write_text(toml_text(table))
    running: list[subprocess.Popen[bytes]] = []
    try:
        enrol(site, SITE, "--as", "site", out=site.own_bundle)
        for member in members:
            enrol(site, member, out=folder / member)
        broker = processes.start("broker", "broker", "aggregator", "broker", "--settings", str(site.settings_file))
        wait_until("broker", lambda: broker.ready, within_s=60, processes=processes, tick=lambda: time.sleep(0.1))
        running += [
            subprocess.Popen(
                [sys.executable, "-m", program, str(folder / member / "gateway.toml")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            for member in members
        ]  # fmt: skip
        settings = load_settings(AggregatorSettings, site.settings_file, {})
        carrier = MqttCarrier(
            settings.broker, Server(SITE, "site", "gateway"), signer=Signer.load(settings.signing_key_file),
            keys=KeyRing.load(settings.keys_file),
        )  # fmt: skip
        carrier.start()
        try:
            if not carrier.wait_members(len(members), THERE_WITHIN_S):
                raise RuntimeError(f"members did not come in {THERE_WITHIN_S:g} s")
            yield f"{by} with TLS" if by == "mosquitto" else "the embedded broker without TLS", carrier, running
        finally:
            carrier.stop()
    finally:
        for process in running:
            process.kill()
            process.communicate()
        processes.stop()
        shutil.rmtree(folder, ignore_errors=True)


def over_superlink_s(
    rounds: int,
    *,
    app: str = "small",
    members: Sequence[str] = MEMBERS,
    node_environment: Mapping[str, str] | None = None,
) -> list[float]:
    """Seconds of rounds over stock Flower processes; what its SuperNodes find in their environment may be chosen."""
    folder = Path(tempfile.mkdtemp(prefix="undertone-bench-"))
    out = folder / "rounds.json"
    config = {"out": str(out), "rounds": str(rounds), "app": app, "members": str(len(members))}
    client = {"small": "small_member", "real": "real_client"}[app]
    written = write_app(
        folder / "app", server="benchmarks.fleet_app:server", client=f"benchmarks.fleet_app:{client}", config=config
    )
    try:
        with flower_plant() as plant:
            for member in members:
                plant.start_node(member, environment=node_environment)
            plant.run(written, config)
            give_up_at_s = time.monotonic() + FLOWER_WITHIN_S
            while not out.exists():
                if time.monotonic() > give_up_at_s:
                    raise RuntimeError(f"no rounds in {FLOWER_WITHIN_S:g} s:\n{plant.log_of('superlink')[-4000:]}")
                time.sleep(0.2)
        taken_s: list[float] = json.loads(out.read_text())
        return taken_s
    finally:
        shutil.rmtree(folder, ignore_errors=True)
