"""Learning and fleet as a person has them: a real process, a real browser, the site's own desk over one database.

Needs Chromium (`apt-get install chromium`); skips loudly without.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.site_tables import release
from tests.support.learning_plant import CANDIDATE, build_learning_database, steering
from tests.support.screen import CHROMIUM, Screen, browser, enter, new_context, running_dashboard

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser is driven")
from playwright.sync_api import Browser, Page, StorageState, expect

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="NO CHROMIUM FOUND: learning and fleet are not tested; apt-get install chromium"
)

PARTS = {
    "learning?part=rounds": "Who weighs how much",
    "learning?part=benefit": "1 of 4 machines are worse off",
    "learning?part=releases": "On the gateways",
    "learning?part=ledger": "What an update reveals",
    "fleet?part=gateways": "2 of 3 gateways online.",
    "fleet?part=sensors": "8 sensors",
    "fleet?part=devices": "Refused by the site",
}


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    folder = tmp_path_factory.mktemp("learning_screen")
    build_learning_database(folder / "site.db", now_us=time.time_ns() // 1000).dispose()
    with running_dashboard(folder, folder / "site.db", role="engineer") as running:
        yield running


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def session(opened: Browser, screen: Screen) -> StorageState:
    context = new_context(opened)
    expect(enter(context, screen).get_by_text("Signed in as A. Schmidt")).to_be_visible()
    kept = context.storage_state()
    context.close()
    return kept


@pytest.fixture
def page(opened: Browser, session: StorageState) -> Iterator[Page]:
    context = new_context(opened, session)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_every_part_has_a_link_and_fits_the_window(opened, session, screen, width, scheme):
    context = new_context(opened, session, width=width, scheme=scheme)
    page = context.new_page()
    for path, said in PARTS.items():
        page.goto(f"{screen.address}{path}")
        expect(page.get_by_text(said).first).to_be_visible()
        expect(page.get_by_text("Signed in as A. Schmidt")).to_be_visible()
        assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth <= innerWidth"), path
        assert page.get_by_text("Traceback").count() == 0
    context.close()


def test_every_part_fits_a_phone_in_german_too(opened: Browser, session: StorageState, screen: Screen) -> None:
    context = new_context(opened, session, width=390, locale="de-DE")
    page = context.new_page()
    for path in PARTS:
        page.goto(f"{screen.address}{path}")
        expect(page.get_by_text("Angemeldet als A. Schmidt")).to_be_visible()
        assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth <= innerWidth"), path
    context.close()


def test_link_to_a_round_opens_it_and_stands_in_the_address_after_a_reload(page: Page, screen: Screen) -> None:
    page.goto(f"{screen.address}learning?part=rounds&round=9")
    expect(page.get_by_role("heading", name="Round 9")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Round 9")).to_be_visible()
    page.get_by_role("radio", name="Releases").click()
    expect(page).to_have_url(re.compile("part=releases"))


def test_ledger_is_taken_as_pdf_and_csv(page: Page, screen: Screen) -> None:
    page.goto(f"{screen.address}learning?part=ledger")
    with page.expect_download() as pdf:
        page.get_by_role("button", name="Ledger as PDF (English)").click()
    assert Path(pdf.value.path()).read_bytes().startswith(b"%PDF")
    with page.expect_download() as table:
        page.get_by_role("button", name="CSV", exact=True).click()
    assert Path(table.value.path()).read_text("utf-8-sig").startswith("day_utc,class,messages,bytes")


def test_taking_a_release_back_is_confirmed_carried_out_and_answered(page: Page, screen: Screen) -> None:
    signer = Signer.load(screen.folder / "dashboard.key")
    with steering(screen.engine, KeyRing([AllowedKey("dashboard", "dashboard", signer.public)])):
        page.goto(f"{screen.address}learning?part=releases")
        name = f"Take release {CANDIDATE} back"
        page.get_by_role("button", name=name).click()
        page.get_by_label("Why (others will read it)").fill("false alarms on the kiln line")
        page.get_by_test_id("stFormSubmitButton").get_by_role("button", name=name).click()
        expect(page.get_by_text(f"tick that you mean release {CANDIDATE}")).to_be_visible()
        page.get_by_label("Why (others will read it)").fill("false alarms on the kiln line")
        page.get_by_role("checkbox", name=f"Yes, release {CANDIDATE}").locator("xpath=ancestor::label").click()
        page.get_by_test_id("stFormSubmitButton").get_by_role("button", name=name).click()
        expect(page.get_by_text(f"release {CANDIDATE} is taken back; the one before goes out again")).to_be_visible()
    with screen.engine.connect() as connection:
        asked = connection.execute(sa.select(release.c.asked).where(release.c.release_version == CANDIDATE)).scalar()
    assert asked == {
        "action": "roll_back_release", "actor": "A. Schmidt", "note": "false alarms on the kiln line",
    }  # fmt: skip
