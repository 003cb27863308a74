"""What the page of the fleet says of gateways, sensors and strangers; read from the page itself, without a browser."""

import dataclasses
import datetime as dt
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from streamlit.testing.v1 import AppTest

from aggregator.plant_book import write_status
from dashboard import runtime
from dashboard.battery import FEWEST_DAYS, LOW_V, forecast
from dashboard.fleet_health import problems, usual_settings, usual_software
from dashboard.pages.fleet_enrolment import Step, steps
from dashboard.queries.fleet import (
    CAPTURES,
    DAYS,
    SENSORS,
    Enrolled,
    FleetGateway,
    UnknownDevice,
    read_fleet,
    read_sensors,
    read_unknown_devices,
    sender_of,
)
from gateway_agent.status import certificate_end_us
from schemas.messages import GatewayStatus, MemberReport, UpdateRefused
from schemas.site_tables import dead_letter, enrolled, gateway, health, machine, point
from tests.support.learning_plant import build_learning_database
from tests.support.page_runs import copied_database, run_page, words_of
from tests.support.site_database import DAY_US, NOW_US, create_tables

PARTS = ("gateways", "sensors", "devices")
HOSTILE = "<script>alert(1)</script> **b** [x](http://x) $x$ :red[r] | ---"


def fleet_script() -> None:
    from dashboard.pages.fleet import show_fleet

    show_fleet()


@pytest.fixture(scope="module")
def fleet_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet_pages") / "site.db"
    build_learning_database(path, days=12.0).dispose()
    return path


@pytest.fixture
def engine(fleet_database: Path, tmp_path: Path):
    with copied_database(fleet_database, tmp_path) as opened:
        yield opened


run = partial(run_page, fleet_script, role="technician")


def said(page: AppTest) -> str:
    parts = [words_of(page.header, page.subheader, page.markdown, page.caption, page.expander)]
    return "\n".join([*parts, *(element.proto.body for element in page.get("html"))]).replace("\\", "")


def table(page: AppTest) -> list[dict[str, Any]]:
    return page.dataframe[0].value.to_dict("records")


def a_gateway(*, online: bool = True, clock_ahead_s: float | None = 0.0, **values: Any) -> FleetGateway:
    status = GatewayStatus(
        gateway="gw-a", online=online, boot=1, at_us=NOW_US, software="0.2.0", release_version=4, release_digest="",
        **values,
    )  # fmt: skip
    return FleetGateway("gw-a", online, NOW_US - 3_600_000_000, 4, status, clock_ahead_s, 1)


def wrong_with(one: FleetGateway, **more: Any) -> list[str]:
    known = {"now_us": NOW_US, "software": "0.2.0", "current": 4, **more}
    found = problems(one, **known)
    assert all(problem.step for problem in found)
    return [problem.found for problem in found]


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_part_shows_without_an_error_in_both_languages(engine, tmp_path, language):
    for part in PARTS:
        assert len(run(engine, tmp_path, language=language, part=part).header) == 1  # an error has its own


def test_gateways_say_what_is_wrong_and_what_to_do(engine, tmp_path):
    page = run(engine, tmp_path)
    text = said(page)
    assert "2 of 3 gateways online.** 2 need somebody, 0 are to be watched." in text
    assert "✕ **only 700.0 MB of its disk are free** → make room" in text
    assert "✕ **512 records wait for the site, the oldest for 70 min**" in text
    assert "△ **its certificate ends in 3 d**" in text
    assert "△ **software 0.1.0, most run 0.2.0**" in text
    assert "△ **its clock is 31.5 s ahead of the site's**" in text
    assert "△ **14 captures of machines that are not in its settings**" in text
    assert "✕ **away since 2 h**" in text
    rows = {row["Gateway"]: row for row in table(page)}
    assert [rows[name]["Problems"] for name in ("gw-a", "gw-b", "gw-c")] == ["none", "✕ 2, △ 6", "✕ 1, △ 1"]
    assert rows["gw-a"]["Clock"] == "+0.0 s"
    assert rows["gw-a"]["Missing / again"] == "3 (0.1%) / 11"
    assert rows["gw-b"]["Software"] == "≠ 0.1.0"
    assert rows["gw-b"]["Waiting records"] == "512, 70 min"
    assert rows["gw-b"]["Clock"] == "+31.5 s"
    assert rows["gw-c"]["Release"] == "3 (5: offered)"


def test_healthy_gateway_has_no_problem():
    full = {"disk_free_bytes": 20_000_000_000, "disk_size_bytes": 64_000_000_000, "load_share": 0.3}
    assert wrong_with(a_gateway(certificate_until_us=NOW_US + 20 * DAY_US, **full)) == []


def refused(*, round_number: int = 12, ago_us: int = 60_000_000) -> MemberReport:
    last = UpdateRefused(round_number=round_number, reason="norm_outlier", text="norm 31 found", at_us=NOW_US - ago_us)
    return MemberReport(refused={"norm_outlier": 2}, last_refused=last)


def test_gateway_whose_update_did_not_count_says_why_for_a_day():
    (found,) = wrong_with(a_gateway(learning=refused()))
    assert found.startswith("what it learnt for round 12 did not count, ")
    assert found.endswith(": it is far larger than the others (norm 31 found)")
    (found,) = wrong_with(a_gateway(learning=refused(round_number=0)))
    assert found.startswith("a message in its name was refused, ")
    assert wrong_with(a_gateway(learning=refused(ago_us=DAY_US + 1))) == []
    assert wrong_with(a_gateway(learning=MemberReport(tasks={"answered": 9}))) == []


@pytest.mark.parametrize(("values", "words"), [
    ({"disk_free_bytes": 2_000_000_000, "disk_size_bytes": 64_000_000_000}, "only 2.0 GB of its disk are free"),
    ({"certificate_until_us": NOW_US - DAY_US}, "its certificate ended 24 h ago: the broker lets it in no more"),
    ({"site_heard_s": 7300.0}, "it has not heard the site for 2 h"),
    ({"release_problem": "features 2 needed"}, "trouble with a release: features 2 needed"),
    ({"dead_letters": {"bad_crc": 2, "unknown_machine": 0}}, "2 payloads could not be read"),
    ({"load_share": 0.97}, "its processors are busy to 97%"),
    ({"clock_ahead_s": -8.0}, "its clock is 8.0 s behind the site's"),
])  # fmt: skip
def test_each_trouble_is_named(values, words):
    assert wrong_with(a_gateway(**values)) == [words]


def test_gateway_on_an_older_release_is_to_be_watched():
    assert wrong_with(a_gateway(), current=6) == ["runs release 4, current is 6"]


def test_last_will_says_nothing_of_the_disk():
    assert wrong_with(a_gateway(online=False, disk_free_bytes=0)) == ["away since 60 min"]


def test_most_used_software_is_the_usual_one_and_of_equals_the_newer():
    def runs(version: str) -> FleetGateway:
        one = a_gateway()
        assert one.status is not None
        return FleetGateway("g", True, 1, 4, one.status.model_copy(update={"software": version}), None, 0)

    assert usual_software([runs("0.10.0"), runs("0.9.1")]) == "0.10.0"
    assert usual_software([runs("0.9.1"), runs("0.10.0"), runs("0.9.1")]) == "0.9.1"
    assert usual_software([FleetGateway("g", False, None, 0, None, None, 0)]) is None


def test_sensors_say_what_is_lost_overdriven_and_when_the_battery_is_low(engine, tmp_path):
    page = run(engine, tmp_path, part="sensors")
    rows = {row["Sensor"]: row for row in table(page)}
    mixer = rows["mixer-04/head"]
    assert mixer["Lost"] == "△ 19.7%"  # every fifth, but for the last and the first of those counted
    assert mixer["Overdriven"].startswith("△ 1")
    assert mixer["Sensor says"] == "✕ sensor overdriven: its signal is clipped"
    assert "V, low about 2026-10-" in mixer["Battery"]
    assert rows["pump-07/drive-end"]["Battery"] == "3.52 V, no fall to be seen in 12 days"
    assert rows["pump-07/drive-end"]["Lost"] == "0.0%"
    assert rows["conveyor-11/gearbox"]["Last capture"] == "✕ silent for 5 h"
    assert rows["compressor-02/stage-1"]["Battery"].endswith("not enough data yet (1 of 7 days)")
    text = said(page)
    assert 'href="point?point=mixer-04%2Fhead">mixer-04/head</a>: sensor overdriven: its signal is clipped; ' in text
    assert "19.7% of its captures lost: look at its radio link; 1" in text
    assert "battery 3." in text
    assert "**8 sensors**, 8 of them here: 1 silent, 1 overdriven, 1 losing more than 2% of their captures" in said(
        page
    )


def battery(count: int, volts_a_day: float, *, noise_v: float = 0.0) -> list[tuple[int, float]]:
    noise = noise_v * np.random.default_rng(1).standard_normal(count)
    return [(NOW_US + day * DAY_US, 3.6 + volts_a_day * day + float(noise[day])) for day in range(count)]


def test_falling_battery_has_a_date_where_the_line_meets_the_limit():
    found = forecast(battery(21, -0.01))
    assert found.kind == "falling"
    left_days = (found.low_at_us - (NOW_US + 20 * DAY_US)) / DAY_US
    assert left_days == pytest.approx((3.4 - LOW_V) / 0.01, abs=0.01)


@pytest.mark.parametrize(("values", "kind"), [
    ([], "none"), (battery(FEWEST_DAYS - 1, -0.05), "short"), (battery(20, 0.0, noise_v=0.02), "steady"),
    (battery(20, 0.001), "steady"), (battery(20, -0.0001), "steady"), ([(NOW_US, 2.9)], "low"),
])  # fmt: skip
def test_battery_of_which_nothing_can_be_foretold_has_no_date(values, kind):
    found = forecast(values)
    assert (found.kind, found.low_at_us) == (kind, None)


def test_noise_of_the_day_is_not_taken_for_a_fall():
    assert forecast(battery(30, -0.0005, noise_v=0.02)).kind == "steady"
    assert forecast(battery(30, -0.01, noise_v=0.02)).kind == "falling"


def test_stranger_is_listed_with_its_reason_and_the_next_step(engine, tmp_path):
    page = run(engine, tmp_path, part="devices")
    (row,) = table(page)
    assert (row["Calls itself"], row["Why refused"], row["Kept"]) == ("gw-x", "its key is not on the list", "3")
    assert "enrol it" in row["What to do"]
    text = said(page)
    assert "Ever: its key is not on the list 41." in text
    assert "**gw-b** has put 14 captures aside" in text
    assert "aggregator enroll gw-" in words_of(page.code)


def test_sender_is_read_from_the_topic_and_else_the_topic_stands():
    assert sender_of("ut/v1/plant-a/sensor/gw-a/pump-07/de/capture") == "pump-07/de"
    assert sender_of("ut/v1/plant-a/learning/gw-a/reply") == "gw-a"
    assert sender_of("something/else") == "something/else"


def test_empty_site_says_how_a_gateway_joins(tmp_path):
    engine = create_tables(tmp_path / "site.db")
    assert "No gateway has joined this site." in said(run(engine, tmp_path))
    assert "No sensor has sent anything yet." in said(run(engine, tmp_path, part="sensors"))
    assert "No unknown device." in said(run(engine, tmp_path, part="devices"))
    engine.dispose()
    runtime.install(None)


def test_database_that_is_gone_is_explained(engine, tmp_path):
    engine.dispose()
    Path(str(engine.url.database)).rename(tmp_path / "gone.db")
    assert "The site's database is not there" in said(run(engine, tmp_path))


def steps_of(
    listed: Enrolled | None = None, heard: FleetGateway | None = None, *strangers: UnknownDevice
) -> list[Step]:
    return list(steps("gw-a", listed, heard, strangers, now_us=NOW_US))


def listed(**changes: Any) -> Enrolled:
    known = {"kind": "gateway", "revoked": False, "key_known": True, "certificate_until_us": NOW_US + 20 * DAY_US}
    return Enrolled(name="gw-a", **(known | changes))


def test_every_step_of_joining_has_what_is_to_be_copied_and_what_is_known_of_it():
    new = steps_of()
    assert [step.state for step in new] == ["open"] * 5
    assert "aggregator enroll gw-a --settings site.toml" in new[0].copied
    assert "gateway-agent run --settings gw-a/gateway.toml" in new[3].copied
    assert "[[machines]]" in new[4].copied
    assert [step.state for step in steps_of(listed())] == ["done", "done", "open", "open", "open"]
    assert [step.state for step in steps_of(listed(), a_gateway())] == ["done"] * 5


@pytest.mark.parametrize(
    ("one", "number", "words"),
    [
        (listed(revoked=True), 0, "revoked"), (listed(key_known=False), 0, "not on the list of keys"),
        (listed(kind="dashboard"), 0, "taken by another kind"),
        (listed(certificate_until_us=NOW_US - 1), 1, "it ended"),
    ],
)  # fmt: skip
def test_a_step_that_went_wrong_says_what_and_how_to_go_on(one, number, words):
    step = steps_of(one)[number]
    assert step.state == "wrong"
    assert words in step.found


def test_who_was_refused_under_the_name_is_named_at_the_first_message():
    refused = UnknownDevice("gw-a", "unknown_key", "key 0123 is not on the list; enrol it", 3, NOW_US)
    step = steps_of(None, None, refused)[3]
    assert (step.state, "key 0123" in step.found) == ("wrong", True)


def test_captures_of_machines_it_does_not_know_hold_up_the_last_step():
    waits = dataclasses.replace(a_gateway(dead_letters={"unknown_machine": 4}), points=0)
    assert (steps_of(listed(), waits)[4].state, "4 captures" in steps_of(listed(), waits)[4].found) == ("wrong", True)


def test_an_enrolled_gateway_that_was_never_heard_is_the_one_the_steps_are_shown_for(engine, tmp_path):
    with engine.begin() as connection:
        connection.execute(
            sa.insert(enrolled).values(
                name="gw-new", kind="gateway", revoked=False, key_known=True, certificate_until_us=NOW_US + DAY_US
            )
        )
    page = run(engine, tmp_path, part="gateways")
    assert page.text_input(key="enrol_name").value == "gw-new"
    assert "its key is known" in said(page)
    page.text_input(key="enrol_name").set_value("Gateway 7").run()
    assert "lower-case letters" in said(page)


def test_a_name_that_is_no_name_gets_no_command(engine, tmp_path):
    page = run(engine, tmp_path, part="gateways")
    page.text_input(key="enrol_name").set_value("x; rm -rf ~").run()
    assert not page.code


def test_settings_that_differ_from_most_of_the_same_version_are_marked():
    fleet = [a_gateway(settings_hash=name * 12) for name in "aab"]
    usual = usual_settings(fleet)
    assert usual == {"0.2.0": "a" * 12}
    found = [problems(one, now_us=NOW_US, software="0.2.0", current=4, settings=usual) for one in fleet]
    assert [bool(one) for one in found] == [False, False, True]
    assert "settings differ" in found[2][0].found


def test_two_gateways_of_which_none_is_the_usual_one_are_not_marked():
    assert usual_settings([a_gateway(settings_hash=name * 12) for name in "ab"]) == {}
    assert usual_settings([a_gateway()]) == {}


def test_nameplates_a_gateway_refuses_need_somebody():
    one = a_gateway(plates_revision=1, plates_problem="revision 2 refused: bearing of machine pump-07: unknown")
    (found,) = problems(one, now_us=NOW_US, software="0.2.0", current=4)
    assert (found.badness, "revision 2 refused" in found.found) == ("bad", True)


def test_a_weak_radio_signal_is_shown_with_what_to_do(engine, tmp_path):
    with engine.begin() as connection:
        name = connection.execute(sa.select(point.c.point).order_by(point.c.point).limit(1)).scalar_one()
        connection.execute(sa.update(health).where(health.c.point == name).values(rssi_dbm=-91.0))
    page = run(engine, tmp_path, part="sensors")
    rows = {row["Sensor"]: row["Radio signal"] for row in table(page)}
    assert rows.pop(name) == "△ -91 dBm"
    assert set(rows.values()) == {"–"}
    assert "weak radio signal, -91 dBm" in said(page)


def test_hostile_words_are_shown_as_text(engine, tmp_path):
    with engine.begin() as connection:
        connection.execute(sa.update(machine).values(title=HOSTILE))
        connection.execute(sa.update(dead_letter).values(topic=HOSTILE, text=HOSTILE))
        for row in connection.execute(sa.select(gateway)).all():
            status = {**row.status, "release_problem": HOSTILE, "software": HOSTILE}
            connection.execute(sa.update(gateway).where(gateway.c.gateway == row.gateway).values(status=status))
    for part in PARTS:
        for element in [*(page := run(engine, tmp_path, part=part)).markdown, *page.caption]:
            assert "<script>" not in element.value
            assert "[x](" not in element.value


def test_status_that_is_not_understood_leaves_its_fields_open(engine, tmp_path):
    with engine.begin() as connection:
        connection.execute(sa.update(gateway).values(status={"kind": "gateway_status", "version": 99}))
    rows = table(run(engine, tmp_path))
    assert {row["Software"] for row in rows} == {"–"}


def test_a_page_of_sensors_reads_no_more_rows_than_it_states(tmp_path):
    engine = create_tables(tmp_path / "site.db")
    many = SENSORS + 3
    with engine.begin() as connection:
        connection.execute(
            sa.insert(point), [{"point": f"m/p{n:03}", "machine": "m", "gateway": "g"} for n in range(many)]
        )
        connection.execute(
            sa.insert(health),
            [
                {"gateway": "g", "boot": 0, "sequence": n * 1000 + i, "point": f"m/p{n:03}", "capture_boot": i // 150,
                 "capture_sequence": i, "measured_at_us": NOW_US - i * DAY_US // 8, "received_at_us": NOW_US,
                 "quality": "ok", "learning": "ready", "exceeds": False, "alarm": "normal", "diagnosis": [],
                 "battery_v": 3.5}
                for n in range(many) for i in range(300)
            ],
        )  # fmt: skip
        first = read_sensors(connection, now_us=NOW_US)
        rest = read_sensors(connection, now_us=NOW_US, first=SENSORS)
    assert [len(first), len(rest)] == [SENSORS, 3]
    assert {one.captures for one in first} == {CAPTURES}
    assert {one.missing for one in first} == {0}  # a sensor that was started anew counts from its own beginning
    assert max(len(one.battery) for one in first) <= DAYS
    engine.dispose()


def test_letters_of_strangers_are_bounded_and_newest_first(engine):
    with engine.begin() as connection:
        connection.execute(
            sa.insert(dead_letter),
            [
                {"topic": f"ut/v1/plant-a/gateway/gw-{n % 3}/status", "reason": "unsigned", "text": "no signature",
                 "at_us": NOW_US + n, "head": b"", "size_bytes": 1}
                for n in range(500)
            ],
        )  # fmt: skip
        devices, ever = read_unknown_devices(connection)
    assert sum(one.letters for one in devices if one.reason == "unsigned") == 200
    assert devices[0].sender == "gw-1"  # of 499, the newest
    assert ever == {"unknown_key": 41}


def test_clock_of_a_gateway_is_compared_at_a_live_status_and_not_at_a_retained_one(tmp_path):
    engine = create_tables(tmp_path / "site.db")
    status = GatewayStatus(gateway="gw-a", online=True, boot=1, at_us=NOW_US + 7_500_000, software="0.2.0",
                           release_version=1, release_digest="")  # fmt: skip
    with engine.begin() as connection:
        write_status(connection, status, retained=True, offline_after_s=60.0, now_us=NOW_US)
        assert read_fleet(connection)[0].clock_ahead_s is None
        write_status(connection, status, retained=False, offline_after_s=60.0, now_us=NOW_US)
        assert read_fleet(connection)[0].clock_ahead_s == 7.5
        write_status(connection, status, retained=True, offline_after_s=60.0, now_us=NOW_US + DAY_US)
        assert read_fleet(connection)[0].clock_ahead_s == 7.5
    engine.dispose()


def test_gateway_says_when_its_certificate_ends_and_nothing_of_one_it_cannot_read(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    until = dt.datetime(2027, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gw-a")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(until - dt.timedelta(days=30)).not_valid_after(until).sign(key, hashes.SHA256())
    )  # fmt: skip
    file = tmp_path / "gateway.crt"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    assert certificate_end_us(file) == round(until.timestamp() * 1e6)
    file.write_bytes(b"no certificate")
    assert certificate_end_us(file) is None
    assert certificate_end_us(tmp_path / "none.crt") is None
    assert certificate_end_us(None) is None
