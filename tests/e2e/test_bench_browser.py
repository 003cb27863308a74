"""The analyst's bench as a person has it: a real process, a real browser, captures with a waveform.

Needs Chromium (`apt-get install chromium`); skips loudly without.
"""

import re
import sqlite3
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from schemas.site_tables import machine
from tests.support.bench_evidence import FOUND_HZ, RATE_HZ, SAMPLES, add_evidence, add_week, requested_evidence
from tests.support.screen import (
    CHROMIUM,
    Screen,
    browser,
    chart,
    enter,
    expect_drawn,
    machine_rows,
    new_context,
    running_dashboard,
)
from tests.support.site_database import build_site_database, create_tables

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser is driven")
from playwright.sync_api import Browser, Locator, Page, StorageState, expect

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="NO CHROMIUM FOUND: the bench is not tested; apt-get install chromium"
)

POINT = "pump-07/drive-end"
BENCH = "point?point=pump-07%2Fdrive-end"
LEFT, RIGHT = 58, 14  # margins of a chart in pixels


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    folder = tmp_path_factory.mktemp("bench")
    now_us = time.time_ns() // 1000
    engine = build_site_database(folder / "site.db", now_us=now_us, days=4.0)
    with engine.begin() as connection:
        add_week(connection, POINT, now_us=now_us)
    engine.dispose()
    with running_dashboard(folder, folder / "site.db") as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def session(chromium: Browser, screen: Screen) -> StorageState:
    """What a browser keeps after somebody came in by the link."""
    context = new_context(chromium)
    expect(machine_rows(enter(context, screen)).first).to_be_visible()
    kept = context.storage_state()
    context.close()
    return kept


@pytest.fixture
def page(chromium: Browser, session: StorageState) -> Iterator[Page]:
    """A window of a person who has signed in before; it must not find an error in its own scripts."""
    context = new_context(chromium, session)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []


def click_at(canvas: Locator, hz: float) -> None:
    """Click the place of a frequency in a chart."""
    low, high = (float(edge) for edge in (canvas.get_attribute("data-view") or "").split(":"))
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    x = LEFT + (hz - low) / (high - low) * (box["width"] - LEFT - RIGHT)
    canvas.click(position={"x": x, "y": box["height"] / 2})


def frame(page: Page, canvas: Locator) -> Locator:
    return page.locator(".frame", has=canvas)


def readout(page: Page, canvas: Locator) -> Locator:
    return frame(page, canvas).locator(".readout")


def opened_bench(page: Page, screen: Screen, more: str = "") -> Locator:
    page.goto(f"{screen.address}{BENCH}{more}")
    envelope = chart(page, "Envelope spectrum")
    expect(envelope).to_have_attribute("data-view", re.compile(r"0:\d"))
    return envelope


def test_three_clicks_from_the_worst_machine_to_the_line_that_proves_it(page, screen):
    page.goto(screen.address)
    machine_rows(page).first.click()  # one
    page.get_by_role("link", name="envelope up, 79 to 100 Hz").click()  # two: what the score comes from
    envelope = chart(page, "Envelope spectrum")
    expect(envelope).to_have_attribute("data-view", "58:121")
    expect_drawn(envelope)
    frame(page, envelope).locator("td button").first.click()  # three: the highest peak
    proof = re.compile(r"87\.\d+ Hz · 3\.5\d+ orders · .* gE peak · BPFO -1\.\d %")
    expect(readout(page, envelope)).to_contain_text(proof)


def test_zoom_and_cursor_survive_five_refreshes_with_new_captures(page, screen):
    envelope = opened_bench(page, screen)
    page.get_by_text("Follow new captures").click()
    envelope.focus()
    view = envelope.get_attribute("data-view") or ""
    for key in ("+", "+", "Shift+ArrowLeft"):
        page.keyboard.press(key)
        expect(envelope).not_to_have_attribute("data-view", view)
        view = envelope.get_attribute("data-view") or ""
    for refresh in range(5):
        at_us = time.time_ns() // 1000
        found = requested_evidence(POINT, measured_at_us=at_us, sequence=2000 + refresh, damage_g=0.3)
        with screen.engine.begin() as connection:
            name = add_evidence(connection, found, sequence=710_000 + refresh)
        expect(page).to_have_url(re.compile(f"capture={name.replace(':', '(:|%3A)')}"))
        expect(envelope).to_have_attribute("data-view", view)
        expect(envelope).to_have_attribute("data-zoomed", "true")
    page.reload()
    expect(chart(page, "Envelope spectrum")).to_have_attribute("data-view", view)


def test_harmonic_cursor_reads_the_family_by_mouse_and_by_keys(page, screen):
    envelope = opened_bench(page, screen)
    frame(page, envelope).get_by_role("button", name="Multiples of the line").click()
    click_at(envelope, FOUND_HZ)
    expect(readout(page, envelope)).to_contain_text(re.compile(r"^8[78]\.\d+ Hz .* 1× 0\.\d+ · 2× 0\.\d+ · 3×"))
    envelope.focus()
    page.keyboard.press("2")  # the clicked line is taken for the second harmonic
    expect(readout(page, envelope)).to_contain_text(re.compile(r"^4[34]\.\d+ Hz"))
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.keyboard.press("0")
    page.keyboard.press("n")
    expect(readout(page, envelope)).to_contain_text("Hz")
    expect(frame(page, envelope).get_by_role("button", name="One cursor")).to_have_attribute("aria-pressed", "true")


def test_sideband_cursor_measures_the_spacing_and_names_it(page, screen):
    envelope = opened_bench(page, screen)
    frame(page, envelope).get_by_role("button", name="Click the carrier").click()
    click_at(envelope, 2 * FOUND_HZ)
    click_at(envelope, 3 * FOUND_HZ)
    said = readout(page, envelope)
    expect(said).to_contain_text(re.compile(r"carrier 17\d\.\d Hz .* spacing 8[78]\.\d+ Hz .* BPFO -\d\.\d %"))
    expect(said).to_contain_text(re.compile(r"-1: 0\.\d+ · 0: 0\.\d+ · \+1: 0\.\d+"))


def test_spectrum_is_read_in_velocity_in_orders_and_in_decibels_of_height(page, screen):
    opened_bench(page, screen)
    spectrum = chart(page, "Spectrum")
    expect(spectrum).to_have_attribute("data-unit", "g peak")
    buttons = frame(page, spectrum)
    buttons.get_by_role("button", name="Acceleration, peak, or velocity, RMS").click()
    expect(spectrum).to_have_attribute("data-unit", "mm/s RMS")
    click_at(spectrum, 1480 / 60)
    # 0.03 g at 24.67 Hz: 9806.65 * 0.03 / (2 pi 24.67 * sqrt 2) = 1.34 mm/s RMS
    expect(readout(page, spectrum)).to_contain_text(re.compile(r"1\.\d\d mm/s RMS"))
    buttons.get_by_role("button", name="Frequency in Hz or in orders").click()
    buttons.get_by_role("button", name="Linear or logarithmic").click()
    expect(buttons.get_by_role("button", name="Linear or logarithmic")).to_have_text("log")
    expect_drawn(spectrum)


def test_comparison_shows_what_has_grown(page, screen):
    opened_bench(page, screen, "&with=gw-a:7:600000")
    envelope = chart(page, "Envelope spectrum")
    expect(page.get_by_text("compared with")).to_be_visible()
    difference = frame(page, envelope).get_by_role("button", name="Show what has grown")
    difference.click()
    expect(difference).to_have_attribute("aria-pressed", "true")
    expect(envelope).to_have_attribute("aria-label", re.compile("difference in gE peak"))
    expect_drawn(envelope)


def test_csv_png_and_wav_are_what_is_shown(page, screen, tmp_path: Path):
    opened_bench(page, screen)
    envelope, waveform = chart(page, "Envelope spectrum"), chart(page, "Waveform")
    saved = {}
    for canvas, button in ((envelope, "CSV"), (envelope, "PNG"), (waveform, "WAV")):
        with page.expect_download() as download:
            frame(page, canvas).get_by_role("button", name=re.compile(button)).click()
        assert download.value.suggested_filename.startswith("pump-07_drive-end_20")
        saved[button] = tmp_path / download.value.suggested_filename
        download.value.save_as(saved[button])
    lines = saved["CSV"].read_text().splitlines()
    assert lines[1] == "frequency_hz,main_gE peak"
    table = [tuple(map(float, line.split(","))) for line in lines[2:]]
    highest_hz = max(table[5:], key=lambda row: row[1])[0]
    assert highest_hz == pytest.approx(FOUND_HZ, abs=1.5)
    assert saved["PNG"].read_bytes().startswith(b"\x89PNG")
    with wave.open(str(saved["WAV"])) as sound:
        assert (sound.getframerate(), sound.getnframes(), sound.getnchannels()) == (RATE_HZ, SAMPLES, 1)
        loudest = max(abs(value[0]) for value in memoryview_int16(sound.readframes(SAMPLES)))
    assert loudest == pytest.approx(0.9 * 32767, abs=2)
    expect(readout(page, waveform)).to_contain_text("Scaled: full loudness is")


def memoryview_int16(frames: bytes) -> Iterator[tuple[int]]:
    import struct

    return struct.iter_unpack("<h", frames)


def test_link_from_a_chart_opens_the_same_view(page, screen):
    envelope = opened_bench(page, screen)
    envelope.focus()
    for _ in range(2):
        view = envelope.get_attribute("data-view") or ""
        page.keyboard.press("+")
        expect(envelope).not_to_have_attribute("data-view", view)
    low, high = (float(edge) for edge in (envelope.get_attribute("data-view") or "").split(":"))
    frame(page, envelope).get_by_role("button", name="Copy a link").click()
    expect(readout(page, envelope)).to_contain_text("/point?")
    link = readout(page, envelope).inner_text()
    page.evaluate("sessionStorage.clear()")
    page.goto(link)
    seen = chart(page, "Envelope spectrum")
    expect(seen).to_have_attribute("data-zoomed", "true")
    found_low, found_high = (float(edge) for edge in (seen.get_attribute("data-view") or "").split(":"))
    assert (found_low, found_high) == (pytest.approx(low, abs=0.1), pytest.approx(high, abs=0.1))


def test_bench_fits_a_phone_and_the_dark_in_german(chromium, session, screen):
    context = new_context(chromium, session, width=390, scheme="dark", locale="de-DE")
    page = context.new_page()
    page.goto(f"{screen.address}{BENCH}")
    expect_drawn(chart(page, "Hüllkurvenspektrum"))
    expect_drawn(chart(page, "Wasserfall"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.get_by_role("button", name="Vielfache der angeklickten Linie").first).to_be_visible()
    height = page.get_by_role("button", name="Vielfache der angeklickten Linie").first.bounding_box()
    assert height is not None
    assert height["height"] >= 44
    context.close()


def test_asking_for_a_waveform_shows_that_it_was_sent_and_that_it_came(page, screen):
    opened_bench(page, screen)
    page.get_by_label("Reason").fill("is it the cage?")
    page.get_by_role("button", name="Request new capture").click()
    expect(page.get_by_text("Asked by A. Schmidt: is it the cage?")).to_be_visible()
    now_us = time.time_ns() // 1000
    found = requested_evidence(
        POINT, measured_at_us=now_us, sequence=4000, why="asked for by A. Schmidt: is it the cage?"
    )
    with screen.engine.begin() as connection:
        add_evidence(connection, found, sequence=720_000)
        connection.execute(sa.text("UPDATE request SET state = 'done', answer = 'evidence is on its way'"))
    expect(page.get_by_text("Arrived: the capture of")).to_be_visible()
    page.get_by_role("button", name="New data available").click()
    expect(page).to_have_url(re.compile("capture=gw-a(:|%3A)7(:|%3A)720000"))


def test_hostile_names_are_text_in_list_bench_and_charts(page, screen):
    hostile = "<img src=x onerror=alert(1)>"
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    with screen.engine.begin() as connection:
        connection.execute(sa.update(machine).where(machine.c.machine == "pump-07").values(title=hostile))
    try:
        page.goto(screen.address)
        expect(machine_rows(page).first).to_contain_text(hostile)
        opened_bench(page, screen)
        expect(page.get_by_role("heading", name=hostile)).to_be_visible()
    finally:
        with screen.engine.begin() as connection:
            connection.execute(
                sa.update(machine).where(machine.c.machine == "pump-07").values(title="Cooling water pump 7")
            )
    assert alerts == []


def test_missing_database_is_explained_and_the_bench_comes_back(page, screen):
    away = screen.database.rename(screen.database.with_suffix(".away"))
    try:
        page.goto(f"{screen.address}{BENCH}")
        expect(page.get_by_role("heading", name="The site's database is not there")).to_be_visible()
    finally:
        away.rename(screen.database)
    opened_bench(page, screen)


def test_locked_database_is_explained_and_followed_when_it_is_free(chromium, tmp_path):
    create_tables(tmp_path / "site.db").dispose()
    holder = sqlite3.connect(tmp_path / "site.db")
    holder.execute("PRAGMA journal_mode=DELETE")
    holder.execute("BEGIN EXCLUSIVE")
    with running_dashboard(tmp_path, tmp_path / "site.db") as locked:
        context = new_context(chromium)
        page = enter(context, locked)
        try:
            expect(page.get_by_role("heading", name="The site's database is locked")).to_be_visible()
        finally:
            holder.close()
        expect(page.get_by_role("heading", name="No machines yet")).to_be_visible()
        context.close()


def test_process_has_nothing_to_complain_of(screen):
    assert "Traceback" not in screen.output, screen.output
