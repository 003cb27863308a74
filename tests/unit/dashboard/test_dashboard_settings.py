"""What the dashboard refuses to start with."""

from pathlib import Path

import pytest

from dashboard.command import main
from dashboard.settings import DashboardSettings
from dashboard.theme import DARK, LIGHT, streamlit_options
from schemas.errors import SettingsError
from schemas.settings import load_settings
from schemas.signing import KeyRing
from tests.support.brokers import free_port

URL = "sqlite:////var/lib/undertone/site.db"


def load(tmp_path: Path, text: str) -> DashboardSettings:
    path = tmp_path / "dashboard.toml"
    path.write_text(f'database_url = "{URL}"\n{text}')
    return load_settings(DashboardSettings, path, {})


def test_without_a_word_it_listens_on_the_loopback_and_wants_people_with_names(tmp_path):
    settings = load(tmp_path, "")
    assert settings.host == "127.0.0.1"
    assert settings.access.by == "people"
    assert not settings.access.allow_without_token


def test_provider_without_its_settings_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"\[access.oidc\]"):
        load(tmp_path, '[access]\nby = "oidc"')


def test_letting_everybody_in_beside_people_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"goes with access\.by"):
        load(tmp_path, "[access]\nallow_without_token = true")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "plant-server"])
def test_host_beyond_the_loopback_is_refused_until_somebody_says_so(tmp_path, host):
    with pytest.raises(SettingsError, match="allow_beyond_loopback"):
        load(tmp_path, f'host = "{host}"')
    assert load(tmp_path, f'host = "{host}"\nallow_beyond_loopback = true').host == host


def test_no_token_beyond_the_loopback_is_refused_whatever_somebody_says(tmp_path):
    with pytest.raises(SettingsError, match="lets everybody in"):
        load(
            tmp_path,
            'host = "0.0.0.0"\nallow_beyond_loopback = true\n[access]\nby = "token"\nallow_without_token = true',
        )


def test_typo_is_refused_by_name(tmp_path):
    with pytest.raises(SettingsError, match="databse_url"):
        load(tmp_path, 'databse_url = "x"')


def test_certificate_without_its_key_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="belong together"):
        load(tmp_path, 'certificate_file = "a.pem"')


def test_bad_settings_end_the_command_with_one_line_and_2(tmp_path, capsys):
    path = tmp_path / "dashboard.toml"
    path.write_text(f'database_url = "{URL}"\nport = 99999\n')
    assert main(["run", "--settings", str(path)]) == 2
    problem = capsys.readouterr().err
    assert "port" in problem
    assert "Traceback" not in problem


def test_check_settings_shows_them_and_makes_nothing(tmp_path, capsys):
    path = tmp_path / "dashboard.toml"
    path.write_text(f'database_url = "{URL}"\n')
    assert main(["run", "--settings", str(path), "--check-settings"]) == 0
    assert '"port": 8501' in capsys.readouterr().out
    assert [found.name for found in tmp_path.iterdir()] == ["dashboard.toml"]


def test_each_start_without_people_says_another_link_for_the_first_administrator(tmp_path, capsys, monkeypatch):
    path = tmp_path / "dashboard.toml"
    path.write_text(f'database_url = "{URL}"\nport = {free_port()}\n')
    monkeypatch.setattr("dashboard.command.serve", lambda board: None)
    monkeypatch.setattr("dashboard.command.start_logging", lambda level: None)
    links = []
    for _ in range(2):
        assert main(["run", "--settings", str(path)]) == 0
        links.append(next(line for line in capsys.readouterr().out.splitlines() if "?first=" in line))
    assert links[0] != links[1]
    assert len(links[0].partition("?first=")[2]) >= 32
    assert not (tmp_path / "access.token").exists()


def test_first_start_makes_keys_for_the_owner_alone_and_says_the_link(tmp_path, capsys, monkeypatch):
    path = tmp_path / "dashboard.toml"
    port = free_port()
    path.write_text(f'database_url = "{URL}"\nport = {port}\n[access]\nby = "token"\n')
    monkeypatch.setattr("dashboard.command.serve", lambda settings: None)
    monkeypatch.setattr("dashboard.command.start_logging", lambda level: None)
    assert main(["run", "--settings", str(path)]) == 0
    token = (tmp_path / "access.token").read_text().strip()
    assert f"http://127.0.0.1:{port}/?token={token}" in capsys.readouterr().out
    assert len(token) >= 32
    for name in ("access.token", "dashboard.key"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    listed = list(KeyRing.load(tmp_path / "dashboard.public.toml"))
    assert [(key.name, key.role) for key in listed] == [("dashboard", "dashboard")]

    assert main(["run", "--settings", str(path)]) == 0
    assert (tmp_path / "access.token").read_text().strip() == token
    assert token not in capsys.readouterr().out, "a later start must not write the token into a log"


def test_port_in_use_is_said_in_one_line(tmp_path, capsys):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path = tmp_path / "dashboard.toml"
        path.write_text(f'database_url = "{URL}"\nport = {taken.getsockname()[1]}\n')
        assert main(["run", "--settings", str(path)]) == 2
    assert "choose another port" in capsys.readouterr().err


def test_streamlit_sends_nothing_out_and_answers_no_foreign_host(tmp_path):
    options = streamlit_options(load(tmp_path, 'reached_as = ["screen.plant"]'))
    assert options["browser.gatherUsageStats"] is False
    assert options["client.showErrorDetails"] == "none"
    assert options["client.toolbarMode"] == "viewer"
    assert options["server.enableXsrfProtection"] is True
    assert options["server.fileWatcherType"] == "none"
    assert set(options["server.allowedHosts"]) == {"localhost", "127.0.0.1", "[::1]", "::1", "screen.plant"}


def test_every_option_is_one_streamlit_knows(tmp_path):
    from streamlit import config

    known = set(config.get_config_options())
    assert {name for name in streamlit_options(load(tmp_path, "")) if name not in known} == set()


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_words_in_alarm_colours_can_be_read_on_their_ground(theme):
    for name in ("textColor", "redColor", "orangeColor", "violetColor", "blueColor", "grayColor"):
        light, dark = sorted((luminance(theme[name]), luminance(theme["backgroundColor"])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, name


def test_nothing_is_green():
    assert LIGHT["greenColor"] == LIGHT["grayColor"]
    assert DARK["greenColor"] == DARK["grayColor"]
