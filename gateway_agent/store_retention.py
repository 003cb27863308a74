"""This file knows what a gateway gives up in time, in which order, and that each thing given up is counted or told.

Raw captures leave the ring by size and age, a segment at once. What an alarm, a piece of evidence or a label refers
to is pinned: when its segment goes, its bytes move into the database, up to `pinned_bytes`. Beyond that the oldest
pin gives way whose alarm is over; when every alarm still stands, the newest does, for how it began says more. Results
leave by count and age; the site has them. Refused payloads keep their head when there is no room for the whole.
"""

from collections import Counter
from collections.abc import Callable, Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway_agent.batch import Batch
from gateway_agent.segments import Place, SegmentLog
from gateway_agent.settings import StoreSettings
from gateway_agent.store_tables import capture_table, dead_letter_table, pin_table
from schemas.messages import Alarm, Evidence, Gap

RAW_LEFT, RESULTS_LEFT, PINS_LEFT, PAYLOADS_LEFT = "raw_left", "results_left", "pins_left", "dead_letter_payloads_left"
"""Counters of what was given up: captures' bytes, rows of results, pinned captures, refused payloads."""
PINNED_GAP = "pinned capture"
DEAD_LETTERS_KEPT = 1000  # the newest; all are counted
RESULTS_AT_ONCE = 10_000  # rows deleted in one transaction: what waits for it is a batch of captures
DAY_US = 86_400_000_000
LEAP_US = 7 * DAY_US  # between two commits: the agent was off for long, or the clock is wrong

_PIN = sa.text(
    'INSERT INTO pin (point, boot, sequence, segment, "offset", length, why, alarm_id, open, pinned_at_us) '
    'SELECT point, boot, sequence, segment, "offset", length, :why, :alarm_id, :open, :now_us FROM capture '
    "WHERE point = :point AND boot = :boot AND sequence = :sequence AND segment IS NOT NULL "
    "ON CONFLICT (point, boot, sequence) DO UPDATE SET alarm_id = excluded.alarm_id, open = 1 WHERE excluded.open"
)
_KEEP_HEADS = sa.text(
    "UPDATE dead_letter SET payload = NULL WHERE id IN (SELECT id FROM (SELECT id, sum(length(payload)) "
    "OVER (ORDER BY reinject_at_us IS NULL, id DESC) AS bytes FROM dead_letter WHERE payload IS NOT NULL) "
    "WHERE bytes > :allowed)"
)


class AgeClock:
    """Tells from when on a thing is too old, and does not believe a clock that has just leapt by more than a week.

    A year read from a broken clock must not empty the ring: for the first day after a leap nothing is too old.
    """

    def __init__(self, now_us: int) -> None:
        self._now_us = now_us
        self._believed_from_us = 0

    def tick(self, now_us: int) -> None:
        """Take note of the time."""
        if abs(now_us - self._now_us) > LEAP_US:
            self._believed_from_us = now_us + DAY_US
        self._now_us = now_us

    def older_than_us(self, days: float) -> int:
        """What was written before this is too old; before 1970 while the clock is not believed."""
        return self._now_us - int(days * DAY_US) if self._now_us >= self._believed_from_us else -1


def pin_what_is_told(connection: Connection, batch: Batch) -> bool:
    """Pin the captures that alarms and evidence of a batch refer to; tell whether there were any.

    An alarm that a person changed refers to no capture, and pins none.
    """
    pinned = False
    for _, record in batch.records:
        if isinstance(record, Alarm):
            if record.state == "normal":
                over = (pin_table.c.point == record.point) & (pin_table.c.alarm_id == record.alarm_id)
                connection.execute(sa.update(pin_table).where(over).values(open=False))
                continue
            why, alarm_id = f"alarm {record.alarm_id}", record.alarm_id
        elif isinstance(record, Evidence):
            why, alarm_id = record.why, ""
        else:
            continue
        key = (record.point, record.capture_boot, record.capture_sequence)
        pinned |= pin(connection, key, why=why, alarm_id=alarm_id, now_us=batch.now_us)
    return pinned


def pin(connection: Connection, key: tuple[str, int, int], *, why: str, now_us: int, alarm_id: str = "") -> bool:
    """Keep one capture beyond the ring; tell whether that is new. One whose bytes are gone cannot be kept."""
    point, boot, sequence = key
    values = {"point": point, "boot": boot, "sequence": sequence, "why": why[:256], "alarm_id": alarm_id}
    done = connection.execute(_PIN, {**values, "open": bool(alarm_id), "now_us": now_us})
    return bool(done.rowcount)


def surplus_pins(connection: Connection, allowed_bytes: int, *, now_us: int) -> list[Gap]:
    """Give up pins beyond the bound; the gap records to tell."""
    c = pin_table.c
    left_bytes = connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(c.length), 0))) or 0
    if left_bytes <= allowed_bytes:
        return []
    order = sa.case((c.open, -c.id), else_=c.id)
    chosen = []
    for row in connection.execute(sa.select(c.id, c.length).order_by(c.open, order)):
        if left_bytes <= allowed_bytes:
            break
        chosen.append(row.id)
        left_bytes -= row.length
    return _unpin(connection, c.id.in_(chosen), f"pinned_bytes = {allowed_bytes} were full", now_us=now_us)


def forget_what_is_gone(connection: Connection, oldest_segment: int, *, now_us: int) -> list[Gap]:
    """Put right what a crash or a full disk has left: captures and pins in segments that are not there any more."""
    gone = capture_table.c.segment < oldest_segment
    connection.execute(sa.update(capture_table).where(gone).values(segment=None, offset=None, length=None))
    reason = "its bytes could not be kept when its segment went"
    return _unpin(connection, pin_table.c.segment < oldest_segment, reason, now_us=now_us)


def _unpin(connection: Connection, which: sa.ColumnElement[bool], reason: str, *, now_us: int) -> list[Gap]:
    c = pin_table.c
    rows = connection.execute(sa.delete(pin_table).where(which).returning(c.point, c.boot, c.sequence, c.why))
    return [
        Gap(
            what=PINNED_GAP, source=f"{row.point} boot {row.boot}", first=row.sequence, last=row.sequence, count=1,
            reason=f"{reason}; it was kept for: {row.why}", at_us=now_us,
        )
        for row in rows
    ]  # fmt: skip


def pinned_bytes_of(
    connection: Connection, segment: int, read: Callable[[Place], bytes | None]
) -> list[tuple[int, bytes]]:
    """What of a segment is pinned: number of the pin, and the bytes."""
    c = pin_table.c
    rows = connection.execute(sa.select(c.id, c.offset, c.length).where(c.segment == segment)).all()
    found = ((row.id, read(Place(segment, row.offset, row.length))) for row in rows)
    return [(number, raw) for number, raw in found if raw is not None]


def forget_segment(connection: Connection, segment: int, pinned: Iterable[tuple[int, bytes]]) -> int:
    """Take a segment's captures out of the ring, the pinned ones into the database; how many left for good."""
    kept = 0
    for number, raw in pinned:
        connection.execute(
            sa.update(pin_table)
            .where(pin_table.c.id == number)
            .values(segment=None, offset=None, raw=raw)
        )  # fmt: skip
        kept += 1
    left = connection.execute(
        sa.update(capture_table)
        .where(capture_table.c.segment == segment)
        .values(segment=None, offset=None, length=None)
    )  # fmt: skip
    return max(0, left.rowcount - kept)


def too_old_segments(connection: Connection, segments: SegmentLog, before_us: int, *, now_us: int) -> list[int]:
    """The oldest segments in which every capture is too old, or to which no result points any more.

    One that was written while the clock was ahead says nothing of those behind it; its size will make it go.
    """
    old: list[int] = []
    for segment in segments.full_ones:
        newest = sa.select(sa.func.max(capture_table.c.committed_at_us)).where(capture_table.c.segment == segment)
        newest_us = connection.scalar(newest)
        if newest_us is not None and before_us <= newest_us <= now_us:
            break
        if newest_us is None or newest_us < before_us:
            old.append(segment)
    return old


def surplus_results(connection: Connection, settings: StoreSettings, before_us: int) -> int:
    """Delete the oldest results beyond their number or age; how many went."""
    c = capture_table.c
    oldest = connection.execute(sa.select(c.id, c.committed_at_us).order_by(c.id).limit(1)).one_or_none()
    too_many = (connection.scalar(sa.select(sa.func.max(c.id))) or 0) - settings.health_rows
    if oldest is None or (oldest.id > too_many and oldest.committed_at_us >= before_us):
        return 0
    first = sa.select(c.id).order_by(c.id).limit(RESULTS_AT_ONCE)
    surplus = (c.id <= too_many) | (c.committed_at_us < before_us)
    return connection.execute(sa.delete(capture_table).where(c.id.in_(first), surplus)).rowcount


def bound_dead_letters(connection: Connection, settings: StoreSettings) -> Counter[str]:
    """Keep the newest letters, and of as many as there is room for the whole payload; what a person asked for first."""
    c = dead_letter_table.c
    newest = connection.scalar(sa.select(sa.func.max(c.id))) or 0
    connection.execute(sa.delete(dead_letter_table).where(c.id <= newest - DEAD_LETTERS_KEPT))
    cut = connection.execute(_KEEP_HEADS, {"allowed": settings.dead_letter_bytes}).rowcount
    return Counter({PAYLOADS_LEFT: cut}) if cut else Counter()
