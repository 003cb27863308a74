"""This file knows what a running aggregator measures of itself: how large its commits are, and how long they take."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy.engine import Engine

from aggregator.historian import Arrived, Historian
from schemas.messages import Health, RecordBatch, RecordsAck
from schemas.metrics import COUNT_BOUNDS, DURATION_BOUNDS_S, Family, Histogram

PREFIX = "undertone_aggregator_"
LAG_BOUNDS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 21_600.0, 86_400.0)


@dataclass(slots=True)
class Meters:
    """Everything measured since the start; written by the historian's thread."""

    batch_messages: Histogram = field(default_factory=lambda: Histogram(COUNT_BOUNDS))
    batch_records: Histogram = field(default_factory=lambda: Histogram((*COUNT_BOUNDS, 1024.0, 2048.0, 4096.0, 8192.0)))
    commit_s: Histogram = field(default_factory=lambda: Histogram(DURATION_BOUNDS_S))
    sync_s: Histogram = field(default_factory=lambda: Histogram(DURATION_BOUNDS_S))
    lag_s: Histogram = field(default_factory=lambda: Histogram(LAG_BOUNDS_S))

    def families(self) -> list[Family]:
        """The histograms, as the outside reads them."""
        told = {
            "batch_messages": (self.batch_messages, "Messages in one commit."),
            "batch_records": (self.batch_records, "Records of gateways in one commit, those that came again included."),
            "commit_seconds": (self.commit_s, "One commit into the database."),
            "sync_seconds": (self.sync_s, "The end of one commit: until the database says that it is on the disk."),
            "lag_seconds": (self.lag_s, "From a capture's end to its result's commit, of the oldest in each commit."),
        }
        return [Family(PREFIX + name, "histogram", text, histogram=one) for name, (one, text) in told.items()]


class MeteredHistorian(Historian):
    """A historian that tells how large its commits are and how long they take."""

    def __init__(
        self, engine: Engine, meters: Meters, *, now_us: Callable[[], int], offline_after_s: float,
        dead_letter_rows: int,
    ) -> None:  # fmt: skip
        super().__init__(
            engine, now_us=now_us, offline_after_s=offline_after_s, dead_letter_rows=dead_letter_rows,
            synced=meters.sync_s.observe,
        )  # fmt: skip
        self._meters = meters
        self._wall_us = now_us

    def store(self, arrived: Sequence[Arrived]) -> list[RecordsAck]:
        """See `Historian.store`; one that fails is not counted."""
        began_s = time.perf_counter()
        acks = super().store(arrived)
        self._meters.commit_s.observe(time.perf_counter() - began_s)
        self._meters.batch_messages.observe(len(arrived))
        records = [
            numbered.record
            for one in arrived
            if isinstance(one.message, RecordBatch)
            for numbered in one.message.records
        ]
        self._meters.batch_records.observe(len(records))
        measured_us = [record.measured_at_us for record in records if isinstance(record, Health)]
        if measured_us:
            self._meters.lag_s.observe(max(0.0, (self._wall_us() - min(measured_us)) / 1e6))
        return acks
