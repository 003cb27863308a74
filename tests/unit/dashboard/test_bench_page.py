"""What the bench of a measurement point says in each state; read from the page itself, without a browser."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from dashboard import runtime
from dashboard.pages.bench_controls import asked_axis
from dashboard.pages.capture_quality import gap_row
from dashboard.pages.evidence_request import request_words
from dashboard.pages.point import parse_band, parse_look
from dashboard.queries.point import NamedCapture
from dashboard.queries.records import GatewayRecord
from dashboard.request_writer import Asked
from schemas.database import open_database, sqlite_url
from schemas.requests import Request
from schemas.site_tables import evidence, health, machine, request, table_version
from tests.support.bench_evidence import add_evidence, add_week, requested_evidence
from tests.support.site_database import NOW_US

POINT = "pump-07/drive-end"
HOUR_US = 3_600_000_000


def bench_script() -> None:
    from dashboard.pages.point import show_point

    show_point()


@pytest.fixture
def engine(plant_copy):
    opened = open_database(sqlite_url(plant_copy))
    yield opened
    opened.dispose()


@pytest.fixture
def names(engine):
    with engine.begin() as connection:
        return add_week(connection, POINT, now_us=NOW_US)


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    runtime.install(None)


def opened(board=None, **query: str) -> AppTest:
    page = AppTest.from_function(bench_script, default_timeout=30)
    for name, value in query.items():
        page.query_params[name] = value
    if board is not None:
        page.session_state["session_word"] = board.door.admit("A. Schmidt")[1]
    return shown(page.run())


def shown(page: AppTest) -> AppTest:
    assert not page.exception, page.exception
    return page


def said(page: AppTest) -> str:
    kinds = (page.header, page.subheader, page.markdown, page.caption)
    words = [element.value for kind in kinds for element in kind]
    words += [button.label for button in page.button]
    return "\n".join(str(word) for word in words).replace("\\", "")


def charts(page: AppTest) -> dict[str, dict[str, Any]]:
    found = [json.loads(element.proto.json) for element in page.get("bidi_component") if element.proto.json]
    return {data["view_key"].split(":")[1]: data for data in found if "view_key" in data}


def test_newest_capture_is_shown_with_all_charts_and_stays_in_the_address(board, names):
    page = opened(point=POINT)
    found = charts(page)
    assert list(found) == ["envelope", "spectrum", "waveform", "waterfall"]
    assert page.query_params["capture"] == names[-1]
    assert found["envelope"]["y_label"] == "amplitude in gE peak"
    assert found["envelope"]["peaks"][0]["hz"] == pytest.approx(87.45, rel=0.01)
    assert found["spectrum"]["units"] == ["g peak", "mm/s RMS"]
    assert found["waveform"]["count"] == 16_384
    assert len(found["waterfall"]["lines"]) == 8


def test_contributions_lead_to_their_band_in_the_chart_they_come_from(board, names):
    found = charts(opened(point=POINT))
    assert [(c["low"], c["high"], c["share"]) for c in found["envelope"]["contributions"]] == [
        (79.0, 100.0, 0.34), (158.0, 200.0, 0.11),
    ]  # fmt: skip
    assert [c["low"] for c in found["spectrum"]["contributions"]] == [2900.0]


def test_previous_next_and_latest_walk_the_captures(board, names):
    page = opened(point=POINT)
    for _ in range(2):  # between the two there is that of the alarm
        shown(next(button for button in page.button if button.label == "◀ Previous").click().run())
    assert page.query_params["capture"] == names[-2]
    shown(next(button for button in page.button if button.label == "Latest").click().run())
    assert page.query_params["capture"] == names[-1]


def test_link_of_a_colleague_opens_the_same_capture_comparison_band_and_view(board, names):
    page = opened(
        point=POINT, capture=names[3], band="2000-3000", look="envelope:80-100", **{"with": names[0]}
    )  # fmt: skip
    found = charts(page)
    assert found["envelope"]["title"] == "Envelope spectrum, 2000 to 3000 Hz demodulated"
    assert found["envelope"]["look"] == [80.0, 100.0]
    assert found["spectrum"]["look"] is None
    assert [line["role"] for line in found["envelope"]["lines"]] == ["other", "main"]
    assert found["spectrum"]["marked_band"] == [2000.0, 3000.0]
    assert "compared with" in said(page)


@pytest.mark.parametrize("band", ["1000000-2000000", "0-1", "4000-4001", "nonsense"])
def test_band_of_an_address_that_cannot_be_had_breaks_nothing(board, names, band):
    assert said(opened(point=POINT, band=band))


def test_damaged_capture_is_left_out_of_the_waterfall(board, engine, names):
    with engine.begin() as connection:
        (detail,) = connection.execute(sa.select(evidence.c.detail).where(evidence.c.sequence == 600_003)).scalars()
        broken = {**detail, "envelope": {**detail["envelope"], "values": "no series"}}
        connection.execute(sa.update(evidence).where(evidence.c.sequence == 600_003).values(detail=broken))
    page = opened(point=POINT)
    assert len(charts(page)["waterfall"]["lines"]) == 7
    assert "Left out, of another resolution or not readable: 2" in said(page)


def test_baseline_of_an_alarm_is_offered_for_comparison(board):
    page = opened(point=POINT)
    page.selectbox[1].set_value("baseline").run()
    shown(page)
    assert [line["role"] for line in charts(page)["spectrum"]["lines"]] == ["baseline", "main"]
    assert page.query_params["with"] == "baseline"


def test_band_by_kurtogram_is_offered_and_taken(board, names):
    page = opened(point=POINT)
    bands = next(box for box in page.selectbox if box.label == "Demodulated band")
    assert any("by kurtogram" in option for option in bands.options)
    shown(bands.set_value("kurtogram 1").run())
    assert charts(page)["envelope"]["title"] != "Envelope spectrum, 2400 to 4000 Hz demodulated"


def test_speed_entered_by_a_person_moves_every_line(board, names):
    page = opened(point=POINT)
    shown(page.number_input[0].set_value(1628.0).run())
    cursors = {cursor["label"]: cursor["hz"] for cursor in charts(page)["envelope"]["cursors"]}
    assert cursors["BPFO"] == pytest.approx(88.42 * 1.1, abs=0.02)
    assert charts(page)["envelope"]["shaft_hz"] == pytest.approx(1628 / 60)


def test_without_a_waveform_the_page_says_where_it_is(board):
    words = said(opened(point=POINT))
    assert "No waveform: it stays on the gateway until somebody requests it" in words
    assert "A waterfall needs two captures" in words


def test_point_without_spectra_says_so_and_offers_to_ask(board):
    page = opened(point="mill-01/inlet")
    assert "Only features of this point are here" in said(page)
    assert "Ask the gateway for spectra and waveform" in said(page)
    assert charts(page) == {}


def test_damaged_evidence_is_explained_and_can_be_left(board, engine, names):
    with engine.begin() as connection:
        connection.execute(
            sa.update(evidence).where(evidence.c.sequence == 600_007).values(detail={"kind": "evidence", "version": 9})
        )
    page = opened(point=POINT)
    assert "This evidence is gone or cannot be read" in said(page)
    assert "◀ Previous" in said(page)


def test_snapshot_stands_still_until_somebody_asks_for_the_newer_capture(board, engine, names):
    page = opened(point=POINT)
    with engine.begin() as connection:
        newer = add_evidence(
            connection, requested_evidence(POINT, measured_at_us=NOW_US, sequence=99), sequence=700_000
        )
    shown(page.run())
    assert page.query_params["capture"] == names[-1]
    shown(next(b for b in page.button if b.label.startswith("New data available")).click().run())
    assert page.query_params["capture"] == newer


def test_capture_of_a_link_that_is_gone_is_said_and_the_newest_shown(board, names):
    page = opened(point=POINT, capture="gw-x:1:2")
    assert "The capture of this link is not here any more" in said(page)
    assert page.query_params["capture"] == names[-1]


@pytest.mark.parametrize("name", ["", "pump-07", "pump-07/none", "nothing/at all", "<script>/x"])
def test_unknown_point_lets_one_choose(board, name):
    page = opened(point=name)
    assert "Which measurement point?" in said(page)
    assert "Cooling water pump 7, drive-end (pump-07/drive-end)" in page.selectbox[0].options


def test_missing_database_is_explained(tmp_path, board, plant_copy):
    plant_copy.unlink()
    assert "The site's database is not there" in said(opened(point=POINT))


def test_hostile_names_are_text_on_the_bench(board, engine, names):
    hostile = "<script>alert(1)</script> **bold** [a](http://x)"
    with engine.begin() as connection:
        connection.execute(sa.update(machine).values(title=hostile))
        connection.execute(sa.update(evidence).values(why=hostile))
    page = opened(point=POINT)
    for element in [*page.markdown, *page.header, *page.caption]:
        assert "<script>" not in element.value
        assert "**bold**" not in element.value


def test_request_needs_a_reason_and_is_sealed_with_it(board, engine):
    page = opened(board, point="mill-01/inlet")
    ask = next(button for button in page.button if button.label == "Request new capture")
    shown(ask.click().run())
    assert "Say why: nothing was asked" in said(page)
    page.text_input[0].set_value("rumbles since Monday")
    shown(next(button for button in page.button if button.label == "Request new capture").click().run())
    with engine.connect() as connection:
        assert connection.execute(sa.select(request.c.action, request.c.actor)).all() == [
            ("request_evidence", "A. Schmidt")
        ]
    assert "Asked by A. Schmidt: rumbles since Monday. Sent to the site service." in said(page)


def asked(state: str, *, ago_s: float, answer: str = "") -> Asked:
    sent = Request(
        request_id="a" * 32, action="request_evidence", actor="A. Schmidt", role="technician", machine="pump-07",
        point=POINT, note="is it the bearing?", asked_at_us=NOW_US - int(ago_s * 1e6),
    )  # fmt: skip
    return Asked(sent, state, answer, None)


def what_is_said(found: Asked, *, online: bool = True, entries: tuple[Any, ...] = ()) -> str:
    gateway = GatewayRecord("gw-a", online, NOW_US - 7 * HOUR_US, 4, {})
    words = request_words(found, entries, gateway, now_us=NOW_US, zone="UTC")
    return words.replace("\\", "")


def asked_capture(engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        sealed = connection.execute(sa.select(request.c.sealed).order_by(request.c.created_at_us)).scalars().all()
    return [json.loads(unsealed(row))["values"] for row in sealed]


def unsealed(sealed: bytes) -> str:
    text = sealed.decode("utf-8", "replace")
    start = text.index('{"version"')
    return text[start : text.rindex("}") + 1]


def test_older_capture_is_asked_for_by_its_name(board, engine, names):
    page = opened(board, point=POINT, capture=names[2])
    shown(page.segmented_control[0].set_value("shown").run())
    page.text_input[0].set_value("was it there before?")
    shown(next(button for button in page.button if button.label == "Request this capture").click().run())
    assert asked_capture(engine) == [{"capture_boot": 3, "capture_sequence": 1002}]


def test_capture_nearest_to_a_date_is_named_and_asked_for(board, engine, names):
    with engine.connect() as connection:
        columns = (health.c.capture_boot, health.c.capture_sequence, health.c.measured_at_us)
        rows = connection.execute(sa.select(*columns).where(health.c.point == POINT, health.c.quality == "ok")).all()
    wanted = sorted(rows, key=lambda row: row.measured_at_us)[20]
    page = opened(board, point=POINT)
    shown(page.segmented_control[0].set_value("date").run())
    at = datetime.fromtimestamp(wanted.measured_at_us / 1e6 + 2.0, tz=UTC).replace(tzinfo=None)
    shown(page.datetime_input[0].set_value(at).run())
    assert "Nearest is the capture of" in said(page)
    page.text_input[0].set_value("the day it began")
    shown(next(button for button in page.button if button.label == "Request this capture").click().run())
    named = {"capture_boot": wanted.capture_boot, "capture_sequence": wanted.capture_sequence}
    assert asked_capture(engine) == [named]


def test_older_capture_that_has_arrived_is_said_and_opened_although_it_is_not_among_the_newest(board, engine, names):
    page = opened(board, point=POINT)
    page.text_input[0].set_value("how was it in spring?")
    shown(next(button for button in page.button if button.label == "Request new capture").click().run())
    why = "asked for by A. Schmidt: how was it in spring?"
    old = requested_evidence(POINT, measured_at_us=NOW_US - 90 * 24 * HOUR_US, sequence=5, why=why)
    with engine.begin() as connection:
        newer = requested_evidence(POINT, measured_at_us=NOW_US, sequence=9, with_waveform=False)
        for number in range(70):  # more than the page lists
            one = newer.model_copy(update={"measured_at_us": NOW_US - number})
            add_evidence(connection, one, sequence=800_000 + number)
        name = add_evidence(connection, old, sequence=900_000)
        connection.execute(sa.update(request).values(state="done", answer="evidence is on its way"))
    page = opened(board, point=POINT)
    assert "Arrived: the capture of" in said(page)
    shown(next(button for button in page.button if button.label.startswith("Show the capture of")).click().run())
    assert page.query_params["capture"] == name
    assert charts(page)["waveform"]["count"] == 16_384


def test_axis_is_chosen_and_stays_in_the_address(board, names):
    page = opened(point=POINT)
    axes = next(box for box in page.selectbox if box.label == "Axis of the sensor")
    assert axes.options == ["axis 1, as the gateway chose it", "axis 2", "axis 3"]
    shown(axes.set_value(1).run())
    assert page.query_params["axis"] == "2"
    assert "axis 2" in said(page)
    again = opened(point=POINT, axis="2")
    assert charts(again)["spectrum"]["peaks"] == charts(page)["spectrum"]["peaks"]


@pytest.mark.parametrize("axis", ["99", "0", "-1", "x", "²"])
def test_axis_of_an_address_that_is_not_there_is_the_gateways(axis):
    assert asked_axis(axis, own=1, axes=(0, 1, 2)) == 1


def test_phase_table_names_imbalance_and_what_is_not_clear(board, names):
    page = opened(point=POINT)
    table = next(frame.value for frame in page.dataframe if "Coherence" in frame.value.columns)
    first = table[(table["Order"] == "1x") & (table["Axes"] == "1 to 2")].iloc[0]
    assert first["Speaks for"] == "a rotating force, if both are radial: imbalance"
    assert first["Phase"].startswith(("+8", "+9"))
    assert set(table["Speaks for"]) >= {"nothing: the axes do not move together"}


def test_phase_without_the_other_axes_says_what_it_needs(board):
    assert "It needs the waveforms of two axes" in said(opened(point=POINT))


def test_bearing_of_the_plants_own_table_can_be_chosen(board, engine, names):
    row = {"name": "Own 42", "elements": 8, "ball_diameter_mm": 6.746, "pitch_diameter_mm": 28.5,
           "contact_angle_deg": 0.0, "source": "drawing 7"}  # fmt: skip
    with engine.begin() as connection:
        connection.execute(
            sa.insert(table_version).values(kind="bearings", at_us=NOW_US, actor="anna", note="", rows=[row])
        )
    page = opened(point=POINT)
    box = next(box for box in page.selectbox if box.label == "Bearing")
    assert "Own 42, of the plant's own table" in box.options
    shown(box.set_value("Own 42").run())
    cursors = {cursor["label"]: cursor["hz"] for cursor in charts(page)["envelope"]["cursors"]}
    assert cursors["BPFO"] == pytest.approx(3.053 * 1480 / 60, rel=1e-3)
    assert page.query_params["bearing"] == "Own 42"
    again = opened(point=POINT, bearing="Own 42")
    assert {c["label"]: c["hz"] for c in charts(again)["envelope"]["cursors"]} == cursors


def test_quality_says_clipping_range_slope_drift_mounting_and_the_gap_before(board, names):
    page = opened(point=POINT)
    rows = next(frame.value for frame in page.dataframe if "Fact" in frame.value.columns).set_index("Fact")
    assert rows.loc["Clipped samples", "Value"] == "0 %"
    assert rows.loc["Use of the sensor's range", "Value"].endswith(" %")
    assert "harmless up to 1" in rows.loc["Ski slope", "Meaning"]
    assert "read from 1x" in rows.loc["Change of speed within it", "Meaning"]
    assert "smear" not in rows.loc["Change of speed within it", "Meaning"]
    assert rows.loc["Resonance of the mounting", "Meaning"]
    assert rows.loc["Gap before", "Value"].endswith("captures")


@pytest.mark.parametrize(
    ("boot", "sequence", "value", "meaning"),
    [(3, 1001, "0 captures", "none is missing"), (3, 998, "3 captures", "lost or have not arrived"),
     (2, 5, "–", "started anew")],
)  # fmt: skip
def test_gap_before_a_capture_is_counted_by_the_sensors_own_numbers(boot, sequence, value, meaning):
    row = gap_row(NamedCapture(3, 1002, NOW_US), NamedCapture(boot, sequence, NOW_US - HOUR_US))
    assert row["Value"] == value
    assert meaning in row["Meaning"]


def test_thinned_spectrum_says_so_in_its_title_and_above_its_peaks(board, engine):
    with engine.begin() as connection:
        found = requested_evidence(POINT, measured_at_us=NOW_US, sequence=31, with_waveform=False)
        thinned = found.model_copy(update={"spectrum": found.spectrum.model_copy(update={"largest_of": 4})})
        add_evidence(connection, thinned, sequence=700_000)
    spectrum = charts(opened(point=POINT))["spectrum"]
    assert spectrum["title"] == "Spectrum; of every 4 lines the largest"
    assert spectrum["largest_of"] == 4


def test_gateway_that_never_answers_is_said_with_since_when_and_what_to_do():
    words = what_is_said(asked("sent", ago_s=3600.0), online=False)
    assert "No answer since 2026-09-21 13:13:20 UTC: gateway gw-a is away (heard 7 h ago)" in words
    assert "Next: check its power and its way to the broker" in words
    assert "although gateway gw-a is online" in what_is_said(asked("sent", ago_s=3600.0))
    assert "has not answered yet" in what_is_said(asked("sent", ago_s=5.0))


def test_site_service_that_does_not_run_is_said():
    assert "does `aggregator run` run" in what_is_said(asked("new", ago_s=60.0))


def test_refusal_is_told_and_arrival_too(engine):
    assert "**Refused**: no raw capture of this point" in what_is_said(
        asked("refused", ago_s=9.0, answer="no raw capture of this point is kept any more")
    )
    assert "on their way since" in what_is_said(asked("done", ago_s=9.0))


@pytest.mark.parametrize("text", [None, "", "abc", "2400", "4000-2400", "-5-10", "nan-5", "1-inf", "0-1e12"])
def test_address_that_is_no_band_is_none(text):
    assert parse_band(text) is None


def test_address_that_names_no_chart_is_none():
    assert parse_look("envelope:80-100") == ("envelope", (80.0, 100.0))
    assert parse_look("nothing:80-100") is None
    assert parse_look("envelope") is None
