"""This file knows how what a plant sets is asked for: assets, limits, bearings, routes, their versions, channels."""

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, ValidationError
from sqlalchemy.engine import Connection

from schemas.asset_table import AssetRow
from schemas.nameplate import Nameplate
from schemas.site_tables import delivery, health, machine, notice_channel, point, table_version

Kind = Literal["assets", "limits", "bearings", "routes"]
VERSIONS = 20
DELIVERIES = 50
STATE_CAPTURES = 400  # of one point, in which its operating states are looked for
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
class OperatingState:
    """Captures of one point that were judged by one limit: the same speed and load.

    Attributes:
        limit: Of the score.
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
            rows.append(AssetRow.of(row.machine, row.title, row.area, row.criticality, plate))
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
    """Find the operating states of a point in its newest captures: each has a limit of its own."""
    newest: Any = (
        sa.select(health.c.measured_at_us, health.c.score_limit, health.c.exceeds, health.c.rpm)
        .where(health.c.point == point_name, health.c.score_limit.is_not(None))
        .order_by(health.c.measured_at_us.desc())
        .limit(STATE_CAPTURES)
        .subquery()
    )
    query = (
        sa.select(
            newest.c.score_limit, sa.func.count(), sa.func.sum(sa.case((newest.c.exceeds, 1), else_=0)),
            sa.func.min(newest.c.rpm), sa.func.max(newest.c.rpm), sa.func.max(newest.c.measured_at_us),
        )
        .group_by(newest.c.score_limit)
        .order_by(sa.func.max(newest.c.measured_at_us).desc())
    )  # fmt: skip
    return [
        OperatingState(
            row[0], row[1], int(row[2] or 0), None if row[3] is None else (row[3], row[4]), row[5]
        )
        for row in connection.execute(query)
    ]  # fmt: skip
