"""This file knows how the screen of the running plant is photographed, for the README."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.demo.errors import StageFailed

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTH, HEIGHT, TALL, PHONE_WIDTH = 1440, 900, 2400, 390
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
    base, _, _ = address.partition("?")
    views = {
        "overview.png": (base, WIDTH, HEIGHT, "light"),
        "machine.png": (f"{base}machine?machine={machine}", WIDTH, TALL, "light"),
        "machine-dark.png": (f"{base}machine?machine={machine}", WIDTH, TALL, "dark"),
        "overview-phone.png": (base, PHONE_WIDTH, HEIGHT, "light"),
        "learning.png": (f"{base}learning", WIDTH, HEIGHT, "light"),
    }
    with _browser_page() as page:
        _sign_in(page, address)
        for name, (url, width, height, scheme) in views.items():
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            page.goto(url, timeout=PATIENCE_MS)
            page.get_by_test_id("stApp").wait_for(timeout=PATIENCE_MS)
            page.wait_for_timeout(SETTLE_MS)
            page.screenshot(path=folder / name)
    return [folder / name for name in views]


def _sign_in(page: "Page", address: str) -> None:
    page.goto(address, timeout=PATIENCE_MS)
    name = page.get_by_label("Your name")
    name.wait_for(timeout=PATIENCE_MS)
    name.fill("Anna")
    page.get_by_role("button", name="Look").click()
    name.wait_for(state="hidden", timeout=PATIENCE_MS)
    page.wait_for_timeout(SETTLE_MS)  # the session cookie is written by the page that follows
