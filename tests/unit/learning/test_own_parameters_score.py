"""A gateway scores by the release with its own parameters in their places, and by the same ones after a restart."""

from pathlib import Path

import numpy as np
import pytest

from aggregator.release_making import first_release
from gateway_agent.personal_parameters import PersonalShelf
from gateway_agent.release_shelf import ReleaseShelf
from gateway_agent.training import NOTHING_OWN, OwnParameters, Rows
from schemas.parameter_levels import MergeLevel
from schemas.release import Release
from schemas.release_graphs import INPUTS
from tests.support.learning import CREATED_AT_US, GRAPHS, People, builtin

PEOPLE = People([("site-a", "site"), ("product", "releaser")])
FIRST = builtin(PEOPLE["product"])
ROWS = np.random.default_rng(0).standard_normal((4, INPUTS)).astype(np.float32)


def released(version: int, rule: str, levels: dict[str, MergeLevel] | None = None) -> Release:
    return first_release(
        GRAPHS, PEOPLE["site-a"], created_at_us=CREATED_AT_US, seed=version, rule=rule, levels=levels, version=version
    )


def own_of(seed: int) -> Rows:
    return (0.1 * np.random.default_rng(seed).standard_normal(FIRST.manifest.parameter_count)).astype(np.float32)


def opened(folder: Path) -> ReleaseShelf:
    if not (folder / "builtin").exists():
        FIRST.save(folder / "builtin")
    shelf = ReleaseShelf(
        folder / "shelf", PEOPLE.keys, builtin=folder / "builtin", personal=PersonalShelf(folder / "own")
    )
    shelf.open()
    return shelf


def take(shelf: ReleaseShelf, release: Release) -> None:
    assert shelf.offer(release.bundle(), offered_as=release.version) is not None, shelf.problem


def theta_in_use(shelf: ReleaseShelf) -> Rows:
    return shelf.slot.loaded.theta


def test_a_release_with_personal_models_scores_by_the_one_learnt_here(tmp_path: Path) -> None:
    shelf, ditto = opened(tmp_path), released(2, "ditto_step")
    shelf.personal.keep(ditto, "round 1", NOTHING_OWN, OwnParameters(personal=own_of(1)))
    take(shelf, ditto)
    np.testing.assert_array_equal(theta_in_use(shelf), own_of(1))
    assert np.isfinite(shelf.slot.score(ROWS)[0]).all()


def test_parts_of_level_machine_are_this_gateways_and_the_rest_is_the_releases(tmp_path: Path) -> None:
    shelf, split = opened(tmp_path), released(2, "adam_prox_step", {"layer_4": "machine"})
    shelf.personal.keep(split, "round 1", NOTHING_OWN, OwnParameters(machine=own_of(1)))
    take(shelf, split)
    here = shelf.slot.loaded.levels.machine
    assert 0 < here.sum() < here.size
    np.testing.assert_array_equal(theta_in_use(shelf)[here], own_of(1)[here])
    np.testing.assert_array_equal(theta_in_use(shelf)[~here], split.parameters()[~here])


def test_what_is_learnt_later_counts_from_the_next_release_on_and_not_from_a_restart(tmp_path: Path) -> None:
    shelf, ditto = opened(tmp_path), released(2, "ditto_step")
    shelf.personal.keep(ditto, "round 1", NOTHING_OWN, OwnParameters(personal=own_of(1)))
    take(shelf, ditto)
    shelf.personal.keep(ditto, "round 2", OwnParameters(personal=own_of(1)), OwnParameters(personal=own_of(2)))
    again = opened(tmp_path)
    np.testing.assert_array_equal(theta_in_use(again), own_of(1))
    take(again, released(3, "ditto_step"))
    np.testing.assert_array_equal(theta_in_use(again), own_of(2))


def test_a_rule_without_a_personal_model_scores_by_the_release(tmp_path: Path) -> None:
    shelf, plain = opened(tmp_path), released(2, "adam_prox_step")
    shelf.personal.keep(plain, "round 1", NOTHING_OWN, OwnParameters(personal=own_of(1)))
    take(shelf, plain)
    np.testing.assert_array_equal(theta_in_use(shelf), plain.parameters())


def test_a_candidate_that_is_refused_drops_nothing(tmp_path: Path) -> None:
    shelf, ditto = opened(tmp_path), released(2, "ditto_step")
    shelf.personal.keep(ditto, "round 1", NOTHING_OWN, OwnParameters(personal=own_of(1)))
    bundle = bytearray(released(3, "ditto_step").bundle())
    bundle[len(bundle) // 2] ^= 1
    assert shelf.offer(bytes(bundle), offered_as=3) is None
    np.testing.assert_array_equal(shelf.personal.current(ditto).personal, own_of(1))


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda _: b"", lambda content: b"x" + content[1:]])
def test_with_damaged_own_parameters_the_release_before_is_used_and_the_status_says_so(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    shelf, ditto = opened(tmp_path), released(2, "ditto_step")
    shelf.personal.keep(ditto, "round 1", NOTHING_OWN, OwnParameters(personal=own_of(1)))
    take(shelf, ditto)
    (snapshot,) = (tmp_path / "shelf").glob("*.own")
    snapshot.write_bytes(damage(snapshot.read_bytes()))
    again = opened(tmp_path)
    assert again.current.digest == FIRST.digest
    assert "own_parameters" in again.problem


def test_snapshots_of_releases_that_are_gone_are_gone(tmp_path: Path) -> None:
    shelf = opened(tmp_path)
    shelf.personal.keep(released(2, "ditto_step"), "round 1", NOTHING_OWN, OwnParameters(personal=own_of(1)))
    for version in (2, 3, 4):
        take(shelf, released(version, "ditto_step"))
    assert len(list((tmp_path / "shelf").glob("*.own"))) == 2
