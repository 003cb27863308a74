"""Row 7: the wall clocks of gateway and site are stepped while captures come; order and timers do not care.

Certificates do: whoever has the wrong time cannot tell whether one is still good, is not connected, and says so.
"""

import contextlib
import datetime as dt
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.enrolment import Office
from aggregator.settings import AggregatorSettings
from schemas.messages import GatewayStatus, decode
from schemas.settings import load_settings
from schemas.signing import SEAL_BYTES
from schemas.topics import STATUS
from tests.support.brokers import Inbox, ServiceProcess, free_port, linked, require_mosquitto
from tests.support.faults.clock_shim import WallClock
from tests.support.faults.data_path import GATEWAY, SITE, data_path, preferred_broker, within

HOUR_S, DAY_S = 3600.0, 86_400.0
STEPS_S = {"an hour back": -HOUR_S, "a day ahead": DAY_S, "the year 2039": 13 * 365.25 * DAY_S, "right again": 0.0}


def test_captures_are_ordered_by_sequence_and_timers_run_on_whatever_the_wall_clock_says(tmp_path: Path) -> None:
    clock = WallClock(tmp_path)

    def status_is_of_now(seconds: float) -> bool:
        """Said twice a second by a monotonic timer, it carries the wall clock of the gateway."""
        for (said,) in path.site_rows("SELECT status FROM gateway WHERE online"):
            status = json.loads(said)
            assert status["outbox_oldest_s"] >= 0
            return bool(abs(status["at_us"] / 1e6 - time.time() - seconds) < 5)
        return False

    with preferred_broker() as broker, data_path(tmp_path, broker) as path:
        with path.running(environment=clock.environment) as (_, site), path.sensor(rate_a_s=80.0) as sensor:
            for words, seconds in STEPS_S.items():
                sensor.wait_acknowledged(sensor.measured + 10)
                clock.step_to(seconds)
                through = sensor.measured + 10
                within(f"captures come to the site: {words}", lambda through=through: len(path.at_site()) > through)  # type: ignore[misc]
                within(f"the status timer runs on: {words}", lambda s=seconds: status_is_of_now(s))  # type: ignore[misc]
            sensor.wait_all_acknowledged()
            path.wait_drained()
        assert path.check_invariants(sensor) == sensor.measured
        assert path.at_site() == path.at_gateway()
        assert path.site_rows("SELECT min(interval_s) >= 0 FROM point") == [(1,)]
        assert path.dead_letters() == {}
        assert "gateway_silent" not in site.log.read_text()
        assert path.site_rows("SELECT count(*) FROM gap") == [(0,)]


@contextlib.contextmanager
def certified_plant(folder: Path, clock: WallClock) -> Iterator[tuple[ServiceProcess, Inbox]]:
    """A broker that asks for certificates, a gateway whose clock can be stepped, and what the site hears of it."""
    require_mosquitto()
    file, port = folder / "site.toml", free_port()
    file.write_text(
        f'name = "{SITE}"\n[broker]\nport = {port}\nkeepalive_s = 5\nca_file = "own/ca.crt"\n'
        'certificate_file = "own/site.crt"\nkey_file = "own/site.key"\n'
        f'[broker_server]\nkind = "mosquitto"\nport = {port}\n'
    )
    settings = load_settings(AggregatorSettings, file, {})
    office = Office(settings, by="mosquitto", now=lambda: dt.datetime.now(dt.UTC))
    office.enroll(SITE, "site", folder / "own")
    office.enroll(GATEWAY, "gateway", folder / GATEWAY)
    more = {"UNDERTONE_STATUS_INTERVAL_S": "0.5", "UNDERTONE_LEARNING__TAKE_PART": "false"}
    agent_file = str(folder / GATEWAY / "gateway.toml")
    with ServiceProcess(folder, "aggregator", "broker", "--settings", str(file)) as broker:
        broker.wait_notice()
        with (
            linked(settings.broker, SITE, STATUS.filter(site=SITE)) as (_, inbox),
            ServiceProcess(
                folder, "gateway_agent", "run", "--settings", agent_file, environment={**clock.environment, **more}
            ) as agent,
        ):
            agent.wait_notice()
            yield agent, inbox
            assert agent.process.poll() is None, agent.log.read_text()[-3000:]


def says_its_clock(agent: ServiceProcess, year: int) -> None:
    """Both links say that a certificate is out of its time by a clock that shows this year."""
    said = f"the clock of this machine says {year}-"
    within(f"both links say {year}", lambda: agent.log.read_text().count(said) >= 2)


def status_in(inbox: Inbox, year: int) -> None:
    """The gateway tells the site of itself, with this year on its clock."""

    def is_of_then(payload: bytes) -> bool:
        status = decode(GatewayStatus, payload[SEAL_BYTES:])
        return status.online and dt.datetime.fromtimestamp(status.at_us / 1e6, dt.UTC).year == year

    inbox.wait_for(lambda heard: is_of_then(heard.payload), within_s=60)


IN_1970_S = 3600.0 - time.time()


def test_gateway_whose_clock_says_1970_is_not_connected_says_what_its_clock_shows_and_lives_on(tmp_path: Path) -> None:
    clock = WallClock(tmp_path)
    clock.step_to(IN_1970_S)
    with certified_plant(tmp_path, clock) as (agent, inbox):
        says_its_clock(agent, 1970)
        assert "not yet valid" in agent.log.read_text()
        assert "broker_connected" not in agent.log.read_text()
        agent.wait_notice("WATCHDOG=1")
        assert not inbox.seen


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_gateway_with_a_wrong_clock_is_let_in_once_it_is_set_and_stays_when_it_steps_again(tmp_path: Path) -> None:
    """It is the handshake that asks for the time: a connection that stands outlives a clock that steps."""
    clock, now = WallClock(tmp_path), dt.datetime.now(dt.UTC)
    ahead_s = STEPS_S["the year 2039"]
    year, later = now.year, (now + dt.timedelta(seconds=ahead_s)).year
    clock.step_to(ahead_s)
    with certified_plant(tmp_path, clock) as (agent, inbox):
        says_its_clock(agent, later)
        assert "has expired" in agent.log.read_text()
        assert not inbox.seen
        clock.step_to(0.0)
        status_in(inbox, year)
        clock.step_to(ahead_s)
        status_in(inbox, later)
        assert "broker_lost" not in agent.log.read_text()
