"""This file knows how fast a thousand updates are averaged, beside Flower's FedAvg, and in what memory.

Both average the same updates with the same weights in one process. Flower's strategy gets what it holds when all have
answered, every update as the content of a message; ours reads them one after the other.
"""

import logging
import time
import tracemalloc
from collections.abc import Callable, Iterator
from statistics import median
from types import SimpleNamespace

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.server.strategy.aggregate import aggregate
from flwr.serverapp.strategy import FedAvg
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from numpy.typing import NDArray

from aggregator.merge.mean import weighted_mean
from aggregator.merge.validate import Base, Limits, Update, validate
from benchmarks.figures import Figure

UPDATES, PARAMETERS = 1000, 50_000
TARGET = 4.0
MOST_GROWTH = 1.1  # of the peak, from a tenth of the updates to all
MOST_DIFFERENCE = 1e-5  # Flower sums in float32
REPEATS = 5
WEIGHT = "num-examples"

Delta = NDArray[np.float32]


def merge_speed_ratio() -> Figure:
    """Time of Flower's FedAvg over ours; not measured when the two disagree, or when our memory grows."""
    draw = np.random.default_rng(0)
    updates = [(draw.standard_normal(PARAMETERS, np.float32), 1.0 + number % 7) for number in range(UPDATES)]
    records = [
        RecordDict({"theta": ArrayRecord({"theta": Array(delta)}), "metrics": MetricRecord({WEIGHT: weight})})
        for delta, weight in updates
    ]
    messages = [SimpleNamespace(content=record, has_error=lambda: False) for record in records]
    received = [Update(str(number), 1, delta, weight) for number, (delta, weight) in enumerate(updates)]
    layers = [([delta], weight) for delta, weight in updates]
    strategy = FedAvg()
    logging.getLogger("flwr").setLevel(logging.WARNING)
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: weighted_mean(iter(updates)),
        "ours with validation": lambda: _validated_mean(received),
        "flower": lambda: strategy.aggregate_train(1, messages),  # type: ignore[arg-type]  # it asks these for no more
        "its average alone": lambda: aggregate_arrayrecords(records, WEIGHT),
        "its older strategy's": lambda: aggregate(layers),  # type: ignore[arg-type]  # weights are counts there
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            seconds[name].append(_seconds(way))
    repeats = tuple(other / one for one, other in zip(seconds["ours"], seconds["flower"], strict=True))
    few, many = _peak_bytes(UPDATES // 10), _peak_bytes(UPDATES)
    theirs = aggregate_arrayrecords(records, WEIGHT)["theta"].numpy()
    difference = float(np.abs(theirs - weighted_mean(iter(updates))).max())
    times = ", ".join(f"{name} {1e3 * median(each):.0f}" for name, each in seconds.items())
    note = (
        f"{UPDATES} updates of {PARAMETERS} float32 parameters; ms: {times}; results differ by {difference:.1e}; "
        f"our peak {few / 1e6:.2f} MB for {UPDATES // 10} updates and {many / 1e6:.2f} MB for {UPDATES}"
    )
    holds = difference <= MOST_DIFFERENCE and many <= MOST_GROWTH * few
    ours_s, other_s = median(seconds["ours"]), median(seconds["flower"])
    return Figure(
        "merge_speed_ratio", median(repeats) if holds else None, "", TARGET, "above", ours_s, other_s, repeats, note
    )


def _validated_mean(received: list[Update]) -> NDArray[np.float64]:
    base, limits = Base(1, PARAMETERS), Limits()
    judged = (validate(update, base, limits) for update in received)
    return weighted_mean((update.delta, update.weight) for update in judged if isinstance(update, Update))


def _peak_bytes(count: int) -> int:
    """Most memory in use while so many updates are averaged as they come."""

    def stream() -> Iterator[tuple[Delta, float]]:
        for number in range(count):
            yield np.full(PARAMETERS, number, np.float32), 1.0

    tracemalloc.start()
    weighted_mean(stream())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.process_time()
    work()
    return time.process_time() - began_s
