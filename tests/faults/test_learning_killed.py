"""Row 13: gateway, site, enterprise and broker are killed at every boundary of a round, at random, and all at once.

One plant lives through all kill points of a test, one after the other; every promise is checked when all has come to
rest: each round released or void with a reason, a round merged again gives the same digest, what a site has learnt is
merged by its enterprise once.
"""

import random
from pathlib import Path

import pytest

from schemas.site_tables import learning_round
from tests.support.faults.learning_agent import TOO_FEW_ROWS
from tests.support.faults.learning_plant import ENTERPRISE, IN_A_PROCESS, SITE, LearningPlant, learning_plant
from tests.support.learning import wait_until

SITE_PHASES = ("offered", "answer_stored", "merged", "published", "offer_named", "acknowledged")
ENTERPRISE_PHASES = ("buffer_stored", "offered", "merged", "published", "told")
GATEWAY_PHASES = (
    "training", "training_step", "own_kept", "update_sent", "judging", "judgement_sent", "release_saved",
    "release_named", "verdict_heard",
)  # fmt: skip
EVERYBODY = (SITE, ENTERPRISE, IN_A_PROCESS, "broker")


def start_all(plant: LearningPlant) -> None:
    for name in (ENTERPRISE, IN_A_PROCESS):
        plant.start(name)


def rounds(plant: LearningPlant) -> int:
    return len(plant.rows(SITE, learning_round))


@pytest.mark.timeout(300)
def test_killed_at_boundaries_of_a_round_and_all_at_once_every_update_is_merged_once(tmp_path: Path) -> None:
    with learning_plant(tmp_path) as plant:
        start_all(plant)
        for at in ("answer_stored:after:2", "merged:after:1", "published:before:1", "published:after:1"):
            plant.live_until(SITE, at)
        plant.start(SITE)
        for at in ("buffer_stored:after:1", "published:before:1"):
            plant.kill([ENTERPRISE])
            plant.live_until(ENTERPRISE, at)
        plant.start(ENTERPRISE)
        before = rounds(plant)
        assert wait_until(lambda: rounds(plant) > before, 120)
        plant.kill(EVERYBODY)
        plant.broker.start()
        plant.come_to_rest()
        assert plant.check() >= 3


@pytest.mark.timeout(300)
def test_gateway_and_broker_killed_at_boundaries_of_a_round_every_update_is_merged_once(tmp_path: Path) -> None:
    with learning_plant(tmp_path) as plant:
        plant.start(ENTERPRISE)
        plant.start(SITE)
        plant.live_until(IN_A_PROCESS, "own_kept:after:1")
        plant.start(IN_A_PROCESS)
        plant.kill([SITE])
        plant.kill_broker_at(SITE, ("answer_stored:after:2", "published:before:1"))
        plant.come_to_rest()
        assert plant.check() >= 1


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("when", ["before", "after"])
def test_site_killed_at_every_boundary_of_a_round_merges_every_update_once(tmp_path: Path, when: str) -> None:
    with learning_plant(tmp_path) as plant:
        start_all(plant)
        for phase in SITE_PHASES:
            for number in (1, 2):
                plant.live_until(SITE, f"{phase}:{when}:{number}")
        plant.come_to_rest()
        assert plant.check() >= len(SITE_PHASES)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("when", ["before", "after"])
def test_enterprise_killed_at_every_boundary_of_a_merge_merges_every_update_once(tmp_path: Path, when: str) -> None:
    with learning_plant(tmp_path) as plant:
        start_all(plant)
        plant.start(SITE)
        for phase in ENTERPRISE_PHASES:
            for number in (1, 2):
                plant.kill([ENTERPRISE])
                plant.live_until(ENTERPRISE, f"{phase}:{when}:{number}")
        plant.start(ENTERPRISE)
        plant.come_to_rest()
        assert plant.check() >= len(ENTERPRISE_PHASES)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("when", ["before", "after"])
def test_gateway_killed_at_every_boundary_of_its_part_gives_the_same_update_and_keeps_what_is_its_own(
    tmp_path: Path, when: str
) -> None:
    with learning_plant(tmp_path) as plant:
        plant.start(ENTERPRISE)
        plant.start(SITE)
        for phase in GATEWAY_PHASES:
            told = {TOO_FEW_ROWS: "1"} if phase == "verdict_heard" else {}  # it declines, and hears that it did
            for number in (1, 2):
                plant.live_until(IN_A_PROCESS, f"{phase}:{when}:{number}", told)
        plant.start(IN_A_PROCESS)
        before = rounds(plant)
        assert wait_until(lambda: rounds(plant) > before + 1, 120)
        plant.come_to_rest()
        assert plant.check() >= len(GATEWAY_PHASES) // 2  # in some lives it dies twice in one round, or declines


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("name", "phases"), [(SITE, SITE_PHASES), (ENTERPRISE, ENTERPRISE_PHASES)])
def test_broker_killed_at_every_boundary_of_a_round_every_update_is_merged_once(
    tmp_path: Path, name: str, phases: tuple[str, ...], when: str
) -> None:
    with learning_plant(tmp_path) as plant:
        for other in {SITE, ENTERPRISE, IN_A_PROCESS} - {name}:
            plant.start(other)
        plant.kill_broker_at(name, [f"{phase}:{when}:{number}" for phase in phases for number in (1, 2)])
        plant.come_to_rest()
        assert plant.check() >= len(phases)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(6), ids=lambda seed: f"seed{seed}")
def test_anybody_killed_at_random_twenty_times_every_update_is_merged_once(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    with learning_plant(tmp_path) as plant:
        start_all(plant)
        plant.start(SITE)
        for _ in range(20):
            if draw.random() < 0.8:  # else some are killed while they start
                plant.wait_ready()
            wait_until(lambda: False, draw.uniform(0.0, 6.0))  # lives as long as the seed says
            hit = draw.sample(EVERYBODY, draw.choice((1, 1, 2, 4)))
            plant.kill(hit)
            for name in sorted(hit, key=EVERYBODY.index, reverse=True):  # the broker first
                plant.broker.start() if name == "broker" else plant.start(name)
        plant.wait_ready()
        before = rounds(plant)
        assert wait_until(lambda: rounds(plant) > before, 120)
        plant.come_to_rest()
        assert plant.check() >= 1
