"""This file knows how everybody joins the demonstration plant: with the very command a plant uses, nothing by hand."""

import contextlib
import io
from pathlib import Path

from aggregator.command import main as aggregator
from deploy.demo.errors import StageFailed
from deploy.demo.names import AggregatorPlace, DemoPlant


def enrol_everybody(plant: DemoPlant) -> int:
    """Enrol whoever has no bundle yet; return how many that were.

    The order matters: keys of site and enterprise go to each other first, so that gateways are told both.

    Raises:
        StageFailed: The command refused.
    """
    before = sum(1 for _ in plant.folder.rglob("public.toml"))
    top = plant.enterprise
    for place in plant.aggregators:
        enrol(place, place.name, "--as", place.role, out=place.own_bundle)
        enrol(place, "dashboard", "--as", "dashboard", out=place.dashboard_folder)
    for site in plant.sites:
        keys = str(site.own_bundle / "public.toml")
        enrol(top, site.name, "--as", "site", "--key", keys, out=site.uplink_bundle)
        keys = str(top.own_bundle / "public.toml")
        enrol(site, top.name, "--as", "enterprise", "--key", keys, out=site.folder / "enterprise")
        for gateway in plant.gateways_of(site.name):
            enrol(site, gateway.name, out=gateway.folder)
            enrol(site, gateway.sensors, "--as", "sensors", "--gateway", gateway.name, out=gateway.sensors_folder)
    return sum(1 for _ in plant.folder.rglob("public.toml")) - before


def enrol(place: AggregatorPlace, name: str, *words: str, out: Path) -> None:
    """Enrol one client, unless its bundle is there already.

    Raises:
        StageFailed: The command refused.
    """
    if (out / "public.toml").exists():
        return
    said = io.StringIO()
    command = ["enroll", name, *words, "--settings", str(place.settings_file), "--out", str(out)]
    with contextlib.redirect_stderr(said):
        code = aggregator(command)
    if code != 0:
        raise StageFailed(f"aggregator {' '.join(command)} ended with {code}:\n{said.getvalue().strip()}")
