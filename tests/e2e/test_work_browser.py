"""Work on alarms as a person does it: a real process, a real browser, and the site's own hands over one database.

Needs Chromium (`apt-get install chromium`); skips loudly without.
"""

import csv
import io
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from schemas.signing import Signer
from schemas.site_tables import delivery, machine, machine_case, request, table_version, work_order
from tests.support import pdf_text, screen
from tests.support.plant import wait_until
from tests.support.site_database import open_case
from tests.support.work_office import Receiver, settings_for
from tests.support.work_plant import SiteHands, build_work_database

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser is driven")
from playwright.sync_api import Browser, Page, StorageState, expect

PATIENCE_MS = 20_000

pytestmark = [
    pytest.mark.skipif(
        screen.CHROMIUM is None, reason="NO CHROMIUM FOUND: the screen is not tested; apt-get install chromium"
    ),
    # apprise 2.2 loads all its ways, and one imports what Python 3.13 takes away.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]


@dataclass
class Plant:
    """A running dashboard, the database behind it, and who listens."""

    address: str
    link: str
    folder: Path
    engine: Engine
    receiver: Receiver

    def rows(self, query: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(query).all())


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("work")
    database = folder / "site.db"
    engine = build_work_database(database, now_us=time.time_ns() // 1000, days=2.0)
    signer = Signer.generate()
    signer.save(folder / "dashboard.key")
    receiver = Receiver()
    hands = SiteHands(database, signer, settings_for(folder, receiver))
    access = '[live]\nrefresh_s = 1.0\n[access]\nby = "token"\ntoken_role = "engineer"\n'
    try:
        with screen.dashboard_process(folder, database, access) as (address, link):
            yield Plant(address, link, folder, engine, receiver)
    finally:
        hands.close()
        receiver.close()
        engine.dispose()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with screen.browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def session(browser: Browser, plant: Plant) -> StorageState:
    context = screen.new_context(browser)
    page = context.new_page()
    page.goto(plant.link)
    page.get_by_label("Your name").fill("A. Schmidt")
    page.get_by_role("button", name="Look").click()
    expect(page.get_by_text("Signed in as A. Schmidt")).to_be_visible()
    kept = context.storage_state()
    context.close()
    return kept


@pytest.fixture
def page(browser: Browser, session: StorageState) -> Iterator[Page]:
    context = screen.new_context(browser, session)
    yield context.new_page()
    context.close()


def choose(page: Page, case_id: int, name: str) -> None:
    page.get_by_role("checkbox", name=f"Choose case {case_id} of {name}").locator("xpath=ancestor::label").click()


def case_state(plant: Plant, case_id: int) -> Any:
    return plant.rows(sa.select(machine_case).where(machine_case.c.case_id == case_id))[0]


def test_acknowledging_several_hits_those_chosen_though_the_list_changes_underneath(page: Page, plant: Plant) -> None:
    page.goto(f"{plant.address}alarms")
    choose(page, 1, "pump-07")
    choose(page, 3, "mill-01")
    expect(page.get_by_text("2 chosen: case 1, 3")).to_be_visible()
    with plant.engine.begin() as connection:
        newest = open_case(
            connection, name="compressor-02", priority="danger", title="Zone D", diagnosis=(),
            at_us=time.time_ns() // 1000,
        )  # fmt: skip
    expect(page.get_by_role("button", name="1 cases have changed")).to_be_visible()
    assert page.get_by_text("compressor-02").count() == 0  # the list stands still
    page.get_by_label("Note for all of them").fill("both are known")
    page.get_by_role("button", name="Acknowledge 2").click()
    for told in ("Case 1 .Cooling water pump 7., acknowledge", "Case 3 .Cement mill 1., acknowledge"):
        expect(page.get_by_text(re.compile(f"{told}: sent to the gateway"))).to_be_visible()
    assert [case_state(plant, number).state for number in (1, 3, newest)] == ["acknowledged", "acknowledged", "open"]
    assert case_state(plant, 1).acknowledged_by == "A. Schmidt"
    expect(page.get_by_role("link", name="Screw compressor 2")).to_be_visible()  # and now it is new
    with plant.engine.begin() as connection:
        connection.execute(
            sa.update(machine_case).where(machine_case.c.case_id == newest).values(state="closed", closed_at_us=1)
        )


def test_shelved_case_leaves_the_list_and_comes_back_when_it_is_taken_off(page: Page, plant: Plant) -> None:
    page.goto(f"{plant.address}alarms")
    choose(page, 2, "fan-03")
    page.get_by_text("Put on the shelf").click()
    page.get_by_label("Reason").fill("blades are cleaned on Thursday")
    page.get_by_role("button", name="Put 1 on the shelf").click()
    expect(page.get_by_text("On the shelf (1)")).to_be_visible()
    expect(page.get_by_text("case 2 is on the shelf for 4 h")).to_be_visible()
    case = case_state(plant, 2)
    assert (case.shelved_by, case.shelved_reason) == ("A. Schmidt", "blades are cleaned on Thursday")
    expect(page.get_by_role("checkbox", name="Choose case 2 of fan-03")).to_have_count(0)

    page.goto(f"{plant.address}alarms?tab=shelved")
    expect(page.get_by_text("blades are cleaned on Thursday")).to_be_visible()
    choose(page, 2, "fan-03")
    page.get_by_role("button", name="Take 1 off the shelf").click()
    expect(page.get_by_text("On the shelf (0)")).to_be_visible()
    assert case_state(plant, 2).shelved_until_us is None


def test_case_is_shelved_from_its_row_stands_lower_and_is_marked_and_its_report_is_taken(
    page: Page, plant: Plant
) -> None:  # fmt: skip
    page.goto(plant.address)
    page.get_by_role("button", name="Report: Cement mill 1").click()
    with page.expect_download() as download:
        page.get_by_role("dialog").get_by_role("button", name="Report as PDF").click()
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF")
    screen.close_dialog(page)
    mill = page.locator("a.row[data-machine='mill-01']")
    expect(mill).to_contain_text("Alert")
    page.get_by_role("button", name="Shelve: Cement mill 1").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Put mill-01 on the shelf")
    with plant.engine.begin() as connection:
        connection.execute(sa.update(machine).where(machine.c.machine == "fan-03").values(title="Renamed fan"))
    expect(page.locator("a.row[data-machine='fan-03']")).to_contain_text("Renamed fan")  # the list goes on living
    dialog.get_by_label("Reason").fill("liner is changed on Monday")  # and the dialog stands
    dialog.get_by_role("button", name="Put it on the shelf").click()
    expect(page.get_by_text("case 3 is on the shelf for 4 h")).to_be_visible()
    expect(mill).to_contain_text("Shelved")
    expect(mill).to_contain_text("Alert, on the shelf for")
    expect(page.get_by_text("H Shelved 1")).to_be_visible()
    page.reload()
    expect(mill).to_be_visible()
    order = [row.get_attribute("data-machine") for row in screen.machine_rows(page).all()]
    assert order.index("mill-01") > order.index("mixer-04")
    with plant.engine.begin() as connection:
        connection.execute(sa.update(machine).where(machine.c.machine == "fan-03").values(title="Exhaust fan 3"))
        connection.execute(sa.update(machine_case).values(shelved_until_us=None, shelved_by=None, shelved_reason=None))


def test_units_once_chosen_hold_on_other_pages_and_after_a_reload(page: Page, plant: Plant) -> None:
    page.goto(f"{plant.address}machine?machine=pump-07")
    train = page.get_by_role("img", name="Sketch of the train: motor, coupling, pump")
    expect(train).to_be_visible()
    spot = page.locator("a.spot", has_text="drive-end")
    expect(spot).to_contain_text("mm/s RMS")
    page.get_by_text("in/s", exact=True).click()
    expect(spot).to_contain_text("in/s RMS")
    page.wait_for_function("document.cookie.includes('undertone_units=inch-g')")
    page.goto(f"{plant.address}machine?machine=fan-03")
    expect(page.locator("a.spot")).to_contain_text("in/s RMS")
    page.get_by_role("link", name="Kiln line").click()  # the breadcrumb leads to the machines of its line
    expect(screen.machine_rows(page)).to_have_count(1)
    page.get_by_text("mm/s", exact=True).click()
    page.wait_for_function("!document.cookie.includes('undertone_units=inch')")


def test_work_order_is_written_in_the_case_and_reaches_the_maintenance_system(page: Page, plant: Plant) -> None:
    page.goto(f"{plant.address}alarms?case=1")
    page.get_by_text("Other actions").click()
    screen.choose(page, "Action", "Write a work order")
    page.get_by_label("What is to be done").fill("replace the drive-end bearing")
    page.get_by_role("button", name="Ask for it").click()
    expect(page.get_by_text(re.compile(r"work order by A\. Schmidt: done"))).to_be_visible()
    ((number, text),) = plant.rows(sa.select(work_order.c.number, work_order.c.text))
    assert text == "replace the drive-end bearing"
    wait_until("the webhook has it", lambda: any(number.encode() in body for _, body in plant.receiver.taken))
    page.goto(f"{plant.address}alarms?tab=reports")
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON").click()
    assert number in Path(download.value.path()).read_text()


def test_table_with_wrong_rows_changes_nothing_and_says_what_is_wrong_where(page: Page, plant: Plant) -> None:
    page.goto(f"{plant.address}settings?part=assets")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the table").click()
    text = Path(download.value.path()).read_text("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["machine"] for row in rows} >= {"pump-07", "fan-03"}

    def upload(name: str) -> None:
        sink = io.StringIO()
        writer = csv.DictWriter(sink, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        page.locator("input[type=file]").set_input_files(
            {"name": name, "mimeType": "text/csv", "buffer": sink.getvalue().encode()}
        )

    pump = next(index for index, row in enumerate(rows) if row["machine"] == "pump-07")
    good = dict(rows[pump])
    rows[pump] = good | {"power_kw": "fifty-five"}
    rows[0] = rows[0] | {"criticality": "9"}
    upload("wrong.csv")
    expect(page.get_by_text("Nothing was taken over: 2 problems.")).to_be_visible()
    assert plant.rows(sa.select(table_version)) == []

    rows[0] = rows[0] | {"criticality": "3"}
    rows[pump] = good | {"title": "Pump <b>seven</b>", "criticality": "4"}
    upload("right.csv")
    expect(page.get_by_text("2 differences; nothing has changed yet.")).to_be_visible()
    assert plant.rows(sa.select(machine.c.criticality).where(machine.c.machine == "pump-07")) == [(5,)]
    page.get_by_role("button", name="Put it in force").click()
    expect(page.get_by_text(re.compile(r"New table: done .* 6 machines, 1 changed"))).to_be_visible()
    assert plant.rows(sa.select(machine.c.title, machine.c.criticality).where(machine.c.machine == "pump-07")) == [
        ("Pump <b>seven</b>", 4)
    ]
    page.get_by_text("Versions (2)").click()
    page.get_by_role("button", name="Put in force again").click()
    expect(page.get_by_text(re.compile(r"Version 1 again: done"))).to_be_visible()
    assert plant.rows(sa.select(machine.c.title).where(machine.c.machine == "pump-07")) == [("Cooling water pump 7",)]


def test_test_of_a_channel_arrives_and_the_page_says_so(page: Page, plant: Plant) -> None:
    page.goto(f"{plant.address}settings?part=notices")
    expect(page.get_by_text("Nobody is told of anything.")).to_be_visible()
    before = len(plant.receiver.taken)
    page.get_by_role("button", name="Send a test").last.click()
    expect(page.get_by_text(re.compile("Test of shift: done"))).to_be_visible()
    wait_until("the receiver has it", lambda: len(plant.receiver.taken) > before)
    assert b"asked for by A. Schmidt" in plant.receiver.taken[-1][1]
    wait_until(
        "it is noted as sent",
        lambda: any(row.state == "sent" for row in plant.rows(sa.select(delivery).where(delivery.c.kind == "test"))),
    )
    page.reload()
    expect(page.get_by_text("last delivered").first).to_be_visible()
    content = page.content()
    assert "s3cret-word" not in content
    assert "a-shared-secret" not in content


@pytest.mark.nightly
def test_route_is_added_on_the_page_and_a_wrong_one_is_refused_in_words(page: Page, plant: Plant) -> None:
    page.goto(f"{plant.address}settings?part=notices")
    page.get_by_text("Add a route", exact=True).click()
    page.get_by_role("textbox", name="Who").fill("night shift")
    page.get_by_label("Quiet from").fill("25:00")
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_text("This is no route")).to_be_visible()
    assert plant.rows(sa.select(table_version).where(table_version.c.kind == "routes")) == []
    page.get_by_role("textbox", name="Who").fill("night shift")
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_text(re.compile(r"New route: done"))).to_be_visible()
    ((stored,),) = plant.rows(sa.select(table_version.c["rows"]).where(table_version.c.kind == "routes"))
    assert [row["name"] for row in stored] == ["night shift"]


def test_shift_report_downloads_and_opens(page: Page, plant: Plant) -> None:
    page.goto(f"{plant.address}alarms?tab=reports")
    expect(page.get_by_text("Times in reports are in Europe/Berlin")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Shift report as PDF").click()
    text = pdf_text.words(Path(download.value.path()).read_bytes())
    assert "Shift report Werk Nord" in text
    assert "Open cases, worst first" in text
    assert "Cooling water pump 7 (pump-07) · Cooling water, case 1" in text
    assert "all times in Europe/Berlin" in text


@pytest.mark.nightly
def test_machine_report_downloads_in_german(page: Page, plant: Plant) -> None:
    page.goto(f"{plant.address}alarms?tab=reports")
    page.get_by_label("Language of the report").click()
    page.get_by_role("option", name="Deutsch").click()
    page.get_by_label("Machine", exact=True).click()
    page.get_by_role("option", name="Cooling water pump 7").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Machine report as PDF (Deutsch)").click()
    found = pdf_text.pages(Path(download.value.path()).read_bytes())
    text = " ".join(" ".join(found).split())
    assert "Maschinenbericht Werk Nord · Cooling water pump 7 (pump-07)" in text
    assert "Schaden am Außenring 82%" in text
    assert "Hüllkurvenspektrum, 2400 bis 4000 Hz demoduliert" in text
    assert f"Seite {len(found)}" in text


def test_pages_of_work_fit_a_phone(browser: Browser, session: StorageState, plant: Plant) -> None:
    context = screen.new_context(browser, session, width=390)
    page = context.new_page()
    for path in ("alarms", "alarms?tab=figures", "alarms?case=1", "settings", "settings?part=notices"):
        page.goto(plant.address + path)
        expect(page.get_by_text("Signed in as A. Schmidt")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    context.close()


def test_everything_asked_carries_the_name_and_nothing_failed(plant: Plant) -> None:
    assert {row.actor for row in plant.rows(sa.select(request))} == {"A. Schmidt"}
    output = (plant.folder / "output.txt").read_text()
    assert "Traceback" not in output
