"""This file knows which releases a gateway keeps, in which order it trusts them, and what a restart falls back to.

Versions only go up, and what is past its time is not taken: what a site has signed once cannot be played back later.
A release in use that is past its time stays in use, nothing better is there; `overdue` says so.

On the shelf stand the current release and the last good one before it; under both lies the release that came with
the software. A release is saved, loaded into the slot and only then written down as current. While a start loads the
current release the shelf says so on disk: a start that died there takes the last good one next time.
"""

import datetime as dt
import logging
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway_agent.model_slot import LoadedModel, ModelSlot, load_model
from gateway_agent.personal_parameters import PersonalShelf, read_snapshot, save_snapshot
from gateway_agent.training import NOTHING_OWN, OwnParameters
from schemas.errors import RejectedInput, ReleaseRejected, SignatureRejected, TensorsRejected
from schemas.fragments import Reassembly, decode_fragment
from schemas.logs import event
from schemas.release import MAX_FILE_BYTES, Release, read_release_bundle, read_release_folder
from schemas.signing import KeyRing
from schemas.synced_files import sync_folder

log = logging.getLogger(__name__)

MAX_BUNDLE_BYTES = 4 * MAX_FILE_BYTES
MAX_BUNDLE_AGE_S = 600.0
BUILTIN_FOLDER = Path(__file__).parent / "builtin_release"
_RELEASERS = frozenset({"site", "enterprise", "releaser"})


def _wall_clock_us() -> int:
    return time.time_ns() // 1000


class _Ledger(BaseModel):
    """shelf.json: names of folders beside it, and the highest version ever in use here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    current: str | None = None
    last_good: str | None = None
    highest_version: int = Field(default=0, ge=0)
    loading: str | None = None


class ReleaseShelf:
    """Keeps releases on disk and the one in use in its slot.

    `open` once at start; then any one thread may call `receive`, and any thread may score.

    Attributes:
        slot: Where the release in use is loaded.
        problem: Why the last release offered is not in use, for the gateway's status; empty when all is well.
            It starts with `release N refused`, by which the site knows which one is meant.
        counters: Fragments and releases refused, by reason.
        personal: This gateway's own parameters; a release is taken into use with those of that moment.
        heard_at_s: When the site last sealed a fragment that was new here, by the caller's monotonic clock.
    """

    def __init__(
        self, folder: Path, keys: KeyRing, *, builtin: Path = BUILTIN_FOLDER, personal: PersonalShelf | None = None,
        wall_us: Callable[[], int] = _wall_clock_us,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._file = folder / "shelf.json"
        self._keys = keys
        self._wall_us = wall_us
        self._builtin_folder = builtin
        self._builtin: Release | None = None
        self._ledger = _Ledger()
        self._reassembly = Reassembly(max_bytes=MAX_BUNDLE_BYTES, max_age_s=MAX_BUNDLE_AGE_S)
        self._lock = threading.RLock()
        self.slot: Final = ModelSlot()
        self.personal: Final = personal or PersonalShelf()
        self.problem = ""
        self.counters: Final[Counter[str]] = Counter()
        self.heard_at_s: float | None = None

    @property
    def current(self) -> Release:
        """The release in use."""
        release = self.slot.release
        assert release is not None, "ReleaseShelf.open comes first"
        return release

    @property
    def highest_version(self) -> int:
        """The highest version ever in use here; only higher ones are taken."""
        return max(self._ledger.highest_version, self._builtin.version if self._builtin else 0)

    @property
    def overdue(self) -> str:
        """That the release in use is past its time, and what may hold newer ones back; empty when it is not."""
        release, now_us = self.current, self._wall_us()
        if not release.is_over(now_us):
            return ""
        return (
            f"release {release.version} is past its time, which ended {_moment(release.expires_at_us)}"
            f"{_by_clock(now_us)}: no newer one has come; see whether broker and site run, and who else could hold "
            "messages back"
        )

    def open(self) -> Release:
        """Load the current release, or the last good one, or the one that came with the software.

        Raises:
            ReleaseRejected: Not even the built-in release can be used; the software must be installed again.
        """
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._ledger = self._read_ledger()
            self._builtin = read_release_folder(self._builtin_folder, self._keys)
            died_loading = self._ledger.loading
            for name in (self._ledger.current, self._ledger.last_good):
                if name is not None and name != died_loading and self._try_saved(name):
                    break
            else:
                self.slot.load(self._builtin)
                self._write(current=None, last_good=None, loading=None)
            if died_loading is not None:
                version = died_loading.split("-")[0].lstrip("0") or "0"
                self.problem = self.problem or (
                    f"release {version} refused (died_loading): it ended this program while it was loaded"
                )
            event(log, logging.INFO, "release_in_use", version=self.current.version, digest=self.current.digest)
            return self.current

    def receive(self, topic: str, payload: bytes, *, site: str, now_s: float) -> Release | None:
        """Take one sealed fragment of a release; on the last one load it and tell.

        Nothing is raised: what is refused is counted, and `problem` says why. Takes up to some 50 ms when a release
        is complete: not for the network thread.

        Args:
            topic: Where it came from (a path of `topics.RELEASE`).
            payload: The sealed fragment.
            site: Whose key must have sealed it.
            now_s: Monotonic time.

        Returns:
            The release that has just been taken into use, or None.
        """
        joined = self._join(topic, payload, site=site, now_s=now_s)
        return None if joined is None else self.offer(joined[0], offered_as=joined[1])

    def receive_candidate(self, topic: str, payload: bytes, *, site: str, now_s: float) -> LoadedModel | None:
        """Take one sealed fragment of a candidate; on the last one give it ready to score. It is not kept.

        A candidate passes every check that a release passes; refusals are told likewise.

        Args:
            topic: Where it came from (a path of `topics.CANDIDATE`).
            payload: The sealed fragment.
            site: Whose key must have sealed it.
            now_s: Monotonic time.
        """
        joined = self._join(topic, payload, site=site, now_s=now_s)
        if joined is None:
            return None
        bundle, offered_as = joined
        with self._lock:
            try:
                release = read_release_bundle(bundle, self._keys)
                self._refuse_untrusted(release)
                return load_model(release, self.slot.loaded, self.personal.fitting(release))
            except ReleaseRejected as error:
                self._refuse(offered_as, error)
                return None

    def builtin_model(self) -> LoadedModel:
        """The release that came with the software, ready to score; what the fleet began with."""
        assert self._builtin is not None, "ReleaseShelf.open comes first"
        return load_model(self._builtin, self.slot.loaded)

    def _join(self, topic: str, payload: bytes, *, site: str, now_s: float) -> tuple[bytes, int] | None:
        try:
            fragment = decode_fragment(self._keys.open(topic, payload, role="site", name=site))
            bundle = self._reassembly.add(topic, fragment, now_s=now_s)
            if lost := self._reassembly.expired(now_s=now_s):
                self.counters["fragments_incomplete"] += len(lost)
        except (RejectedInput, SignatureRejected) as error:
            self.counters[error.reason] += 1
            event(log, logging.WARNING, "release_fragment_refused", reason=error.reason, text=str(error))
            return None
        self.heard_at_s = now_s
        return None if bundle is None else (bundle, fragment.stream)

    def _refuse(self, offered_as: int, error: ReleaseRejected) -> None:
        self.counters[error.reason] += 1
        self.problem = f"release {offered_as} refused ({error.reason}): {error}"
        event(log, logging.ERROR, "release_refused", version=offered_as, reason=error.reason, text=str(error))

    def offer(self, bundle: bytes, *, offered_as: int) -> Release | None:
        """Check a whole release and take it into use; see `receive`.

        Args:
            bundle: As `Release.bundle` writes it.
            offered_as: The version under which the site offers it, for `problem`.
        """
        with self._lock:
            try:
                release = read_release_bundle(bundle, self._keys)
                if release.digest == self.current.digest:
                    return None
                self._refuse_untrusted(release)
                self._take(release)
            except ReleaseRejected as error:
                self._refuse(offered_as, error)
                return None
            self.problem = ""
            event(log, logging.INFO, "release_in_use", version=release.version, digest=release.digest)
            return release

    def _refuse_untrusted(self, release: Release) -> None:
        key = self._keys.find(release.signer)
        if key is None or key.role not in _RELEASERS:
            raise ReleaseRejected("unknown_signer", f"release {release.version} is signed by {release.signer}, "
                                  "which is not on the list of this gateway; enrol the signer")  # fmt: skip
        if release.version <= self.highest_version:
            raise ReleaseRejected(
                "older_version",
                f"release {release.version} is not newer than {self.highest_version}, which has been in use here",
            )
        now_us = self._wall_us()
        if release.is_over(now_us):
            raise ReleaseRejected(
                "expired",
                f"the time of release {release.version} ended {_moment(release.expires_at_us)}{_by_clock(now_us)}; "
                "the site signs what it has anew while it runs",
            )

    def _take(self, release: Release) -> None:
        name = _folder_name(release)
        place = self._folder / name
        own = self.personal.fitting(release)
        try:
            _save(release, place)
            if own is not NOTHING_OWN:
                save_snapshot(self._snapshot(name), release, own)
        except OSError as error:
            raise ReleaseRejected("disk", f"release {release.version} cannot be saved in {place}: {error}") from error
        try:
            self.slot.load(release, own)
        except ReleaseRejected:
            shutil.rmtree(place, ignore_errors=True)
            self._snapshot(name).unlink(missing_ok=True)
            raise
        self._write(
            current=name, last_good=self._ledger.current, highest_version=release.version, loading=None
        )  # fmt: skip
        self._tidy()

    def _try_saved(self, name: str) -> bool:
        try:
            release = read_release_folder(self._folder / name, self._keys)
            if name != _folder_name(release):
                raise ReleaseRejected("bad_digest", f"another release than was saved stands in {name}")
            self._write(loading=name)
            self.slot.load(release, self._own_of(name, release))
        except ReleaseRejected as error:
            self._write(loading=None)
            self.counters[error.reason] += 1
            self.problem = f"release in {name} refused ({error.reason}): {error}"
            event(log, logging.ERROR, "release_refused", folder=name, reason=error.reason, text=str(error))
            return False
        self._write(current=name, loading=None)
        return True

    def _snapshot(self, name: str) -> Path:
        return self._folder / f"{name}.own"

    def _own_of(self, name: str, release: Release) -> OwnParameters:
        try:
            return read_snapshot(self._snapshot(name), release)
        except (TensorsRejected, KeyError, TypeError, ValueError) as error:
            raise ReleaseRejected(
                "own_parameters", f"what belongs to release {release.version} here: {error}"
            ) from error

    def _read_ledger(self) -> _Ledger:
        try:
            return _Ledger.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return _Ledger()
        except (OSError, ValidationError) as error:
            event(log, logging.ERROR, "shelf_unreadable", file=str(self._file), text=str(error))
            self.problem = f"{self._file} cannot be read; the built-in release is in use"
            return _Ledger()

    def _write(self, **changes: str | int | None) -> None:
        self._ledger = self._ledger.model_copy(update=changes)
        content = self._ledger.model_dump_json(indent=1).encode()
        draft = self._file.with_suffix(".new")
        _write_synced(draft, content)
        draft.replace(self._file)
        sync_folder(self._folder)

    def _tidy(self) -> None:
        kept = {self._ledger.current, self._ledger.last_good}
        for place in self._folder.iterdir():
            if place.is_dir() and place.name not in kept:
                shutil.rmtree(place, ignore_errors=True)
            elif place.suffix == ".own" and place.stem not in kept:
                place.unlink(missing_ok=True)


def _moment(at_us: int | None) -> str:
    """A moment in words, also one that no calendar has."""
    try:
        return f"{dt.datetime.fromtimestamp((at_us or 0) / 1e6, dt.UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):
        return f"{at_us} us after 1970"


def _by_clock(now_us: int) -> str:
    return f" (this gateway's clock says {_moment(now_us)}; correct it if that is wrong)"


def _folder_name(release: Release) -> str:
    return f"{release.version:08d}-{release.digest[:12]}"


def _save(release: Release, place: Path) -> None:
    draft = place.with_name(f".{place.name}")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.rmtree(place, ignore_errors=True)
    draft.mkdir(parents=True)
    for name, content in release.files.items():
        _write_synced(draft / name, content)
    draft.replace(place)
    sync_folder(place.parent)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
