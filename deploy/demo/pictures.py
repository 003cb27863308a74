"""This file knows how the screen of the running plant is photographed, for the README."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.demo.errors import StageFailed

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTH, HEIGHT = 1440, 900
PATIENCE_MS = 30_000
SETTLE_MS = 4000  # charts draw after the page says that it is loaded


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


def take_pictures(address: str, machine: str, folder: Path) -> list[Path]:
    """Photograph the overview, and the page of a machine.

    Args:
        address: Of the dashboard, with its token.
        machine: The machine to show.
        folder: Where the pictures go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base, _, query = address.partition("?")
    views = {"overview.png": address, "machine.png": f"{base}machine?machine={machine}&{query}"}
    with _browser_page() as page:
        for name, url in views.items():
            page.goto(url, timeout=PATIENCE_MS)
            page.get_by_test_id("stApp").wait_for(timeout=PATIENCE_MS)
            page.wait_for_timeout(SETTLE_MS)
            page.screenshot(path=folder / name)
    return [folder / name for name in views]
