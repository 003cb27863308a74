"""The operations page keeps up with the programs: every event that is logged is explained, every command is one."""

import re
from pathlib import Path

import aggregator.command

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
PACKAGES = ("schemas", "gateway_agent", "aggregator", "dashboard", "sensor_sim")
_EVENT = re.compile(r'event\(\s*\w+,\s*logging\.\w+,\s*"(\w+)"|log\.exception\("(\w+)"')


def test_every_event_that_is_logged_is_explained():
    logged = {
        name
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for match in _EVENT.finditer(path.read_text())
        for name in match.groups()
        if name
    }
    explained = set(re.findall(r"`(\w+)`", PAGE))
    assert logged - explained == set()


def test_every_enrolment_command_on_the_page_is_one_that_the_program_takes():
    commands = re.findall(r"^ {4}(?:sudo .*)?aggregator ((?:enroll|renew|revoke) [^#\n]+)", PAGE, re.MULTILINE)
    assert len(commands) >= 8
    for command in commands:
        assert aggregator.command._parser(["enroll"]).parse_args(command.split())


def test_files_the_page_names_are_there():
    named = set(re.findall(r"\b(?:locks|deploy)/[\w./@-]+\w", PAGE)) - {"locks/ROLE.txt"}
    for name in named:
        assert (ROOT / name).exists() or (ROOT / name.rstrip("-")).exists() or list(ROOT.glob(f"{name}*")), name
