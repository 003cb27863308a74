"""Which release a gateway runs, after whatever came over the wire or happened to its disk."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aggregator.release_making import next_release
from gateway_agent.release_shelf import ReleaseShelf
from schemas.container import pack
from schemas.fragments import split
from schemas.release import MANIFEST, PARAMETERS, SIGNATURE, Release
from schemas.signing import Signer
from schemas.topics import RELEASE
from tests.support.learning import CREATED_AT_US, People, builtin

PEOPLE = People([("site-a", "site"), ("product", "releaser"), ("gw-1", "gateway")])
FIRST = builtin(PEOPLE["product"])
TOPIC = RELEASE.path(site="site-a", gateway="gw-1")


def release(version: int, signer: Signer | None = None) -> Release:
    parameters = FIRST.parameters() * np.float32(1 + version / 100)
    return next_release(
        FIRST, parameters, signer or PEOPLE["site-a"], version=version, level="site", created_at_us=CREATED_AT_US,
        data={}, metrics={}, merge={},
    )  # fmt: skip


def opened(folder: Path) -> ReleaseShelf:
    if not (folder / "builtin").exists():
        FIRST.save(folder / "builtin")
    shelf = ReleaseShelf(folder / "shelf", PEOPLE.keys, builtin=folder / "builtin")
    shelf.open()
    return shelf


@pytest.fixture
def shelf(tmp_path: Path) -> ReleaseShelf:
    return opened(tmp_path)


def saved(folder: Path, version: int) -> Path:
    (place,) = (folder / "shelf").glob(f"{version:08d}-*")
    return place


def test_a_gateway_that_never_heard_of_a_site_runs_the_release_of_its_software(shelf: ReleaseShelf) -> None:
    assert shelf.current.digest == FIRST.digest
    assert shelf.problem == ""


def test_a_release_in_sealed_fragments_is_taken_into_use_with_the_last_one(shelf: ReleaseShelf) -> None:
    wanted = release(2)
    fragments = split(wanted.bundle(), stream=2, item=1, piece_bytes=4096)
    taken = [
        shelf.receive(TOPIC, PEOPLE["site-a"].seal(TOPIC, fragment), site="site-a", now_s=0.0)
        for fragment in reversed(fragments)
    ]
    assert taken[:-1] == [None] * (len(fragments) - 1)
    assert taken[-1] is not None
    assert shelf.current.digest == wanted.digest


@pytest.mark.parametrize("sealed_by", ["gw-1", "product", None])
def test_a_fragment_that_the_site_has_not_sealed_is_dropped_and_counted(
    shelf: ReleaseShelf, sealed_by: str | None
) -> None:
    (fragment,) = split(release(2).bundle(), stream=2, item=1, piece_bytes=1 << 20)
    payload = fragment if sealed_by is None else PEOPLE[sealed_by].seal(TOPIC, fragment)
    assert shelf.receive(TOPIC, payload, site="site-a", now_s=0.0) is None
    assert shelf.current.digest == FIRST.digest
    assert sum(shelf.counters.values()) == 1


def changed(name: str, change: Callable[[bytes], bytes]) -> bytes:
    files = dict(release(2).files)
    files[name] = change(files[name])
    return pack({"release": 2}, files)


def full_of_nan() -> bytes:
    """Signed with all digests right: what a broken aggregator would make."""
    files = dict(release(2).files)
    theta = np.full(FIRST.manifest.parameter_count, np.nan, "<f4").tobytes()
    manifest = json.loads(files[MANIFEST])
    manifest["files"][PARAMETERS]["sha256"] = hashlib.sha256(theta).hexdigest()
    text = json.dumps(manifest).encode()
    signature = json.loads(files[SIGNATURE])
    signature["signature"] = base64.b64encode(PEOPLE["site-a"].sign(text)).decode()
    files |= {PARAMETERS: theta, MANIFEST: text, SIGNATURE: json.dumps(signature).encode()}
    return pack({"release": 2}, files)


REFUSED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "parameters changed on the way": ("bad_digest", lambda: changed(PARAMETERS, lambda b: b[:-1] + b"\x01")),
    "manifest changed": ("bad_signature", lambda: changed(MANIFEST, lambda b: b.replace(b'"site"', b'"sitt"'))),
    "signature missing": ("bad_signature", lambda: changed(SIGNATURE, lambda _: b"{}")),
    "bundle cut short": ("bad_digest", lambda: release(2).bundle()[:-100]),
    "bundle of nothing": ("truncated", lambda: b""),
    "full of NaN": ("not_finite", full_of_nan),
    "signed by nobody known": ("unknown_signer", lambda: release(2, Signer.generate()).bundle()),
    "signed by a gateway": ("unknown_signer", lambda: release(2, PEOPLE["gw-1"]).bundle()),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_release_that_must_not_be_loaded_is_refused_and_the_status_says_why(what: str, shelf: ReleaseShelf) -> None:
    reason, make = REFUSED[what]
    assert shelf.offer(make(), offered_as=2) is None
    assert shelf.current.digest == FIRST.digest
    assert shelf.problem.startswith(f"release 2 refused ({reason}): ")
    assert shelf.counters == {reason: 1}


def test_a_good_release_clears_the_problem_of_a_bad_one(shelf: ReleaseShelf) -> None:
    shelf.offer(b"", offered_as=2)
    assert shelf.offer(release(3).bundle(), offered_as=3) is not None
    assert shelf.problem == ""


def test_an_older_release_is_refused_even_though_it_was_good_once(shelf: ReleaseShelf) -> None:
    old = release(2).bundle()
    shelf.offer(old, offered_as=2)
    shelf.offer(release(3).bundle(), offered_as=3)
    assert shelf.offer(old, offered_as=2) is None
    assert shelf.current.version == 3
    assert "release 2 is not newer than 3" in shelf.problem


def test_the_release_in_use_offered_again_changes_nothing(shelf: ReleaseShelf) -> None:
    shelf.offer(release(2).bundle(), offered_as=2)
    assert shelf.offer(release(2).bundle(), offered_as=2) is None
    assert shelf.problem == ""


def test_a_restart_runs_the_release_that_ran_before(tmp_path: Path) -> None:
    opened(tmp_path).offer(release(2).bundle(), offered_as=2)
    assert opened(tmp_path).current.version == 2


def test_a_current_release_damaged_on_disk_gives_way_to_the_last_good_one(tmp_path: Path) -> None:
    shelf = opened(tmp_path)
    shelf.offer(release(2).bundle(), offered_as=2)
    shelf.offer(release(3).bundle(), offered_as=3)
    (saved(tmp_path, 3) / PARAMETERS).write_bytes(b"\0" * 100)
    again = opened(tmp_path)
    assert again.current.version == 2
    assert "refused (bad_digest)" in again.problem


def test_with_both_damaged_the_release_of_the_software_serves(tmp_path: Path) -> None:
    shelf = opened(tmp_path)
    shelf.offer(release(2).bundle(), offered_as=2)
    shelf.offer(release(3).bundle(), offered_as=3)
    for version in (2, 3):
        (saved(tmp_path, version) / MANIFEST).unlink()
    assert opened(tmp_path).current.digest == FIRST.digest


def test_a_release_that_ended_the_program_while_loading_is_not_tried_again(tmp_path: Path) -> None:
    shelf = opened(tmp_path)
    shelf.offer(release(2).bundle(), offered_as=2)
    shelf.offer(release(3).bundle(), offered_as=3)
    file = tmp_path / "shelf" / "shelf.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "loading": saved(tmp_path, 3).name}))
    again = opened(tmp_path)
    assert again.current.version == 2
    assert "ended this program while it was loaded" in again.problem
    assert opened(tmp_path).current.version == 2


def test_an_unreadable_shelf_is_said_and_the_release_of_the_software_serves(tmp_path: Path) -> None:
    opened(tmp_path).offer(release(2).bundle(), offered_as=2)
    (tmp_path / "shelf" / "shelf.json").write_text("{torn")
    again = opened(tmp_path)
    assert again.current.digest == FIRST.digest
    assert "cannot be read" in again.problem


def test_only_the_current_and_the_last_good_release_stay_on_disk(tmp_path: Path) -> None:
    shelf = opened(tmp_path)
    for version in range(2, 6):
        shelf.offer(release(version).bundle(), offered_as=version)
    names = sorted(place.name[:8] for place in (tmp_path / "shelf").iterdir() if place.is_dir())
    assert names == ["00000004", "00000005"]
