"""This file knows the settings of every part of the demonstration plant: ordinary settings, only at a quicker pace."""

import secrets
from collections.abc import Mapping
from pathlib import Path

from aggregator.broker_files import ServedBy
from deploy.demo.names import PHONE, PROGRAM, AggregatorPlace, DemoPlant, GatewayPlace
from deploy.demo.ports import HOST
from deploy.demo.secret_files import kept_secret
from deploy.demo.toml_text import toml_text
from schemas.database import sqlite_url

SITE_ROUND_S = 15.0
ENTERPRISE_ROUND_S = 15.0
STATUS_S = 1.0
SUMMARY_S = 5.0  # a site's word to the enterprise of how its machines stand


def write_aggregator_settings(plant: DemoPlant, place: AggregatorPlace, by: ServedBy) -> None:
    """Write site.toml or enterprise.toml."""
    own = place.own_bundle.relative_to(place.folder)
    is_site = place.role == "site"
    learning: dict[str, object] = {
        "round_interval_s": SITE_ROUND_S if is_site else ENTERPRISE_ROUND_S,
        "deadline_s": 20.0 if is_site else 40.0,
        "min_members": len(plant.gateways_of(place.name)) if is_site else len(plant.sites),
    }
    table: dict[str, object] = {
        "role": place.role,
        "name": place.name,
        "folder": "var",
        "broker": broker_table(own, place.broker_port, by, user=place.name, stem=place.role),
        "broker_server": {"kind": by, "host": HOST, "port": place.broker_port},
        "learning": learning,
    }
    if is_site:
        uplink = place.uplink_bundle.relative_to(place.folder)
        broker = broker_table(uplink, plant.enterprise.broker_port, by, user=place.name, stem="site")
        table["uplink"] = {
            "enterprise": plant.enterprise.name, "broker": broker, "summary_interval_s": SUMMARY_S,
            "summary_names_machines": True,
        }  # fmt: skip
        table["offline_after_s"] = 10.0
        table["rollout"] = {
            "shadow_s": 1.0, "shadow_windows": 10, "canary_s": 1.0, "shares": [0.5], "share_s": 1.0, "answer_s": 4.0,
        }  # fmt: skip
        table["notifications"] = _notifications(plant, place)
        table["machines"] = [plate for gateway in plant.gateways_of(place.name) for plate in gateway.machines]
    _write(place.settings_file, table, f"The {place.role} {place.name} of the demonstration plant.")


def write_gateway_settings(place: GatewayPlace, broker_port: int, by: ServedBy) -> None:
    """Write gateway.toml into the bundle."""
    table: dict[str, object] = {
        "site": place.site,
        "gateway": place.name,
        "status_interval_s": STATUS_S,
        "broker": broker_table(Path(), broker_port, by, user=place.name, stem="gateway"),
        "store": {"folder": "var", "raw_bytes": 256 << 20},
        "commissioning": {"captures": place.commissioning_captures},
        "learning": {"compare_every_s": 5.0},
        "machines": list(place.machines),
    }
    _write(place.folder / "gateway.toml", table, f"Gateway {place.name} at {place.site}.")


def write_sensor_settings(
    place: GatewayPlace, broker_port: int, by: ServedBy, *, seed: int, more: Mapping[str, object]
) -> None:
    """Write sim.toml: the sensors beside one gateway; `more` says what they play."""
    table: dict[str, object] = {
        "site": place.site,
        "gateway": place.name,
        "client_id": place.sensors,
        "seed": seed,
        "broker": broker_table(Path(), broker_port, by, user=place.sensors, stem="sensors"),
        **more,
    }
    _write(place.sensors_folder / "sim.toml", table, f"The sensors beside gateway {place.name}.")


def write_dashboard_settings(plant: DemoPlant, place: AggregatorPlace) -> None:
    """Write dashboard.toml of a site or of the enterprise, which shows the sites and lets people in by a token."""
    table: dict[str, object] = {
        "title": f"Site {place.name}",
        "database_url": sqlite_url(place.database),
        "port": place.dashboard_port,
        "signing_key_file": "signing.key",
        "access": {"by": "people"},
        "live": {"refresh_s": 2.0},
    }
    if place.role == "enterprise":
        addresses = {site.name: f"http://{HOST}:{site.dashboard_port}/" for site in plant.sites}
        table |= {
            "title": f"Enterprise {place.name}", "role": "enterprise", "site_addresses": addresses,
            "access": {"by": "token", "token_role": "viewer"},
        }  # fmt: skip
    _write(place.dashboard_folder / "dashboard.toml", table, f"The screen of {place.role} {place.name}.")


def write_message_files(plant: DemoPlant) -> None:
    """Write where each site's messages go, and the key that signs those to programs; only their owner reads them."""
    messages = plant.messages
    kept_secret(messages.secret_file, secrets.token_urlsafe(24))
    for site in plant.sites:
        for channel, scheme in ((PHONE, "json"), (PROGRAM, "http")):
            file = messages.url_file(site.name, channel)
            file.unlink(missing_ok=True)  # the port may be another one today
            address = f"{scheme}://{HOST}:{messages.port}/{messages.word}/{site.name}/{channel}"
            kept_secret(file, address)


def _notifications(plant: DemoPlant, place: AggregatorPlace) -> dict[str, object]:
    messages = plant.messages
    return {
        "dashboard_address": f"http://{HOST}:{place.dashboard_port}",
        "channels": [{"name": PHONE, "url_file": str(messages.url_file(place.name, PHONE))}],
        "webhooks": [{
            "name": PROGRAM, "url_file": str(messages.url_file(place.name, PROGRAM)),
            "secret_file": str(messages.secret_file),
        }],
    }  # fmt: skip


def broker_table(bundle: Path, port: int, by: ServedBy, *, user: str, stem: str) -> dict[str, object]:
    """How a client reaches a broker on the loopback.

    Args:
        bundle: Folder of its certificate or password, relative to the settings.
        port: Of the broker.
        by: Which broker serves.
        user: Its name, for a password.
        stem: Of its certificate's file.
    """
    where: dict[str, object] = {"host": HOST, "port": port, "keepalive_s": 10}
    if by == "mosquitto":
        files = {"ca_file": "ca.crt", "certificate_file": f"{stem}.crt", "key_file": f"{stem}.key"}
        return where | {name: str(bundle / file) for name, file in files.items()}
    return where | {"username": user, "password_file": str(bundle / "password")}


def _write(path: Path, table: Mapping[str, object], heading: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(toml_text(table, heading=f"{heading} Written by `make demo`, anew at every start."))
