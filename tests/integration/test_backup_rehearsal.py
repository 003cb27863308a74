"""The rehearsal of docs/backup.md in real processes: gateway and site backed up at work, lost, and restored."""

import signal
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway_agent.store import read_only
from gateway_agent.store_tables import outbox_table
from schemas.capture import encode_capture
from schemas.settings import BrokerSettings, Settings, load_settings
from schemas.site_tables import gap, health, uplink, uplink_ahead
from schemas.topics import CAPTURE
from tests.support.brokers import linked
from tests.support.captures import healthy
from tests.support.plant import SitePlant, run, site_plant, wait_until

pytestmark = pytest.mark.timeout(120)


class SensorSettings(Settings):
    """What of a sensors' bundle is needed here."""

    broker: BrokerSettings


def measure(plant: SitePlant, *sequences: int) -> None:
    """Publish captures, and wait until the site has their results."""
    broker = load_settings(SensorSettings, plant.bundle("sensors") / "broker.toml").broker
    topic = CAPTURE.path(site=plant.site, gateway="gw-1", machine="pump-07", position="de")
    with linked(broker, "sensors") as (link, _):
        for sequence in sequences:
            assert link.publish(topic, encode_capture(healthy(sequence)))
        wait_until(f"the site has {sequences}", lambda: set(sequences) <= set(told(plant)), every_s=0.05)


def told(plant: SitePlant) -> list[int]:
    """Captures whose results the site has."""
    with plant.site_database() as database:
        return sorted(database.execute(sa.select(health.c.capture_sequence)).scalars())


def all_told(plant: SitePlant) -> bool:
    """Whether nothing waits at the gateway."""
    with read_only(plant.bundle("gw-1") / "var") as store:
        return store.execute(sa.select(outbox_table.c.sequence)).first() is None


def test_plant_whose_gateway_and_site_are_lost_goes_on_from_their_backups(tmp_path: Path) -> None:
    machines = 'status_interval_s = 0.5\n[[machines]]\nmachine = "pump-07"\n'
    with site_plant(tmp_path, settings="[learning]\nenabled = false\n", gateway_settings=machines) as plant:
        services = {
            "gw-1": ("gateway_agent", plant.bundle("gw-1") / "gateway.toml", tmp_path / "gw-1.tar"),
            "site": ("aggregator", plant.settings, tmp_path / "site.tar"),
        }
        measure(plant, *range(5))
        wait_until("the outbox is empty", lambda: all_told(plant), every_s=0.05)
        for module, settings, file in services.values():
            run(module, "backup", "--settings", str(settings), "--out", str(file))
        measure(plant, 5, 6, 7)

        for name in services:
            plant.stop(name, by=signal.SIGKILL)
        for path in (*(plant.bundle("gw-1") / "var").glob("gateway.db*"), *(tmp_path / "var").glob("site.db*")):
            path.unlink()
        for module, settings, file in services.values():
            run(module, "restore", "--settings", str(settings), "--from", str(file), "--replace")
        plant.start("site", "aggregator", "run", "--settings", str(plant.settings))
        plant.start_gateway("gw-1")

        measure(plant, 20, 21)
        wait_until("the outbox is empty", lambda: all_told(plant), every_s=0.05)
        assert told(plant) == [0, 1, 2, 3, 4, 20, 21]
        with plant.site_database() as database:
            (lost,) = database.execute(sa.select(gap).where(gap.c.what == "records")).all()
            (stream,) = database.execute(sa.select(uplink)).all()
            assert database.execute(sa.select(uplink_ahead)).all() == []
        assert lost.source == "restore"
        assert "restored from the back-up of" in lost.reason
        assert lost.first == 5 < lost.last < stream.through
