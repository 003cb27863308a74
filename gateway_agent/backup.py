"""This file knows how a gateway's store is backed up beside a running agent, and put back in place of a lost one.

In a back-up: the database at one moment, the ring of raw captures up to at least that moment, the releases; private
keys only when asked for. A restored store keeps its boot and goes on far behind the numbers it knows: whatever it
told its site after the back-up has numbers that it never gives again, and what waits in its outbox keeps the numbers
by which the site knows it. One gap record covers the numbers between, so that the site waits for none of them.
"""

import contextlib
import os
import secrets
import shutil
import sqlite3
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import IO

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from gateway_agent.batch import URGENT
from gateway_agent.errors import StoreError
from gateway_agent.settings import GatewaySettings
from gateway_agent.store import DATABASE, LOCK, RAW, RESTORING
from gateway_agent.store_tables import outbox_table
from gateway_agent.store_upgrade import bring_up
from schemas.archive import (
    ArchiveRejected,
    ArchiveWriter,
    Manifest,
    check_archive,
    give_to_owner_of,
    in_utc,
    name_beside,
    put_missing_back,
    require_room,
    unpack,
)
from schemas.database import open_database, sqlite_url
from schemas.messages import Gap, encode
from schemas.one_process import keep_to_this_process
from schemas.sqlite_copy import copy_sqlite, require_sound
from schemas.synced_files import sync_folder

RELEASES, KEYS = "releases", "keys"
BESIDE = "before-restore-"
RESTORES = "restores"
# Numbers left out: more than a gateway tells in a lifetime, and by chance, so that two restores of one back-up do not
# meet. Both together stay below 2^53, which every reader of JSON takes.
SKIPPED_AT_LEAST, SKIPPED_BITS = 1 << 40, 52
LISTED_ANEW = 5  # releases change while they are read: once in weeks


def back_up(settings: GatewaySettings, out: Path, *, now_us: int, with_keys: bool = False) -> Manifest:
    """Write the store into one file, beside a running agent.

    Raises:
        StoreError: There is no store.
        ArchiveRejected: The file is there already, or cannot be written.
    """
    folder = settings.store.folder
    if not (folder / DATABASE).exists():
        raise StoreError(f"no store in {folder}; has this gateway agent run?")
    try:
        return _write(settings, folder, out, now_us=now_us, with_keys=with_keys)
    except OSError as error:
        raise ArchiveRejected(f"back-up {out} cannot be written: {error}") from error


def _write(settings: GatewaySettings, folder: Path, out: Path, *, now_us: int, with_keys: bool) -> Manifest:
    with contextlib.ExitStack() as open_files:
        scratch = Path(open_files.enter_context(tempfile.TemporaryDirectory(dir=out.parent, prefix=".backup-")))
        # Opened before the database is copied, for what leaves the ring meanwhile; and after it, for what comes.
        segments = _open_segments(folder / RAW, {}, open_files)
        copy_sqlite(folder / DATABASE, scratch / DATABASE)
        segments = _open_segments(folder / RAW, segments, open_files)
        plain = Manifest(
            kind="gateway", name=settings.gateway, made_at_us=now_us, software=version("undertone"),
            schema_version=_schema_of(scratch / DATABASE), keys=with_keys,
        )  # fmt: skip
        with ArchiveWriter(out, plain) as archive:
            archive.add_file(DATABASE, scratch / DATABASE)
            for name, file in sorted(segments.items()):
                archive.add(f"{RAW}/{name}", file, os.fstat(file.fileno()).st_size)
            for name, content in sorted(_releases(folder / RELEASES).items()):
                archive.add_bytes(f"{RELEASES}/{name}", content)
            if with_keys:
                for name, path in _key_places(settings).items():
                    archive.add_file(f"{KEYS}/{name}", path)
            return archive.manifest


def restore(settings: GatewaySettings, source: Path, *, now_us: int, replace: bool = False) -> str:
    """Put a back-up into the place of the store; what stood there stays beside it. Say what was done.

    Args:
        settings: Of the gateway; its agent must not run.
        source: The back-up.
        now_us: The time.
        replace: Whether a store may give way.

    Raises:
        ArchiveRejected: The back-up is damaged or another gateway's, or there is a store already; nothing is touched.
        FolderInUse: The agent runs.
        StoreError: The store in the back-up is of a later version.
    """
    manifest = check_archive(source, kind="gateway", name=settings.gateway)
    try:
        return _restore(settings, manifest, source, now_us=now_us, replace=replace)
    except OSError as error:
        raise ArchiveRejected(f"{source} cannot be restored: {error}") from error


def _restore(settings: GatewaySettings, manifest: Manifest, source: Path, *, now_us: int, replace: bool) -> str:
    folder = settings.store.folder
    folder.mkdir(parents=True, exist_ok=True)
    with keep_to_this_process(folder / LOCK):
        before = [one for one in sorted(folder.iterdir()) if one.name not in {LOCK, RESTORING} and not _beside(one)]
        if before and not replace:
            raise ArchiveRejected(
                f"{folder} holds a store; --replace puts the back-up in its place and keeps it beside"
            )
        fresh = folder / RESTORING
        shutil.rmtree(fresh, ignore_errors=True)
        require_room(folder, manifest.size_bytes)
        fresh.mkdir()
        with contextlib.ExitStack() as undo:
            undo.callback(shutil.rmtree, fresh, ignore_errors=True)
            unpack(source, manifest, fresh)
            require_sound(fresh / DATABASE)
            told = _go_on_behind(fresh / DATABASE, manifest.made_at_us, now_us)
            undo.pop_all()
        keys = put_missing_back(fresh / KEYS, _key_places(settings))
        shutil.rmtree(fresh / KEYS, ignore_errors=True)
        aside = _swap(folder, before, fresh, now_us)
    words = [f"store of gateway {settings.gateway} is that of {in_utc(manifest.made_at_us)} again", told]
    words += [f"what stood there is in {aside}"] if aside else []
    words += [f"put back: {', '.join(keys)}"] if keys else []
    return "; ".join(words)


def _open_segments(folder: Path, known: dict[str, IO[bytes]], open_files: contextlib.ExitStack) -> dict[str, IO[bytes]]:
    found = dict(known)
    for path in sorted(folder.glob("*.seg")):
        if path.name not in found:
            with contextlib.suppress(FileNotFoundError):  # it has just left the ring
                found[path.name] = open_files.enter_context(path.open("rb"))
    return found


def _releases(folder: Path) -> dict[str, bytes]:
    for _ in range(LISTED_ANEW):
        with contextlib.suppress(FileNotFoundError):  # another release has just taken its place
            return {
                str(path.relative_to(folder)): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
            }
    raise StoreError(f"releases in {folder} change faster than they can be read; try again")


def _key_places(settings: GatewaySettings) -> dict[str, Path]:
    broker = settings.broker
    named = {
        "signing_key_file": settings.signing_key_file, "keys_file": settings.keys_file,
        "password_file": broker.password_file, "ca_file": broker.ca_file,
        "certificate_file": broker.certificate_file, "key_file": broker.key_file,
    }  # fmt: skip
    return {name: path for name, path in named.items() if path is not None}


def _schema_of(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return str(connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()[0])
    except (sqlite3.Error, TypeError) as error:
        raise StoreError(f"database {path.name} is no gateway's: {error}") from error
    finally:
        connection.close()


def _go_on_behind(path: Path, made_at_us: int, now_us: int) -> str:
    """Continue far behind the numbers this store knows, and tell the site which ones never come."""
    engine = open_database(sqlite_url(path))
    try:
        with engine.connect() as connection:
            bring_up(connection, new_boot=lambda: secrets.randbits(62))
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            numbered = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'"
            last_row = int(connection.exec_driver_sql(numbered).scalar_one())
            row = last_row + SKIPPED_AT_LEAST + secrets.randbits(SKIPPED_BITS)
            gap = Gap(
                what="records", source="restore", first=last_row, last=row - 2, count=1, at_us=now_us,
                reason=f"store restored from the back-up of {in_utc(made_at_us)}: what was recorded from then until "
                f"{in_utc(now_us)} and had not reached the site is lost; how much that is nobody knows",
            )  # fmt: skip
            body = encode(gap)
            connection.execute(
                sa.insert(outbox_table),
                {"sequence": row, "priority": URGENT, "kind": "gap", "body": body, "size_bytes": len(body),
                 "created_at_us": now_us},
            )  # fmt: skip
            connection.exec_driver_sql(
                "INSERT INTO counter (name, value) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1",
                (RESTORES,),
            )
            waiting = connection.scalar(sa.select(sa.func.count()).select_from(outbox_table))
            connection.commit()
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    except DatabaseError as error:
        raise StoreError(f"the store in the back-up cannot be used: {error}") from error
    finally:
        engine.dispose()
    return f"{waiting} records wait for the site, one of them a gap over what was recorded since"


def _swap(folder: Path, before: list[Path], fresh: Path, now_us: int) -> Path | None:
    """The old aside, the new in; an agent refuses to start until `fresh` is gone."""
    aside = None
    if before:
        aside = folder / name_beside(folder, BESIDE, now_us)
        aside.mkdir()
        for one in before:
            one.rename(aside / one.name)
    give_to_owner_of(folder, fresh, *([aside] if aside else []))
    for one in sorted(fresh.iterdir()):
        one.rename(folder / one.name)
    sync_folder(folder)
    fresh.rmdir()
    sync_folder(folder)
    return aside


def _beside(path: Path) -> bool:
    return path.name.startswith(BESIDE)
