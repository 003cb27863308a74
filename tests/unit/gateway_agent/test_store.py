"""One commit makes a batch true or does nothing; what waits for the site is deleted only when the site has it."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DatabaseError, IntegrityError

from gateway_agent.batch import BULK, NORMAL, URGENT, Batch, CaptureRow, DeadLetter
from gateway_agent.errors import StoreError, StoreFull
from gateway_agent.settings import StoreSettings
from gateway_agent.store import Store, read_only
from gateway_agent.store_retention import DEAD_LETTERS_KEPT
from gateway_agent.store_tables import capture_table, dead_letter_table
from schemas.messages import Gap
from tests.support.gateway_talk import alarm, health

MB = 1 << 20


def open_store(folder: Path, **changes: Any) -> Store:
    return Store(StoreSettings(folder=folder / "var", **changes))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path, min_free_bytes=0)
    yield store
    store.close()


def row(
    sequence: int, *, point: str = "pump-07/de", boot: int = 1, raw: bytes = b"raw", healthy: bool = True
) -> CaptureRow:
    return CaptureRow(
        point, boot, sequence, 1_000, 2_000, "ok", healthy, 0.5, b"features", "{}", raw + b"%d" % sequence
    )


def batch(*captures: CaptureRow, **more: Any) -> Batch:
    return Batch(5_000, captures=list(captures), **more)


def healths(count: int, priority: int = NORMAL) -> list[tuple[int, Any]]:
    return [(priority, health(n)) for n in range(count)]


def test_everything_of_a_batch_is_true_after_the_commit(store: Store) -> None:
    letter = DeadLetter("ut/v1/x", "bad_crc", "checksum does not fit", b"?" * 1000, 7)
    store.commit(
        batch(
            row(0), row(1), records=[(NORMAL, health(0))], point_states={"pump-07/de": b"state"}, dead_letters=[letter],
            counts=Counter({"captures_duplicate": 2}), commands_done=["0" * 32],
        )
    )  # fmt: skip
    assert store.knows([("pump-07/de", 1, n) for n in range(3)]) == {("pump-07/de", 1, 0), ("pump-07/de", 1, 1)}
    assert store.raw_capture("pump-07/de", 1, 1) == b"raw1"
    assert store.newest_capture("pump-07/de") == (1, 1)
    assert store.healthy_features("pump-07/de", 5) == [b"features"] * 2
    assert store.point_states() == {"pump-07/de": b"state"}
    assert store.counts() == {"captures_duplicate": 2, "dead:bad_crc": 1}
    assert store.command_was_done("0" * 32)
    assert not store.command_was_done("1" * 32)
    assert [(w.sequence, w.kind) for w in store.waiting(10)] == [(0, "health")]
    assert store.outbox_state() == (1, 5_000)
    assert store.captures_stored() == 2


def test_without_raw_captures_results_are_kept_and_nothing_of_a_waveform(tmp_path: Path) -> None:
    store = Store(StoreSettings(folder=tmp_path, keep_raw=False))
    store.commit(batch(row(0), row(1), records=[(NORMAL, health(0))]))
    assert (store.captures_stored(), store.raw_capture("pump-07/de", 1, 1), store.segments.total_bytes) == (2, None, 0)
    assert store.healthy_features("pump-07/de", 5) == [b"features"] * 2
    store.close()


def test_a_commit_that_fails_in_the_database_leaves_nothing_behind_not_even_raw_bytes(store: Store) -> None:
    store.commit(batch(row(0)))
    size = store.segments.total_bytes
    failing = batch(row(1), row(0), records=healths(3), counts=Counter(x=1), point_states={"p/q": b"s"})
    for _ in range(3):
        with pytest.raises(IntegrityError):
            store.commit(failing)
    assert store.captures_stored() == 1
    assert store.outbox_state()[0] == 0
    assert store.counts() == {}
    assert store.point_states() == {}
    assert store.segments.total_bytes == size
    store.commit(batch(row(1)))
    assert store.raw_capture("pump-07/de", 1, 1) == b"raw1"


def test_the_same_capture_twice_is_refused_by_the_database_itself(store: Store) -> None:
    store.commit(batch(row(0), row(0, boot=2), row(0, point="pump-07/nde")))
    with pytest.raises(IntegrityError):
        store.commit(batch(row(0)))


def test_reopening_continues_with_the_same_name_and_the_next_numbers(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    boot = store.boot
    store.commit(batch(row(0), records=healths(3)))
    store.forget(2, [])
    store.close()
    store = open_store(tmp_path)
    assert store.boot == boot
    store.commit(batch(row(1), records=healths(1)))
    assert [w.sequence for w in store.waiting(10)] == [3]
    assert store.captures_stored() == 2
    assert [store.raw_capture("pump-07/de", 1, n) for n in (0, 1)] == [b"raw0", b"raw1"]
    store.close()


def test_another_disk_has_another_name(tmp_path: Path) -> None:
    stores = [open_store(tmp_path / name) for name in "ab"]
    assert stores[0].boot != stores[1].boot
    for store in stores:
        store.close()


def test_urgent_records_go_first_then_health_then_evidence_each_in_order(store: Store) -> None:
    store.commit(
        batch(
            records=[(BULK, health(0)), (NORMAL, health(1)), (URGENT, alarm()), (NORMAL, health(2)), (URGENT, alarm())]
        )
    )
    assert [w.sequence for w in store.waiting(10)] == [2, 4, 1, 3, 0]
    assert [w.sequence for w in store.waiting(2, besides=[2, 1])] == [4, 3]


@settings(max_examples=25, deadline=None)
@given(st.integers(-1, 12), st.lists(st.integers(0, 15), max_size=6))
def test_the_site_forgets_up_to_a_number_and_singly(through: int, also: list[int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        store = open_store(Path(name), min_free_bytes=0)
        store.commit(batch(records=healths(10)))
        gone = {n for n in range(10) if n <= through or n in also}
        assert store.forget(through, also) == len(gone)
        assert [w.sequence for w in store.waiting(20)] == [n for n in range(10) if n not in gone]
        assert store._outbox_bytes == sum(len(w.body) for w in store.waiting(20))
        store.close()


def test_more_single_acknowledgements_than_a_statement_takes_are_taken(store: Store) -> None:
    store.commit(batch(records=healths(5)))
    assert store.forget(-1, range(1, 40_000)) == 4


def full_outbox(tmp_path: Path, count: int = 4000) -> Store:
    """An outbox of 1 MB into which more was put than it holds: health, evidence, and alarms between."""
    store = open_store(tmp_path, outbox_bytes=MB, min_free_bytes=0)
    records = [
        (URGENT, alarm()) if n % 100 == 50 else (BULK if n % 10 == 0 else NORMAL, health(n)) for n in range(count)
    ]
    for start in range(0, count, 500):
        store.commit(batch(records=records[start : start + 500]))
    return store


def test_a_full_outbox_gives_up_evidence_and_the_oldest_health_and_says_exactly_what(tmp_path: Path) -> None:
    store = full_outbox(tmp_path)
    waiting = store.waiting(10_000)
    here = {w.sequence for w in waiting if w.kind != "gap"}
    gaps = [Gap.model_validate_json(w.body) for w in waiting if w.kind == "gap"]
    told = [n for gap in gaps for n in range(gap.first, gap.last + 1)]
    numbers_of_gaps = {w.sequence for w in waiting if w.kind == "gap"}
    assert gaps
    assert len(told) == len(set(told))
    assert set(told) | here | numbers_of_gaps == set(range(max(here | numbers_of_gaps) + 1))
    assert not set(told) & here
    assert all(gap.count == gap.last - gap.first + 1 for gap in gaps)
    assert all((gap.what, gap.source, gap.reason) == ("records", "outbox", "outbox was full") for gap in gaps)
    assert store._outbox_bytes == sum(len(w.body) for w in waiting) <= MB
    store.close()


def test_alarms_are_never_given_up(tmp_path: Path) -> None:
    store = full_outbox(tmp_path)
    assert sum(w.kind == "alarm" for w in store.waiting(10_000)) == 40
    store.close()


def test_an_outbox_of_nothing_but_alarms_grows_beyond_its_bound(tmp_path: Path) -> None:
    store = open_store(tmp_path, outbox_bytes=MB, min_free_bytes=0)
    for _ in range(4):
        store.commit(batch(records=[(URGENT, alarm(reason="x" * 3000))] * 100))
    assert store.outbox_state()[0] == 400
    store.close()


def test_a_record_that_can_never_be_sent_is_replaced_by_a_gap(store: Store) -> None:
    store.commit(batch(records=healths(3)))
    store.give_up(1, "evidence of 9999999 bytes fits no packet")
    store.give_up(77, "was never there")
    waiting = store.waiting(10)
    assert [(w.sequence, w.kind) for w in waiting] == [(3, "gap"), (0, "health"), (2, "health")]
    gap = Gap.model_validate_json(waiting[0].body)
    assert (gap.first, gap.last, gap.count, gap.at_us) == (1, 1, 1, 5_000)
    assert store._outbox_bytes == sum(len(w.body) for w in waiting)


def test_the_ring_of_raw_captures_gives_up_the_oldest_and_results_stay(tmp_path: Path) -> None:
    store = open_store(tmp_path, raw_bytes=MB, segment_bytes=1 << 16, min_free_bytes=0)
    for n in range(30):
        store.commit(batch(row(n, raw=bytes(66_000))))
    here = [store.raw_capture("pump-07/de", 1, n) is not None for n in range(30)]
    assert here == sorted(here)
    assert 5 < sum(here) < 20
    assert store.captures_stored() == 30
    assert store.newest_capture("pump-07/de") == (1, 29)
    store.close()


def test_dead_letters_are_all_counted_and_the_newest_kept(store: Store) -> None:
    letter = DeadLetter("t" * 300, "bad_crc", "x", b"?" * 300, 7)
    for _ in range(12):
        store.commit(batch(dead_letters=[letter] * 100))
    assert store.counts() == {"dead:bad_crc": 1200}
    rows = store._all(sa.select(dead_letter_table.c.id, dead_letter_table.c.head, dead_letter_table.c.topic))
    assert len(rows) == DEAD_LETTERS_KEPT
    assert rows[-1].id == 1200
    assert (len(rows[0].head), len(rows[0].topic)) == (256, 256)


def test_too_little_free_space_refuses_captures_and_nothing_else(tmp_path: Path) -> None:
    store = open_store(tmp_path, min_free_bytes=1 << 60)
    with pytest.raises(StoreFull, match="min_free_bytes"):
        store.commit(batch(row(0)))
    store.commit(batch(records=healths(1)))
    assert (store.captures_stored(), store.outbox_state()[0]) == (0, 1)
    store.close()


def test_a_full_database_refuses_the_batch_whole_and_takes_it_when_there_is_room(store: Store) -> None:
    size = store.segments.total_bytes
    with store._lock:
        pages = store._connection.exec_driver_sql("PRAGMA page_count").scalar()
        store._connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        store._connection.rollback()
    big = batch(row(0), records=[(URGENT, alarm(reason="x" * 5000))] * 20)
    for _ in range(2):
        with pytest.raises(StoreFull, match="captures wait at the broker"):
            store.commit(big)
    with pytest.raises(StoreFull):
        store.remember("status", "x" * 100_000)
    assert (store.captures_stored(), store.outbox_state()[0], store.segments.total_bytes) == (0, 0, size)
    store._connection.exec_driver_sql("PRAGMA max_page_count=100000")
    store._connection.rollback()
    store.commit(big)
    assert (store.captures_stored(), store.outbox_state()[0]) == (1, 20)
    assert store._outbox_bytes == sum(len(w.body) for w in store.waiting(50))


def test_highest_sequences_of_one_boot_come_lowest_first(store: Store) -> None:
    store.commit(batch(*(row(n) for n in (5, 3, 9, 1)), row(99, boot=2), row(50, point="pump-07/nde")))
    assert store.highest_sequences("pump-07/de", 1, 3) == [3, 5, 9]
    assert store.highest_sequences("pump-07/de", 3, 3) == []


def test_more_keys_than_a_statement_takes_are_looked_up(store: Store) -> None:
    store.commit(batch(row(450)))
    assert store.knows([("pump-07/de", 1, n) for n in range(500)]) == {("pump-07/de", 1, 450)}
    assert store.knows([]) == set()


def test_a_store_of_a_later_version_is_not_touched(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    with sqlite3.connect(tmp_path / "var" / "gateway.db") as database:
        database.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    database.close()
    with pytest.raises(StoreError, match="install the newer gateway agent"):
        open_store(tmp_path)


def test_a_file_that_is_no_database_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "gateway.db").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(tmp_path)
    with pytest.raises(StoreError, match="cannot be read"):
        read_only(tmp_path / "var")


def test_a_store_that_was_never_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has this gateway agent run"):
        read_only(tmp_path)


def test_a_reader_beside_the_agent_sees_what_is_committed_and_can_write_nothing(store: Store, tmp_path: Path) -> None:
    store.commit(batch(row(0)))
    with read_only(tmp_path / "var") as reader:
        assert json.loads(reader.scalar(sa.select(capture_table.c.health)) or "") == {}
        reader.rollback()
        with pytest.raises(DatabaseError, match="readonly"):
            reader.execute(sa.delete(capture_table))
