"""This file knows the command line of the gateway agent."""

import argparse
import json
import sys
import time
from pathlib import Path

from gateway_agent.errors import GatewayError
from gateway_agent.settings import GatewaySettings
from schemas.errors import ContractError
from schemas.logs import start_logging
from schemas.settings import describe, load_settings


def main(arguments: list[str] | None = None) -> int:
    """Run the gateway agent's command line; the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except (GatewayError, ContractError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gateway-agent", description="Takes captures in, judges them on the spot, keeps them, and learns."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the agent until it is stopped")
    _with_settings(run)
    run.add_argument("--check-settings", action="store_true", help="validate the settings, show them, and leave")
    run.add_argument(
        "--reload-from", type=Path, metavar="FILE", help="read settings here on SIGHUP, with paths as in --settings"
    )
    run.set_defaults(run=_run)

    status = commands.add_parser("status", help="tell what the agent has stored and learnt; works beside a running one")
    _with_settings(status)
    status.add_argument("--json", action="store_true", help="one JSON object")
    status.set_defaults(run=_status)

    _add_dead_letters(
        commands.add_parser("dead-letters", help="look at what was refused, take it out, or have it taken in again")
    )

    check = commands.add_parser("map-check", help="tell what a payload of a foreign sensor would become, or why not")
    _with_settings(check)
    check.add_argument("--topic", required=True, action="append", help="of the payloads; one, or one a payload")
    check.add_argument("--payload", required=True, nargs="+", type=Path, metavar="FILE", help="as it came")
    check.set_defaults(run=_map_check)

    backup = commands.add_parser("backup", help="write the store into one file, beside a running agent")
    _with_settings(backup)
    backup.add_argument("--out", type=Path, required=True, metavar="FILE", help="the back-up; must not be there yet")
    backup.add_argument("--with-keys", action="store_true", help="private keys too: keep the file as you keep a key")
    backup.set_defaults(run=_backup)

    restore = commands.add_parser("restore", help="put a back-up in the place of the store of a stopped agent")
    _with_settings(restore)
    restore.add_argument("--from", dest="source", type=Path, required=True, metavar="FILE", help="the back-up")
    restore.add_argument("--replace", action="store_true", help="in place of a store; the old one stays beside")
    restore.set_defaults(run=_restore)

    backtest = commands.add_parser("backtest", help="replay recordings through the code that runs live")
    backtest.add_argument("--release", type=Path, help="folder of a release; the built-in model if left out")
    backtest.add_argument("--keys", type=Path, help="list of keys whose releases are trusted")
    backtest.add_argument("--commission", nargs="+", default=[], metavar="FILE[:A-B]", help="healthy baseline")
    what = backtest.add_mutually_exclusive_group(required=True)
    what.add_argument("--captures", nargs="+", metavar="FILE[:A-B]", help="recordings to judge")
    what.add_argument("--life", nargs="+", metavar="FILE", help="run-to-failure recordings to judge")
    backtest.add_argument("--commission-share", type=float, default=0.15, help="of a life, that is taken as healthy")
    backtest.add_argument("--window-s", type=float, default=0.25, help="length of a window in seconds")
    backtest.add_argument("--false-alarm-rate", type=float, default=0.01, help="of single healthy windows")
    backtest.add_argument("--nameplate", type=Path, help="TOML nameplate; without it there is no zone")
    backtest.add_argument(
        "--detector", choices=("distance", "autoencoder"), default="distance", help="what decides (distance)"
    )
    backtest.add_argument("--score-only", action="store_true", help="write only file to score")
    backtest.add_argument("--out", type=Path, required=True, help="results, one JSON line a window")
    backtest.set_defaults(run=_backtest)
    return parser


def _add_dead_letters(parser: argparse.ArgumentParser) -> None:
    """Options may stand before the action or after it."""
    parser.set_defaults(run=_dead_letters, action="list", letters=[])
    parser.add_argument("--settings", type=Path, help="TOML file of this gateway")
    parser.add_argument("--reason", help="only those refused for this reason")
    parser.add_argument("--json", action="store_true", help="one JSON object a letter")
    actions = parser.add_subparsers(metavar="ACTION", help="list if left out")
    for name, words in (
        ("list", "one line a letter"),
        ("show", "everything about letters, with their first bytes"),
        ("export", "write letters into a folder: the bytes, and a JSON file beside"),
        ("reinject", "have letters taken in again by the agent, now or when it next runs"),
    ):
        action = actions.add_parser(name, help=words, description=words)
        action.set_defaults(action=name)
        action.add_argument("--settings", type=Path, default=argparse.SUPPRESS, help="TOML file of this gateway")
        action.add_argument("--reason", default=argparse.SUPPRESS, help="all that were refused for this reason")
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="one JSON object a letter")
        if name != "list":
            action.add_argument("letters", nargs="*", type=int, metavar="ID", help="as listed, instead of --reason")
        if name == "export":
            action.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="made when it is not there")


def _with_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--settings", type=Path, required=True, help="TOML file of this gateway")


def _run(options: argparse.Namespace) -> int:
    settings = load_settings(GatewaySettings, options.settings)
    if options.check_settings:
        print(describe(settings))
        return 0
    from gateway_agent.service import run

    start_logging(settings.log_level)
    file: Path = options.reload_from or options.settings
    return run(settings, lambda: load_settings(GatewaySettings, file, base=options.settings.resolve().parent))


def _status(options: argparse.Namespace) -> int:
    from gateway_agent.status import describe_status, read_status

    status = read_status(load_settings(GatewaySettings, options.settings))
    print(json.dumps(status) if options.json else describe_status(status))
    return 0


def _backup(options: argparse.Namespace) -> int:
    from gateway_agent.backup import back_up

    settings = load_settings(GatewaySettings, options.settings)
    made = back_up(settings, options.out, now_us=time.time_ns() // 1000, with_keys=options.with_keys)
    print(f"{options.out}: {len(made.files)} files, {made.size_bytes} bytes", file=sys.stderr)
    return 0


def _restore(options: argparse.Namespace) -> int:
    from gateway_agent.backup import restore

    settings = load_settings(GatewaySettings, options.settings)
    print(restore(settings, options.source, now_us=time.time_ns() // 1000, replace=options.replace), file=sys.stderr)
    return 0


def _dead_letters(options: argparse.Namespace) -> int:
    from gateway_agent.dead_letter_command import dead_letters

    return dead_letters(options)


def _backtest(options: argparse.Namespace) -> int:
    from gateway_agent.backtest_command import backtest

    return backtest(options)


def _map_check(options: argparse.Namespace) -> int:
    from gateway_agent.foreign.check_command import map_check

    return map_check(options)
