"""This file knows the versions of a gateway's database: how an empty one is made, and how an older one is brought up.

All steps are one transaction: a store is of this program's version, or it is as it was.
"""

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway_agent.errors import StoreError
from gateway_agent.store_tables import meta_table, store_metadata

STEPS: tuple[tuple[str, ...], ...] = (
    (
        "ALTER TABLE dead_letter ADD COLUMN payload BLOB",
        "ALTER TABLE dead_letter ADD COLUMN reinject_at_us BIGINT",
        "ALTER TABLE dead_letter ADD COLUMN taken_at_us BIGINT",
        "CREATE INDEX ix_dead_letter_reinject ON dead_letter (reinject_at_us)",
        """CREATE TABLE pin (
            id INTEGER NOT NULL, point VARCHAR NOT NULL, boot BIGINT NOT NULL, sequence BIGINT NOT NULL,
            segment INTEGER, "offset" BIGINT, length BIGINT NOT NULL, why VARCHAR NOT NULL, alarm_id VARCHAR NOT NULL,
            open BOOLEAN NOT NULL, pinned_at_us BIGINT NOT NULL, raw BLOB,
            PRIMARY KEY (id), UNIQUE (point, boot, sequence)
        )""",
        "CREATE INDEX ix_pin_segment ON pin (segment)",
    ),
)
"""STEPS[n - 1] makes version n + 1 of version n. What was released is never edited."""
VERSION = len(STEPS) + 1


def bring_up(connection: Connection, *, new_boot: Callable[[], int], steps: tuple[tuple[str, ...], ...] = STEPS) -> int:
    """Make an empty or older database one of this program's version: all steps, or none.

    Returns:
        The boot of the store.

    Raises:
        StoreError: It is of a later version, or not a gateway's; nothing has changed.
        sqlalchemy.exc.DatabaseError: A step failed; nothing has changed.
    """
    newest = len(steps) + 1
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # the driver begins none for DDL by itself
    try:
        found = version_of(connection)
        if found == 0:
            store_metadata.create_all(connection)
            _say(connection, "boot", str(new_boot()))
        if found > newest:
            raise StoreError(
                f"store has version {found}, this program reads {newest}; "
                "install the newer gateway agent again or give it another folder"
            )
        for step in steps[found - 1 :] if found else ():
            for statement in step:
                connection.exec_driver_sql(statement)
        if found < newest:
            _say(connection, "schema", str(newest))
        boot = int(connection.execute(sa.select(meta_table.c.value).where(meta_table.c.key == "boot")).scalar_one())
    except BaseException:
        connection.rollback()
        raise
    connection.commit()
    return boot


def version_of(connection: Connection) -> int:
    """The version a database says it is of; 0 when it is empty.

    Raises:
        StoreError: It has tables, and none of ours.
    """
    tables = sa.inspect(connection).get_table_names()
    if not tables:
        return 0
    if meta_table.name not in tables:
        raise StoreError(f"database has tables ({', '.join(tables[:3])}) and is no gateway's; name another folder")
    said = connection.execute(sa.select(meta_table.c.value).where(meta_table.c.key == "schema")).scalar_one_or_none()
    if said is None:
        raise StoreError("database does not say its version; restore the store from a back-up")
    return int(said)


def _say(connection: Connection, key: str, value: str) -> None:
    connection.execute(sa.insert(meta_table).prefix_with("OR REPLACE"), {"key": key, "value": value})
