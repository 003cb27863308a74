"""This file knows `gateway-agent dead-letters`: look at what was refused, take it out, or have it taken in again."""

import argparse
import base64
import datetime as dt
import hashlib
import json
import sys
import time
from contextlib import closing
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError

from gateway_agent.dead_letters import Letter, ask_again, find
from gateway_agent.errors import StoreError
from gateway_agent.settings import GatewaySettings
from gateway_agent.store import read_only
from gateway_agent.store_upgrade import VERSION, version_of
from schemas.database import open_database, sqlite_url
from schemas.settings import load_settings

HEAD_SHOWN_BYTES = 64


def dead_letters(options: argparse.Namespace) -> int:
    """Do what the command line asks; the exit code.

    Raises:
        StoreError: There is no such letter, or no store; the message says what would work.
    """
    if options.settings is None:
        raise StoreError("--settings FILE is missing; name the gateway's TOML file")
    actions = {"list": _list, "show": _show, "export": _export, "reinject": _reinject}
    return actions[options.action](options)


def _list(options: argparse.Namespace) -> int:
    with _reading(_settings(options)) as connection:
        letters = find(connection, reason=options.reason)
    if options.json:
        for letter in letters:
            print(json.dumps(_told(letter)))
        return 0
    for letter in letters:
        what = f"{letter.reason:<20}  {letter.size_bytes:>8} B  {letter.state:<7}"
        print(f"{letter.letter:>6}  {_at(letter.at_us)}  {what}  {letter.topic}")
    print(f"{len(letters)} dead letters kept", file=sys.stderr)
    return 0


def _show(options: argparse.Namespace) -> int:
    for letter in _chosen(options):
        if options.json:
            print(json.dumps({**_told(letter), "head_base64": base64.b64encode(letter.head).decode()}))
            continue
        for name, value in _told(letter).items():
            print(f"{name}: {value}")
        shown = letter.head[:HEAD_SHOWN_BYTES]
        print(f"head: {shown.hex(' ')}\n      {''.join(chr(b) if 32 <= b < 127 else '.' for b in shown)}\n")
    return 0


def _export(options: argparse.Namespace) -> int:
    letters = _chosen(options)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for letter in letters:
            content = letter.head if letter.payload is None else letter.payload
            place = options.out / f"letter-{letter.letter:06d}"
            place.with_suffix(".bin").write_bytes(content)
            told = {**_told(letter), "sha256": hashlib.sha256(content).hexdigest()}
            place.with_suffix(".json").write_text(json.dumps(told, indent=2) + "\n")
    except OSError as error:
        raise StoreError(f"dead letters cannot be written to {options.out}: {error}") from error
    cut = sum(letter.payload is None for letter in letters)
    print(f"{len(letters)} dead letters are in {options.out}" + (f", {cut} with their head only" if cut else ""),
          file=sys.stderr)  # fmt: skip
    return 0


def _reinject(options: argparse.Namespace) -> int:
    settings = _settings(options)
    letters = _chosen(options)
    done = [letter.letter for letter in letters if letter.state == "taken"]
    cut = [letter.letter for letter in letters if letter.payload is None and letter.state != "taken"]
    if options.letters and (done or cut):
        problem = f"{done} were taken in already" if done else f"{cut} have only their head left"
        raise StoreError(f"dead letters {problem}; nothing was asked for, leave them out")
    wanted = [letter.letter for letter in letters if letter.letter not in {*done, *cut}]
    engine = open_database(sqlite_url(settings.store.folder / "gateway.db"))
    try:
        with engine.begin() as connection:
            ask_again(connection, wanted, now_us=time.time_ns() // 1000)
    except DatabaseError as error:
        raise StoreError(f"store in {settings.store.folder} takes no request: {error.orig}; try again") from error
    finally:
        engine.dispose()
    left = f"; left out: {len(done)} taken in already, {len(cut)} with only their head" if done or cut else ""
    print(f"{len(wanted)} dead letters are taken in again within seconds while the agent runs{left}", file=sys.stderr)
    return 0


def _settings(options: argparse.Namespace) -> GatewaySettings:
    return load_settings(GatewaySettings, options.settings)


def _reading(settings: GatewaySettings) -> closing[Connection]:
    connection = read_only(settings.store.folder)
    found = version_of(connection)
    if found != VERSION:
        connection.close()
        raise StoreError(f"store has version {found}, {VERSION} needed; start this version of the agent once")
    return closing(connection)


def _chosen(options: argparse.Namespace) -> list[Letter]:
    """The letters that were named, or all of one reason.

    Raises:
        StoreError: None was named, or one is not there.
    """
    if bool(options.letters) == (options.reason is not None):
        raise StoreError("name letters by ID, or all of one --reason; `gateway-agent dead-letters` lists them")
    with _reading(_settings(options)) as connection:
        letters = find(connection, letters=options.letters, reason=options.reason)
    missing = sorted(set(options.letters) - {letter.letter for letter in letters})
    if missing:
        raise StoreError(f"dead letters {missing} are not there; the oldest give way to new ones")
    if not letters:
        raise StoreError(f"no dead letter has reason {options.reason!r}; `gateway-agent dead-letters` lists them")
    return letters


def _told(letter: Letter) -> dict[str, Any]:
    return {
        "id": letter.letter, "reason": letter.reason, "text": letter.text, "topic": letter.topic,
        "size_bytes": letter.size_bytes, "at": _at(letter.at_us), "at_us": letter.at_us,
        "whole": letter.payload is not None, "state": letter.state, "taken_at_us": letter.taken_at_us,
    }  # fmt: skip


def _at(at_us: int) -> str:
    return f"{dt.datetime.fromtimestamp(at_us / 1e6, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
