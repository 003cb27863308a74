"""This file knows the command line: check settings, make keys on first use, say where to look, serve until stopped."""

import argparse
import socket
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from dashboard import runtime
from dashboard.access import create_token
from dashboard.settings import DashboardSettings
from schemas.errors import ContractError
from schemas.logs import start_logging
from schemas.settings import describe, load_settings, read_secret
from schemas.signing import AllowedKey, KeyRing, Signer

BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 on success, 2 with one clear line on bad input."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings(DashboardSettings, options.settings)
        if options.check_settings:
            print(describe(settings))
            return 0
        fresh = _prepare(settings)
        _require_free(settings)
    except (ContractError, OSError) as error:
        print(f"dashboard: {error}", file=sys.stderr)
        return BAD_INPUT
    start_logging(settings.log_level)
    _say_where(settings, fresh=fresh)
    serve(settings)
    return 0


def serve(settings: DashboardSettings) -> None:
    """Serve the pages in this process until a signal ends it."""
    from streamlit.web import bootstrap

    from dashboard.theme import streamlit_options

    runtime.install(runtime.Dashboard.build(settings))
    script = str(resources.files("dashboard") / "screen" / "app.py")
    options = streamlit_options(settings)
    bootstrap.load_config_options(options)
    bootstrap.run(script, False, [], options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dashboard", description="The screen of a site: machines, reasons, learning.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="serve the pages until stopped")
    run.add_argument("--settings", type=Path, help="TOML file; values of the environment win")
    run.add_argument("--check-settings", action="store_true", help="check, show and leave")
    return parser


def _prepare(settings: DashboardSettings) -> bool:
    """Make what is missing at the first start; tells whether the token is new."""
    if not settings.signing_key_file.exists():
        Signer.generate().save(settings.signing_key_file)
    signer = Signer.load(settings.signing_key_file)
    listed = settings.signing_key_file.with_suffix(".public.toml")
    if not listed.exists():
        KeyRing([AllowedKey(settings.name, "dashboard", signer.public)]).save(listed)
    if settings.access.allow_without_token:
        return False
    made = create_token(settings.access.token_file)
    read_secret(settings.access.token_file)
    return made


def _require_free(settings: DashboardSettings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise OSError(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); choose another port or host"
            ) from error


def _say_where(settings: DashboardSettings, *, fresh: bool) -> None:
    address = settings.address
    if not settings.access.allow_without_token and (fresh or sys.stdout.isatty()):
        address += f"?token={read_secret(settings.access.token_file)}"
    print(f"{settings.title}: {address}", flush=True)
    if not settings.access.allow_without_token and "token=" not in address:
        print(f"the token is in {settings.access.token_file}", flush=True)
