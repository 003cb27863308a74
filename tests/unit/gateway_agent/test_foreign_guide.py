"""The guide says what the program does: its examples run as printed, and it leaves out nothing to set or refused."""

import re

import pytest

from aggregator.command import _parser as aggregator_parser
from gateway_agent.command import _parser as gateway_parser
from gateway_agent.command import main
from gateway_agent.foreign.errors import REASONS
from gateway_agent.foreign.places import Acceleration, Load, Rate, SignalStrength, Speed, Temperature, Velocity, Voltage
from gateway_agent.foreign.settings import (
    SIGNAL_UNITS,
    Checksum,
    ForeignMapping,
    Fragments,
    ReadingLimits,
    Readings,
    Time,
    Waveform,
)
from gateway_agent.settings import GatewaySettings
from schemas.settings import load_settings
from tests.support.foreign import EXAMPLE, GUIDE, ROOT, Example, examples

EXAMPLES = examples()


def test_guide_has_one_example_each_of_scalars_of_json_and_of_fragments():
    assert [(e.mapping.readings is not None, e.mapping.format, len(e.payloads)) for e in EXAMPLES.values()] == [
        (True, "json", 1), (False, "json", 1), (False, "binary", 3)
    ]  # fmt: skip


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_what_the_guide_prints_is_what_map_check_prints(name, tmp_path, monkeypatch, capsys):
    example = EXAMPLES[name]
    assert main(_check(example, tmp_path, monkeypatch)) == 0
    assert capsys.readouterr().out == example.printed


def _check(example: Example, folder, monkeypatch, topic: str = "") -> list[str]:
    monkeypatch.chdir(folder)
    single = len(example.payloads) == 1
    names = ["payload" if single else f"payload-{i}" for i in range(1, len(example.payloads) + 1)]
    for name, payload in zip(names, example.payloads, strict=True):
        (folder / name).write_bytes(payload)
    return ["map-check", "--settings", str(EXAMPLE), "--topic", topic or example.topic, "--payload", *names]


def test_example_settings_hold_the_tables_of_the_guide():
    told = load_settings(GatewaySettings, EXAMPLE, {}).foreign
    assert list(told) == [example.mapping for example in EXAMPLES.values()]


def test_map_check_says_why_a_payload_is_refused(tmp_path, monkeypatch, capsys):
    assert main(_check(EXAMPLES["levels"], tmp_path, monkeypatch, "plantsense/FFFF/telemetry")) == 2
    assert "payload: refused: unknown_device: device 'FFFF' is not in points" in capsys.readouterr().err


def test_map_check_says_that_fragments_are_missing(tmp_path, monkeypatch, capsys):
    assert main(_check(EXAMPLES["radio"], tmp_path, monkeypatch)[:-1]) == 2
    assert "fragments_incomplete: the last 2 fragments" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["levels", "wave-json"])
def test_map_check_says_that_a_payload_given_twice_would_be_stored_once(name, tmp_path, monkeypatch, capsys):
    arguments = _check(EXAMPLES[name], tmp_path, monkeypatch)
    assert main([*arguments, "payload"]) == 0
    assert capsys.readouterr().out.endswith("payload: the same message as before; it would be stored once\n")


def test_map_check_of_a_file_that_is_not_there_is_one_line(tmp_path, capsys):
    wanted = ["map-check", "--settings", str(EXAMPLE), "--topic", "a/b", "--payload", str(tmp_path / "none")]
    assert main(wanted) == 2
    assert re.fullmatch(r"payload .*none cannot be read: No such file or directory\n", capsys.readouterr().err)


def test_every_command_in_the_guide_is_one_that_the_programs_take():
    commands = re.findall(r"^ +(aggregator|gateway-agent) (.+)$", GUIDE.replace("FILE...", "FILE"), re.MULTILINE)
    parsers = {"aggregator": aggregator_parser(["enroll"]), "gateway-agent": gateway_parser()}
    assert len(commands) == 3
    for program, words in commands:
        assert parsers[program].parse_args(words.split())


@pytest.mark.parametrize(
    "kind", [ForeignMapping, Fragments, Checksum, Waveform, Readings, ReadingLimits, Time], ids=lambda k: k.__name__
)
def test_every_setting_is_in_the_guide(kind):
    explained = set(re.findall(r"`([a-z_0-9]+)`", GUIDE))
    assert set(kind.model_fields) - explained == set()


def test_every_unit_is_in_the_guide():
    explained = set(re.findall(r"`([^`]+)`", GUIDE[GUIDE.index("| quantity | units |") :]))
    kinds = (Velocity, Acceleration, Temperature, Speed, Voltage, Load, Rate, SignalStrength)
    assert {unit for kind in kinds for unit in kind.UNITS} | set(SIGNAL_UNITS) <= explained


def test_every_reason_of_refusal_is_in_the_guide_with_its_meaning():
    told = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", GUIDE, re.MULTILINE))
    assert {reason: told.get(reason) for reason in REASONS} == REASONS


def test_every_reason_in_the_program_is_one_of_the_list():
    source = "".join(path.read_text() for path in (ROOT / "gateway_agent" / "foreign").glob("*.py"))
    assert set(re.findall(r'ForeignRejected\(\s*"(\w+)"', source)) == set(REASONS)
