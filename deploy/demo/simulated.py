"""This file knows how the simulated plant is dealt out: one scenario, cut a gateway at a time."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.demo.errors import StageFailed
from deploy.demo.toml_text import toml_text
from sensor_sim.scenario import Scenario, load_scenario

SCENARIO = Path(__file__).resolve().parent.parent / "examples" / "scenarios" / "demo-plant.toml"
SITES = ("north", "south")
FAILING_SITE = "north"
SOUND = {"fault_severity": 0.0}
COMMISSION_CAPTURES = 60.0  # a minute; in half of that the wandering speed of motor-01 shows too little of itself
PACE: Mapping[str, float] = {
    "interval_s": 1.0, "commission_captures": COMMISSION_CAPTURES, "margin_s": 20.0, "fault_growth_s": 45.0,
}  # fmt: skip
CHECK_PACE: Mapping[str, float] = {
    "interval_s": 1.0, "commission_captures": COMMISSION_CAPTURES, "margin_s": 14.0, "fault_growth_s": 30.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SimulatedSite:
    """What is simulated at one site.

    Attributes:
        name: The site.
        variables: Of the scenario; these set its pace, and whether anything fails here.
        shares: Machines a gateway, as nameplate tables.
    """

    name: str
    variables: Mapping[str, float]
    shares: tuple[tuple[dict[str, object], ...], ...]


def simulated_sites(pace: Mapping[str, float], *, gateways: int) -> tuple[SimulatedSite, ...]:
    """Deal the scenario's machines out to the gateways of each site."""
    sites = []
    for name in SITES:
        variables = dict(pace) if name == FAILING_SITE else {**pace, **SOUND}
        scenario = _load(variables)
        machines: Sequence[dict[str, object]] = [
            machine.nameplate.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
            for machine in scenario.machines
        ]
        size = -(-len(machines) // gateways)
        shares = tuple(tuple(machines[first : first + size]) for first in range(0, len(machines), size))
        sites.append(SimulatedSite(name, variables, shares))
    return tuple(sites)


def what_fails(pace: Mapping[str, float]) -> tuple[tuple[str, str, str, float], ...]:
    """(site, machine, kind of fault, seconds after the sensors start) of everything that will fail."""
    return tuple(
        (FAILING_SITE, machine.name, fault.kind, fault.onset_s)
        for machine in _load(dict(pace)).machines
        for fault in machine.faults
        if fault.end_severity > 0
    )


def write_scenario(site: SimulatedSite, machines: Sequence[str], path: Path) -> None:
    """Write the part of the scenario that some of its machines are; they live exactly as in the whole."""
    whole: dict[str, Any] = tomllib.loads(SCENARIO.read_text(encoding="utf-8"))
    part = whole | {
        "title": f"{site.name}: {', '.join(machines)}",
        "variables": whole["variables"] | dict(site.variables),
        "machines": [one for one in whole["machines"] if one["nameplate"]["machine"] in machines],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(toml_text(part, heading=f"Cut from {SCENARIO.name} by `make demo`."), encoding="utf-8")


def _load(variables: Mapping[str, float]) -> Scenario:
    if not SCENARIO.is_file():
        raise StageFailed(f"the scenario {SCENARIO} is not there; the checkout is not complete")
    return load_scenario(SCENARIO, variables)
