"""No page reads more than it shows: rows and columns that leave the database are counted, on a plant that has grown.

Each page is opened over the six machines of the other tests and a thousand more, with alarms, cases, events, orders,
gateways and letters to match. A page may read what it states and shows, and never more because the plant has grown.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from dashboard import runtime
from dashboard.pages.live import LISTED
from dashboard.queries.cases import ORDERS, SHOWN
from dashboard.queries.fleet import CAPTURES, SENSORS
from dashboard.queries.machine import BUCKETS
from dashboard.queries.plant import TREND_CAPTURES, TREND_POINTS
from schemas.database import open_database, sqlite_url
from schemas.site_tables import (
    alarm,
    audit,
    case_event,
    dead_letter,
    gateway,
    health,
    limit_alarm,
    machine,
    machine_case,
    point,
    request,
    work_order,
)
from tests.support.page_runs import run_page
from tests.support.site_database import BOOT, DAY_US, INTERVAL_S, NOW_US
from tests.support.work_plant import build_work_database

MACHINES, CLOSED, ALARMS = 1000, 1500, 4000
OPENING = 45  # names of tables and the version, once, when a dashboard first opens a database


@dataclass
class Read:
    """What left the database while a page was made: rows, their columns, and rows of each statement."""

    rows: int = 0
    cells: int = 0
    of: dict[str, int] = field(default_factory=dict)

    @property
    def worst(self) -> str:
        """The statements that gave most, for whoever reads a failure."""
        most = sorted(self.of.items(), key=lambda item: -item[1])[:4]
        return "; ".join(f"{rows} rows: {' '.join(statement.split())[:200]}" for statement, rows in most)


@contextmanager
def counted() -> Iterator[Read]:
    """Count every row that any connection gives meanwhile, as it is fetched."""
    read = Read()
    statement = [""]

    def row(_: Any, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not statement[0]:
            return values  # a setting of the connection
        read.rows += 1
        read.cells += len(values)
        read.of[statement[0]] = read.of.get(statement[0], 0) + 1
        return values

    def connected(connection: Any, _: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.row_factory = row

    def asked(_: Any, __: Any, text: str, *___: Any) -> None:
        statement[0] = text

    sa.event.listen(Engine, "connect", connected)
    sa.event.listen(Engine, "before_cursor_execute", asked)
    try:
        yield read
    finally:
        sa.event.remove(Engine, "connect", connected)
        sa.event.remove(Engine, "before_cursor_execute", asked)


def grow(connection: Connection) -> None:
    """Make a large plant of a small one: everything that grows with machines, time and people."""
    names = [f"drive-{number:03}" for number in range(MACHINES)]
    status = connection.execute(sa.select(gateway.c.status).where(gateway.c.gateway == "gw-a")).scalar_one()
    plate = connection.execute(sa.select(machine.c.nameplate).where(machine.c.machine == "mill-01")).scalar_one()
    connection.execute(
        sa.insert(gateway),
        [
            {"gateway": f"gx-{n:03}", "online": True, "boot": BOOT, "last_sequence": 1, "last_seen_us": NOW_US,
             "status": status, "release_version": 4}
            for n in range(100)
        ],
    )  # fmt: skip
    connection.execute(
        sa.insert(machine),
        [
            {"machine": name, "title": f"Drive {name}", "criticality": 3, "first_seen_us": 0, "nameplate": plate,
             "area": f"Line {n % 8}"}
            for n, name in enumerate(names)
        ],
    )  # fmt: skip
    connection.execute(
        sa.insert(point),
        [
            {"point": f"{name}/de", "machine": name, "gateway": f"gx-{n % 100:03}", "learning": "ready",
             "learning_share": 1.0, "quality": "ok", "notice": "", "last_measured_us": NOW_US - 9_000_000,
             "last_received_us": NOW_US - 8_000_000, "interval_s": INTERVAL_S}
            for n, name in enumerate(names)
        ],
    )  # fmt: skip
    connection.execute(
        sa.insert(health),
        [
            {"gateway": "gx", "boot": 1, "sequence": 1000 * n + i, "point": f"{name}/de", "capture_boot": 1,
             "capture_sequence": i, "measured_at_us": NOW_US - 9_000_000 - i * 600_000_000, "received_at_us": NOW_US,
             "quality": "ok", "learning": "ready", "score": 0.3, "score_limit": 0.55, "exceeds": False,
             "alarm": "normal", "diagnosis": [], "battery_v": 3.5, "velocity_rms_mm_s": 1.0}
            for n, name in enumerate(names) for i in range(10)
        ],
    )  # fmt: skip
    connection.execute(
        sa.insert(machine_case),
        [
            {"case_id": 1000 + n, "machine": names[n % MACHINES], "state": "closed" if n < CLOSED else "open",
             "priority": "alert", "title": "because", "diagnosis": [{"label": "outer", "confidence": 0.7}],
             "opened_at_us": NOW_US - n * 60_000_000, "changed_at_us": NOW_US, "points": {}, "cause": "outer",
             "closed_at_us": NOW_US if n < CLOSED else None}
            for n in [*range(CLOSED), *range(2000, 2000 + MACHINES // 2)]
        ],
    )  # fmt: skip
    connection.execute(
        sa.insert(case_event),
        [
            {"case_id": 1000 + n % CLOSED, "at_us": NOW_US - n * 1_000_000, "kind": kind, "actor": "anna",
             "text": "outer: looked at", "detail": {"label": "outer"}}
            for n, kind in enumerate(("opened", "label", "note", "closed") * CLOSED)
        ],
    )  # fmt: skip
    connection.execute(
        sa.insert(alarm),
        [
            {"gateway": "gx", "boot": 1, "sequence": n, "point": f"{names[n % 50]}/de", "machine": names[n % 50],
             "alarm_id": "a", "state": "unacknowledged", "priority": "alert", "measured_at_us": NOW_US - n * 1_000_000,
             "received_at_us": NOW_US - n * 1_000_000, "reason": "", "detail": {}}
            for n in range(ALARMS)
        ],
    )  # fmt: skip
    connection.execute(
        sa.insert(limit_alarm),
        [
            {"point": f"{names[n % 50]}/de", "machine": names[n % 50], "quantity": "temperature_c",
             "state": "unacknowledged", "priority": "alert", "measured_at_us": 1, "told_at_us": NOW_US - n * 1_000_000,
             "reason": ""}
            for n in range(ALARMS)
        ],
    )  # fmt: skip
    connection.execute(
        sa.insert(audit),
        [{"at_us": NOW_US - n, "actor": "anna", "action": "note", "text": "x", "about": ""} for n in range(3000)],
    )
    connection.execute(
        sa.insert(dead_letter),
        [
            {"topic": "ut/v1/x/y", "reason": "unsigned", "text": "", "at_us": NOW_US - n, "head": b"", "size_bytes": 1}
            for n in range(2000)
        ],
    )
    connection.execute(
        sa.insert(work_order),
        [
            {"number": f"W-{n}", "machine": names[n % MACHINES], "text": "t", "due_date": "2026-12-01",
             "created_by": "anna", "created_at_us": NOW_US - n * DAY_US}
            for n in range(1500)
        ],
    )  # fmt: skip
    connection.execute(
        sa.insert(request),
        [
            {"request_id": f"{n:032x}", "sealed": b"", "created_at_us": NOW_US - n, "state": "done", "actor": "anna",
             "action": "note"}
            for n in range(3000)
        ],
    )  # fmt: skip


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bounded")
    build_work_database(folder / "small.db", now_us=NOW_US, days=0.5).dispose()
    (folder / "large.db").write_bytes((folder / "small.db").read_bytes())
    engine = open_database(sqlite_url(folder / "large.db"))
    with engine.begin() as connection:
        grow(connection)
    engine.dispose()
    return {"small": folder / "small.db", "large": folder / "large.db"}


def plant_script() -> None:
    from dashboard.pages.overview import show_overview
    from dashboard.pages.strip import show_strip

    show_strip()
    show_overview()


def machine_script() -> None:
    from dashboard.pages.machine import show_machine

    show_machine()


def point_script() -> None:
    from dashboard.pages.point import show_point

    show_point()


def alarms_script() -> None:
    from dashboard.pages.alarms import show_alarms

    show_alarms()


def federation_script() -> None:
    from dashboard.pages.federation import show_federation

    show_federation()


def fleet_script() -> None:
    from dashboard.pages.fleet import show_fleet

    show_fleet()


def settings_script() -> None:
    from dashboard.pages.settings import show_settings

    show_settings()


def people_script() -> None:
    from dashboard.pages.people import show_people

    show_people()


def audit_script() -> None:
    from dashboard.pages.audit_log import show_audit_log

    show_audit_log()


ALL = MACHINES + 8  # a list to choose from shows every machine or point, by name alone
OVERVIEW = LISTED * 5 + TREND_POINTS * TREND_CAPTURES + 80  # name, machine, case, point, capture; trends; cards, events
GATEWAYS = 103
PAGES: tuple[tuple[Callable[[], None], dict[str, str], int], ...] = (
    (plant_script, {}, OVERVIEW),
    (plant_script, {"area": "Line 3"}, OVERVIEW),
    (machine_script, {}, ALL),
    (machine_script, {"machine": "pump-07"}, BUCKETS + 2 * TREND_CAPTURES + 40),
    (machine_script, {"machine": "drive-003"}, BUCKETS + TREND_CAPTURES + 40),
    (point_script, {}, ALL),
    (point_script, {"point": "pump-07/drive-end"}, 40),
    (alarms_script, {}, SHOWN + 3),
    (alarms_script, {"tab": "shelved"}, 3),
    (alarms_script, {"tab": "history"}, SHOWN + 3),
    (alarms_script, {"case": "1003"}, 20),
    (alarms_script, {"tab": "figures"}, ALL + 30),
    (alarms_script, {"tab": "reports"}, ALL + ORDERS + 3),
    (federation_script, {}, GATEWAYS + 60),
    (fleet_script, {"part": "gateways"}, 2 * GATEWAYS + 210),
    (fleet_script, {"part": "sensors"}, SENSORS * CAPTURES),
    (fleet_script, {"part": "devices"}, 2 * GATEWAYS + 410),
    (settings_script, {"part": "assets"}, ALL + 20),
    (settings_script, {"part": "limits"}, 2 * ALL + 20),
    (settings_script, {"part": "bearings"}, 20),
    (settings_script, {"part": "notices"}, 60),
    (settings_script, {"part": "labels"}, 300 + SHOWN + 10),
    (settings_script, {"part": "policy"}, 0),
    (people_script, {}, 0),
    (audit_script, {}, 205),
)


def shown(database: Path, folder: Path, script: Callable[[], None], query: dict[str, str]) -> Read:
    engine = open_database(sqlite_url(database))
    try:
        with counted() as read:
            run_page(script, engine, folder, role="admin", **query)
    finally:
        engine.dispose()
        runtime.install(None)
    return read


@pytest.mark.parametrize(
    ("script", "query", "more"), PAGES,
    ids=[f"{script.__name__[:-7]}{'-'.join(['', *query.values()])}" for script, query, _ in PAGES],
)  # fmt: skip
def test_page_of_a_large_plant_reads_no_more_rows_than_it_states(
    databases: dict[str, Path], tmp_path: Path, script: Callable[[], None], query: dict[str, str], more: int
) -> None:
    read = shown(databases["large"], tmp_path, script, query)
    assert read.rows <= OPENING + more, read.worst
    assert read.rows > 0 or script is people_script or query.get("part") == "policy"  # without a people door
    assert read.cells <= 60 * read.rows  # no table is so wide; and spectra of many captures are no list


def test_counter_sees_every_row_that_is_fetched(databases: dict[str, Path]) -> None:
    """Else the test above could not fail."""
    with counted() as read:
        engine = open_database(sqlite_url(databases["large"]), read_only=True)
        with engine.connect() as connection:
            connection.execute(sa.select(alarm.c.point, alarm.c.state)).all()
        engine.dispose()
    assert read.rows == ALARMS + connection_rows(databases["small"])
    assert read.cells >= 2 * read.rows


def connection_rows(small: Path) -> int:
    engine = open_database(sqlite_url(small), read_only=True)
    with engine.connect() as connection:
        count = int(connection.execute(sa.select(sa.func.count()).select_from(alarm)).scalar_one())
    engine.dispose()
    return count
