"""This file knows the nameplates a site has sent: checked, kept on disk, laid over those of the settings file.

The settings file stays the default: what the site's table leaves open, and every machine it does not name, is judged by
it. Only the newest revision is in force, across restarts; an older one sent again is refused.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from gateway_agent.judge import bearing_orders
from gateway_agent.settings import GatewaySettings
from gateway_agent.store import Store
from schemas.errors import RejectedInput, SettingsError
from schemas.messages import encode
from schemas.nameplate import Nameplate
from schemas.plate_table import PlateTable, ToldPlate

KEY = "site_plates"  # under which the store remembers them
PROBLEM_CHARACTERS = 400
_SHARED = ("ingest", "commissioning", "alarm", "learning", "accept_unknown_machines", "status_interval_s")
_SHARED_STORE = ("keep_raw", "raw_bytes", "raw_days", "pinned_bytes", "outbox_bytes", "health_rows", "health_days")


class PlatesRefused(RejectedInput):
    """A table of nameplates that is not taken over; the one before stays in force."""


@dataclass(slots=True)
class SitePlates:
    """The table in force, in the store as well.

    Attributes:
        problem: Why the last one that came was refused; empty when it is in force.
    """

    store: Store
    gateway: str
    table: PlateTable | None = None
    problem: str = ""

    @classmethod
    def open(cls, store: Store, gateway: str) -> "SitePlates":
        """What was in force when the agent ended; one that cannot be read any more is asked for again."""
        kept = store.remembered(KEY)
        if kept is None:
            return cls(store, gateway)
        try:
            return cls(store, gateway, PlateTable.model_validate_json(kept))
        except ValidationError as error:
            return cls(store, gateway, problem=f"what was kept cannot be read: {error.error_count()} mistakes")

    @property
    def revision(self) -> int:
        """Of the table in force; 0 before the first."""
        return self.table.revision if self.table is not None else 0

    def take(self, table: PlateTable, settings: GatewaySettings, heard: Iterable[str]) -> bool:
        """Check a table and keep it; False when it is in force already.

        Args:
            table: As the site signed it.
            settings: Of the file.
            heard: Machines that have sent captures here.

        Raises:
            PlatesRefused: With `reason` wrong_gateway, older_revision, other_content or bad_bearing.
            StoreFull: It could not be kept; it is not in force.
        """
        if table.gateway != self.gateway:
            raise PlatesRefused("wrong_gateway", f"nameplates for {table.gateway} found, this is {self.gateway}")
        if self.table is not None and table.revision <= self.table.revision:
            if table == self.table:
                self.problem = ""
                return False
            older = table.revision < self.table.revision
            raise PlatesRefused(
                "older_revision" if older else "other_content",
                f"nameplates of revision {table.revision} found, {self.table.revision} is in force; "
                "the site sends changes under a higher number",
            )
        own = {plate.machine for plate in settings.machines} | set(heard)
        kept = table.model_copy(update={"machines": tuple(told for told in table.machines if told.machine in own)})
        try:
            for plate in laid_over(kept.machines, settings):
                bearing_orders(plate)
        except SettingsError as error:
            self.problem = f"revision {table.revision} refused: {error}"[:PROBLEM_CHARACTERS]
            raise PlatesRefused("bad_bearing", str(error)) from error
        self.store.remember(KEY, encode(table).decode())
        self.table, self.problem = table, ""
        return True

    def over(self, settings: GatewaySettings) -> GatewaySettings:
        """Settings with the nameplates in force; one whose bearing cannot be found any more stays the file's own."""
        if self.table is None:
            return settings
        own = {plate.machine: plate for plate in settings.machines}
        machines = []
        for plate in laid_over(self.table.machines, settings):
            try:
                bearing_orders(plate)
                machines.append(plate)
            except SettingsError as error:
                self.problem = f"revision {self.revision}: {error}"[:PROBLEM_CHARACTERS]
                machines.append(own.get(plate.machine) or Nameplate(machine=plate.machine))
        return settings.model_copy(update={"machines": tuple(machines)})


def laid_over(told: Iterable[ToldPlate], settings: GatewaySettings) -> list[Nameplate]:
    """Every nameplate to judge by: those of the file with what the site tells, then machines only the site knows."""
    by_name = {one.machine: one for one in told}
    plates = [
        by_name.pop(plate.machine).over(plate) if plate.machine in by_name else plate for plate in settings.machines
    ]
    return plates + [one.over(Nameplate(machine=name)) for name, one in by_name.items()]


def settings_hash(settings: GatewaySettings) -> str:
    """Twelve hex digits of the settings that gateways of one plant usually share; names, paths and machines are not."""
    said = settings.model_dump(mode="json")
    shared = {name: said[name] for name in _SHARED}
    shared["store"] = {name: said["store"][name] for name in _SHARED_STORE}
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:12]
