"""Rows 20 and 21: the network between gateway and broker parts, in both directions or in one, and flaps once a second.

Through a relay where nothing else can be had; between real network namespaces where root may make them.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faults.chaos_proxy import ChaosProxy
from tests.support.faults.data_path import DataPath, data_path, preferred_broker, within
from tests.support.faults.keeping_sensor import KeepingSensor
from tests.support.faults.namespaces import Wire, wire

LINKS = 2  # of one agent, each with its own reconnects
KEEPALIVE_S = 5.0


def settle(path: DataPath, sensor: KeepingSensor) -> None:
    """All acknowledged, all told, nothing lost."""
    sensor.wait_all_acknowledged()
    path.wait_drained()
    assert path.check_nothing_lost(sensor) == sensor.measured


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
        sensor.wait_acknowledged(sensor.measured, within_s=60)
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
