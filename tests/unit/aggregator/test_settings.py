"""Settings of an aggregator: what is refused, and in which words."""

from pathlib import Path

import pytest

from aggregator.settings import AggregatorSettings
from schemas.errors import SettingsError
from schemas.settings import load_settings

PLAIN = 'name = "plant-a"\n[broker]\nusername = "plant-a"\npassword_file = "password"\n'


def load(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> AggregatorSettings:
    path = tmp_path / "site.toml"
    path.write_text(text)
    return load_settings(AggregatorSettings, path, environment or {})


def test_name_and_broker_are_enough(tmp_path: Path) -> None:
    settings = load(tmp_path, PLAIN)
    assert (settings.role, settings.learning.round_interval_s, settings.uplink) == ("site", 900.0, None)
    assert settings.database == f"sqlite:///{tmp_path / 'var' / 'site.db'}"
    assert settings.broker_server.folder == tmp_path / "broker"


def test_environment_wins(tmp_path: Path) -> None:
    environment = {"UNDERTONE_BROKER_SERVER__PORT": "9999", "UNDERTONE_LEARNING__ENABLED": "false"}
    settings = load(tmp_path, PLAIN, environment)
    assert (settings.broker_server.port, settings.learning.enabled) == (9999, False)


def test_database_url_of_the_settings_is_used_as_it_is(tmp_path: Path) -> None:
    assert load(tmp_path, 'database_url = "postgresql+psycopg://db/site"\n' + PLAIN).database.startswith("postgresql")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("[learnning]\nenabled = true\n", "learnning"),
        ("[learning]\nround_interval_s = 0.5\n", "round_interval_s"),
        ("[learning]\nquorum_share = 1.5\n", "quorum_share"),
        ('[broker_server]\nkind = "embedded"\nhost = "0.0.0.0"\n', "loopback"),
        ('[broker_server]\nkind = "rabbit"\n', "kind"),
        ('[[machines]]\nmachine = "p"\n[[machines]]\nmachine = "p"\n', "listed twice"),
        ('[uplink]\nenterprise = "plant-a"\n[uplink.broker]\nallow_anonymous = true\n', "both called"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, more: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        load(tmp_path, PLAIN + more)


def test_unsafe_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Plant A"):
        load(tmp_path, PLAIN.replace("plant-a", "Plant A", 1))


def test_enterprise_has_no_uplink(tmp_path: Path) -> None:
    more = '[uplink]\nenterprise = "group"\n[uplink.broker]\nallow_anonymous = true\n'
    with pytest.raises(SettingsError, match="no uplink"):
        load(tmp_path, 'role = "enterprise"\n' + PLAIN + more)


@pytest.mark.parametrize("learning", ['rule = "fltrust"', 'root_member = "gw-1"'])
def test_a_rule_that_compares_needs_a_gateway_to_compare_with_and_no_other_rule_does(
    tmp_path: Path, learning: str
) -> None:
    with pytest.raises(SettingsError, match="fltrust needs a gateway whose rows are the site's own"):
        load(tmp_path, f"{PLAIN}[learning]\n{learning}\n")
    both = load(tmp_path, f'{PLAIN}[learning]\nrule = "fltrust"\nroot_member = "gw-1"\n')
    assert both.learning.root_member == "gw-1"
