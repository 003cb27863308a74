"""This file knows what a gateway keeps: captures, results, point states, the outbox and what it refused.

One SQLite database in WAL mode with `synchronous=FULL` beside the ring of raw captures. What a batch of captures
means is one transaction: after it, and only then, the captures may be acknowledged.
"""

import errno
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import DatabaseError, OperationalError

from gateway_agent.batch import DEAD_PREFIX, RECORDS_LEFT, URGENT, Batch
from gateway_agent.dead_letters import Letter, asked_again, write_answers
from gateway_agent.disk import Disk
from gateway_agent.errors import StoreError, StoreFull
from gateway_agent.segments import Place, SegmentLog
from gateway_agent.settings import StoreSettings
from gateway_agent.store_retention import (
    PINS_LEFT,
    RAW_LEFT,
    RESULTS_LEFT,
    AgeClock,
    bound_dead_letters,
    forget_segment,
    forget_what_is_gone,
    pin,
    pin_what_is_told,
    pinned_bytes_of,
    surplus_pins,
    surplus_results,
    too_old_segments,
)
from gateway_agent.store_tables import (
    capture_table,
    command_table,
    counter_table,
    dead_letter_table,
    meta_table,
    outbox_table,
    pin_table,
    point_table,
)
from gateway_agent.store_upgrade import bring_up
from schemas.database import open_database, sqlite_url
from schemas.logs import event
from schemas.messages import Gap, encode
from schemas.one_process import keep_to_this_process

log = logging.getLogger(__name__)

DATABASE, RAW, LOCK = "gateway.db", "raw", "agent.lock"
RESTORING = "restoring"  # a folder that stands here while a back-up takes the store's place
COMMANDS_KEPT_US = 90 * 86_400_000_000  # a site gives a command up after days; then it cannot come again
DEAD_LETTER_HEAD_BYTES = 256
TIDY_EVERY = 100  # commits: no look at what is too old on the way of every batch
_CAPTURE_COLUMNS = (
    "point", "boot", "sequence", "measured_at_us", "received_at_us", "committed_at_us", "segment", "offset", "length",
    "quality", "healthy", "score", "model_features", "health",
)  # fmt: skip
_OUTBOX_COLUMNS = ("priority", "kind", "body", "size_bytes", "created_at_us")
_ROWS_A_STATEMENT = 64
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

    def __init__(self, settings: StoreSettings, disk: Disk | None = None) -> None:
        self._settings = settings
        self._disk = disk or Disk()
        self._lock = threading.RLock()
        self._commits = 0
        try:
            with ExitStack() as undo:
                self._open(undo)
                undo.pop_all()
        except (OSError, DatabaseError) as error:
            raise StoreError(f"store in {settings.folder} cannot be opened: {error}") from error

    def _open(self, undo: ExitStack) -> None:
        settings = self._settings
        settings.folder.mkdir(parents=True, exist_ok=True)
        self._held = undo.enter_context(keep_to_this_process(settings.folder / LOCK))
        if (settings.folder / RESTORING).exists():
            raise StoreError(f"a restore into {settings.folder} was interrupted; run `gateway-agent restore` again")
        self._engine = self._disk.open_sqlite(settings.folder / DATABASE)
        undo.callback(self._engine.dispose)
        self._connection = undo.enter_context(self._engine.connect())
        self.boot = bring_up(self._connection, new_boot=self._disk.new_boot)
        self.segments = SegmentLog(
            settings.folder / RAW, segment_bytes=settings.segment_bytes, max_bytes=settings.raw_bytes, disk=self._disk
        )
        undo.callback(self.segments.close)
        self._outbox_bytes = self._scalar(sa.select(sa.func.coalesce(sa.func.sum(outbox_table.c.size_bytes), 0)))
        newest = sa.select(capture_table.c.committed_at_us).order_by(capture_table.c.id.desc()).limit(1)
        self._age = AgeClock(self._scalar(newest))

    def close(self) -> None:
        """Finish."""
        with self._lock:
            self._connection.close()
            self._engine.dispose()
            self.segments.close()
            self._held.close()

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
                if batch.captures and self._settings.keep_raw:
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
            oldest = self.segments.surplus(at_least=1)[:1]
            for segment in oldest:
                try:
                    self._give_up_segment(segment)
                except OperationalError as error:
                    if not _says_full(error):
                        raise
                    event(log, logging.WARNING, "store_not_tidied", folder=str(self._settings.folder), text=str(error))
            return bool(oldest)

    def pin_newest(self, point: str, why: str, *, now_us: int) -> bool:
        """Keep what a person speaks of beyond the ring: what is pinned of a point already, else its newest capture.

        Tells whether there was one; errors as in `forget`.
        """
        c = pin_table.c
        newest = sa.select(c.id).where(c.point == point).order_by(c.id.desc()).limit(1).scalar_subquery()
        with self._lock:
            key = self.newest_capture(point)
            with self._writing():
                more = sa.update(pin_table).where(c.id == newest).values(why=sa.func.substr(c.why + f"; {why}", 1, 256))
                if self._connection.execute(more).rowcount:
                    return True
                pinned = key is not None and pin(self._connection, (point, *key), why=why, now_us=now_us)
                told_bytes = self._bound_pins(now_us) if pinned else 0
            self._outbox_bytes += told_bytes
            return pinned

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
        """The bytes of one capture as they came; None when they have left the ring and are not pinned."""
        c = capture_table.c
        rows = self._all(
            sa.select(c.segment, c.offset, c.length).where(
                c.point == point, c.boot == boot, c.sequence == sequence, c.segment.is_not(None)
            )
        )
        raw = self.segments.read(Place(rows[0].segment, rows[0].offset, rows[0].length)) if rows else None
        if raw is not None:
            return raw
        c = pin_table.c
        pinned = self._all(sa.select(c.raw).where(c.point == point, c.boot == boot, c.sequence == sequence))
        return pinned[0].raw if pinned else None

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
        skip = set(besides)
        order = sa.select(c.sequence).order_by(c.priority, c.sequence).limit(count + len(skip))  # from the index alone
        with self._lock:
            numbers = [n for n in self._connection.scalars(order) if n - _FIRST not in skip][:count]
            found: dict[int, Waiting] = {}
            for start in range(0, len(numbers), 500):
                some = sa.select(c.sequence, c.priority, c.kind, c.body).where(
                    c.sequence.in_(numbers[start : start + 500])
                )
                for r in self._connection.execute(some):
                    found[r.sequence] = Waiting(r.sequence - _FIRST, r.priority, r.kind, r.body)
            self._connection.rollback()
        return [found[n] for n in numbers]

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

    def lowest_waiting(self) -> int | None:
        """The lowest record number that waits, or the next to be given; None while a gap record waits."""
        c, next_row = outbox_table.c, sa.text("(SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence)")
        tells_gap = sa.exists().where(c.priority == URGENT, c.kind == "gap")
        lowest = sa.select(sa.func.min(c.sequence)).scalar_subquery()
        row = self._all(sa.select(tells_gap.label("gap"), sa.func.coalesce(lowest, next_row).label("first")))[0]
        return None if row.gap else int(row.first) - _FIRST

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

    def remembered(self, key: str) -> str | None:
        """The text kept under a name; None where there is none."""
        rows = self._all(sa.select(meta_table.c.value).where(meta_table.c.key == key))
        return str(rows[0].value) if rows else None

    def letters_asked_again(self, at_most: int) -> list[Letter]:
        """The dead letters somebody wants taken in again."""
        with self._lock:
            letters = asked_again(self._connection, at_most=at_most)
            self._connection.rollback()
            return letters

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

    def _write(self, batch: Batch, places: Sequence[Place]) -> int:
        """Write everything; return the bytes that were added to the outbox."""
        run = self._connection.execute
        told_bytes = 0
        if batch.captures:
            nowhere: list[tuple[int | None, ...]] = [(None, None, None)] * len(batch.captures)
            kept = [(p.segment, p.offset, p.length) for p in places] if self._settings.keep_raw else nowhere
            self._insert(
                "capture", _CAPTURE_COLUMNS,
                [
                    (
                        row.point, row.boot, row.sequence, row.measured_at_us, row.received_at_us, batch.now_us,
                        *place, row.quality, row.healthy, row.score, row.model_features, row.health,
                    )
                    for row, place in zip(batch.captures, kept, strict=True)
                ],
            )  # fmt: skip
        if batch.records:
            bodies = [encode(record) for _, record in batch.records]
            self._insert(
                "outbox", _OUTBOX_COLUMNS,
                [
                    (priority, record.kind, body, len(body), batch.now_us)
                    for (priority, record), body in zip(batch.records, bodies, strict=True)
                ],
            )  # fmt: skip
            told_bytes = sum(map(len, bodies))
            if pin_what_is_told(self._connection, batch):
                told_bytes += self._bound_pins(batch.now_us)
        for point, state in batch.point_states.items():
            run(sa.insert(point_table).prefix_with("OR REPLACE"), {"point": point, "state": state})
        counts = batch.counts.copy()
        whole_bytes = self._settings.dead_letter_payload_bytes
        for letter in batch.dead_letters:
            counts[DEAD_PREFIX + letter.reason] += 1
            run(
                sa.insert(dead_letter_table),
                {"topic": letter.topic[:256], "reason": letter.reason, "text": letter.text,
                 "head": letter.payload[:DEAD_LETTER_HEAD_BYTES], "size_bytes": len(letter.payload),
                 "at_us": letter.at_us, "payload": letter.payload if 0 < len(letter.payload) <= whole_bytes else None},
            )  # fmt: skip
        self._count(counts)
        for command_id in batch.commands_done:
            run(sa.insert(command_table).prefix_with("OR IGNORE"), {"command_id": command_id, "at_us": batch.now_us})
        write_answers(self._connection, batch.letter_answers, now_us=batch.now_us)
        return told_bytes

    def _insert(self, table: str, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows in their order, many a statement: the library goes back and forth once a row otherwise."""
        start = 0
        while start < len(rows):
            size = min(_ROWS_A_STATEMENT, 1 << (len(rows) - start).bit_length() - 1)  # few texts to prepare
            part = rows[start : start + size]
            self._connection.exec_driver_sql(_insert_text(table, columns, size), tuple(chain.from_iterable(part)))
            start += size

    def _count(self, counts: Mapping[str, int]) -> None:
        upsert = sa.text(
            "INSERT INTO counter (name, value) VALUES (:name, :n) "
            "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
        )
        for name, n in counts.items():
            self._connection.execute(upsert, {"name": name, "n": n})

    def _require_free_bytes(self) -> None:
        free = self._disk.free_bytes(self._settings.folder)
        if free < self._settings.min_free_bytes:
            raise StoreFull(
                f"{free} bytes free in {self._settings.folder}, min_free_bytes is {self._settings.min_free_bytes}; "
                "captures wait at the broker"
            )

    def _keep_within_bounds(self, batch: Batch) -> None:
        self._age.tick(batch.now_us)
        for segment in self.segments.surplus():
            self._give_up_segment(segment)
        if self._outbox_bytes > self._settings.outbox_bytes:
            self._drop_from_outbox(batch.now_us)
        if batch.dead_letters:
            with self._connection.begin():
                self._count(bound_dead_letters(self._connection, self._settings))
        if batch.commands_done:
            with self._connection.begin():
                long_ago_us = batch.now_us - COMMANDS_KEPT_US
                self._connection.execute(sa.delete(command_table).where(command_table.c.at_us < long_ago_us))
        if self._commits % TIDY_EVERY == 0:
            self._tidy(batch.now_us)
        self._commits += 1

    def _tidy(self, now_us: int) -> None:
        """Give up what is too old or too much, and put right what a crash has left."""
        settings, older_than_us = self._settings, self._age.older_than_us
        with self._connection.begin():
            old = too_old_segments(self._connection, self.segments, older_than_us(settings.raw_days), now_us=now_us)
        for segment in old:
            self._give_up_segment(segment)
        with self._connection.begin():
            left = surplus_results(self._connection, settings, older_than_us(settings.health_days))
            gaps = forget_what_is_gone(self._connection, self.segments.oldest, now_us=now_us)
            told_bytes = self._tell_of_pins(gaps)
            if left:
                self._count({RESULTS_LEFT: left})
        self._outbox_bytes += told_bytes

    def _give_up_segment(self, segment: int) -> None:
        """Take a segment out of the ring; what is pinned of it moves into the database."""
        pinned: list[tuple[int, bytes]] = []

        def forget() -> None:
            with self._connection.begin():
                left = forget_segment(self._connection, segment, pinned)
                self._count({RAW_LEFT: left})

        with self._connection.begin():
            pinned = pinned_bytes_of(self._connection, segment, self._read_undamaged)
        try:
            forget()
        except OperationalError as error:
            if not _says_full(error):
                raise
            self.segments.drop(segment)  # makes the room that is needed to keep what is pinned, which is in memory
            forget()
        self.segments.drop(segment)

    def _read_undamaged(self, place: Place) -> bytes | None:
        try:
            return self.segments.read(place)
        except StoreError as error:
            event(log, logging.ERROR, "pinned_capture_damaged", text=str(error))
            return None

    def _bound_pins(self, now_us: int) -> int:
        return self._tell_of_pins(surplus_pins(self._connection, self._settings.pinned_bytes, now_us=now_us))

    def _tell_of_pins(self, gaps: Sequence[Gap]) -> int:
        if gaps:
            self._count({PINS_LEFT: len(gaps)})
        return sum(self._tell(gap) for gap in gaps)

    def _drop_from_outbox(self, now_us: int) -> None:
        """Give up the oldest health and evidence records down to nine tenths; alarms and answers are never given up."""
        c = outbox_table.c
        left_bytes = self._outbox_bytes
        with self._connection.begin():
            gone: list[int] = []
            oldest = sa.select(c.sequence, c.size_bytes).where(c.priority != URGENT)
            with self._connection.execute(oldest.order_by(c.priority.desc(), c.sequence)) as rows:
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
        self._count({RECORDS_LEFT: last - first + 1})
        return self._tell(
            Gap(
                what="records", source="outbox", first=first, last=last, count=last - first + 1, reason=reason,
                at_us=at_us,
            )
        )  # fmt: skip

    def _tell(self, gap: Gap) -> int:
        body = encode(gap)
        row = {"priority": URGENT, "kind": "gap", "body": body, "size_bytes": len(body), "created_at_us": gap.at_us}
        self._connection.execute(sa.insert(outbox_table), row)
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


@cache
def _insert_text(table: str, columns: tuple[str, ...], rows: int) -> str:
    names = ", ".join(f'"{name}"' for name in columns)  # "offset" is a word of SQL
    one = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({names}) VALUES {', '.join([one] * rows)}"  # noqa: S608 - names of our own tables


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
    path = folder / DATABASE
    if not path.exists():
        raise StoreError(f"no store in {folder}; has this gateway agent run?")
    connection = open_database(sqlite_url(path), read_only=True).connect()
    try:
        connection.execute(sa.select(counter_table.c.name).limit(1)).all()
    except DatabaseError as error:
        connection.close()
        raise StoreError(f"store {path} cannot be read: {error.orig}") from error
    return connection
