"""A release that changed anywhere on its way is refused with a reason, or is still the very same release."""

from pathlib import Path

import numpy as np
import pytest

from aggregator.release_making import next_release
from gateway_agent.release_shelf import ReleaseShelf
from schemas.fragments import split
from schemas.release import Release
from schemas.signing import Signer
from schemas.topics import CANDIDATE, RELEASE
from tests.support.learning import CREATED_AT_US, People, builtin

PEOPLE = People([("site-a", "site"), ("product", "releaser"), ("gw-1", "gateway")])
FIRST = builtin(PEOPLE["product"])
NAMES = {"site": "site-a", "gateway": "gw-1"}
FLIPS, CUTS, SEED = 300, 60, 17


def release(version: int, signer: Signer | None = None) -> Release:
    return next_release(
        FIRST, FIRST.parameters() * np.float32(1.01), signer or PEOPLE["site-a"], version=version, level="site",
        created_at_us=CREATED_AT_US, data={}, metrics={}, merge={},
    )  # fmt: skip


@pytest.fixture
def shelf(tmp_path: Path) -> ReleaseShelf:
    FIRST.save(tmp_path / "builtin")
    shelf = ReleaseShelf(tmp_path / "shelf", PEOPLE.keys, builtin=tmp_path / "builtin")
    shelf.open()
    return shelf


GOOD = release(2)
BUNDLE = GOOD.bundle()


def test_one_bit_flipped_anywhere_is_refused_or_changes_nothing_of_the_release(shelf: ReleaseShelf) -> None:
    places = np.random.default_rng(SEED).choice(8 * len(BUNDLE), FLIPS, replace=False)
    head = range(0, 8 * 64, 5)  # the container's own header besides
    for place in [*head, *places.tolist()]:
        changed = bytearray(BUNDLE)
        changed[place // 8] ^= 1 << place % 8
        taken = shelf.offer(bytes(changed), offered_as=2)
        if taken is not None:
            assert taken.digest == GOOD.digest, f"bit {place}"
        elif shelf.current.digest == FIRST.digest:
            assert shelf.problem.startswith("release 2 refused ("), f"bit {place}"
    assert shelf.current.digest in {FIRST.digest, GOOD.digest}
    assert sum(shelf.counters.values()) >= FLIPS - 20


def test_a_bundle_cut_anywhere_is_refused_and_the_release_in_use_stays(shelf: ReleaseShelf) -> None:
    for size in np.random.default_rng(SEED).choice(len(BUNDLE), CUTS, replace=False).tolist():
        assert shelf.offer(BUNDLE[:size], offered_as=2) is None
        assert shelf.current.digest == FIRST.digest
    assert sum(shelf.counters.values()) == CUTS


def test_a_sealed_fragment_with_one_bit_flipped_is_dropped_and_counted(shelf: ReleaseShelf) -> None:
    topic = RELEASE.path(**NAMES)
    (fragment,) = split(BUNDLE, stream=2, item=1, piece_bytes=1 << 22)
    sealed = PEOPLE["site-a"].seal(topic, fragment)
    places = np.random.default_rng(SEED).choice(8 * len(sealed), 40, replace=False).tolist()
    for place in places:
        changed = bytearray(sealed)
        changed[place // 8] ^= 1 << place % 8
        assert shelf.receive(topic, bytes(changed), site="site-a", now_s=0.0) is None
    assert sum(shelf.counters.values()) == len(places)
    assert shelf.current.digest == FIRST.digest
    assert shelf.heard_at_s is None  # nobody that can be believed has spoken


def tried(shelf: ReleaseShelf, content: bytes, *, sealed_for: str = "") -> object:
    topic = CANDIDATE.path(**NAMES)
    (fragment,) = split(content, stream=2, item=1, piece_bytes=1 << 22)
    payload = PEOPLE["site-a"].seal(sealed_for or topic, fragment)
    return shelf.receive_candidate(topic, payload, site="site-a", now_s=7.0)


def test_a_candidate_is_ready_to_score_and_the_release_in_use_stays(shelf: ReleaseShelf) -> None:
    model = tried(shelf, BUNDLE)
    assert getattr(model, "version", None) == 2
    assert shelf.current.digest == FIRST.digest
    assert shelf.highest_version == 1
    assert shelf.heard_at_s == 7.0
    assert shelf.offer(BUNDLE, offered_as=2) is not None  # having been tried does not make it old


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BUNDLE[:-9], "bad_digest"),
        (release(2, Signer.generate()).bundle(), "unknown_signer"),
        (release(1).bundle(), "older_version"),
    ],
)
def test_a_candidate_passes_the_same_checks_as_a_release(shelf: ReleaseShelf, content: bytes, reason: str) -> None:
    assert tried(shelf, content) is None
    assert shelf.problem.startswith(f"release 2 refused ({reason}): ")


def test_what_the_site_sealed_as_a_candidate_cannot_be_played_back_as_a_release(shelf: ReleaseShelf) -> None:
    (fragment,) = split(BUNDLE, stream=2, item=1, piece_bytes=1 << 22)
    for_candidates = PEOPLE["site-a"].seal(CANDIDATE.path(**NAMES), fragment)
    assert shelf.receive(RELEASE.path(**NAMES), for_candidates, site="site-a", now_s=0.0) is None
    assert shelf.current.digest == FIRST.digest


def test_a_release_that_ended_the_agent_while_it_was_loaded_is_named_so_that_the_site_takes_it_back(
    tmp_path: Path, shelf: ReleaseShelf
) -> None:
    assert shelf.offer(BUNDLE, offered_as=2) is not None
    ledger = tmp_path / "shelf" / "shelf.json"
    name = next((tmp_path / "shelf").glob("00000002-*")).name
    ledger.write_text(ledger.read_text().replace('"loading": null', f'"loading": "{name}"'))
    again = ReleaseShelf(tmp_path / "shelf", PEOPLE.keys, builtin=tmp_path / "builtin")
    again.open()
    assert again.current.digest == FIRST.digest
    assert again.problem.startswith("release 2 refused (died_loading): ")
