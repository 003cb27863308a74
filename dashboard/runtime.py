"""This file knows what a running dashboard consists of; pages get it from here and nowhere else."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dashboard.access import Door, Sessions
from dashboard.asking import Asker
from dashboard.database import SiteReader
from dashboard.errors import DashboardNotStarted
from dashboard.people_door import PeopleDoor, Provider
from dashboard.request_writer import RequestWriter
from dashboard.settings import AccessSettings, DashboardSettings
from schemas.collector import tune_collector
from schemas.signing import Signer

_T = TypeVar("_T")


@dataclass(slots=True)
class Shared:
    """Answers that several viewers may have: computed at most once within their age."""

    now_s: Callable[[], float]
    _kept: dict[str, tuple[float, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, name: str, max_age_s: float, compute: Callable[[], _T]) -> _T:
        """Return what is kept under a name, or compute it; others wait for that meanwhile."""
        with self._lock:
            kept = self._kept.get(name)
            if kept is not None and self.now_s() - kept[0] < max_age_s:
                answer: _T = kept[1]
                return answer
            fresh = compute()
            self._kept[name] = (self.now_s(), fresh)
            return fresh


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The parts of one dashboard."""

    settings: DashboardSettings
    reader: SiteReader
    writer: RequestWriter
    asker: Asker
    door: Door | PeopleDoor
    now_us: Callable[[], int]
    shared: Shared

    @classmethod
    def build(
        cls,
        settings: DashboardSettings,
        *,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        now_s: Callable[[], float] = time.monotonic,
    ) -> "Dashboard":
        """Put the parts together; the database is not touched yet.

        Raises:
            SecretMissing: The signing key cannot be read.
        """
        writer = RequestWriter(settings.database_url, Signer.load(settings.signing_key_file), now_us=now_us)
        reader = SiteReader(settings.database_url)
        asker = Asker(reader, writer)
        door = _door(settings.access, reader, asker, now_us=now_us, now_s=now_s)
        return cls(settings, reader, writer, asker, door, now_us, Shared(now_s))


def _door(
    access: AccessSettings, reader: SiteReader, asker: Asker, *, now_us: Callable[[], int], now_s: Callable[[], float]
) -> Door | PeopleDoor:
    sessions = Sessions(session_s=access.session_h * 3600, idle_s=access.idle_h * 3600, now_s=now_s)
    if access.by == "token":
        token_file: Path | None = None if access.allow_without_token else access.token_file
        return Door(token_file, sessions, role=access.token_role, now_s=now_s)
    provider = None
    if access.by == "oidc" and access.oidc is not None:
        provider = Provider(access.oidc.name_claim, access.oidc.role_claim, access.oidc.roles)
    return PeopleDoor(reader, asker, sessions, now_us=now_us, now_s=now_s, provider=provider)


_current: list[Dashboard] = []
_settled: list[bool] = []


def install(dashboard: Dashboard | None) -> None:
    """Name the dashboard of this process, before the first page runs."""
    _current[:] = [] if dashboard is None else [dashboard]


def settle() -> None:
    """Once a page has been shown, what stays is loaded: cycles are never looked for in it again.

    Streamlit looks for them after every run of a script, live parts included; with pandas and all pages loaded that was
    nearly all of what a viewer cost.
    """
    if not _settled:
        _settled.append(True)
        tune_collector()


def current() -> Dashboard:
    """The dashboard of this process.

    Raises:
        DashboardNotStarted: Nobody has installed one.
    """
    if not _current:
        raise DashboardNotStarted(
            "this page was started by itself; start it with `dashboard run --settings dashboard.toml`"
        )
    return _current[0]
