"""Units are chosen by who reads; what is stored, judged and compared does not change."""

import base64
import json

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard import words
from dashboard.components.chart import Band, Limit, Line, Peak, Spectrum, spectrum_data, trend_data, waveform_data
from dashboard.languages import speaking
from dashboard.pages.trends import zone_bands
from dashboard.reports.pictures import trend_picture
from dashboard.units import METRIC, Units, reading_in, shown, units
from dashboard.zone_words import zone_basis
from schemas.nameplate import Nameplate
from tests.unit.dashboard.test_dashboard_pages import SCRIPT, charts, machine_script

INCH = Units("in/s", "m/s²")
PLATE = Nameplate(machine="m", power_kw=55.0, foundation="rigid", rpm=1480.0)


def values(data: dict, line: int = 0) -> np.ndarray:
    return np.frombuffer(base64.b64decode(data["lines"][line]["values"]), "<f4")


@pytest.fixture(autouse=True)
def _english():
    with speaking("en"):
        yield


def test_numbers_are_said_in_the_units_of_who_reads() -> None:
    assert words.number(25.4, "mm/s RMS") == "25.4 mm/s RMS"
    with reading_in(INCH):
        assert words.number(50.8, "mm/s RMS") == "2.00 in/s RMS"
        assert words.number(1.0, "g") == "9.81 m/s²"
        assert words.number(2.0, "g peak") == "19.6 m/s² peak"
        assert words.number(None, "mm/s RMS") == "–"


@pytest.mark.parametrize("unit", ["gE RMS", "°C", "", "V", "rpm", "dB"])
def test_other_units_stay_as_they_are(unit) -> None:
    with reading_in(INCH):
        assert shown(unit) == (unit, 1.0)


def test_outside_a_page_metric_is_read() -> None:
    assert units() == METRIC


def test_trend_turns_values_bands_and_limits_together() -> None:
    given = {
        "view_key": "k", "title": "t", "lines": [Line(np.array([25.4]), "main", np.array([0.0]))], "unit": "mm/s RMS",
        "label": "velocity", "range_ms": (0.0, 1.0), "zone": None, "bands": [Band("D", 50.8, None)],
        "limits": [Limit("x", 12.7)],
    }  # fmt: skip
    with reading_in(INCH):
        data = trend_data(**given)
    assert values(data)[0] == pytest.approx(1.0)
    assert (data["y_unit"], data["y_label"]) == ("in/s RMS", "velocity in in/s RMS")
    assert data["bands"][0]["low"] == pytest.approx(2.0)
    assert data["bands"][0]["high"] is None
    assert data["limits"][0]["value"] == pytest.approx(0.5)


def test_spectrum_in_other_units_gives_the_same_velocity() -> None:
    spectrum = Spectrum(0.0, 1.0, [Line(np.array([0.0, 1.0]))], "g", "amplitude", in_velocity=True,
                        peaks=[Peak(1.0, 1.0, 20.0)])  # fmt: skip
    metric = spectrum_data(view_key="k", title="t", shown=spectrum)
    with reading_in(INCH):
        inch = spectrum_data(view_key="k", title="t", shown=spectrum)
    assert metric["units"] == ["g", "mm/s RMS"]
    assert inch["units"] == ["m/s²", "in/s RMS"]
    assert inch["peaks"][0]["value"] == pytest.approx(9.80665)
    in_mm = values(metric)[1] * metric["velocity_scale"]
    in_inch = values(inch)[1] * inch["velocity_scale"]
    assert in_inch * 25.4 == pytest.approx(in_mm, rel=1e-6)


def test_waveform_zone_limits_and_pictures_of_reports_follow() -> None:
    with reading_in(INCH):
        wave = waveform_data(view_key="k", title="t", line=Line(np.array([1.0])), step_s=1.0, unit="g",
                             shaft_hz=None, tools=None)  # fmt: skip
        assert values(wave)[0] == pytest.approx(9.80665, rel=1e-6)
        assert zone_bands(PLATE)[1][0].label == "A/B 0.0551"
        assert "A/B 0.0551 · B/C 0.11 · C/D 0.177 in/s RMS" in zone_basis(PLATE, with_numbers=True)
        drawing = trend_picture("Velocity", [0, 1], [1.0, 2.0], [None, None], unit="mm/s RMS", zone="UTC")
        assert "Velocity, in/s RMS" in {getattr(part, "text", "") for part in drawing.contents}
    assert zone_bands(PLATE)[1][0].label == "A/B 1.4"


def test_choice_holds_for_what_the_page_shows_next(board) -> None:
    page = AppTest.from_file(SCRIPT, default_timeout=60)
    page.session_state["session_word"] = board.door.admit("A. Schmidt")[1]
    page.run()
    assert page.session_state["units"] == METRIC
    page.segmented_control(key="units_velocity").set_value("in/s").run()
    page.segmented_control(key="units_acceleration").set_value("m/s²").run()
    assert not page.exception, page.exception
    assert page.session_state["units"] == INCH


def test_machine_page_shows_every_number_in_the_chosen_units(board) -> None:
    page = AppTest.from_function(machine_script, default_timeout=60)
    page.session_state["units"] = INCH
    page.query_params["machine"] = "pump-07"
    page.run()
    assert not page.exception, page.exception
    assert page.dataframe[0].value["Velocity"][0].endswith("in/s RMS")
    found = charts(page)
    assert {data["y_unit"] for title, data in found.items() if title.startswith("Velocity")} == {"in/s RMS"}
    assert next(d for t, d in found.items() if t.startswith("Acceleration"))["y_unit"].startswith("m/s²")
    assert "mm/s" not in json.dumps([data["y_label"] for data in found.values()])
