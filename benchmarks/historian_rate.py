"""This file knows how fast a site's historian stores health windows, beside the database's own bulk insert of the same rows.

The path that is measured begins with decoded records, as the recorder hands them over, and ends with the commit:
order, duplicates, rows, points, streams, transaction. What the seal and the JSON cost before it is in the note.
"""

import contextlib
import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import open_current
from aggregator.historian import Arrived, Historian
from aggregator.intake import read
from aggregator.settings import HistorianSettings
from benchmarks.figures import Figure
from gateway_agent.uplink import BATCH_RECORDS
from schemas.database import BUSY_TIMEOUT_MS, sqlite_url
from schemas.messages import Diagnosis, Health, Numbered, RecordBatch, RemainingLife, encode
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.topics import RECORDS

TARGET = 0.5
REPEATS = 7
COMMITS = 2  # a repeat
SITE, BOOT, START_US = "bench", 7, 1_700_000_000_000_000
GATEWAYS, POINTS = 4, 50
MESSAGES = HistorianSettings.model_fields["batch_messages"].default
SUSPICIOUS = 10  # one window in so many is diagnosed
SERVER_PATIENCE_S = 30.0

Message = tuple[str, bytes]
Row = tuple[object, ...]


def historian_ratio_sqlite() -> Figure:
    """Health windows a second into SQLite, beside `executemany`."""
    with tempfile.TemporaryDirectory(prefix="undertone-bench-") as folder:
        engine = open_current(sqlite_url(Path(folder) / "site.db"))
        bare = Path(folder) / "bare.db"
        open_current(sqlite_url(bare)).dispose()
        with _sqlite(bare) as ours, _sqlite(Path(folder) / "site.db") as site:
            figure = _ratio("historian_ratio_sqlite", "executemany", engine, lambda rows: _executemany(ours, rows),
                            lambda since: site.execute(_NEWEST, (since,)).fetchall())  # fmt: skip
        engine.dispose()
    return figure


def historian_ratio_postgresql() -> Figure:
    """Health windows a second into PostgreSQL, beside `COPY`."""
    name = "historian_ratio_postgresql"
    try:
        programs = _postgresql()
    except LookupError as missing:
        note = f"POSTGRESQL IS NOT INSTALLED: {missing} (apt install postgresql)"
        return Figure(name, None, "", TARGET, "above", None, None, (), note)
    with _server(*programs) as (host, url):
        engine = open_current(url)
        with psycopg.connect(host=host, user="bench", dbname="postgres") as bare:
            bare.execute("CREATE SCHEMA bare; CREATE TABLE bare.health (LIKE public.health INCLUDING ALL)")
            bare.commit()
            select = _NEWEST.replace("*", ", ".join(_AS_TEXT)).replace("?", "%s")
            with psycopg.connect(host=host, user="bench", dbname="postgres", autocommit=True) as site:
                figure = _ratio(name, "COPY", engine, lambda rows: _copy(bare, rows),
                                lambda since: site.execute(select, (since,)).fetchall())  # fmt: skip
        engine.dispose()
    return figure


_COLUMNS = [column.name for column in sa.inspect(site_health).columns]
