"""Row 2: site or broker are away for long. The outbox stays within its bound, the backlog drains, alarms come first."""

import time
from pathlib import Path
from typing import Any

import pytest

from gateway_agent.store import read_only
from schemas.capture import Capture
from tests.support.captures import faulty, healthy
from tests.support.faults.data_path import DataPath, data_path, preferred_broker, resident_bytes, within

LIVE_RATE_A_S = 20.0
SLOW_RATE_A_S = 12.0  # of a sensor that keeps a minute and more
FAULT_AT = 2800  # captures: more than the broker is handed (2,000) and than the outbox holds
OUTBOX_BYTES = 2 << 20  # some 2,300 results
ONE_BY_ONE = {"UNDERTONE_HISTORIAN__BATCH_MESSAGES": "1"}  # a commit a message: the order can be seen in the database
GROWS_BY_AT_MOST_BYTES = 32 << 20
DRAINS_AT_LEAST = 5.0  # times the live rate


def breaks_late(sequence: int, **more: Any) -> Capture:
    """A machine that is healthy while the outbox fills, and then is not."""
    return (faulty if FAULT_AT <= sequence < FAULT_AT + 20 else healthy)(sequence, **more)


def of_outbox(path: DataPath, sql: str) -> int:
    with read_only(path.store()) as store:
        return int(store.exec_driver_sql(f"SELECT {sql} FROM outbox").scalar() or 0)


def seconds_to_drain(path: DataPath, last: int) -> float:
    """From now until the records up to `last` are gone, while new ones come."""
    started_s = time.monotonic()
    within("the backlog has drained", lambda: not of_outbox(path, f"sum(sequence <= {last})"), within_s=60)
    return time.monotonic() - started_s


def test_site_that_is_away_for_long_costs_the_oldest_health_alone_and_the_backlog_drains_alarms_first(
    tmp_path: Path,
) -> None:
    small = {"UNDERTONE_STORE__OUTBOX_BYTES": str(OUTBOX_BYTES)}
    with preferred_broker() as broker, data_path(tmp_path, broker) as path, path.gateway(environment=small) as agent:
        agent.wait_notice()
        with path.sensor(measure=breaks_late, keep=200, rate_a_s=LIVE_RATE_A_S) as sensor:
            with path.site() as site:
                site.wait_notice()
                sensor.wait_acknowledged(20)
            before_bytes = resident_bytes(agent.process.pid)
            sensor.rate_a_s = 400.0  # a long outage in a few seconds
            sensor.wait_acknowledged(FAULT_AT + 100, within_s=40)
            sensor.rate_a_s = LIVE_RATE_A_S
            assert of_outbox(path, "sum(size_bytes)") <= 1.05 * OUTBOX_BYTES
            assert of_outbox(path, "sum(kind = 'alarm')") > 0
            backlog, last = of_outbox(path, "count(*)"), of_outbox(path, "max(sequence)")
            with path.site(environment=ONE_BY_ONE):
                took_s = seconds_to_drain(path, last)
                sensor.wait_all_acknowledged()
                path.wait_drained()
            assert resident_bytes(agent.process.pid, peak=True) - before_bytes < GROWS_BY_AT_MOST_BYTES
        ratio = backlog / took_s / LIVE_RATE_A_S
        (given_up,) = path.site_rows("SELECT sum(count) FROM gap WHERE what = 'records'")[0]
        (overtaken,) = path.site_rows(
            "SELECT count(*) FROM health h, (SELECT sequence, received_at_us FROM alarm ORDER BY sequence LIMIT 1) a "
            "WHERE h.sequence < a.sequence AND h.received_at_us > a.received_at_us"
        )[0]
        print(
            f"{backlog} records drained in {took_s:.2f} s beside {LIVE_RATE_A_S:g} captures a second: {ratio:.0f} x "
            f"the live rate; {given_up} given up and told; alarms overtook {overtaken} older records"
        )
        assert ratio >= DRAINS_AT_LEAST
        assert given_up > 0
        assert overtaken > 0
        assert path.check_invariants(sensor, given_up=given_up) >= sensor.measured - given_up


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_broker_that_is_away_for_a_minute_costs_nothing_and_the_sensors_backlog_drains(tmp_path: Path) -> None:
    """A sensor may keep as many captures as a gateway remembers sequences: 1,024."""
    with preferred_broker() as broker, data_path(tmp_path, broker) as path, path.running() as (agent, site):
        with path.sensor(rate_a_s=SLOW_RATE_A_S, keep=900) as sensor:
            sensor.wait_acknowledged(100)
            broker.kill()
            before_bytes, measured = resident_bytes(agent.process.pid), sensor.measured
            within(
                "a minute of captures is kept", lambda: sensor.measured >= measured + 60 * SLOW_RATE_A_S, within_s=90
            )
            for one in (agent, site):
                one.wait_notice("WATCHDOG=1")
            grown = resident_bytes(agent.process.pid) - before_bytes
            last, started_s = sensor.measured, time.monotonic()
            broker.start()
            within("the gateway is back", lambda: sensor.acknowledged > measured + 64, within_s=40)
            back_s = time.monotonic() - started_s
            sensor.wait_acknowledged(last)
            ratio = (last - measured) / (time.monotonic() - started_s - back_s) / SLOW_RATE_A_S
            sensor.wait_all_acknowledged()
            path.wait_drained()
        print(f"back after {back_s:.1f} s; {last - measured} kept captures came at {ratio:.0f} x the live rate")
        assert grown < GROWS_BY_AT_MOST_BYTES
        assert ratio >= DRAINS_AT_LEAST
        assert path.check_invariants(sensor) == sensor.measured
