"""Row 7: the wall clocks of gateway and site are stepped while captures come; order and timers do not care."""

import json
import time
from pathlib import Path

from tests.support.faults.clock_shim import WallClock
from tests.support.faults.data_path import data_path, preferred_broker, within

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
                within(f"the status timer runs on: {words}", lambda s=seconds: status_is_of_now(s), within_s=10)  # type: ignore[misc]
            sensor.wait_all_acknowledged()
            path.wait_drained()
        assert path.check_nothing_lost(sensor) == sensor.measured
        assert path.at_site() == path.at_gateway()
        assert path.site_rows("SELECT min(interval_s) >= 0 FROM point") == [(1,)]
        assert path.dead_letters() == {}
        assert "gateway_silent" not in site.log.read_text()
        assert path.site_rows("SELECT count(*) FROM gap") == [(0,)]
