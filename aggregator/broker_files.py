"""This file knows what brokers and clients must be told in their own files: who may connect, read and write what.

Pure but for the paths in it: settings and the list of clients in, text out. The access list is read out of the table
of topics, so that what nobody may say has no line.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aggregator.client_list import Client, Clients
from aggregator.errors import BrokerUnavailable
from aggregator.settings import AggregatorSettings, BrokerServerSettings
from schemas.settings import is_loopback
from schemas.topics import ROOT, TOPICS, Topic

ServedBy = Literal["mosquitto", "embedded"]
_PROGRAM_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/opt/homebrew/sbin:/opt/homebrew/bin"
NOBODY = Clients()
IN_FLIGHT = 1000  # the default of 20 dropped messages with ten publishers


def find_mosquitto() -> str | None:
    """The program, where it is installed; system folders are not on everybody's path."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=_PROGRAM_FOLDERS)


def served_by(server: BrokerServerSettings) -> ServedBy:
    """Which broker serves under these settings on this machine.

    Raises:
        BrokerUnavailable: The network is to be served, and nothing here can do that safely.
    """
    if server.kind != "auto":
        return server.kind
    if find_mosquitto():
        return "mosquitto"
    if not is_loopback(server.host):
        raise BrokerUnavailable(
            f"broker_server.host is {server.host} and mosquitto is not installed; the embedded broker serves the "
            "loopback only: install mosquitto, or set host = '127.0.0.1'"
        )
    return "embedded"


def names_of_server(server: BrokerServerSettings) -> tuple[str, ...]:
    """Every name and address that the broker's certificate must carry."""
    everywhere = server.host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
    return (*server.reached_as, *(() if everywhere else (server.host,)), "localhost", "127.0.0.1")


def address_for_clients(server: BrokerServerSettings) -> str:
    """The host that goes into bundles.

    Raises:
        BrokerUnavailable: It listens everywhere and nobody has said under which name it is reached.
    """
    if server.reached_as:
        return server.reached_as[0]
    if server.host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        raise BrokerUnavailable(
            f"broker_server.host is {server.host}; set broker_server.reached_as to the names clients use"
        )
    return server.host


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """Where mosquitto finds what it needs."""

    authority: Path
    certificate: Path
    key: Path
    revocations: Path
    access: Path
    memory: Path


def mosquitto_settings(server: BrokerServerSettings, files: ServerFiles, *, owner: str) -> str:
    """The whole of mosquitto.conf: certificates from our authority only, the name in them is the user.

    Args:
        server: Limits and address.
        files: What it refers to.
        owner: As whom it runs when started by root: who owns the files.
    """
    lines = [
        f"user {owner}",
        "per_listener_settings false",
        f"listener {server.port} {server.host}",
        "allow_anonymous false",
        f"cafile {files.authority}",
        f"certfile {files.certificate}",
        f"keyfile {files.key}",
        f"crlfile {files.revocations}",
        "require_certificate true",
        "use_identity_as_username true",
        f"acl_file {files.access}",
        f"max_connections {server.max_connections}",
        "set_tcp_nodelay true",
        f"max_inflight_messages {IN_FLIGHT}",
        f"max_queued_messages {server.max_queued_messages}",
        f"max_queued_bytes {server.max_queued_bytes}",
        f"max_packet_size {server.max_packet_bytes}",
        "persistent_client_expiration 14d",
        "persistence true",
        f"persistence_location {files.memory}/",
        "autosave_interval 60",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "connection_messages true",
    ]
    return "\n".join(lines) + "\n"


def embedded_settings(server: BrokerServerSettings, clients: Clients) -> str:
    """The whole of the embedded broker's TOML: the loopback, and a password for each client."""
    lines = [
        "id = 0",
        "[router]",
        "id = 0",
        f"max_connections = {server.max_connections}",
        f"max_outgoing_packet_count = {IN_FLIGHT}",
        "max_segment_size = 67108864",
        "max_segment_count = 20",
        "[v5.1]",
        'name = "undertone"',
        f"listen = {json.dumps(_socket_address(server))}",
        "next_connection_delay_ms = 1",
        "[v5.1.connections]",
        "connection_timeout_ms = 60000",
        f"max_payload_size = {server.max_packet_bytes}",
        "max_inflight_count = 500",
        "dynamic_filters = true",
        "[v5.1.connections.auth]",
        *(f"{json.dumps(one.name)} = {json.dumps(one.password)}" for one in clients.clients if one.password),
    ]
    return "\n".join(lines) + "\n"


def _socket_address(server: BrokerServerSettings) -> str:
    host = "127.0.0.1" if server.host == "localhost" else server.host
    return f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"


def access_list(settings: AggregatorSettings, clients: Clients) -> str:
    """The whole of mosquitto's ACL: each client its own topics; whoever has no line may say and hear nothing."""
    blocks = []
    for client in clients.clients:
        rules = [] if client.revoked else access_of(client, settings, clients)
        if rules:
            lines = "\n".join(f"topic {right} {path}" for right, path in rules)
            blocks.append(f"user {client.name}\n{lines}\n")
    return "\n".join(blocks) or "# nobody is enrolled yet\n"


def access_of(
    client: Client, settings: AggregatorSettings, clients: Clients = NOBODY
) -> list[tuple[Literal["read", "write", "readwrite"], str]]:
    """What one client may do on the broker, as rights and topic filters."""
    own = settings.name
    if client.name == own and client.kind == settings.role:
        return [("readwrite", f"{ROOT}/{own}/#")]
    if client.kind == "sensors" and client.writes:
        return [("write", topic) for topic in client.writes]
    if client.kind == "sensors" and client.gateway is not None:
        return _rules(
            [t for t in TOPICS if "sensor" in {t.writer, t.reader}], "sensor", site=own, gateway=client.gateway
        )
    if client.kind == "gateway":
        foreign = [t for c in clients.clients if c.gateway == client.name and not c.revoked for t in c.writes]
        rules = _rules(TOPICS, "gateway", site=own, gateway=client.name, member=client.name)
        return rules + [("read", topic) for topic in dict.fromkeys(foreign)]
    if client.kind == "site":
        as_member = _rules([t for t in TOPICS if t.leaves_plant], "gateway", site=own, member=client.name)
        return as_member + _rules([t for t in TOPICS if t.reader == "enterprise"], "site", site=own, member=client.name)
    return []


def _rules(
    topics: Sequence[Topic], party: str, **names: str
) -> list[tuple[Literal["read", "write", "readwrite"], str]]:
    rules: list[tuple[Literal["read", "write", "readwrite"], str]] = []
    for topic in topics:
        if topic.writer == party:
            rules.append(("write", topic.filter(**names)))
        if topic.reader == party:
            rules.append(("read", topic.filter(**names)))
    return rules


def broker_table(host: str, port: int, *, by: ServedBy, client: str, stem: str, heading: str = "broker") -> str:
    """How a client reaches the broker, as a table of its settings."""
    lines = [f"[{heading}]", f"host = {json.dumps(host)}", f"port = {port}"]
    if by == "mosquitto":
        lines += ['ca_file = "ca.crt"', f'certificate_file = "{stem}.crt"', f'key_file = "{stem}.key"']
    else:
        lines += [f"username = {json.dumps(client)}", 'password_file = "password"']
    return "\n".join(lines) + "\n"


def gateway_settings(site: str, gateway: str, broker: str) -> str:
    """The settings of a gateway agent, ready to run; machines are added by whoever knows them."""
    return (
        f"# Settings of gateway {gateway} at {site}. Paths are relative to this file.\n"
        f"site = {json.dumps(site)}\n"
        f"gateway = {json.dumps(gateway)}\n"
        'signing_key_file = "signing.key"\n'
        'keys_file = "keys.toml"\n'
        "# Captures of machines that are not listed below are refused, unless this is true.\n"
        "accept_unknown_machines = false\n\n"
        f"{broker}\n"
        "[store]\n"
        'folder = "var"\n\n'
        "# One table a machine; what is not known stays out.\n"
        "# [[machines]]\n"
        '# machine = "pump-07"\n'
        '# title = "Cooling water pump 7"\n'
        "# power_kw = 75.0\n"
        '# foundation = "rigid"\n'
        "# rpm = 1480.0\n"
        '# bearing = { name = "6205" }\n'
    )
