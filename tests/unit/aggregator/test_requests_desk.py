"""What a person asks for on the dashboard: who may, what it does, and that it is repeated until answered."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.historian import Arrived, Historian
from aggregator.requests_desk import RequestsDesk
from aggregator.settings import DeskSettings
from schemas import site_tables as tables
from schemas.messages import Command, CommandResult, decode, encode
from schemas.requests import ALLOWED, REQUEST_TOPIC, Action, Request, Role
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.topics import COMMAND
from tests.support import gateway_talk as talk

SITE_SIGNER, DASHBOARD = Signer.generate(), Signer.generate()
KEYS = KeyRing([AllowedKey("board", "dashboard", DASHBOARD.public), AllowedKey("plant-a", "site", SITE_SIGNER.public)])
NDE = "pump-07/nde"


@dataclass
class Office:
    """A desk with its database, a broker that can be away, and a clock that stands still until moved."""

    engine: Engine
    broker_is_there: bool = True
    now_s: float = 100.0
    sent: list[Command] = field(default_factory=list)
    ids: Iterator[int] = field(default_factory=itertools.count)
    asked: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.historian = Historian(self.engine, now_us=self._now_us)
        self.desk = self.new_desk()

    def new_desk(self) -> RequestsDesk:
        return RequestsDesk(
            self.engine, site=talk.SITE, signer=SITE_SIGNER, keys=KEYS,
            settings=DeskSettings(repeat_s=10, patience_s=1000), publish=self._publish, now_us=self._now_us,
            now_s=lambda: self.now_s, new_id=lambda: f"{next(self.ids):032x}",
        )  # fmt: skip

    def _now_us(self) -> int:
        return int(self.now_s * 1e6)

    def _publish(self, topic: str, sealed: bytes) -> bool:
        if not self.broker_is_there:
            return False
        command = decode(Command, KEYS.open(topic, sealed, role="site", name=talk.SITE))
        assert topic == COMMAND.path(site=talk.SITE, gateway=command.gateway)
        self.sent.append(command)
        return True

    def hear(self, *said: object) -> None:
        self.historian.store([Arrived(one) for one in said])  # type: ignore[arg-type]

    def ask(self, action: Action, *, role: Role = "engineer", signer: Signer = DASHBOARD, **more: Any) -> str:
        request_id = f"{next(self.asked):032x}"
        asked = Request(
            request_id=request_id, action=action, actor="anna", role=role, asked_at_us=0,
            **{"machine": "pump-07", **more},
        )  # fmt: skip
        return self.put(request_id, signer.seal(REQUEST_TOPIC, encode(asked)))

    def put(self, request_id: str, sealed: bytes) -> str:
        with self.engine.begin() as connection:
            connection.execute(
                sa.insert(tables.request).values(request_id=request_id, sealed=sealed, created_at_us=self._now_us())
            )
        self.desk.step()
        return request_id

    def row(self, request_id: str) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(sa.select(tables.request).where(tables.request.c.request_id == request_id)).one()

    def case(self) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(
                sa.select(tables.machine_case).order_by(tables.machine_case.c.case_id.desc())
            ).first()

    def column(self, column: sa.Column[Any]) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(column)).scalars())

    def answer(self, sequence: int, command: Command, *, done: bool = True, text: str = "ok") -> None:
        result = CommandResult(command_id=command.command_id, done=done, text=text, at_us=1)
        self.hear(talk.batch((sequence, result), gateway=command.gateway))


@pytest.fixture
def office(engine: Engine) -> Office:
    """One machine with an alarm on each of two points, behind two gateways."""
    made = Office(engine)
    made.hear(talk.batch((0, talk.alarm())), talk.batch((0, talk.alarm(point=NDE)), gateway="gw-2"))
    return made


def test_acknowledging_marks_the_case_and_tells_each_gateway_of_its_points(office: Office) -> None:
    request_id = office.ask("acknowledge", note="on it")
    assert (office.case().state, office.case().acknowledged_by) == ("acknowledged", "anna")
    assert {(one.gateway, one.point, one.action, one.actor) for one in office.sent} == {
        ("gw-1", talk.POINT, "acknowledge", "anna"),
        ("gw-2", NDE, "acknowledge", "anna"),
    }
    assert office.row(request_id).state == "sent"


def test_request_is_done_with_the_last_answer(office: Office) -> None:
    request_id = office.ask("acknowledge")
    first, second = office.sent
    office.answer(1, first)
    assert office.row(request_id).state == "sent"
    office.answer(1, second, text="latched one reset")
    row = office.row(request_id)
    assert (row.state, row.answer) == ("done", "ok; latched one reset")
    assert row.answered_at_us is not None


def test_request_that_no_gateway_could_do_is_refused_in_their_words(office: Office) -> None:
    request_id = office.ask("request_evidence", point=talk.POINT)
    office.answer(1, office.sent[0], done=False, text="no capture yet")
    assert (office.row(request_id).state, office.row(request_id).answer) == ("refused", "no capture yet")


def test_evidence_of_a_named_capture_is_asked_for_by_its_name(office: Office) -> None:
    office.ask("request_evidence", point=talk.POINT, values={"capture_boot": 1 << 62, "capture_sequence": 41})
    assert [(one.capture_boot, one.capture_sequence) for one in office.sent] == [(1 << 62, 41)]


@pytest.mark.parametrize(
    ("values", "point"),
    [({"capture_boot": 1}, talk.POINT), ({"capture_boot": 1, "capture_sequence": -1}, talk.POINT),
     ({"capture_boot": 1, "capture_sequence": True}, talk.POINT),
     ({"capture_boot": 1.5, "capture_sequence": 2}, talk.POINT),
     ({"capture_boot": 1, "capture_sequence": 2, "more": 3}, talk.POINT),
     ({"capture_boot": 1, "capture_sequence": 2}, None)],
)  # fmt: skip
def test_capture_that_is_named_wrongly_is_refused_in_words(office: Office, values: dict[str, Any], point: Any) -> None:
    request_id = office.ask("request_evidence", point=point, values=values)
    assert (office.row(request_id).state, "capture" in office.row(request_id).answer) == ("refused", True)
    assert office.sent == []


def test_answer_of_the_wrong_gateway_does_not_count(office: Office) -> None:
    request_id = office.ask("request_evidence", point=talk.POINT)
    office.answer(1, office.sent[0].model_copy(update={"gateway": "gw-2"}))
    assert office.row(request_id).state == "sent"


def test_command_is_repeated_until_answered_and_not_more_often_than_said(office: Office) -> None:
    office.ask("request_evidence", point=talk.POINT)
    office.now_s += 9
    office.desk.step()
    assert len(office.sent) == 1
    office.now_s += 1
    office.desk.step()
    assert len(office.sent) == 2
    assert office.sent[0] == office.sent[1]
    office.answer(1, office.sent[0])
    office.now_s += 60
    office.desk.step()
    assert len(office.sent) == 2


def test_restarted_desk_sends_the_same_command_again(office: Office) -> None:
    office.ask("request_evidence", point=talk.POINT)
    office.new_desk().step()
    assert len(office.sent) == 2
    assert office.sent[0] == office.sent[1]


def test_broker_that_is_away_gets_the_command_when_it_is_back(office: Office) -> None:
    office.broker_is_there = False
    office.ask("request_evidence", point=talk.POINT)
    office.broker_is_there = True
    office.desk.step()
    assert len(office.sent) == 1


def test_gateway_that_is_away_is_told_when_it_is_back(office: Office) -> None:
    office.hear(talk.status(online=False))
    office.ask("request_evidence", point=talk.POINT)
    office.now_s += 100
    office.desk.step()
    assert office.sent == []
    office.hear(talk.status())
    office.desk.step()
    assert len(office.sent) == 1


def test_request_without_an_answer_is_given_up_after_the_patience_of_the_settings(office: Office) -> None:
    request_id = office.ask("request_evidence", point=talk.POINT)
    office.now_s += 1001
    office.desk.step()
    assert office.row(request_id).state == "refused"
    assert "gw-1" in office.row(request_id).answer


def test_maintenance_closes_the_case_and_lets_all_points_of_the_machine_learn_anew(office: Office) -> None:
    office.hear(talk.healths(1, point="pump-07/motor"))
    office.ask("maintenance", note="new bearing")
    assert office.case().state == "closed"
    assert {one.point for one in office.sent} == {talk.POINT, NDE, "pump-07/motor"}
    assert {one.action for one in office.sent} == {"maintenance"}


def test_maintenance_needs_no_case(office: Office) -> None:
    office.hear(talk.healths(1, point="fan-01/de"))
    office.ask("maintenance", machine="fan-01")
    assert [one.point for one in office.sent] == ["fan-01/de"]


def test_closing_tells_the_gateways_too(office: Office) -> None:
    office.ask("close", note="false alarm")
    assert office.case().state == "closed"
    assert {one.action for one in office.sent} == {"acknowledge"}


def test_note_is_done_at_once(office: Office) -> None:
    request_id = office.ask("note", note="oil is black")
    assert (office.row(request_id).state, office.row(request_id).answer) == ("done", "noted")
    assert office.sent == []
    assert "oil is black" in office.column(tables.case_event.c.text)


def test_label_goes_into_the_history_and_to_the_gateways(office: Office) -> None:
    office.ask("label", label="outer", point=NDE)
    assert [(one.gateway, one.label) for one in office.sent] == [("gw-2", "outer")]
    assert "label" in office.column(tables.case_event.c.kind)


def test_closed_case_named_by_number_still_takes_a_note_but_no_acknowledgement(office: Office) -> None:
    case_id = office.case().case_id
    office.ask("close", case_id=case_id)
    assert office.row(office.ask("note", note="later", case_id=case_id)).state == "done"
    assert "closed already" in office.row(office.ask("acknowledge", case_id=case_id)).answer


@pytest.mark.parametrize(
    ("action", "more", "why"),
    [
        ("acknowledge", {"machine": "fan-01"}, "no open case"),
        ("acknowledge", {"case_id": 99}, "no case 99"),
        ("note", {"note": "  "}, "empty"),
        ("label", {"label": ""}, "empty"),
        ("request_evidence", {"machine": "fan-01"}, "fan-01"),
        ("request_evidence", {"point": "pump-07/other"}, "pump-07/other"),
        ("request_evidence", {"point": "fan-01/de"}, "not on machine"),
        ("maintenance", {"machine": "fan-01"}, "fan-01"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(
    office: Office, action: Action, more: dict[str, Any], why: str
) -> None:
    row = office.row(office.ask(action, **more))
    assert row.state == "refused"
    assert why in row.answer
    assert office.sent == []
    assert office.case().state == "open"


OWN_ACCOUNT = {"set_password", "sign_in", "sign_out_everywhere", "create_token", "remove_token"}


@pytest.mark.parametrize("action", sorted(set(ALLOWED) - OWN_ACCOUNT))
def test_viewer_changes_nothing_but_the_own_account(office: Office, action: Action) -> None:
    row = office.row(office.ask(action, role="viewer", note="x", label="outer"))
    assert row.state == "refused"
    assert "viewer may not" in row.answer
    assert office.sent == []


def test_request_of_an_unknown_dashboard_is_refused(office: Office) -> None:
    row = office.row(office.ask("close", signer=Signer.generate()))
    assert (row.state, row.actor) == ("refused", "unknown")
    assert "unknown_key" in row.answer


def test_request_signed_by_another_role_is_refused(office: Office) -> None:
    assert office.row(office.ask("close", signer=SITE_SIGNER)).state == "refused"


def test_old_seal_in_a_new_row_is_refused(office: Office) -> None:
    first = office.row(office.ask("note", note="once"))
    again = office.row(office.put("e" * 32, first.sealed))
    assert (again.state, again.answer) == ("refused", "the request was sealed for another row")


def test_sealed_nonsense_is_refused(office: Office) -> None:
    assert office.row(office.put("d" * 32, DASHBOARD.seal(REQUEST_TOPIC, b"{}"))).state == "refused"


def test_everything_asked_and_answered_is_audited(office: Office) -> None:
    office.ask("acknowledge")
    for number, command in enumerate(list(office.sent)):
        office.answer(1 + number, command)
    office.ask("close", role="viewer")
    assert office.column(tables.audit.c.action) == ["acknowledge", "acknowledge", "close"]
    assert [text.split(":")[0] for text in office.column(tables.audit.c.text)] == ["sent", "done", "refused"]
