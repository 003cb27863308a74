"""Hours are summed up once, as the captures say, and anew when one comes late; evidence is bounded."""

from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.evidence_shelf import EVIDENCE_KEPT, WAVEFORMS_KEPT
from aggregator.historian import Arrived, Historian
from aggregator.history import HOUR_US, HOURS_AT_ONCE, LATE_US
from dashboard.queries.machine import QUANTITIES, read_buckets
from schemas.messages import AxisWaveform, Evidence, RecordBatch, Series
from schemas.site_tables import evidence, health, history_hour, history_mark
from tests.support import gateway_talk as talk

START_US = 1_790_000_000_000_000 // HOUR_US * HOUR_US
QUARTER_US = HOUR_US // 4
VALUES = np.arange(64, dtype=np.float32)


class Clock:
    """The site's time; tests move it."""

    def __init__(self) -> None:
        self.now_us = START_US

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def historian(engine: Engine, clock: Clock) -> Historian:
    return Historian(engine, now_us=clock)


def told(*captures: tuple[int, int, float], point: str = talk.POINT) -> RecordBatch:
    """Captures as (sequence, quarter of an hour since the start, score)."""
    return talk.batch(
        *(
            (number, talk.health(number, point=point, measured_at_us=START_US + quarter * QUARTER_US, score=score))
            for number, quarter, score in captures
        )
    )


def hours(engine: Engine) -> list[tuple[int, int, float, float]]:
    c = history_hour.c
    with engine.connect() as connection:
        rows = connection.execute(sa.select(c.hour, c.captures, c.score_lowest, c.score_highest).order_by(c.hour))
        return [(row[0] - START_US // HOUR_US, *row[1:]) for row in rows]


def sum_all(historian: Historian) -> None:
    while historian.sum_history():
        pass


def test_full_hours_have_the_extremes_of_their_captures(historian: Historian, engine: Engine, clock: Clock) -> None:
    historian.store([Arrived(told((0, 0, 0.4), (1, 1, 0.9), (2, 4, 0.2), (3, 9, 0.7)))])
    clock.now_us = START_US + 2 * HOUR_US + LATE_US
    sum_all(historian)
    assert hours(engine) == [(0, 2, 0.4, 0.9), (1, 1, 0.2, 0.2)]  # the third hour is not full yet


def test_capture_that_comes_a_day_late_has_its_hour_summed_anew(
    historian: Historian, engine: Engine, clock: Clock
) -> None:
    historian.store([Arrived(told((0, 0, 0.4), (1, 5, 0.5)))])
    clock.now_us = START_US + 24 * HOUR_US
    sum_all(historian)
    historian.store([Arrived(told((2, 2, 3.0)))])
    sum_all(historian)
    assert hours(engine) == [(0, 2, 0.4, 3.0), (1, 1, 0.5, 0.5)]


def test_summing_twice_changes_nothing_and_then_has_nothing_to_do(
    historian: Historian, engine: Engine, clock: Clock
) -> None:
    historian.store([Arrived(told((0, 0, 0.4)))])
    clock.now_us = START_US + 24 * HOUR_US
    sum_all(historian)
    before = hours(engine)
    assert historian.sum_history() == 0
    assert hours(engine) == before


def test_long_silence_is_passed_over_in_one_step(historian: Historian, engine: Engine, clock: Clock) -> None:
    year = 4 * 24 * 365
    historian.store([Arrived(told((0, 0, 0.4), (1, year, 0.5)))])
    clock.now_us = START_US + year * QUARTER_US + 24 * HOUR_US
    steps = 0
    while historian.sum_history():
        steps += 1
    assert [found[0] for found in hours(engine)] == [0, year // 4]
    assert steps <= 3
    assert steps * HOURS_AT_ONCE < year // 4


def test_a_year_reads_the_same_from_hours_as_from_captures(historian: Historian, engine: Engine, clock: Clock) -> None:
    days = 40
    captures = [(n, n, float(n * 7919 % 101) / 10.0) for n in range(days * 96)]
    for first in range(0, len(captures), 500):
        historian.store([Arrived(told(*captures[first : first + 500]))])
    until_us = START_US + days * 24 * HOUR_US
    clock.now_us = until_us

    def read() -> list[Any]:
        with engine.connect() as connection:
            return read_buckets(connection, talk.POINT, since_us=START_US, until_us=until_us)

    from_captures = read()
    sum_all(historian)
    with engine.begin() as connection:  # what is summed up is not read from the captures any more
        mark = connection.execute(sa.select(history_mark.c.summed_until_us)).scalar_one()
        connection.execute(sa.delete(health).where(health.c.measured_at_us < mark))
    from_hours = read()
    column = QUANTITIES.index("score")
    assert sum(one.captures for one in from_hours) == sum(one.captures for one in from_captures) == len(captures)
    assert max(one.highest[column] for one in from_hours) == max(one.highest[column] for one in from_captures)
    assert min(one.lowest[column] for one in from_hours) == min(one.lowest[column] for one in from_captures)
    assert len(from_hours) <= 720


def spectra(sequence: int, *, with_waveform: bool) -> Evidence:
    series = Series.pack(VALUES, start=0.0, step=1.0, axis_unit="Hz", value_unit="g")
    waveform = Series.pack(VALUES, start=0.0, step=0.001, axis_unit="s", value_unit="g")
    return Evidence(
        point=talk.POINT, capture_boot=1, capture_sequence=sequence, measured_at_us=1_000_000 * sequence, why="asked",
        axis=0, rpm=None, spectrum=series, envelope=series, envelope_band_hz=(1.0, 2.0),
        waveform=waveform if with_waveform else None,
        other_axes=(AxisWaveform.pack(np.arange(64, dtype=np.int16), axis=1, scale_g=0.01, step_s=0.001),)
        if with_waveform else (),
    )  # fmt: skip


def test_waveforms_beyond_the_bound_are_given_up_oldest_first_and_their_spectra_stay(
    historian: Historian, engine: Engine
) -> None:
    many = WAVEFORMS_KEPT + 3
    historian.store([Arrived(talk.batch(*((n, spectra(n, with_waveform=True)) for n in range(many))))])
    with engine.connect() as connection:
        rows = connection.execute(sa.select(evidence).order_by(evidence.c.sequence)).all()
    assert [row.waveform_samples for row in rows] == [None] * 3 + [64] * WAVEFORMS_KEPT
    assert Evidence.model_validate(rows[0].detail).waveform is None
    assert Evidence.model_validate(rows[0].detail).other_axes == ()
    assert Evidence.model_validate(rows[-1].detail).waveform is not None


def test_evidence_beyond_the_bound_is_given_up_oldest_first(historian: Historian, engine: Engine) -> None:
    for first in range(0, EVIDENCE_KEPT + 50, 50):
        records = ((n, spectra(n, with_waveform=False)) for n in range(first, first + 50))
        historian.store([Arrived(talk.batch(*records))])
    with engine.connect() as connection:
        kept = connection.execute(sa.select(evidence.c.sequence).order_by(evidence.c.sequence)).scalars().all()
    assert (len(kept), kept[0]) == (EVIDENCE_KEPT, 50)


def test_waveform_that_cannot_be_read_is_stored_as_none_to_show(historian: Historian, engine: Engine) -> None:
    broken = spectra(0, with_waveform=True)
    assert broken.waveform is not None
    damaged = broken.model_copy(update={"waveform": broken.waveform.model_copy(update={"values": "no series"})})
    assert historian.store([Arrived(talk.batch((0, damaged)))])
    with engine.connect() as connection:
        assert connection.execute(sa.select(evidence.c.waveform_samples)).scalars().all() == [None]
