"""What is photographed of the dashboard, and what a picture is refused for."""

import pytest

from dashboard.pages import alarms, federation, fleet, settings
from dashboard.pages.addresses import page_titles
from deploy.demo.pictures import PHONE, SHAPES, all_views, faults_of, readme_pictures
from tests.support.screen import CHROMIUM, browser, new_context

POINT = "pump-02/drive-end"
PAGE = """<div data-testid="stApp"><div data-testid="stMain" style="overflow: auto; width: 390px">
<div data-testid="stMainBlockContainer" style="width: {width_px}px">{text}</div></div></div>"""


def test_every_page_and_every_part_of_it_is_photographed():
    paths = [view.path for view in all_views("pump-02", POINT, 7)]
    assert {path.partition("?")[0] or "plant" for path in paths} >= set(page_titles())
    for parts, page in ((alarms.TABS, "alarms?tab="), (federation.PARTS, "learning?part=")):
        assert {f"{page}{part}" for part in parts} <= set(paths)
    for parts, page in ((fleet.PARTS, "fleet?part="), (settings.PARTS, "settings?part=")):
        assert {f"{page}{part}" for part in parts} <= set(paths)
    assert "alarms?case=7" in paths


def test_no_picture_is_written_over_another():
    names = [view.name for view in all_views("pump-02", POINT, 7)]
    assert len(set(names)) == len(names)
    kept = [view.name for view, _ in readme_pictures("pump-02", POINT)]
    assert len(set(kept)) == len(kept)


def test_each_view_is_taken_in_light_and_dark_on_a_desk_and_on_a_phone():
    taken = {(shape.width == PHONE, scheme) for shape in SHAPES for scheme in shape.schemes}
    assert taken == {(False, "light"), (False, "dark"), (True, "light"), (True, "dark")}


@pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM FOUND: pictures are not judged; apt-get install chromium")
def test_page_that_scrolls_sideways_or_speaks_like_a_program_is_not_fit_to_be_shown():
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser is driven")
    with browser() as opened:
        page = new_context(opened, width=PHONE).new_page()
        page.set_content(PAGE.format(width_px=390, text="measured 3 s ago"))
        assert list(faults_of(page)) == []
        page.set_content(PAGE.format(width_px=397, text="measured undefined ago"))
        assert list(faults_of(page)) == ["scrolls sideways by 7 px", "says 'undefined'"]
