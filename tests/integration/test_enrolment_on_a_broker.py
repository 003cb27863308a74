"""Who was enrolled gets in and says its own; everybody else is shut out, by a real broker run by our own command."""

import datetime as dt
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aggregator.broker_files import ServedBy
from aggregator.certificates import write_private
from aggregator.enrolment import Office, authority_of
from aggregator.settings import AggregatorSettings
from gateway_agent.settings import GatewaySettings
from schemas.link import Link
from schemas.settings import BrokerSettings, load_settings
from schemas.topics import RECORDS, RECORDS_ACK
from tests.support.brokers import Inbox, ServiceProcess, free_port, linked, require_mosquitto

SITE = "plant-a"
REFUSED_WITHIN_S = 1.5  # a handshake on the loopback takes a hundredth of that


class Plant:
    """A site with its broker, which runs as `aggregator broker`."""

    def __init__(self, folder: Path, by: ServedBy) -> None:
        self.folder = folder
        self.file = folder / "site.toml"
        port = free_port()
        reach = (
            'ca_file = "own/ca.crt"\ncertificate_file = "own/site.crt"\nkey_file = "own/site.key"\n'
            if by == "mosquitto"
            else f'username = "{SITE}"\npassword_file = "own/password"\n'
        )
        self.file.write_text(
            f'name = "{SITE}"\n[broker]\nport = {port}\nkeepalive_s = 5\n{reach}'
            f'[broker_server]\nkind = "{by}"\nport = {port}\n'
        )
        self.settings = load_settings(AggregatorSettings, self.file, {})
        self.office = Office(self.settings, by=by, now=lambda: dt.datetime.now(dt.UTC))
        self.office.enroll(SITE, "site", folder / "own")
        for name in ("gw-1", "gw-2"):
            self.office.enroll(name, "gateway", folder / name)

    def broker_of(self, gateway: str) -> BrokerSettings:
        return load_settings(GatewaySettings, self.folder / gateway / "gateway.toml", {}).broker

    def serve(self) -> ServiceProcess:
        return ServiceProcess(self.folder, "aggregator", "broker", "--settings", str(self.file))


@pytest.fixture(scope="module")
def mosquitto_plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    require_mosquitto()
    plant = Plant(tmp_path_factory.mktemp("plant"), "mosquitto")
    with plant.serve() as broker:
        broker.wait_notice()
        yield plant


def is_refused(settings: BrokerSettings, client_id: str) -> bool:
    with linked(settings, client_id, connected=False) as (link, _):
        return not link.wait_connected(REFUSED_WITHIN_S)


def test_gateway_and_site_talk_with_what_was_in_their_bundles(mosquitto_plant: Plant) -> None:
    records, ack = (row.path(site=SITE, gateway="gw-1") for row in (RECORDS, RECORDS_ACK))
    with (
        linked(mosquitto_plant.settings.broker, "site", RECORDS.filter(site=SITE)) as (site, site_inbox),
        linked(mosquitto_plant.broker_of("gw-1"), "gw-1", ack) as (gateway, gateway_inbox),
    ):
        assert gateway.publish(records, b"said")
        assert site_inbox.wait_for(lambda _: True).payload == b"said"
        assert site.publish(ack, b"heard")
        assert gateway_inbox.wait_for(lambda _: True).payload == b"heard"


def test_what_a_gateway_says_in_anothers_topic_is_not_delivered(mosquitto_plant: Plant) -> None:
    with (
        linked(mosquitto_plant.settings.broker, "site", f"ut/v1/{SITE}/#") as (_, inbox),
        linked(mosquitto_plant.broker_of("gw-1"), "gw-1") as (gateway, _),
    ):
        for topic in (
            RECORDS.path(site=SITE, gateway="gw-2"),
            RECORDS.path(site="plant-b", gateway="gw-1"),
            RECORDS_ACK.path(site=SITE, gateway="gw-1"),
            f"ut/v1/{SITE}/gateway/gw-1/x/records",
        ):
            assert gateway.publish(topic, b"forged")
        assert gateway.publish(RECORDS.path(site=SITE, gateway="gw-1"), b"own")
        inbox.wait_for(lambda received: received.payload == b"own")
        assert [received.payload for received in inbox.seen] == [b"own"]


def test_what_is_meant_for_another_gateway_is_not_delivered_whatever_is_subscribed(mosquitto_plant: Plant) -> None:
    with (
        linked(mosquitto_plant.settings.broker, "site") as (site, _),
        linked(mosquitto_plant.broker_of("gw-1"), "gw-1", "ut/v1/#", "#", "$SYS/#") as (_, inbox),
    ):
        assert site.publish(RECORDS_ACK.path(site=SITE, gateway="gw-2"), b"for gw-2")
        assert site.publish(RECORDS_ACK.path(site=SITE, gateway="gw-1"), b"for gw-1")
        inbox.wait_for(lambda received: received.payload == b"for gw-1")
        assert {received.payload for received in inbox.seen} == {b"for gw-1"}


def test_nobody_gets_in_without_a_certificate(mosquitto_plant: Plant) -> None:
    anonymous = mosquitto_plant.broker_of("gw-1").model_copy(update={"certificate_file": None, "key_file": None})
    assert is_refused(anonymous, "nobody")


@pytest.mark.parametrize(("starts_days_ago", "days"), [(40, 30), (-2, 30)], ids=["expired", "not yet valid"])
def test_certificate_out_of_its_time_is_refused(
    mosquitto_plant: Plant, tmp_path: Path, starts_days_ago: int, days: int
) -> None:
    then = dt.datetime.now(dt.UTC) - dt.timedelta(days=starts_days_ago)
    authority = authority_of(mosquitto_plant.settings, now=dt.datetime.now(dt.UTC))
    issued = authority.issue_client("gw-1", now=then, days=days)
    write_private(tmp_path / "crt", issued.certificate)
    write_private(tmp_path / "key", issued.key)
    files = {"certificate_file": tmp_path / "crt", "key_file": tmp_path / "key"}
    assert is_refused(mosquitto_plant.broker_of("gw-1").model_copy(update=files), "gw-1")


def test_certificate_of_another_plant_is_refused(mosquitto_plant: Plant, tmp_path: Path) -> None:
    other = Plant(tmp_path, "mosquitto")
    theirs = other.broker_of("gw-1")
    ours = mosquitto_plant.broker_of("gw-1")
    mixed = ours.model_copy(update={"certificate_file": theirs.certificate_file, "key_file": theirs.key_file})
    assert is_refused(mixed, "gw-1")


def test_newcomer_gets_in_while_the_others_stay_connected(mosquitto_plant: Plant) -> None:
    with linked(mosquitto_plant.broker_of("gw-1"), "gw-1") as (stays, _):
        mosquitto_plant.office.enroll("gw-3", "gateway", mosquitto_plant.folder / "gw-3")
        records = RECORDS.path(site=SITE, gateway="gw-3")
        with (
            linked(mosquitto_plant.settings.broker, "site", records) as (_, inbox),
            linked(mosquitto_plant.broker_of("gw-3"), "gw-3") as (newcomer, _),
        ):
            _publish_until_heard(newcomer, inbox, records)
        assert stays.connected


def _publish_until_heard(link: Link, inbox: Inbox, topic: str) -> None:
    for _ in range(50):
        link.publish(topic, b"hello")
        try:
            inbox.wait_for(lambda received: received.payload == b"hello", within_s=0.2)
        except AssertionError:
            continue
        return
    raise AssertionError("the access list was never read again")


def test_revoked_gateway_is_thrown_out_at_once_and_the_others_come_back(mosquitto_plant: Plant) -> None:
    mosquitto_plant.office.enroll("gw-4", "gateway", mosquitto_plant.folder / "gw-4")
    settings = mosquitto_plant.broker_of("gw-4")
    with (
        linked(settings, "gw-4") as (revoked, _),
        linked(mosquitto_plant.broker_of("gw-1"), "gw-1") as (stays, _),
    ):
        mosquitto_plant.office.revoke("gw-4")
        assert _until(lambda: not revoked.connected, within_s=10)
        assert stays.wait_connected(10)
        assert not revoked.wait_connected(REFUSED_WITHIN_S)
    assert is_refused(settings, "gw-4")


def _until(holds: Callable[[], bool], *, within_s: float) -> bool:
    give_up_at_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > give_up_at_s:
            return False
        time.sleep(0.02)
    return True


def test_embedded_broker_takes_the_passwords_of_the_bundles_and_no_others(tmp_path: Path) -> None:
    plant = Plant(tmp_path, "embedded")
    with plant.serve() as broker:
        broker.wait_notice("READY=1")
        with linked(plant.broker_of("gw-1"), "gw-1") as (revoked, _), linked(plant.settings.broker, SITE) as (site, _):
            (tmp_path / "wrong").write_text("guessed\n")
            guess = plant.broker_of("gw-1").model_copy(update={"password_file": tmp_path / "wrong"})
            assert is_refused(guess, "guesser")
            plant.office.revoke("gw-1")
            assert _until(lambda: not revoked.connected, within_s=10)
            assert site.wait_connected(10)
            assert not revoked.wait_connected(REFUSED_WITHIN_S)
        assert broker.terminate() == 0


def test_broker_does_not_outlive_its_command(tmp_path: Path) -> None:
    plant = Plant(tmp_path, "embedded")
    with plant.serve() as broker:
        broker.wait_notice()
        broker.kill()
        assert _until(lambda: _port_is_free(plant.settings.broker.port), within_s=10)


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_port_that_is_taken_is_said_in_one_line(mosquitto_plant: Plant) -> None:
    second = mosquitto_plant.serve()
    with second:
        assert second.process.wait(20) == 2
    assert "already" in second.log.read_text().splitlines()[-1]
