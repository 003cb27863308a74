"""Who is told of what, when, and how often at most; and that nothing is lost between the case and the receiver."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator import notice_outbox
from schemas import site_tables as tables
from schemas.messages import Diagnosis, Priority
from tests.support import gateway_talk as talk
from tests.support.work_office import Receiver, WorkOffice, settings_for

CHILD = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from aggregator.notifications import Notifier
from schemas.database import open_database, sqlite_url
from tests.support.work_office import settings_for

folder, database, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
settings = settings_for(folder, SimpleNamespace(port=port), timeout_s=30.0)
Notifier(open_database(sqlite_url(database)), settings, plant="plant-a", now_us=lambda: int(sys.argv[4])).step()
"""

# apprise 2.2 loads all its ways, and one imports what Python 3.13 takes away.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def office(engine: Engine, tmp_path: Path, receiver: Receiver) -> WorkOffice:
    made = WorkOffice(engine, settings_for(tmp_path, receiver, retry_s=1.0))
    made.notifier.step()
    return made


def route(office: WorkOffice, **more: Any) -> Any:
    row = {"name": "shift leader", "channel": "shift", "danger": True, "alert": True, "notice": False, **more}
    return office.ask("set_routes", machine=None, values={"rows": [row]})


def raise_alarm(office: WorkOffice, machine: str = "pump-07", priority: Priority = "alert") -> None:
    diagnosis = (Diagnosis(label="outer", confidence=0.9),)
    reason = "4 of 4 outer race lines, 31.4 dB above"
    office.hear(talk.alarm(point=f"{machine}/de", priority=priority, reason=reason, diagnosis=diagnosis))


def said(receiver: Receiver) -> list[str]:
    return [f"{body['title']}\n{body['message']}" for body in (json.loads(raw) for _, raw in receiver.taken)]


def test_new_case_is_told_once_without_anything_measured(office: WorkOffice, receiver: Receiver) -> None:
    assert route(office).state == "done"
    raise_alarm(office)
    raise_alarm(office)
    office.notifier.step()
    office.notifier.step()
    (text,) = said(receiver)
    assert text.startswith("plant-a: Alert: pump-07\nCase 1 is open since 2026-09-21")
    assert "Likely cause: outer race damage." in text
    assert "31.4" not in text


def test_german_plant_speaks_german(engine: Engine, tmp_path: Path, receiver: Receiver) -> None:
    settings = settings_for(
        tmp_path, receiver, language="de", zone="Europe/Berlin", dashboard_address="https://dash.example/"
    )
    office = WorkOffice(engine, settings)
    office.notifier.step()
    route(office)
    raise_alarm(office, priority="danger")
    office.notifier.step()
    (text,) = said(receiver)
    assert "Gefahr: pump-07" in text
    assert "Wahrscheinliche Ursache: Schaden am Außenring." in text
    assert "(Europe/Berlin)" in text
    assert "Ansehen: https://dash.example/machine?machine=pump-07" in text


def test_hostile_name_is_one_line_of_text(office: WorkOffice, receiver: Receiver) -> None:
    route(office)
    raise_alarm(office)
    with office.engine.begin() as connection:
        connection.execute(sa.update(tables.machine).values(title="Pump\r\nBcc: all@example.org\x1b[31m<b>x</b>"))
    office.notifier.step()
    body = json.loads(receiver.taken[0][1])
    assert body["title"] == "plant-a: Alert: Pump Bcc: all@example.org [31m<b>x</b> (pump-07)"


def test_priority_that_a_route_does_not_want_is_not_told(office: WorkOffice, receiver: Receiver) -> None:
    route(office, alert=False)
    raise_alarm(office)
    office.notifier.step()
    assert said(receiver) == []
    raise_alarm(office, priority="danger")  # the same case gets worse
    office.notifier.step()
    assert ["worse" in text for text in said(receiver)] == [True]


def test_escalation_waits_and_is_dropped_when_somebody_acknowledges(office: WorkOffice, receiver: Receiver) -> None:
    route(office, after_min=30)
    raise_alarm(office)
    raise_alarm(office, "fan-01")
    office.now_s += 29 * 60
    office.ask("acknowledge")
    office.notifier.step()
    assert said(receiver) == []
    office.now_s += 60
    office.notifier.step()
    (text,) = said(receiver)
    assert "fan-01" in text
    assert "Nobody has acknowledged it for 30 minutes." in text
    assert [row.text for row in office.rows(tables.delivery) if row.state == "dropped"] == ["acknowledged in time"]


def test_quiet_hours_hold_alerts_until_morning_and_let_danger_through(office: WorkOffice, receiver: Receiver) -> None:
    # 1,790,000,000 s is Monday 2026-09-21 13:33:20 UTC.
    route(office, quiet_from="13:00", quiet_to="16:00", quiet_days="mon", zone="UTC")
    raise_alarm(office)
    raise_alarm(office, "fan-01", "danger")
    office.notifier.step()
    assert [("fan-01" in text) for text in said(receiver)] == [True]
    office.now_s += 2.5 * 3600
    office.notifier.step()
    assert len(receiver.taken) == 2


def test_case_that_is_over_when_quiet_hours_end_is_not_told(office: WorkOffice, receiver: Receiver) -> None:
    route(office, quiet_from="13:00", quiet_to="16:00")
    raise_alarm(office)
    office.hear(talk.alarm("normal"))
    office.now_s += 3 * 3600
    office.notifier.step()
    assert said(receiver) == []


def test_storm_becomes_one_summary(office: WorkOffice, receiver: Receiver) -> None:
    route(office)
    for number in range(40):
        raise_alarm(office, f"m-{number:02d}", "danger" if number == 33 else "alert")
    office.notifier.step()
    (text,) = said(receiver)
    assert text.startswith("plant-a: 40 notices in one\n")
    assert "1 Danger, 39 Alert" in text
    assert text.index("m-33") < text.index("m-00")
    assert "and 35 more" in text


def test_no_more_than_ten_in_ten_minutes_and_nothing_is_forgotten(office: WorkOffice, receiver: Receiver) -> None:
    route(office)
    sent_at: list[float] = []
    for number in range(60):
        raise_alarm(office, f"m-{number:02d}")
        before = len(receiver.taken)
        office.notifier.step()
        sent_at += [office.now_s] * (len(receiver.taken) - before)
        office.now_s += 10
    for _ in range(200):
        before = len(receiver.taken)
        office.notifier.step()
        sent_at += [office.now_s] * (len(receiver.taken) - before)
        office.now_s += 10
    assert all(sum(at <= one < at + 600 for one in sent_at) <= 10 for at in sent_at)
    assert {row.state for row in office.rows(tables.delivery)} <= {"sent", "merged"}
    told = " ".join(said(receiver))
    assert sum(row.kind == "opened" for row in office.rows(tables.delivery)) == 60
    assert "summary" in {row.kind for row in office.rows(tables.delivery)}
    assert "m-00" in told


def test_danger_has_a_place_left_when_alerts_have_used_the_others(office: WorkOffice, receiver: Receiver) -> None:
    route(office)
    for number in range(12):
        raise_alarm(office, f"m-{number:02d}")
        office.notifier.step()
    assert len(receiver.taken) == 9
    raise_alarm(office, "press-01", "danger")
    office.notifier.step()
    assert len(receiver.taken) == 10
    assert "press-01" in said(receiver)[-1]


def test_what_does_not_fit_into_the_queue_is_counted_and_told(
    office: WorkOffice, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notice_outbox, "QUEUED_ROWS", 20)
    route(office)
    for number in range(25):
        raise_alarm(office, f"m-{number:02d}")
    office.notifier.step()
    (text,) = said(receiver)
    assert "20 notices in one" in text
    assert "5 older notices did not fit into the queue." in text


def test_channel_that_is_away_gets_everything_later(office: WorkOffice, receiver: Receiver, tmp_path: Path) -> None:
    route(office)
    address = (tmp_path / "shift.url").read_text()
    (tmp_path / "shift.url").write_text("json://127.0.0.1:1/\n")
    raise_alarm(office)
    office.notifier.step()
    raise_alarm(office, "fan-01")
    office.notifier.step()
    assert office.rows(tables.notice_channel)[-1].problem != ""
    (tmp_path / "shift.url").write_text(address)
    office.now_s += 30
    office.notifier.step()
    assert len(said(receiver)) == 2


def test_shelving_a_danger_is_told_and_so_is_its_coming_back(office: WorkOffice, receiver: Receiver) -> None:
    route(office)
    raise_alarm(office, priority="danger")
    office.ask("acknowledge")
    office.ask("shelve", note="known", values={"hours": 1})
    office.notifier.step()
    office.now_s += 3600
    office.shelves.step()
    office.notifier.step()
    texts = said(receiver)
    assert ["shelf" in text for text in texts] == [False, True, True]
    assert "back from the shelf" in texts[-1]


def test_test_of_a_channel_reaches_it_at_once(office: WorkOffice, receiver: Receiver) -> None:
    assert office.ask("test_notification", machine=None, values={"channel": "shift"}).state == "done"
    office.notifier.step()
    assert "asked for by anna" in said(receiver)[0]
    channels = {row.channel: row for row in office.rows(tables.notice_channel)}
    assert channels["shift"].delivered_at_us is not None
    assert channels["cmms"].delivered_at_us is None


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"channel": "nobody"}, "no channel 'nobody'"),
        ({"quiet_from": "25:00", "quiet_to": "06:00"}, "time of day"),
        ({"quiet_from": "22:00"}, "beginning and an end"),
        ({"zone": "Mars/Base"}, "time zone"),
        ({"danger": False, "alert": False}, "no priority"),
        ({"secret": "x"}, "Extra inputs"),
    ],
)
def test_route_that_would_never_work_is_refused_and_changes_nothing(
    office: WorkOffice, row: dict[str, Any], why: str
) -> None:
    answer = route(office, **row)
    assert answer.state == "refused"
    assert why in answer.answer
    assert office.rows(tables.table_version) == []


def test_route_to_a_channel_that_is_gone_dies_visibly(office: WorkOffice, tmp_path: Path) -> None:
    route(office)
    raise_alarm(office)
    office.notices = office.notices.model_copy(update={"channels": ()})
    office.restart_notifier()
    office.notifier.step()
    row = office.rows(tables.delivery)[0]
    assert (row.state, row.text) == ("dead", "no channel 'shift' in the aggregator's settings")


def test_killed_while_telling_tells_again_with_the_reference_by_which_the_receiver_knows(
    office: WorkOffice, receiver: Receiver, tmp_path: Path
) -> None:
    """A receiver that was reached before the kill gets it twice, both times under one reference: no loss, no doubt."""
    route(office)
    raise_alarm(office)
    receiver.may_answer.clear()
    database = str(office.engine.url.database)
    arguments = [str(tmp_path), database, str(receiver.port), str(office.now_us())]
    process = subprocess.Popen([sys.executable, "-c", CHILD, *arguments], cwd=Path(__file__).parents[3])
    try:
        assert receiver.arrived.wait(60.0)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait(30.0)
    assert [row.state for row in office.rows(tables.delivery)] == ["sending"]
    receiver.may_answer.set()
    office.restart_notifier()
    office.notifier.step()
    office.notifier.step()
    first, second = said(receiver)
    key = office.rows(tables.delivery)[0].key
    assert f"Reference {key}" in first
    assert first == second
    assert [row.state for row in office.rows(tables.delivery)] == ["sent"]


def test_killed_before_telling_loses_nothing(office: WorkOffice, receiver: Receiver) -> None:
    route(office)
    raise_alarm(office)  # the case and what it has to tell are one transaction
    office.restart_notifier()
    office.notifier.step()
    assert len(said(receiver)) == 1


def test_database_that_is_away_after_telling_makes_it_be_told_again_not_forgotten(
    office: WorkOffice, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aggregator import notifications

    route(office)
    raise_alarm(office)
    away = iter([False, False, True])  # choosing, noting the attempt, noting its success

    def writing_sometimes(engine: Engine) -> Any:
        if next(away, False):
            raise sa.exc.OperationalError("", {}, Exception("database is locked"))
        return writing(engine)

    writing = notifications.writing
    monkeypatch.setattr(notifications, "writing", writing_sometimes)
    with pytest.raises(sa.exc.OperationalError):
        office.notifier.step()
    office.notifier.step()
    first, second = said(receiver)
    assert first == second
    assert [row.state for row in office.rows(tables.delivery)] == ["sent"]
