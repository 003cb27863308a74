"""Everything docker-compose.yml refers to is there, and every command in it is one that our programs take."""

import importlib
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import aggregator.command
import dashboard.command
import gateway_agent.command
import sensor_sim.command
from aggregator.settings import AggregatorSettings
from dashboard.settings import DashboardSettings
from gateway_agent.settings import GatewaySettings
from schemas.settings import Settings, load_settings
from sensor_sim.scenario import load_scenario
from sensor_sim.settings import SimulatorSettings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
KINDS: dict[str, type[Settings]] = {
    "aggregator": AggregatorSettings,
    "gateway-agent": GatewaySettings,
    "dashboard": DashboardSettings,
    "sensor-sim": SimulatorSettings,
}
PARSERS: dict[str, Callable[..., Any]] = {
    "aggregator": lambda: aggregator.command._parser(["run"]),
    "gateway-agent": gateway_agent.command._parser,
    "dashboard": dashboard.command._parser,
    "sensor-sim": sensor_sim.command._parser,
}
RUNNING = [name for name in OURS if SERVICES[name]["command"][0] in PARSERS]


def mounts(name: str) -> dict[str, str]:
    """Container path to what lies there: a file of the repository, or the name of a volume."""
    return {entry.split(":")[1]: entry.split(":")[0] for entry in SERVICES[name].get("volumes", [])}


def settings_of(name: str, tmp_path: Path) -> tuple[Settings, Path]:
    """The settings a service loads, from a folder laid out as in its container; and where they lie there."""
    command = SERVICES[name]["command"]
    inside = Path(command[command.index("--settings") + 1])
    for target, source in mounts(name).items():
        if source.startswith("./"):
            place = tmp_path / target.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes((ROOT / source).read_bytes())
    environment = {key: str(value) for key, value in SERVICES[name].get("environment", {}).items()}
    return load_settings(KINDS[command[0]], tmp_path / str(inside).lstrip("/"), environment), inside


def files_in(settings: Settings) -> list[Path]:
    found: list[Path] = []
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        if isinstance(value, Path):
            found.append(value)
        elif isinstance(value, Settings):
            found += files_in(value)
    return found


@pytest.mark.parametrize("name", RUNNING)
def test_command_is_one_that_the_program_takes(name):
    program, *arguments = SERVICES[name]["command"]
    assert PARSERS[program]().parse_args(arguments)


@pytest.mark.parametrize("name", RUNNING)
def test_program_is_a_console_script_of_the_distribution(name):
    scripts = (ROOT / "pyproject.toml").read_text()
    found = re.search(rf'^{SERVICES[name]["command"][0]} = "([\w.]+):(\w+)"', scripts, re.MULTILINE)
    assert found is not None
    assert callable(getattr(importlib.import_module(found[1]), found[2]))


@pytest.mark.parametrize("name", RUNNING)
def test_settings_load_as_they_lie_in_the_container(name, tmp_path):
    settings, _ = settings_of(name, tmp_path)
    assert settings


@pytest.mark.parametrize("name", RUNNING)
def test_every_file_in_the_settings_lies_in_a_volume_of_the_service(name, tmp_path):
    settings, _ = settings_of(name, tmp_path)
    held = [target for target, source in mounts(name).items() if not source.startswith(".")]
    for path in files_in(settings):
        inside = "/" + str(path.relative_to(tmp_path))
        assert any(inside.startswith(f"{target}/") for target in [*held, *mounts(name)]) or inside in mounts(name), path


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_mounted_files_are_in_the_repository_and_volumes_are_declared(name):
    for source in mounts(name).values():
        if source.startswith("."):
            assert (ROOT / source).is_file(), source
        else:
            assert source in COMPOSE["volumes"], source


def test_every_declared_volume_is_used():
    used = {source for name in SERVICES for source in mounts(name).values() if not source.startswith(".")}
    assert used == set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_whom_a_service_waits_for_is_there(name):
    for other, rule in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        if rule["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        if rule["condition"] == "service_completed_successfully":
            assert SERVICES[other]["restart"] == "no"


def test_published_ports_are_free_of_each_other_and_are_those_the_service_listens_on(tmp_path):
    published = [(name, port.rpartition(":")) for name in SERVICES for port in SERVICES[name].get("ports", [])]
    outside = [head.rpartition(":")[2] for _, (head, _, _) in published]
    assert len(set(outside)) == len(outside)
    for name, (head, _, inner) in published:
        settings, _ = settings_of(name, tmp_path / name)
        listens = settings.broker_server.port if isinstance(settings, AggregatorSettings) else settings.port
        assert int(inner) == listens
        if isinstance(settings, DashboardSettings):
            assert head.startswith("127.0.0.1:"), "the screen is published on the loopback alone"


@pytest.mark.parametrize("name", RUNNING)
def test_broker_a_client_speaks_to_is_a_service_that_is_reached_by_that_name(name, tmp_path):
    settings, _ = settings_of(name, tmp_path)
    broker = getattr(settings, "broker", None)
    if broker is None:
        return
    serving, _ = settings_of(broker.host, tmp_path / "broker")
    assert isinstance(serving, AggregatorSettings)
    assert serving.broker_server.port == broker.port
    assert broker.host in serving.broker_server.reached_as
    site = settings.name if isinstance(settings, AggregatorSettings) else settings.site
    assert serving.name == site


def test_variables_of_the_file_are_in_the_example_environment():
    text = (ROOT / "docker-compose.yml").read_text()
    known = dict(line.split("=", 1) for line in (ROOT / "deploy/docker/example.env").read_text().splitlines()
                 if line and not line.startswith("#"))  # fmt: skip
    assert set(re.findall(r"\$\{(\w+)", text)) == set(known)


def test_databases_of_the_sites_are_made_by_the_database_service(tmp_path):
    made = {SERVICES["postgres"]["environment"]["POSTGRES_DB"]}
    made |= set(re.findall(r"CREATE DATABASE (\w+)", (ROOT / "deploy/docker/databases.sql").read_text()))
    for name in RUNNING:
        settings, _ = settings_of(name, tmp_path / name)
        url = getattr(settings, "database_url", "")
        if url:
            host, _, database = url.rpartition("@")[2].partition("/")
            assert (host, database in made) == ("postgres", True)


def test_sensors_play_machines_that_their_gateway_knows(tmp_path):
    for site in ("north", "south"):
        gateway, _ = settings_of(f"{site}-gateway", tmp_path / f"{site}-gateway")
        sensors, _ = settings_of(f"{site}-sensors", tmp_path / f"{site}-sensors")
        assert isinstance(gateway, GatewaySettings)
        assert isinstance(sensors, SimulatorSettings)
        assert sensors.gateway == gateway.gateway
        assert sensors.scenario is not None
        scenario = load_scenario(sensors.scenario, sensors.variables)
        assert {m.name for m in scenario.machines} == {plate.machine for plate in gateway.machines}
        assert gateway.machines == tuple(m.nameplate for m in scenario.machines)


def test_enrolment_script_makes_every_bundle_that_is_used_and_each_command_is_one_the_program_takes(tmp_path):
    recorder = tmp_path / "bin" / "aggregator"
    recorder.parent.mkdir()
    recorder.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/commands\n')
    recorder.chmod(0o755)
    subprocess.run(
        ["sh", ROOT / "deploy/docker/enrol.sh"], check=True, env={"PATH": f"{recorder.parent}:/usr/bin:/bin"}
    )
    bundles = set()
    for line in (tmp_path / "commands").read_text().splitlines():
        parsed = PARSERS["aggregator"]().parse_args(line.split())
        bundles.add(str(parsed.out))
        assert str(parsed.settings) in mounts("enrol")
        assert any(str(parsed.out).startswith(volume) for volume in mounts("enrol"))
    needed = set()
    for name in RUNNING:
        settings, _ = settings_of(name, tmp_path / name)
        for path in files_in(settings):
            if path.suffix == ".crt":
                needed.add("/" + str(path.parent.relative_to(tmp_path / name)))
    assert needed <= bundles


def test_dockerfile_copies_only_what_is_there_and_makes_a_folder_for_every_volume_of_ours():
    text = (ROOT / "deploy/docker/Dockerfile").read_text()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists() or source == "README.md", source
    for lock in re.findall(r"-r /?(locks/\w+\.txt)", text):
        assert (ROOT / lock).is_file()
    made = set(re.search(r"for name in ([\w\s\\-]+);", text)[1].replace("\\", " ").split())  # type: ignore[index]
    assert made == set(COMPOSE["volumes"]) - {"postgres"}
