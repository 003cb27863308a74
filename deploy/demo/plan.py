"""This file knows how names, ports and machines become one plan of the plant, simulated or played from recordings."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aggregator.broker_files import ServedBy
from deploy.demo.names import ENTERPRISE, AggregatorPlace, DemoPlant, Expected, GatewayPlace, MessagesPlace
from deploy.demo.ports import choose_ports
from deploy.demo.recordings import CastMachine, CastSite, cast_plant, write_playlist
from deploy.demo.secret_files import kept_secret
from deploy.demo.settings_files import (
    write_aggregator_settings,
    write_dashboard_settings,
    write_gateway_settings,
    write_message_files,
    write_sensor_settings,
)
from deploy.demo.simulated import SITES, SimulatedSite, simulated_sites, what_fails, write_scenario

GATEWAYS_A_SITE = 2
FIRST_BROKER_PORT = 18830
FIRST_DASHBOARD_PORT = 8501
MESSAGES_PORT = 8510
SEED = 7


@dataclass(frozen=True, slots=True)
class Sensors:
    """How the sensors beside one gateway are started, and their settings beyond where they speak."""

    gateway: GatewayPlace
    arguments: tuple[str, ...]
    settings: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Plan:
    """The plant, and what its sensors do."""

    plant: DemoPlant
    sensors: tuple[Sensors, ...]

    def write_settings(self, by: ServedBy) -> None:
        """Write the settings of every part; bundles, databases and what has been learnt stay."""
        plant = self.plant
        ports = {site.name: site.broker_port for site in plant.sites}
        write_message_files(plant)
        for place in plant.aggregators:
            write_aggregator_settings(plant, place, by)
            write_dashboard_settings(plant, place)
        for number, sensors in enumerate(self.sensors):
            gateway = sensors.gateway
            write_gateway_settings(gateway, ports[gateway.site], by)
            write_sensor_settings(gateway, ports[gateway.site], by, seed=SEED + number, more=sensors.settings)


def simulated_plan(folder: Path, pace: Mapping[str, float]) -> Plan:
    """Plan the simulated plant."""
    sites = simulated_sites(pace, gateways=GATEWAYS_A_SITE)
    fails = what_fails(pace)
    expected = Expected(
        failing=frozenset((site, machine) for site, machine, _, _ in fails),
        begins_s=min(onset_s for _, _, _, onset_s in fails),
        words=tuple(
            f"{machine} at site {site} starts to fail in about {onset_s:.0f} s ({kind} race of its bearing)"
            for site, machine, kind, onset_s in fails
        ),
    )
    sensors = []
    for site in sites:
        for number, plates in enumerate(site.shares, start=1):
            place = _gateway(folder, site.name, number, plates, round(pace["commission_captures"]))
            sensors.append(_simulated_sensors(site, place))
    return Plan(_plant(folder, tuple(sensors), expected), tuple(sensors))


def recorded_plan(folder: Path, recordings: Path) -> Plan:
    """Plan a plant that plays recordings.

    Raises:
        RecordingsUnfit: The folder holds nothing that can be shown.
    """
    cast = cast_plant(recordings, SITES)
    failing = [(site.name, one) for site in cast for share in site.shares for one in share if one.fails]
    expected = Expected(
        failing=frozenset((site, one.machine) for site, one in failing),
        begins_s=min(one.begins_s for _, one in failing),
        words=tuple(
            f"{one.machine} at site {site} starts to fail in about {one.begins_s:.0f} s "
            f"({one.then.label} race, {one.then.file})"
            for site, one in failing
        ),
    )
    sensors = [
        _played_sensors(folder, site, number, share, recordings)
        for site in cast
        for number, share in enumerate(site.shares, start=1)
    ]
    return Plan(_plant(folder, tuple(sensors), expected), tuple(sensors))


def _simulated_sensors(site: SimulatedSite, place: GatewayPlace) -> Sensors:
    file = place.sensors_folder / "scenario.toml"
    write_scenario(site, place.machine_names, file)
    settings = str(place.sensors_folder / "sim.toml")
    return Sensors(place, ("run", "--settings", settings), {"scenario": file.name})


def _played_sensors(
    folder: Path, site: CastSite, number: int, share: tuple[CastMachine, ...], recordings: Path
) -> Sensors:
    plates = tuple(one.nameplate() for one in share)
    place = _gateway(folder, site.name, number, plates, site.commissioning_captures)
    playlist = place.sensors_folder / "playlist.toml"
    write_playlist(share, playlist)
    settings = str(place.sensors_folder / "sim.toml")
    arguments = ("replay", "--settings", settings, "--playlist", str(playlist), "--recordings", str(recordings))
    return Sensors(place, arguments, {})


def _gateway(
    folder: Path, site: str, number: int, plates: tuple[dict[str, object], ...], captures: int
) -> GatewayPlace:
    name = f"{site}-gw-{number}"
    return GatewayPlace(site, name, folder / site / name, folder / site / f"{name}-sensors", plates, captures)


def _plant(folder: Path, sensors: tuple[Sensors, ...], expected: Expected) -> DemoPlant:
    wanted = {f"broker {name}": FIRST_BROKER_PORT + number for number, name in enumerate((ENTERPRISE, *SITES))}
    wanted |= {f"dashboard {name}": FIRST_DASHBOARD_PORT + number for number, name in enumerate((*SITES, ENTERPRISE))}
    wanted["messages"] = MESSAGES_PORT
    ports = choose_ports(wanted, folder / "ports.json")
    enterprise, *sites = (
        AggregatorPlace(role, name, folder / name, ports[f"broker {name}"], ports[f"dashboard {name}"])
        for role, name in (("enterprise", ENTERPRISE), *(("site", site) for site in SITES))
    )
    beside = folder / "messages"
    word = kept_secret(beside / "word", secrets.token_urlsafe(12))
    messages = MessagesPlace(beside, ports["messages"], word)
    return DemoPlant(folder, enterprise, tuple(sites), tuple(one.gateway for one in sensors), messages, expected)
