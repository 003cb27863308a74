"""This file knows every statement that the dashboard asks its database: of each page, report and path for programs.

The pages are run as they are, without a browser; what reaches the database is noted, asked again by itself and timed
with all its rows fetched, and its plan is read.
"""

import asyncio
import contextlib
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from streamlit.testing.v1 import AppTest

from benchmarks.dashboard_plant import FAST
from dashboard import runtime
from dashboard.access import Visitor
from dashboard.api.routes import make_app
from dashboard.people_door import PeopleDoor, digest_of
from dashboard.reports.ledger import ledger_report
from dashboard.reports.machine import machine_report
from dashboard.reports.shift import shift_report
from dashboard.runtime import Dashboard
from dashboard.settings import DashboardSettings
from schemas.signing import Signer
from schemas.site_tables import api_token, evidence, history_hour

MACHINE = FAST.partition("/")[0]
ADMIN = "Person 0"
TOKEN = "ut_bench"
LARGE = 5_000  # rows, above which a table may not be walked through from end to end
DAY_US = 86_400_000_000
PAGES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("overview", "overview.show_overview", {}),
    ("strip", "strip.show_strip", {}),
    ("machine", "machine.show_machine", {"machine": MACHINE}),
    ("machine, a year", "machine.show_machine", {"machine": MACHINE, "range": "1y"}),
    ("point", "point.show_point", {"point": FAST}),
    *((f"alarms {tab}", "alarms.show_alarms", {"tab": tab})
      for tab in ("active", "shelved", "history", "figures", "reports")),
    ("one case", "alarms.show_alarms", {"case": "5000"}),
    *((f"learning {part}", "federation.show_federation", {"part": part})
      for part in ("rounds", "benefit", "releases", "ledger")),
    ("learning, an old round", "federation.show_federation", {"round": "17"}),
    *((f"fleet {part}", "fleet.show_fleet", {"part": part}) for part in ("gateways", "sensors", "devices")),
    *((f"settings {part}", "settings.show_settings", {"part": part})
      for part in ("assets", "limits", "bearings", "notices", "labels", "policy")),
    ("people", "people.show_people", {}),
    ("audit log", "audit_log.show_audit_log", {}),
)  # fmt: skip


@dataclass(slots=True)
class Asked:
    """One statement of one page.

    Attributes:
        times_ms: Each repeat, with all rows fetched.
        rows: How many it fetches.
        plan: The steps the database takes, as it says them.
        walks: Large tables it reads from one end to the other.
    """

    page: str
    statement: str
    values: Any
    times_ms: list[float] = field(default_factory=list)
    rows: int = 0
    plan: tuple[str, ...] = ()
    walks: tuple[str, ...] = ()

    @property
    def median_ms(self) -> float:
        """Of the repeats."""
        return statistics.median(self.times_ms)

    @property
    def shortly(self) -> str:
        """The beginning, for a table."""
        words = " ".join(self.statement.split())
        table = re.search(r"\bFROM (\w+)", words)
        return f"{self.page}: {'' if table is None else table[1] + ': '}{words[:70]} ..."


def ask_all(url: str, engine: Engine, tables: dict[str, int], *, now_us: int, repeats: int) -> list[Asked]:
    """Run everything once, then time each statement by itself and read its plan."""
    with tempfile.TemporaryDirectory(prefix="undertone-bench-") as folder:
        noted = list(_noted(url, engine, Path(folder), now_us))
    found: dict[tuple[str, str], Asked] = {}
    for one in noted:
        found.setdefault((one.page, one.statement), one)
    with engine.connect() as connection:
        for one in found.values():
            _measure(connection, one, repeats)
            one.plan, one.walks = _plan_of(connection, one, tables)
    return list(found.values())


def rows_of_pages(asked: list[Asked]) -> dict[str, int]:
    """How many rows each page fetches, the most first."""
    rows: dict[str, int] = {}
    for one in asked:
        rows[one.page] = rows.get(one.page, 0) + one.rows
    return dict(sorted(rows.items(), key=lambda entry: -entry[1]))


def _measure(connection: Connection, one: Asked, repeats: int) -> None:
    for _ in range(repeats + 1):
        began_s = time.perf_counter()
        one.rows = len(connection.exec_driver_sql(one.statement, one.values).fetchall())
        one.times_ms.append(1e3 * (time.perf_counter() - began_s))
    del one.times_ms[0]  # warms


def _plan_of(connection: Connection, one: Asked, tables: dict[str, int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
    steps = tuple(str(row[-1]) for row in connection.exec_driver_sql(explain + one.statement, one.values))
    from_its_end = (
        "LIMIT" in one.statement
        and " WHERE " not in " ".join(one.statement.split())
        and not any("TEMP B-TREE" in step for step in steps)
    )  # along the key, until the page is full
    walked = {
        name
        for step in steps
        if not (from_its_end and connection.dialect.name == "sqlite")
        if (scan := re.search(r"\bSCAN (?:TABLE )?(\w+)(?! USING)|Seq Scan on (\w+)", step))
        and (name := _table_of(one.statement, scan[1] or scan[2])) is not None
        and tables.get(name, 0) >= LARGE
    }
    return steps, tuple(sorted(walked))


def _table_of(statement: str, name: str) -> str | None:
    """The table behind a name in a plan, which may be an alias."""
    alias = re.search(rf"\b(\w+) AS {name}\b", statement)
    return alias[1] if alias is not None else name


@contextlib.contextmanager
def _listening(page: str, noted: list[Asked]) -> Iterator[None]:
    def note(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            noted.append(Asked(page, statement, values))

    sa.event.listen(Engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        sa.event.remove(Engine, "before_cursor_execute", note)


def _noted(url: str, engine: Engine, folder: Path, now_us: int) -> Iterator[Asked]:
    board = _board(url, folder, now_us)
    runtime.install(board)
    try:
        for page, function, query in PAGES:
            yield from _of_page(board, page, function, query)
        for page, make in _papers(board, now_us):
            noted: list[Asked] = []
            with _listening(page, noted):
                make()
            yield from noted
        yield from _of_programs(board, engine)
    finally:
        runtime.install(None)
        board.reader.close()


def _board(url: str, folder: Path, now_us: int) -> Dashboard:
    key = folder / "dashboard.key"
    Signer.generate().save(key)
    settings = DashboardSettings(title="Bench", database_url=url, signing_key_file=key)
    return Dashboard.build(settings, now_us=lambda: now_us, now_s=lambda: 0.0)


def _of_page(board: Dashboard, page: str, function: str, query: dict[str, str]) -> list[Asked]:
    module, name = function.split(".")
    assert isinstance(board.door, PeopleDoor)
    run = AppTest.from_string(f"from dashboard.pages.{module} import {name}\n{name}()", default_timeout=120)
    run.session_state["session_word"] = board.door._sessions.open(Visitor(ADMIN, "admin"), generation=1)
    for key, value in query.items():
        run.query_params[key] = value
    noted: list[Asked] = []
    board.shared._kept.clear()  # what viewers share is asked for by each page
    with _listening(page, noted):
        run.run()
    if run.exception:
        raise RuntimeError(f"page {page} ended in {run.exception[0].message}")
    return noted


def _papers(board: Dashboard, now_us: int) -> list[tuple[str, Callable[[], object]]]:
    spoken: dict[str, str] = {"language": "en", "zone": "UTC"}
    return [
        ("shift report", lambda: shift_report(board, hours=8.0, until_us=now_us, **spoken)),
        ("shift report, a week", lambda: shift_report(board, hours=168.0, until_us=now_us, **spoken)),
        ("machine report", lambda: machine_report(board, MACHINE, days=30, until_us=now_us, **spoken)),
        ("ledger report", lambda: ledger_report(board, **spoken)),
    ]


def _of_programs(board: Dashboard, engine: Engine) -> list[Asked]:
    with engine.begin() as connection:
        connection.execute(sa.delete(api_token).where(api_token.c.token_digest == digest_of(TOKEN)))
        connection.execute(
            sa.insert(api_token).values(
                token_digest=digest_of(TOKEN), person=ADMIN, title="bench", role="admin", created_at_us=0,
                expires_at_us=board.now_us() + DAY_US,
            )
        )  # fmt: skip
        newest = connection.execute(
            sa.select(evidence).where(evidence.c.point == FAST).order_by(evidence.c.measured_at_us.desc()).limit(1)
        ).one()
        middle_us = 3_600_000_000 * (connection.scalar(sa.select(sa.func.max(history_hour.c.hour))) or 0) - 180 * DAY_US
    known = {
        "{machine}": MACHINE, "{position}": FAST.partition("/")[2], "{case_id}": "5000", "{request_id}": "0" * 32,
        "{evidence_id}": f"{newest.gateway}:{newest.boot}:{newest.sequence}",
    }  # fmt: skip
    app = make_app(board, now_s=lambda: 0.0)
    paths = [path for path, methods in app.openapi()["paths"].items() if "get" in methods]
    for name, value in known.items():
        paths = [path.replace(name, value) for path in paths]
    more = ["/cases?state=closed&limit=500", f"/cases?machine={MACHINE}", f"/alarms?machine={MACHINE}&limit=500",
            f"/alarms?from_us={middle_us}&until_us={middle_us + DAY_US}", f"/points/{FAST}/trend?limit=500",
            f"/points/{FAST}/trend?from_us={middle_us}&until_us={middle_us + DAY_US}", "/cases?cursor=3000",
            "/audit?actor=Person%207&limit=500", "/audit?about=machine-007", "/audit?about=said-of-nothing",
            "/audit?action=note&cursor=30000", f"/audit?from_us={middle_us}&until_us={middle_us + DAY_US}"]  # fmt: skip
    noted: list[Asked] = []
    for path in (*paths, *more):
        board.shared._kept.clear()
        with _listening(f"REST {path.split('cursor')[0][:60]}", noted):
            status = asyncio.run(_get(app, path))
        if status not in {200, 404}:
            raise RuntimeError(f"{path} answers {status}")
    return noted


async def _get(app: Any, path: str) -> int:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://bench") as client:
        return (await client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})).status_code
