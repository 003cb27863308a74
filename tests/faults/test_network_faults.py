"""Rows 20 and 21: the network between gateway and broker parts, in both directions or in one, and flaps once a second.

So does that between a site and its enterprise.

Through a relay where nothing else can be had; between real network namespaces where root may make them.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from schemas.database import open_database, sqlite_url
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.site_tables import site_offer, waiting_update
from tests.support.brokers import ServiceProcess, embedded_broker
from tests.support.faults.chaos_proxy import ChaosProxy
from tests.support.faults.data_path import SITE, DataPath, data_path, preferred_broker, within
from tests.support.faults.keeping_sensor import KeepingSensor
from tests.support.faults.namespaces import Wire, wire
from tests.support.tiers import SITES, Plants, comes_true, round_of

LINKS = 2  # of one agent, each with its own reconnects
KEEPALIVE_S = 5.0


def settle(path: DataPath, sensor: KeepingSensor) -> None:
    """All acknowledged, all told, nothing lost."""
    sensor.wait_all_acknowledged()
    path.wait_drained()
    assert path.check_invariants(sensor) == sensor.measured


def wait_until_deaf(sensor: KeepingSensor) -> None:
    """Return once no acknowledgement has come for a second: the fault bites."""
    heard, since_s = -1, time.monotonic()

    def silent() -> bool:
        nonlocal heard, since_s
        if sensor.acknowledged != heard:
            heard, since_s = sensor.acknowledged, time.monotonic()
        return time.monotonic() - since_s >= 1

    within("no acknowledgement comes", silent)


@pytest.mark.parametrize("flaps", [4, pytest.param(60, marks=pytest.mark.nightly)])
@pytest.mark.timeout(300)
def test_link_cut_every_second_and_then_stalled_each_way_loses_nothing_and_brings_no_storm_of_connections(
    tmp_path: Path, flaps: int
) -> None:
    with (
        preferred_broker() as broker,
        ChaosProxy(broker.port) as proxy,
        data_path(tmp_path, broker) as path,
        path.site() as site,
        path.gateway(environment={"UNDERTONE_BROKER__PORT": str(proxy.port)}) as agent,
        path.sensor() as sensor,
    ):
        site.wait_notice()
        agent.wait_notice()
        sensor.wait_acknowledged(20)
        started_s, before = time.monotonic(), len(proxy.connected_at_s)
        for flap in range(1, flaps + 1):
            within("a second has passed", lambda flap=flap: time.monotonic() >= started_s + flap)  # type: ignore[misc]
            proxy.cut()
        connections = len(proxy.connected_at_s) - before
        for direction in ("to_server", "to_client"):
            setattr(proxy, direction, False)
            wait_until_deaf(sensor)
            setattr(proxy, direction, True)
            sensor.wait_acknowledged(sensor.measured)
        settle(path, sensor)
        print(f"{flaps} flaps, {connections} connections of {LINKS} links")
        assert connections <= LINKS * (flaps + 1)


@contextlib.contextmanager
def across(cable: Wire, folder: Path) -> Iterator[tuple[DataPath, Path, KeepingSensor]]:
    """The gateway at the other end of the cable, all others at this one; its log, and a sensor."""
    with (
        preferred_broker() as broker,
        ChaosProxy(broker.port, host=cable.here) as door,
        data_path(folder, broker) as path,
        path.site() as site,
        path.gateway(
            prefix=cable.prefix,
            environment={
                "UNDERTONE_BROKER__HOST": door.host,
                "UNDERTONE_BROKER__PORT": str(door.port),
                "UNDERTONE_BROKER__ALLOW_PLAINTEXT_BEYOND_LOOPBACK": "true",
            },
        ) as agent,
        path.sensor() as sensor,
    ):
        site.wait_notice()
        agent.wait_notice()
        yield path, agent.log, sensor
        assert agent.process.poll() is None


@pytest.mark.root
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("fault", "noticed"),
    [
        ("both ways", False),
        pytest.param("both ways", True, marks=pytest.mark.nightly),
        pytest.param("answers only", True, marks=pytest.mark.nightly),
    ],
)
def test_gateway_cut_off_from_its_broker_comes_back_and_loses_nothing(
    tmp_path: Path, fault: str, noticed: bool
) -> None:
    """For a moment that TCP outlives, and for longer than the keepalive, after which the connection is a new one."""
    with wire() as cable, across(cable, tmp_path) as (path, agent_log, sensor):
        sensor.wait_acknowledged(20)
        cable.cut() if fault == "both ways" else cable.drop_answers()
        wait_until_deaf(sensor)
        if noticed:
            within("the gateway notices", lambda: "broker_lost" in agent_log.read_text(), within_s=4 * KEEPALIVE_S)
        known = len(path.at_site())
        cable.mend()
        sensor.wait_acknowledged(sensor.measured)
        settle(path, sensor)
        assert len(path.at_site()) > known


@pytest.mark.root
@pytest.mark.nightly
@pytest.mark.timeout(240)
def test_cable_that_is_unplugged_every_other_second_for_a_minute_loses_nothing(tmp_path: Path) -> None:
    with wire() as cable, across(cable, tmp_path) as (path, _, sensor):
        sensor.wait_acknowledged(20)
        started_s = time.monotonic()
        for half in range(1, 61):
            cable.cut() if half % 2 else cable.mend()
            within("a second has passed", lambda half=half: time.monotonic() >= started_s + half)  # type: ignore[misc]
        settle(path, sensor)


ENTERPRISE = "fleet"


def enterprise_settings(folder: Path, path: DataPath, broker_host: str, broker_port: int, passwords: Path) -> Path:
    """Write what an enterprise needs, and add it to the site's settings."""
    reach = f'host = "{broker_host}"\nport = {broker_port}\nkeepalive_s = 5\nallow_plaintext_beyond_loopback = true\n'
    signer = Signer.generate()
    signer.save(folder / f"{ENTERPRISE}.key")
    keys = KeyRing.load(folder / "keys.toml")
    KeyRing([*keys, AllowedKey(ENTERPRISE, "enterprise", signer.public)]).save(folder / "keys.toml")
    file = folder / f"{ENTERPRISE}.toml"
    file.write_text(
        f'role = "enterprise"\nname = "{ENTERPRISE}"\nfolder = "{folder / ENTERPRISE}"\n'
        f'signing_key_file = "{ENTERPRISE}.key"\nkeys_file = "keys.toml"\n[learning]\nenabled = false\n'
        f'[broker]\nusername = "{ENTERPRISE}"\npassword_file = "{passwords / ENTERPRISE}.password"\n{reach}'
    )
    path.site_settings.write_text(
        path.site_settings.read_text()
        + f'[uplink]\nenterprise = "{ENTERPRISE}"\nsummary_interval_s = 1.0\n[uplink.broker]\n{reach}'
        f'username = "{SITE}"\npassword_file = "{passwords / SITE}.password"\n'
    )
    return file


def newest_told(database: Path) -> int:
    """When the newest data had come of which the enterprise has been told; 0 before the first word."""
    engine = open_database(sqlite_url(database), read_only=True)
    with contextlib.suppress(sa.exc.OperationalError), engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT summary FROM site_summary").scalar()
        return int(json.loads(found)["newest_data_us"] or 0) if found else 0
    return 0


@pytest.mark.root
@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_site_cut_off_from_its_enterprise_goes_on_and_tells_how_it_stands_once_the_cable_is_back(
    tmp_path: Path,
) -> None:
    """The enterprise and its broker stand at the other end of a cable; sensors, gateway and site at this one."""
    with (
        wire() as cable,
        embedded_broker([ENTERPRISE, SITE], host=cable.there, prefix=cable.prefix) as between,
        preferred_broker() as broker,
        data_path(tmp_path, broker) as path,
    ):
        file = enterprise_settings(tmp_path, path, between.host, between.port, between.folder)
        book = tmp_path / ENTERPRISE / "enterprise.db"
        with (
            ServiceProcess(tmp_path, "aggregator", "run", "--settings", str(file), prefix=cable.prefix) as enterprise,
            path.running() as (_, site),
            path.sensor() as sensor,
        ):
            enterprise.wait_notice()
            sensor.wait_acknowledged(20)
            within("the enterprise is told", lambda: newest_told(book))
            cable.cut()
            within("the site notices", lambda: "broker_lost" in site.log.read_text())
            known, cut_us = len(path.at_site()), time.time_ns() // 1000
            sensor.wait_acknowledged(sensor.measured + 30)
            within("the site stores on", lambda: len(path.at_site()) >= known + 30)
            assert newest_told(book) < cut_us
            cable.mend()
            within("the enterprise hears of it", lambda: newest_told(book) > cut_us, within_s=120)
            settle(path, sensor)
            assert enterprise.process.poll() is None


@pytest.mark.root
@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_what_a_site_learnt_while_the_cable_to_its_enterprise_was_out_is_there_once_it_is_back(tmp_path: Path) -> None:
    """Each of its rounds once: what is stored is what it has learnt, no more and no less."""
    with (
        wire() as cable,
        embedded_broker([ENTERPRISE, *SITES], host=cable.there, prefix=cable.prefix) as between,
        contextlib.ExitStack() as stack,
    ):
        plants = Plants(tmp_path, stack, between=between)
        enterprise = plants.enterprise()
        site = plants.site("site-a")
        assert enterprise.carrier.wait_members(1, 60)
        cable.cut()
        for _ in range(3):
            round_of(site)
        assert plants.states("site-a", site_offer).count("stored") == 0
        cable.mend()
        comes_true(lambda: set(plants.states("site-a", site_offer)) == {"stored"}, 120)
        stored = plants.rows(ENTERPRISE, waiting_update)
        assert sum(row["metrics"]["rounds"] for row in stored) == 3
        learnt = site.current().parameters() - plants.first.parameters()
        told = sum(np.frombuffer(row["delta"], "<f4").astype(float) for row in stored)
        np.testing.assert_allclose(told, learnt, atol=1e-6)  # a rounding to float32 a round
