"""A network made elsewhere comes to a site or an enterprise while rounds run, and goes down to the gateways."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from aggregator.database import writing
from aggregator.desk_rollout import ask_roll_back
from aggregator.foundry.artefacts import BUILT
from aggregator.learning.fates import Fates
from aggregator.learning.service import Learning
from aggregator.learning.strategy import RoundResult
from aggregator.learning.waiting import LateUpdate, WaitingUpdates
from aggregator.merge.validate import Update
from aggregator.registry import IMPORTED
from aggregator.release_making import Level, first_release
from aggregator.settings import RolloutSettings
from schemas.release import MANIFEST, SIGNATURE, TRAIN_STEP, Release, make_release
from schemas.site_tables import learning_round, release_event, rollout, site_offer, waiting_update
from tests.support.learning import CREATED_AT_US
from tests.support.tiers import SITES, Plants, comes_true, round_of

DENSE, CONV = "dense_autoencoder", "conv_autoencoder"
TRIES_FOR_HOURS = RolloutSettings(shadow_s=1e5)


@pytest.fixture
def plants(tmp_path: Path) -> Iterator[Plants]:
    with ExitStack() as stack:
        yield Plants(tmp_path, stack)


def conv(plants: Plants) -> Release:
    return first_release(BUILT / "conv_autoencoder_48", plants.people["product"], created_at_us=CREATED_AT_US)


def bring_in(learning: Learning, plants: Plants, where: str, level: Level, made: Release | None = None) -> Release:
    """As `aggregator release import` does, which its own tests hold."""
    with writing(plants.engines[where]) as connection:
        return learning.registry.publish_foreign(
            connection, made or conv(plants), level=level, merge={"rule": IMPORTED}, actor="tester (command line)"
        )


def families(plants: Plants, site: str) -> set[str]:
    return {plants.gateways[name].shelf.current.manifest.family for name in SITES[site]}


def fates(plants: Plants, version: int) -> dict[str, str]:
    rows = plants.rows("fleet", rollout)
    return {row["gateway"]: row["state"] for row in rows if row["release_version"] == version}


def round_on_the_new_one(site: Learning) -> None:
    """Once the site has heard of its gateways that they run the network; before, it asks nobody."""
    graph = site.current().manifest.files[TRAIN_STEP].sha256
    comes_true(lambda: site.rollout is not None and not site.rollout.running_another(graph))
    round_of(site)


def test_a_round_that_runs_while_a_network_comes_in_is_void_and_the_next_learns_on_the_new_one(plants: Plants) -> None:
    site = plants.site("site-a")
    round_of(site)
    plants.asked.clear()
    plants.let_go.clear()
    results: list[RoundResult | None] = []
    running = threading.Thread(target=lambda: results.append(site.run_round()))
    running.start()
    assert plants.asked.wait(15)
    made = bring_in(site, plants, "site-a", "site")
    waiting = WaitingUpdates(plants.engines["site-a"], "site", lambda: time.time_ns() // 1000)
    with writing(plants.engines["site-a"]) as connection:
        old = Update("gw-2", 2, np.ones(3704, np.float32), 50.0)
        assert waiting.add(connection, LateUpdate("late", old, {}), make_room=True) == "stored"
    plants.let_go.set()
    running.join(30)
    (result,) = results
    assert result is not None
    assert result.void == "release 3 has replaced 2 since"
    comes_true(lambda: families(plants, "site-a") == {CONV})

    round_on_the_new_one(site)
    assert site.current().manifest.family == CONV
    assert site.current().manifest.base_version == made.version
    assert [row["state"] for row in plants.rows("site-a", learning_round)] == ["released", "void", "released"]
    (late,) = plants.rows("site-a", waiting_update)
    assert (late["state"], late["reason"]) == ("refused", "other_model")
    comes_true(
        lambda: {plants.gateways[name].shelf.current.digest for name in SITES["site-a"]} == {site.current().digest}
    )


def test_nobody_is_asked_to_learn_on_a_network_that_no_gateway_runs_yet(plants: Plants) -> None:
    site = plants.site("site-a", rollout=TRIES_FOR_HOURS)
    comes_true(lambda: site.rollout is not None and site.rollout.highest_version == 1)
    bring_in(site, plants, "site-a", "site")
    assert site.run_round() is None
    assert plants.rows("site-a", learning_round) == []


def test_a_network_given_to_the_enterprise_reaches_every_site_and_can_be_taken_back(plants: Plants) -> None:
    enterprise = plants.enterprise()
    sites = [plants.site(name) for name in SITES]
    round_of(sites[0])
    comes_true(lambda: plants.states("fleet", waiting_update) == ["waiting"])
    bring_in(enterprise, plants, "fleet", "fleet")
    comes_true(lambda: all(families(plants, name) == {CONV} for name in SITES), 30)
    comes_true(lambda: fates(plants, 2) == dict.fromkeys(SITES, "running"))
    assert {site.current().manifest.level for site in sites} == {"fleet"}

    for site in sites:
        round_on_the_new_one(site)
    comes_true(lambda: plants.states("fleet", waiting_update).count("waiting") == 3)
    round_of(enterprise)
    assert enterprise.current().manifest.family == CONV
    reasons = [(row["state"], row["reason"]) for row in plants.rows("fleet", waiting_update)]
    assert sorted(reasons) == [("merged", ""), ("merged", ""), ("refused", "other_model")]
    comes_true(lambda: fates(plants, 3) == dict.fromkeys(SITES, "running"))

    for version in (3, 4):  # what was learnt on the network, and the network
        with writing(plants.engines["fleet"]) as connection:
            ask_roll_back(connection, version, "it does not suit us", actor="tester", now_us=1)
        comes_true(partial(lambda after: enterprise.current().version > after, version))
    comes_true(lambda: enterprise.current().manifest.family == DENSE)
    comes_true(lambda: all(families(plants, name) == {DENSE} for name in SITES), 30)


def test_a_site_that_was_given_a_network_of_its_own_keeps_it_and_says_so_to_its_enterprise(plants: Plants) -> None:
    enterprise = plants.enterprise()
    site = plants.site("site-a")
    bring_in(site, plants, "site-a", "site")
    comes_true(lambda: families(plants, "site-a") == {CONV})
    round_on_the_new_one(site)
    with writing(plants.engines["fleet"]) as connection:
        theta = enterprise.current().parameters() * np.float32(1.01)
        enterprise.registry.publish(connection, theta, level="fleet", data={}, metrics={}, merge={})
    comes_true(lambda: fates(plants, 2) == {"site-a": "refused"})
    (row,) = plants.rows("fleet", rollout)
    assert "a network of its own (conv_autoencoder)" in row["text"]
    comes_true(lambda: plants.states("site-a", site_offer) == ["refused"], 20)

    bring_in(enterprise, plants, "fleet", "fleet")
    comes_true(lambda: fates(plants, 3) == {"site-a": "running"})
    assert (site.current().manifest.level, site.current().manifest.family) == ("fleet", CONV)
    assert families(plants, "site-a") == {CONV}


def test_a_site_that_takes_the_fleets_release_back_tells_the_enterprise_why_and_with_which_figures(
    plants: Plants,
) -> None:
    enterprise = plants.enterprise()
    site = plants.site("site-a", rollout=TRIES_FOR_HOURS)
    with writing(plants.engines["fleet"]) as connection:
        theta = enterprise.current().parameters() * np.float32(1.01)
        enterprise.registry.publish(connection, theta, level="fleet", data={}, metrics={}, merge={})
    comes_true(lambda: fates(plants, 2) == {"site-a": "trying"})
    comes_true(lambda: [row["stage"] for row in plants.rows("site-a", release_event)] == ["shadow"])

    candidate = site.current()
    figures = {"auroc": 0.81, "auroc_in_use": 0.93, "loss": 0.4, "loss_in_use": 0.3, "rows": 64.0, "judges": 2.0}
    why = "AUROC on synthetic faults 0.810 against 0.930 of the release in use, 0.01 less allowed"
    site.registry.withdraw(candidate.version, why, figures, actor="rollout")
    comes_true(lambda: fates(plants, 2) == {"site-a": "withdrawn"})
    (row,) = plants.rows("fleet", rollout)
    assert row["text"] == why
    assert (row["gate"]["auroc"], row["gate"]["auroc_in_use"], row["gate"]["rows"]) == (0.81, 0.93, 64)
    comes_true(lambda: site._fates.untold() is None)
    assert Fates(plants.engines["site-a"]).untold() is not None, "after a restart it says so again, and once"


def test_a_release_that_a_site_cannot_use_is_refused_there_and_the_enterprise_hears_the_reason(
    plants: Plants,
) -> None:
    enterprise = plants.enterprise()
    plants.site("site-a")
    made = conv(plants)
    files = {name: blob for name, blob in made.files.items() if name not in {MANIFEST, SIGNATURE}}
    fields = {**made.manifest.model_dump(exclude={"files"}), "features": "cepstrum_48"}
    bring_in(enterprise, plants, "fleet", "fleet", make_release(fields, files, plants.people["product"]))
    comes_true(lambda: fates(plants, 2) == {"site-a": "refused"})
    (row,) = plants.rows("fleet", rollout)
    assert "wants 48 features 'cepstrum_48'" in row["text"]
    assert families(plants, "site-a") == {DENSE}
