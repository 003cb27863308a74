"""Raw captures on disk: what was appended is read, a torn end is cut off, and damage is told."""

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_agent.errors import StoreError
from gateway_agent.segments import Place, SegmentLog

ENTRY_HEAD = 8


def open_log(folder: Path, segment_bytes: int = 1000, max_bytes: int = 3000) -> SegmentLog:
    return SegmentLog(folder, segment_bytes=segment_bytes, max_bytes=max_bytes)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SegmentLog]:
    log = open_log(tmp_path)
    yield log
    log.close()


SMALL = st.binary(min_size=1, max_size=60)
LARGE = st.tuples(st.integers(20_000, 90_000), st.integers(0, 255)).map(lambda of: bytes([of[1]]) * of[0])


@settings(deadline=None)
@given(st.lists(st.lists(SMALL | LARGE, max_size=4), max_size=10))
def test_every_entry_is_read_back_now_and_after_a_restart(batches: list[list[bytes]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        log = open_log(Path(name), segment_bytes=100, max_bytes=1 << 20)
        places = [(place, entry) for batch in batches for place, entry in zip(log.append(batch), batch, strict=True)]
        assert all(log.read(place) == entry for place, entry in places)
        log.close()
        again = open_log(Path(name), segment_bytes=100, max_bytes=1 << 20)
        assert all(again.read(place) == entry for place, entry in places)
        assert again.total_bytes == sum(path.stat().st_size for path in Path(name).iterdir())
        again.close()


@pytest.mark.parametrize("cut", range(1, ENTRY_HEAD + 50))
def test_an_entry_torn_anywhere_by_a_power_cut_is_cut_off_and_the_log_goes_on(tmp_path: Path, cut: int) -> None:
    log = open_log(tmp_path)
    first, torn = log.append([b"a" * 50])[0], log.append([b"b" * 50])[0]
    log.close()
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-cut])
    log = open_log(tmp_path)
    assert log.total_bytes == ENTRY_HEAD + 50
    assert log.append([b"c" * 50]) == [torn]
    assert (log.read(first), log.read(torn)) == (b"a" * 50, b"c" * 50)
    log.close()


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "file system without"])
@pytest.mark.parametrize("cut", [1, 4095, 4096, 8000, 49_000, 49_008, 49_100, 49_104])
def test_large_entries_begin_with_a_block_and_a_torn_one_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int, direct: bool
) -> None:
    if not direct:
        monkeypatch.delattr(os, "O_DIRECT")
    log = open_log(tmp_path, segment_bytes=1 << 20, max_bytes=1 << 20)
    small, *good = log.append([b"s" * 50]) + log.append([b"a" * 49_000, b"b" * 3000])
    torn = log.append([b"c" * 49_000])[0]
    assert good[0].offset == torn.offset - 52 * 1024 == 4096 + ENTRY_HEAD
    log.close()
    path = next(tmp_path.iterdir())
    end = torn.offset + torn.length
    assert path.stat().st_size == (4096 * -(-end // 4096) if direct else end)
    path.write_bytes(path.read_bytes()[: end - cut])
    log = open_log(tmp_path, segment_bytes=1 << 20, max_bytes=1 << 20)
    assert log.total_bytes == good[1].offset + 3000
    again = log.append([b"d" * 49_000]) + log.append([b"e"])
    assert again[0] == torn
    assert [log.read(place) for place in [small, *good, *again]] == [
        b"s" * 50, b"a" * 49_000, b"b" * 3000, b"d" * 49_000, b"e",
    ]  # fmt: skip
    log.close()


def test_large_entries_taken_back_leave_nothing_that_a_restart_finds(tmp_path: Path) -> None:
    log = open_log(tmp_path, segment_bytes=1 << 20, max_bytes=1 << 20)
    kept = log.append([b"kept"])
    log.take_back(log.append([b"x" * 100_000]))
    kept += log.append([b"y" * 100_000]) + log.append([b"z"])
    log.close()
    log = open_log(tmp_path, segment_bytes=1 << 20, max_bytes=1 << 20)
    assert [log.read(place) for place in kept] == [b"kept", b"y" * 100_000, b"z"]
    log.close()


def test_more_than_fits_the_stage_is_written_whole(log: SegmentLog) -> None:
    entries = [bytes([n]) * 700_000 for n in range(5)]
    assert [log.read(place) for place in log.append(entries)] == entries


def test_garbage_behind_the_last_entry_is_cut_off(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    place = log.append([b"a" * 50])[0]
    log.close()
    with next(tmp_path.iterdir()).open("ab") as file:
        file.write(b"\xff" * 100)
    log = open_log(tmp_path)
    assert log.total_bytes == ENTRY_HEAD + 50
    assert log.read(place) == b"a" * 50
    log.close()


def test_a_changed_byte_is_told_and_never_handed_out(log: SegmentLog, tmp_path: Path) -> None:
    place = log.append([b"a" * 50])[0]
    path = next(tmp_path.iterdir())
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="segment 0 is damaged at byte 8"):
        log.read(place)


@pytest.mark.parametrize("place", [Place(0, 4, 50), Place(0, 8, 49), Place(0, 8, 51), Place(0, 5000, 50)])
def test_a_place_where_nothing_was_written_gives_nothing(log: SegmentLog, place: Place) -> None:
    log.append([b"a" * 50])
    with pytest.raises((StoreError, OSError)):
        log.read(place)


def drop_surplus(log: SegmentLog) -> list[int]:
    dropped = log.surplus()
    for segment in dropped:
        log.drop(segment)
    return dropped


def test_the_oldest_segments_give_way_and_their_entries_are_gone(log: SegmentLog) -> None:
    places = [log.append([bytes(990)])[0] for _ in range(6)]
    dropped = drop_surplus(log)
    assert dropped == [0, 1, 2][: len(dropped)]
    assert log.total_bytes <= 3000
    assert [log.read(place) is None for place in places] == [place.segment in dropped for place in places]
    assert log.oldest == len(dropped)


def test_the_segment_under_the_pen_is_never_given_up(log: SegmentLog) -> None:
    place = log.append([bytes(5000)])[0]
    assert log.surplus(at_least=5) == []
    log.drop(place.segment)
    assert log.read(place) is not None


def test_what_is_taken_back_leaves_no_trace(log: SegmentLog) -> None:
    first = log.append([b"first"])
    size = log.total_bytes
    log.take_back(log.append([b"second", b"third"]))
    assert log.total_bytes == size
    again = log.append([b"fourth"])
    assert [log.read(place) for place in first + again] == [b"first", b"fourth"]
    log.take_back([])


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """No file of this process may grow beyond 2,000 bytes: what a full disk does to `flush`, without one.

    Around one call and no longer: the limit is also the test report's, where that goes to a file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_finds_no_room_counts_for_nothing_and_the_next_one_that_fits_goes_through(tmp_path: Path) -> None:
    """The failed flush once failed again while closing, and every append after it met a closed file."""
    log = open_log(tmp_path, segment_bytes=1 << 20, max_bytes=1 << 20)
    first = log.append([b"a" * 500])[0]
    for _ in range(2):
        with small_files(), pytest.raises(OSError, match="File too large") as caught:
            log.append([b"b" * 600] * 4)
        assert caught.value.errno == errno.EFBIG
        assert log.total_bytes == next(tmp_path.iterdir()).stat().st_size == 508
    with small_files(), pytest.raises(OSError, match=r"File too large|less than a block"):
        log.append([b"b" * 60_000])
    assert log.total_bytes == next(tmp_path.iterdir()).stat().st_size == 508
    with small_files():
        second = log.append([b"c" * 700])[0]
    assert (log.read(first), log.read(second)) == (b"a" * 500, b"c" * 700)
    log.close()


def test_numbers_of_segments_never_come_again_after_a_restart(tmp_path: Path) -> None:
    log = open_log(tmp_path, max_bytes=1)
    for _ in range(4):
        log.append([bytes(1500)])
    drop_surplus(log)
    log.close()
    log = open_log(tmp_path, max_bytes=1)
    assert log.append([b"x"])[0].segment == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000000003.seg", "0000000004.seg"]
    log.close()
