"""Rows 11 and 12: the site stands still, its database is locked, or is not there: gateways keep what it cannot take."""

import contextlib
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faults.data_path import (
    RSS_BOUND_BYTES,
    data_path,
    preferred_broker,
    resident_bytes,
    within,
)


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process holds the database for itself alone."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def test_site_that_stands_still_or_is_locked_out_of_its_database_gets_everything_later_and_the_gateway_goes_on(
    tmp_path: Path,
) -> None:
    with (
        preferred_broker() as broker,
        data_path(tmp_path, broker) as path,
        path.running() as (agent, site),
        path.sensor(rate_a_s=50.0) as sensor,
    ):
        sensor.wait_acknowledged(20)
        site.process.send_signal(signal.SIGSTOP)
        still = sensor.measured
        sensor.wait_acknowledged(still + 50)
        assert path.in_outbox() >= 50
        site.process.send_signal(signal.SIGCONT)
        path.wait_drained()
        with locked(path.site_database):
            shut = sensor.measured
            sensor.wait_acknowledged(shut + 50)
            assert path.in_outbox() >= 50
        agent.process.send_signal(signal.SIGSTOP)
        within("the sensor's memory is full", lambda: sensor.kept == 64)
        agent.process.send_signal(signal.SIGCONT)
        sensor.wait_all_acknowledged()
        path.wait_drained()
        assert path.check_nothing_lost(sensor) == sensor.measured
        for one in (agent, site):
            assert resident_bytes(one.process.pid, peak=True) < RSS_BOUND_BYTES


@pytest.mark.nightly
@pytest.mark.timeout(180)
def test_database_locked_for_longer_than_the_site_waits_is_said_and_tried_until_it_is_free(tmp_path: Path) -> None:
    with (
        preferred_broker() as broker,
        data_path(tmp_path, broker) as path,
        path.running() as (_, site),
        path.sensor() as sensor,
    ):
        sensor.wait_acknowledged(20)
        with locked(path.site_database):
            within("the site says so", lambda: "database_away" in site.log.read_text())
            known_s = time.monotonic()
            sensor.wait_acknowledged(sensor.measured + 10)
            site.wait_notice("WATCHDOG=1")
            assert time.monotonic() - known_s < 10
        sensor.wait_all_acknowledged()
        path.wait_drained()
        assert "database_back" in site.log.read_text()
        assert path.check_nothing_lost(sensor) == sensor.measured


def test_site_whose_database_is_gone_ends_with_one_line_and_gets_everything_once_it_is_back(tmp_path: Path) -> None:
    with preferred_broker() as broker, data_path(tmp_path, broker) as path, path.gateway() as agent:
        agent.wait_notice()
        with path.sensor() as sensor:
            with path.site() as site:
                site.wait_notice()
                sensor.wait_acknowledged(20)
            away = path.site_folder.rename(tmp_path / "on another disk")
            path.site_folder.write_text("the disk is not mounted")
            with path.site() as site:
                assert site.process.wait(20) == 2
                lines = site.log.read_text().splitlines()
                assert "Traceback" not in site.log.read_text()
                assert str(path.site_folder) in lines[-1], lines
            sensor.wait_acknowledged(sensor.measured + 10)
            assert path.in_outbox() >= 10
            path.site_folder.unlink()
            away.rename(path.site_folder)
            with path.site():
                sensor.wait_all_acknowledged()
                path.wait_drained()
            assert path.check_nothing_lost(sensor) == sensor.measured
