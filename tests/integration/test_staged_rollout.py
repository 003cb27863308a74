"""A release on its way through a real site: one canary, two others, a real broker, each part a process."""

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from aggregator.database import open_current, writing
from aggregator.registry import Registry
from schemas.database import sqlite_url
from schemas.release import VARIATION
from schemas.signing import Signer
from schemas.site_tables import gateway, release, release_event, rollout
from schemas.variation import SessionSums, Variation
from tests.support.captures import RATE_HZ, SAMPLES
from tests.support.healthy_pumps import HealthyPumps
from tests.support.plant import SitePlant, site_plant, wait_until
from vibration.detection_features import DETECTION_COUNT

GATEWAYS = ("gw-1", "gw-2", "gw-3")
CANARY = GATEWAYS[0]
pytestmark = pytest.mark.timeout(240)
CAPTURES_PER_S = 15.0
SLOWLY = """[rollout]
shadow_s = 2.0
shadow_windows = 20
canary_s = 3.0
shares = [0.5]
share_s = 2.0
answer_s = 30.0
"""
AT_ONCE_TO_THE_CANARY = """[rollout]
shadow_s = 0.0
shadow_windows = 0
canary_s = 60.0
answer_s = 0.0
"""
LEARNING = """[learning]
round_interval_s = 86400.0
min_members = 100
"""
GATEWAY = """
status_interval_s = 0.5
[commissioning]
captures = 12
[[machines]]
machine = "pump-07"
rpm = 1797.0
bearing = { name = "6205" }
"""


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SitePlant]:
    folder = tmp_path_factory.mktemp("staged")
    with site_plant(folder, gateways=GATEWAYS, settings=LEARNING + SLOWLY, gateway_settings=GATEWAY) as plant:
        sensors = HealthyPumps(plant, GATEWAYS, captures_per_s=CAPTURES_PER_S)
        try:
            wait_until("seventy healthy captures at each gateway", lambda: _heard(plant) >= 70, within_s=90)
            yield plant
        finally:
            sensors.stop()


def _heard(plant: SitePlant) -> int:
    plant.check_alive()
    return min((said.get("captures_stored", 0) for said in statuses(plant).values()), default=0)


def learnt(plant: SitePlant, change: Callable[[np.ndarray], np.ndarray], known: Variation | None = None) -> int:
    """Put a candidate into the registry, as the learning does at the end of a round; its version."""
    engine = open_current(sqlite_url(plant.folder / "var" / "site.db"))
    signer = Signer.load(plant.bundle(plant.site) / "signing.key")
    registry = Registry(engine, signer, lambda: time.time_ns() // 1000, staged=True)
    knowledge = {} if known is None else {VARIATION: known.pack()}
    with writing(engine) as connection:
        made = registry.publish(
            connection, change(registry.current().parameters()).astype(np.float32), level="site", data={}, metrics={},
            merge={}, knowledge=knowledge,
        )  # fmt: skip
    engine.dispose()
    return made.version


def blind() -> Variation:
    """Knowledge that calls every healthy machine far too loud: it expects a twentieth of the usual score."""
    plays = 1000.0 * np.array([-3.0, 9.0025, 0.01, -3.0, 9.02, 9.0])
    layout = (RATE_HZ, SAMPLES)
    return Variation({layout: SessionSums(1000.0, np.zeros(DETECTION_COUNT), 1000.0, plays)})


def rows(plant: SitePlant, table: sa.Table, version: int) -> list[Any]:
    with plant.site_database() as connection:
        return list(connection.execute(sa.select(table).where(table.c.release_version == version)).mappings())


def statuses(plant: SitePlant) -> dict[str, Any]:
    """Gateway -> what it last said of itself."""
    with plant.site_database() as connection:
        found = connection.execute(sa.select(gateway.c.gateway, gateway.c.status))
        return {row.gateway: row.status for row in found if row.gateway in GATEWAYS and row.status}


def stage(plant: SitePlant, version: int) -> str:
    plant.check_alive()
    (row,) = rows(plant, release, version)
    return str(row["stage"])


def stages(plant: SitePlant, version: int) -> list[str]:
    return [row["stage"] for row in rows(plant, release_event, version)]


def running(plant: SitePlant) -> dict[str, int]:
    return {name: said["release_version"] for name, said in statuses(plant).items()}


def test_a_good_release_is_tried_then_runs_on_the_canary_and_at_last_everywhere(plant: SitePlant) -> None:
    version = learnt(plant, lambda theta: theta * 1.0001)
    wait_until("it is everywhere", lambda: stage(plant, version) == "everywhere", within_s=90)
    wait_until("every gateway runs it", lambda: set(running(plant).values()) == {version}, within_s=30)
    assert stages(plant, version) == ["shadow", "canary", "staged", "everywhere"]
    wait_until("its trial is written down", lambda: rows(plant, rollout, version)[0]["shadow"])
    canary = next(row for row in rows(plant, rollout, version) if row["gateway"] == CANARY)
    assert canary["gate"]["auroc"] == pytest.approx(canary["gate"]["auroc_in_use"], abs=0.01)
    assert canary["gate"]["faults"] >= 12 * 7
    assert canary["shadow"]["windows"] >= 20
    assert sum(canary["shadow"]["in_limits_this"]) == canary["shadow"]["windows"]


def test_a_release_that_knows_nothing_any_more_is_withdrawn_before_anybody_runs_it(plant: SitePlant) -> None:
    before = running(plant)
    version = learnt(plant, np.zeros_like)
    wait_until("it is withdrawn", lambda: stage(plant, version) == "withdrawn", within_s=60)
    assert stages(plant, version) == ["shadow", "withdrawn"]
    assert "against" in rows(plant, release_event, version)[-1]["text"]
    assert running(plant) == before


def test_a_release_that_makes_the_canary_cry_wolf_is_taken_back_on_every_gateway_under_a_higher_version(
    plant: SitePlant,
) -> None:
    good = running(plant)[CANARY]
    text = plant.settings.read_text()
    plant.settings.write_text(text.replace(SLOWLY.strip(), AT_ONCE_TO_THE_CANARY.strip()))
    plant.processes["site"].send_signal(signal.SIGHUP)
    wait_until("the site goes by the new settings", lambda: "settings_reloaded" in plant.log("site"))
    version = learnt(plant, lambda theta: theta, blind())
    wait_until("it is withdrawn", lambda: stage(plant, version) == "withdrawn", within_s=60)
    assert stages(plant, version) == ["shadow", "canary", "withdrawn"]
    assert "healthy captures exceed" in rows(plant, release_event, version)[-1]["text"]
    wait_until("everybody is back", lambda: set(running(plant).values()) == {version + 1}, within_s=30)
    (back,) = rows(plant, release, version + 1)
    assert back["state"] == "current"
    assert back["manifest"]["merge"]["to"] == good
    theta = [rows(plant, release, one)[0]["manifest"]["files"]["parameters.bin"] for one in (good, version + 1)]
    assert theta[0] == theta[1]
