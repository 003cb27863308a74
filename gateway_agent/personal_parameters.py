"""This file knows the parameters that are a gateway's own, and how they survive a restart; they never leave it.

Two kinds, as the release in use wants them: a whole personal model beside the shared one (Ditto, pFedMe), and those
elements of the shared one that are merged nowhere (level "machine"). One file a gateway: all its points are scored by
one model. It is replaced whole, and remembers what the last task started from, so that a task done again after a
crash gives the same update and does not train twice.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateway_agent.training import NOTHING_OWN, OwnParameters, Rows
from schemas.container import array_blob, blob_array, pack, unpack
from schemas.errors import TensorsRejected
from schemas.logs import event
from schemas.release import Release
from schemas.synced_files import sync_folder

log = logging.getLogger(__name__)

FILE_NAME = "personal-parameters.bin"
ASIDE = ".aside"  # of the network before: it may come back
KINDS = ("personal", "machine")


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    model: str
    task: str
    before: OwnParameters
    now: OwnParameters


class PersonalShelf:
    """Keeps one gateway's own parameters: one thread learns them, another takes releases into use with them.

    Args:
        folder: Where the file is; without it they live as long as this object.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = None if folder is None else folder / FILE_NAME
        self._lock = threading.RLock()
        self._kept = self._read(self._file)
        self._aside = None if self._file is None else self._read(self._file.with_suffix(ASIDE))

    def fitting(self, release: Release) -> OwnParameters:
        """Those that fit a release, laid aside or not; nothing is moved, it may never come into use."""
        model = model_of(release)
        with self._lock:
            found = (each.now for each in (self._kept, self._aside) if each is not None and each.model == model)
            return next(found, NOTHING_OWN)

    def current(self, release: Release) -> OwnParameters:
        """Those that fit the release in use; those of another network are laid aside until it comes back.

        Only the last network's are; what lies there of one before that is dropped.
        """
        with self._lock:
            model = model_of(release)
            if self._kept is not None and self._kept.model != model:
                event(
                    log, logging.WARNING, "personal_parameters_aside", release=release.version,
                    text=f"release {release.version} is of another network ({release.manifest.family}); what was "
                    "learnt for this gateway alone waits for its network to come back",
                )  # fmt: skip
                self._exchange(model)
            elif self._kept is None and self._aside is not None and self._aside.model == model:
                self._exchange(model)
            return self.fitting(release)

    def _exchange(self, model: str) -> None:
        """Lay aside what is kept, and take up what lies there of this model; that is safe on disk first."""
        kept, aside = self._kept, self._aside
        self._kept = aside if aside is not None and aside.model == model else None
        self._aside = kept
        if self._file is None:
            return
        for file, content in ((self._file, self._kept), (self._file.with_suffix(ASIDE), self._aside)):
            if content is not None:
                _replace(file, _packed(content))
        for file, content in ((self._file, self._kept), (self._file.with_suffix(ASIDE), self._aside)):
            if content is None:
                file.unlink(missing_ok=True)

    def before(self, release: Release, task: str) -> OwnParameters:
        """Those to start a task from: of a task that was done before, the same as then."""
        with self._lock:
            now = self.current(release)
            return self._kept.before if self._kept is not None and self._kept.task == task else now

    def keep(self, release: Release, task: str, before: OwnParameters, now: OwnParameters) -> None:
        """Make what a task has come to durable, before anybody hears of its update."""
        if now.personal is None and now.machine is None:
            return
        with self._lock:
            self._kept = _Kept(model_of(release), task, before, now)
            if self._file is not None:
                _replace(self._file, _packed(self._kept))

    @staticmethod
    def _read(file: Path | None) -> _Kept | None:
        if file is None:
            return None
        try:
            return _unpacked(file.read_bytes())
        except FileNotFoundError:
            return None
        except (TensorsRejected, KeyError, TypeError, ValueError) as error:
            aside = file.with_suffix(".unreadable")
            file.replace(aside)
            event(log, logging.ERROR, "personal_parameters_unreadable", file=str(aside), text=str(error))
            return None


def save_snapshot(file: Path, release: Release, own: OwnParameters) -> None:
    """Write beside a release what it is taken into use with: limits are calibrated by both, a restart needs both."""
    _replace(file, _packed(_Kept(model_of(release), "", NOTHING_OWN, own)))


def read_snapshot(file: Path, release: Release) -> OwnParameters:
    """Read what `save_snapshot` wrote; nothing where nothing was written.

    Raises:
        TensorsRejected: The file is damaged.
        ValueError: It is of another model.
    """
    try:
        kept = _unpacked(file.read_bytes())
    except FileNotFoundError:
        return NOTHING_OWN
    if kept.model != model_of(release):
        raise ValueError(f"{file.name} is of another model than release {release.version}")
    return kept.now


def model_of(release: Release) -> str:
    """Name a family by what its parameters are: releases of one name can exchange them, whatever their rule."""
    spec = release.spec()
    layout = [release.manifest.family, release.manifest.parameter_count, spec.get("parameters")]
    return hashlib.sha256(json.dumps(layout, sort_keys=True).encode()).hexdigest()


def _packed(kept: _Kept) -> bytes:
    meta: dict[str, Any] = {"model": kept.model, "task": kept.task, "arrays": {}}
    blobs: dict[str, bytes] = {}
    for time, own in (("before", kept.before), ("now", kept.now)):
        for kind in KINDS:
            values = getattr(own, kind)
            if values is not None:
                meta["arrays"][f"{time}_{kind}"], blobs[f"{time}_{kind}"] = array_blob(values)
    return pack(meta, blobs)


def _unpacked(content: bytes) -> _Kept:
    meta, blobs = unpack(content)
    arrays = {name: _finite(name, meta["arrays"], blob) for name, blob in blobs.items()}
    before, now = (
        OwnParameters(*(arrays.get(f"{time}_{kind}") for kind in KINDS)) for time in ("before", "now")
    )  # fmt: skip
    return _Kept(str(meta["model"]), str(meta["task"]), before, now)


def _finite(name: str, described: Mapping[str, Any], blob: bytes) -> Rows:
    values = blob_array(described[name], blob)
    if values.dtype != np.float32 or values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"{name} is no vector of finite float32")
    return values


def _replace(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".new")
    with draft.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    draft.replace(file)
    sync_folder(file.parent)
