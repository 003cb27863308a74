"""The guide's three sensors on a real broker with a whole gateway agent: judged, alarmed, and stored once."""

import contextlib
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aggregator.enrolment import Office
from aggregator.settings import AggregatorSettings
from gateway_agent.settings import GatewaySettings
from gateway_agent.store import read_only
from gateway_agent.store_tables import capture_table, dead_letter_table, outbox_table
from schemas.link import Link
from schemas.settings import BrokerSettings, load_settings
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.topics import COMMAND
from tests.support.brokers import (
    BrokerServer,
    Inbox,
    ServiceProcess,
    embedded_broker,
    free_port,
    linked,
    require_mosquitto,
)
from tests.support.foreign import (
    LEVELS_TOPIC,
    RADIO_TOPIC,
    WAVE_TOPIC,
    examples,
    levels_payload,
    radio_packets,
    wave_payload,
)
from tests.support.plant import wait_until

WITHIN_S = 20.0
TOPICS = (WAVE_TOPIC, LEVELS_TOPIC, RADIO_TOPIC)
TABLES = "\n".join(example.table for example in examples().values())


@dataclass
class Gateway:
    """One agent whose settings hold the tables of the guide."""

    folder: Path
    broker: BrokerServer

    @property
    def settings(self) -> Path:
        return self.folder / "gateway.toml"

    def agent(self) -> ServiceProcess:
        return ServiceProcess(self.folder, "gateway_agent", "run", "--settings", str(self.settings))

    @contextlib.contextmanager
    def running(self) -> Iterator[ServiceProcess]:
        with self.agent() as agent:
            agent.wait_notice()
            yield agent
            assert agent.process.poll() is None, agent.log.read_text()[-3000:]

    def stored(self) -> list[tuple[str, str]]:
        """(point, quality) in the order of commit; nothing while there is no store yet."""
        columns = (capture_table.c.point, capture_table.c.quality)
        with read_only(self.folder / "var") as database:
            rows = database.execute(sa.select(*columns).order_by(capture_table.c.id)).all()
        return [(row.point, row.quality) for row in rows]

    def wait_stored(self, count: int) -> list[tuple[str, str]]:
        wait_until(f"{count} are stored", lambda: len(self.stored()) >= count, within_s=WITHIN_S, every_s=0.05)
        return self.stored()

    def refused(self) -> list[str]:
        with read_only(self.folder / "var") as database:
            return list(database.execute(sa.select(dead_letter_table.c.reason)).scalars())

    def records(self, kind: str) -> list[dict[str, Any]]:
        with read_only(self.folder / "var") as database:
            rows = database.execute(sa.select(outbox_table.c.body).where(outbox_table.c.kind == kind)).scalars()
            return [json.loads(body) for body in rows]

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "gateway_agent", "status", "--json", "--settings", str(self.settings)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        told: dict[str, Any] = json.loads(done.stdout)
        return told


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with embedded_broker(["gw-1", "makers"]) as broker:
        signer, site = Signer.generate(), Signer.generate()
        signer.save(tmp_path / "signing.key")
        KeyRing([AllowedKey("gw-1", "gateway", signer.public), AllowedKey("plant-a", "site", site.public)]).save(
            tmp_path / "keys.toml"
        )
        gateway = Gateway(tmp_path, broker)
        gateway.settings.write_text(
            f'site = "plant-a"\ngateway = "gw-1"\nstatus_interval_s = 0.5\n'
            f'[broker]\nport = {broker.port}\nusername = "gw-1"\npassword_file = "{broker.folder}/gw-1.password"\n'
            f"[store]\nmin_free_bytes = 0\n[learning]\ntake_part = false\n[commissioning]\ncaptures = 3\n"
            f'[[machines]]\nmachine = "pump-07"\nrpm = 1480.0\n'
            f'[[machines]]\nmachine = "fan-02"\npower_kw = 18.5\nfoundation = "flexible"\nkind = "fan"\n{TABLES}'
        )
        open_session(broker)
        yield gateway


def open_session(broker: BrokerServer) -> None:
    """Subscribe as the agent would: from then on the broker keeps for it what comes, however early."""
    inbox = Inbox()
    wanted = [(example.mapping.filter, 1) for example in examples().values()]
    link = Link(broker.settings_for("gw-1"), "gw-1-captures", subscriptions=wanted, on_message=inbox)
    link.start()
    try:
        assert link.wait_connected(10)
        for topic in TOPICS:
            link.publish(topic, b"heard once the subscription stands")
            inbox.wait_for(lambda received, topic=topic: received.topic == topic)  # type: ignore[misc]
    finally:
        link.stop()


@contextlib.contextmanager
def makers(gateway: Gateway) -> Iterator[Link]:
    with linked(gateway.broker.settings_for("makers"), "makers") as (link, _):
        yield link


def test_three_foreign_sensors_are_judged_by_one_gateway_and_poison_among_them_is_counted(gateway: Gateway) -> None:
    with gateway.running(), makers(gateway) as link:
        for number in range(4):
            link.publish(WAVE_TOPIC, wave_payload(number))
            for packet in reversed(radio_packets(number)):
                link.publish(RADIO_TOPIC, packet)
        link.publish(WAVE_TOPIC, wave_payload(4)[:-1])
        link.publish(RADIO_TOPIC, radio_packets(9)[0][:-1])
        for number in range(6):
            link.publish(LEVELS_TOPIC, levels_payload(number, 30.0))
        stored = gateway.wait_stored(14)
        wait_until("the poison is counted", lambda: len(gateway.refused()) == 2, within_s=WITHIN_S)
        wait_until(
            "the status has caught up",
            lambda: set(gateway.status()["points"].values()) == {"ready"} and len(gateway.status()["points"]) == 3,
            within_s=WITHIN_S,
        )
    points = [point for point, _ in stored]
    assert {point: points.count(point) for point in points} == {"pump-07/nde": 4, "pump-07/de": 4, "fan-02/nde": 6}
    assert {quality for _, quality in stored} == {"ok"}
    assert sorted(gateway.refused()) == ["bad_checksum", "not_json"]
    assert [(a["point"], a["priority"], a["zone"]) for a in gateway.records("alarm")] == [("fan-02/nde", "danger", "D")]
    assert len(gateway.records("health")) == 14


def test_messages_delivered_again_to_a_gateway_killed_in_between_are_stored_once(gateway: Gateway) -> None:
    def say(link: Link, first: int, last: int) -> None:
        for number in range(first, last):
            link.publish(WAVE_TOPIC, wave_payload(number))
            link.publish(LEVELS_TOPIC, levels_payload(number))
            for packet in radio_packets(number):
                link.publish(RADIO_TOPIC, packet)

    with makers(gateway) as link:
        with gateway.agent() as agent:
            agent.wait_notice()
            say(link, 0, 6)
            gateway.wait_stored(3)
            agent.kill()
        say(link, 0, 8)  # a maker's bridge that repeats everything
        with gateway.running():
            gateway.wait_stored(24)
            link.publish(LEVELS_TOPIC, levels_payload(99))  # after all that waited
            stored = gateway.wait_stored(25)
    points = [point for point, _ in stored]
    assert {point: points.count(point) for point in points} == {"pump-07/nde": 8, "pump-07/de": 8, "fan-02/nde": 9}
    assert gateway.refused() == []


def test_message_of_which_half_had_come_when_the_gateway_was_killed_becomes_whole_afterwards(gateway: Gateway) -> None:
    packets = radio_packets(1)
    with makers(gateway) as link:
        with gateway.agent() as agent:
            agent.wait_notice()
            for packet in packets[: len(packets) // 2]:
                link.publish(RADIO_TOPIC, packet)
            link.publish(LEVELS_TOPIC, levels_payload(1))
            assert gateway.wait_stored(1) == [("fan-02/nde", "ok")]
            agent.kill()
        with gateway.running():
            for packet in packets[len(packets) // 2 :]:
                link.publish(RADIO_TOPIC, packet)
            assert gateway.wait_stored(2)[1] == ("pump-07/de", "ok")
    assert gateway.refused() == []


def test_foreign_sensor_is_heard_by_its_gateway_and_can_write_nowhere_else(tmp_path: Path) -> None:
    require_mosquitto()
    port = free_port()
    file = tmp_path / "site.toml"
    file.write_text(
        f'name = "plant-a"\n[broker]\nport = {port}\nca_file = "own/ca.crt"\ncertificate_file = "own/site.crt"\n'
        f'key_file = "own/site.key"\n[broker_server]\nkind = "mosquitto"\nport = {port}\n'
    )
    office = Office(load_settings(AggregatorSettings, file, {}), by="mosquitto", now=lambda: dt.datetime.now(dt.UTC))
    office.enroll("plant-a", "site", tmp_path / "own")
    for name in ("gw-1", "gw-2"):
        office.enroll(name, "gateway", tmp_path / name)
    office.enroll("levels", "sensors", tmp_path / "levels", gateway="gw-1", writes=("plantsense/+/telemetry",))
    topic = "plantsense/A1/telemetry"

    def reach(name: str) -> BrokerSettings:
        if name == "levels":
            own = {"certificate_file": tmp_path / "levels/sensors.crt", "key_file": tmp_path / "levels/sensors.key"}
            return reach("gw-1").model_copy(update=own)
        return load_settings(GatewaySettings, tmp_path / name / "gateway.toml", {}).broker

    everything = ("plantsense/#", "ut/#", "other/#")
    with (
        ServiceProcess(tmp_path, "aggregator", "broker", "--settings", str(file)) as broker,
        contextlib.ExitStack() as stack,
    ):
        broker.wait_notice()
        inboxes: list[Inbox] = []
        for name in ("gw-1", "gw-2"):
            _, inbox = stack.enter_context(linked(reach(name), name, *everything))
            inboxes.append(inbox)
        sensor, own = stack.enter_context(linked(reach("levels"), "levels", *everything))
        for forged in ("ut/v1/plant-a/sensor/gw-1/pump-07/de/capture", "other/A1/telemetry", "plantsense/A1/command"):
            sensor.publish(forged, b"forged")
        sensor.publish(topic, b"said")
        inboxes[0].wait_for(lambda received: received.payload == b"said")
        assert [received.topic for received in inboxes[0].seen] == [topic]
        site, _ = stack.enter_context(linked(load_settings(AggregatorSettings, file, {}).broker, "plant-a"))
        command = COMMAND.path(site="plant-a", gateway="gw-2")
        assert site.publish(command, b"for gw-2")
        inboxes[1].wait_for(lambda received: received.payload == b"for gw-2")
        assert [received.topic for received in inboxes[1].seen] == [command]
        with pytest.raises(AssertionError, match="not heard"):
            own.wait_for(lambda _: True, within_s=0.3)
