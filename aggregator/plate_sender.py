"""This file knows how nameplates that a person uploaded reach the gateways: one retained message each, until in force.

What goes to a gateway follows from the tables: machines that an uploaded table speaks of, where they have a point there
or stand in that gateway's settings. A change gets a higher number; the row of `plate_sending` is written before
anything is said, so that a number is never used twice.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.engine import Connection, Engine

from aggregator.database import writing
from schemas.logs import event
from schemas.messages import encode
from schemas.nameplate import Nameplate
from schemas.plate_table import MOST_PLATES, PlateTable, ToldPlate
from schemas.signing import Signer
from schemas.site_tables import gateway, machine, plate_sending, point, table_version
from schemas.topics import NAMEPLATES

log = logging.getLogger(__name__)

LOOK_S = 5.0  # where no table has changed: a machine may have moved, a gateway may have come
REPEAT_S = 30.0  # three statuses at their usual rate
Publish = Callable[[str, bytes], bool]


@dataclass(slots=True)
class _Wanted:
    """What one gateway is to judge by, and what it says of that; `revision` is None while it says nothing."""

    online: bool = False
    revision: int | None = None
    asset_version: int = 0
    machines: dict[str, ToldPlate] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        said = "\n".join(self.machines[name].model_dump_json() for name in sorted(self.machines))
        return hashlib.sha256(said.encode()).hexdigest()


class PlateSender:
    """Looks whether gateways have what the tables say; `step` is one look."""

    def __init__(
        self, engine: Engine, *, site: str, signer: Signer, publish: Publish, now_us: Callable[[], int],
        now_s: Callable[[], float],
    ) -> None:  # fmt: skip
        self._engine = engine
        self._site = site
        self._signer = signer
        self._publish = publish
        self._now_us = now_us
        self._now_s = now_s
        self._version: int | None = None
        self._looked_at_s = -LOOK_S
        self._sent_at_s: dict[tuple[str, int], float] = {}
        self._too_many: set[str] = set()

    def step(self) -> None:
        """Number what has changed, and send what is not in force yet."""
        with self._engine.connect() as connection:
            newest = connection.execute(sa.select(sa.func.max(table_version.c.version_id))).scalar_one_or_none()
            if newest == self._version and self._now_s() - self._looked_at_s < LOOK_S:
                return
            wanted = _wanted(connection)
            known = {row.gateway: row for row in connection.execute(sa.select(plate_sending))}
        self._version, self._looked_at_s = newest, self._now_s()
        for name, one in wanted.items():
            if len(one.machines) > MOST_PLATES:
                self._refuse(name, len(one.machines))
                continue
            row = known.get(name)
            if row is None and not one.machines:
                continue
            revision = row.revision if row is not None else 0
            if row is not None and one.online and row.in_force != one.revision:
                self._note(name, one.revision)
            if row is None or row.digest != one.digest or (one.revision or 0) > revision:
                revision = max(revision, one.revision or 0) + 1
                self._write(name, revision, one)
            self._send(name, revision, one)

    def _send(self, name: str, revision: int, one: _Wanted) -> None:
        sent_at_s = self._sent_at_s.get((name, revision))
        if sent_at_s is None and one.revision == revision:
            return  # in force; the message is at the broker since an earlier start
        if sent_at_s is not None:
            unanswered = one.online and one.revision is not None and one.revision < revision
            if not unanswered or self._now_s() - sent_at_s < REPEAT_S:
                return
        topic = NAMEPLATES.path(site=self._site, gateway=name)
        table = PlateTable(
            gateway=name, revision=revision, asset_version=one.asset_version, at_us=self._now_us(),
            machines=tuple(one.machines[machine_name] for machine_name in sorted(one.machines)),
        )  # fmt: skip
        if self._publish(topic, self._signer.seal(topic, encode(table))):
            self._sent_at_s[name, revision] = self._now_s()
            event(log, logging.INFO, "nameplates_sent", gateway=name, revision=revision, machines=len(table.machines))

    def _write(self, name: str, revision: int, one: _Wanted) -> None:
        values = {
            "revision": revision, "digest": one.digest, "machines": len(one.machines),
            "asset_version": one.asset_version, "at_us": self._now_us(),
        }  # fmt: skip
        with writing(self._engine) as connection:
            mine = plate_sending.c.gateway == name
            if not connection.execute(sa.update(plate_sending).where(mine).values(values)).rowcount:
                connection.execute(sa.insert(plate_sending).values(gateway=name, **values))
        self._sent_at_s = {key: at_s for key, at_s in self._sent_at_s.items() if key[0] != name}

    def _note(self, name: str, in_force: int | None) -> None:
        with writing(self._engine) as connection:
            mine = plate_sending.c.gateway == name
            connection.execute(sa.update(plate_sending).where(mine).values(in_force=in_force))

    def _refuse(self, name: str, machines: int) -> None:
        if name not in self._too_many:
            self._too_many.add(name)
            event(log, logging.ERROR, "nameplates_not_sent", gateway=name, machines=machines,
                  text=f"{machines} machines of one gateway, {MOST_PLATES} fit into a message; split them")  # fmt: skip


def _wanted(connection: Connection) -> dict[str, _Wanted]:
    """Every gateway the site has heard of, with the nameplates that are for it."""
    told, versions = _told(connection)
    found: dict[str, _Wanted] = {}
    for row in connection.execute(sa.select(gateway.c.gateway, gateway.c.online, gateway.c.status)):
        status: Mapping[str, Any] = row.status if isinstance(row.status, dict) else {}
        one = found[row.gateway] = _Wanted(bool(row.online), status.get("plates_revision") if row.online else None)
        one.machines = {name: told[name] for name in status.get("machines", ()) if name in told}
    for name, at in connection.execute(sa.select(point.c.machine, point.c.gateway).distinct()):
        if name in told and at in found:
            found[at].machines[name] = told[name]
    for one in found.values():
        one.asset_version = max((versions[name] for name in one.machines), default=0)
    return found


def _told(connection: Connection) -> tuple[dict[str, ToldPlate], dict[str, int]]:
    """What uploaded tables say of machines, and by which version; what no gateway would take is left out."""
    told, versions = {}, {}
    c = machine.c
    for row in connection.execute(
        sa.select(c.machine, c.nameplate, c.asset_version).where(c.asset_version.is_not(None))
    ):
        try:
            plate = Nameplate.model_validate(row.nameplate or {}).model_copy(update={"machine": row.machine})
            told[row.machine] = ToldPlate.of(plate)
        except ValidationError as error:
            event(log, logging.WARNING, "nameplate_not_sendable", machine=row.machine, mistakes=error.error_count())
            continue
        versions[row.machine] = row.asset_version
    return told, versions
