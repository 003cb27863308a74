"""Settings: a typo is refused by name, the environment wins, and what is not secure has to be said twice."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_agent.command import main
from gateway_agent.settings import GatewaySettings
from schemas.errors import SecretMissing, SettingsError
from schemas.link import Link
from schemas.settings import BrokerSettings, Settings, describe, load_settings, read_secret

BROKER = '[broker]\nusername = "gw-1"\npassword_file = "password"\n'
GOOD = f'site = "north"\ngateway = "gw-1"\n{BROKER}[[machines]]\nmachine = "pump-07"\n'


def write(folder: Path, text: str = GOOD) -> Path:
    (folder / "password").write_text("secret of gw-1\n")
    path = folder / "gateway.toml"
    path.write_text(text)
    return path


def load(path: Path, **environment: str) -> GatewaySettings:
    return load_settings(GatewaySettings, path, environment)


def refusal(path: Path, **environment: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(path, **environment)
    return str(caught.value)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    settings = load(write(tmp_path))
    assert settings.broker.password_file == tmp_path / "password"
    assert settings.store.folder == tmp_path / "var"
    assert settings.signing_key_file == tmp_path / "signing.key"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("site", "sites", "sites"),
        ("username", "user_name", "broker.user_name"),
        ("[broker]", "[brokers]", "brokers"),
        ('machine = "pump-07"', 'machine = "pump-07"\npower = 30', "machines.0.power"),
        ("gw-1", "gw 1", "gateway"),
        ("[[machines]]", "[commissioning]\ncaptures = 1\n[[machines]]", "commissioning.captures"),
        ("[[machines]]", "[alarm]\non_count = 9\n[[machines]]", "at most of_count = 8 allowed"),
        ("[[machines]]", '[[machines]]\nmachine = "pump-07"\n[[machines]]', "listed twice"),
        ("[broker]", "[broker]\nport = 99999", "broker.port"),
    ],
)
def test_a_mistake_is_refused_with_the_key_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    told = refusal(write(tmp_path, GOOD.replace(old, new, 1)))
    assert named in told
    assert str(tmp_path / "gateway.toml") in told


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    told = refusal(write(tmp_path, GOOD.replace("site", "sites", 1).replace("username", "user", 1)))
    assert all(name in told for name in ("sites", "broker.user"))


@pytest.mark.parametrize("text", ["site = ", "\xff", "[broker"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path)
    path.write_bytes(text.encode("latin-1"))
    assert "cannot be read" in refusal(path)


def test_a_file_that_is_not_there_says_where_an_example_is(tmp_path: Path) -> None:
    assert "deploy/examples" in refusal(tmp_path / "gone.toml")


@given(st.integers(1, 65535), st.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR"]), st.booleans())
def test_the_environment_wins_over_the_file(port: int, level: str, take_part: bool) -> None:
    settings = load_settings(
        GatewaySettings, None,
        {"UNDERTONE_SITE": "north", "UNDERTONE_GATEWAY": "gw-1", "UNDERTONE_BROKER__ALLOW_ANONYMOUS": "true",
         "UNDERTONE_BROKER__PORT": str(port), "UNDERTONE_LOG_LEVEL": level, "PATH": "/bin", "undertone_port": "x",
         "UNDERTONE_LEARNING__TAKE_PART": str(take_part), "UNDERTONE_RECORDINGS": "/somewhere"},
    )  # fmt: skip
    assert (settings.broker.port, settings.log_level, settings.learning.take_part) == (port, level, take_part)


def test_one_value_of_a_group_in_the_environment_leaves_the_others(tmp_path: Path) -> None:
    settings = load(write(tmp_path), UNDERTONE_BROKER__PORT="8883")
    assert (settings.broker.port, settings.broker.username) == (8883, "gw-1")


def test_lists_come_as_json(tmp_path: Path) -> None:
    settings = load(write(tmp_path), UNDERTONE_MACHINES='[{"machine": "fan-1"}, {"machine": "fan-2"}]')
    assert [plate.machine for plate in settings.machines] == ["fan-1", "fan-2"]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("UNDERTONE_BROKER__PROT", "1", "broker.prot"),
        ("UNDERTONE_MACHINES", "[{", "UNDERTONE_MACHINES"),
        ("UNDERTONE_SITE__NAME", "x", "UNDERTONE_SITE__NAME"),
        ("UNDERTONE_BROKER", "x", "broker"),
        ("UNDERTONE_", "x", "settings"),
    ],
)
def test_a_mistake_in_the_environment_is_refused_by_name(tmp_path: Path, name: str, value: str, told: str) -> None:
    assert told in refusal(write(tmp_path), **{name: value})


@pytest.mark.parametrize("host", ["192.0.2.1", "broker.example.org", "0.0.0.0", "::", "localhost.evil.org"])
def test_plaintext_beyond_this_machine_is_refused_unless_asked_for(tmp_path: Path, host: str) -> None:
    text = GOOD.replace("[broker]", f'[broker]\nhost = "{host}"')
    assert "allow_plaintext_beyond_loopback" in refusal(write(tmp_path, text))
    asked = text.replace("[broker]", "[broker]\nallow_plaintext_beyond_loopback = true")
    assert load(write(tmp_path, asked)).broker.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_plaintext_on_this_machine_is_allowed(host: str) -> None:
    assert BrokerSettings(host=host, allow_anonymous=True).host == host


@pytest.mark.parametrize(
    "fields", [{}, {"username": "a"}, {"password_file": "x"}, {"ca_file": "ca", "certificate_file": "c"}]
)
def test_a_client_without_a_whole_identity_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"no client certificate|belong together"):
        BrokerSettings.model_validate(fields)


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_missing_or_empty_secret_fails_closed(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SecretMissing, match="enrol again"):
        read_secret(path)
    with pytest.raises(SecretMissing):
        Link(BrokerSettings(username="gw-1", password_file=path), "gw-1")


def test_certificates_that_cannot_be_read_fail_closed(tmp_path: Path) -> None:
    gone = tmp_path / "gone.pem"
    with pytest.raises(SecretMissing, match="enrol again"):
        Link(BrokerSettings(ca_file=gone, certificate_file=gone, key_file=gone), "gw-1")


def test_settings_are_shown_without_secrets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path)
    assert main(["run", "--settings", str(path), "--check-settings"]) == 0
    shown = capsys.readouterr().out
    assert "secret of gw-1" not in shown
    assert str(tmp_path / "password") in shown
    assert shown.strip() == describe(load(path))


def test_check_settings_tells_a_typo_on_stderr_and_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--settings", str(write(tmp_path, GOOD + "nmae = 1\n")), "--check-settings"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "nmae" in told.err
    assert "Traceback" not in told.err


def test_settings_cannot_be_changed_once_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(write(tmp_path)).broker.port = 1  # type: ignore[misc]


def test_groups_in_a_list_have_their_paths_resolved_too(tmp_path: Path) -> None:
    class Item(Settings):
        file: Path

    class Whole(Settings):
        items: tuple[Item, ...] = ()

    path = tmp_path / "s.toml"
    path.write_text('[[items]]\nfile = "a"\n[[items]]\nfile = "/b"\n')
    assert [item.file for item in load_settings(Whole, path, {}).items] == [tmp_path / "a", Path("/b")]
