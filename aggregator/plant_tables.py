"""This file knows the tables a plant keeps (assets, limits, bearings, routes): checked whole, written as a version.

The newest version of a kind is in force, older ones stay: taking one back is uploading the former. All or nothing: a
table with one wrong row changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, ValidationError
from sqlalchemy.engine import Connection, Row

from aggregator.desk_answers import RequestRefused
from schemas.asset_table import AssetRow, BearingRow, LimitRow, StopCost, unknown_bearing
from schemas.csv_table import check_rows, plain_row
from schemas.nameplate import BearingPlate, Nameplate
from schemas.notice_routes import MAX_ROUTES, Route
from schemas.requests import Request
from schemas.site_tables import machine, point, table_version

KEPT_VERSIONS = 200  # of each kind; older ones leave
TOLD_PROBLEMS = 5
_Row = TypeVar("_Row", bound=BaseModel)


def current_rows(connection: Connection, kind: str, model: type[_Row]) -> list[_Row]:
    """The rows in force of one kind; one that cannot be read any more is left out."""
    rows = connection.execute(
        sa.select(table_version.c.rows)
        .where(table_version.c.kind == kind)
        .order_by(table_version.c.version_id.desc())
        .limit(1)
    ).scalar_one_or_none()
    found = []
    for row in rows or ():
        try:
            found.append(model.model_validate(row))
        except ValidationError:
            continue
    return found


def write_version(
    connection: Connection, kind: str, rows: Sequence[BaseModel], *, actor: str, note: str, now_us: int
) -> int:
    """Put a table in force; return the number of its version."""
    made = connection.execute(
        sa.insert(table_version).values(
            kind=kind, at_us=now_us, actor=actor, note=note, rows=[plain_row(row) for row in rows]
        )
    ).inserted_primary_key
    assert made is not None
    kept = (
        sa.select(table_version.c.version_id)
        .where(table_version.c.kind == kind)
        .order_by(table_version.c.version_id.desc())
        .limit(KEPT_VERSIONS)
    )
    connection.execute(
        sa.delete(table_version).where(table_version.c.kind == kind, table_version.c.version_id.not_in(kept))
    )
    return int(made[0])


def set_assets(connection: Connection, asked: Request, now_us: int) -> str:
    """Write what a table says of machines; those it does not name stay as they are."""
    rows = _rows(asked, AssetRow, key=lambda row: row.machine)
    own = current_rows(connection, "bearings", BearingRow)
    wrong = [f"{row.machine}: {reason}" for row in rows if (reason := unknown_bearing(row, own))]
    _refuse(wrong)
    if not connection.execute(sa.select(sa.literal(1)).where(table_version.c.kind == "assets").limit(1)).first():
        before = [asset_row(row) for row in connection.execute(sa.select(machine).order_by(machine.c.machine))]
        write_version(connection, "assets", before, actor="site", note="as it was before", now_us=now_us)
    version = write_version(connection, "assets", rows, actor=asked.actor, note=asked.note, now_us=now_us)
    known = {row.machine: row for row in connection.execute(sa.select(machine))}
    changed = 0
    for row in rows:
        plate = _kept(row.nameplate(own), known.get(row.machine))
        values = {
            "title": row.title, "area": row.area, "criticality": row.criticality,
            "nameplate": plate.model_dump(mode="json", exclude_none=True, exclude={"area"}),
            "stop_cost_per_h": row.stop_cost_per_h, "currency": row.currency, "stop_h": row.stop_h,
        }  # fmt: skip
        found = known.get(row.machine)
        if found is None:
            connection.execute(
                sa.insert(machine).values(machine=row.machine, first_seen_us=now_us, asset_version=version, **values)
            )
        else:
            connection.execute(
                sa.update(machine).where(machine.c.machine == row.machine).values(asset_version=version, **values)
            )
        changed += found is None or any(_of(found, name) != value for name, value in values.items())
    gone = _drop_unused(connection, {row.machine for row in rows})
    return f"assets version {version}: {len(rows)} machines, {changed} changed" + (
        f", {gone} taken off" if gone else ""
    )


def _of(row: Row[Any], name: str) -> object:
    """A column as `set_assets` writes it; a gateway's own nameplate names its line as well."""
    value = getattr(row, name)
    if name == "nameplate" and value is not None:
        return {key: one for key, one in value.items() if key != "area"}
    return value


def set_limits(connection: Connection, asked: Request, now_us: int) -> str:
    """Put a table of limits in force instead of the former."""
    rows = _rows(asked, LimitRow, key=limit_key)
    known = set(connection.execute(sa.select(machine.c.machine)).scalars())
    known |= set(connection.execute(sa.select(point.c.point)).scalars())
    _refuse([f"{row.applies_to}: no machine or point of this name is known" for row in rows
             if row.applies_to not in known])  # fmt: skip
    version = write_version(connection, "limits", rows, actor=asked.actor, note=asked.note, now_us=now_us)
    return f"limits version {version}: {len(rows)} limits in force"


def set_bearings(connection: Connection, asked: Request, now_us: int) -> str:
    """Put a table of the plant's own bearings in force instead of the former."""
    rows = _rows(asked, BearingRow, key=lambda row: row.name.casefold())
    version = write_version(connection, "bearings", rows, actor=asked.actor, note=asked.note, now_us=now_us)
    return f"bearings version {version}: {len(rows)} own bearings"


def set_routes(connection: Connection, asked: Request, now_us: int, channels: Iterable[str]) -> str:
    """Put a table of routes in force instead of the former."""
    rows = _rows(asked, Route, key=lambda row: row.name.casefold())
    if len(rows) > MAX_ROUTES:
        raise RequestRefused(f"{len(rows)} routes found, {MAX_ROUTES} allowed")
    known = set(channels)
    _refuse([f"{row.name}: no channel {row.channel!r}; the aggregator's settings name "
             f"{', '.join(sorted(known)) or 'none'}" for row in rows if row.channel not in known])  # fmt: skip
    version = write_version(connection, "routes", rows, actor=asked.actor, note=asked.note, now_us=now_us)
    return f"routes version {version}: {len(rows)} routes"


def asset_row(row: Row[Any]) -> AssetRow:
    """The table row of a machine as the database has it; a nameplate that cannot be read counts as none."""
    try:
        plate = Nameplate.model_validate(row.nameplate) if row.nameplate else None
        stop = StopCost(row.stop_cost_per_h, row.currency, row.stop_h)
        return AssetRow.of(row.machine, row.title, row.area, row.criticality, plate, stop)
    except ValidationError:
        return AssetRow.of(row.machine, row.title[:200], row.area[:200], 3, None)


def limit_key(row: LimitRow) -> object:
    """What two limits must not share."""
    return row.applies_to, row.quantity, row.rpm_from, row.rpm_to


def _rows(asked: Request, model: type[_Row], *, key: Callable[[_Row], object]) -> tuple[_Row, ...]:
    given = asked.values.get("rows")
    if not isinstance(given, list):
        raise RequestRefused("no rows found; a table is a list of rows")
    numbered: list[tuple[int, Mapping[str, Any]]] = [(2 + index, row) for index, row in enumerate(given)]
    table = check_rows(numbered, model, key=key)
    _refuse([str(problem) for problem in table.problems])
    return table.rows


def _refuse(wrong: Sequence[str]) -> None:
    if wrong:
        more = f" and {len(wrong) - TOLD_PROBLEMS} more" if len(wrong) > TOLD_PROBLEMS else ""
        raise RequestRefused(f"nothing has changed: {'; '.join(wrong[:TOLD_PROBLEMS])}{more}")


def _kept(plate: Nameplate, row: Row[Any] | None) -> Nameplate:
    """Keep what the table has no column for: the sensors' unit, a maker's multipliers of the same bearing."""
    if row is None or not row.nameplate:
        return plate
    try:
        before = Nameplate.model_validate(row.nameplate)
    except ValidationError:
        return plate
    changes: dict[str, object] = {"unit_calibrated": before.unit_calibrated, "sensor_from_hz": before.sensor_from_hz}
    old, new = before.bearing, plate.bearing
    same = old is not None and (new.name if new else None) == old.name
    if same and old is not None and old.orders and (new is None or new.elements is None):
        changes["bearing"] = BearingPlate(name=old.name, elements=old.elements, orders=old.orders)
    return plate.model_copy(update=changes)


def _drop_unused(connection: Connection, listed: set[str]) -> int:
    """Take off machines that only an earlier table knew: they never had a point."""
    unused = connection.execute(
        sa.select(machine.c.machine).where(
            machine.c.asset_version.is_not(None),
            ~sa.exists().where(point.c.machine == machine.c.machine),
        )
    ).scalars()
    gone = [name for name in unused if name not in listed]
    if gone:
        connection.execute(sa.delete(machine).where(machine.c.machine.in_(gone)))
    return len(gone)
