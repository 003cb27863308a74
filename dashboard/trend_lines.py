"""This file knows how a point's gathered history becomes lines: extremes kept, gaps left open and named."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dashboard.queries.machine import QUANTITIES, Bucket

GAP_INTERVALS = 3.5  # times the usual distance of two captures: a pause nobody planned


def quantity_line(
    buckets: Sequence[Bucket], quantity: str, *, gap_us: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Write the lowest and the highest value of each bucket as a line.

    Args:
        buckets: In order of time.
        quantity: One of `QUANTITIES`.
        gap_us: From this distance on the line is interrupted.

    Returns:
        Times in ms since 1970 and values, of one length; NaN interrupts the line.
    """
    column = QUANTITIES.index(quantity)
    times_ms: list[float] = []
    values: list[float] = []
    before_us: int | None = None
    for bucket in buckets:
        if before_us is not None and bucket.first_us - before_us > gap_us:
            times_ms.append((before_us + bucket.first_us) / 2e3)
            values.append(np.nan)
        low, high = bucket.lowest[column], bucket.highest[column]
        if low is None or high is None:
            times_ms.append(bucket.first_us / 1e3)
            values.append(np.nan)
        else:
            times_ms.append(bucket.first_us / 1e3)
            values.append(low)
            if high != low:
                times_ms.append(max(bucket.last_us, bucket.first_us + 1) / 1e3)
                values.append(high)
        before_us = bucket.last_us
    return np.asarray(times_ms), np.asarray(values)


def gaps_ms(buckets: Sequence[Bucket], *, gap_us: float, until_us: int) -> list[tuple[float, float]]:
    """Name the times without believable captures: pauses, the silence up to now, and captures nobody can believe."""
    gaps: list[tuple[float, float]] = []
    before_us: int | None = None
    for bucket in buckets:
        if bucket.believed == 0:
            continue
        if before_us is not None and bucket.first_us - before_us > gap_us:
            gaps.append((before_us / 1e3, bucket.first_us / 1e3))
        before_us = bucket.last_us
    if before_us is not None and until_us - before_us > gap_us:
        gaps.append((before_us / 1e3, until_us / 1e3))
    return gaps


def gap_width_us(buckets: Sequence[Bucket], interval_s: float | None) -> float:
    """From which distance two captures have a gap between them, given how they were gathered."""
    firsts = [bucket.first_us for bucket in buckets]
    usual_us = float(np.median(np.diff(firsts))) if len(firsts) > 2 else 0.0
    return GAP_INTERVALS * max(usual_us, (interval_s or 0.0) * 1e6, 1.0)
