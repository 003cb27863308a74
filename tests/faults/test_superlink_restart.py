"""Row 14: a SuperLink that carries a site's learning is killed with its process group in the middle of a round.

The round goes on where it stood once the SuperLink is back: who has answered is not asked again, who has not is asked
by the new run, and the next round counts on. Flower itself leaves the run for dead.
"""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.carriers.local import LocalCarrier
from aggregator.learning.strategy import MergeStrategy, Plan, digest_of, run_rounds
from benchmarks.stock_flower import flower_plant
from schemas.release import TRAIN_STEP
from schemas.signing import Signer
from tests.support.learning import builtin, client_app, healthy_rows, wait_until
from tests.support.superlink_site import SmallProcess, StockFlower, SuperLinkSite, superlink_site

MEMBERS = ("gw-1", "gw-2")
RESUBMITTED_WITHIN_S = 60.0  # FAULTS.md, row 14; from the SuperLink's return to the new run's relay


@pytest.fixture
def small_site() -> Iterator[SuperLinkSite]:
    with superlink_site(MEMBERS, SmallProcess) as site:
        yield site


def half_a_round(site: SuperLinkSite, patience_s: float) -> int:
    """Come to where one gateway has answered and the other learns; the round."""
    assert wait_until(site.released(1), patience_s), site.learning.carrier.story()
    site.free["gw-2"].clear()
    assert wait_until(lambda: site.half_answered() is not None, patience_s), site.rounds()
    interrupted = site.half_answered()
    assert interrupted is not None
    return interrupted


def kill_superlink(site: SuperLinkSite) -> None:
    site.superlink.kill()
    assert wait_until(lambda: not site.carried(), 30)


def assert_went_on(site: SuperLinkSite, interrupted: int) -> None:
    """The interrupted round brought a release, so did the one after it, and no update counts twice."""
    rounds = {one["round_id"]: one for one in site.rounds()}
    assert [rounds[number]["state"] for number in (interrupted, interrupted + 1)] == ["released", "released"]
    done = [one for one in rounds.values() if one["state"] == "released"]
    assert [one["release_version"] for one in done] == [one["base_version"] + 1 for one in done]
    merged = [update for one in done for update in site.updates(one["round_id"])]
    assert all(update["accepted"] for update in merged)
    assert max(Counter(update["digest"] for update in merged).values()) == 1
    assert all({update["member"] for update in site.updates(one["round_id"])} == set(MEMBERS) for one in done)


def merged_in_one_process() -> str:
    """What the first round of the same members comes to without any carrier; its digest."""
    first = builtin(Signer.generate())  # parameters and graphs are the same whoever signed
    carrier = LocalCarrier({name: client_app(first, healthy_rows(number)) for number, name in enumerate(MEMBERS)})
    theta = first.parameters()
    plan = Plan(
        graph=first.manifest.files[TRAIN_STEP].sha256, steps=20, learning_rate=3e-3, min_accepted=2,
        reach=20 * 3e-3 * theta.size**0.5,
    )  # fmt: skip
    (result,) = run_rounds(carrier, MergeStrategy(carrier, plan, theta, base_version=1), rounds=1, deadline_s=60)
    assert result.theta is not None
    return digest_of(result.theta)


def test_round_whose_superlink_is_killed_goes_on_in_a_new_run_and_merges_every_update_once(
    small_site: SuperLinkSite,
) -> None:
    interrupted = half_a_round(small_site, 60)
    kill_superlink(small_site)
    assert wait_until(lambda: small_site.learning.carrier.story()["state"] == "away", 60)
    small_site.restart_superlink()
    assert wait_until(small_site.carried, 60)
    small_site.free["gw-2"].set()
    assert wait_until(lambda: small_site.rounds()[-1]["round_id"] > interrupted + 1, 60)
    assert_went_on(small_site, interrupted)
    assert small_site.rounds()[interrupted - 1]["metrics"]["superlink"]["runs"]["lost"] == 1
    assert small_site.rounds()[0]["digest"] == merged_in_one_process()
    newest = max(one["release_version"] or 0 for one in small_site.rounds())
    for gateway in small_site.gateways.values():
        assert wait_until(lambda: gateway.shelf.current.version >= newest, 60)  # noqa: B023 - asked within the loop


def test_site_that_is_restarted_in_a_round_takes_it_up_in_a_run_of_its_own(small_site: SuperLinkSite) -> None:
    interrupted = half_a_round(small_site, 60)
    before = small_site.updates(interrupted)
    small_site.restart_site()
    assert wait_until(small_site.carried, 60)
    small_site.free["gw-2"].set()
    assert wait_until(lambda: small_site.rounds()[-1]["round_id"] > interrupted + 1, 60), small_site.rounds()
    assert_went_on(small_site, interrupted)
    assert [one["digest"] for one in before] == [small_site.updates(interrupted)[0]["digest"]]


@pytest.mark.nightly
@pytest.mark.timeout(2400)
def test_stock_superlink_killed_with_its_process_group_has_a_new_run_within_a_minute_of_its_return(
    tmp_path: Path,
) -> None:
    with flower_plant(durable=True) as plant, superlink_site(MEMBERS, lambda _: StockFlower(plant)) as site:
        interrupted = half_a_round(site, 600)
        kill_superlink(site)
        site.restart_superlink()
        back_at_s = time.monotonic()
        assert wait_until(site.carried, 180), (site.learning.carrier.story(), plant.log_of("superlink"))
        returned_s = time.monotonic() - back_at_s
        site.free["gw-2"].set()
        assert wait_until(lambda: site.rounds()[-1]["round_id"] > interrupted + 1, 600), site.rounds()
        assert_went_on(site, interrupted)
    assert returned_s <= RESUBMITTED_WITHIN_S
