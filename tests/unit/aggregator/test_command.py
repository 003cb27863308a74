"""The command line: what it prints, and that bad input is one clear line and exit code 2."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from aggregator import command
from aggregator.database import open_current
from aggregator.errors import PartFailed
from aggregator.service import Desk, Service, first_release
from aggregator.settings import AggregatorSettings
from schemas.database import sqlite_url
from schemas.errors import ReleaseRejected, SecretMissing
from schemas.signing import KeyRing, Signer


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "site.toml"
    file.write_text(
        'name = "plant-a"\n[broker]\nport = 1\nusername = "plant-a"\npassword_file = "own/password"\n'
        '[broker_server]\nkind = "embedded"\nport = 18884\n[learning]\nenabled = false\n'
    )
    return file


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "start_logging", lambda _level: None)


def run(*words: str | Path) -> int:
    return command.main([str(word) for word in words])


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.strip().splitlines()[-1]


@pytest.mark.parametrize("word", ["run", "broker", "status", "migrate"])
def test_settings_can_be_checked_without_doing_anything(
    settings: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    assert run(word, "--settings", settings, "--check-settings") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "plant-a"
    assert not (settings.parent / "var").exists()


def test_typo_in_the_settings_is_named(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings.write_text(settings.read_text().replace("[learning]", "[lerning]"))
    assert run("run", "--settings", settings) == 2
    assert "lerning" in last_line(capsys)


def test_settings_that_are_not_there_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--settings", tmp_path / "none.toml") == 2
    assert "none.toml" in last_line(capsys)


def test_status_without_a_database_says_how_to_get_one(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--json", "--settings", settings) == 2
    assert "aggregator run" in last_line(capsys)


def test_migrated_database_has_a_status(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("migrate", "--settings", settings) == 0
    assert "v0003" in last_line(capsys)
    assert run("status", "--json", "--settings", settings) == 0
    assert json.loads(capsys.readouterr().out)["cases"] == {"open": 0}
    assert run("status", "--settings", settings) == 0
    assert "0 of 0 online" in capsys.readouterr().out


def test_enrol_renew_and_revoke_say_what_they_did(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = settings.parent / "gw-1"
    assert run("enroll", "gw-1", "--settings", settings, "--out", out) == 0
    assert "gateway gw-1 is enrolled" in last_line(capsys)
    assert run("enroll", "gw-1", "--settings", settings, "--out", out) == 2
    assert "--replace" in last_line(capsys)
    assert run("renew", "gw-1", "--settings", settings, "--out", out) == 0
    assert "holds until" in last_line(capsys)
    assert run("revoke", "gw-1", "--settings", settings) == 0
    assert "revoked" in last_line(capsys)
    assert run("revoke", "gw-9", "--settings", settings) == 2
    assert "gw-9 is not enrolled" in last_line(capsys)


def test_unsafe_name_is_one_clear_line(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("enroll", "gw/1", "--settings", settings, "--out", settings.parent / "x") == 2
    assert "gw/1" in last_line(capsys)


def test_running_without_having_enrolled_says_so(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", "--settings", settings) == 2
    assert "signing.key" in last_line(capsys)


@pytest.mark.parametrize("words", [[], ["fly"], ["run"], ["enroll", "gw-1"]])
def test_unknown_words_are_refused_with_the_known_ones(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(*words)
    assert "usage: aggregator" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        run("--help")
    shown = capsys.readouterr().out
    for word in ("run", "broker", "enroll", "renew", "revoke", "status", "migrate", "fit", "foundry"):
        assert f"\n    {word} " in shown


def test_offline_commands_reach_their_own_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("foundry", "list") == 0
    assert "family" in capsys.readouterr().out


def plain_settings(folder: Path, **more: object) -> AggregatorSettings:
    return AggregatorSettings.model_validate(
        {"name": "plant-a", "broker": {"allow_anonymous": True, "port": 1}, "folder": folder, **more}
    )


def test_plant_starts_from_the_release_its_gateways_came_with(tmp_path: Path) -> None:
    assert first_release(plain_settings(tmp_path), KeyRing([])).manifest.level == "builtin"


def test_release_of_an_unknown_signer_is_not_started_from(tmp_path: Path) -> None:
    first_release(plain_settings(tmp_path), KeyRing([])).save(tmp_path / "release")
    settings = plain_settings(tmp_path, learning={"first_release": tmp_path / "release"})
    with pytest.raises(ReleaseRejected, match="releaser"):
        first_release(settings, KeyRing([]))


def test_missing_signing_key_ends_the_start_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(SecretMissing, match=r"signing\.key"):
        Service(plain_settings(tmp_path, signing_key_file=tmp_path / "signing.key"))


def test_part_that_ended_by_itself_is_noticed(tmp_path: Path) -> None:
    Signer.generate().save(tmp_path / "signing.key")
    KeyRing([]).save(tmp_path / "keys.toml")
    service = Service(
        plain_settings(
            tmp_path, signing_key_file=tmp_path / "signing.key", keys_file=tmp_path / "keys.toml",
            learning={"enabled": False},
        )
    )  # fmt: skip
    service.start()
    try:
        service.look()
        desk = service.parts["requests_desk"]
        assert isinstance(desk, Desk)
        desk.stop()
        with pytest.raises(PartFailed, match="requests_desk"):
            service.look()
    finally:
        service.stop()


def test_database_url_may_point_anywhere(tmp_path: Path) -> None:
    engine = open_current(sqlite_url(tmp_path / "deep" / "down" / "site.db"))
    with engine.connect() as connection:
        assert "health" in sa.inspect(connection).get_table_names()
    engine.dispose()
