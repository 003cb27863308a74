"""This file knows what a running dashboard consists of; pages get it from here and nowhere else."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dashboard.access import Door
from dashboard.database import SiteReader
from dashboard.errors import DashboardNotStarted
from dashboard.request_writer import RequestWriter
from dashboard.settings import DashboardSettings
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
    door: Door
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
        token_file: Path | None = None if settings.access.allow_without_token else settings.access.token_file
        door = Door(
            token_file, role=settings.access.token_role, session_s=settings.access.session_h * 3600, now_s=now_s
        )
        writer = RequestWriter(settings.database_url, Signer.load(settings.signing_key_file), now_us=now_us)
        return cls(settings, SiteReader(settings.database_url), writer, door, now_us, Shared(now_s))


_current: list[Dashboard] = []


def install(dashboard: Dashboard | None) -> None:
    """Name the dashboard of this process, before the first page runs."""
    _current[:] = [] if dashboard is None else [dashboard]


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
