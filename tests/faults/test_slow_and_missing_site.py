"""Rows 11 and 12: the site stands still, or its link is slow, its database is locked, taken away or not there.

Gateways keep what it cannot take.
"""

import contextlib
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import runtime
from tests.support.brokers import ServiceProcess
from tests.support.dashboards import make_dashboard
from tests.support.faults.chaos_proxy import ChaosProxy
from tests.support.faults.data_path import data_path, preferred_broker, within


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
        assert path.check_invariants(sensor) == sensor.measured


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
        assert path.check_invariants(sensor) == sensor.measured


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
                assert site.process.wait(60) == 2
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
            assert path.check_invariants(sensor) == sensor.measured


def _overview() -> None:
    from dashboard.pages.overview import show_overview

    show_overview()


@pytest.fixture
def overview(tmp_path: Path) -> Iterator[Any]:
    """What the dashboard's first page says of a database."""

    def words(database: Path) -> str:
        runtime.install(make_dashboard(tmp_path, database, now_us=time.time_ns() // 1000))
        page = AppTest.from_function(_overview, default_timeout=60).run()
        assert not page.exception, page.exception
        kinds = (page.title, page.header, page.subheader, page.markdown, page.caption, page.warning, page.error)
        return "\n".join(str(element.value) for kind in kinds for element in kind)

    yield words
    runtime.install(None)


GONE = "The site's database is not there"


def test_database_taken_away_under_a_running_site_is_said_acknowledges_nothing_and_all_is_there_once_it_is_back(
    tmp_path: Path, overview: Any
) -> None:
    """What is written into a file without a name goes well, and is gone with the process: the site must see it."""
    away = tmp_path / "on another disk.db"
    with (
        preferred_broker() as broker,
        data_path(tmp_path, broker) as path,
        path.running() as (agent, site),
        path.sensor() as sensor,
    ):
        sensor.wait_acknowledged(20)
        within("the site has some", lambda: len(path.at_site()) >= 20)
        assert GONE not in overview(path.site_database)
        path.site_database.rename(away)
        within("the site says so", lambda: "database_away" in site.log.read_text())
        assert f"{path.site_database} is not there any more; put it back" in site.log.read_text()
        known = sensor.acknowledged
        sensor.wait_acknowledged(known + 30)
        assert path.in_outbox() >= 30, "the site has acknowledged what it could not store"
        for one in (agent, site):
            one.wait_notice("WATCHDOG=1")
        assert GONE in overview(path.site_database)
        assert not path.site_database.exists(), "somebody has made an empty one in its place"
        away.rename(path.site_database)
        sensor.wait_all_acknowledged()
        path.wait_drained()
        assert "database_back" in site.log.read_text()
        assert GONE not in overview(path.site_database)
        assert path.check_invariants(sensor) == sensor.measured


@pytest.mark.nightly
def test_database_exchanged_under_a_running_site_ends_it_before_anything_more_is_acknowledged(tmp_path: Path) -> None:
    """The file that stands there now may be an older one: only a start reads what it holds."""
    with preferred_broker() as broker, data_path(tmp_path, broker) as path, path.gateway() as agent:
        agent.wait_notice()
        with path.sensor() as sensor:
            with path.site() as site:
                site.wait_notice()
                sensor.wait_acknowledged(20)
                path.wait_drained()
                before = path.site_database.read_bytes()
                path.site_database.rename(tmp_path / "aside.db")
                path.site_database.write_bytes(before)
                assert site.process.wait(60) == 1
                assert "another file stands in its place" in site.log.read_text()
            (tmp_path / "aside.db").rename(path.site_database)
            with path.site():
                sensor.wait_all_acknowledged()
                path.wait_drained()
            assert path.check_invariants(sensor) == sensor.measured


SLOW_BYTES_A_SECOND = 8_000.0


def _fed(*services: ServiceProcess) -> None:
    """All of them feed their watchdogs, each twice from now on."""
    for one in services:
        for _ in range(2):
            one.wait_notice("WATCHDOG=1")


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_slow_links_of_site_and_gateway_hold_everybody_back_within_their_bounds_and_lose_nothing(
    tmp_path: Path,
) -> None:
    """First the site, then the gateway gets some kilobytes a second where several times as much comes."""
    with (
        preferred_broker() as broker,
        ChaosProxy(broker.port) as to_site,
        ChaosProxy(broker.port) as to_gateway,
        data_path(tmp_path, broker) as path,
        path.site(environment={"UNDERTONE_BROKER__PORT": str(to_site.port)}) as site,
        path.gateway(environment={"UNDERTONE_BROKER__PORT": str(to_gateway.port)}) as agent,
        path.sensor(rate_a_s=50.0) as sensor,
    ):
        site.wait_notice()
        agent.wait_notice()
        sensor.wait_acknowledged(20)

        to_site.bytes_a_second = SLOW_BYTES_A_SECOND
        within("records wait at the gateway", lambda: path.in_outbox() > 100)
        behind = sensor.measured
        sensor.wait_acknowledged(behind + 50)  # the gateway goes on
        _fed(agent, site)
        to_site.bytes_a_second = 0.0
        within("the site has caught up", lambda: len(path.at_site()) > behind)

        to_gateway.bytes_a_second = SLOW_BYTES_A_SECOND
        within("the sensor's memory is full", lambda: sensor.kept == 64)
        _fed(agent, site)
        path.check_bounds()
        to_gateway.bytes_a_second = 0.0
        sensor.wait_all_acknowledged()
        path.wait_drained()
        assert path.check_invariants(sensor) == sensor.measured
