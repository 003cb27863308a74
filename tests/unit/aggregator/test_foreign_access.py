"""A foreign sensor may write its own topics and no others; its gateway may read them until it is revoked."""

import datetime as dt
from pathlib import Path

import pytest

from aggregator.broker_files import access_list, access_of
from aggregator.client_list import Client, Clients, read_clients
from aggregator.command import main
from aggregator.enrolment import Office
from aggregator.errors import EnrolmentRefused
from aggregator.settings import AggregatorSettings, BrokerServerSettings
from schemas.errors import TopicError
from schemas.settings import BrokerSettings

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
TOPICS = ("plantsense/+/telemetry", "radio/71/packet")


@pytest.fixture
def settings(tmp_path: Path) -> AggregatorSettings:
    return AggregatorSettings(
        name="plant-a", broker=BrokerSettings(allow_anonymous=True), folder=tmp_path / "var",
        broker_server=BrokerServerSettings(folder=tmp_path / "broker"),
        signing_key_file=tmp_path / "signing.key", keys_file=tmp_path / "keys.toml",
    )  # fmt: skip


@pytest.fixture
def office(settings: AggregatorSettings) -> Office:
    office = Office(settings, by="mosquitto", now=lambda: NOW)
    for gateway in ("gw-1", "gw-2"):
        office.enroll(gateway, "gateway", settings.folder / gateway)
    office.enroll("levels", "sensors", settings.folder / "levels", gateway="gw-1", writes=TOPICS)
    return office


def _rules(settings: AggregatorSettings, name: str) -> list[tuple[str, str]]:
    clients = read_clients(settings)
    client = clients.find(name)
    assert client is not None
    return list(access_of(client, settings, clients))


@pytest.mark.usefixtures("office")
def test_foreign_sensor_writes_its_topics_and_not_even_those_of_our_own_sensors(settings):
    assert _rules(settings, "levels") == [("write", topic) for topic in TOPICS]


@pytest.mark.usefixtures("office")
def test_its_gateway_reads_these_topics_and_no_other_gateway_does(settings):
    foreign = [rule for rule in _rules(settings, "gw-1") if not rule[1].startswith("ut/")]
    assert foreign == [("read", topic) for topic in TOPICS]
    assert [rule for rule in _rules(settings, "gw-2") if not rule[1].startswith("ut/")] == []


def test_rights_end_for_both_when_the_sensor_is_revoked_and_survive_a_renewal(settings, office):
    office.renew("levels", settings.folder / "renewed")
    assert _rules(settings, "levels") == [("write", topic) for topic in TOPICS]
    office.revoke("levels")
    assert "plantsense" not in access_list(settings, read_clients(settings))


def test_topics_of_their_own_are_for_sensors_only(settings, office):
    with pytest.raises(EnrolmentRefused, match="topics of their own are for sensors, and not for a gateway"):
        office.enroll("gw-3", "gateway", settings.folder / "x", writes=("a/b",))


@pytest.mark.parametrize("topic", ["#", "ut/v1/plant-a/gateway/gw-1/command", "a/b\nuser gw-1", "+/telemetry"])
def test_topic_that_would_reach_further_is_refused_and_nobody_is_enrolled(settings, office, topic):
    with pytest.raises(TopicError):
        office.enroll("wide", "sensors", settings.folder / "wide", gateway="gw-1", writes=(topic,))
    assert read_clients(settings).find("wide") is None


def test_list_of_clients_written_before_there_were_foreign_sensors_is_read():
    before = '{"version": 1, "clients": [{"name": "s", "kind": "sensors", "gateway": "gw-1"}], "revoked_serials": []}'
    assert Clients.model_validate_json(before).clients == (Client(name="s", kind="sensors", gateway="gw-1"),)


def test_enrolment_with_topics_works_from_the_command_line(tmp_path):
    file = tmp_path / "site.toml"
    file.write_text('name = "plant-a"\n[broker]\nallow_anonymous = true\n[broker_server]\nkind = "embedded"\n')
    assert main(["enroll", "gw-1", "--settings", str(file), "--out", str(tmp_path / "gw")]) == 0
    asked = f"enroll s --as sensors --gateway gw-1 --settings {file} --out {tmp_path / 's'}".split()
    assert main([*asked, "--writes", TOPICS[0], "--writes", TOPICS[1]]) == 0
    client = read_clients(
        AggregatorSettings(name="plant-a", broker=BrokerSettings(allow_anonymous=True), folder=tmp_path / "var")
    ).find("s")
    assert client is not None
    assert client.writes == TOPICS
