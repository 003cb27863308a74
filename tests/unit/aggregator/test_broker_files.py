"""What the brokers are told."""

import tomllib
from pathlib import Path

import pytest

from aggregator import broker_files
from aggregator.broker_files import ServerFiles, address_for_clients, embedded_settings, mosquitto_settings, served_by
from aggregator.client_list import Client, Clients
from aggregator.errors import BrokerUnavailable
from aggregator.settings import BrokerServerSettings

FILES = ServerFiles(*(Path("/f") / name for name in ("ca", "crt", "key", "crl", "acl", "memory")))


def test_mosquitto_lets_nobody_in_without_a_certificate_of_ours() -> None:
    lines = mosquitto_settings(BrokerServerSettings(), FILES, owner="somebody").splitlines()
    for line in (
        "listener 8883 127.0.0.1", "allow_anonymous false", "require_certificate true",
        "use_identity_as_username true", "acl_file /f/acl", "crlfile /f/crl", "max_inflight_messages 1000",
        "max_queued_messages 100000", "persistence true", "user somebody", "set_tcp_nodelay true",
    ):  # fmt: skip
        assert line in lines


def test_embedded_broker_knows_the_passwords_of_those_who_may_still_come() -> None:
    clients = Clients(
        clients=(
            Client(name="gw-1", kind="gateway", password='quo"ted'),
            Client(name="gw-2", kind="gateway", revoked=True),
            Client(name="board", kind="dashboard"),
        )
    )
    connections = tomllib.loads(embedded_settings(BrokerServerSettings(), clients))["v5"]["1"]["connections"]
    assert connections["auth"] == {"gw-1": 'quo"ted'}
    assert connections["max_payload_size"] == 2 << 20


def test_auto_takes_mosquitto_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_files, "find_mosquitto", lambda: "/usr/sbin/mosquitto")
    assert served_by(BrokerServerSettings()) == "mosquitto"
    assert served_by(BrokerServerSettings(kind="embedded")) == "embedded"


def test_auto_without_mosquitto_serves_the_loopback_and_refuses_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_files, "find_mosquitto", lambda: None)
    assert served_by(BrokerServerSettings()) == "embedded"
    with pytest.raises(BrokerUnavailable, match="install mosquitto"):
        served_by(BrokerServerSettings(host="192.0.2.1"))


def test_broker_that_listens_everywhere_must_say_how_it_is_reached() -> None:
    with pytest.raises(BrokerUnavailable, match="reached_as"):
        address_for_clients(BrokerServerSettings(host="0.0.0.0"))
    assert address_for_clients(BrokerServerSettings(host="0.0.0.0", reached_as=("broker.plant",))) == "broker.plant"
