"""A site that learns nothing new keeps its gateways supplied: what they run goes out anew before its time is over."""

import time
from functools import partial
from pathlib import Path

import pytest

from aggregator.database import open_current
from aggregator.learning.service import Learning
from schemas.database import sqlite_url
from schemas.release import PARAMETERS
from tests.support.brokers import embedded_broker
from tests.support.learning import People, SmallGateway, builtin, healthy_rows, site_settings, wait_until

GATEWAYS = ("gw-1", "gw-2")
DAY_US = 86_400_000_000


class SiteClock:
    """The wall clock of the site, some days ahead of the others."""

    days_ahead = 0.0

    def __call__(self) -> int:
        return time.time_ns() // 1000 + round(self.days_ahead * DAY_US)


@pytest.mark.timeout(120)
def test_what_gateways_run_goes_out_anew_before_its_time_is_over_and_is_the_same(tmp_path: Path) -> None:
    people = People([("site-a", "site"), ("product", "releaser"), *((name, "gateway") for name in GATEWAYS)])
    first, clock = builtin(people["product"]), SiteClock()
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    with embedded_broker(["site-a", *GATEWAYS]) as broker:
        gateways = [
            SmallGateway(
                name, "site-a", broker.settings_for(name), people[name], people.keys, tmp_path / name, first,
                partial(healthy_rows, seed),
            ).start()
            for seed, name in enumerate(GATEWAYS)
        ]  # fmt: skip
        settings = site_settings("site-a", broker.settings_for("site-a"))
        learning = Learning(settings, engine, people["site-a"], people.keys, clock, first=first)
        learning.start()
        try:
            assert learning.carrier.wait_members(len(GATEWAYS), 60)
            assert learning.run_round() is not None
            assert wait_until(lambda: all(one.shelf.current.version == 2 for one in gateways), 60)
            learnt = gateways[0].shelf.current
            clock.days_ahead = 16.0
            assert wait_until(lambda: all(one.shelf.current.version == 3 for one in gateways), 60)
        finally:
            learning.stop()
            for one in gateways:
                one.stop()
            engine.dispose()
    for one in gateways:
        again = one.shelf.current
        assert again.files[PARAMETERS] == learnt.files[PARAMETERS]
        assert again.expires_at_us is not None
        assert learnt.expires_at_us is not None
        assert abs(again.expires_at_us - learnt.expires_at_us - 16 * DAY_US) < 600_000_000  # this test takes no longer
        assert one.shelf.problem == ""
