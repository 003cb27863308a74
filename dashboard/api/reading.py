"""This file knows what programs can read; every list is bounded and goes on from its `next`."""

from collections.abc import Callable
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Path, Query
from sqlalchemy.engine import Row

from dashboard.access import Visitor
from dashboard.api import answers as say
from dashboard.api.callers import Callers
from dashboard.api.problems import refusal
from dashboard.condition import Condition, judge
from dashboard.pages.live import judge_plant, read_live_plant, staleness
from dashboard.queries.machine import EvidenceEntry, read_evidence
from dashboard.queries.pages import CursorRefused, Key, Piece, read_piece
from dashboard.queries.people import AuditFilter, read_audit
from dashboard.queries.plant import read_diagnosis, read_gateways, read_machine, read_points
from dashboard.queries.records import MachineRecord
from dashboard.queries.sites import read_enterprise
from dashboard.runtime import Dashboard
from dashboard.site_condition import SiteCondition, in_order, judge_site
from schemas.site_tables import alarm, case_event, evidence, health, learning_round, ledger, machine_case, release
from schemas.site_tables import request as request_table

MOST, USUAL, EVENTS = 500, 100, 500
Limit = Annotated[int, Query(ge=1, le=MOST, description="At most so many.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the piece before.")]
From = Annotated[int | None, Query(ge=0, description="Microseconds since 1970; this one included.")]
Until = Annotated[int | None, Query(ge=0, description="Microseconds since 1970; this one not included.")]
MachineName = Annotated[str, Path(pattern="^[a-z0-9][a-z0-9-]{0,31}$")]
Position = Annotated[str, Path(pattern="^[a-z0-9][a-z0-9-]{0,31}$")]
MachineQuery = Annotated[str | None, Query(max_length=32, description="Of this machine only.")]


def reading_routes(board: Dashboard, callers: Callers, caller: Callable[..., Visitor]) -> APIRouter:
    """The paths for reading."""
    router = APIRouter(dependencies=[Depends(caller)])
    _add_plant(router, board, caller)
    _add_points(router, board)
    _add_cases(router, board)
    _add_learning(router, board)
    _add_book(router, board, callers, caller)
    if board.settings.role == "enterprise":
        _add_sites(router, board)
    return router


def _add_plant(router: APIRouter, board: Dashboard, caller: Callable[..., Visitor]) -> None:
    @router.get("/me", tags=["people"])
    def me(visitor: Annotated[Visitor, Depends(caller)]) -> say.WhoAnswer:
        """Who asks, and in which role."""
        return say.WhoAnswer(name=visitor.name, role=visitor.role)

    @router.get("/plant", tags=["plant"])
    def plant() -> say.PlantAnswer:
        """How the whole plant stands, worst machine first."""
        found = read_live_plant(board)
        records = {one.machine: one for one in found.machines}
        return say.PlantAnswer(
            title=board.settings.title,
            now=say.moment(board.now_us()),
            newest_data=say.maybe(found.newest_received_us),
            gateways_online=sum(one.online for one in found.gateways),
            gateways=len(found.gateways),
            machines=[_machine(records[one.machine], one) for one in judge_plant(board, found)],
        )

    @router.get("/machines", tags=["plant"])
    def machines() -> list[say.MachineAnswer]:
        """All machines, worst first."""
        return plant().machines

    @router.get("/machines/{machine}", tags=["plant"])
    def machine(machine: MachineName) -> say.MachineDetail:
        """One machine with its nameplate."""
        with board.reader.read() as connection:
            record = read_machine(connection, machine)
        if record is None:
            raise refusal(404, f"there is no machine {machine}")
        found = judge(record, None, staleness(board), board.now_us())
        return say.MachineDetail(**_machine(record, found).model_dump(), nameplate=record.nameplate)

    @router.get("/gateways", tags=["fleet"])
    def gateways() -> list[say.GatewayAnswer]:
        """All gateways as they were last heard."""
        with board.reader.read() as connection:
            found = read_gateways(connection)
        return [
            say.GatewayAnswer(
                gateway=one.gateway, online=one.online, last_seen=say.maybe(one.last_seen_us),
                release_version=one.release_version, status=one.status,
            )
            for one in found
        ]  # fmt: skip


def _add_points(router: APIRouter, board: Dashboard) -> None:
    @router.get("/points", tags=["points"])
    def points(machine: MachineQuery = None) -> list[say.PointAnswer]:
        """All measurement points."""
        with board.reader.read() as connection:
            found = read_points(connection, machines=None if machine is None else [machine])
        return [
            say.PointAnswer(
                point=one.point, machine=one.machine, gateway=one.gateway, learning=one.learning,
                learning_share=one.learning_share, quality=one.quality, notice=one.notice,
                last_measured=say.maybe(one.last_measured_us), last_received=say.maybe(one.last_received_us),
                interval_s=one.interval_s,
            )
            for one in found
        ]  # fmt: skip

    @router.get("/points/{machine}/{position}/trend", tags=["points"])
    def trend(
        machine: MachineName, position: Position, from_us: From = None, until_us: Until = None, limit: Limit = USUAL,
        cursor: Cursor = None,
    ) -> say.Page[say.HealthAnswer]:  # fmt: skip
        """What the gateway judged of each capture, newest first."""
        query = sa.select(health).where(health.c.point == f"{machine}/{position}")
        query = _between(query, health.c.measured_at_us, from_us, until_us)
        key = (health.c.measured_at_us, health.c.gateway, health.c.boot, health.c.sequence)
        piece = _read(board, query, key, limit, cursor)
        return say.Page(items=[_health(row) for row in piece.rows], next=piece.next)

    @router.get("/points/{machine}/{position}/evidence", tags=["points"])
    def evidence_list(
        machine: MachineName, position: Position, limit: Limit = USUAL, cursor: Cursor = None
    ) -> say.Page[say.EvidenceEntryAnswer]:
        """Which spectra of a point there are, newest first."""
        key = (evidence.c.measured_at_us, evidence.c.gateway, evidence.c.boot, evidence.c.sequence)
        query = sa.select(*key, evidence.c.point, evidence.c.why).where(evidence.c.point == f"{machine}/{position}")
        piece = _read(board, query, key, limit, cursor)
        items = [
            say.EvidenceEntryAnswer(
                evidence_id=f"{row.gateway}:{row.boot}:{row.sequence}", point=row.point,
                measured_at=say.moment(row.measured_at_us), why=row.why,
            )
            for row in piece.rows
        ]  # fmt: skip
        return say.Page(items=items, next=piece.next)

    @router.get("/evidence/{evidence_id}", tags=["points"])
    def one_evidence(
        evidence_id: Annotated[str, Path(pattern=r"^[a-z0-9-]{1,32}:\d{1,19}:\d{1,19}$")],
    ) -> say.EvidenceAnswer:
        """Spectra of one capture."""
        gateway, boot, sequence = evidence_id.split(":")
        with board.reader.read() as connection:
            found = read_evidence(connection, EvidenceEntry(gateway, int(boot), int(sequence), "", 0, ""))
        if found is None:
            raise refusal(404, f"there is no readable evidence {evidence_id}")
        return say.EvidenceAnswer(evidence_id=evidence_id, evidence=found)


def _add_cases(router: APIRouter, board: Dashboard) -> None:
    @router.get("/cases", tags=["cases"])
    def cases(
        machine: MachineQuery = None,
        state: Annotated[str | None, Query(pattern="^(open|acknowledged|closed)$")] = None,
        limit: Limit = USUAL,
        cursor: Cursor = None,
    ) -> say.Page[say.CaseAnswer]:
        """Cases, newest first."""
        query = sa.select(machine_case)
        if machine is not None:
            query = query.where(machine_case.c.machine == machine)
        if state is not None:
            query = query.where(machine_case.c.state == state)
        piece = _read(board, query, (machine_case.c.case_id,), limit, cursor)
        return say.Page(items=[say.CaseAnswer(**_case(row)) for row in piece.rows], next=piece.next)

    @router.get("/cases/{case_id}", tags=["cases"])
    def case(case_id: Annotated[int, Path(ge=1, le=2**62)]) -> say.CaseDetail:
        """One case with its history."""
        events = sa.select(case_event).where(case_event.c.case_id == case_id).order_by(case_event.c.event_id.desc())
        with board.reader.read() as connection:
            row = connection.execute(sa.select(machine_case).where(machine_case.c.case_id == case_id)).one_or_none()
            if row is None:
                raise refusal(404, f"there is no case {case_id}")
            history = [
                say.CaseEventAnswer(at=say.moment(one.at_us), kind=one.kind, actor=one.actor, text=one.text)
                for one in connection.execute(events.limit(EVENTS))
            ]
        return say.CaseDetail(**_case(row), events=history)

    @router.get("/alarms", tags=["cases"])
    def alarms(
        machine: MachineQuery = None, from_us: From = None, until_us: Until = None, limit: Limit = USUAL,
        cursor: Cursor = None,
    ) -> say.Page[say.AlarmAnswer]:  # fmt: skip
        """Changes of the alarms of points, newest first."""
        query = _between(sa.select(alarm), alarm.c.received_at_us, from_us, until_us)
        if machine is not None:
            query = query.where(alarm.c.machine == machine)
        piece = _read(board, query, (alarm.c.received_at_us, alarm.c.gateway, alarm.c.boot, alarm.c.sequence), limit,
                      cursor)  # fmt: skip
        items = [
            say.AlarmAnswer(
                alarm_id=row.alarm_id, point=row.point, machine=row.machine, state=row.state, priority=row.priority,
                reason=row.reason, case_id=row.case_id, measured_at=say.moment(row.measured_at_us),
                received_at=say.moment(row.received_at_us),
            )
            for row in piece.rows
        ]  # fmt: skip
        return say.Page(items=items, next=piece.next)


def _add_learning(router: APIRouter, board: Dashboard) -> None:
    @router.get("/rounds", tags=["learning"])
    def rounds(limit: Limit = USUAL, cursor: Cursor = None) -> say.Page[say.RoundAnswer]:
        """Rounds of learning, newest first."""
        piece = _read(board, sa.select(learning_round), (learning_round.c.round_id,), limit, cursor)
        return say.Page(items=[_round(row) for row in piece.rows], next=piece.next)

    @router.get("/releases", tags=["learning"])
    def releases(limit: Limit = USUAL, cursor: Cursor = None) -> say.Page[say.ReleaseAnswer]:
        """Model releases, newest first."""
        columns = (release.c.release_version, release.c.digest, release.c.level, release.c.state,
                   release.c.created_at_us, release.c.manifest)  # fmt: skip
        piece = _read(board, sa.select(*columns), (release.c.release_version,), limit, cursor)
        items = [
            say.ReleaseAnswer(
                release_version=row.release_version, digest=row.digest, level=row.level, state=row.state,
                created_at=say.moment(row.created_at_us), manifest=row.manifest,
            )
            for row in piece.rows
        ]  # fmt: skip
        return say.Page(items=items, next=piece.next)

    @router.get("/ledger", tags=["learning"])
    def what_left(limit: Limit = USUAL, cursor: Cursor = None) -> say.Page[say.LedgerAnswer]:
        """What left the plant, by day and class of message."""
        piece = _read(board, sa.select(ledger), (ledger.c.day, ledger.c.topic), limit, cursor)
        items = [
            say.LedgerAnswer(day=row.day, topic=row.topic, messages=row.messages, bytes=row.bytes)
            for row in piece.rows
        ]  # fmt: skip
        return say.Page(items=items, next=piece.next)


def _add_sites(router: APIRouter, board: Dashboard) -> None:
    @router.get("/sites", tags=["sites"])
    def sites() -> list[say.SiteAnswer]:
        """All sites of an enterprise, worst first."""
        with board.reader.read() as connection:
            found = read_enterprise(connection)
        judged = (judge_site(one, now_us=board.now_us(), release_version=found.release_version) for one in found.sites)
        return [_site(one, board.settings.site_addresses.get(one.record.site)) for one in in_order(judged)]


def _add_book(router: APIRouter, board: Dashboard, callers: Callers, caller: Callable[..., Visitor]) -> None:
    @router.get("/audit", tags=["people"], dependencies=[Depends(callers.needs(caller, "admin"))])
    def audit_log(
        actor: Annotated[str, Query(max_length=64)] = "",
        action: Annotated[str, Query(max_length=32)] = "",
        about: Annotated[str, Query(max_length=64)] = "",
        from_us: From = None,
        until_us: Until = None,
        limit: Limit = USUAL,
        cursor: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    ) -> say.Page[say.AuditAnswer]:
        """Who did what, newest first; for administrators."""
        with board.reader.read() as connection:
            rows = read_audit(
                connection, AuditFilter(actor, action, about, from_us, until_us), limit=limit, before_id=cursor
            )
        items = [
            say.AuditAnswer(
                audit_id=row.audit_id, at=say.moment(row.at_us), actor=row.actor, action=row.action, about=row.about,
                text=row.text, came_from=row.came_from, seal=row.seal,
            )
            for row in rows
        ]  # fmt: skip
        return say.Page(items=items, next=str(rows[-1].audit_id) if len(rows) == limit else None)

    @router.get("/requests/{request_id}", tags=["actions"])
    def request(
        request_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$")], visitor: Annotated[Visitor, Depends(caller)]
    ) -> say.RequestAnswer:
        """What became of a request of one's own; administrators follow all."""
        columns = request_table.c
        query = sa.select(
            columns.actor, columns.action, columns.state, columns.answer, columns.created_at_us, columns.answered_at_us
        ).where(columns.request_id == request_id)
        with board.reader.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or (row.actor != visitor.name and visitor.role != "admin"):
            raise refusal(404, f"you have no request {request_id}")
        return say.RequestAnswer(
            request_id=request_id, action=row.action, actor=row.actor, state=row.state, answer=row.answer,
            asked_at=say.moment(row.created_at_us), answered_at=say.maybe(row.answered_at_us),
        )  # fmt: skip


def _read(board: Dashboard, query: sa.Select[Any], key: Key, limit: int, cursor: str | None) -> Piece:
    try:
        with board.reader.read() as connection:
            return read_piece(connection, query, key, limit=limit, cursor=cursor)
    except CursorRefused as error:
        raise refusal(422, str(error)) from error


def _between(
    query: sa.Select[Any], column: sa.Column[int], from_us: int | None, until_us: int | None
) -> sa.Select[Any]:
    if from_us is not None:
        query = query.where(column >= from_us)
    return query if until_us is None else query.where(column < until_us)


def _machine(record: MachineRecord, condition: Condition) -> say.MachineAnswer:
    return say.MachineAnswer(
        machine=record.machine, title=record.title, criticality=record.criticality, state=condition.level.name,
        stale=condition.stale, reason=condition.reason, points=[one.point for one in record.points],
        case_id=None if record.case is None else record.case.case_id, first_seen=say.moment(record.first_seen_us),
    )  # fmt: skip


def _site(found: SiteCondition, address: str | None) -> say.SiteAnswer:
    record, said = found.record, found.record.summary
    return say.SiteAnswer(
        site=record.site, state=found.level.name, stale=found.stale, told=say.maybe(record.received_at_us),
        states={} if said is None else {str(name): count for name, count in said.states.items()},
        points=None if said is None else said.points,
        points_assessable=None if said is None else said.points_assessable,
        gateways=None if said is None else said.gateways,
        gateways_online=None if said is None else said.gateways_online,
        newest_data=None if said is None else say.maybe(said.newest_data_us),
        release_version=None if said is None else said.release_version,
        fleet_version=record.fleet_version if said is None else said.fleet_version, releases_behind=found.behind,
        dashboard=address,
    )  # fmt: skip


def _health(row: Row[Any]) -> say.HealthAnswer:
    return say.HealthAnswer(
        point=row.point, measured_at=say.moment(row.measured_at_us), received_at=say.moment(row.received_at_us),
        quality=row.quality, score=row.score, score_limit=row.score_limit, exceeds=row.exceeds, alarm=row.alarm,
        zone=row.zone, velocity_rms_mm_s=row.velocity_rms_mm_s, acceleration_rms_g=row.acceleration_rms_g,
        acceleration_peak_g=row.acceleration_peak_g, crest_factor=row.crest_factor, kurtosis=row.kurtosis,
        envelope_rms_g=row.envelope_rms_g, rpm=row.rpm, temperature_c=row.temperature_c, battery_v=row.battery_v,
        diagnosis=list(read_diagnosis(row.diagnosis)), model_version=row.model_version,
    )  # fmt: skip


def _case(row: Row[Any]) -> dict[str, Any]:
    return {
        "case_id": row.case_id, "machine": row.machine, "state": row.state, "priority": row.priority,
        "title": row.title, "diagnosis": list(read_diagnosis(row.diagnosis)),
        "opened_at": say.moment(row.opened_at_us), "changed_at": say.moment(row.changed_at_us),
        "closed_at": say.maybe(row.closed_at_us), "acknowledged_by": row.acknowledged_by,
    }  # fmt: skip


def _round(row: Row[Any]) -> say.RoundAnswer:
    return say.RoundAnswer(
        round_id=row.round_id, level=row.level, state=row.state, base_version=row.base_version,
        release_version=row.release_version, started_at=say.moment(row.started_at_us),
        ended_at=say.maybe(row.ended_at_us), invited=row.invited, accepted=row.accepted, rejected=row.rejected,
        bytes_down=row.bytes_down, bytes_up=row.bytes_up, rule=row.rule, digest=row.digest, text=row.text,
    )  # fmt: skip
