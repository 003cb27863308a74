"""This file knows whether a release that was made elsewhere may be taken in: who vouches for it, and whether it runs.

A gateway judges it again, and by more; what is refused here has cost no gateway anything.
"""

from pathlib import Path
from typing import Any

import onnxruntime as ort

from aggregator.merge.levels import levels_of
from schemas.errors import ReleaseRejected
from schemas.release import SCORE, TRAIN_STEP, Release, read_release_bundle, read_release_folder
from schemas.release_graphs import (
    SCORE_OUTPUTS,
    Rows,
    check_features,
    check_golden,
    check_score,
    check_step,
    read_knowledge,
    teacher_of,
)
from schemas.signing import KeyRing

MAX_BUNDLE_BYTES = 15 << 20  # it must fit into one message of 16 MiB to a site
RELEASERS = frozenset({"site", "enterprise", "releaser"})


def read_foreign(path: Path, keys: KeyRing, *, vouched_for: str | None = None) -> Release:
    """Read a release from a folder of `aggregator fit`, or a file of `aggregator release export`.

    Args:
        path: The folder or file.
        keys: The list of this site or enterprise.
        vouched_for: Key id of a signer that is not on the list and that a person vouches for.

    Raises:
        ReleaseRejected: It is too large, altered, or signed by nobody who may.
    """
    if path.is_dir():
        release = read_release_folder(path, keys)
    else:
        try:
            size = path.stat().st_size
            if size > MAX_BUNDLE_BYTES:
                raise ReleaseRejected("oversized", f"{path} has {size} bytes, {MAX_BUNDLE_BYTES} allowed")
            content = path.read_bytes()
        except OSError as error:
            raise ReleaseRejected(
                "unreadable", f"release {path} cannot be read: {error.strerror}; name a folder or a file of a release"
            ) from error
        release = read_release_bundle(content, keys)
    check_signer(release, keys, vouched_for=vouched_for)
    return release


def check_signer(release: Release, keys: KeyRing, *, vouched_for: str | None = None) -> None:
    """Refuse a release of a signer that is not on the list as one who may make releases.

    Raises:
        ReleaseRejected: unknown_signer.
    """
    key = keys.find(release.signer)
    if (key is not None and key.role in RELEASERS) or release.signer == vouched_for:
        return
    who = "not on the list" if key is None else f"on the list as {key.role}"
    raise ReleaseRejected(
        "unknown_signer",
        f"release {release.version} is signed by {release.signer}, which is {who}; "
        "`aggregator enroll NAME --as releaser --key FILE` puts it there, --vouch-for with this word takes it once",
    )


def check_runs(release: Release) -> None:
    """Run the graphs of a release as far as tells whether they do what it promises.

    Raises:
        ReleaseRejected: With the `reason` of `schemas.release_graphs` or `schemas.parameter_levels`, or oversized,
            cannot_run.
    """
    size = sum(map(len, release.files.values()))
    if size > MAX_BUNDLE_BYTES:
        raise ReleaseRejected("oversized", f"its files have {size} bytes together, {MAX_BUNDLE_BYTES} allowed")
    check_features(release)
    check_score(release)
    check_step(release)
    levels_of(release)
    teacher_of(release)
    read_knowledge(release)
    theta = release.parameters()
    session = _open(release, SCORE)
    _open(release, TRAIN_STEP)

    def score(x: Rows) -> tuple[Rows, Rows]:
        try:
            found, reconstruction = session.run(SCORE_OUTPUTS, {"x": x, "theta": theta})
        except Exception as error:  # onnxruntime has no common base for what its C++ throws
            raise ReleaseRejected("cannot_run", f"{SCORE} cannot run: {error}") from error
        return found, reconstruction

    check_golden(release, score)


def _open(release: Release, name: str) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 4  # what it would print, it also raises
    try:
        return ort.InferenceSession(release.files[name], options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise ReleaseRejected("cannot_run", f"{name} cannot be opened: {error}") from error
