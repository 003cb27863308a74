"""This file knows how the screen of the running plant is photographed: for the README, and every page to look at."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from dashboard.pages.addresses import MACHINE, PLANT, POINT, page_titles
from deploy.demo.errors import StageFailed

if TYPE_CHECKING:
    from playwright.sync_api import Page

ALL_PAGES = Path("build/screens")
WIDTH, HEIGHT, TALLEST, PHONE_WIDTH = 1440, 900, 6000, 390
PATIENCE_MS = 30_000
SETTLE_MS = 4000  # charts draw after the page says that it is loaded
REDRAW_MS = 700  # and again when the window has changed


@contextlib.contextmanager
def _browser_page() -> Iterator["Page"]:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise StageFailed("chromium is not installed; pictures need it (apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=1)
        finally:
            browser.close()


@dataclass(frozen=True, slots=True)
class View:
    """One picture: a page at a width, in one of the two schemes."""

    file: str
    path: str
    width: int
    scheme: Literal["light", "dark"]


def all_views(machine: str, point: str) -> list[View]:
    """Every page of the dashboard, light and dark, on a desk and on a phone."""
    paths = {page: page for page in page_titles()} | {
        PLANT: "", MACHINE: f"machine?machine={quote(machine)}", POINT: f"point?point={quote(point, safe='')}",
    }  # fmt: skip
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    return [
        View(f"{page}-{width}-{scheme}.png", path, width, scheme)
        for page, path in paths.items()
        for width in (WIDTH, PHONE_WIDTH)
        for scheme in schemes
    ]


def readme_views(machine: str, point: str) -> list[View]:
    """Those the README shows."""
    page, bench = f"machine?machine={quote(machine)}", f"point?point={quote(point, safe='')}"
    return [
        View("overview.png", "", WIDTH, "light"),
        View("machine.png", page, WIDTH, "light"),
        View("machine-dark.png", page, WIDTH, "dark"),
        View("bench.png", bench, WIDTH, "light"),
        View("overview-phone.png", "", PHONE_WIDTH, "light"),
        View("learning.png", "learning", WIDTH, "light"),
    ]


def take_pictures(address: str, machine: str, point: str, folder: Path) -> list[Path]:
    """Photograph what the README shows, and into `ALL_PAGES` every page in every form.

    Args:
        address: Of the dashboard, with its token.
        machine: The machine to show.
        point: Its measurement point to show.
        folder: Where the README's pictures go.
    """
    base, _, _ = address.partition("?")
    with _browser_page() as page:
        _sign_in(page, address)
        taken = [_take(page, base, view, folder) for view in readme_views(machine, point)]
        return taken + [_take(page, base, view, ALL_PAGES) for view in all_views(machine, point)]


def _take(page: "Page", base: str, view: View, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    page.set_viewport_size({"width": view.width, "height": HEIGHT})
    page.emulate_media(color_scheme=view.scheme)
    page.goto(base + view.path, timeout=PATIENCE_MS)
    page.get_by_test_id("stApp").wait_for(timeout=PATIENCE_MS)
    page.wait_for_timeout(SETTLE_MS)
    height = page.evaluate("document.querySelector('[data-testid=stMainBlockContainer]')?.scrollHeight ?? 0")
    page.set_viewport_size({"width": view.width, "height": max(HEIGHT, min(int(height), TALLEST))})
    page.wait_for_timeout(REDRAW_MS)
    page.screenshot(path=folder / view.file)
    return folder / view.file


def _sign_in(page: "Page", address: str) -> None:
    page.goto(address, timeout=PATIENCE_MS)
    name = page.get_by_label("Your name")
    name.wait_for(timeout=PATIENCE_MS)
    name.fill("Anna")
    page.get_by_role("button", name="Look").click()
    name.wait_for(state="hidden", timeout=PATIENCE_MS)
    page.wait_for_timeout(SETTLE_MS)  # the session cookie is written by the page that follows
