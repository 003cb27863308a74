"""This file knows what a model release is, how it is signed, and when it must not be loaded.

A release is a folder (or the same files in one container on the wire):

    manifest.json    what it is, and the sha256 of every other file
    manifest.sig     signature over manifest.json, with the signer's public key
    spec.json        the model family: parameter names, shapes, offsets
    score.onnx       inference: x [N, F], theta [P] -> score [N], reconstruction [N, F]
    train_step.onnx  one step of learning on the gateway
    parameters.bin   theta, float32 little-endian
    golden.bin       known inputs and outputs of score.onnx with these parameters
    variation.bin    how healthy machines vary (`schemas.variation`); may be missing
    lives.bin        how damage proceeds, from whole lives; may be missing
    teacher.bin      parameters to learn from, float32 little-endian; may be missing

The order of trust: signature, then digests, then parsing; nothing is parsed that was not signed.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.container import array_blob, blob_array, pack, unpack
from schemas.errors import ReleaseRejected, SignatureRejected, TensorsRejected
from schemas.parameter_levels import MergeLevel
from schemas.signing import KeyRing, Signer, verify

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
SPEC, SCORE, TRAIN_STEP, PARAMETERS, GOLDEN = (
    "spec.json", "score.onnx", "train_step.onnx", "parameters.bin", "golden.bin",
)  # fmt: skip
VARIATION, LIVES, TEACHER = "variation.bin", "lives.bin", "teacher.bin"
REQUIRED = (SPEC, SCORE, TRAIN_STEP, PARAMETERS, GOLDEN)
MAX_FILE_BYTES = 5 << 20
MAX_FILES = 32
MAX_MANIFEST_BYTES = 1 << 18  # of 32 files and some figures; a list of mistakes in it takes a hundred times as much
GOLDEN_TOLERANCE = 1e-4  # relative, float32 sums in another order on another processor
EXPIRES = "expires_at_us"
"""In a manifest's `data`: until when a gateway takes the release into use, microseconds since 1970 UTC.

Absent, as in releases of fit, of the product and of sites up to 0.1, means for ever. It stands there and in no field of
its own because gateways up to 0.1 refuse a manifest with a field that they do not know; they read past this.
"""


class FileEntry(BaseModel):
    """One file of a release."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=1, le=MAX_FILE_BYTES)]


class Manifest(BaseModel):
    """What a release says of itself; signed as the bytes of manifest.json.

    Attributes:
        release_version: Grows by one a release; a gateway never goes back.
        base_version: The release whose parameters were learnt on.
        features: The layout of the model's input, as `vibration.features` names it.
        data: Counts of what it was learnt from: clients, windows, machines; and `EXPIRES`.
        metrics: Losses and the like, on data held back.
        merge: Rule, accepted and rejected updates of the round.
        levels: Parts of the parameters that are not merged across the fleet (`schemas.parameter_levels`). Left out of
            manifest.json where it is empty: gateways older than it read the others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["undertone-release"] = "undertone-release"
    format_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
    release_version: Annotated[int, Field(ge=1, lt=1 << 53)]
    base_version: Annotated[int, Field(ge=0, lt=1 << 53)] = 0
    created_at_us: Annotated[int, Field(ge=0)]
    level: Literal["builtin", "fleet", "site"]
    family: str
    features: str
    inputs: Annotated[int, Field(ge=1, le=4096)]
    parameter_count: Annotated[int, Field(ge=1, le=MAX_FILE_BYTES // 4)]
    files: dict[str, FileEntry]
    data: dict[str, int] = {}
    metrics: dict[str, float] = {}
    merge: dict[str, str | int | float] = {}
    levels: Annotated[dict[str, MergeLevel], Field(max_length=64)] = {}


@dataclass(frozen=True, slots=True)
class Release:
    """A release whose signature and digests hold.

    Attributes:
        manifest: What it says of itself.
        digest: sha256 of manifest.json: names the release and everything in it.
        files: The bytes of each file, manifest and signature included.
        signer: Key id of who signed.
        trusted: Whether that key is on the list it was checked against.
    """

    manifest: Manifest
    digest: str
    files: Mapping[str, bytes]
    signer: str
    trusted: bool

    @property
    def version(self) -> int:
        """Number of the release."""
        return self.manifest.release_version

    @property
    def expires_at_us(self) -> int | None:
        """Until when a gateway takes it into use, microseconds since 1970 UTC; None is for ever."""
        return self.manifest.data.get(EXPIRES)

    def is_over(self, now_us: int) -> bool:
        """Whether it is past its time by a clock, which is not asked where it is behind the making of the release."""
        return self.expires_at_us is not None and max(now_us, self.manifest.created_at_us) > self.expires_at_us

    def parameters(self) -> NDArray[np.float32]:
        """Theta, shape (parameter_count,), finite."""
        return np.frombuffer(self.files[PARAMETERS], "<f4")

    def spec(self) -> dict[str, Any]:
        """The model family as written by the foundry."""
        spec = json.loads(self.files[SPEC])
        assert isinstance(spec, dict)
        return spec

    def golden(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Known inputs (n, F) and their scores (n,)."""
        meta, blobs = unpack(self.files[GOLDEN])
        return blob_array(meta["x"], blobs["x"]), blob_array(meta["score"], blobs["score"])

    def bundle(self) -> bytes:
        """The whole release as one payload."""
        return pack({"release": self.version}, self.files)

    def save(self, folder: Path) -> None:
        """Write the files; the manifest last, so that a torn write is no release."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(self.files, key=lambda n: n == MANIFEST):
            (folder / name).write_bytes(self.files[name])


def golden_file(x: NDArray[np.float32], score: NDArray[np.float32]) -> bytes:
    """Write known inputs and outputs."""
    (x_meta, x_blob), (score_meta, score_blob) = array_blob(x), array_blob(score)
    return pack({"x": x_meta, "score": score_meta}, {"x": x_blob, "score": score_blob})


def manifest_text(manifest: Manifest) -> bytes:
    """Write a manifest as it is signed: without a field that gateways of 0.1 do not know, unless it says something."""
    return manifest.model_dump_json(indent=1, exclude=None if manifest.levels else {"levels"}).encode()


def make_release(description: Mapping[str, Any], files: Mapping[str, bytes], signer: Signer) -> Release:
    """Sign files as a release.

    Args:
        description: Fields of `Manifest` but for `files`.
        files: The content of every file in `REQUIRED`, more if wanted.
        signer: The key of the site, the enterprise or the product.

    Raises:
        ReleaseRejected: A file is missing, too large, or the parameters are unusable.
    """
    entries = {n: FileEntry(sha256=hashlib.sha256(b).hexdigest(), size_bytes=len(b)) for n, b in sorted(files.items())}
    manifest = Manifest(**{**description, "files": entries})
    text = manifest_text(manifest)
    signature = {
        "key_id": signer.key_id,
        "public": base64.b64encode(signer.public).decode(),
        "signature": base64.b64encode(signer.sign(text)).decode(),
    }
    whole = {**files, MANIFEST: text, SIGNATURE: json.dumps(signature).encode()}
    return check_release(whole, KeyRing([]))


def read_release_folder(folder: Path, keys: KeyRing) -> Release:
    """Read and check a release on disk; errors as in `check_release`."""
    try:
        listed = sorted(path for path in folder.iterdir() if path.is_file())
        if len(listed) > MAX_FILES:
            raise ReleaseRejected("too_many_files", f"release {folder} has {len(listed)} files, {MAX_FILES} allowed")
        sizes = {path.name: path.stat().st_size for path in listed}
        for name, size in sizes.items():
            if size > MAX_FILE_BYTES:
                raise ReleaseRejected("oversized", f"{name} has {size} bytes, {MAX_FILE_BYTES} allowed")
        files = {path.name: path.read_bytes() for path in listed}
    except OSError as error:
        raise ReleaseRejected("unreadable", f"release {folder} cannot be read: {error}") from error
    return check_release(files, keys)


def read_release_bundle(bundle: bytes, keys: KeyRing) -> Release:
    """Read and check a release from the wire; errors as in `check_release`."""
    try:
        _, files = unpack(bundle, max_bytes=MAX_FILE_BYTES * 4)
    except TensorsRejected as error:
        raise ReleaseRejected(error.reason, f"release bundle cannot be read: {error}") from error
    if len(files) > MAX_FILES:
        raise ReleaseRejected("too_many_files", f"release bundle has {len(files)} files, {MAX_FILES} allowed")
    return check_release(files, keys)


def check_release(files: Mapping[str, bytes], keys: KeyRing) -> Release:
    """Check signature, digests and parameters, in this order.

    Whether the signer is on the list is left to the caller (`Release.trusted`): a back-test warns, a running
    gateway refuses. The graphs are checked by `schemas.onnx_inspect` and the golden vectors by the runtime, by
    whoever is about to load them.

    Raises:
        ReleaseRejected: With `reason` missing_file, oversized, bad_signature, bad_manifest, bad_digest, unlisted_file,
            wrong_shape or not_finite.
    """
    missing = [name for name in (MANIFEST, SIGNATURE, *REQUIRED) if name not in files]
    if missing:
        raise ReleaseRejected("missing_file", f"release lacks {', '.join(missing)}")
    text = files[MANIFEST]
    if len(text) > MAX_MANIFEST_BYTES:
        raise ReleaseRejected("oversized", f"{MANIFEST} has {len(text)} bytes, {MAX_MANIFEST_BYTES} allowed")
    public = _check_signature(text, files[SIGNATURE])
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ReleaseRejected("bad_manifest", f"manifest cannot be used at {first['loc']}: {first['msg']}") from error
    extra = sorted(set(files) - set(manifest.files) - {MANIFEST, SIGNATURE})
    if extra:
        raise ReleaseRejected("unlisted_file", f"release holds {', '.join(extra)}, which its manifest does not list")
    for name, entry in manifest.files.items():
        blob = files.get(name)
        if blob is None or hashlib.sha256(blob).hexdigest() != entry.sha256:
            raise ReleaseRejected("bad_digest", f"{name} is not what the manifest says; it was cut or changed")
    theta = files[PARAMETERS]
    if len(theta) != 4 * manifest.parameter_count:
        raise ReleaseRejected(
            "wrong_shape",
            f"{len(theta) / 4:g} parameters found, {manifest.parameter_count} promised by the manifest",
        )
    if not np.isfinite(np.frombuffer(theta, "<f4")).all():
        raise ReleaseRejected("not_finite", "parameters hold NaN or infinity")
    key_id = hashlib.sha256(public).digest()[:8].hex()
    allowed = keys.find(key_id)
    return Release(manifest, hashlib.sha256(text).hexdigest(), dict(files), key_id, allowed is not None)


def _check_signature(text: bytes, signature_file: bytes) -> bytes:
    try:
        row = json.loads(signature_file)
        public = base64.b64decode(row["public"], validate=True)
        signature = base64.b64decode(row["signature"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReleaseRejected("bad_signature", f"manifest.sig cannot be read: {error}") from error
    try:
        verify(public, signature, text)
    except SignatureRejected as error:
        raise ReleaseRejected("bad_signature", "manifest.sig does not fit manifest.json") from error
    return public
