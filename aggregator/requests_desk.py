"""This file knows how what a person asked for on the dashboard is checked, carried out and answered.

The dashboard writes a sealed row; nothing in it is believed before the seal is open. What gateways must do becomes
commands, repeated until each has answered; the answer comes back as a record and is stored by the historian.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.engine import Connection, Engine

from aggregator import cases
from aggregator.audit_book import write_audit
from aggregator.case_book import numbered_case, open_case, write_case
from aggregator.cases import Case, Outcome
from aggregator.database import writing
from aggregator.desk_answers import Decision, Handler, RequestRefused
from aggregator.desk_people import about, require_person
from aggregator.settings import DeskSettings
from schemas.errors import SignatureRejected
from schemas.logs import event
from schemas.messages import Command, CommandResult, encode
from schemas.names import machine_of
from schemas.requests import ALLOWED, REQUEST_TOPIC, Action, Request
from schemas.signing import KeyRing, Signer
from schemas.site_tables import gateway, point, request
from schemas.topics import COMMAND

log = logging.getLogger(__name__)

FAILURE_STANDARDS = {"iso_15243": "ISO 15243", "iso_14224": "ISO 14224"}
AT_ONCE = 50  # requests of one poll; people are slow, the rest waits half a second


class RequestsDesk:
    """Works off the table `request`; `step` is one look at it."""

    def __init__(
        self,
        engine: Engine,
        *,
        site: str,
        signer: Signer,
        keys: KeyRing,
        settings: DeskSettings,
        publish: Callable[[str, bytes], bool],
        now_us: Callable[[], int],
        now_s: Callable[[], float],
        new_id: Callable[[], str],
        handlers: Mapping[Action, Handler] | None = None,
    ) -> None:
        self._engine = engine
        self._site = site
        self._signer = signer
        self._keys = keys
        self._settings = settings
        self._publish = publish
        self._now_us = now_us
        self._now_s = now_s
        self._new_id = new_id
        self._handlers = dict(handlers or {})
        self._sent_at_s: dict[str, float] = {}

    def step(self) -> None:
        """Carry out what is new, and send again what is unanswered."""
        with self._engine.connect() as connection:
            new = connection.execute(
                sa.select(request.c.request_id)
                .where(request.c.state == "new")
                .order_by(request.c.created_at_us)
                .limit(AT_ONCE)
            ).scalars()
            waiting = list(new)
        for request_id in waiting:
            with writing(self._engine) as connection:
                self._carry_out(connection, request_id)
        self._send()

    def _carry_out(self, connection: Connection, request_id: str) -> None:
        row = connection.execute(sa.select(request).where(request.c.request_id == request_id)).one()
        actor, action = "unknown", "request"
        what = came_from = ""
        commands: list[dict[str, Any]] = []
        try:
            asked = self._open(row.sealed)
            actor, action, what, came_from = asked.actor, asked.action, about(asked), asked.came_from
            _refuse_unallowed(asked, request_id)
            require_person(connection, asked)
            decision = self._decide(connection, asked)
            commands = self._commands(connection, asked, decision)
            state, answer = ("sent" if commands else "done"), decision.answer
        except RequestRefused as refusal:
            state, answer = "refused", str(refusal)
        now_us = self._now_us()
        gateways = sorted({item["gateway"] for item in commands})
        connection.execute(
            sa.update(request)
            .where(request.c.request_id == request_id)
            .values(
                state=state,
                actor=actor,
                action=action,
                answer=answer,
                answered_at_us=None if commands else now_us,
                gateway=gateways[0] if len(gateways) == 1 else None,
                command={"commands": commands} if commands else None,
            )
        )
        write_audit(
            connection, at_us=now_us, actor=actor, action=action, text=f"{state}: {answer}", about=what,
            came_from=came_from,
        )  # fmt: skip
        event(log, logging.INFO, "request_taken", request=request_id, action=action, actor=actor, state=state)

    def _open(self, sealed: bytes) -> Request:
        try:
            return Request.model_validate_json(self._keys.open(REQUEST_TOPIC, sealed, role="dashboard"))
        except SignatureRejected as error:
            raise RequestRefused(f"not from an enrolled dashboard ({error.reason})") from error
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
            raise RequestRefused(f"the request cannot be read at {where!r}") from error

    def _decide(self, connection: Connection, asked: Request) -> Decision:
        now_us = self._now_us()
        handler = self._handlers.get(asked.action)
        if handler is not None:
            return handler(connection, asked, now_us)
        machine = asked.machine
        if machine is None:
            raise RequestRefused(f"{asked.action} needs the name of a machine")
        if asked.action == "request_evidence":
            points = _points(connection, machine, asked.point)
            return Decision("asked for spectra", "request_evidence", points, _named_capture(asked))
        if asked.action == "maintenance":
            points = _points(connection, machine, asked.point)
            found = open_case(connection, machine)
            if found is not None:
                write_case(connection, found[0], cases.on_maintenance(found[1], asked.actor, asked.note), now_us=now_us)
            return Decision("points learn anew", "maintenance", points)
        case_id, case = self._case(connection, asked, machine)
        outcome, decision = _decide_on_case(case, asked)
        write_case(connection, case_id, outcome, now_us=now_us)
        return decision

    @staticmethod
    def _case(connection: Connection, asked: Request, machine: str) -> tuple[int, Case]:
        if asked.case_id is not None:
            case = numbered_case(connection, asked.case_id)
            if case is None or case.machine != machine:
                raise RequestRefused(f"machine {machine} has no case {asked.case_id}")
            if case.state == "closed" and asked.action in {"acknowledge", "close"}:
                raise RequestRefused(f"case {asked.case_id} is closed already")
            return asked.case_id, case
        found = open_case(connection, machine)
        if found is None:
            raise RequestRefused(f"machine {machine} has no open case")
        return found

    def _commands(self, connection: Connection, asked: Request, decision: Decision) -> list[dict[str, Any]]:
        if decision.action is None:
            return []
        owners = {
            row.point: row.gateway
            for row in connection.execute(
                sa.select(point.c.point, point.c.gateway).where(point.c.machine == asked.machine)
            )
        }
        now_us = self._now_us()
        boot, sequence = decision.capture or (None, None)
        return [
            {
                "gateway": owners[name],
                "command": Command(
                    command_id=self._new_id(),
                    gateway=owners[name],
                    action=decision.action,
                    point=name,
                    actor=asked.actor,
                    note=asked.note,
                    issued_at_us=now_us,
                    label=asked.label,
                    capture_boot=boot,
                    capture_sequence=sequence,
                ).model_dump(mode="json"),
                "answer": None,
            }
            for name in decision.points
            if name in owners
        ]

    def _send(self) -> None:
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(request.c.request_id, request.c.command).where(request.c.state == "sent")
            ).all()
            away = set(
                connection.execute(
                    sa.select(gateway.c.gateway).where(~gateway.c.online, gateway.c.status.is_not(None))
                ).scalars()
            )
        now_us, now_s = self._now_us(), self._now_s()
        unanswered: dict[str, float] = {}
        for row in rows:
            issued_at_us = row.command["commands"][0]["command"]["issued_at_us"]
            if now_us - issued_at_us > self._settings.patience_s * 1e6:
                self._give_up(row.request_id)
                continue
            for item in row.command["commands"]:
                if item["answer"] is not None:
                    continue
                command = Command.model_validate(item["command"])
                sent_at_s = self._sent_at_s.get(command.command_id)
                # A gateway that is away would find every repetition in its queue when it comes back.
                if item["gateway"] not in away and (sent_at_s is None or now_s - sent_at_s >= self._settings.repeat_s):
                    topic = COMMAND.path(site=self._site, gateway=command.gateway)
                    if self._publish(topic, self._signer.seal(topic, encode(command))):
                        sent_at_s = now_s
                if sent_at_s is not None:
                    unanswered[command.command_id] = sent_at_s
        self._sent_at_s = unanswered

    def _give_up(self, request_id: str) -> None:
        with writing(self._engine) as connection:
            row = connection.execute(sa.select(request).where(request.c.request_id == request_id)).one()
            if row.state != "sent":
                return
            silent = sorted({item["gateway"] for item in row.command["commands"] if item["answer"] is None})
            answer = f"no answer from {', '.join(silent)} in {self._settings.patience_s:.0f} s"
            now_us = self._now_us()
            connection.execute(
                sa.update(request)
                .where(request.c.request_id == request_id)
                .values(state="refused", answer=answer, answered_at_us=now_us)
            )
            write_audit(connection, at_us=now_us, actor=row.actor, action=row.action, text=f"refused: {answer}",
                        about=row.command["commands"][0]["command"]["point"] or "")  # fmt: skip


def _refuse_unallowed(asked: Request, request_id: str) -> None:
    if asked.request_id != request_id:
        raise RequestRefused("the request was sealed for another row")
    if asked.role not in ALLOWED[asked.action]:
        allowed = ", ".join(sorted(ALLOWED[asked.action]))
        raise RequestRefused(f"a {asked.role} may not {asked.action}; allowed: {allowed}")
    if asked.point is not None and machine_of(asked.point) != asked.machine:
        raise RequestRefused(f"point {asked.point} is not on machine {asked.machine}")


def _decide_on_case(case: Case, asked: Request) -> tuple[Outcome, Decision]:
    active = tuple(sorted(name for name, state in case.points.items() if state != "normal"))
    if asked.action == "acknowledge":
        return cases.on_acknowledge(case, asked.actor, asked.note), Decision("acknowledged", "acknowledge", active)
    if asked.action == "close":
        return cases.on_close(case, asked.actor, asked.note), Decision("closed", "acknowledge", active)
    if asked.action == "note":
        if not asked.note.strip():
            raise RequestRefused("the note is empty")
        return cases.on_note(case, asked.actor, asked.note), Decision("noted")
    if not asked.label.strip():
        raise RequestRefused("the label is empty")
    labelled = (asked.point,) if asked.point is not None else tuple(sorted(case.points))
    outcome = cases.on_label(case, asked.actor, asked.label, asked.note, codes=_failure_codes(asked))
    return outcome, Decision("labelled", "label", labelled)


def _named_capture(asked: Request) -> tuple[int, int] | None:
    """The capture whose evidence is wanted; anything else in the request is refused."""
    if not asked.values:
        return None
    numbers = [asked.values.get(name) for name in ("capture_boot", "capture_sequence")]
    boot, sequence = (n if type(n) is int and 0 <= n < 1 << 63 else None for n in numbers)  # a bool is no number
    if len(asked.values) != len(numbers) or boot is None or sequence is None:
        raise RequestRefused("a capture is named by two whole numbers, capture_boot and capture_sequence")
    if asked.point is None:
        raise RequestRefused("a capture is one of a point; the request names none")
    return boot, sequence


def _failure_codes(asked: Request) -> dict[str, str]:
    """Codes of standards beside a label; anything else in the request is refused."""
    codes = {}
    for name, code in asked.values.items():
        if name not in FAILURE_STANDARDS or not isinstance(code, str) or not 1 <= len(code) <= 16:
            raise RequestRefused(f"{name} is no code of {', '.join(FAILURE_STANDARDS)}")
        codes[FAILURE_STANDARDS[name]] = code
    return codes


def _points(connection: Connection, machine: str, only: str | None) -> tuple[str, ...]:
    known = tuple(
        connection.execute(sa.select(point.c.point).where(point.c.machine == machine).order_by(point.c.point)).scalars()
    )
    if only is not None:
        known = tuple(name for name in known if name == only)
    if not known:
        raise RequestRefused(f"no point {only or f'of machine {machine}'} is known")
    return known


def record_answer(connection: Connection, gateway_name: str, result: CommandResult, *, now_us: int) -> None:
    """Note a gateway's answer; the request is done with the last one. Answers nobody waits for change nothing."""
    rows = connection.execute(sa.select(request).where(request.c.state == "sent")).all()
    for row in rows:
        commands: list[dict[str, Any]] = [dict(item) for item in row.command["commands"]]
        for item in commands:
            if item["command"]["command_id"] == result.command_id and item["gateway"] == gateway_name:
                item["answer"] = {"done": result.done, "text": result.text, "at_us": result.at_us}
                break
        else:
            continue
        values: dict[str, Any] = {"command": {"commands": commands}}
        answers = [item["answer"] for item in commands]
        if all(answer is not None for answer in answers):
            done = any(answer["done"] for answer in answers)
            texts = list(dict.fromkeys(answer["text"] for answer in answers if answer["text"]))
            said = "; ".join(texts) or row.answer
            values |= {"state": "done" if done else "refused", "answer": said, "answered_at_us": now_us}
            text, where = f"{values['state']}: {said}", commands[0]["command"]["point"] or ""
            write_audit(connection, at_us=now_us, actor=row.actor, action=row.action, text=text, about=where)
        connection.execute(sa.update(request).where(request.c.request_id == row.request_id).values(**values))
        return
