"""This file knows what a back-up looks like: one tar file whose last member lists all others with their digests.

Written under another name and renamed when it is whole and on disk: a file without its list is no back-up. Nothing
is taken out of one before every byte of it has been checked.
"""

import contextlib
import datetime as dt
import hashlib
import io
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import ContractError
from schemas.synced_files import sync_folder

Kind = Literal["gateway", "site", "enterprise"]
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 64 << 20
CHUNK_BYTES = 1 << 20
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


class ArchiveRejected(ContractError):
    """A back-up that cannot be written, or must not be restored; the message names the file and the reason."""


class Member(BaseModel):
    """One file of a back-up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """What a back-up says of itself.

    Attributes:
        name: Of the gateway, site or enterprise.
        schema_version: Of the database in it.
        keys: Whether private keys are in it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    kind: Kind
    name: str
    made_at_us: int
    software: str
    schema_version: str
    database: Literal["sqlite", "postgresql"] = "sqlite"
    keys: bool = False
    files: Mapping[str, Member] = {}

    @property
    def size_bytes(self) -> int:
        """Bytes of all files in it."""
        return sum(member.size_bytes for member in self.files.values())


class ArchiveWriter:
    """Writes one back-up; it is there when the `with` block has ended well, and else not."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        if path.exists():
            raise ArchiveRejected(f"{path} is there already; name another file")
        self._path = path
        self._draft = path.with_name(f".{path.name}.part")
        self._manifest = manifest
        self._files: dict[str, Member] = {}

    def __enter__(self) -> Self:
        self._file = _private(self._draft)
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with contextlib.ExitStack() as last:
            last.callback(self._draft.unlink, missing_ok=True)
            last.callback(self._file.close)
            if error is not None:
                return
            self._write_member(MANIFEST, self.manifest.model_dump_json(indent=1).encode())
            self._tar.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._draft.replace(self._path)
            sync_folder(self._path.parent)

    @property
    def manifest(self) -> Manifest:
        """What the back-up says of itself by now."""
        return self._manifest.model_copy(update={"files": dict(self._files)})

    def add_bytes(self, name: str, content: bytes) -> None:
        """Add a small file."""
        self.add(name, io.BytesIO(content), len(content))

    def add_file(self, name: str, path: Path) -> None:
        """Add a file that nobody writes to."""
        with path.open("rb") as file:
            self.add(name, file, os.fstat(file.fileno()).st_size)

    def add(self, name: str, file: IO[bytes], size_bytes: int) -> None:
        """Add the first bytes of an open file; more may be appended to it meanwhile."""
        if not _SAFE.fullmatch(name):
            raise ArchiveRejected(f"file name {name!r} cannot stand in a back-up")
        info = tarfile.TarInfo(name)
        info.size, info.mode = size_bytes, 0o600
        digesting = _Digesting(file)
        self._tar.addfile(info, digesting)
        self._files[name] = Member(size_bytes=size_bytes, sha256=digesting.digest.hexdigest())

    def _write_member(self, name: str, content: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o600
        self._tar.addfile(info, io.BytesIO(content))


class _Digesting(io.RawIOBase):
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self.digest.update(content)
        return content


def check_archive(path: Path, *, kind: Kind, name: str) -> Manifest:
    """Read a whole back-up and compare every byte with its list.

    Raises:
        ArchiveRejected: It is damaged, incomplete, or of another gateway or site.
    """
    try:
        with _opened(path) as tar:
            manifest = _manifest_of(path, tar)
            if (manifest.kind, manifest.name) != (kind, name):
                raise ArchiveRejected(
                    f"{path} is of {manifest.kind} {manifest.name!r}, the settings are of {kind} {name!r}"
                )
            found = {member.name: _read(path, tar, member, manifest) for member in tar if member.name != MANIFEST}
    except (OSError, tarfile.TarError, EOFError) as error:
        raise ArchiveRejected(f"{path} is no back-up that can be read: {error}") from error
    missing = sorted(manifest.files.keys() - found.keys())
    if missing:
        raise ArchiveRejected(f"{path} is incomplete: {missing[0]} is not in it")
    return manifest


def unpack(path: Path, manifest: Manifest, folder: Path) -> None:
    """Write the files of a checked back-up below a folder, private and on disk when this returns.

    Raises:
        ArchiveRejected: It is no longer what was checked.
    """
    folders = {folder}
    with _opened(path) as tar:
        for member in tar:
            if member.name == MANIFEST:
                continue
            place = folder / member.name
            place.parent.mkdir(parents=True, exist_ok=True)
            folders |= {parent for parent in place.parents if parent.is_relative_to(folder)}
            with _private(place) as file:
                _read(path, tar, member, manifest, into=file)
                file.flush()
                os.fsync(file.fileno())
    for one in folders:
        sync_folder(one)


def require_room(folder: Path, needed_bytes: int) -> None:
    """Return when there is room for so much.

    Raises:
        ArchiveRejected: There is not.
    """
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise ArchiveRejected(f"{folder} has {free_bytes} bytes free, {needed_bytes} needed; make room first")


def give_to_owner_of(folder: Path, *paths: Path) -> None:
    """What root writes into somebody's folder shall be theirs: the service runs as that user."""
    if os.geteuid() != 0:
        return
    owner = folder.stat()
    for path in paths:
        for one in (path, *path.rglob("*")):
            os.chown(one, owner.st_uid, owner.st_gid)


def put_missing_back(saved: Path, places: Mapping[str, Path]) -> list[str]:
    """Copy files that were unpacked to where they belong and are missing; those that are there are newer, and stay."""
    put: list[str] = []
    for name, place in places.items():
        if (saved / name).exists() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(saved / name, place)
            give_to_owner_of(place.parent, place)
            put.append(str(place))
    return put


def in_utc(at_us: int) -> str:
    """A time for people."""
    return f"{dt.datetime.fromtimestamp(at_us / 1e6, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def name_beside(folder: Path, prefix: str, now_us: int) -> str:
    """A name for what gives way, that nothing in the folder has."""
    number = 1 + sum(one.name.startswith(prefix) for one in folder.iterdir())
    return f"{prefix}{number}-{dt.datetime.fromtimestamp(now_us / 1e6, dt.UTC):%Y%m%dT%H%M%SZ}"


def _private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


class _Bounded(io.FileIO):
    """Makes room for no more than is left of the file: tarfile believes the sizes that a head names."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left)) or b""


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    with _Bounded(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
        yield tar


def _manifest_of(path: Path, tar: tarfile.TarFile) -> Manifest:
    try:
        listed = tar.getmember(MANIFEST)
        file = tar.extractfile(listed)
    except KeyError as error:
        raise ArchiveRejected(f"{path} has no list of its files: it was not written to its end") from error
    if file is None or listed.issparse() or listed.size > MAX_MANIFEST_BYTES:
        raise ArchiveRejected(f"{path} has a list of its files that cannot be read")
    try:
        return Manifest.model_validate_json(file.read())
    except ValidationError as error:
        what = error.errors(include_url=False)[0]
        raise ArchiveRejected(
            f"{path} has a list of files that this program does not read ({what['loc']}: {what['msg']}); "
            "restore it with the version that wrote it, then update"
        ) from error


def _read(
    path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, manifest: Manifest, into: IO[bytes] | None = None
) -> Member:
    listed = manifest.files.get(member.name)
    if listed is None or not member.isreg() or member.issparse() or not _SAFE.fullmatch(member.name):
        raise ArchiveRejected(f"{path} holds {member.name!r}, which is not on its list")
    digest = hashlib.sha256()
    size_bytes = 0
    for chunk in _chunks(tar, member):
        size_bytes += len(chunk)
        digest.update(chunk)
        if into is not None:
            into.write(chunk)
    found = Member(size_bytes=size_bytes, sha256=digest.hexdigest())
    if found != listed:
        raise ArchiveRejected(f"{path} is damaged: {member.name} is not what was written; take another back-up")
    return found


def _chunks(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    file = tar.extractfile(member)
    while file is not None and (chunk := file.read(CHUNK_BYTES)):
        yield chunk
