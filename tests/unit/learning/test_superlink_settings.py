"""Flower's processes are started with TLS and known nodes, and without only where a setting says so in that word."""

import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from aggregator.carriers.superlink import (
    QUIET,
    FlowerTls,
    SuperLinkSettings,
    SuperNodeSettings,
    register_command,
    run_command,
    superlink_command,
    supernode_command,
    write_app,
    write_connection,
)

TLS = FlowerTls(ca_file=Path("ca.pem"), certificate_file=Path("own.pem"), key_file=Path("own.key"))
INSECURE = FlowerTls(insecure=True)


def test_without_certificates_a_process_is_not_even_described() -> None:
    with pytest.raises(ValidationError, match="set insecure = true if you accept"):
        FlowerTls(ca_file=Path("ca.pem"))
    with pytest.raises(ValidationError, match="private_key_file is needed"):
        SuperNodeSettings(superlink="site:8000", tls=TLS)


def test_superlink_lets_registered_nodes_in_over_tls_and_installs_nothing() -> None:
    command = superlink_command(SuperLinkSettings(tls=TLS, database=Path("state.db")))
    assert "--insecure" not in command
    assert {"--enable-supernode-auth", "--disable-runtime-dependency-installation", "--ssl-keyfile"} <= set(command)
    assert command[-2:] == ["--database", "state.db"]
    assert QUIET["FLWR_TELEMETRY_ENABLED"] == "0"


def test_supernode_shows_its_key_checks_the_superlink_and_may_trust_only_some_publishers() -> None:
    node = SuperNodeSettings(
        superlink="site:8000", tls=TLS, private_key_file=Path("gw-1.key"), node_config={"member": "gw-1"},
        trusted_entities_file=Path("trusted.yaml"),
    )  # fmt: skip
    command = supernode_command(node)
    assert "--insecure" not in command
    assert command[command.index("--root-certificates") + 1] == "ca.pem"
    assert command[command.index("--auth-supernode-private-key") + 1] == "gw-1.key"
    assert command[command.index("--node-config") + 1] == 'member="gw-1"'
    assert command[command.index("--trusted-entities") + 1] == "trusted.yaml"


def test_insecure_is_said_only_where_the_setting_says_it() -> None:
    assert "--insecure" in superlink_command(SuperLinkSettings(tls=INSECURE))
    assert "--enable-supernode-auth" not in superlink_command(SuperLinkSettings(tls=INSECURE))
    assert "--insecure" in supernode_command(SuperNodeSettings(superlink="site:8000", tls=INSECURE))


def test_the_app_and_the_connection_are_written_as_flowers_commands_read_them(tmp_path: Path) -> None:
    app = write_app(tmp_path / "app", server="plant.site:server", client="plant.gateway:client", config={"out": ""})
    table = tomllib.loads((app / "pyproject.toml").read_text())
    assert table["tool"]["flwr"]["app"]["components"]["clientapp"] == "undertone_app.client:app"
    assert table["tool"]["flwr"]["app"]["config"] == {"out": ""}
    assert "from plant.site import server as app" in (app / "undertone_app" / "server.py").read_text()
    write_connection(tmp_path / "home", "plant", "site:8000", ca_file=tmp_path / "ca.pem")
    connection = tomllib.loads((tmp_path / "home" / "config.toml").read_text())["superlink"]["plant"]
    assert connection == {"address": "site:8000", "root-certificates": str(tmp_path / "ca.pem")}
    write_connection(tmp_path / "home", "plant", "127.0.0.1:8000", ca_file=None)
    assert "insecure = true" in (tmp_path / "home" / "config.toml").read_text()
    assert register_command(Path("gw-1.pub"), "gw-1", "plant")[-2:] == ["--name", "gw-1"]
    assert run_command(app, "plant", {"out": "a b"})[-1] == 'out="a b"'
