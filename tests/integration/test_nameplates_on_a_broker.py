"""A table uploaded on the dashboard, on its way through real processes and a real broker to a gateway and back."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.access import Visitor
from dashboard.queries.assets import read_assets_as_of, read_plate_sendings
from dashboard.request_writer import RequestWriter
from gateway_agent.site_plates import KEY
from gateway_agent.store import read_only
from gateway_agent.store_tables import meta_table
from schemas.capture import encode_capture
from schemas.csv_table import plain_row
from schemas.database import sqlite_url
from schemas.link import Link
from schemas.messages import encode
from schemas.plate_table import PlateTable, ToldPlate
from schemas.settings import BrokerSettings
from schemas.signing import Signer
from schemas.site_tables import health, request
from schemas.topics import CAPTURE, NAMEPLATES
from tests.support.captures import healthy
from tests.support.plant import SitePlant, run, site_plant, wait_until

GATEWAY_SETTINGS = """
status_interval_s = 0.3
[[machines]]
machine = "pump-07"
rpm = 1797.0
"""
ADDRESS = {"site": "north", "gateway": "gw-1"}
ANNA = Visitor("anna", "engineer")


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[SitePlant]:
    with site_plant(
        tmp_path, settings="[desk]\npoll_s = 0.05\n[learning]\nenabled = false\n", gateway_settings=GATEWAY_SETTINGS
    ) as made:
        run("aggregator", "enroll", "board", "--as", "dashboard", "--settings", str(made.settings),
            "--out", str(made.bundle("board")))  # fmt: skip
        yield made


def link_of(plant: SitePlant, name: str, stem: str) -> Link:
    broker = BrokerSettings.model_validate(
        {"port": plant.port, "username": stem, "password_file": plant.bundle(stem) / "password"}
    )
    link = Link(broker, name, subscriptions=[], on_message=lambda _: None)
    link.start()
    assert link.wait_connected(10)
    return link


def upload(plant: SitePlant, *rows: dict[str, Any]) -> None:
    url = sqlite_url(plant.folder / "var" / "site.db")
    writer = RequestWriter(
        url, Signer.load(plant.bundle("board") / "signing.key"), now_us=lambda: 1_700_000_000_000_000
    )
    request_id = writer.ask("set_assets", ANNA, values={"rows": list(rows)})

    def answer() -> Any:
        with plant.site_database() as connection:
            row = connection.execute(sa.select(request).where(request.c.request_id == request_id)).one()
        return (row.state, row.answer) if row.state != "new" else None

    state, said = wait_until("the site answers", answer)
    assert state == "done", said


def kept(plant: SitePlant) -> PlateTable | None:
    """What the gateway has on its disk."""
    folder = plant.bundle("gw-1") / tomllib.loads((plant.bundle("gw-1") / "gateway.toml").read_text()).get(
        "store", {}
    ).get("folder", "var")
    with read_only(folder) as connection:
        value = connection.execute(sa.select(meta_table.c.value).where(meta_table.c.key == KEY)).scalar_one_or_none()
    return None if value is None else PlateTable.model_validate_json(value)


def sending(plant: SitePlant) -> Any:
    with plant.site_database() as connection:
        found = read_plate_sendings(connection)
    return found[0] if found else None


def zone_bases(plant: SitePlant) -> list[str]:
    with plant.site_database() as connection:
        return list(connection.execute(sa.select(health.c.zone_basis).order_by(health.c.sequence)).scalars())


def test_an_uploaded_nameplate_judges_at_a_gateway_that_was_away_is_undone_and_cannot_be_rolled_back_by_others(
    plant: SitePlant,
) -> None:
    sensors, site = link_of(plant, "sensor-1", "sensors"), link_of(plant, "impostor", "north")
    topic = CAPTURE.path(**ADDRESS, machine="pump-07", position="de")
    numbers = iter(range(100))

    def judged(words: str) -> str:
        """Send one capture; the basis of its zone."""
        before = len(zone_bases(plant))
        assert sensors.publish(topic, encode_capture(healthy(next(numbers))))
        wait_until("one more capture is judged", lambda: len(zone_bases(plant)) > before)
        basis = zone_bases(plant)[-1]
        assert words in basis, basis
        return basis

    try:
        judged("power is unknown")
        plant.stop("gw-1")
        upload(plant, {"machine": "pump-07", "power_kw": 37.0, "foundation": "rigid"})
        wait_until("it is sent", lambda: sending(plant))
        assert (sending(plant).revision, sending(plant).online, sending(plant).takes) == (1, False, True)
        plant.start_gateway("gw-1")
        wait_until("the gateway that was away has it", lambda: sending(plant).in_force == 1)
        first = judged("is in zone")

        own = Signer.load(plant.bundle("gw-1") / "signing.key")
        forged = PlateTable(
            gateway="gw-1", revision=9, at_us=1, machines=(ToldPlate(machine="pump-07", power_kw=1.0),)
        )  # fmt: skip
        there = NAMEPLATES.path(**ADDRESS)
        site.publish(there, own.seal(there, encode(forged)))
        upload(plant, {"machine": "pump-07", "power_kw": 400.0, "foundation": "rigid"})
        wait_until("the change is in force", lambda: sending(plant).in_force == 2)
        assert judged("is in zone") != first
        old = kept(plant)
        assert old is not None
        replayed = old.model_copy(update={"revision": 1})
        site.publish(there, Signer.load(plant.bundle("north") / "signing.key").seal(there, encode(replayed)))
        refused = wait_until(
            "both are refused", lambda: len(plant.gateway_status("gw-1").get("control_refused", {})) == 2 and
            plant.gateway_status("gw-1")["control_refused"],
        )  # fmt: skip
        assert refused == {"unknown_key": 1, "older_revision": 1}

        with plant.site_database() as connection:
            again = [plain_row(row) for row in read_assets_as_of(connection, 1)]
        upload(plant, *json.loads(json.dumps(again)))
        wait_until("the undoing is in force", lambda: sending(plant).in_force == 3)
        table = kept(plant)
        assert table is not None
        assert [told.power_kw for told in table.machines] == [None]
        judged("power is unknown")
    finally:
        sensors.stop()
        site.stop()
