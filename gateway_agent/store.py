"""This file knows what a gateway keeps: captures, results, point states, the outbox and what it refused.

One SQLite database in WAL mode with `synchronous=FULL` beside the ring of raw captures. What a batch of captures
means is one transaction: after it, and only then, the captures may be acknowledged.
"""

import errno
import logging
import secrets
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import DatabaseError, OperationalError

from gateway_agent.batch import DEAD_PREFIX, URGENT, Batch
from gateway_agent.errors import StoreError, StoreFull
from gateway_agent.segments import Place, SegmentLog
from gateway_agent.settings import StoreSettings
from gateway_agent.store_tables import (
    capture_table,
    command_table,
    counter_table,
    dead_letter_table,
    meta_table,
    outbox_table,
    point_table,
    store_metadata,
)
from schemas.database import open_database, sqlite_url
from schemas.logs import event
from schemas.messages import Gap, encode

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
DEAD_LETTERS_KEPT = 1000  # the newest; all are counted
COMMANDS_KEPT_US = 90 * 86_400_000_000  # a site gives a command up after days; then it cannot come again
DEAD_LETTER_HEAD_BYTES = 256
_FIRST = 1  # SQLite numbers rows from 1, records are numbered from 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """One record in the outbox."""

    sequence: int
    priority: int
    kind: str
    body: bytes


class Store:
    """The gateway's memory; safe to use from several threads."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        try:
            settings.folder.mkdir(parents=True, exist_ok=True)
            self._engine = open_database(sqlite_url(settings.folder / "gateway.db"))
            store_metadata.create_all(self._engine)
            self._connection = self._engine.connect()
            self.boot = self._identify()
            self.segments = SegmentLog(
                settings.folder / "raw", segment_bytes=settings.segment_bytes, max_bytes=settings.raw_bytes
            )
            self._outbox_bytes = self._scalar(sa.select(sa.func.coalesce(sa.func.sum(outbox_table.c.size_bytes), 0)))
        except (OSError, DatabaseError) as error:
            raise StoreError(f"store in {settings.folder} cannot be opened: {error}") from error

    def close(self) -> None:
        """Finish."""
        with self._lock:
            self._connection.close()
            self._engine.dispose()
            self.segments.close()

    def commit(self, batch: Batch) -> None:
        """Make a batch true: raw captures synced first, then one transaction. All or nothing.

        Raises:
            StoreFull: No room; the batch counts for nothing and may be tried again.
        """
        with self._lock:
            if batch.captures:
                self._require_free_bytes()
            places: list[Place] = []
            try:
                if batch.captures:
                    places = self.segments.append([row.raw for row in batch.captures])
                with self._connection.begin():
                    told_bytes = self._write(batch, places)
            except (OSError, DatabaseError) as error:
                self.segments.take_back(places)
                if _says_full(error):
                    raise StoreFull(f"no room in {self._settings.folder}; captures wait at the broker") from error
                raise
            self._outbox_bytes += told_bytes
            try:
                self._keep_within_bounds(batch)
            except (OSError, OperationalError) as error:  # the batch is true already; tidied after the next one
                event(log, logging.WARNING, "store_not_tidied", folder=str(self._settings.folder), text=str(error))

    def make_room(self) -> bool:
        """Give the oldest raw segment up; tell whether there was one."""
        with self._lock:
            return bool(self.segments.drop_oldest(at_least=1))

    def knows(self, keys: Iterable[tuple[str, int, int]]) -> set[tuple[str, int, int]]:
        """Which of these (point, boot, sequence) are stored already."""
        wanted = list(keys)
        c = capture_table.c
        found: set[tuple[str, int, int]] = set()
        with self._lock:
            for start in range(0, len(wanted), 200):
                part = wanted[start : start + 200]
                rows = self._connection.execute(
                    sa.select(c.point, c.boot, c.sequence).where(sa.tuple_(c.point, c.boot, c.sequence).in_(part))
                )
                found |= {(row.point, row.boot, row.sequence) for row in rows}
            self._connection.rollback()
        return found

    def highest_sequences(self, point: str, boot: int, count: int) -> list[int]:
        """The highest sequences stored of one boot of a point, lowest first."""
        c = capture_table.c
        query = sa.select(c.sequence).where(c.point == point, c.boot == boot).order_by(c.sequence.desc()).limit(count)
        return [row.sequence for row in reversed(self._all(query))]

    def healthy_features(self, point: str, count: int) -> list[bytes]:
        """Model features of the newest healthy captures of a point, oldest first."""
        c = capture_table.c
        query = (
            sa.select(c.model_features)
            .where(c.point == point, c.healthy, c.model_features.is_not(None))
            .order_by(c.id.desc())
            .limit(count)
        )
        return [row.model_features for row in reversed(self._all(query))]

    def raw_capture(self, point: str, boot: int, sequence: int) -> bytes | None:
        """The bytes of one capture as they came; None when they have left the ring."""
        c = capture_table.c
        rows = self._all(
            sa.select(c.segment, c.offset, c.length).where(
                c.point == point, c.boot == boot, c.sequence == sequence, c.segment.is_not(None)
            )
        )
        return self.segments.read(Place(rows[0].segment, rows[0].offset, rows[0].length)) if rows else None

    def newest_capture(self, point: str) -> tuple[int, int] | None:
        """(boot, sequence) of the newest capture of a point whose bytes are still there."""
        c = capture_table.c
        rows = self._all(
            sa.select(c.boot, c.sequence).where(c.point == point, c.segment.is_not(None)).order_by(c.id.desc()).limit(1)
        )
        return (rows[0].boot, rows[0].sequence) if rows else None

    def point_states(self) -> dict[str, bytes]:
        """The saved state of every point."""
        return {row.point: row.state for row in self._all(sa.select(point_table))}

    def waiting(self, count: int, *, besides: Iterable[int] = ()) -> list[Waiting]:
        """The next records for the site: urgent first, then in order."""
        c = outbox_table.c
        skip = list(besides)
        query = sa.select(c.sequence, c.priority, c.kind, c.body).order_by(c.priority, c.sequence)
        rows = self._all(query.limit(count + len(skip)))
        skipped = set(skip)
        waiting = (Waiting(r.sequence - _FIRST, r.priority, r.kind, r.body) for r in rows)
        return [w for w in waiting if w.sequence not in skipped][:count]

    def forget(self, through: int, also: Iterable[int]) -> int:
        """Delete what the site has stored; return how many records went.

        Raises:
            StoreFull: No room even for that; the site will say it again.
        """
        c, singles = outbox_table.c, [n + _FIRST for n in also]
        chosen = [c.sequence <= through + _FIRST]
        chosen += [c.sequence.in_(singles[start : start + 500]) for start in range(0, len(singles), 500)]
        count = size_bytes = 0
        with self._lock:
            with self._writing():
                for gone in chosen:
                    rows = self._connection.execute(sa.delete(outbox_table).where(gone).returning(c.size_bytes)).all()
                    count += len(rows)
                    size_bytes += sum(row.size_bytes for row in rows)
            self._outbox_bytes -= size_bytes
        return count

    def give_up(self, sequence: int, reason: str) -> None:
        """Put a gap in the place of a record that can never reach the site; errors as in `forget`."""
        c = outbox_table.c
        with self._lock:
            with self._writing():
                row = self._connection.execute(
                    sa.delete(outbox_table)
                    .where(c.sequence == sequence + _FIRST)
                    .returning(c.size_bytes, c.created_at_us)
                ).one_or_none()
                if row is None:
                    return
                gap_bytes = self._tell_gap(sequence, sequence, reason, row.created_at_us)
            self._outbox_bytes += gap_bytes - row.size_bytes

    def outbox_state(self) -> tuple[int, int | None]:
        """How many records wait, and since when the oldest does (us)."""
        c = outbox_table.c
        row = self._all(sa.select(sa.func.count().label("pending"), sa.func.min(c.created_at_us).label("since_us")))[0]
        return int(row.pending), row.since_us

    def counts(self) -> dict[str, int]:
        """All counters."""
        return {row.name: row.value for row in self._all(sa.select(counter_table))}

    def captures_stored(self) -> int:
        """Captures ever stored by this gateway."""
        return int(self._scalar(sa.select(sa.func.coalesce(sa.func.max(capture_table.c.id), 0))))

    def remember(self, key: str, value: str) -> None:
        """Keep one text under a name, for `status` beside a running agent; errors as in `forget`."""
        with self._lock, self._writing():
            self._connection.execute(sa.insert(meta_table).prefix_with("OR REPLACE"), {"key": key, "value": value})

    def command_was_done(self, command_id: str) -> bool:
        """Whether a command has been carried out before."""
        return bool(self._all(sa.select(command_table.c.command_id).where(command_table.c.command_id == command_id)))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._connection.begin():
                yield
        except DatabaseError as error:
            if _says_full(error):
                raise StoreFull(f"no room in {self._settings.folder}") from error
            raise

    def _identify(self) -> int:
        with self._connection.begin():
            rows = {row.key: row.value for row in self._connection.execute(sa.select(meta_table))}
            if "boot" not in rows:
                rows = {"boot": str(secrets.randbits(62)), "schema": str(SCHEMA_VERSION)}
                self._connection.execute(sa.insert(meta_table), [{"key": k, "value": v} for k, v in rows.items()])
        if int(rows["schema"]) > SCHEMA_VERSION:
            raise StoreError(
                f"store {self._settings.folder} has version {rows['schema']}, this program reads {SCHEMA_VERSION}; "
                "install the newer gateway agent again or give it another folder"
            )
        return int(rows["boot"])

    def _write(self, batch: Batch, places: Sequence[Place]) -> int:
        """Write everything; return the bytes that were added to the outbox."""
        run = self._connection.execute
        told_bytes = 0
        if batch.captures:
            run(
                sa.insert(capture_table),
                [
                    {
                        "point": row.point, "boot": row.boot, "sequence": row.sequence,
                        "measured_at_us": row.measured_at_us, "received_at_us": row.received_at_us,
                        "committed_at_us": batch.now_us, "segment": place.segment, "offset": place.offset,
                        "length": place.length,
                        "quality": row.quality, "healthy": row.healthy, "score": row.score,
                        "model_features": row.model_features, "health": row.health,
                    }
                    for row, place in zip(batch.captures, places, strict=True)
                ],
            )  # fmt: skip
        if batch.records:
            rows = [
                {"priority": priority, "kind": record.kind, "body": body, "size_bytes": len(body),
                 "created_at_us": batch.now_us}
                for priority, record in batch.records
                for body in (encode(record),)
            ]  # fmt: skip
            run(sa.insert(outbox_table), rows)
            told_bytes = sum(int(str(row["size_bytes"])) for row in rows)
        for point, state in batch.point_states.items():
            run(sa.insert(point_table).prefix_with("OR REPLACE"), {"point": point, "state": state})
        counts = batch.counts.copy()
        for letter in batch.dead_letters:
            counts[DEAD_PREFIX + letter.reason] += 1
            run(
                sa.insert(dead_letter_table),
                {"topic": letter.topic[:256], "reason": letter.reason, "text": letter.text,
                 "head": letter.payload[:DEAD_LETTER_HEAD_BYTES], "size_bytes": len(letter.payload),
                 "at_us": letter.at_us},
            )  # fmt: skip
        self._count(counts)
        for command_id in batch.commands_done:
            run(sa.insert(command_table).prefix_with("OR IGNORE"), {"command_id": command_id, "at_us": batch.now_us})
        return told_bytes

    def _count(self, counts: Mapping[str, int]) -> None:
        upsert = sa.text(
            "INSERT INTO counter (name, value) VALUES (:name, :n) "
            "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
        )
        for name, n in counts.items():
            self._connection.execute(upsert, {"name": name, "n": n})

    def _require_free_bytes(self) -> None:
        free = shutil.disk_usage(self._settings.folder).free
        if free < self._settings.min_free_bytes:
            raise StoreFull(
                f"{free} bytes free in {self._settings.folder}, min_free_bytes is {self._settings.min_free_bytes}; "
                "captures wait at the broker"
            )

    def _keep_within_bounds(self, batch: Batch) -> None:
        for segment in self.segments.drop_oldest():
            with self._connection.begin():
                self._connection.execute(
                    sa.update(capture_table)
                    .where(capture_table.c.segment == segment)
                    .values(segment=None, offset=None, length=None)
                )
        if self._outbox_bytes > self._settings.outbox_bytes:
            self._drop_from_outbox(batch.now_us)
        if batch.dead_letters:
            c = dead_letter_table.c
            newest_letter = self._scalar(sa.select(sa.func.max(c.id)))
            with self._connection.begin():
                self._connection.execute(sa.delete(dead_letter_table).where(c.id <= newest_letter - DEAD_LETTERS_KEPT))
        if batch.commands_done:
            with self._connection.begin():
                long_ago_us = batch.now_us - COMMANDS_KEPT_US
                self._connection.execute(sa.delete(command_table).where(command_table.c.at_us < long_ago_us))
        newest = self.captures_stored()
        if newest > self._settings.health_rows and newest % 1000 < 64:
            with self._connection.begin():
                self._connection.execute(
                    sa.delete(capture_table).where(capture_table.c.id <= newest - self._settings.health_rows)
                )

    def _drop_from_outbox(self, now_us: int) -> None:
        """Give up the oldest health and evidence records down to nine tenths; alarms and answers are never given up."""
        c = outbox_table.c
        left_bytes = self._outbox_bytes
        with self._connection.begin():
            gone: list[int] = []
            rows = self._connection.execute(
                sa.select(c.sequence, c.size_bytes).where(c.priority != URGENT).order_by(c.priority.desc(), c.sequence)
            )
            for row in rows:
                if left_bytes <= 0.9 * self._settings.outbox_bytes:
                    break
                gone.append(row.sequence)
                left_bytes -= row.size_bytes
            if not gone:
                return
            for start in range(0, len(gone), 500):
                self._connection.execute(sa.delete(outbox_table).where(c.sequence.in_(gone[start : start + 500])))
            for first, last in _ranges(sorted(gone)):
                left_bytes += self._tell_gap(first - _FIRST, last - _FIRST, "outbox was full", now_us)
        self._outbox_bytes = left_bytes

    def _tell_gap(self, first: int, last: int, reason: str, at_us: int) -> int:
        record = Gap(
            what="records", source="outbox", first=first, last=last, count=last - first + 1, reason=reason, at_us=at_us
        )
        body = encode(record)
        self._connection.execute(
            sa.insert(outbox_table),
            {"priority": URGENT, "kind": "gap", "body": body, "size_bytes": len(body), "created_at_us": at_us},
        )
        return len(body)

    def _all(self, query: sa.Select[*tuple[Any, ...]]) -> Sequence[Row[Any]]:
        with self._lock:
            rows = self._connection.execute(query).all()
            self._connection.rollback()
            return rows

    def _scalar(self, query: sa.Select[*tuple[Any, ...]]) -> int:
        with self._lock:
            value = self._connection.scalar(query)
            self._connection.rollback()
            return int(value or 0)


def _says_full(error: OSError | DatabaseError) -> bool:
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    return isinstance(error, OperationalError) and "full" in str(error.orig)


def _ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def read_only(folder: Path) -> Connection:
    """Open a store for reading beside a running agent.

    Raises:
        StoreError: There is none, or none that can be read.
    """
    path = folder / "gateway.db"
    if not path.exists():
        raise StoreError(f"no store in {folder}; has this gateway agent run?")
    connection = open_database(sqlite_url(path), read_only=True).connect()
    try:
        connection.execute(sa.select(counter_table.c.name).limit(1)).all()
    except DatabaseError as error:
        connection.close()
        raise StoreError(f"store {path} cannot be read: {error.orig}") from error
    return connection
