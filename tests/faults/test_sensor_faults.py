"""Row 10: a sensor that is stuck, overdriven or silent is told at the site within three captures, and is no alarm.

What counts as such is held by tests/unit/vibration/test_quality.py and tests/unit/gateway_agent/test_point_monitor.py;
that the dashboard shows a silent one also while its gateway is away: tests/unit/dashboard/test_dashboard_pages.py.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from schemas.capture import Capture
from tests.support.captures import healthy, saturated, stuck
from tests.support.faults.data_path import data_path, preferred_broker, within

GOOD = 20  # captures, of which 8 commission the point


def after_good_ones(bad: Callable[..., Capture]) -> Callable[..., Capture]:
    def measure(sequence: int, **more: Any) -> Capture:
        return (healthy if sequence < GOOD else bad)(sequence, **more)

    return measure


def test_broken_sensors_are_told_at_the_site_within_three_captures_and_are_no_alarm(tmp_path: Path) -> None:
    with (
        preferred_broker() as broker,
        data_path(tmp_path, broker) as path,
        path.running(),
        path.sensor(position="de", measure=after_good_ones(stuck)) as first,
        path.sensor(position="nde", measure=after_good_ones(saturated)) as second,
    ):
        for sensor in (first, second):
            sensor.wait_acknowledged(GOOD + 10)
            sensor.wait_all_acknowledged()
        path.wait_drained()
        path.check_invariants(first, second)
        flagged = path.site_rows(
            "SELECT quality, min(capture_sequence) FROM health WHERE quality != 'ok' GROUP BY point"
        )
        doubted = path.site_rows(  # a good one that had to be sent again may be judged after the notice
            "SELECT min(capture_sequence) FROM health"
            f" WHERE learning = 'suspect' AND capture_sequence >= {GOOD} GROUP BY point"
        )
        within(
            "the dashboard's table says so", lambda: len(path.site_rows("SELECT 1 FROM point WHERE notice != ''")) == 2
        )
        assert flagged == [("stuck", GOOD), ("saturated", GOOD)]
        assert doubted == [
            (GOOD + 3,),
            (GOOD + 3,),
        ]  # the third brings the notice, from the next on the point is suspect
        assert path.site_rows("SELECT count(*) FROM alarm") == [(0,)]
        assert path.site_rows(
            f"SELECT count(*) FROM health WHERE capture_sequence >= {GOOD} AND score IS NOT NULL"
        ) == [(0,)]


def test_sensor_that_falls_silent_is_told_at_the_site_and_so_is_its_return(tmp_path: Path) -> None:
    quick = {"UNDERTONE_INGEST__SILENT_AFTER_S": "1"}
    quality = "SELECT quality, learning FROM point"
    with (
        preferred_broker() as broker,
        data_path(tmp_path, broker) as path,
        path.site() as site,
        path.gateway(environment=quick) as agent,
    ):
        site.wait_notice()
        agent.wait_notice()
        with path.sensor(position="de", rate_a_s=10.0) as sensor:
            sensor.wait_acknowledged(GOOD)
            assert path.site_rows("SELECT 1 FROM point WHERE quality = 'silent'") == []
            sensor.stop_measuring()
            within("the site is told", lambda: path.site_rows(quality) == [("silent", "suspect")])
            ((notice,),) = path.site_rows("SELECT notice FROM point")
            assert notice.startswith("silent: nothing heard for")
        with path.sensor(position="de", boot=2, rate_a_s=10.0) as again:
            again.wait_acknowledged(3)
            within("it is believed again", lambda: path.site_rows(quality) == [("ok", "ready")])
        path.wait_drained()
        assert path.site_rows("SELECT count(*) FROM alarm") == [(0,)]
