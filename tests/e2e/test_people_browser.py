"""People at the door: the first administrator by a link, passwords, lock-out, roles; a real process, a real browser.

Needs Chromium (`apt-get install chromium`); skips loudly without.
"""

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from schemas.requests import REQUEST_TOPIC, Request
from schemas.signing import KeyRing, Signer
from schemas.site_tables import audit, machine, machine_case, person, request
from tests.support import screen
from tests.support.oidc_provider import CLIENT_ID, CLIENT_SECRET, provider
from tests.support.people import PASSWORD, add_person, answering
from tests.support.plant import wait_until
from tests.support.site_database import build_site_database

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser is driven")
from playwright.sync_api import Browser, BrowserContext, Page, expect

PATIENCE_MS = 30_000
HOSTILE = "<img src=x onerror=alert(1)> **Bob**"

pytestmark = pytest.mark.skipif(
    screen.CHROMIUM is None, reason="NO CHROMIUM FOUND: signing in is not tested; apt-get install chromium"
)


@dataclass
class Site:
    """A running dashboard, a desk that answers it, and the database between."""

    address: str
    first_link: str
    folder: Path
    engine: Engine
    ring: KeyRing


@contextmanager
def running(folder: Path, more: str) -> Iterator[Site]:
    """A dashboard process with its desk, in a folder of its own."""
    engine = build_site_database(folder / "site.db", now_us=time.time_ns() // 1000, days=1.0)
    try:
        with screen.dashboard_process(folder, folder / "site.db", more) as (address, link):
            ring = KeyRing.load(folder / "dashboard.public.toml")
            with answering(engine, ring):
                yield Site(address, link, folder, engine, ring)
    finally:
        engine.dispose()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("people"), "") as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with screen.browser() as opened:
        yield opened


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = screen.new_context(browser)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def admin(site: Site) -> str:
    return somebody(site, "Root Admin", "admin")


def somebody(site: Site, name: str, role: str) -> str:
    """Make sure that there is a person of this name."""
    with site.engine.connect() as connection:
        if connection.execute(sa.select(person).where(person.c.name == name)).first() is None:
            add_person(site.engine, name, role)  # type: ignore[arg-type]
    return name


def sign_in(page: Page, site: Site, name: str, password: str = PASSWORD, path: str = "") -> None:
    page.goto(f"{site.address}{path}")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()


def wait_for_session(page: Page) -> None:
    """Wait until the browser keeps the session, as it does before a person can have read the page."""
    page.wait_for_function("document.cookie.includes('undertone_session')")


def in_log(site: Site, words: str) -> bool:
    with site.engine.connect() as connection:
        return any(words in row.text for row in connection.execute(sa.select(audit)))


def wait_for_log(site: Site, words: str) -> None:
    wait_until(f"{words!r} in the log", lambda: in_log(site, words))


def choose_password(page: Page, password: str) -> None:
    page.get_by_label("New password").fill(password)
    page.get_by_label("The same again").fill(password)


def test_first_administrator_comes_by_the_printed_link_once(page, context, site):
    page.goto(site.first_link)
    page.get_by_label("Your name").fill("Ada Admin")
    choose_password(page, "Password2026!")
    page.get_by_role("button", name="Become administrator").click()
    expect(page.get_by_text("This password is among those that are tried first")).to_be_visible()
    expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible()
    choose_password(page, PASSWORD)
    page.get_by_role("button", name="Become administrator").click()
    expect(page.get_by_text("Signed in as Ada Admin (administrator)")).to_be_visible()
    wait_for_session(page)
    assert "first" not in page.url
    wait_for_log(site, "Ada Admin is the first administrator")
    page.reload()
    expect(page.get_by_text("Signed in as Ada Admin (administrator)")).to_be_visible()

    other = context.browser.new_context(locale="en-GB").new_page()
    other.goto(site.first_link)
    expect(other.get_by_text("This link was used already or is too old")).to_be_visible(timeout=PATIENCE_MS)
    expect(other.get_by_label("Your name")).to_have_count(0)
    other.context.close()


def test_administrator_adds_somebody_who_chooses_a_password_by_the_link(page, context, site, admin):
    sign_in(page, site, admin, path="people")
    page.get_by_text("Add a person").click()
    page.get_by_label("Name", exact=True).fill(HOSTILE)
    page.get_by_role("button", name="Add", exact=True).click()
    link = page.locator("code", has_text="?welcome=")
    expect(link).to_be_visible()
    address = link.inner_text().strip()
    expect(page.get_by_text("technician, has a link and no password yet")).to_be_visible()
    assert page.locator("img[src='x']").count() == 0
    expect(page.get_by_text(HOSTILE, exact=False).first).to_be_visible()

    theirs = context.browser.new_context(locale="en-GB")
    new = theirs.new_page()
    new.goto(address)
    expect(new.get_by_text(f"Welcome, {HOSTILE}")).to_be_visible(timeout=PATIENCE_MS)
    choose_password(new, PASSWORD)
    new.get_by_role("button", name="Set password").click()
    expect(new.get_by_text(f"Signed in as {HOSTILE} (technician)")).to_be_visible(timeout=PATIENCE_MS)
    assert new.locator("img[src='x']").count() == 0
    theirs.close()


def test_wrong_password_is_refused_and_the_fifth_locks_the_name_out(page, site, admin):
    somebody(site, "Lena", "analyst")
    for number in range(1, 6):
        sign_in(page, site, "Lena", f"wrong password {number}")
        expect(page.get_by_text("This name and password do not belong together")).to_be_visible()
    sign_in(page, site, "Lena")
    expect(page.get_by_text(re.compile(r"Too many wrong passwords\..*Try again in \d+ s"))).to_be_visible()
    expect(page.get_by_text("Signed in as")).to_have_count(0)
    wait_for_log(site, "refused: wrong password, 5 in a row")
    sign_in(page, site, admin)
    expect(page.get_by_text(f"Signed in as {admin}")).to_be_visible()


def test_unknown_name_is_answered_like_a_wrong_password(page, site, admin):
    sign_in(page, site, "Nobody At All")
    expect(page.get_by_text("This name and password do not belong together")).to_be_visible()


def test_barred_person_is_out_at_the_next_page_and_cannot_come_back(page, site, admin):
    name = somebody(site, "Vera", "viewer")
    sign_in(page, site, name)
    expect(page.get_by_text(f"Signed in as {name} (viewer)")).to_be_visible()
    wait_for_session(page)
    with site.engine.begin() as connection:
        connection.execute(sa.update(person).where(person.c.name == name).values(state="barred"))
    page.wait_for_function("() => new Promise(done => setTimeout(() => done(true), 2100))")  # rows are believed for 2 s
    page.reload()
    expect(page.get_by_label("Password", exact=True)).to_be_visible()
    sign_in(page, site, name)
    expect(page.get_by_text("You are barred")).to_be_visible()


def test_viewer_does_not_see_the_people_or_the_log_and_a_forged_request_is_refused_by_the_site(page, site, admin):
    name = somebody(site, "Wim", "viewer")
    sign_in(page, site, name, path="people")
    expect(page.get_by_text("Change your password")).to_be_visible()
    expect(page.get_by_text("Add a person")).to_have_count(0)
    wait_for_session(page)
    page.goto(f"{site.address}audit")
    expect(page.get_by_text("The audit log is read by administrators")).to_be_visible()

    forged = Request(
        request_id="f" * 32, action="acknowledge", actor=name, role="engineer", machine="pump-07", case_id=1,
        asked_at_us=0,
    )  # fmt: skip
    sealed = Signer.load(site.folder / "dashboard.key").seal(REQUEST_TOPIC, forged.model_dump_json().encode())
    with site.engine.begin() as connection:
        connection.execute(sa.insert(request).values(request_id=forged.request_id, sealed=sealed, created_at_us=0))
    wait_for_log(site, "Wim is a viewer now, not a engineer; sign in again")
    with site.engine.connect() as connection:
        assert connection.scalar(sa.select(machine_case.c.state).where(machine_case.c.case_id == 1)) == "open"


def test_token_made_on_the_page_reads_and_acts_over_http(page, site, admin):
    name = somebody(site, "Tina", "technician")
    sign_in(page, site, name, path="people")
    wait_for_session(page)
    page.get_by_text("New token").click()
    page.get_by_label("What for").fill("shift book")
    page.get_by_role("button", name="Make token").click()
    shown = page.locator("code", has_text=re.compile("^ut_"))
    expect(shown).to_be_visible()
    headers = {"Authorization": f"Bearer {shown.inner_text().strip()}"}
    asked = urllib.request.Request(f"{site.address}api/v1/me", headers=headers)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert json.load(answer)["name"] == name
    with urllib.request.urlopen(f"{site.address}healthz", timeout=30) as answer:
        assert json.load(answer) == {"status": "ok"}
    page.goto(f"{site.address}api/v1/me")  # the page's own session reads too
    assert name in page.content()


def test_administrator_reads_the_log_and_takes_it_as_csv(page, site, admin):
    sign_in(page, site, admin, path="audit")
    wait_for_session(page)
    with page.expect_download(timeout=PATIENCE_MS) as download:
        page.get_by_role("button", name="All of these as CSV").click()
    said = Path(download.value.path()).read_text()
    assert said.startswith("audit_id,at_utc,at_us,actor,action,about,text,came_from,seal")
    assert f"{admin},sign_in" in said


def test_signing_out_everywhere_ends_the_other_browser(page, context, site, admin):
    name = somebody(site, "Emil", "engineer")
    other = context.browser.new_context(locale="en-GB")
    elsewhere = other.new_page()
    sign_in(elsewhere, site, name)
    expect(elsewhere.get_by_text(f"Signed in as {name}")).to_be_visible(timeout=PATIENCE_MS)
    wait_for_session(elsewhere)
    sign_in(page, site, name, path="people")
    page.get_by_role("button", name="Sign out everywhere").click()
    expect(page.get_by_label("Password", exact=True)).to_be_visible()
    elsewhere.reload()
    expect(elsewhere.get_by_label("Password", exact=True)).to_be_visible(timeout=PATIENCE_MS)
    other.close()


def test_screen_speaks_the_browsers_language_until_another_is_chosen_and_remembers_it(browser, site, admin):
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale="de-DE", has_touch=True)
    page = context.new_page()
    page.goto(site.address)
    expect(page.get_by_role("button", name="Anmelden")).to_be_visible(timeout=PATIENCE_MS)
    page.get_by_label("Name", exact=True).fill(admin)
    page.get_by_label("Passwort", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Anmelden").click()
    expect(page.get_by_role("link", name="Anlage")).to_be_visible(timeout=PATIENCE_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_text("English", exact=True).click()
    expect(page.get_by_role("link", name="Plant")).to_be_visible(timeout=PATIENCE_MS)
    page.wait_for_function("document.cookie.includes('undertone_language=en')")
    page.reload()
    expect(page.get_by_role("link", name="Plant")).to_be_visible(timeout=PATIENCE_MS)
    context.close()


def test_hostile_machine_title_is_shown_as_text(page, site, admin):
    with site.engine.begin() as connection:
        connection.execute(sa.update(machine).where(machine.c.machine == "mill-01").values(title=HOSTILE))
    sign_in(page, site, admin)
    expect(page.locator("a.row[data-machine='mill-01']")).to_contain_text(HOSTILE)
    assert page.locator("img[src='x']").count() == 0


def test_process_leaves_no_word_of_an_error_behind(site):
    output = (site.folder / "output.txt").read_text()
    assert "Traceback" not in output
    assert PASSWORD not in output


def test_plants_provider_lets_in_by_group_and_not_by_a_stale_or_forged_word(context, tmp_path):
    (tmp_path / "client.secret").write_text(CLIENT_SECRET)
    with provider() as plants:
        settings = (
            f'[access]\nby = "oidc"\n[access.oidc]\nserver_metadata_url = "{plants.metadata_url}"\n'
            f'client_id = "{CLIENT_ID}"\nclient_secret_file = "client.secret"\n'
            'roles = { "maintenance" = "technician" }\n'
        )
        with running(tmp_path, settings) as site:
            assert site.first_link == ""
            page = context.new_page()

            def come(**claims: object) -> None:
                plants.claims = claims
                context.clear_cookies()
                page.goto(site.address)
                page.get_by_role("button", name="Sign in at the plant's provider").click()

            come(preferred_username="otto", groups=["office"])
            expect(page.get_by_text("none of your groups has a role here")).to_be_visible()
            plants.age_s = 500.0
            come(preferred_username="otto", groups=["maintenance"])
            expect(page.get_by_text("too long ago")).to_be_visible()
            plants.age_s = 0.0
            come(preferred_username="otto", groups=["office", "maintenance"])
            expect(page.get_by_text("Signed in as otto (technician)")).to_be_visible()
            with site.engine.connect() as connection:
                row = connection.execute(sa.select(person)).one()
            assert (row.name, row.role, row.source, row.password_hash) == ("otto", "technician", "oidc", None)
            plants.forged = True
            come(preferred_username="otto", groups=["maintenance"])
            page.wait_for_load_state()
            expect(page.get_by_text("Signed in as")).to_have_count(0)
