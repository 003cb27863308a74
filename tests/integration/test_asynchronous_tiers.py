"""Three tiers learning asynchronously over real brokers: sites offer, the enterprise merges, nobody waits."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from aggregator.learning.local import run_local_rounds
from aggregator.learning.strategy import Plan, digest_of
from schemas.release import TRAIN_STEP
from schemas.site_tables import learning_round, release, round_update, site_offer, waiting_update
from tests.support.learning import client_app, healthy_rows
from tests.support.tiers import GATEWAYS, ROWS, SITES, Plants, comes_true, round_of


@pytest.fixture
def plants(tmp_path: Path) -> Iterator[Plants]:
    with ExitStack() as stack:
        yield Plants(tmp_path, stack)


def test_offers_of_two_sites_merge_into_what_all_gateways_at_once_would_have_given(plants: Plants) -> None:
    enterprise = plants.enterprise()
    sites = [plants.site(name) for name in SITES]
    for site in sites:
        round_of(site)
    comes_true(lambda: plants.states("fleet", waiting_update) == ["waiting"] * 2)
    comes_true(lambda: [plants.states(name, site_offer) for name in SITES] == [["stored"], ["stored"]])
    assert enterprise.carrier.wait_members(2, 10)
    round_of(enterprise)
    merged = enterprise.registry.current()

    apps = {
        name: client_app(plants.first, healthy_rows(GATEWAYS.index(name), ROWS[name])) for name in GATEWAYS
    }  # fmt: skip
    plan = Plan(graph=plants.first.manifest.files[TRAIN_STEP].sha256, steps=20, learning_rate=3e-3, rule="mean")
    flat, _ = run_local_rounds(apps, plants.first.parameters(), plan, rounds=1)
    np.testing.assert_allclose(merged.parameters(), flat, atol=2e-6)  # two roundings to float32 instead of one

    wanted = digest_of(merged.parameters())
    comes_true(lambda: all(digest_of(site.current().parameters()) == wanted for site in sites))
    (row,) = plants.rows("fleet", learning_round)
    assert [one["staleness"] for one in row["metrics"]["late"]] == [0, 0]
    assert row["metrics"]["loss_after"] < row["metrics"]["loss_before"]
    updates = {one["member"]: one["accepted"] for one in plants.rows("fleet", round_update)}
    assert updates == {"site-a": True, "site-b": True}
    assert [(one["state"], one["delta"]) for one in plants.rows("fleet", waiting_update)] == [("merged", None)] * 2


def test_a_site_that_learns_on_without_the_enterprise_offers_all_of_it_in_one_message_once_it_is_back(
    plants: Plants,
) -> None:
    """The first offer was on its way when the enterprise left; what came after is one offer that grows."""
    site = plants.site("site-a")
    plants.between.kill()
    for _ in range(3):
        round_of(site)
    waiting = plants.rows("site-a", site_offer)
    assert sum(row["rounds"] for row in waiting) == 3
    start, end = plants.first.parameters(), site.current().parameters()
    offered = sum(np.frombuffer(row["delta"], "<f4").astype(float) for row in waiting)
    np.testing.assert_allclose(start + offered, end, atol=1e-6)  # a rounding to float32 a round
    plants.between.start()
    plants.enterprise()
    comes_true(lambda: set(plants.states("site-a", site_offer)) == {"stored"}, 30)
    stored = plants.rows("fleet", waiting_update)
    assert sum(row["metrics"]["rounds"] for row in stored) == 3


def test_what_a_site_learnt_on_an_older_fleet_release_counts_less_and_what_is_too_old_is_refused_with_its_reason(
    plants: Plants,
) -> None:
    enterprise = plants.enterprise(max_staleness=1)
    early, late = plants.site("site-a"), plants.site("site-b")
    assert enterprise.carrier.wait_members(2, 10)
    plants.between.kill()  # what site-b learns now cannot be told
    round_of(late)
    late.stop()
    plants.between.start()
    for version in (2, 3):
        comes_true(lambda: enterprise.carrier.wait_members(1, 1))
        round_of(early)
        comes_true(lambda: "waiting" in plants.states("fleet", waiting_update), 20)
        round_of(enterprise)
        comes_true(lambda: early.current().manifest.data.get("fleet_version") == version)  # noqa: B023
    plants.site("site-b")
    comes_true(lambda: plants.states("site-b", site_offer) == ["refused"], 20)
    (row,) = plants.rows("site-b", site_offer)
    assert row["text"] == "too_stale: learnt on release 1, 2 behind; 1 allowed"
    assert [one["reason"] for one in plants.rows("fleet", waiting_update) if one["member"] == "site-b"] == ["too_stale"]


def test_an_enterprise_that_asks_its_sites_refuses_what_comes_unasked_and_says_what_to_set(plants: Plants) -> None:
    plants.enterprise(upward="synchronous")
    round_of(plants.site("site-a"))
    comes_true(lambda: plants.states("site-a", site_offer) == ["refused"], 20)
    (row,) = plants.rows("site-a", site_offer)
    assert "set learning.upward = 'synchronous' at the site as well" in row["text"]


def test_an_enterprise_merges_by_itself_once_all_sites_that_are_there_have_offered(plants: Plants) -> None:
    enterprise = plants.enterprise(enabled=True, round_interval_s=3600.0)
    first, second = plants.site("site-a"), plants.site("site-b")
    assert enterprise.carrier.wait_members(2, 10)
    round_of(first)
    comes_true(lambda: plants.states("fleet", waiting_update) == ["waiting"])
    round_of(second)
    comes_true(lambda: plants.states("fleet", learning_round) == ["released"])
    assert [row["level"] for row in plants.rows("fleet", release)] == ["builtin", "fleet"]
