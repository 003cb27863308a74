"""This file knows how an enterprise's sites are asked for: what each told last, and how it takes part in the learning.

Bounded by the number of sites, and by the newest rounds and releases; nothing of a site is known but what it sent.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.engine import Connection

from dashboard.queries.fleet import read_current_release
from dashboard.queries.plant import read_last_round
from dashboard.queries.records import RoundRecord
from schemas.site_summary import SiteSummary
from schemas.site_tables import learning_round, machine, rollout, round_update, site_summary

ROUNDS = 30  # newest, in which a site's last update is looked for; by key
RELEASES = 20  # newest, among which the one that a site runs is looked for; by key
MOST_SITES = 1000


@dataclass(frozen=True, slots=True)
class LastUpdate:
    """What became of the last update of a site."""

    round_id: int
    received_at_us: int
    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class SiteRecord:
    """One site as the enterprise knows it.

    Attributes:
        summary: What it told last; None where it has told nothing, or nothing that is understood here.
        received_at_us: When that arrived; None where nothing has.
        fleet_version: The newest of the enterprise's releases that it says it runs; None where it has said so of none.
        update: None where none of the newest rounds has one.
    """

    site: str
    summary: SiteSummary | None
    received_at_us: int | None
    fleet_version: int | None
    update: LastUpdate | None


@dataclass(frozen=True, slots=True)
class Enterprise:
    """Everything the page of sites is made of; `machines` are a site's own and none in an enterprise's database."""

    sites: tuple[SiteRecord, ...]
    release_version: int | None
    last_round: RoundRecord | None
    machines: int


def read_enterprise(connection: Connection) -> Enterprise:
    """Read all sites by name: those that have told something, learnt, or been offered a release."""
    told = {row.site: row for row in connection.execute(sa.select(site_summary).limit(MOST_SITES))}
    updates, running = _last_updates(connection), _running(connection)
    names = sorted({*told, *updates, *running})[:MOST_SITES]
    return Enterprise(
        sites=tuple(
            SiteRecord(
                name, _summary(told[name].summary) if name in told else None,
                told[name].received_at_us if name in told else None, running.get(name), updates.get(name),
            )
            for name in names
        ),
        release_version=read_current_release(connection),
        last_round=read_last_round(connection),
        machines=connection.execute(sa.select(sa.func.count()).select_from(machine)).scalar_one(),
    )  # fmt: skip


def _last_updates(connection: Connection) -> dict[str, LastUpdate]:
    newest = sa.select(learning_round.c.round_id).order_by(learning_round.c.round_id.desc()).limit(ROUNDS)
    numbers = list(connection.execute(newest).scalars())
    c = round_update.c
    query = sa.select(c.member, c.round_id, c.received_at_us, c.accepted, c.reason).where(c.round_id.in_(numbers))
    found: dict[str, LastUpdate] = {}
    for row in connection.execute(query.order_by(c.round_id)):
        found[row.member] = LastUpdate(row.round_id, row.received_at_us, row.accepted, row.reason)
    return found


def _running(connection: Connection) -> dict[str, int | None]:
    c = rollout.c
    newest = sa.select(c.release_version).distinct().order_by(c.release_version.desc()).limit(RELEASES)
    rows: Iterable[Any] = connection.execute(
        sa.select(c.gateway, c.release_version, c.state)
        .where(c.release_version.in_(list(connection.execute(newest).scalars())))
        .order_by(c.release_version)
    )
    found: dict[str, int | None] = {}
    for row in rows:
        found[row.gateway] = row.release_version if row.state == "running" else found.get(row.gateway)
    return found


def _summary(said: object) -> SiteSummary | None:
    try:
        return SiteSummary.model_validate(said)
    except ValidationError:
        return None
