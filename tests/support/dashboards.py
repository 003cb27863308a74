"""A dashboard for tests: its own keys and token in a folder, a clock that stands, any database."""

from collections.abc import Mapping
from pathlib import Path

from dashboard.access import create_token
from dashboard.runtime import Dashboard
from dashboard.settings import DashboardSettings
from schemas.database import sqlite_url
from schemas.settings import read_secret
from schemas.signing import Signer
from tests.support.site_database import NOW_US


def make_dashboard(
    folder: Path,
    database: Path | str,
    *,
    now_us: int = NOW_US,
    role: str = "technician",
    allow_without_token: bool = False,
    by: str = "token",
    more: Mapping[str, object] | None = None,
) -> Dashboard:
    """Put a dashboard together in a folder, over an SQLite file or any database by its URL; `more` settings of it."""
    settings = DashboardSettings.model_validate(
        {
            **(more or {}),
            "title": "Werk Nord",
            "database_url": database if isinstance(database, str) else sqlite_url(database),
            "signing_key_file": folder / "dashboard.key",
            "access": {
                "by": by,
                "token_file": folder / "access.token",
                "token_role": role,
                "allow_without_token": allow_without_token,
            },
        }
    )
    Signer.generate().save(settings.signing_key_file)
    create_token(settings.access.token_file)
    return Dashboard.build(settings, now_us=lambda: now_us, now_s=lambda: now_us / 1e6)


def token_of(board: Dashboard) -> str:
    """The token that opens it."""
    return read_secret(board.settings.access.token_file)
