"""`systemctl reload` reaches the agents, with the settings as they are now."""

import re
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).resolve().parents[2] / "deploy" / "systemd"


@pytest.mark.parametrize("name", ["undertone-gateway", "undertone-aggregator@"])
def test_a_reload_hangs_up_on_the_main_process(name: str) -> None:
    reloads = re.findall(r"^ExecReload=(.+)$", (SYSTEMD / f"{name}.service").read_text(), re.MULTILINE)
    assert reloads[-1] == "/bin/sh -c 'kill -HUP $MAINPID'"


def test_the_gateway_reads_the_settings_that_the_reload_hands_on_and_not_its_credential_of_the_start() -> None:
    text = (SYSTEMD / "undertone-gateway.service").read_text()
    handed = re.search(r"^ExecReload=\+/usr/bin/install -m 0644 (\S+) (\S+)$", text, re.MULTILINE)
    assert handed is not None
    assert f"LoadCredential=gateway.toml:{handed[1]}\n" in text
    assert f"--reload-from {handed[2]}\n" in text
    runtime = re.search(r"^RuntimeDirectory=(\S+)$", text, re.MULTILINE)
    assert runtime is not None
    assert handed[2] == f"%t/{runtime[1]}/gateway.toml"
