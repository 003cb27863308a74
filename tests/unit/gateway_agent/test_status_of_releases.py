"""What a gateway says of its releases, of refused updates, of a silent site, and of machines better off alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway_agent.figures import families
from gateway_agent.meters import Meters
from gateway_agent.settings import StoreSettings
from gateway_agent.status import describe_status, read_status
from gateway_agent.store import Store
from schemas.exposition import exposition
from tests.support.captures import gateway_settings


def said(folder: Path, **more: Any) -> dict[str, Any]:
    settings = gateway_settings().model_copy(update={"store": StoreSettings(folder=folder)})
    store = Store(settings.store)
    store.remember("status", json.dumps({"release_version": 17, "release_digest": "ab" * 32, **more}))
    store.close()
    return read_status(settings)


def test_a_gateway_that_has_heard_no_site_for_long_says_that_its_release_may_be_outdated(tmp_path: Path) -> None:
    status = said(tmp_path, site_heard_s=7300.0)
    assert status["site"]["heard_s"] == 7300.0
    assert "no word of the site for 2 h: release 17 may be outdated or withdrawn" in describe_status(status)


@pytest.mark.parametrize("heard_s", [3.0, None])
def test_a_site_heard_lately_is_no_matter(tmp_path: Path, heard_s: float | None) -> None:
    status = said(tmp_path, site_heard_s=heard_s)
    assert status["site"]["text"] == ""
    assert "site:" not in describe_status(status)


def test_refused_releases_are_counted_by_reason_and_the_last_problem_is_shown(tmp_path: Path) -> None:
    status = said(tmp_path, releases_refused={"bad_digest": 2}, release_problem="release 18 refused (bad_digest): cut")
    assert status["releases_refused"] == {"bad_digest": 2}
    assert "release problem: release 18 refused (bad_digest): cut" in describe_status(status)


def test_machines_that_their_own_model_would_serve_better_are_listed(tmp_path: Path) -> None:
    fits = [
        {"machine": "pump-07", "auroc": 0.90, "auroc_local": 0.92},
        {"machine": "fan-02", "auroc": 0.90, "auroc_local": 0.905},
    ]
    assert said(tmp_path, fits=fits)["worse_off_than_alone"] == ["pump-07"]


REFUSED = {"round_number": 12, "reason": "norm_outlier", "text": "norm 31 found, the median allows 9.9", "at_us": 1}


def test_an_update_that_the_site_refused_is_shown_with_its_reason_and_counted(tmp_path: Path) -> None:
    live = {"learning_tasks": {"answered": 40}, "updates_refused": {"norm_outlier": 2}}
    status = said(tmp_path, learning={"last_refused": REFUSED}, live=live)
    assert status["last_update_refused"] == REFUSED
    told = describe_status(status)
    assert "learning: tasks answered 40; updates refused since the start: norm_outlier 2" in told
    assert "last update refused in round 12: norm_outlier: norm 31 found, the median allows 9.9" in told
    metrics = exposition(families(status, Meters())).decode()
    assert 'undertone_gateway_updates_refused_total{reason="norm_outlier"} 2.0' in metrics
    assert 'undertone_gateway_learning_tasks_total{what="answered"} 40.0' in metrics


def test_a_gateway_that_takes_no_part_in_the_learning_says_nothing_of_it(tmp_path: Path) -> None:
    status = said(tmp_path)
    assert status["last_update_refused"] is None
    assert "learning" not in describe_status(status)
