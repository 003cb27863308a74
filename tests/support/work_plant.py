"""A site's database with work in it, and the site's own hands beside it: desk, shelves, own limits, notices.

Run as a program it makes one to look at and works it until ended: `python -m tests.support.work_plant FOLDER`.
"""

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator import desk_work
from aggregator.notifications import Notifier
from aggregator.own_limits import OwnLimits
from aggregator.requests_desk import RequestsDesk
from aggregator.settings import DeskSettings, NotificationSettings
from aggregator.work_round import Shelves, WorkRound
from schemas.database import open_database, sqlite_url
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.site_tables import alarm, case_event, machine, machine_case
from tests.support.site_database import BOOT, build_site_database, open_case

HOUR_US = 3_600_000_000
AREAS = {"pump-07": "Cooling water", "fan-03": "Kiln line", "mill-01": "Raw mill", "mixer-04": "Mixing"}


class SiteHands:
    """What an aggregator does about work, in a thread of the test, over the same database."""

    def __init__(
        self, database: Path, dashboard: Signer, notices: NotificationSettings,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:  # fmt: skip
        self.engine = open_database(sqlite_url(database))
        signer = Signer.generate()
        keys = KeyRing(
            [AllowedKey("dashboard", "dashboard", dashboard.public), AllowedKey("plant-a", "site", signer.public)]
        )
        ids = iter(range(1 << 30))
        self._desk = RequestsDesk(
            self.engine, site="plant-a", signer=signer, keys=keys, settings=DeskSettings(),
            publish=lambda topic, sealed: True, now_us=now_us, now_s=time.monotonic,
            new_id=lambda: f"{next(ids):032x}", handlers=desk_work.HANDLERS,
        )  # fmt: skip
        self._round = WorkRound(
            Shelves(self.engine, now_us=now_us), OwnLimits(self.engine, now_us=now_us),
            Notifier(self.engine, notices, plant="Werk Nord", now_us=now_us),
        )  # fmt: skip
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="site-hands", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            self._desk.step()
            self._round.step()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(30.0)
        self.engine.dispose()


def build_work_database(path: Path, *, now_us: int, days: float = 4.0) -> Engine:
    """The six machines of `site_database`, with lines, cases that are over, labels, and alarms that come and go."""
    engine = build_site_database(path, now_us=now_us, days=days)
    with engine.begin() as connection:
        for name, area in AREAS.items():
            connection.execute(sa.update(machine).where(machine.c.machine == name).values(area=area))
        open_case(
            connection, name="mill-01", priority="alert", title="vibration pattern 1.4 times its healthy limit",
            diagnosis=(), at_us=now_us - 2 * HOUR_US, points={"mill-01/inlet": "unacknowledged"},
        )  # fmt: skip
        for number, (label, ago_h) in enumerate((("healthy", 50), ("outer", 40), (None, 30), (None, 20))):
            case_id = open_case(
                connection, name="conveyor-11", priority="alert", title="vibration pattern above its healthy limit",
                diagnosis=(), at_us=now_us - ago_h * HOUR_US, state="closed",
            )  # fmt: skip
            connection.execute(
                sa.update(machine_case)
                .where(machine_case.c.case_id == case_id)
                .values(closed_at_us=now_us - (ago_h - 3) * HOUR_US)
            )
            if label is not None:
                connection.execute(
                    sa.insert(case_event).values(
                        case_id=case_id, at_us=now_us - (ago_h - 4) * HOUR_US, kind="label", actor="M. Weber",
                        text=f"{label}: looked at it", detail={"label": label},
                    )
                )  # fmt: skip
            _come_and_go(
                connection, "conveyor-11/gearbox", now_us - ago_h * HOUR_US, 3 + number, 600_000 + 100 * number
            )
    return engine


def _come_and_go(connection: Any, point: str, at_us: int, times: int, sequence: int) -> None:
    for number in range(2 * times):
        connection.execute(
            sa.insert(alarm).values(
                gateway="gw-b", boot=BOOT, sequence=sequence + number, point=point, machine=point.partition("/")[0],
                alarm_id="c3" * 8, state="normal" if number % 2 else "unacknowledged", priority="alert",
                measured_at_us=at_us + number * 400_000_000, received_at_us=at_us + number * 400_000_000,
                reason="vibration pattern above its healthy limit", detail={},
            )
        )  # fmt: skip


def main() -> None:
    """Make a plant with work to look at."""
    parser = argparse.ArgumentParser(description="Make a site database with work in it, and work it until ended.")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    database = options.folder / "site.db"
    if not database.exists():
        build_work_database(database, now_us=time.time_ns() // 1000).dispose()
    key = options.folder / "dashboard.key"
    if not key.exists():
        Signer.generate().save(key)
    (options.folder / "shift.url").write_text("json://127.0.0.1:9/\n")
    notices = NotificationSettings.model_validate(
        {"channels": [{"name": "shift", "url_file": options.folder / "shift.url"}]}
    )
    SiteHands(database, Signer.load(key), notices)
    threading.Event().wait()


if __name__ == "__main__":
    main()
