"""Every statement of every page, report and path for programs has an index behind it; the benchmark says how fast."""

import time
from pathlib import Path

import pytest

from aggregator.database import open_current
from benchmarks import dashboard_year
from benchmarks.dashboard_plant import build_plant
from benchmarks.dashboard_statements import LARGE, ask_all
from schemas.database import sqlite_url

pytestmark = pytest.mark.nightly
SIZES = (
    "ALARMS", "CASES", "ROUNDS", "REQUESTS", "AUDIT", "DELIVERIES", "ORDERS", "OFFERS", "GAPS", "LETTERS", "EVIDENCE",
)  # fmt: skip
GROWING = (
    "health", "history_hour", "evidence", "alarm", "limit_alarm", "machine_case", "case_event", "request", "audit",
    "learning_round", "round_update", "release_event", "site_offer", "work_order", "delivery", "gap",
)  # fmt: skip
SEARCHES = {"REST /audit?about=machine-007", "REST /audit?about=said-of-nothing"}  # a text within a text has no index


def test_every_statement_on_a_table_that_grows_has_an_index_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SIZES:
        monkeypatch.setattr(dashboard_year, name, 600)
    url, now_us = sqlite_url(tmp_path / "site.db"), time.time_ns() // 1000
    engine = open_current(url)
    build_plant(engine, now_us=now_us, machines=3, hours=72)
    engine.dispose()
    asked = ask_all(url, engine, dict.fromkeys(GROWING, LARGE), now_us=now_us, repeats=1)
    engine.dispose()
    assert len(asked) > 200
    assert {one.page: one.walks for one in asked if one.walks and one.page not in SEARCHES} == {}
    assert {one.page for one in asked if one.walks} == SEARCHES, "the walk that is known is seen"
