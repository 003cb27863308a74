"""This file knows how the plant is: read from the databases of its aggregators, as anybody may beside them."""

import contextlib
import http.client
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from deploy.demo.names import AggregatorPlace
from schemas.database import open_database, sqlite_url
from schemas.site_tables import alarm, gateway, health, learning_round, machine_case, point, release, round_update


@dataclass(frozen=True, slots=True)
class GatewaySeen:
    """One gateway as its site knows it."""

    online: bool
    release_version: int
    release_digest: str


@dataclass(frozen=True, slots=True)
class SiteSeen:
    """One site at one moment.

    Attributes:
        captures: Judged captures in its database.
        gateways: By name.
        ready_points: Points that have learnt what healthy is.
        points: All points.
        alarmed: Machines for which an alarm was ever raised.
        cases: Machine to the words of its open case.
        fleet: Version of the enterprise's release to that which brought it to this site's gateways.
        current: Version of the current release.
        rounds: Rounds that led to a release.
        learners: Gateways whose updates were ever taken.
    """

    captures: int
    gateways: dict[str, GatewaySeen]
    ready_points: int
    points: int
    alarmed: frozenset[str]
    cases: dict[str, str]
    fleet: dict[int, int]
    current: int
    rounds: int
    learners: frozenset[str]


@dataclass(frozen=True, slots=True)
class EnterpriseSeen:
    """The enterprise at one moment: release version to the sites whose updates are in it."""

    releases: dict[int, frozenset[str]]


NOTHING = SiteSeen(0, {}, 0, 0, frozenset(), {}, {}, 0, 0, frozenset())


@contextlib.contextmanager
def _reading(place: AggregatorPlace) -> Iterator[Connection | None]:
    if not place.database.exists():
        yield None
        return
    engine = open_database(sqlite_url(place.database), read_only=True)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def look_at_site(place: AggregatorPlace) -> SiteSeen:
    """Read a site; nothing yet where its database is not made."""
    try:
        with _reading(place) as connection:
            return NOTHING if connection is None else _site(connection)
    except OperationalError:
        return NOTHING


def alarmed_point(place: AggregatorPlace, machine: str) -> str:
    """The measurement point of a machine's first alarm; the machine's name where there is none."""
    with _reading(place) as connection:
        if connection is None:
            return machine
        query = sa.select(alarm.c.point).where(alarm.c.machine == machine).order_by(alarm.c.received_at_us).limit(1)
        return connection.scalar(query) or machine


def look_at_enterprise(place: AggregatorPlace) -> EnterpriseSeen:
    """Read the enterprise; nothing yet where its database is not made."""
    try:
        with _reading(place) as connection:
            return EnterpriseSeen({}) if connection is None else EnterpriseSeen(_merged(connection))
    except OperationalError:
        return EnterpriseSeen({})


def _site(connection: Connection) -> SiteSeen:
    run = connection.execute
    learning = [row.learning for row in run(sa.select(point.c.learning))]
    releases = run(sa.select(release.c.release_version, release.c.level, release.c.state, release.c.manifest)).all()
    gateways = {
        row.gateway: GatewaySeen(bool(row.online), row.release_version, (row.status or {}).get("release_digest", ""))
        for row in run(sa.select(gateway.c.gateway, gateway.c.online, gateway.c.release_version, gateway.c.status))
    }
    return SiteSeen(
        captures=run(sa.select(sa.func.count()).select_from(health)).scalar_one(),
        gateways=gateways,
        ready_points=sum(1 for state in learning if state == "ready"),
        points=len(learning),
        alarmed=frozenset(run(sa.select(alarm.c.machine).distinct()).scalars()),
        cases={
            row.machine: row.title
            for row in run(
                sa.select(machine_case.c.machine, machine_case.c.title).where(machine_case.c.state != "closed")
            )
        },
        fleet={
            int(row.manifest.get("data", {}).get("fleet_version", 0)): row.release_version
            for row in releases
            if row.level == "fleet"
        },
        current=max((row.release_version for row in releases if row.state == "current"), default=0),
        rounds=run(
            sa.select(sa.func.count()).select_from(learning_round).where(learning_round.c.state == "released")
        ).scalar_one(),
        learners=frozenset(run(sa.select(round_update.c.member).where(round_update.c.accepted).distinct()).scalars()),
    )


def _merged(connection: Connection) -> dict[int, frozenset[str]]:
    query = (
        sa.select(learning_round.c.release_version, round_update.c.member)
        .join(round_update, round_update.c.round_id == learning_round.c.round_id)
        .where(learning_round.c.state == "released", round_update.c.accepted)
    )
    members: dict[int, set[str]] = {}
    for row in connection.execute(query):
        members.setdefault(row.release_version, set()).add(row.member)
    return {version: frozenset(names) for version, names in members.items()}


def page_answers(host: str, port: int) -> bool:
    """Whether a dashboard answers: its page, and its own word that it is well."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/")
        page = connection.getresponse()
        served = page.status == http.HTTPStatus.OK and b"<html" in page.read().lower()
        connection.request("GET", "/_stcore/health")
        return served and connection.getresponse().read().strip().lower() == b"ok"
    except (http.client.HTTPException, OSError):
        return False
    finally:
        connection.close()
