"""This file knows how a site sums up how its machines stand, for its enterprise: counts, and names only if allowed.

States are those of the plant's own pages, by the same order of rules; a test holds the two together.
"""

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from schemas.site_summary import MOST_NAMED, STATES, MachineState, NamedMachine, SiteSummary
from schemas.site_tables import gateway, machine, machine_case, point, release

SILENT_INTERVALS, SILENT_FLOOR_S, ASSUMED_INTERVAL_S = 3.0, 30.0, 900.0  # as a plant's pages have them by default
STOPPED: Final = "machine_stopped"
BELIEVED: Final = frozenset({"ok", "remounted"})
NAMED_STATES: Final = frozenset({"danger", "alert", "notice"})


def summarise(
    connection: Connection, site: str, *, now_us: int, interval_s: float, name_machines: bool
) -> SiteSummary:  # fmt: skip
    """Sum up a site as it stands now.

    Args:
        connection: To the site's database.
        site: Its name.
        now_us: The time to judge by.
        interval_s: When the next summary is to be expected.
        name_machines: Whether the worst machines may be named.
    """
    points: dict[str, list[Row[Any]]] = {}
    for row in connection.execute(sa.select(point)):
        points.setdefault(row.machine, []).append(row)
    cases = {
        row.machine: row for row in connection.execute(sa.select(machine_case).where(machine_case.c.state != "closed"))
    }
    machines = connection.execute(sa.select(machine.c.machine, machine.c.title)).all()
    states = {row.machine: state_of(cases.get(row.machine), points.get(row.machine, ()), now_us) for row in machines}
    newest = [row.last_received_us for rows in points.values() for row in rows if row.last_received_us is not None]
    gateways = connection.execute(sa.select(gateway.c.online, gateway.c.release_version)).all()
    current = _current_release(connection)
    named = [row for row in machines if states[row.machine] in NAMED_STATES]
    named.sort(key=lambda row: (STATES.index(states[row.machine]), cases[row.machine].opened_at_us, row.machine))
    return SiteSummary(
        site=site,
        at_us=now_us,
        interval_s=interval_s,
        newest_data_us=max(newest, default=None),
        states=dict(Counter(states.values())),
        acknowledged=sum(cases[row.machine].state == "acknowledged" for row in named),
        points=sum(len(rows) for rows in points.values()),
        points_assessable=sum(_is_assessable(row, now_us) for rows in points.values() for row in rows),
        gateways=len(gateways),
        gateways_online=sum(row.online for row in gateways),
        gateways_current=sum(row.online and row.release_version == current[0] for row in gateways),
        release_version=current[0],
        fleet_version=current[1],
        software=version("undertone")[:32],
        names_allowed=name_machines,
        worst=tuple(_named(row, states[row.machine], cases[row.machine]) for row in named[:MOST_NAMED])
        if name_machines
        else (),
    )


def state_of(case: Row[Any] | None, points: Sequence[Row[Any]], now_us: int) -> MachineState:
    """Say how one machine stands: by its open case, else by what its points say of themselves."""
    shelved = case is not None and case.shelved_until_us is not None and case.shelved_until_us > now_us
    if case is not None and not shelved:
        known: dict[str, MachineState] = {"danger": "danger", "alert": "alert", "sensor": "sensor"}
        return known.get(case.priority, "notice")
    silent = [row for row in points if _is_silent(row, now_us)]
    fresh = [row for row in points if row not in silent]
    if len(silent) == len(points):
        return "unknown"
    if any(row.learning == "suspect" or row.quality not in {STOPPED, *BELIEVED} for row in points):
        return "sensor"
    if silent:
        return "unknown"
    if shelved:
        return "shelved"
    if all(row.quality == STOPPED for row in fresh):
        return "stopped"
    return "learning" if any(row.learning == "learning" for row in fresh) else "normal"


def _is_silent(row: Row[Any], now_us: int) -> bool:
    newest_us = row.last_received_us if row.last_received_us is not None else row.last_measured_us
    interval_s = row.interval_s if row.interval_s and row.interval_s > 0 else ASSUMED_INTERVAL_S
    return newest_us is None or (now_us - newest_us) / 1e6 > max(SILENT_FLOOR_S, SILENT_INTERVALS * interval_s)


def _is_assessable(row: Row[Any], now_us: int) -> bool:
    return row.learning == "ready" and row.quality in BELIEVED and not _is_silent(row, now_us)


def _current_release(connection: Connection) -> tuple[int, int]:
    """The site's current release, and the fleet's in it; zeros before the first."""
    query = sa.select(release.c.release_version, release.c.manifest).where(release.c.state == "current")
    row = connection.execute(query.order_by(release.c.release_version.desc()).limit(1)).one_or_none()
    if row is None:
        return 0, 0
    data = row.manifest.get("data") if isinstance(row.manifest, dict) else None
    fleet = data.get("fleet_version", 0) if isinstance(data, dict) else 0
    return row.release_version, fleet if isinstance(fleet, int) else 0


def _named(row: Any, state: MachineState, case: Any) -> NamedMachine:
    diagnosis = case.diagnosis if isinstance(case.diagnosis, list) else []
    labels = [str(one.get("label", "")) for one in diagnosis if isinstance(one, dict)]
    return NamedMachine(
        machine=row.machine, title=row.title[:200], state=state,
        cause=labels[0] if labels and labels[0] != "unknown" else "", since_us=case.opened_at_us,
        acknowledged=case.state == "acknowledged",
    )  # fmt: skip
