"""The whole product with its learning over stock Flower: aggregator and agents as processes, rows of real stores.

Captures, records and releases go over the plant's broker; the learning over a SuperLink with TLS and registered nodes.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks.stock_flower import FlowerPlant, flower_plant
from schemas.site_tables import gateway, learning_round
from tests.support.healthy_pumps import HealthyPumps
from tests.support.plant import SitePlant, site_plant, wait_until

GATEWAYS = ("gw-1", "gw-2")
PATIENCE_S = 600.0  # Flower starts a process for each message
pytestmark = [pytest.mark.nightly, pytest.mark.timeout(2400)]


@pytest.fixture
def flower() -> Iterator[FlowerPlant]:
    with flower_plant(durable=True) as plant:
        yield plant


@pytest.fixture
def plant(tmp_path: Path, flower: FlowerPlant) -> Iterator[SitePlant]:
    with tempfile.TemporaryDirectory(prefix="ut-") as short:  # socket paths are short
        site = f"""[learning]
carrier = "superlink"
round_interval_s = 3.0
deadline_s = 600.0
min_members = 2
steps = 20
[learning.superlink]
port = {flower.superlink.port}
ca_file = "{flower.tls.ca_file}"
socket = "{short}/relay.sock"
start_within_s = 180.0
[rollout]
staged = false
"""
        agents = """
status_interval_s = 0.5
[commissioning]
captures = 12
[[machines]]
machine = "pump-07"
rpm = 1797.0
"""
        with site_plant(tmp_path, gateways=GATEWAYS, settings=site, gateway_settings=agents) as plant:
            for name in GATEWAYS:
                settings = plant.bundle(name) / "gateway.toml"
                plant.stop(name)
                carrier = f'carrier = "superlink"\nsupernode_socket = "{short}/{name}.sock"\n'
                settings.write_text(f"{settings.read_text()}\n[learning]\n{carrier}")
                plant.start_gateway(name)
                flower.start_node(name, node_config={"socket": f"{short}/{name}.sock"})
            sensors = HealthyPumps(plant, GATEWAYS, captures_per_s=12.0)
            try:
                yield plant
            finally:
                sensors.stop()


def rows(plant: SitePlant, query: sa.Select[Any]) -> list[Any]:
    plant.check_alive()
    with plant.site_database() as connection:
        return list(connection.execute(query).mappings())


def released(plant: SitePlant) -> list[Any]:
    done = sa.select(learning_round).where(learning_round.c.state == "released")
    return rows(plant, done.order_by(learning_round.c.round_id))


def test_gateways_learn_from_their_stores_over_stock_flower_and_go_on_after_it_was_killed(
    plant: SitePlant, flower: FlowerPlant
) -> None:
    wait_until("a round brings a release", lambda: released(plant), within_s=PATIENCE_S)
    wait_until("the status tells", lambda: plant.site_status()["live"]["superlink_state"].get("carrying") == 1)
    flower.end("superlink")
    wait_until("the site sees it", lambda: plant.site_status()["live"]["superlink_state"].get("away") == 1)
    before = len(released(plant))
    flower.start_superlink()
    wait_until("rounds go on", lambda: len(released(plant)) > before + 1, within_s=PATIENCE_S)
    rounds = released(plant)
    assert [one["release_version"] for one in rounds] == [one["base_version"] + 1 for one in rounds]
    assert all(one["accepted"] == 2 for one in rounds)
    newest = rounds[-1]["release_version"]
    running = sa.select(gateway.c.release_version)
    wait_until("both run it", lambda: all(r["release_version"] >= newest for r in rows(plant, running)))
