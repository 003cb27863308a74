"""This file knows what became of the fleet's newest release at this site, and whether the enterprise has heard it."""

import threading
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from aggregator.registry import FLEET_VERSION, ROLLED_BACK
from schemas.release_fate import MAX_TEXT, ReleaseFate, State
from schemas.site_tables import release, release_event

STAGES = ("shadow", "canary", "staged", "everywhere", "withdrawn")


class Fates:
    """What is to be told upward: what has changed since the enterprise last acknowledged something."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._heard = ""

    def untold(self) -> ReleaseFate | None:
        """What the enterprise has not acknowledged in this life of the process; None when there is nothing."""
        with self._engine.connect() as connection:
            fate = fate_here(connection)
        with self._lock:
            return None if fate is None or fate.key == self._heard else fate

    def heard(self, key: str) -> None:
        """The enterprise has it in its database."""
        with self._lock:
            self._heard = key


def fate_here(connection: Connection) -> ReleaseFate | None:
    """What became of the newest release of the fleet; also through releases that this site has learnt on it.

    A site's own rounds go on from the fleet's release while it is on its way, and it is a child that arrives then.
    """
    c = release.c
    rows = connection.execute(
        sa.select(c.release_version, c.level, c.state, c.stage, c.manifest).order_by(c.release_version.desc())
    ).all()
    fleet = next((row for row in rows if row.level == "fleet" and _rule(row.manifest) != ROLLED_BACK), None)
    version = 0 if fleet is None else int(fleet.manifest.get("data", {}).get(FLEET_VERSION, 0))
    if fleet is None or not version:
        return None
    mine = [
        row
        for row in rows
        if row.release_version >= fleet.release_version and row.manifest.get("data", {}).get(FLEET_VERSION) == version
    ]
    state: State = "withdrawn"
    one = next((row for row in mine if row.state in {"current", "superseded"}), None)
    if one is not None:
        state = "running"
    elif candidates := [row for row in mine if row.state == "candidate"]:
        one, state = next((row for row in candidates if row.stage is not None), candidates[0]), "trying"
    else:
        one = next((row for row in mine if row.stage == "withdrawn"), fleet)
    event = connection.execute(
        sa.select(release_event)
        .where(release_event.c.release_version == one.release_version, release_event.c.stage.in_(STAGES))
        .order_by(release_event.c.event_id.desc())
        .limit(1)
    ).one_or_none()
    if event is None:
        return ReleaseFate(version, state, one.stage or "")
    figures = {name: float(value) for name, value in (event.evidence or {}).items()}
    return ReleaseFate(version, state, event.stage, event.text[:MAX_TEXT], figures)


def _rule(manifest: dict[str, Any]) -> object:
    return manifest.get("merge", {}).get("rule")
