"""The units are right, hardened, and start programs that exist with options they take."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import aggregator.command
import dashboard.command
import gateway_agent.command

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
PARSERS = {
    "gateway-agent": gateway_agent.command._parser,
    "aggregator": lambda: aggregator.command._parser(["run"]),
    "dashboard": dashboard.command._parser,
}
EXPOSURE_AT_MOST = 15  # tenths


@pytest.fixture(scope="module")
def analyzer() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("SYSTEMD-ANALYZE IS NOT INSTALLED: units are neither verified nor judged here")
    return program


@pytest.fixture
def installed(tmp_path) -> Path:
    """The units as they would lie in /etc/systemd/system, with programs at a path that exists here."""
    program = tmp_path / "bin"
    program.mkdir()
    for name in PARSERS:
        (program / name).write_text("#!/bin/sh\n")
        (program / name).chmod(0o755)
    for unit in UNITS:
        text = unit.read_text().replace("/opt/undertone/bin", str(program)).replace("User=undertone", "User=daemon")
        (tmp_path / unit.name).write_text(text.replace("Group=undertone", "Group=daemon"))
    return tmp_path


def instance(unit: Path) -> str:
    return unit.name.replace("@.", "@site.")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_is_verified(unit, analyzer, installed):
    if "@" in unit.name:
        shutil.copy(installed / unit.name, installed / instance(unit))
    done = subprocess.run(
        [analyzer, "verify", "--recursive-errors=yes", "--man=no", installed / instance(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_is_hardened(unit, analyzer):
    done = subprocess.run(
        [analyzer, "security", "--offline=true", f"--threshold={EXPOSURE_AT_MOST}", "--no-pager", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_mosquitto_of_the_distribution_is_hardened_by_the_drop_in(analyzer, tmp_path):
    distribution = Path("/lib/systemd/system/mosquitto.service")
    if not distribution.is_file():
        pytest.skip("MOSQUITTO IS NOT INSTALLED: the drop-in for its unit is not judged here")
    merged = tmp_path / "mosquitto.service"
    merged.write_text(
        distribution.read_text().partition("[Install]")[0] + (DEPLOY / "mosquitto/hardening.conf").read_text()
    )
    for command in (
        ["verify", "--recursive-errors=yes", "--man=no", merged],
        ["security", "--offline=true", "--threshold=25", "--no-pager", merged],
    ):
        done = subprocess.run([analyzer, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_starts_a_program_of_ours_with_options_it_takes(unit):
    command = re.search(r"^ExecStart=/opt/undertone/bin/(\S+) (.+)$", unit.read_text(), re.MULTILINE)
    assert command is not None
    assert PARSERS[command[1]]().parse_args(command[2].split())


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_comes_back_however_often_it_fails(unit):
    text = unit.read_text()
    assert "StartLimitIntervalSec=0\n" in text
    assert "Restart=on-failure\n" in text
    assert "OOMPolicy=stop\n" in text
    assert re.search(r"^MemoryMax=", text, re.MULTILINE)


@pytest.mark.parametrize("name", ["undertone-gateway", "undertone-aggregator@", "undertone-broker@"])
def test_unit_waits_for_readiness_and_watches(name):
    text = (DEPLOY / "systemd" / f"{name}.service").read_text()
    assert "Type=notify\n" in text
    assert re.search(r"^WatchdogSec=\d+$", text, re.MULTILINE)


def test_credentials_of_the_gateway_are_the_files_that_its_example_settings_name():
    text = (DEPLOY / "systemd/undertone-gateway.service").read_text()
    loaded = set(re.findall(r"^LoadCredential=([\w.]+):", text, re.MULTILINE))
    named = set(re.findall(r'"([\w.]+\.(?:toml|key|crt))"', (DEPLOY / "examples/gateway.toml").read_text()))
    assert loaded == named | {"gateway.toml"}


def test_no_secret_stands_in_a_unit():
    for unit in UNITS:
        parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
        parser.read_string(unit.read_text())
        assert not re.search(r"(?i)password\s*=\s*\S", unit.read_text())
