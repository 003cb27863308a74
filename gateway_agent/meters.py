"""This file knows what a running gateway agent measures of itself, at its ports: how large, how long, how often.

An observation costs under a microsecond and takes no lock; each meter is written by one thread.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway_agent.batch import Batch
from gateway_agent.commissioned import Aside
from gateway_agent.disk import Disk
from gateway_agent.intake import Taken
from gateway_agent.judge import Judge, Judged, Known, Recall
from gateway_agent.point_monitor import Seen
from gateway_agent.scoring import Model
from gateway_agent.settings import GatewaySettings, StoreSettings
from gateway_agent.store import Store
from schemas.metrics import COUNT_BOUNDS, DURATION_BOUNDS_S, Family, Histogram

PREFIX = "undertone_gateway_"


def _durations() -> Histogram:
    return Histogram(DURATION_BOUNDS_S)


@dataclass(slots=True)
class Meters:
    """Everything measured since the start."""

    batch_captures: Histogram = field(default_factory=lambda: Histogram(COUNT_BOUNDS))
    lag_s: Histogram = field(default_factory=_durations)
    features_s: Histogram = field(default_factory=_durations)
    inference_s: Histogram = field(default_factory=_durations)
    commit_s: Histogram = field(default_factory=_durations)
    sync_s: Histogram = field(default_factory=_durations)
    connections: Counter[str] = field(default_factory=Counter)
    records_acknowledged: int = 0

    def reconnects(self) -> dict[str, int]:
        """How often each link has come back."""
        return {link: count - 1 for link, count in self.connections.items()}

    def families(self) -> list[Family]:
        """The histograms, as the outside reads them."""
        told = {
            "batch_captures": (self.batch_captures, "Captures in one commit."),
            "lag_seconds": (self.lag_s, "From a capture's arrival to its commit, of the oldest in each commit."),
            "features_seconds": (self.features_s, "Quality and features of one batch."),
            "inference_seconds": (
                self.inference_s,
                "Order, score, verdict and alarm of a batch, after its features.",
            ),
            "commit_seconds": (self.commit_s, "One commit, with what is synced before it."),
            "sync_seconds": (self.sync_s, "One fdatasync of raw captures."),
        }
        return [Family(PREFIX + name, "histogram", text, histogram=one) for name, (one, text) in told.items()]

    def disk(self) -> Disk:
        """The ports of the store, measured."""

        def sync(file: int) -> None:
            began_s = time.perf_counter()
            os.fdatasync(file)
            self.sync_s.observe(time.perf_counter() - began_s)

        return Disk(sync=sync)


class MeteredStore(Store):
    """A store that tells how large its commits are and how long they take."""

    def __init__(self, settings: StoreSettings, meters: Meters, *, wall_us: Callable[[], int]) -> None:
        super().__init__(settings, meters.disk())
        self._meters = meters
        self._wall_us = wall_us

    def commit(self, batch: Batch) -> None:
        """See `Store.commit`; one that fails is not counted."""
        began_s = time.perf_counter()
        super().commit(batch)
        self._meters.commit_s.observe(time.perf_counter() - began_s)
        if batch.captures:
            self._meters.batch_captures.observe(len(batch.captures))
            oldest_us = batch.captures[0].received_at_us  # they are in the order they came
            self._meters.lag_s.observe(max(0.0, (self._wall_us() - oldest_us) / 1e6))


class MeteredJudge(Judge):
    """A judge that tells how long it takes."""

    def __init__(
        self, settings: GatewaySettings, meters: Meters, *, known: Known, recall: Recall, model: Model,
        aside: Aside | None = None,
    ) -> None:  # fmt: skip
        super().__init__(settings, known=known, recall=recall, model=model, aside=aside)
        self._meters = meters

    def look(self, items: Sequence[Taken]) -> list[Seen | None]:
        """See `Judge.look`."""
        began_s = time.perf_counter()
        seen = super().look(items)
        if items:
            self._meters.features_s.observe(time.perf_counter() - began_s)
        return seen

    def conclude(
        self, items: Sequence[Taken], seen: Sequence[Seen | None], *, now_us: int, diagnose_always: bool = False
    ) -> Judged:
        """See `Judge.conclude`."""
        began_s = time.perf_counter()
        judged = super().conclude(items, seen, now_us=now_us, diagnose_always=diagnose_always)
        if items:
            self._meters.inference_s.observe(time.perf_counter() - began_s)
        return judged
