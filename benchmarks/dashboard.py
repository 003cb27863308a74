"""This file knows what a viewer of the dashboard waits for and costs, on 500 machines with a year of history.

A real dashboard process and a real browser. First useful paint is from asking for the overview to the first row of the
list, for a person who has signed in, while the process is warm.
"""

import atexit
import contextlib
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

from sqlalchemy.engine import Engine

from aggregator.database import open_current
from benchmarks.dashboard_plant import FAST, HOURS, MACHINES, Rows, build_plant
from benchmarks.dashboard_statements import ask_all, rows_of_pages
from benchmarks.database_server import USER, NoServer, postgresql
from benchmarks.figures import Figure
from schemas.database import sqlite_url

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PAINT_S, VIEWER_SHARE, THREAD_SHARE, QUERY_MS = 2.0, 5.0, 10.0, 50.0
REPEATS = 5
WATCHED_S = 60.0
REFRESH_S = 5.0


@dataclass(frozen=True, slots=True)
class Plant:
    """A filled database, and when its newest capture is."""

    url: str
    engine: Engine
    rows: Rows
    now_us: int


@cache
def _sqlite_plant() -> Plant:
    """Made once in a run: it takes minutes."""
    folder = Path(tempfile.mkdtemp(prefix="undertone-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    now_us = time.time_ns() // 1000
    url = sqlite_url(folder / "site.db")
    engine = open_current(url)
    return Plant(url, engine, build_plant(engine, now_us=now_us), now_us)


def dashboard_first_paint_s() -> Figure:
    """From asking for the overview to its first row, SQLite."""
    return _first_paint("dashboard_first_paint_s", _sqlite_plant())


def dashboard_first_paint_postgresql_s() -> Figure:
    """Likewise, PostgreSQL."""
    name = "dashboard_first_paint_postgresql_s"
    try:
        return _first_paint(name, _postgresql_plant())
    except NoServer as missing:
        return Figure(name, None, "s", PAINT_S, "below", None, None, (), str(missing))


def dashboard_viewer_cpu_percent() -> Figure:
    """Share of a core that one more live viewer of the overview costs the server."""
    plant = _sqlite_plant()
    with _dashboard(plant) as (process, link), _browser() as browser:
        page = _signed_in(browser, link)
        page.locator("a.row[data-machine]").first.wait_for()
        one = _cpu_share(process.pid)
        other = _new_page(browser, page, link)
        other.locator("a.row[data-machine]").first.wait_for()
        two = _cpu_share(process.pid)
    note = (
        f"{MACHINES} machines, refresh every {REFRESH_S:g} s, over {WATCHED_S:g} s: one viewer costs {one:.1f} % of a "
        f"core, two {two:.1f} %; the figure is that of the first one, who pays for what all share"
    )
    return Figure("dashboard_viewer_cpu_percent", one, "%", VIEWER_SHARE, "below", one, None, (one, two - one), note)


def dashboard_browser_thread_percent() -> Figure:
    """Share of the browser's main thread that the bench of a point takes while it is looked at."""
    plant = _sqlite_plant()
    with _dashboard(plant) as (_, link), _browser() as browser:
        page = _signed_in(browser, link)
        page.goto(link.partition("?")[0] + f"point?point={FAST.replace('/', '%2F')}")
        page.locator("canvas[aria-label^='Waterfall']").wait_for()
        shares = [_thread_share(page, WATCHED_S / 3) for _ in range(3)]
    note = f"all four charts shown, {SAMPLES_NOTE}; refresh every {REFRESH_S:g} s"
    middle = statistics.median(shares)
    return Figure(
        "dashboard_browser_thread_percent", middle, "%", THREAD_SHARE, "below", middle, None, tuple(shares), note
    )


SAMPLES_NOTE = "16,384 samples, 8,193 lines"


def dashboard_slowest_query_ms() -> Figure:
    """The slowest statement of all pages, reports and paths for programs; SQLite."""
    return _slowest_query("dashboard_slowest_query_ms", _sqlite_plant())


def dashboard_slowest_query_postgresql_ms() -> Figure:
    """Likewise, PostgreSQL."""
    name = "dashboard_slowest_query_postgresql_ms"
    try:
        return _slowest_query(name, _postgresql_plant())
    except NoServer as missing:
        return Figure(name, None, "ms", QUERY_MS, "below", None, None, (), str(missing))


@cache
def _postgresql_plant() -> Plant:
    """Made once in a run; its server ends with the process.

    Raises:
        NoServer: There is none here.
    """
    stack = contextlib.ExitStack()
    folder = stack.enter_context(postgresql())
    atexit.register(stack.close)
    url = f"postgresql+psycopg://{USER}@/postgres?host={folder}"
    engine = open_current(url)
    stack.callback(engine.dispose)
    now_us = time.time_ns() // 1000
    return Plant(url, engine, build_plant(engine, now_us=now_us), now_us)


def _first_paint(name: str, plant: Plant) -> Figure:
    with _dashboard(plant) as (_, link), _browser() as browser:
        page = _signed_in(browser, link)
        row = page.locator("a.row[data-machine]").first
        row.wait_for()
        waits = []
        for _ in range(REPEATS):
            started_s = time.perf_counter()
            page.goto(link.partition("?")[0])
            row.wait_for()
            waits.append(time.perf_counter() - started_s)
    rows = plant.rows
    note = (
        f"{MACHINES} machines, {rows.health:,} rows of health: a capture an hour for {HOURS // 24} days (one point: "
        f"every 10 min, {rows.of_fast_point:,} rows); no network, the browser on the same two cores"
    )
    return Figure(
        name, statistics.median(waits), "s", PAINT_S, "below", statistics.median(waits), None, tuple(waits), note
    )


def _slowest_query(name: str, plant: Plant) -> Figure:
    asked = ask_all(plant.url, plant.engine, plant.rows.tables, now_us=plant.now_us, repeats=REPEATS)
    worst = max(asked, key=lambda one: one.median_ms)
    walks = sorted({f"{one.page} walks through {', '.join(one.walks)}" for one in asked if one.walks})
    most = list(rows_of_pages(asked).items())[:3]
    note = (
        f"{len(asked)} statements of {len({one.page for one in asked})} pages, reports and paths, with all "
        f"rows fetched; {sum(one.median_ms > QUERY_MS for one in asked)} above {QUERY_MS:g} ms; slowest: "
        f"{worst.shortly}; "
        f"rows of one page: {', '.join(f'{page} {rows:,}' for page, rows in most)}; "
        + (f"EXPLAIN: {'; '.join(walks)}" if walks else "EXPLAIN: an index behind each of a large table")
        + f"; {plant.rows.said()}"
    )
    repeats = tuple(sorted((one.median_ms for one in asked), reverse=True)[:10])
    return Figure(name, worst.median_ms, "ms", QUERY_MS, "below", worst.median_ms, None, repeats, note)


@contextlib.contextmanager
def _dashboard(plant: Plant) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run a dashboard over the plant; its process, and the link that opens it."""
    with tempfile.TemporaryDirectory(prefix="undertone-bench-") as name, socket.socket() as free:
        folder = Path(name)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        (folder / "dashboard.toml").write_text(
            f'title = "Bench"\ndatabase_url = "{plant.url}"\nport = {port}\n[live]\nrefresh_s = {REFRESH_S}\n'
            '[access]\nby = "token"\n'
        )
        with (folder / "output.txt").open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "dashboard", "run", "--settings", "dashboard.toml"],
                stdout=sink, stderr=subprocess.STDOUT, cwd=folder,
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            )  # fmt: skip
            try:
                _wait_for(f"http://127.0.0.1:{port}/", within_s=60.0)
                words = (folder / "output.txt").read_text().split()
                yield process, next(word for word in words if word.startswith(f"http://127.0.0.1:{port}/"))
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(15.0)


def _wait_for(address: str, *, within_s: float) -> None:
    until_s = time.monotonic() + within_s
    while True:
        try:
            urllib.request.urlopen(address, timeout=2.0).close()
        except (URLError, ConnectionError, TimeoutError):
            if time.monotonic() > until_s:
                raise
            time.sleep(0.2)
        else:
            return


@contextlib.contextmanager
def _browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


def _signed_in(browser: "Browser", link: str) -> "Page":
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    page.goto(link)
    page.get_by_label("Your name").fill("Bench")
    page.get_by_role("button", name="Look").click()
    page.locator("a.row[data-machine]").first.wait_for()
    page.wait_for_function("document.cookie.includes('undertone_session')")
    return page


def _new_page(browser: "Browser", known: "Page", link: str) -> "Page":
    page = browser.new_context(storage_state=known.context.storage_state()).new_page()
    page.goto(link.partition("?")[0])
    return page


def _cpu_share(pid: int) -> float:
    """Share of a core in percent that a process takes over some time."""
    ticks = os.sysconf("SC_CLK_TCK")

    def used_s() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / ticks

    time.sleep(REFRESH_S)
    before_s, began_s = used_s(), time.monotonic()
    time.sleep(WATCHED_S)
    return 100.0 * (used_s() - before_s) / (time.monotonic() - began_s)


def _thread_share(page: "Page", watched_s: float) -> float:
    """Share of the page's main thread that was busy over some time, in percent."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def busy_s() -> float:
        metrics = {row["name"]: row["value"] for row in session.send("Performance.getMetrics")["metrics"]}
        return float(metrics["TaskDuration"])

    page.wait_for_timeout(3000)
    before_s, began_s = busy_s(), time.monotonic()
    page.wait_for_timeout(watched_s * 1e3)
    return 100.0 * (busy_s() - before_s) / (time.monotonic() - began_s)


FIGURES: tuple[Callable[[], Figure], ...] = (
    dashboard_first_paint_s, dashboard_slowest_query_ms, dashboard_viewer_cpu_percent, dashboard_browser_thread_percent,
    dashboard_first_paint_postgresql_s, dashboard_slowest_query_postgresql_ms,
)  # fmt: skip
