"""This file knows what must hold before `make demo CHECK=1` may say that the plant works: judged from what was seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deploy.demo.names import DemoPlant
from deploy.demo.watch import EnterpriseSeen, SiteSeen


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything seen at one moment: sites by name, which pages answer, (site, words) of what a phone was told."""

    sites: Mapping[str, SiteSeen]
    enterprise: EnterpriseSeen
    pages: Mapping[str, bool]
    told: Sequence[tuple[str, str]]


@dataclass(slots=True)
class Checks:
    """The list of what must hold, and what has held already."""

    plant: DemoPlant
    _told: set[str] = field(default_factory=set)

    def judge(self, sight: Sight) -> dict[str, bool]:
        """Say of each promise, in words, whether it holds now."""
        plant = self.plant
        raised = alarms_of(sight)
        fleet = max((v for v, who in sight.enterprise.releases.items() if len(who) == len(plant.sites)), default=0)
        failing = ", ".join(f"{machine} at {site}" for site, machine in sorted(plant.expected.failing))
        return {
            "every page answers": all(sight.pages.get(site.name, False) for site in plant.sites),
            "every gateway's update has been merged at its site": all(
                {one.name for one in plant.gateways_of(name)} <= seen.learners for name, seen in sight.sites.items()
            ),
            "the enterprise has merged every site's update into a release": fleet > 0,
            "that release, or a later one, runs on every gateway": fleet > 0
            and all(_runs(seen, fleet, len(plant.gateways_of(name))) for name, seen in sight.sites.items()),
            f"the alarm is in the site's database: {failing}": plant.expected.failing <= raised,
            f"the shift's phone has been told: {failing}": all(
                any(told_by == site and machine in words for told_by, words in sight.told)
                for site, machine in plant.expected.failing
            ),
        }

    def newly_held(self, judged: Mapping[str, bool]) -> list[str]:
        """Promises that hold and have not been told yet."""
        fresh = [words for words, holds in judged.items() if holds and words not in self._told]
        self._told.update(fresh)
        return fresh

    def false_alarms(self, sight: Sight) -> set[tuple[str, str]]:
        """(site, machine) of alarms that nobody ordered."""
        return alarms_of(sight) - self.plant.expected.failing


def alarms_of(sight: Sight) -> set[tuple[str, str]]:
    """(site, machine) of all alarms that were ever raised."""
    return {(name, machine) for name, seen in sight.sites.items() for machine in seen.alarmed}


def _runs(seen: SiteSeen, fleet_version: int, gateways: int) -> bool:
    """Whether every gateway of a site runs a release made from the enterprise's release, or from a later one."""
    brought = [release for version, release in seen.fleet.items() if version >= fleet_version]
    if not brought or len(seen.gateways) < gateways:
        return False
    return all(gateway.online and gateway.release_version >= min(brought) for gateway in seen.gateways.values())
