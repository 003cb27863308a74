"""This file knows machines, points and gateways as their messages show them: rows that are updated, not appended."""

import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aggregator.audit_book import write_audit
from schemas.logs import event
from schemas.messages import Alarm, Evidence, GatewayStatus, Health, PointNotice, PointStatus
from schemas.nameplate import Nameplate
from schemas.names import machine_of
from schemas.site_tables import gateway, health, machine, point

log = logging.getLogger(__name__)

INTERVALS = 16  # captures of which the usual interval of a point is the median
AboutPoint = Health | Alarm | Evidence | PointNotice


@dataclass(slots=True)
class _Point:
    gateway: str
    newest: tuple[int, int] = (-1, -1)
    measured_at_us: deque[int] = field(default_factory=lambda: deque(maxlen=INTERVALS + 1))
    changes: dict[str, Any] = field(default_factory=dict)
    window: Health | None = None
    """The newest one, which is not among the changes yet."""
    baseline_us: tuple[int | None, int | None] = (None, None)
    """First and last capture that healthy was learnt from; the last None while it is still being learnt."""

    def note_baseline(self, window: Health) -> None:
        """Follow from when to when a point learns; learning that begins again is a new baseline."""
        from_us, until_us = self.baseline_us
        if window.learning == "learning" and window.quality == "ok" and (from_us is None or until_us is not None):
            self.baseline_us = (window.measured_at_us, None)
        elif window.learning == "ready" and from_us is not None and until_us is None:
            self.baseline_us = (from_us, window.measured_at_us)
        else:
            return
        self.changes |= {"baseline_from_us": self.baseline_us[0], "baseline_until_us": self.baseline_us[1]}

    def take_window(self) -> None:
        """Say what the newest window says, before anything newer is said."""
        if self.window is not None:
            self.changes |= {
                "learning": self.window.learning,
                "quality": self.window.quality[:32],
                "last_measured_us": self.window.measured_at_us,
            }
            self.window = None

    def interval_s(self) -> float | None:
        steps = [later - earlier for earlier, later in pairwise(self.measured_at_us) if later > earlier]
        return median(steps) / 1e6 if steps else None


class PlantBook:
    """Gathers what a transaction's messages say of points, and writes each row once.

    It remembers the rows it has read; after a failed transaction it must `forget`.
    """

    def __init__(self) -> None:
        self._points: dict[str, _Point] = {}
        self._machines: set[str] = set()
        self._moved: set[tuple[str, str, str]] = set()

    def forget(self) -> None:
        """Read everything anew from the database."""
        self._points.clear()
        self._machines.clear()

    def note_record(
        self, connection: Connection, source: str, boot: int, sequence: int, record: AboutPoint, *, now_us: int
    ) -> None:
        """Take over what a record says of its point; a record that was overtaken changes no state."""
        known = self._known(connection, record.point, source, now_us=now_us)
        known.changes["last_received_us"] = now_us
        if boot == known.newest[0] and sequence < known.newest[1]:
            return
        known.newest = (boot, sequence)
        if isinstance(record, Health):
            known.measured_at_us.append(record.measured_at_us)
            known.window = record
            known.note_baseline(record)
        elif isinstance(record, PointNotice):
            known.take_window()
            known.changes |= {"learning": record.learning, "quality": record.quality[:32], "notice": record.text}

    def note_status(self, connection: Connection, source: str, status: PointStatus, *, now_us: int) -> None:
        """Take over what a gateway says of one of its points."""
        known = self._known(connection, status.point, source, now_us=now_us)
        known.take_window()
        known.changes |= {
            "learning": status.learning,
            "learning_share": status.learning_share,
            "quality": status.quality[:32],
        }

    def write(self, connection: Connection) -> None:
        """Write the rows of all points of which something was noted."""
        alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for name, known in self._points.items():
            known.take_window()
            if not known.changes:
                continue
            if "last_measured_us" in known.changes:
                known.changes["interval_s"] = known.interval_s()
            alike.setdefault(tuple(sorted(known.changes)), []).append({"of_point": name, **known.changes})
            known.changes = {}
        of_point = sa.update(point).where(point.c.point == sa.bindparam("of_point"))
        for rows in alike.values():
            connection.execute(of_point, rows)

    def _known(self, connection: Connection, name: str, source: str, *, now_us: int) -> _Point:
        known = self._points.get(name)
        if known is None:
            known = self._points[name] = self._read(connection, name, source, now_us=now_us)
        if known.gateway != source:
            if (name, known.gateway, source) not in self._moved:
                self._moved.add((name, known.gateway, source))
                text = f"point {name} moved from gateway {known.gateway} to {source}"
                write_audit(connection, at_us=now_us, actor=source, action="point_moved", text=text, about=name)
                event(log, logging.WARNING, "point_moved", point=name, before=known.gateway, now=source)
            known.gateway = source
            known.newest = (-1, -1)
            known.changes["gateway"] = source
        return known

    def _read(self, connection: Connection, name: str, source: str, *, now_us: int) -> _Point:
        on_machine = machine_of(name)
        if on_machine not in self._machines:
            write_machine(connection, on_machine, now_us=now_us)
            self._machines.add(on_machine)
        columns = (point.c.gateway, point.c.baseline_from_us, point.c.baseline_until_us)
        row = connection.execute(sa.select(*columns).where(point.c.point == name)).one_or_none()
        if row is None:
            connection.execute(
                sa.insert(point).values(
                    point=name, machine=on_machine, gateway=source,
                    learning="learning", learning_share=0.0, quality="ok", notice="",
                )
            )  # fmt: skip
            return _Point(source)
        known = _Point(row.gateway, baseline_us=(row.baseline_from_us, row.baseline_until_us))
        measured = connection.execute(
            sa.select(health.c.measured_at_us)
            .where(health.c.point == name)
            .order_by(health.c.measured_at_us.desc())
            .limit(INTERVALS + 1)
        ).scalars()
        known.measured_at_us.extend(sorted(measured))
        return known


def write_machine(connection: Connection, name: str, *, now_us: int, plate: Nameplate | None = None) -> None:
    """Make a machine known, and write what its nameplate says where there is one and no uploaded table says more."""
    row = connection.execute(
        sa.select(machine.c.machine, machine.c.asset_version).where(machine.c.machine == name)
    ).one_or_none()
    values: dict[str, Any] = {}
    if plate is not None:
        values = {
            "title": plate.title,
            "area": plate.area,
            "criticality": plate.criticality,
            "nameplate": plate.model_dump(mode="json", exclude_none=True, exclude={"area"}),
        }
    if row is None:
        plain = {"title": "", "criticality": 3, "nameplate": None}
        connection.execute(sa.insert(machine).values(machine=name, first_seen_us=now_us, **(plain | values)))
    elif values and row.asset_version is None:
        connection.execute(sa.update(machine).where(machine.c.machine == name).values(**values))


def write_nameplates(connection: Connection, plates: Iterable[Nameplate], *, now_us: int) -> None:
    """Write the nameplates of the settings."""
    for plate in plates:
        write_machine(connection, plate.machine, now_us=now_us, plate=plate)


def write_gateway(connection: Connection, name: str, **values: object) -> None:
    """Update a gateway's row, or make it."""
    changed = connection.execute(sa.update(gateway).where(gateway.c.gateway == name).values(**values))
    if changed.rowcount == 0:
        plain: dict[str, object] = {"online": False, "last_sequence": -1, "release_version": 0}
        connection.execute(sa.insert(gateway).values(gateway=name, **(plain | values)))


def write_status(
    connection: Connection, status: GatewayStatus, *, retained: bool, offline_after_s: float, now_us: int
) -> None:
    """Write what a gateway says of itself.

    A retained status is what the broker remembers: the gateway may be gone since, so its own time counts there.
    """
    said_at_us = min(status.at_us, now_us) if retained else now_us
    fresh = now_us - said_at_us <= offline_after_s * 1e6
    values: dict[str, object] = {
        "online": status.online and fresh,
        "boot": status.boot,
        "status": status.model_dump(mode="json"),
        "release_version": status.release_version,
    }
    if not retained:
        values["clock_ahead_s"] = (status.at_us - now_us) / 1e6
    if status.online:
        before = connection.execute(
            sa.select(gateway.c.last_seen_us).where(gateway.c.gateway == status.gateway)
        ).scalar_one_or_none()
        values["last_seen_us"] = max(said_at_us, before or 0) if retained else said_at_us
    write_gateway(connection, status.gateway, **values)


def write_lost(connection: Connection, names: Iterable[str]) -> None:
    """Note that nothing was heard of some gateways for too long."""
    connection.execute(sa.update(gateway).where(gateway.c.gateway.in_(list(names))).values(online=False))
