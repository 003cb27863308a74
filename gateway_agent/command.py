"""This file knows the command line of the gateway agent."""

import argparse
import json
import sys
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
    run.set_defaults(run=_run)

    status = commands.add_parser("status", help="tell what the agent has stored and learnt; works beside a running one")
    _with_settings(status)
    status.add_argument("--json", action="store_true", help="one JSON object")
    status.set_defaults(run=_status)

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


def _with_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--settings", type=Path, required=True, help="TOML file of this gateway")


def _run(options: argparse.Namespace) -> int:
    settings = load_settings(GatewaySettings, options.settings)
    if options.check_settings:
        print(describe(settings))
        return 0
    from gateway_agent.service import run

    start_logging(settings.log_level)
    return run(settings)


def _status(options: argparse.Namespace) -> int:
    from gateway_agent.status import describe_status, read_status

    status = read_status(load_settings(GatewaySettings, options.settings))
    print(json.dumps(status) if options.json else describe_status(status))
    return 0


def _backtest(options: argparse.Namespace) -> int:
    from gateway_agent.backtest_command import backtest

    return backtest(options)
