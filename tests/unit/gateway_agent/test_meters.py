"""What is measured is what happened, and measuring costs next to nothing."""

import timeit
from pathlib import Path

import pytest

from gateway_agent.batch import Batch
from gateway_agent.judge import Judge
from gateway_agent.meters import MeteredJudge, MeteredStore, Meters
from gateway_agent.scoring import StatisticalFallback
from gateway_agent.settings import StoreSettings
from gateway_agent.store import Store
from schemas.metrics import Histogram
from tests.support.captures import AT_US, gateway_settings, healthy, taken


def test_a_batch_leaves_its_size_its_lag_and_how_long_each_part_took(tmp_path: Path) -> None:
    meters = Meters()
    store = MeteredStore(
        StoreSettings(folder=tmp_path, min_free_bytes=0), meters,
        wall_us=lambda: batch.captures[0].received_at_us + 3_000_000,
    )  # fmt: skip
    judge = MeteredJudge(
        gateway_settings(), meters, known=store.knows, recall=lambda _p, _b: (), model=StatisticalFallback()
    )
    batch = judge.process([taken(healthy(n)) for n in range(5)], now_us=AT_US).batch
    store.commit(batch)
    assert (meters.batch_captures.count, meters.batch_captures.total) == (1, 5)
    assert (meters.lag_s.count, meters.lag_s.total) == (1, 3.0)
    for one in (meters.features_s, meters.inference_s, meters.commit_s, meters.sync_s):
        assert one.count == 1
        assert 0 < one.total < 10
    assert meters.sync_s.total < meters.commit_s.total
    judge.process([], now_us=AT_US)
    store.commit(Batch(AT_US, counts=batch.counts))
    assert (meters.inference_s.count, meters.batch_captures.count, meters.commit_s.count) == (1, 1, 2)
    store.close()


def test_values_beyond_the_last_bound_are_counted_and_a_value_on_a_bound_lies_below_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 99.0):
        histogram.observe(value)
    assert histogram.cumulative() == [(1.0, 2), (2.0, 3), (float("inf"), 4)]


def test_measuring_a_batch_costs_less_than_ten_microseconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing else is done; the best of several runs, for others share the machine."""
    meters = Meters()
    store = MeteredStore(StoreSettings(folder=tmp_path, min_free_bytes=0), meters, wall_us=lambda: AT_US)
    judge = MeteredJudge(
        gateway_settings(), meters, known=store.knows, recall=lambda _p, _b: (), model=StatisticalFallback()
    )
    items = [taken(healthy(n)) for n in range(64)]
    judged = judge.process(items, now_us=AT_US)
    monkeypatch.setattr(Store, "commit", lambda *_: None)
    monkeypatch.setattr(Judge, "look", lambda *_: [])
    monkeypatch.setattr(Judge, "conclude", lambda *_, **__: judged)

    def measure_a_batch() -> None:
        store.commit(judge.process(items, now_us=AT_US).batch)

    batches = 1000
    assert min(timeit.repeat(measure_a_batch, number=batches, repeat=7)) / batches < 10e-6
    store.close()
