"""This file knows how the screen of the running plant is photographed: for the README, and every page to look at."""

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from dashboard.pages import alarms, federation, fleet, settings
from dashboard.pages.addresses import (
    ALARMS,
    FLEET,
    LEARNING,
    MACHINE,
    PLANT,
    POINT,
    SETTINGS,
    case_address,
    machine_address,
    page_titles,
    point_address,
)
from deploy.demo.errors import StageFailed
from deploy.demo.secret_files import SignIn

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, StorageState

ALL_PAGES = Path("build/screens")
DESK, PHONE = 1440, 390
HEIGHT, TALLEST = 900, 8000
PATIENCE_MS = 60_000
SETTLE_MS = 4000  # of the plant, after its alarm
FITS = 5  # how often a page may grow before it is photographed as it is
REDRAW_MS = 700  # charts draw after the page says that it is ready, and again when the window has changed
ENTRANCE = "sign-in"
TOLD_REASON = "Is it the outer race?"
UNSHOWABLE = ("undefined", "NaN", "[object", "Traceback", "{count}", "{name}", "None ago")
Scheme = Literal["light", "dark"]

_READY = """() => {
  const app = document.querySelector('[data-testid=stApp]');
  const busy = document.querySelector('[data-stale=true], [data-testid=stStatusWidget], [data-testid=stSkeleton]');
  return app?.dataset.testScriptState === 'notRunning' && !busy;
}"""
_UNFOLD = "() => document.querySelectorAll('details:not([open]) > summary').forEach((one) => one.click())"
_BREADTH = (
    "() => { const main = document.querySelector('[data-testid=stMain]'); return main.scrollWidth - main.clientWidth; }"
)
_LENGTH = "() => document.querySelector('[data-testid=stMainBlockContainer]').scrollHeight"


@dataclass(frozen=True, slots=True)
class View:
    """One page, and how it is looked at.

    Attributes:
        name: Of its pictures.
        path: Relative to the dashboard's address.
        unfolded: Whether everything that can be unfolded is.
    """

    name: str
    path: str
    unfolded: bool = True


@dataclass(frozen=True, slots=True)
class Shape:
    """A window and the person before it."""

    name: str
    width: int
    language: str = "en-GB"
    schemes: tuple[Scheme, ...] = ("light", "dark")
    tallest: int = TALLEST


SHAPES = (
    Shape("desk", DESK),
    Shape("phone", PHONE),
    Shape("phone-german", PHONE, "de-DE", ("light",)),  # German words are the longer ones
)


def all_views(machine: str, point: str, case_id: int) -> list[View]:
    """Every page of the dashboard, and every part of each."""
    parts: Mapping[str, tuple[str, tuple[str, ...]]] = {
        ALARMS: ("tab", alarms.TABS), LEARNING: ("part", federation.PARTS), FLEET: ("part", fleet.PARTS),
        SETTINGS: ("part", settings.PARTS),
    }  # fmt: skip
    one = {PLANT: "", MACHINE: machine_address(machine), POINT: point_address(point)}
    found = [View("case", case_address(case_id))]
    for page in page_titles():
        if page in parts:
            key, names = parts[page]
            found += [View(f"{page}-{name}", f"{page}?{key}={quote(name)}") for name in names]
        else:
            found.append(View(page, one.get(page, page)))
    return found


def readme_pictures(machine: str, point: str) -> list[tuple[View, Shape]]:
    """Those that the README and the documents show: what fits one window."""
    bench = View("bench", point_address(point), unfolded=False)
    desk, verdict = Shape("", DESK, schemes=("light",), tallest=1000), machine_address(machine)
    return [
        (View("overview", "", unfolded=False), Shape("", DESK, schemes=("light",), tallest=760)),
        (View("machine", verdict, unfolded=False), desk),
        (View("bench", bench.path, unfolded=False), desk),
        (View("machine-dark", verdict, unfolded=False), Shape("", DESK, schemes=("dark",), tallest=1000)),
        (View("overview-phone", "", unfolded=False), Shape("", PHONE, schemes=("light",), tallest=844)),
        (View("learning", f"{LEARNING}?part=rounds", unfolded=False), desk),
        (View("audit", "audit", unfolded=False), desk),
    ]


def take_pictures(address: str, sign_in: SignIn, machine: str, point: str, folder: Path) -> list[Path]:
    """Photograph what the README shows, and into `ALL_PAGES` every page in every form, with an index to leaf through.

    Args:
        address: Of the dashboard.
        sign_in: Who looks; an administrator sees all pages.
        machine: The machine to show.
        point: Its measurement point to show.
        folder: Where the README's pictures go.

    Raises:
        StageFailed: A page is not fit to be shown: it scrolls sideways, says what only a program says, or failed.
    """
    studio = _Studio(address)
    with _browser() as browser:
        with _window(browser, SHAPES[0]) as page:
            _sign_in(page, address, sign_in)
            case_id = _first_case(page, address)
            _ask_for_waveform(page, address + point_address(point))
            session = page.context.storage_state()
        for view, shape in readme_pictures(machine, point):
            with _window(browser, shape, session) as page:
                studio.take(page, view, shape, folder)
        for shape in SHAPES:
            with _window(browser, shape) as page:
                studio.take(page, View(ENTRANCE, ""), shape, ALL_PAGES)
            with _window(browser, shape, session) as page:
                for view in all_views(machine, point, case_id):
                    studio.take(page, view, shape, ALL_PAGES)
    _write_index(studio.taken)
    if studio.faults:
        raise StageFailed(f"not fit to be shown: {'; '.join(studio.faults)}. All pictures are in {ALL_PAGES}")
    return studio.taken


class _Studio:
    """Takes pictures, and notes what nobody should be shown."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.taken: list[Path] = []
        self.faults: list[str] = []

    def take(self, page: "Page", view: View, shape: Shape, folder: Path) -> None:
        """Load a page once and photograph it in each scheme of the shape."""
        folder.mkdir(parents=True, exist_ok=True)
        page.set_viewport_size({"width": shape.width, "height": HEIGHT})
        page.emulate_media(color_scheme=shape.schemes[0])
        page.goto(self._address + view.path)
        _settle(page)
        if view.unfolded:
            page.evaluate(_UNFOLD)
            _settle(page)
        for scheme in shape.schemes:
            page.emulate_media(color_scheme=scheme)
            _fit(page, shape)
            name = "-".join(filter(None, (view.name, shape.name, scheme if shape.name else "")))
            path = folder / f"{name}.png"
            page.screenshot(path=path)
            self.taken.append(path)
        self.faults += [f"{path.stem}: {fault}" for fault in faults_of(page)]


def faults_of(page: "Page") -> Iterable[str]:
    too_wide_px = int(page.evaluate(_BREADTH))
    if too_wide_px > 0:
        yield f"scrolls sideways by {too_wide_px} px"
    said = page.get_by_test_id("stApp").inner_text()
    for word in UNSHOWABLE:
        if word in said:
            yield f"says {word!r}"
    if page.get_by_test_id("stException").count():
        yield "failed"


@contextlib.contextmanager
def _browser() -> Iterator["Browser"]:
    from playwright.sync_api import Error, sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise StageFailed("chromium is not installed; pictures need it (apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        except Error as error:
            raise StageFailed(f"the browser did not get to see what was to be photographed: {error}") from error
        finally:
            browser.close()


@contextlib.contextmanager
def _window(browser: "Browser", shape: Shape, session: "StorageState | None" = None) -> Iterator["Page"]:
    """A window of its own, closed afterwards: a page that stays open goes on asking for what is new."""
    context = browser.new_context(
        viewport={"width": shape.width, "height": HEIGHT}, locale=shape.language, storage_state=session,
        has_touch=shape.width == PHONE, timezone_id="Europe/Berlin",
    )  # fmt: skip
    context.set_default_timeout(PATIENCE_MS)
    try:
        yield context.new_page()
    finally:
        context.close()


def _settle(page: "Page") -> None:
    page.wait_for_load_state("networkidle")  # parts of the page are scripts of their own
    page.wait_for_function(_READY)
    page.wait_for_timeout(REDRAW_MS)
    page.wait_for_function(_READY)  # a live part may have begun anew meanwhile


def _fit(page: "Page", shape: Shape) -> None:
    """Make the window as long as the page, which grows while its parts arrive."""
    for _ in range(FITS):
        _settle(page)
        height = min(max(HEIGHT, int(page.evaluate(_LENGTH))), shape.tallest)
        if page.viewport_size == {"width": shape.width, "height": height}:
            return
        page.set_viewport_size({"width": shape.width, "height": height})


def _sign_in(page: "Page", address: str, sign_in: SignIn) -> None:
    page.goto(address)
    page.get_by_label("Name", exact=True).fill(sign_in.name)
    page.get_by_label("Password", exact=True).fill(sign_in.password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Sign out").wait_for()
    page.wait_for_timeout(SETTLE_MS)  # the session cookie is written by the page that follows


def _first_case(page: "Page", address: str) -> int:
    page.goto(address + ALARMS)
    link = page.locator("a[href*='case=']").first
    return int((link.get_attribute("href") or "").partition("case=")[2])


def _ask_for_waveform(page: "Page", bench: str) -> None:
    """Ask the gateway for a capture with its waveform, as a person does, and wait until it is there."""
    page.goto(bench)
    page.get_by_label("Reason", exact=True).fill(TOLD_REASON)
    page.get_by_role("button", name="Request new capture").click()
    page.get_by_text("Arrived: the capture of").first.wait_for()


def _write_index(taken: Iterable[Path]) -> None:
    shown = "".join(
        f'<figure><figcaption>{escape(path.stem)}</figcaption><a href="{escape(path.name)}">'
        f'<img src="{escape(path.name)}" alt="" loading="lazy" width="480"></a></figure>'
        for path in taken
        if path.parent == ALL_PAGES
    )
    style = "body{display:flex;flex-wrap:wrap;align-items:flex-start;font:14px sans-serif}"
    (ALL_PAGES / "index.html").write_text(f"<!doctype html><title>All pages</title><style>{style}</style>{shown}")
