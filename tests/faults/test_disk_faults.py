"""Rows 5 and 6: the disk of gateway or site is full, or fails to sync, while captures come."""

from pathlib import Path

import pytest

from tests.support.faults.data_path import DataPath, data_path, preferred_broker, within
from tests.support.faults.small_disk import small_disk
from tests.support.faults.system_calls import injecting, require_strace


@pytest.mark.root
def test_full_disks_of_gateway_and_site_stop_the_flow_and_lose_nothing_once_there_is_room(tmp_path: Path) -> None:
    """The sensor alone with a gateway is in tests/integration; here the whole path runs full, the site first."""
    with (
        small_disk(tmp_path / "gateway-disk", megabytes=6) as gateway_disk,
        small_disk(tmp_path / "site-disk", megabytes=6) as site_disk,
        preferred_broker() as broker,
        data_path(tmp_path, broker, stores=gateway_disk.folder, site_folder=site_disk.folder / "site") as path,
        path.running() as (agent, site),
        path.sensor() as sensor,
    ):
        sensor.wait_acknowledged(10)
        path.wait_drained()
        site_disk.fill()
        within("the site says that its database is full", lambda: "database_away" in site.log.read_text())
        known = len(path.at_site())
        gateway_disk.fill()
        within("the gateway says that its disk is full", lambda: "disk_full" in agent.log.read_text())
        assert path.in_outbox() > 0
        agent.wait_notice("WATCHDOG=1")  # a full disk is no reason to be killed
        assert len(path.at_site()) == known
        gateway_disk.empty()
        site_disk.empty()
        sensor.wait_all_acknowledged()
        path.wait_drained()
        assert path.check_invariants(sensor) == sensor.measured
        assert "disk_has_room_again" in agent.log.read_text()


def _fails_to_sync(path: DataPath, which: str, number: int) -> str:
    """Let the n-th sync and all later ones of a service fail under load; what it logged until it ended."""
    failing = injecting("fdatasync", f"error=EIO:when={number}+")
    service = path.site if which == "site" else path.gateway
    with service(prefix=failing) as broken:
        assert broken.process.wait(30) == 1, broken.log.read_text()[-3000:]
        return broken.log.read_text()


@pytest.mark.parametrize("which", ["gateway", pytest.param("site", marks=pytest.mark.nightly)])
def test_a_sync_that_fails_ends_the_service_before_anything_more_is_acknowledged(tmp_path: Path, which: str) -> None:
    """After a failed sync nobody knows what is on the disk: it is never tried again, only read again at a restart."""
    require_strace()
    with preferred_broker() as broker, data_path(tmp_path, broker) as path, path.sensor() as sensor:
        other = path.site if which == "gateway" else path.gateway
        with other() as beside:
            beside.wait_notice()
            log = _fails_to_sync(path, which, 12)
            assert "disk I/O error" in log or "Input/output error" in log
            promised = {(sensor.point, sensor.boot, s) for s in range(sensor.acknowledged + 1)}
            assert promised <= set(path.at_gateway())
            with path.gateway() if which == "gateway" else path.site() as restarted:
                restarted.wait_notice()
                sensor.wait_all_acknowledged()
                path.wait_drained()
                assert path.check_invariants(sensor) == sensor.measured
