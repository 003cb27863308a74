"""The dashboard as a person has it: a real process, a real browser, a plant whose story is known.

Needs Chromium (`apt-get install chromium`); skips loudly without.
"""

import re
import time
from collections.abc import Iterator
from io import BytesIO
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray
from PIL import Image

from schemas.requests import REQUEST_TOPIC, Request
from schemas.signing import KeyRing
from schemas.site_tables import machine_case, point, request
from tests.support.plant import wait_until
from tests.support.screen import (
    CHROMIUM,
    Screen,
    chart,
    enter,
    expect_drawn,
    new_context,
    running_dashboard,
)
from tests.support.screen import browser as chromium
from tests.support.screen import machine_rows as rows
from tests.support.site_database import build_site_database, open_case

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser is driven")
from playwright.sync_api import Browser, Page, StorageState, expect

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="NO CHROMIUM FOUND: the screen is not tested; apt-get install chromium"
)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    folder: Path = tmp_path_factory.mktemp("screen")
    build_site_database(folder / "site.db", now_us=time.time_ns() // 1000, days=4.0).dispose()
    with running_dashboard(folder, folder / "site.db") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def session(browser: Browser, plant: Screen) -> StorageState:
    """What a browser keeps after somebody came in by the link."""
    context = new_context(browser)
    page = enter(context, plant)
    expect(rows(page).first).to_be_visible()
    kept = context.storage_state()
    context.close()
    return kept


@pytest.fixture
def page(browser: Browser, session: StorageState) -> Iterator[Page]:
    """A window of a person who has signed in before."""
    context = new_context(browser, session)
    yield context.new_page()
    context.close()


def order(page: Page) -> list[str]:
    return [str(row.get_attribute("data-machine")) for row in rows(page).all()]


def test_from_the_link_to_the_line_that_proves_it_in_three_clicks(browser, plant):
    context = new_context(browser)
    foreign: list[str] = []
    context.on(
        "request",
        lambda r: foreign.append(r.url) if not re.match(r"(http|ws)://127\.0\.0\.1|blob:|data:", r.url) else None,
    )
    page = enter(context, plant)
    expect(rows(page).first).to_contain_text("Cooling water pump 7")
    expect(rows(page).first).to_contain_text("Danger")
    expect(rows(page).first).to_contain_text("4 of 4 outer race lines stand out of the envelope")
    assert order(page) == ["pump-07", "fan-03", "mixer-04", "conveyor-11", "compressor-02", "mill-01"]
    assert "token" not in page.url

    rows(page).first.click()
    expect(page).to_have_url(re.compile(r"/machine\?machine=pump-07$"))
    expect(page.get_by_text("Speaks for it")).to_be_visible()
    envelope = chart(page, "Envelope spectrum")
    expect(envelope).to_have_attribute("aria-label", re.compile(r"Cursors: BPFO 88\.42 Hz, 2× BPFO, 3× BPFO"))
    expect_drawn(envelope)
    expect_drawn(chart(page, "Anomaly score"))

    box = envelope.bounding_box()
    assert box is not None
    opens_hz = float((envelope.get_attribute("data-view") or "0:0").split(":")[1])
    assert 600.0 < opens_hz < 1000.0  # a few harmonics of the bearing's lines, not the whole band
    share = 87.45 / opens_hz
    envelope.hover(position={"x": 58 + share * (box["width"] - 72), "y": box["height"] / 2})
    readout = page.locator(".frame", has=envelope).locator(".readout")
    expect(readout).to_contain_text(re.compile(r"87\.\d+ Hz · 3\.5\d+ orders · 0\.06\d+ gE peak · BPFO -\d\.\d %"))
    page.get_by_role("button", name="Frequency in Hz or in orders").first.click()
    expect(page.get_by_role("button", name="Frequency in Hz or in orders").first).to_have_text("orders")
    assert foreign == []
    context.close()


def test_acknowledging_asks_the_site_and_shows_its_answer(page, plant):
    page.goto(f"{plant.address}machine?machine=pump-07")
    page.get_by_label("Note").first.fill("bearing is ordered for Monday")
    page.get_by_role("button", name="Acknowledge case 1").click()
    expect(page.get_by_text("acknowledge by A. Schmidt: sent to the site service")).to_be_visible()

    with plant.engine.connect() as connection:
        row = connection.execute(sa.select(request)).one()
    ring = KeyRing.load(plant.folder / "dashboard.public.toml")
    asked = Request.model_validate_json(ring.open(REQUEST_TOPIC, row.sealed, role="dashboard", name="dashboard"))
    assert (asked.machine, asked.case_id, asked.note) == ("pump-07", 1, "bearing is ordered for Monday")

    with plant.engine.begin() as connection:
        connection.execute(
            sa.update(machine_case)
            .where(machine_case.c.case_id == 1)
            .values(state="acknowledged", acknowledged_by=asked.actor)
        )
        connection.execute(
            sa.update(request).values(state="done", answer="acknowledged", answered_at_us=time.time_ns() // 1000)
        )
    expect(page.get_by_text("acknowledge by A. Schmidt: done at")).to_be_visible()
    page.get_by_role("button", name="Show the case as it is now").click()
    expect(page.get_by_text("acknowledged by A. Schmidt", exact=False).first).to_be_visible()
    expect(page.get_by_role("button", name="Acknowledge case 1")).to_have_count(0)


def test_zoom_survives_new_data_and_a_reload_without_signing_in_again(page, plant):
    page.goto(f"{plant.address}machine?machine=pump-07")
    envelope = chart(page, "Envelope spectrum")
    expect(envelope).to_have_attribute("data-zoomed", "false")
    envelope.focus()
    view = envelope.get_attribute("data-view") or ""
    for key in ("+", "+", "Shift+ArrowLeft"):
        page.keyboard.press(key)
        expect(envelope).not_to_have_attribute("data-view", view)  # each has its effect before it is read
        view = envelope.get_attribute("data-view") or ""
    expect(envelope).to_have_attribute("data-zoomed", "true")
    low_hz, high_hz = map(float, view.split(":"))
    assert high_hz - low_hz < 260.0
    for _ in range(5):
        with plant.engine.begin() as connection:
            connection.execute(
                sa.update(point).where(point.c.machine == "pump-07").values(last_received_us=time.time_ns() // 1000)
            )
        page.get_by_role("button", name="New data").click()
        expect(page.get_by_role("button", name="New data")).to_have_count(0)
        expect(envelope).to_have_attribute("data-view", view)
    page.reload()
    expect(chart(page, "Envelope spectrum")).to_have_attribute("data-view", view)
    assert page.get_by_label("Access token").count() == 0


def test_no_row_moves_until_somebody_sorts_and_a_click_opens_the_machine_it_shows(page, plant):
    page.goto(plant.address)
    fan = page.locator("a.row[data-machine='fan-03']")
    expect(fan).to_be_visible()
    before = order(page)
    with plant.engine.begin() as connection:
        open_case(
            connection, name="mill-01", priority="danger", title="Gear damage likely", diagnosis=(),
            at_us=time.time_ns() // 1000,
        )  # fmt: skip
    expect(page.get_by_text("The order has changed; it stands until you sort")).to_be_visible()
    expect(page.locator("a.row[data-machine='mill-01']")).to_contain_text("Gear damage likely")  # told, not moved
    assert order(page) == before
    page.get_by_role("button", name="Sort by attention").click()
    expect(rows(page).nth(1)).to_contain_text("Cement mill 1")
    fan.click()
    expect(page).to_have_url(re.compile(r"machine=fan-03$"))
    expect(page.get_by_role("heading", name="Exhaust fan 3")).to_be_visible()


def test_list_that_is_kept_sorted_moves_by_itself_but_not_under_the_pointer(page, plant):
    page.goto(plant.address)
    page.get_by_role("button", name="Keep sorted").click()
    expect(rows(page).nth(1)).to_contain_text("Cement mill 1")
    page.locator("a.row[data-machine='fan-03']").hover()
    before = order(page)
    with plant.engine.begin() as connection:
        connection.execute(
            sa.update(machine_case).where(machine_case.c.machine == "mill-01").values(state="closed", closed_at_us=1)
        )
    expect(page.get_by_text("The order has changed; it is held while you are in the list")).to_be_visible()
    assert order(page) == before
    page.mouse.move(5, 5)
    expect(rows(page).nth(1)).to_contain_text("Exhaust fan 3")


def test_overview_and_verdict_fit_a_phone(browser, session, plant):
    context = new_context(browser, session, width=390)
    page = context.new_page()
    page.goto(plant.address)
    expect(rows(page).first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    rows(page).first.click()
    verdict, case = page.get_by_role("heading", name="Verdict"), page.get_by_role("heading", name=re.compile("Case "))
    expect(verdict).to_be_visible()
    above, below = verdict.bounding_box(), case.bounding_box()
    assert above is not None
    assert below is not None
    assert abs(above["x"] - below["x"]) < 10
    assert below["y"] > above["y"]
    expect_drawn(chart(page, "Envelope spectrum"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_dark_follows_the_viewers_wish_and_charts_with_it(browser, session, plant):
    context = new_context(browser, session, scheme="dark")
    page = context.new_page()
    page.goto(f"{plant.address}machine?machine=pump-07")
    envelope = chart(page, "Envelope spectrum")
    expect_drawn(envelope)
    ground = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert ground == "rgb(23, 25, 28)"
    brightest = """c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let most = 0;
                   for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 250) most = Math.max(most, d[i]);
                   return most; }"""
    assert envelope.evaluate(brightest) > 200
    page.emulate_media(color_scheme="light")
    page.wait_for_function(
        "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor === 'rgb(247, 247, 245)'"
    )
    expect(envelope).to_have_attribute("data-zoomed", "false")
    frame = page.locator(".frame", has=envelope)
    expect(frame).to_have_css("color", "rgb(34, 37, 42)")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_states_are_told_apart_by_an_eye_that_sees_no_colour(browser, session, plant, scheme):
    """The browser shows the overview as somebody without any colour sees it: no glyph is taken for another."""
    context = new_context(browser, session, scheme=scheme)
    page = context.new_page()
    context.new_cdp_session(page).send("Emulation.setEmulatedVisionDeficiency", {"type": "achromatopsia"})
    page.goto(plant.address)
    expect(rows(page)).to_have_count(6)
    boxes, picture = wait_until("what stands above the list has its place", lambda: still_picture(page))
    inked = {
        word: ink_of(picture[round(box["y"]) :, round(box["x"]) :][:22, :22])
        for word, box in zip(rows(page).locator(".word").all_inner_texts(), boxes, strict=True)
    }
    assert {"Danger", "Alert", "Sensor problem", "Normal"} <= set(inked)
    for (one, its), (other, others) in combinations(inked.items(), 2):
        assert np.mean(its != others) > 0.1, f"{one} looks like {other}"
    context.close()


def still_picture(page):
    """Where the glyphs are, and a picture; None while they move."""

    def places():
        return rows(page).locator(".state svg").evaluate_all("all => all.map(one => one.getBoundingClientRect())")

    before = places()
    picture = np.asarray(Image.open(BytesIO(page.screenshot())).convert("RGB")).astype(int)
    return (before, picture) if before == places() else None


def ink_of(colours: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Where a grey picture, shape (height, width, 3), is not like its upper left corner."""
    assert np.ptp(colours, axis=2).max() <= 3, "the picture has colours: nothing was simulated"
    return np.abs(colours[..., 0] - colours[0, 0, 0]) > 50


def test_database_that_goes_away_and_comes_back_is_followed(page, plant):
    page.goto(plant.address)
    expect(rows(page).first).to_be_visible()
    away = plant.database.rename(plant.database.with_suffix(".away"))
    try:
        expect(page.get_by_role("heading", name="The site's database is not there")).to_be_visible()
        expect(rows(page)).to_have_count(0)
    finally:
        away.rename(plant.database)
    expect(rows(page).first).to_be_visible()


def test_wrong_token_in_a_link_opens_nothing(browser, plant):
    context = new_context(browser)
    page = context.new_page()
    page.goto(f"{plant.address}?token=wrong")
    expect(page.get_by_text("This token is not the right one")).to_be_visible()
    expect(rows(page)).to_have_count(0)
    context.close()


def test_link_of_a_colleague_leads_to_its_machine_after_signing_in(browser, plant):
    context = new_context(browser)
    page = enter(context, plant, "machine?machine=fan-03")
    expect(page.get_by_role("heading", name="Exhaust fan 3")).to_be_visible()
    context.close()


def test_page_leaves_no_word_of_an_error_behind(plant):
    """Whatever the tests above did, the process had nothing to complain of."""
    assert "Traceback" not in plant.output
    assert "Error" not in plant.output
