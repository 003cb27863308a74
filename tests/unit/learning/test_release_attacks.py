"""What a gateway takes of all that its site ever sealed from somebody who holds its broker: late, twice, mixed, never.

The attacks are those of The Update Framework's specification 1.0, section 1.5.2: arbitrary software, rollback,
indefinite freeze, endless data, extraneous dependencies (here: unlisted files), mix-and-match, wrong software.
"""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from aggregator.release_making import next_release
from gateway_agent.batch import Batch
from gateway_agent.commands import CommandDesk
from gateway_agent.release_shelf import MAX_BUNDLE_BYTES, ReleaseShelf
from gateway_agent.release_taker import ReleaseTaker
from gateway_agent.settings import StoreSettings
from gateway_agent.store import Store
from schemas.container import pack
from schemas.fragments import Fragment, encode_fragment, split
from schemas.messages import Command, CommandResult
from schemas.release import (
    EXPIRES,
    MANIFEST,
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    PARAMETERS,
    SIGNATURE,
    Release,
)
from schemas.topics import CANDIDATE, RELEASE
from tests.support.learning import CREATED_AT_US, People, builtin

PEOPLE = People(
    [("site-a", "site"), ("site-b", "site"), ("product", "releaser"), ("gw-1", "gateway"), ("screen", "dashboard")]
)
FIRST = builtin(PEOPLE["product"])
TOPIC = RELEASE.path(site="site-a", gateway="gw-1")
DAY_US = 86_400_000_000
TERM_US = 30 * DAY_US
READ_BY_0_1 = {
    "format", "format_version", "name", "release_version", "base_version", "created_at_us", "level", "family",
    "features", "inputs", "parameter_count", "files", "data", "metrics", "merge",
}  # fmt: skip


def made(version: int, *, by: str = "site-a", on_day: float = 0.0, dated: bool = True) -> Release:
    at_us = CREATED_AT_US + round(on_day * DAY_US)
    return next_release(
        FIRST, FIRST.parameters() * np.float32(1 + version / 100), PEOPLE[by], version=version, level="site",
        created_at_us=at_us, data={EXPIRES: at_us + TERM_US} if dated else {}, metrics={}, merge={},
    )  # fmt: skip


def sealed(release: Release, *, by: str = "site-a", topic: str = TOPIC) -> list[bytes]:
    """What an attacker has recorded."""
    pieces = split(release.bundle(), stream=release.version, item=release.version, piece_bytes=1 << 15)
    return [PEOPLE[by].seal(topic, piece) for piece in pieces]


class Gateway:
    """A gateway's shelf with a wall clock to be set, in days since the first release was made."""

    def __init__(self, folder: Path) -> None:
        self.day = 0.0
        self._folder = folder
        FIRST.save(folder / "builtin")
        self.start()

    def start(self) -> None:
        self.shelf = ReleaseShelf(
            self._folder / "shelf", PEOPLE.keys, builtin=self._folder / "builtin",
            wall_us=lambda: CREATED_AT_US + round(self.day * DAY_US),
        )  # fmt: skip
        self.shelf.open()

    def hear(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            self.shelf.receive(TOPIC, payload, site="site-a", now_s=0.0)

    @property
    def runs(self) -> int:
        return self.shelf.current.version

    @property
    def problem(self) -> str:
        return self.shelf.problem


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


def test_everything_the_site_ever_sealed_played_back_takes_a_gateway_nowhere_but_up(gateway: Gateway) -> None:
    recorded = {version: sealed(made(version)) for version in range(2, 6)}
    for payloads in recorded.values():
        gateway.hear(payloads)
    for payloads in recorded.values():
        gateway.hear(payloads)
        assert gateway.runs == 5
    assert "release 4 is not newer than 5" in gateway.problem
    gateway.start()
    gateway.hear(recorded[4])
    assert gateway.runs == 5


def test_a_sealed_command_to_go_back_is_answered_and_not_obeyed(gateway: Gateway, tmp_path: Path) -> None:
    """Sites up to 0.1 could have sent one; played back it would undo what came since."""
    store, batch = Store(StoreSettings(folder=tmp_path / "store")), Batch(0)
    back = Command(command_id="0" * 32, gateway="gw-1", action="roll_back", actor="anna", issued_at_us=1)
    CommandDesk(store).carry_out(back, cast("Any", None), batch)
    store.close()
    ((_, answer),) = batch.records
    assert isinstance(answer, CommandResult)
    assert not answer.done
    assert answer.text == "a gateway goes back to no older release; the site sends what was good as a newer one"


def test_a_gateway_kept_from_newer_releases_says_so_and_goes_on_with_what_it_has(gateway: Gateway) -> None:
    gateway.hear(sealed(made(2)))
    gateway.day = 29.9
    assert gateway.shelf.overdue == ""
    gateway.day = 30.1
    assert gateway.shelf.overdue.startswith("release 2 is past its time, which ended 2023-12-14 22:13 UTC")
    gateway.start()  # it is still the best there is
    assert gateway.runs == 2
    gateway.hear(sealed(made(3, on_day=30.0)))
    assert (gateway.runs, gateway.shelf.overdue) == (3, "")


def test_that_a_release_is_past_its_time_is_told_to_the_site_at_once_and_logged_once(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    nobody = cast("Any", None)
    taker = ReleaseTaker(
        gateway.shelf, nobody, nobody, site="site-a", do=nobody, tell=lambda: told.append(gateway.shelf.overdue),
        wall_us=lambda: 0, compare_every_s=math.inf,
    )  # fmt: skip
    gateway.hear(sealed(made(2)))
    taker.look()
    gateway.day = 31.0
    caplog.clear()
    with caplog.at_level("ERROR"):
        taker.look()
        taker.look()
    assert len(told) == 1
    assert told[0].startswith("release 2 is past its time")
    assert caplog.messages == ["release_overdue"]


def test_a_gateway_that_slept_is_not_given_what_was_newer_than_it_but_is_past_its_time(gateway: Gateway) -> None:
    gateway.hear(sealed(made(2)))
    gateway.day = 40.0
    gateway.hear(sealed(made(5, on_day=3.0)))
    assert gateway.runs == 2
    assert gateway.problem.startswith("release 5 refused (expired): the time of release 5 ended 2023-12-17 22:13 UTC")
    gateway.hear(sealed(made(20, on_day=35.0)))
    assert (gateway.runs, gateway.problem) == (20, "")


def test_a_candidate_past_its_time_is_not_tried(gateway: Gateway) -> None:
    gateway.day = 40.0
    topic = CANDIDATE.path(site="site-a", gateway="gw-1")
    for payload in sealed(made(2), topic=topic):
        assert gateway.shelf.receive_candidate(topic, payload, site="site-a", now_s=0.0) is None
    assert gateway.problem.startswith("release 2 refused (expired): ")


@pytest.mark.parametrize("day", [-19_000.0, -1.0], ids=["1971", "a day behind"])
def test_a_clock_that_is_behind_the_making_of_a_release_refuses_none(gateway: Gateway, day: float) -> None:
    gateway.day = day
    gateway.hear(sealed(made(2)))
    assert (gateway.runs, gateway.problem, gateway.shelf.overdue) == (2, "", "")


def test_a_clock_far_ahead_refuses_with_both_times_in_words_and_what_runs_goes_on(gateway: Gateway) -> None:
    gateway.hear(sealed(made(2)))
    gateway.day = 16 * 365.0
    gateway.hear(sealed(made(3)))
    assert gateway.runs == 2
    assert "this gateway's clock says 2039-" in gateway.problem
    gateway.day = 1.0
    gateway.hear(sealed(made(3)))
    assert gateway.runs == 3


def test_a_release_without_a_time_is_taken_for_ever_as_those_of_the_product_are(gateway: Gateway) -> None:
    gateway.day = 16 * 365.0
    gateway.hear(sealed(made(2, dated=False)))
    assert (gateway.runs, gateway.shelf.overdue) == (2, "")


def test_a_gateway_of_the_first_version_reads_a_dated_manifest() -> None:
    """It refuses a manifest with a field of its own that it does not know."""
    assert set(json.loads(made(2).files[MANIFEST])) == READ_BY_0_1


@pytest.mark.parametrize("by", ["gw-1", "screen"])
def test_a_release_signed_in_another_role_is_refused_though_the_key_is_on_the_list(gateway: Gateway, by: str) -> None:
    gateway.hear(sealed(made(2, by=by)))
    assert gateway.runs == 1
    assert gateway.problem.startswith("release 2 refused (unknown_signer): ")


@pytest.mark.parametrize(
    ("by", "topic", "reason"),
    [
        ("site-b", TOPIC, "wrong_speaker"),
        ("product", TOPIC, "wrong_speaker"),
        ("gw-1", TOPIC, "wrong_speaker"),
        ("site-a", RELEASE.path(site="site-a", gateway="gw-2"), "bad_signature"),
        ("site-a", CANDIDATE.path(site="site-a", gateway="gw-1"), "bad_signature"),
    ],
)
def test_a_good_release_sealed_by_another_or_for_another_is_dropped_and_counted(
    gateway: Gateway, by: str, topic: str, reason: str
) -> None:
    payloads = sealed(made(2), by=by, topic=topic)
    gateway.hear(payloads)
    assert gateway.runs == 1
    assert gateway.shelf.counters == {reason: len(payloads)}


def mixed(change: Callable[[dict[str, bytes], dict[str, bytes]], dict[str, bytes]]) -> bytes:
    return pack({"release": 3}, change(dict(made(3).files), dict(made(2).files)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda new, old: new | {PARAMETERS: old[PARAMETERS]}, "bad_digest"),
        (lambda new, old: old | {MANIFEST: new[MANIFEST]}, "bad_signature"),
        (lambda new, old: old | {MANIFEST: new[MANIFEST], SIGNATURE: new[SIGNATURE]}, "bad_digest"),
        (lambda new, old: new | {"more.bin": old[PARAMETERS]}, "unlisted_file"),
    ],
    ids=["older parameters", "newer manifest", "newer manifest and signature", "a file more"],
)
def test_files_of_two_releases_make_none(
    gateway: Gateway, change: Callable[[dict[str, bytes], dict[str, bytes]], dict[str, bytes]], reason: str
) -> None:
    assert gateway.shelf.offer(mixed(change), offered_as=3) is None
    assert gateway.runs == 1
    assert gateway.shelf.counters == {reason: 1}


def test_fragments_of_two_releases_join_to_none(gateway: Gateway) -> None:
    """Also where a site that has lost its database has counted the same numbers again."""
    other = next_release(
        FIRST, FIRST.parameters() * np.float32(2), PEOPLE["site-a"], version=2, level="site",
        created_at_us=CREATED_AT_US + 1, data={EXPIRES: CREATED_AT_US + 1 + TERM_US}, metrics={}, merge={},
    )  # fmt: skip
    bundles = [made(2).bundle(), other.bundle()]
    one, two = (split(bundle, stream=2, item=2, piece_bytes=1 << 12) for bundle in bundles)
    in_turns = [pieces[index % 2] for index, pieces in enumerate(zip(one, two, strict=True))]
    gateway.hear([PEOPLE["site-a"].seal(TOPIC, piece) for piece in in_turns])
    assert gateway.runs == 1
    assert gateway.shelf.counters.total() == 1


def test_data_without_end_is_given_up_within_the_bound_and_a_good_release_still_comes_in(gateway: Gateway) -> None:
    """By the site's own key, which is the worst case: others do not get as far."""
    piece = bytes(1 << 20)
    for item in range(100, 140):
        never_whole = encode_fragment(Fragment(9, item, item % 2, 20, MAX_BUNDLE_BYTES, piece))
        gateway.hear([PEOPLE["site-a"].seal(TOPIC, never_whole)])
    held = gateway.shelf._reassembly.held_bytes
    assert held <= MAX_BUNDLE_BYTES + len(piece) + 1024
    too_large = encode_fragment(Fragment(9, 1, 0, 30, MAX_BUNDLE_BYTES + 1, piece))
    gateway.hear([PEOPLE["site-a"].seal(TOPIC, too_large)])
    assert gateway.shelf.counters["oversized"] == 1
    gateway.hear(sealed(made(2)))
    assert gateway.runs == 2
    assert gateway.shelf.counters["fragments_incomplete"] >= 15


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({MANIFEST: b" " * (MAX_MANIFEST_BYTES + 1)}, "oversized"),
        ({f"more-{number}": b"x" for number in range(MAX_FILES)}, "too_many_files"),
        ({PARAMETERS: bytes(MAX_FILE_BYTES * 4)}, "oversized"),
    ],
    ids=["manifest", "files", "one file"],
)
def test_what_is_too_much_is_refused_before_it_is_read(
    gateway: Gateway, files: dict[str, bytes], reason: str
) -> None:  # fmt: skip
    assert gateway.shelf.offer(pack({"release": 2}, {**made(2).files, **files}), offered_as=2) is None
    assert gateway.shelf.counters == {reason: 1}


def test_a_time_that_no_calendar_has_is_refused_in_words_and_no_bug(gateway: Gateway) -> None:
    for version, until in ((2, -(10**30)), (3, 10**30)):
        gateway.shelf.offer(
            next_release(
                FIRST, FIRST.parameters(), PEOPLE["site-a"], version=version, level="site",
                created_at_us=CREATED_AT_US, data={EXPIRES: until}, metrics={}, merge={},
            ).bundle(), offered_as=version,
        )  # fmt: skip
    assert gateway.shelf.counters == {"expired": 1}
    assert gateway.runs == 3
    assert hashlib.sha256(gateway.shelf.current.files[MANIFEST]).hexdigest() == gateway.shelf.current.digest
