"""This file knows how what a plant sets is asked for: assets, limits, bearings, routes, their versions, channels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, ValidationError
from sqlalchemy.engine import Connection

from schemas.asset_table import AssetRow, StopCost
from schemas.nameplate import Nameplate
from schemas.site_tables import delivery, gateway, health, machine, notice_channel, plate_sending, point, table_version

Kind = Literal["assets", "limits", "bearings", "routes"]
VERSIONS = 20
DELIVERIES = 50
STATE_CAPTURES = 400  # of one point, in which its operating states are looked for
SAME_SPEED = 0.04  # as gateways tell states apart
_Row = TypeVar("_Row", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a table, without its rows."""

    version_id: int
    at_us: int
    actor: str
    note: str


@dataclass(frozen=True, slots=True)
class Channel:
    """One way to tell somebody; its address is not known here."""

    name: str
    kind: str
    delivered_at_us: int | None
    problem: str
    problem_at_us: int | None
    dropped: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing to be told."""

    key: str
    channel: str
    kind: str
    machine: str | None
    state: str
    attempts: int
    created_at_us: int
    due_at_us: int
    done_at_us: int | None
    text: str


@dataclass(frozen=True, slots=True)
class PlateSending:
    """What one gateway has of the uploaded nameplates.

    Attributes:
        machines: How many are for it.
        revision: Number of what is for it now.
        in_force: Number of what it judges by, as it last said; None if it never did.
        takes: Whether its software takes nameplates at all, as far as is known.
        problem: Why it refuses what is for it; empty when it does not.
    """

    gateway: str
    online: bool
    machines: int
    revision: int
    asset_version: int
    at_us: int
    in_force: int | None
    takes: bool
    problem: str


@dataclass(frozen=True, slots=True)
class OperatingState:
    """Captures of one point at about the same speed, which gateways judge by a limit of their own.

    Attributes:
        limit: Of the score, by the newest capture.
        rpm: Lowest and highest speed; None where no speed is known.
        over: How many exceeded the limit.
    """

    limit: float
    captures: int
    over: int
    rpm: tuple[float, float] | None
    last_us: int


def read_assets(connection: Connection) -> tuple[list[AssetRow], dict[str, int | None]]:
    """Read all machines as rows of the table, and which version set each; None is the aggregator's settings."""
    rows, sources = [], {}
    for row in connection.execute(sa.select(machine).order_by(machine.c.area, machine.c.machine)):
        sources[row.machine] = row.asset_version
        try:
            plate = Nameplate.model_validate(row.nameplate) if row.nameplate else None
            stop = StopCost(row.stop_cost_per_h, row.currency, row.stop_h)
            rows.append(AssetRow.of(row.machine, row.title, row.area, row.criticality, plate, stop))
        except ValidationError:
            rows.append(AssetRow.of(row.machine, row.title[:200], row.area[:200], 3, None))
    return rows, sources


def read_point_names(connection: Connection) -> list[str]:
    """All points."""
    return list(connection.execute(sa.select(point.c.point).order_by(point.c.point)).scalars())


def read_rows(connection: Connection, kind: Kind, model: type[_Row], *, version_id: int | None = None) -> list[_Row]:
    """Read the rows of a table in force, or of one version; a row that cannot be read any more is left out."""
    query = sa.select(table_version.c.rows).where(table_version.c.kind == kind)
    if version_id is None:
        query = query.order_by(table_version.c.version_id.desc()).limit(1)
    else:
        query = query.where(table_version.c.version_id == version_id)
    found = []
    for row in connection.execute(query).scalar_one_or_none() or ():
        try:
            found.append(model.model_validate(row))
        except ValidationError:
            continue
    return found


def read_versions(connection: Connection, kind: Kind) -> list[Version]:
    """Read the versions of a table, newest first."""
    columns = (table_version.c.version_id, table_version.c.at_us, table_version.c.actor, table_version.c.note)
    query = (
        sa.select(*columns)
        .where(table_version.c.kind == kind)
        .order_by(table_version.c.version_id.desc())
        .limit(VERSIONS)
    )
    return [Version(*row) for row in connection.execute(query)]


def read_assets_as_of(connection: Connection, version_id: int) -> list[AssetRow]:
    """Read what the tables up to a version say together: each names only some machines, the latest counts.

    A machine that only later tables name is there with an empty nameplate: gateways go back to their own settings.
    """
    query = sa.select(table_version.c.version_id, table_version.c.rows).where(table_version.c.kind == "assets")
    found: dict[str, AssetRow] = {}
    for row in connection.execute(query.order_by(table_version.c.version_id)):
        for given in row.rows:
            try:
                one = AssetRow.model_validate(given)
            except ValidationError:
                continue
            if row.version_id <= version_id:
                found[one.machine] = one
            elif one.machine not in found:
                found[one.machine] = AssetRow(
                    machine=one.machine, title=one.title, area=one.area, criticality=one.criticality
                )
    return list(found.values())


def read_plate_sendings(connection: Connection) -> list[PlateSending]:
    """Read what became of uploaded nameplates, by gateway."""
    query = sa.select(plate_sending, gateway.c.online, gateway.c.status).join(
        gateway, gateway.c.gateway == plate_sending.c.gateway
    )
    found = []
    for row in connection.execute(query.order_by(plate_sending.c.gateway)):
        status: dict[str, Any] = row.status if isinstance(row.status, dict) else {}
        said = status.get("plates_revision")
        found.append(
            PlateSending(
                row.gateway, row.online, row.machines, row.revision, row.asset_version, row.at_us,
                said if row.online else row.in_force, said is not None or not row.online,
                str(status.get("plates_problem", "")),
            )
        )  # fmt: skip
    return found


def read_channels(connection: Connection) -> list[Channel]:
    """Read the channels that the aggregator's settings name."""
    return [Channel(*row) for row in connection.execute(sa.select(notice_channel).order_by(notice_channel.c.channel))]


def read_deliveries(connection: Connection) -> list[Delivery]:
    """Read what was told lately, and what waits, newest first."""
    query = sa.select(delivery).order_by(delivery.c.delivery_id.desc()).limit(DELIVERIES)
    return [
        Delivery(
            row.key, row.channel, row.kind, row.machine, row.state, row.attempts, row.created_at_us, row.due_at_us,
            row.done_at_us, row.text,
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def read_operating_states(connection: Connection, point_name: str) -> list[OperatingState]:
    """Find the operating states of a point in its newest captures, the latest first; they are told apart by speed.

    A state's limit moves a little with every capture that it learns from: the newest is the one that counts.
    """
    newest = (
        sa.select(health.c.measured_at_us, health.c.score_limit, health.c.exceeds, health.c.rpm)
        .where(health.c.point == point_name, health.c.score_limit.is_not(None))
        .order_by(health.c.measured_at_us.desc())
        .limit(STATE_CAPTURES)
    )
    groups: list[list[Any]] = []
    for row in sorted(connection.execute(newest), key=lambda one: one.rpm or 0.0):
        if groups and (row.rpm or 0.0) <= (1.0 + SAME_SPEED) * (groups[-1][-1].rpm or 0.0):
            groups[-1].append(row)
        else:
            groups.append([row])
    return sorted((_state_of(group) for group in groups), key=lambda state: state.last_us, reverse=True)


def _state_of(captures: Sequence[Any]) -> OperatingState:
    """One state of its captures, slowest first."""
    last = max(captures, key=lambda one: one.measured_at_us)
    return OperatingState(
        limit=last.score_limit, captures=len(captures), over=sum(bool(one.exceeds) for one in captures),
        rpm=None if captures[-1].rpm is None else (captures[0].rpm, captures[-1].rpm), last_us=last.measured_at_us,
    )  # fmt: skip
