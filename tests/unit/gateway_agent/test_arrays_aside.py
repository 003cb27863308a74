"""What a point seldom needs leaves the memory, and nothing it says or keeps is another for it."""

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gateway_agent.arrays_aside import ArraysAside
from gateway_agent.builtin import builtin_model
from gateway_agent.judge import Judge
from tests.support.captures import AT_US, POINT, faulty, gateway_settings, healthy, taken

READY_AFTER = 10


@pytest.fixture
def aside(tmp_path: Path) -> Iterator[ArraysAside]:
    made = ArraysAside(tmp_path)
    yield made
    made.close()


def lived(judge: Judge, captures: int) -> list[bytes]:
    """What a point says, and its state after every capture."""
    said = []
    for number in range(captures):
        judged = judge.process([taken((healthy if number < 16 else faulty)(number))], now_us=AT_US + number)
        said += [record.model_dump_json().encode() for _, record in judged.batch.records]
        said.append(judge.monitors[POINT].dump())
    return said


def test_a_point_whose_commissioning_lies_aside_says_and_keeps_the_same(aside: ArraysAside) -> None:
    settings = gateway_settings()
    here, there = (Judge(settings, known=lambda _: set(), aside=where) for where in (None, aside))
    assert lived(here, 24) == lived(there, 24)
    assert not there.monitors[POINT].healthy.features.size
    assert not there.monitors[POINT].healthy.levels_db.size
    assert not there.monitors[POINT].healthy.reference.mean.size
    for judge in (here, there):
        judge.use_model(builtin_model())
    assert here.monitors[POINT].dump() == there.monitors[POINT].dump()


def test_what_the_fleet_learns_from_comes_back_from_aside(aside: ArraysAside) -> None:
    settings = gateway_settings()
    here, there = (Judge(settings, known=lambda _: set(), aside=where) for where in (None, aside))
    for judge in (here, there):
        lived(judge, READY_AFTER)
    (one,), (other,) = here.monitors[POINT].sessions(), there.monitors[POINT].sessions()
    assert np.array_equal(one.features, other.features)


def test_a_restored_point_puts_its_commissioning_aside_and_learns_anew_after_maintenance(aside: ArraysAside) -> None:
    judge = Judge(gateway_settings(), known=lambda _: set())
    lived(judge, READY_AFTER)
    again = Judge(gateway_settings(), known=lambda _: set(), aside=aside)
    again.monitor(POINT).restore(judge.monitors[POINT].dump())
    monitor = again.monitors[POINT]
    assert not monitor.healthy.features.size
    assert monitor.dump() == judge.monitors[POINT].dump()
    monitor.maintain(AT_US)
    assert monitor.healthy.count == 0
    again.process([taken(healthy(100))], now_us=AT_US)
    assert monitor.healthy.features.shape[0] == 1


def test_where_the_disk_is_full_an_array_stays_in_memory(aside: ArraysAside, caplog: pytest.LogCaptureFixture) -> None:
    first = aside(np.arange(1000.0))
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))  # no file may grow beyond what is there
    try:
        second = aside(np.arange(500.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    third = aside(np.arange(10, dtype=np.float32).reshape(2, 5))
    assert "array_stays_in_memory" in caplog.text
    assert np.array_equal(first(), np.arange(1000.0))
    assert np.array_equal(second(), np.arange(500.0))
    assert np.array_equal(third(), np.arange(10, dtype=np.float32).reshape(2, 5))
