"""Work orders and labels: written once, told to every webhook, with codes a maintenance system knows."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from schemas import site_tables as tables
from tests.support import gateway_talk as talk
from tests.support.work_office import Receiver, WorkOffice, settings_for

# apprise 2.2 loads all its ways, and one imports what Python 3.13 takes away.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def office(engine: Engine, tmp_path: Path, receiver: Receiver) -> WorkOffice:
    made = WorkOffice(engine, settings_for(tmp_path, receiver, retry_s=1.0, give_up_after_s=100.0))
    made.notifier.step()
    made.hear(talk.alarm())
    return made


def order(office: WorkOffice, **values: object) -> tuple[str, str]:
    row = office.ask("work_order", values={"text": "replace bearing", "due_date": "2026-11-30", **values})
    return row.state, row.answer


def test_work_order_stands_in_the_case_and_reaches_the_webhook_signed(office: WorkOffice, receiver: Receiver) -> None:
    assert order(office, number="4711") == ("done", "work order 4711 written and on its way to cmms")
    assert office.rows(tables.case_event)[-1].kind == "work_order"
    office.notifier.step()
    ((headers, body),) = receiver.taken
    content = json.loads(body)
    assert content["event"] == "work_order"
    assert content["order"] | {"created_at_us": 0} == {
        "number": "4711", "machine": "pump-07", "title": "", "area": "", "text": "replace bearing",
        "due_date": "2026-11-30", "case_id": 1, "priority": "alert", "cause": "unknown", "confidence": None,
        "created_by": "anna", "created_at_us": 0,
    }  # fmt: skip
    signed = f"{headers['Undertone-Timestamp']}.".encode() + body
    expected = hmac.new(b"a-shared-secret", signed, hashlib.sha256).hexdigest()
    assert headers["Undertone-Signature"] == f"sha256={expected}"
    assert headers["Idempotency-Key"] == content["key"]


def test_order_without_a_number_gets_one_that_is_free(office: WorkOffice) -> None:
    order(office, number="WO-000002")
    assert order(office)[1].startswith("work order WO-000003 ")
    assert [row.number for row in office.rows(tables.work_order)] == ["WO-000002", "WO-000003"]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"due_date": "30.11.2026"}, "due date"),
        ({"due_date": ""}, "due date"),
        ({"text": " "}, "no text"),
        ({"text": "x" * 4001}, "4000 allowed"),
        ({"number": "n" * 65}, "64 allowed"),
        ({"number": 5}, "no text"),
    ],
)
def test_order_that_cannot_be_written_is_refused_in_words(
    office: WorkOffice, values: dict[str, object], why: str
) -> None:
    state, answer = order(office, **values)
    assert state == "refused"
    assert why in answer
    assert office.rows(tables.work_order) == []
    assert office.rows(tables.delivery) == []


def test_number_that_is_taken_is_refused(office: WorkOffice) -> None:
    order(office, number="4711")
    assert order(office, number="4711") == ("refused", "work order 4711 is there already")


def test_receiver_that_fails_gets_it_again_with_the_same_key_and_less_and_less_often(
    office: WorkOffice, receiver: Receiver
) -> None:
    receiver.status = 503
    order(office)
    tries = []
    for _ in range(60):
        before = len(receiver.taken)
        office.notifier.step()
        tries.append(len(receiver.taken) - before)
        office.now_s += 0.5
    keys = {headers["Idempotency-Key"] for headers, _ in receiver.taken}
    assert len(keys) == 1
    assert 4 <= sum(tries) <= 6  # at 0, and about 1, 2, 4, 8, 16 s after each other
    row = office.rows(tables.delivery)[0]
    assert (row.state, row.text) == ("waiting", "the receiver answered 503")
    assert office.rows(tables.notice_channel)[0].problem == "the receiver answered 503"
    receiver.status = 200
    office.now_s += 40
    office.notifier.step()
    assert office.rows(tables.delivery)[0].state == "sent"
    assert office.rows(tables.notice_channel)[0].problem == ""


def test_receiver_that_never_takes_it_leaves_a_dead_delivery_that_can_be_seen(
    office: WorkOffice, receiver: Receiver
) -> None:
    receiver.status = 500
    order(office)
    for _ in range(12):
        office.notifier.step()
        office.now_s += 20
    row = office.rows(tables.delivery)[0]
    assert (row.state, row.text) == ("dead", "the receiver answered 500")
    tried = len(receiver.taken)
    office.now_s += 10_000
    office.notifier.step()
    assert len(receiver.taken) == tried


def test_redirect_is_not_followed(office: WorkOffice, receiver: Receiver) -> None:
    receiver.status = 302
    order(office)
    office.notifier.step()
    assert len(receiver.taken) == 1
    assert office.rows(tables.delivery)[0].text == "the receiver answered 302"


@pytest.mark.parametrize(
    ("address", "why"),
    [("http://example.org/x", "use https://"), ("ftp://127.0.0.1/", "begins with https://"), ("", "is empty")],
)
def test_address_that_would_send_in_the_clear_or_nowhere_is_not_used(
    office: WorkOffice, tmp_path: Path, address: str, why: str
) -> None:
    (tmp_path / "cmms.url").write_text(address)
    order(office)
    office.notifier.step()
    assert why in office.rows(tables.delivery)[0].text


def test_no_address_and_no_secret_stands_in_the_database(office: WorkOffice, receiver: Receiver) -> None:
    receiver.status = 500
    order(office)
    office.notifier.step()
    office.ask("test_notification", values={"channel": "shift"})
    office.notifier.step()
    path = office.engine.url.database
    assert path is not None
    for suffix in ("", "-wal"):
        file = Path(path + suffix)
        content = file.read_bytes() if file.exists() else b""
        assert b"s3cret-word" not in content
        assert b"a-shared-secret" not in content


def test_label_carries_codes_of_standards_and_teaches(office: WorkOffice) -> None:
    row = office.ask("label", label="outer", note="pitting", values={"iso_15243": "5.1.2", "iso_14224": "2.6"})
    assert row.state == "sent"
    event = office.rows(tables.case_event)[-1]
    assert event.text == "outer · ISO 15243 5.1.2 · ISO 14224 2.6: pitting"
    assert event.detail == {"label": "outer", "ISO 15243": "5.1.2", "ISO 14224": "2.6"}


def test_label_with_something_else_beside_it_is_refused(office: WorkOffice) -> None:
    assert office.ask("label", label="outer", values={"iso_9999": "1"}).state == "refused"
    assert office.ask("label", label="outer", values={"iso_15243": 5.1}).state == "refused"
