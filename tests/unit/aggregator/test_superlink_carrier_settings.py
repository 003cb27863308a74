"""A site that is to learn over a SuperLink: what it needs is said when it is missing; nothing is insecure unsaid."""

from pathlib import Path

import pytest

from aggregator.carriers.superlink_supervisor import FlowerRuns
from aggregator.settings import AggregatorSettings, SuperLinkCarrierSettings
from schemas.errors import SecretMissing, SettingsError
from schemas.settings import load_settings

PLAIN = 'name = "plant-a"\n[broker]\nusername = "plant-a"\npassword_file = "password"\n'
CARRIED = '[learning]\ncarrier = "superlink"\n[learning.superlink]\n'


def load(tmp_path: Path, text: str) -> AggregatorSettings:
    path = tmp_path / "site.toml"
    path.write_text(text)
    return load_settings(AggregatorSettings, path, {})


def test_broker_carries_unless_a_site_says_otherwise(tmp_path: Path) -> None:
    learning = load(tmp_path, PLAIN).learning
    assert (learning.carrier, learning.superlink) == ("mqtt", None)


def test_superlink_with_the_ca_of_its_certificate_is_enough(tmp_path: Path) -> None:
    superlink = load(tmp_path, f'{PLAIN}{CARRIED}ca_file = "flower-ca.pem"\n').learning.superlink
    assert superlink is not None
    assert superlink.address == "127.0.0.1:8000"
    assert superlink.ca_file == tmp_path / "flower-ca.pem"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ('[learning]\ncarrier = "superlink"\n', "without .learning.superlink. found; a SuperLink needs that table"),
        ("[learning.superlink]\ninsecure = true\n", "with .learning.superlink. found"),
        (CARRIED, "set ca_file to the CA of the SuperLink's certificate"),
        (f'{CARRIED}ca_file = "ca.pem"\ninsecure = true\n', "ca_file .* with insecure = true found"),
        (f'{CARRIED}host = "10.0.0.7"\ninsecure = true\n', "on the loopback only"),
        (f"{CARRIED}insecure = true\nattempts = 0\n", "attempts"),
        ('[learning]\ncarrier = "pigeon"\n', "carrier"),
    ],
)
def test_what_a_superlink_needs_is_said_when_it_is_missing(tmp_path: Path, more: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        load(tmp_path, PLAIN + more)


def test_enterprise_is_reached_over_its_broker(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="sites reach it over its broker"):
        load(tmp_path, f'role = "enterprise"\n{PLAIN}{CARRIED}insecure = true\n')


def test_ca_that_cannot_be_read_and_flower_that_is_not_there_are_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SecretMissing, match=r"no-such\.pem of \[learning\.superlink\] cannot be read"):
        FlowerRuns(SuperLinkCarrierSettings(ca_file=tmp_path / "no-such.pem"), tmp_path, tmp_path / "relay.sock")
    with pytest.raises(SettingsError, match=r"set learning\.superlink\.flwr to Flower's command"):
        FlowerRuns(
            SuperLinkCarrierSettings(insecure=True, flwr=tmp_path / "flwr"), tmp_path, tmp_path / "relay.sock"
        )  # fmt: skip


def test_submission_that_fails_says_what_flower_said(tmp_path: Path) -> None:
    flwr = tmp_path / "flwr"
    flwr.write_text("#!/bin/sh\necho run refused: no such federation\nexit 3\n")
    flwr.chmod(0o755)
    runs = FlowerRuns(SuperLinkCarrierSettings(insecure=True, flwr=flwr), tmp_path / "home", tmp_path / "relay.sock")
    assert runs.submit("1f") == "flwr run ended with 3: run refused: no such federation"
    assert (tmp_path / "home" / "app" / "pyproject.toml").exists()
    flwr.unlink()
    assert "cannot be started" in runs.submit("20")
