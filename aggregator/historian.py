"""This file knows how what gateways say becomes rows: each record once, in one transaction, and only then acknowledged.

`(gateway, boot, sequence)` names a record for ever; what is stored already is counted and answered again.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from aggregator.case_book import open_case, take_alarm, write_entries
from aggregator.cases import SITE, Entry
from aggregator.database import writing
from aggregator.dead_letters import write_refused
from aggregator.evidence_shelf import bound_evidence, evidence_row
from aggregator.health_rows import row_of, write_rows
from aggregator.history import reopen_hours, sum_hours
from aggregator.intake import Refused, refused_by_database
from aggregator.lost_records import tell_lost
from aggregator.plant_book import PlantBook, write_gateway, write_lost, write_nameplates, write_status
from aggregator.requests_desk import record_answer
from aggregator.stream_order import StreamOrder, acknowledgements
from schemas import site_tables as tables
from schemas.logs import event
from schemas.messages import (
    Alarm,
    CommandResult,
    Evidence,
    Gap,
    GatewayStatus,
    Health,
    Numbered,
    PointNotice,
    RecordBatch,
    RecordsAck,
)
from schemas.nameplate import Nameplate
from schemas.names import machine_of

log = logging.getLogger(__name__)

ACK_SINGLES = 256  # single sequences in one acknowledgement
LARGEST = (1 << 63) - 1  # what a column of 8 bytes holds
Rare = Alarm | Evidence | Gap | PointNotice | CommandResult  # beside health windows, which are nearly all
_NOT_STORABLE = (sa.exc.SQLAlchemyError, OverflowError, ValueError)


@dataclass(frozen=True, slots=True)
class Arrived:
    """One payload, as far as it could be read; `retained` when the broker remembered it for us."""

    message: RecordBatch | GatewayStatus | Refused
    retained: bool = False


class Historian:
    """Writes what arrived; the only writer of the tables of records.

    It remembers what it has read from the database; a failed transaction makes it forget, and read again.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        now_us: Callable[[], int],
        offline_after_s: float = 60.0,
        dead_letter_rows: int = 1000,
        synced: Callable[[float], None] | None = None,
    ) -> None:
        self._engine = engine
        self._synced = synced
        self._now_us = now_us
        self._offline_after_s = offline_after_s
        self._dead_letter_rows = dead_letter_rows
        self._streams: dict[tuple[str, int], StreamOrder] = {}
        self._plant = PlantBook()

    def store(self, arrived: Sequence[Arrived]) -> list[RecordsAck]:
        """Store everything in one transaction; what the database cannot take becomes a dead letter.

        Returns:
            What to tell the gateways, now that it is committed.

        Raises:
            sqlalchemy.exc.OperationalError: The database is away, locked or full: nothing is stored, try again.
        """
        try:
            return self._store(arrived)
        except sa.exc.OperationalError:
            raise
        except _NOT_STORABLE as error:
            event(log, logging.WARNING, "batch_not_storable", messages=len(arrived), problem=str(error)[:200])
            return [ack for one in arrived for ack in self._store_piecemeal(one)]

    def write_nameplates(self, plates: Iterable[Nameplate]) -> None:
        """Write what the settings say of machines."""
        with writing(self._engine) as connection:
            write_nameplates(connection, plates, now_us=self._now_us())

    def write_lost(self, gateways: Iterable[str]) -> None:
        """Note gateways of which nothing was heard for too long."""
        with writing(self._engine) as connection:
            write_lost(connection, gateways)

    def sum_history(self) -> int:
        """Sum up hours that are full; tells how many points were moved on."""
        with writing(self._engine) as connection:
            return sum_hours(connection, now_us=self._now_us())

    def online(self) -> list[str]:
        """The gateways that count as present."""
        with self._engine.connect() as connection:
            return list(
                connection.execute(sa.select(tables.gateway.c.gateway).where(tables.gateway.c.online)).scalars()
            )

    def _store(self, arrived: Sequence[Arrived]) -> list[RecordsAck]:
        try:
            return self._commit(arrived)
        except BaseException:
            self._streams.clear()
            self._plant.forget()
            raise

    def _commit(self, arrived: Sequence[Arrived]) -> list[RecordsAck]:
        now_us = self._now_us()
        batches: dict[tuple[str, int], list[Numbered]] = {}
        refused: list[Refused] = []
        said: list[GatewayStatus] = []
        with writing(self._engine, synced=self._synced) as connection:
            for one in arrived:
                if isinstance(one.message, RecordBatch):
                    batches.setdefault((one.message.gateway, one.message.boot), []).extend(one.message.records)
                elif isinstance(one.message, GatewayStatus):
                    self._write_status(connection, one.message, retained=one.retained, now_us=now_us)
                    if not one.retained and one.message.outbox_first:
                        said.append(one.message)
                else:
                    refused.append(one.message)
            for (gateway, boot), records in batches.items():
                self._write_records(connection, gateway, boot, records, now_us=now_us)
            for status in said:  # after the records: what came with it is not lost
                stream = self._stream(connection, status.gateway, status.boot)
                if tell_lost(connection, stream, status, now_us=now_us):
                    _write_stream(connection, status.gateway, status.boot, stream, stored=0, duplicates=0)
            self._plant.write(connection)
            write_refused(connection, refused, keep_rows=self._dead_letter_rows, now_us=now_us)
        return [ack for (gateway, boot), records in batches.items() for ack in self._acks(gateway, boot, records)]

    def _acks(self, gateway: str, boot: int, records: Sequence[Numbered]) -> list[RecordsAck]:
        said = acknowledgements(self._streams[gateway, boot], [one.sequence for one in records], at_most=ACK_SINGLES)
        return [RecordsAck(gateway=gateway, boot=boot, through=through, also=also) for through, also in said]

    def _write_status(self, connection: Connection, status: GatewayStatus, *, retained: bool, now_us: int) -> None:
        write_status(connection, status, retained=retained, offline_after_s=self._offline_after_s, now_us=now_us)
        for of_point in status.points:
            self._plant.note_status(connection, status.gateway, of_point, now_us=now_us)

    def _write_records(
        self, connection: Connection, gateway: str, boot: int, records: list[Numbered], *, now_us: int
    ) -> None:
        stream = self._stream(connection, gateway, boot)
        new = [one for one in sorted(records, key=attrgetter("sequence")) if stream.take(one.sequence)]
        windows: list[tuple[int, Health]] = []
        rows: dict[sa.Table, list[dict[str, Any]]] = {}
        for one in new:
            if isinstance(one.record, Health):
                self._plant.note_record(connection, gateway, boot, one.sequence, one.record, now_us=now_us)
                windows.append((one.sequence, one.record))
                continue
            key = {"gateway": gateway, "boot": boot, "sequence": one.sequence}
            row = self._take(connection, key, one.record, stream, now_us=now_us)
            if row is not None:
                rows.setdefault(row[0], []).append(_fitting(row[0], {**key, **row[1]}))
        if windows:
            write_rows(connection, (row_of(gateway, boot, *window, now_us=now_us) for window in windows))
            reopen_hours(connection, (window for _, window in windows), now_us=now_us)
        for table, values in rows.items():
            connection.execute(sa.insert(table), values)
        if tables.evidence in rows:
            bound_evidence(connection, (row["point"] for row in rows[tables.evidence]))
        _write_stream(connection, gateway, boot, stream, stored=len(new), duplicates=len(records) - len(new))
        write_gateway(connection, gateway, boot=boot, last_sequence=stream.through, last_seen_us=now_us)

    def _take(
        self, connection: Connection, key: dict[str, Any], record: Rare, stream: StreamOrder, *, now_us: int
    ) -> tuple[sa.Table, dict[str, Any]] | None:
        gateway, boot, sequence = key["gateway"], key["boot"], key["sequence"]
        if isinstance(record, Gap):
            if record.what == "records":
                stream.give_up(record.first, record.last)
            values = record.model_dump(exclude={"kind", "version"})
            return tables.gap, {**values, "count": min(record.count, LARGEST)}
        if isinstance(record, CommandResult):
            record_answer(connection, gateway, record, now_us=now_us)
            return None
        self._plant.note_record(connection, gateway, boot, sequence, record, now_us=now_us)
        if isinstance(record, Evidence):
            return tables.evidence, evidence_row(record)
        if isinstance(record, PointNotice):
            found = open_case(connection, machine_of(record.point))
            if found is not None:
                entry = Entry("notice", SITE, f"{record.point}: {record.text}")
                write_entries(connection, found[0], [entry], now_us=now_us)
            return None
        case_id = take_alarm(connection, gateway, boot, sequence, record, now_us=now_us)
        values = record.model_dump(include={"point", "alarm_id", "state", "priority", "measured_at_us", "reason"})
        place = {"machine": machine_of(record.point), "received_at_us": now_us, "case_id": case_id}
        detail = record.model_dump(mode="json")
        # At once, not with the others: the next change of this point looks back at it.
        connection.execute(sa.insert(tables.alarm).values(**key, **values, **place, detail=detail))
        return None

    def _stream(self, connection: Connection, gateway: str, boot: int) -> StreamOrder:
        if (gateway, boot) not in self._streams:
            self._streams[gateway, boot] = _read_stream(connection, gateway, boot)
        return self._streams[gateway, boot]

    def _store_piecemeal(self, arrived: Arrived) -> list[RecordsAck]:
        message = arrived.message
        if not isinstance(message, RecordBatch):
            return self._store_or_bury(arrived)
        pieces = [Arrived(message.model_copy(update={"records": (one,)})) for one in message.records]
        return [ack for piece in pieces for ack in self._store_or_bury(piece)]

    def _store_or_bury(self, arrived: Arrived) -> list[RecordsAck]:
        try:
            return self._store([arrived])
        except sa.exc.OperationalError:
            raise
        except _NOT_STORABLE as error:
            return self._bury(arrived.message, str(error.__cause__ or error))

    def _bury(self, message: RecordBatch | GatewayStatus | Refused, problem: str) -> list[RecordsAck]:
        """Give up a message that no column takes, and pass over its place: it would come again for ever."""
        if isinstance(message, Refused):
            event(log, logging.ERROR, "dead_letter_not_storable", topic=message.topic[:100], reason=message.reason)
            return []
        letter = refused_by_database(f"gateway {message.gateway}", message.model_dump_json().encode(), problem)
        with writing(self._engine) as connection:
            write_refused(connection, [letter], keep_rows=self._dead_letter_rows, now_us=self._now_us())
            if not isinstance(message, RecordBatch):
                return []
            stream = self._stream(connection, message.gateway, message.boot)
            for one in message.records:
                stream.take(one.sequence)
            _write_stream(connection, message.gateway, message.boot, stream, stored=0, duplicates=0)
        return self._acks(message.gateway, message.boot, message.records)


def _fitting(table: sa.Table, row: dict[str, Any]) -> dict[str, Any]:
    """Cut words to the width of their column: PostgreSQL would refuse the row."""
    widths = {c.name: c.type.length for c in table.c if isinstance(c.type, sa.String) and c.type.length}
    return {name: value[: widths[name]] if name in widths and value else value for name, value in row.items()}


def _read_stream(connection: Connection, gateway: str, boot: int) -> StreamOrder:
    uplink, ahead, gap = tables.uplink, tables.uplink_ahead, tables.gap
    row = connection.execute(
        sa.select(uplink.c.through).where(uplink.c.gateway == gateway, uplink.c.boot == boot)
    ).one_or_none()
    if row is None:
        connection.execute(sa.insert(uplink).values(gateway=gateway, boot=boot, through=-1, stored=0, duplicates=0))
        return StreamOrder()
    singles = sa.select(ahead.c.sequence).where(ahead.c.gateway == gateway, ahead.c.boot == boot)
    stream = StreamOrder(row.through, set(connection.execute(singles).scalars()))
    ranges = sa.select(gap.c.first, gap.c.last).where(
        gap.c.gateway == gateway, gap.c.boot == boot, gap.c.what == "records", gap.c.last > row.through
    )
    for first, last in connection.execute(ranges):
        stream.give_up(first, last)
    return stream


def _write_stream(
    connection: Connection, gateway: str, boot: int, stream: StreamOrder, *, stored: int, duplicates: int
) -> None:
    stream.advance()
    ahead, uplink = tables.uplink_ahead, tables.uplink
    of_stream = (ahead.c.gateway == gateway) & (ahead.c.boot == boot)
    known = set(connection.execute(sa.select(ahead.c.sequence).where(of_stream)).scalars())
    if known - stream.ahead:
        connection.execute(sa.delete(ahead).where(of_stream, ahead.c.sequence <= stream.through))
    if fresh := sorted(stream.ahead - known):
        connection.execute(
            sa.insert(ahead), [{"gateway": gateway, "boot": boot, "sequence": sequence} for sequence in fresh]
        )
    connection.execute(
        sa.update(uplink)
        .where(uplink.c.gateway == gateway, uplink.c.boot == boot)
        .values(through=stream.through, stored=uplink.c.stored + stored, duplicates=uplink.c.duplicates + duplicates)
    )
