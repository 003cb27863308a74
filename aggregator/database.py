"""This file knows the version of the database, how an older one is brought up to it, and how rows are written."""

import contextlib
import importlib.resources
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, Engine

from schemas.database import REPLACED, open_database
from schemas.errors import DatabaseNotReady
from schemas.logs import event

log = logging.getLogger(__name__)

_ONE_WRITER = 0x756E6474  # PostgreSQL advisory lock: historian and desk change the same cases


@contextlib.contextmanager
def writing(engine: Engine, *, synced: Callable[[float], None] | None = None) -> Iterator[Connection]:
    """One transaction that nobody else's can interleave with: what is read in it is still so when it is written.

    `synced` is told how many seconds making it durable has taken.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ONE_WRITER)))
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        began_s = time.perf_counter()
        connection.commit()
        if synced is not None:
            synced(time.perf_counter() - began_s)


_LASTING = ("no such table", "no such column", "disk I/O error", "malformed", "readonly", REPLACED)


def may_pass(error: sa.exc.OperationalError) -> bool:
    """Tell whether waiting can help: locked, full or away does pass; a missing table or a failed disk does not.

    What an fsync has failed on is never known to be safe again: the process ends and starts from what is on disk.
    """
    return not any(word in str(error.orig or error) for word in _LASTING)


def alembic_config(scripts: Path | None = None) -> Config:
    """Alembic's settings, without a file: the migrations are part of the package."""
    config = Config()
    place = scripts or Path(str(importlib.resources.files("aggregator") / "migrations"))
    config.set_main_option("script_location", str(place))
    return config


def current_version(connection: Connection) -> str | None:
    """The version a database says it is of; None when it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def newest_version(config: Config) -> str:
    """The version this program reads and writes."""
    return cast("str", ScriptDirectory.from_config(config).get_current_head())


def migrate(engine: Engine, *, config: Config | None = None) -> tuple[str | None, str]:
    """Bring an empty or older database to this program's version: all steps, or none.

    Args:
        engine: The database.
        config: Where the steps are; the package's own by default.

    Returns:
        The version found and the version now.

    Raises:
        DatabaseNotReady: It is of a version this program does not know, or a step failed; nothing has changed.
    """
    config = config or alembic_config()
    newest = newest_version(config)
    try:
        with writing(engine) as connection:
            found = current_version(connection)
            if found == newest:
                return found, newest
            _refuse_unknown(found, config, engine)
            if found is None and sa.inspect(connection).get_table_names():
                raise DatabaseNotReady(
                    f"database {_shown(engine)} has tables but no version; it is not ours: name another in database_url"
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except sa.exc.SQLAlchemyError as error:
        raise DatabaseNotReady(f"database {_shown(engine)} cannot be migrated: {error}; nothing changed") from error
    finally:
        config.attributes.pop("connection", None)
    event(log, logging.INFO, "database_migrated", found=found or "empty", now=newest)
    return found, newest


def require_current(engine: Engine) -> None:
    """Return when the database is of this program's version.

    Raises:
        DatabaseNotReady: It is missing, empty, or of another version.
    """
    config = alembic_config()
    try:
        with engine.connect() as connection:
            found = current_version(connection)
    except sa.exc.SQLAlchemyError as error:
        raise DatabaseNotReady(
            f"database {_shown(engine)} cannot be opened ({error.__cause__ or error}); `aggregator run` makes it"
        ) from error
    _refuse_unknown(found, config, engine)
    if found != newest_version(config):
        raise DatabaseNotReady(
            f"database {_shown(engine)} is {found or 'empty'}, {newest_version(config)} needed; "
            "run `aggregator migrate`"
        )


def open_current(url: str) -> Engine:
    """Open a database for writing and bring it to this program's version; errors as in `migrate`."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = open_database(url)
    migrate(engine)
    return engine


def _refuse_unknown(found: str | None, config: Config, engine: Engine) -> None:
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    if found is not None and found not in known:
        raise DatabaseNotReady(
            f"database {_shown(engine)} is of version {found}, this program knows {', '.join(reversed(known))}; "
            "update the program, or restore the backup made before the update"
        )


def _shown(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)
