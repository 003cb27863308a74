"""A running dashboard and a browser before it: a real process, Debian's Chromium, a database that tests write to."""

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy.engine import Engine

from schemas.database import open_database, sqlite_url
from tests.support.brokers import free_port, wait_for_port
from tests.support.plant import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page, StorageState

CHROMIUM = next(filter(None, (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE_MS = 30_000
LOOK_MS = 3_000  # until what was pressed is pressed again
Scheme = Literal["light", "dark"]


@dataclass
class Screen:
    """A running dashboard and the database behind it.

    Attributes:
        link: The address with the token that opens it.
    """

    address: str
    link: str
    folder: Path
    database: Path
    engine: Engine

    @property
    def output(self) -> str:
        """Everything the process has said."""
        return (self.folder / "output.txt").read_text()


@contextlib.contextmanager
def running_dashboard(
    folder: Path, database: Path, *, refresh_s: float = 1.0, role: str = "technician"
) -> Iterator[Screen]:  # fmt: skip
    """Start a dashboard over a database, opened by a token; end it with the block."""
    access = f'[live]\nrefresh_s = {refresh_s}\n[access]\nby = "token"\ntoken_role = "{role}"\n'
    engine = open_database(sqlite_url(database))
    try:
        with dashboard_process(folder, database, access) as (address, link):
            yield Screen(address, link, folder, database, engine)
    finally:
        engine.dispose()


@contextlib.contextmanager
def dashboard_process(folder: Path, database: Path, access: str) -> Iterator[tuple[str, str]]:
    """Run the dashboard as a process; its address, and the link it has printed to come in by ("" without one).

    Args:
        folder: Where its settings, keys and output.txt are.
        database: The site's database, SQLite.
        access: Further tables of its settings, as TOML.
    """
    port = free_port()
    (folder / "dashboard.toml").write_text(
        f'title = "Werk Nord"\ndatabase_url = "{sqlite_url(database)}"\nport = {port}\n{access}'
    )
    output = folder / "output.txt"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "dashboard", "run", "--settings", str(folder / "dashboard.toml")],
            stdout=sink, stderr=subprocess.STDOUT, cwd=folder,
        )  # fmt: skip
        try:
            wait_for_port(port, process, within_s=60.0)
            address = f"http://127.0.0.1:{port}/"
            said = output.read_text().split()
            yield address, next((word for word in said if word.startswith(address) and "?" in word), "")
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def browser() -> Iterator["Browser"]:
    """Debian's Chromium, without a window."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield opened
        opened.close()


def new_context(
    opened: "Browser", session: "StorageState | None" = None, *, width: int = 1280, scheme: Scheme = "light",
    locale: str = "en-GB",
) -> "BrowserContext":  # fmt: skip
    """A person's browser: its window, colours, zone and language."""
    context = opened.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, has_touch=width < 500,
        timezone_id="Europe/Berlin", storage_state=session, locale=locale, accept_downloads=True,
    )  # fmt: skip
    context.set_default_timeout(PATIENCE_MS)
    return context


def enter(context: "BrowserContext", screen: Screen, path: str = "") -> "Page":
    """Come in by the link, as on the first day."""
    page = context.new_page()
    token = screen.link.partition("?")[2]
    page.goto(f"{screen.address}{path}{'&' if '?' in path else '?'}{token}")
    page.get_by_label("Your name").fill("A. Schmidt")
    page.get_by_role("button", name="Look").click()
    return page


def machine_rows(page: "Page") -> "Locator":
    """The rows of the list of machines."""
    return page.locator("a.row[data-machine]")


def chart(page: "Page", title: str) -> "Locator":
    """The canvas of the chart whose title begins so."""
    return page.locator(f"canvas[aria-label^='{title}']")


def expect_drawn(canvas: "Locator") -> None:
    """The canvas has ink of many places on it, not only a frame."""
    from playwright.sync_api import expect

    expect(canvas).to_be_visible()
    inked = canvas.evaluate(
        """c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;
                  for (let i = 3; i < d.length; i += 4) n += d[i] > 40; return n; }"""
    )
    assert inked > 3000


def close_dialog(page: "Page") -> None:
    """Press Escape until it is gone: what is drawn anew in it takes the focus away."""
    dialog = page.get_by_role("dialog")

    def closed() -> bool:
        page.keyboard.press("Escape")
        with contextlib.suppress(_timeout_error()):
            dialog.wait_for(state="hidden", timeout=LOOK_MS)
        return dialog.count() == 0

    wait_until("the dialog is closed", closed)


def choose(page: "Page", label: str, option: str) -> None:
    """Choose from a list; it is opened again when the page was drawn anew beneath it."""
    wanted = page.get_by_role("option", name=option)

    def opened() -> bool:
        page.get_by_label(label).click()
        with contextlib.suppress(_timeout_error()):
            wanted.wait_for(state="visible", timeout=LOOK_MS)
        return wanted.is_visible()

    wait_until(f"{option!r} can be chosen", opened)
    wanted.click()


def _timeout_error() -> type[Exception]:
    from playwright.sync_api import TimeoutError as NotInTime

    return NotInTime
