"""This file knows the command line: check settings, make keys on first use, say where to look, serve until stopped."""

import argparse
import socket
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from dashboard import runtime
from dashboard.access import create_token
from dashboard.errors import DatabaseUnavailable
from dashboard.people_door import PeopleDoor
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
        board = runtime.Dashboard.build(settings)
    except (ContractError, OSError) as error:
        print(f"dashboard: {error}", file=sys.stderr)
        return BAD_INPUT
    start_logging(settings.log_level)
    _say_where(board, fresh=fresh)
    serve(board)
    return 0


def serve(board: runtime.Dashboard) -> None:
    """Serve the pages, and beside them the interface for programs, in this process until a signal ends it."""
    import streamlit as st
    from streamlit.web import bootstrap

    from dashboard.api.routes import api_routes
    from dashboard.theme import streamlit_options

    runtime.install(board)
    options = streamlit_options(board.settings)
    bootstrap.load_config_options(options)
    script = resources.files("dashboard") / "screen" / "app.py"
    app = st.App(str(script), routes=api_routes(board), secrets=_secrets(board.settings))
    app.run(config=options)


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
    access = settings.access
    if access.by == "oidc" and access.oidc is not None:
        create_token(access.oidc.cookie_secret_file)
        read_secret(access.oidc.client_secret_file)
    if access.by != "token" or access.allow_without_token:
        return False
    made = create_token(access.token_file)
    read_secret(access.token_file)
    return made


def _secrets(settings: DashboardSettings) -> dict[str, Any] | None:
    """What Streamlit's sign-in at a provider reads."""
    oidc = settings.access.oidc
    if settings.access.by != "oidc" or oidc is None:
        return None
    return {
        "auth": {
            "redirect_uri": f"{(oidc.reached_at or settings.address).rstrip('/')}/oauth2callback",
            "cookie_secret": read_secret(oidc.cookie_secret_file),
            "client_id": oidc.client_id,
            "client_secret": read_secret(oidc.client_secret_file),
            "server_metadata_url": oidc.server_metadata_url,
        }
    }


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


def _say_where(board: runtime.Dashboard, *, fresh: bool) -> None:
    settings = board.settings
    address, access = settings.address, settings.access
    if isinstance(board.door, PeopleDoor):
        first = access.by == "people" and _nobody_yet(board.door)
        print(f"{settings.title}: {address}", flush=True)
        if first:
            print(
                f"The first administrator comes by this link, once and within an hour:\n"
                f"{address}?first={board.door.make_first_link()}",
                flush=True,
            )
        return
    if not access.allow_without_token and (fresh or sys.stdout.isatty()):
        address += f"?token={read_secret(access.token_file)}"
    print(f"{settings.title}: {address}", flush=True)
    if not access.allow_without_token and "token=" not in address:
        print(f"the token is in {access.token_file}", flush=True)


def _nobody_yet(door: PeopleDoor) -> bool:
    """Whether a link is worth printing; it opens nothing once somebody is there."""
    try:
        return door.nobody_yet()
    except DatabaseUnavailable:
        return True
