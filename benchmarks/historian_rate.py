"""This file knows how fast a site's historian stores health windows, beside the database's own way to take in rows.

Measured is from decoded records, as the recorder hands them over, to the end of the commit: order, duplicates, rows,
points, transaction. What seal and JSON cost before that is in the note.
"""

import gc
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import psycopg
from sqlalchemy.engine import Engine

from aggregator.database import open_current
from aggregator.historian import Arrived, Historian
from aggregator.intake import read
from aggregator.settings import HistorianSettings
from benchmarks.database_server import USER, NoServer, postgresql
from benchmarks.figures import Figure
from gateway_agent.uplink import BATCH_RECORDS
from schemas.collector import tune_collector
from schemas.database import sqlite_url
from schemas.messages import Diagnosis, Health, Numbered, RecordBatch, RemainingLife, encode
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.site_tables import health
from schemas.topics import RECORDS

TARGET = 0.5
REPEATS = 7
COMMITS = 3  # in a repeat
SITE, BOOT, START_US = "bench", 7, 1_700_000_000_000_000
GATEWAYS, POINTS = 4, 50
MESSAGES: int = HistorianSettings.model_fields["batch_messages"].default
SUSPICIOUS = 10  # one window in so many is diagnosed
COLUMNS = ", ".join(column.name for column in health.columns)
# As text what the database would turn into Python lists.
SELECTED = COLUMNS.replace("diagnosis", "CAST(diagnosis AS TEXT)")

Row = Sequence[object]
Sealed = tuple[str, bytes]


def historian_ratio_sqlite() -> Figure:
    """Health windows a second into SQLite, beside `executemany` with the same settings of the database."""
    with tempfile.TemporaryDirectory(prefix="undertone-bench-") as folder:
        ours, bare = (open_current(sqlite_url(Path(folder) / name)) for name in ("ours.db", "bare.db"))
        with bare.connect() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            figure = _ratio("historian_ratio_sqlite", "executemany", ours, lambda rows: _executemany(driver, rows))
        ours.dispose()
        bare.dispose()
    return figure


def historian_ratio_postgresql() -> Figure:
    """Health windows a second into PostgreSQL, beside `COPY`."""
    name = "historian_ratio_postgresql"
    try:
        with postgresql() as socket, psycopg.connect(host=str(socket), user=USER, dbname="postgres") as bare:
            ours = open_current(f"postgresql+psycopg://{USER}@/postgres?host={socket}")
            bare.execute("CREATE SCHEMA bare")
            bare.execute("CREATE TABLE bare.health (LIKE public.health INCLUDING ALL)")
            bare.commit()
            figure = _ratio(name, "COPY", ours, lambda rows: _copy(bare, rows))
            ours.dispose()
            return figure
    except NoServer as missing:
        return Figure(name, None, "", TARGET, "above", None, None, (), str(missing))


def _ratio(name: str, how: str, engine: Engine, write: Callable[[Sequence[Row]], None]) -> Figure:
    tune_collector()  # as the aggregator does
    now_us = START_US
    historian = Historian(engine, now_us=lambda: now_us)
    ours, others, wired = [], [], []
    for repeat, handfuls in enumerate(_spoken(1 + REPEATS)):
        now_us += 1  # by which the rows of a repeat are found again
        stored_s = read_s = 0.0
        for sealed, keys in handfuls:
            began_s = time.perf_counter()
            arrived = [Arrived(read(topic, payload, site=SITE, keys=keys)) for topic, payload in sealed]
            read_s += time.perf_counter() - began_s
            stored_s += _seconds(partial(historian.store, arrived))
        with engine.connect() as connection:
            found = connection.exec_driver_sql(f"SELECT {SELECTED} FROM health WHERE received_at_us = {now_us}")
            rows = [tuple(row) for row in found]
        size = len(rows) // COMMITS
        other_s = sum(_seconds(partial(write, rows[at : at + size])) for at in range(0, len(rows), size))
        if repeat:  # the first one warms up
            ours.append(len(rows) / stored_s)
            wired.append(len(rows) / (stored_s + read_s))
            others.append(len(rows) / other_s)
    repeats = tuple(one / other for one, other in zip(ours, others, strict=True))
    with_wire = median(one / other for one, other in zip(wired, others, strict=True))
    note = (
        f"from decoded records to the commit, {MESSAGES * BATCH_RECORDS} health windows each of {GATEWAYS} gateways; "
        f"beside {how} of the same rows; with seal check and JSON before it the ratio is {with_wire:.2f} "
        f"({median(wired):.0f} a second)"
    )
    return Figure(name, median(repeats), "", TARGET, "above", median(ours), median(others), repeats, note)


def _seconds(work: Callable[[], object]) -> float:
    gc.collect()  # what the other side left behind is not this one's
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def _executemany(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    marks = ", ".join("?" * len(health.columns))
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(f"INSERT INTO health ({COLUMNS}) VALUES ({marks})", rows)
    connection.commit()


def _copy(connection: psycopg.Connection, rows: Sequence[Row]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY bare.health ({COLUMNS}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    connection.commit()


def _spoken(repeats: int) -> Iterator[list[tuple[list[Sealed], KeyRing]]]:
    """For each repeat what comes in for each commit: full messages of all gateways in turns, after an outage."""
    signers = {f"gw-{number}": Signer.generate() for number in range(GATEWAYS)}
    keys = KeyRing(AllowedKey(name, "gateway", one.public) for name, one in signers.items())
    said = 0
    for _ in range(repeats):
        handfuls = []
        for _ in range(COMMITS):
            sealed = []
            for _ in range(MESSAGES):
                gateway = f"gw-{said % GATEWAYS}"
                topic = RECORDS.path(site=SITE, gateway=gateway)
                sealed.append((topic, signers[gateway].seal(topic, encode(_batch(gateway, said // GATEWAYS)))))
                said += 1
            handfuls.append((sealed, keys))
        yield handfuls


def _batch(gateway: str, number: int) -> RecordBatch:
    sequences = range(number * BATCH_RECORDS, (number + 1) * BATCH_RECORDS)
    return RecordBatch(
        gateway=gateway, boot=BOOT, records=tuple(Numbered(sequence=n, record=_window(gateway, n)) for n in sequences)
    )


def _window(gateway: str, sequence: int) -> Health:
    """A window as a gateway tells it; one in ten is diagnosed and has a remaining life."""
    odd = sequence % SUSPICIOUS == 0
    wander = (sequence * 7919 % 1000) / 1000.0
    labels = ("outer", "imbalance", "looseness")
    return Health(
        point=f"{gateway}-m-{sequence % POINTS:02d}/de", capture_boot=1 + sequence % POINTS,
        capture_sequence=sequence // POINTS, measured_at_us=START_US + 60_000_000 * (sequence // POINTS),
        quality="ok", learning="ready", score=0.9 + wander, limit=2.318420917, exceeds=odd,
        alarm="unacknowledged" if odd else "normal", zone="B" if odd else "A",
        zone_basis="0.71 mm/s, A up to 1.40 mm/s (ISO 20816-3, group 2, rigid)",
        velocity_rms_mm_s=0.7 + wander, acceleration_rms_g=0.1 + wander / 7, acceleration_peak_g=0.4 + wander / 3,
        crest_factor=4.0 + wander, kurtosis=3.0 + wander, envelope_rms_g=0.01 + wander / 9, rpm=1480.0,
        rpm_source="sensor", rpm_confidence=1.0, temperature_c=41.5, battery_v=None,
        diagnosis=tuple(Diagnosis(label=label, confidence=0.3 + wander / 2) for label in labels) if odd else (),
        remaining_life=RemainingLife(low_s=86_400.0, median_s=604_800.0, high_s=2_592_000.0) if odd else None,
        remaining_life_basis="levels have grown by 4 dB in 12 days" if odd else "no level grows beyond its scatter",
        model_version=17,
    )  # fmt: skip


FIGURES: tuple[Callable[[], Figure], ...] = (historian_ratio_sqlite, historian_ratio_postgresql)
