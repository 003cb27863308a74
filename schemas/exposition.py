"""This file knows prometheus_client, and nobody else does: metrics in the text form that Prometheus reads."""

from collections.abc import Iterable, Iterator
from math import isinf

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from schemas.metrics import Family

CONTENT_TYPE = CONTENT_TYPE_LATEST


def exposition(families: Iterable[Family]) -> bytes:
    """Write metrics down; nothing but what is given, for the registry is of this call alone."""
    registry = CollectorRegistry()
    registry.register(_Given(families))
    return generate_latest(registry)


class _Given:
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        return map(_metric, self._families)


def _metric(family: Family) -> Metric:
    if family.histogram is not None:
        steps = [("+Inf" if isinf(bound) else str(bound), float(n)) for bound, n in family.histogram.cumulative()]
        return HistogramMetricFamily(family.name, family.text, buckets=steps, sum_value=family.histogram.total)
    names = [name for name, _ in family.samples[0][0]] if family.samples else []
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.text, labels=names)
    for labels, value in family.samples:
        metric.add_metric([label for _, label in labels], value)
    return metric
