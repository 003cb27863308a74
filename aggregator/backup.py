"""This file knows how a site or an enterprise is backed up beside a running aggregator, and put back.

In a back-up: the database at one moment, releases, rounds and requests with it; authority, list of clients and
private keys only when asked for, for whoever has those is the plant. A restored database is older than what gateways
were acknowledged for: as each of them says what it still has, what is missing becomes a gap
(`aggregator/lost_records.py`).
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from alembic.script import ScriptDirectory
from sqlalchemy.engine import URL, Engine

from aggregator.audit_book import write_audit
from aggregator.client_list import clients_file
from aggregator.database import alembic_config, current_version, open_current
from aggregator.errors import BackupFailed
from aggregator.settings import AggregatorSettings
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
from schemas.errors import DatabaseNotReady
from schemas.one_process import keep_to_this_process
from schemas.settings import BrokerSettings
from schemas.sqlite_copy import copy_sqlite, require_sound
from schemas.synced_files import sync_folder

DATABASE = {"sqlite": "database.sqlite", "postgresql": "database.pgdump"}
KEYS, AUTHORITY = "keys", "authority"
PROGRAM_PATIENCE_S = 6 * 3600.0


def back_up(settings: AggregatorSettings, out: Path, *, now_us: int, with_keys: bool = False) -> Manifest:
    """Write the database into one file, beside a running aggregator.

    Raises:
        DatabaseNotReady: There is none, or it is of another version.
        ArchiveRejected: The file is there already, or cannot be written.
        BackupFailed: `pg_dump` is missing or failed.
    """
    url = sa.make_url(settings.database)
    kind = _kind(url)
    found = _version(settings.database)
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".backup-") as scratch:
            copy = Path(scratch) / DATABASE[kind]
            if kind == "sqlite":
                copy_sqlite(Path(url.database or ""), copy)
            else:
                _run_program(url, "pg_dump", "--format=custom", f"--schema={_schema(url)}", f"--file={copy}")
            plain = Manifest(
                kind=settings.role, name=settings.name, made_at_us=now_us, software=version("undertone"),
                schema_version=found, database=kind, keys=with_keys,
            )  # fmt: skip
            with ArchiveWriter(out, plain) as archive:
                archive.add_file(DATABASE[kind], copy)
                for name, path in sorted(_key_places(settings).items()) if with_keys else ():
                    if path.exists():
                        archive.add_file(f"{KEYS}/{name}", path)
                return archive.manifest
    except OSError as error:
        raise ArchiveRejected(f"back-up {out} cannot be written: {error}") from error


def restore(settings: AggregatorSettings, source: Path, *, now_us: int, replace: bool = False) -> str:
    """Put a back-up into the place of the database; what stood there stays beside it. Say what was done.

    Raises:
        ArchiveRejected: The back-up is damaged, another's, or of another kind of database, or there is one already.
        FolderInUse: The aggregator runs.
        DatabaseNotReady: The database in the back-up is of a later version, or damaged; nothing is touched.
        BackupFailed: `pg_restore` is missing or failed; nothing is touched.
    """
    manifest = check_archive(source, kind=settings.role, name=settings.name)
    wanted = _kind(sa.make_url(settings.database))
    if manifest.database != wanted:
        raise ArchiveRejected(f"{source} holds a database of {manifest.database}, database_url names {wanted}")
    known = [script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()]
    if manifest.schema_version not in known:
        raise DatabaseNotReady(
            f"{source} holds a database of version {manifest.schema_version}, this program knows "
            f"{', '.join(reversed(known))}; update the program first"
        )
    try:
        return _restore(settings, manifest, source, now_us=now_us, replace=replace)
    except OSError as error:
        raise ArchiveRejected(f"{source} cannot be restored: {error}") from error


def _restore(settings: AggregatorSettings, manifest: Manifest, source: Path, *, now_us: int, replace: bool) -> str:
    url = sa.make_url(settings.database)
    settings.folder.mkdir(parents=True, exist_ok=True)
    with keep_to_this_process(settings.lock_file), _unpacked(source, manifest, settings.folder) as fresh:
        put = _put_sqlite if manifest.database == "sqlite" else _put_postgresql
        aside = put(settings, url, fresh / DATABASE[manifest.database], now_us=now_us, replace=replace)
        engine = open_current(settings.database)
        try:
            _note(engine, manifest, now_us)
        finally:
            engine.dispose()
        saved = fresh / KEYS
        places = _key_places(settings) | {
            str(path.relative_to(saved)): settings.folder / path.relative_to(saved)
            for path in saved.glob("authority/*")
        }
        keys = put_missing_back(saved, places)
    words = [
        f"database of {settings.role} {settings.name} is that of {in_utc(manifest.made_at_us)} again",
        "what gateways were acknowledged for since is gone: a gap for each, as soon as it says what it still has",
    ]
    words += [f"what stood there is in {aside}"] if aside else []
    words += [f"put back: {', '.join(keys)}"] if keys else []
    return "; ".join(words)


@contextlib.contextmanager
def _unpacked(source: Path, manifest: Manifest, folder: Path) -> Iterator[Path]:
    require_room(folder, manifest.size_bytes)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".restoring-") as scratch:
        unpack(source, manifest, Path(scratch))
        yield Path(scratch)


def _put_sqlite(_: AggregatorSettings, url: URL, fresh: Path, *, now_us: int, replace: bool) -> str | None:
    place = Path(url.database or "")
    if place.exists() and not replace:
        raise ArchiveRejected(f"{place} is there; --replace puts the back-up in its place and keeps it beside")
    require_sound(fresh)
    open_current(sqlite_url(fresh)).dispose()  # older ones are brought up before anything is touched
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = None
    if place.exists():
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(place)) as old:
            old.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # one file then, where it is not damaged
        aside = place.with_name(name_beside(place.parent, f"{place.name}.before-restore-", now_us))
        shutil.copy2(place, aside)
        for more in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                place.with_name(place.name + more).rename(aside.with_name(aside.name + more))
    ready = place.with_name(f".{place.name}.restored")
    shutil.copy(fresh, ready)
    with ready.open("rb+") as file:
        os.fsync(file.fileno())
    give_to_owner_of(place.parent, ready, *([aside] if aside else []))
    ready.replace(place)
    sync_folder(place.parent)
    return str(aside) if aside else None


def _put_postgresql(settings: AggregatorSettings, url: URL, fresh: Path, *, now_us: int, replace: bool) -> str | None:
    """The old tables go into a schema of their own and stay in the database; the back-up comes whole or not at all."""
    schema = _schema(url)
    engine = open_database(settings.database)
    quote = engine.dialect.identifier_preparer.quote
    try:
        tables = sa.inspect(engine).get_table_names()
        if tables and not replace:
            raise ArchiveRejected(
                f"database {url.database} has tables; --replace puts the back-up in their place and keeps them beside"
            )
        aside = f"before_restore_{now_us}"
        with engine.begin() as connection:
            connection.execute(sa.text(f"ALTER SCHEMA {quote(schema)} RENAME TO {aside}"))
            connection.execute(sa.text(f"CREATE SCHEMA {quote(schema)}"))
            connection.execute(sa.text(f"GRANT USAGE ON SCHEMA {quote(schema)} TO PUBLIC"))
        try:
            _run_program(
                url, "pg_restore", "--single-transaction", "--exit-on-error", "--no-owner", f"--schema={schema}",
                f"--dbname={url.database}", str(fresh),
            )  # fmt: skip
        except BackupFailed:
            with engine.begin() as connection:
                connection.execute(sa.text(f"DROP SCHEMA {quote(schema)} CASCADE"))
                connection.execute(sa.text(f"ALTER SCHEMA {aside} RENAME TO {quote(schema)}"))
            raise
        if tables:
            return f"schema {aside} of the database"
        with engine.begin() as connection:
            connection.execute(sa.text(f"DROP SCHEMA {aside}"))
        return None
    except sa.exc.SQLAlchemyError as error:
        raise DatabaseNotReady(f"database {url.database} cannot be restored: {error}") from error
    finally:
        engine.dispose()


def _note(engine: Engine, manifest: Manifest, now_us: int) -> None:
    text = f"restored from the back-up of {in_utc(manifest.made_at_us)}; what gateways were acknowledged for since"
    with engine.begin() as connection:
        write_audit(connection, at_us=now_us, actor="operator", action="restore", text=f"{text} is gone")


def _kind(url: URL) -> Literal["sqlite", "postgresql"]:
    return "sqlite" if url.get_backend_name() == "sqlite" else "postgresql"


def _version(database_url: str) -> str:
    engine = open_database(database_url, read_only=True)
    try:
        with engine.connect() as connection:
            found = current_version(connection)
    except sa.exc.SQLAlchemyError as error:
        raise DatabaseNotReady(f"database cannot be opened ({error.__cause__ or error})") from error
    finally:
        engine.dispose()
    if found is None:
        raise DatabaseNotReady("database is empty; there is nothing to back up")
    return found


def _schema(url: URL) -> str:
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            return str(connection.scalar(sa.text("SELECT current_schema()")))
    except sa.exc.SQLAlchemyError as error:
        raise DatabaseNotReady(f"database {url.database} cannot be opened ({error.__cause__ or error})") from error
    finally:
        engine.dispose()


def _run_program(url: URL, program: str, *words: str) -> None:
    """Run one of PostgreSQL's own programs on the database; the password travels in the environment, not in `ps`."""
    where = {
        "PGHOST": url.host or url.query.get("host"), "PGPORT": url.port, "PGUSER": url.username,
        "PGPASSWORD": url.password, "PGDATABASE": url.database,
    }  # fmt: skip
    environment = os.environ | {name: str(value) for name, value in where.items() if value}
    try:
        done = subprocess.run(
            [program, "--no-password", *words], env=environment, capture_output=True, text=True, check=False,
            timeout=PROGRAM_PATIENCE_S,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise BackupFailed(f"{program} is not installed; it comes with PostgreSQL's client programs") from error
    if done.returncode:
        raise BackupFailed(f"{program} failed: {' '.join(done.stderr.split())[-500:]}")


def _key_places(settings: AggregatorSettings) -> dict[str, Path]:
    places = {
        "signing_key_file": settings.signing_key_file, "keys_file": settings.keys_file,
        "clients.json": clients_file(settings),
    } | _of_broker("broker", settings.broker)  # fmt: skip
    if settings.uplink is not None:
        places |= _of_broker("uplink", settings.uplink.broker)
    authority = settings.folder / AUTHORITY
    return places | {f"{AUTHORITY}/{path.name}": path for path in sorted(authority.glob("*")) if path.is_file()}


def _of_broker(whose: str, broker: BrokerSettings) -> dict[str, Path]:
    named = {
        "password_file": broker.password_file, "ca_file": broker.ca_file,
        "certificate_file": broker.certificate_file, "key_file": broker.key_file,
    }  # fmt: skip
    return {f"{whose}.{name}": path for name, path in named.items() if path is not None}
