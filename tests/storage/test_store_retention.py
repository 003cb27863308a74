"""Raw captures leave by size and age, what people need of them stays, and each thing given up is counted or told."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway_agent.batch import BULK, URGENT, Batch, CaptureRow, DeadLetter
from gateway_agent.settings import StoreSettings
from gateway_agent.store import TIDY_EVERY, Store
from gateway_agent.store_retention import DAY_US
from gateway_agent.store_tables import capture_table, dead_letter_table, pin_table
from schemas.capture import encode_capture
from schemas.messages import Alarm, AlarmState, Evidence, Gap, Series
from tests.support.captures import faulty, healthy, judge_with, taken
from tests.support.gateway_talk import alarm

MB = 1 << 20
POINT = "pump-07/de"
RAW = bytes(66_000)  # one fills a segment of 64 KB
T0_US = 1_800_000_000_000_000

Opener = Callable[..., Store]


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    stores: list[Store] = []

    def open_store(**changes: Any) -> Store:
        settings = {"raw_bytes": MB, "segment_bytes": 1 << 16, "min_free_bytes": 0, **changes}
        stores.append(Store(StoreSettings(folder=tmp_path / "var", **settings)))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


def row(sequence: int, raw: bytes = RAW) -> CaptureRow:
    return CaptureRow(POINT, 1, sequence, 1, 2, "ok", True, 0.5, None, "{}", raw)


def alarm_of(sequence: int, *, state: AlarmState = "unacknowledged", name: str = "a") -> Alarm:
    return alarm(state, alarm_id=name * 16).model_copy(update={"capture_sequence": sequence})


def fill(store: Store, sequences: range, *, now_us: int = T0_US, raw: bytes = RAW) -> None:
    for sequence in sequences:
        store.commit(Batch(now_us, captures=[row(sequence, raw)]))


def tell(store: Store, *records: Any, now_us: int = T0_US) -> None:
    store.commit(Batch(now_us, records=[(BULK if record.kind == "evidence" else URGENT, record) for record in records]))


def here(store: Store, sequences: range) -> set[int]:
    return {n for n in sequences if store.raw_capture(POINT, 1, n) is not None}


def gaps(store: Store) -> list[Gap]:
    return [Gap.model_validate_json(w.body) for w in store.waiting(10_000) if w.kind == "gap"]


def spectra(sequence: int) -> Evidence:
    series = Series(start=0.0, step=1.0, axis_unit="Hz", value_unit="g", values="")
    return Evidence(
        point=POINT, capture_boot=1, capture_sequence=sequence, measured_at_us=1, why="asked for by anna: why not",
        axis=0, rpm=None, spectrum=series, envelope=series, envelope_band_hz=(1.0, 2.0),
    )  # fmt: skip


def test_what_an_alarm_evidence_or_a_label_refers_to_outlives_the_ring(opened: Opener) -> None:
    store = opened()
    fill(store, range(3))
    tell(store, alarm_of(0), spectra(1))
    fill(store, range(3, 5))
    assert store.pin_newest("pump-07/nde", "label outer by anna", now_us=T0_US) is False
    fill(store, range(5, 40))
    kept = here(store, range(40))
    assert {0, 1} <= kept
    assert 2 not in kept
    assert store.raw_capture(POINT, 1, 0) == RAW
    assert len(kept) < 20
    assert store.counts()["raw_left"] == 40 - len(kept)
    assert gaps(store) == []


def test_label_keeps_what_the_alarm_pinned_or_else_the_newest_capture(opened: Opener) -> None:
    store = opened()
    fill(store, range(2))
    assert store.pin_newest(POINT, "label healthy by anna", now_us=T0_US)
    tell(store, alarm_of(0))
    assert store.pin_newest(POINT, "label outer by anna", now_us=T0_US)
    why = dict(store._all(sa.select(pin_table.c.sequence, pin_table.c.why)))
    assert why == {1: "label healthy by anna", 0: f"alarm {'a' * 16}; label outer by anna"}
    fill(store, range(2, 40))
    assert {0, 1} <= here(store, range(40))


def test_alarm_that_a_person_changed_pins_nothing(opened: Opener) -> None:
    store = opened()
    tell(store, alarm_of(0).model_copy(update={"capture_boot": 0}))
    assert store._all(sa.select(pin_table.c.id)) == []


def test_pinned_captures_survive_a_restart(opened: Opener) -> None:
    store = opened()
    fill(store, range(1))
    tell(store, alarm_of(0))
    fill(store, range(1, 30))
    store.close()
    assert 0 in here(opened(), range(30))


def test_full_of_pins_the_oldest_whose_alarm_is_over_gives_way_and_the_site_is_told(opened: Opener) -> None:
    store = opened(pinned_bytes=MB)
    fill(store, range(15))
    tell(store, alarm_of(0, name="a"), alarm_of(1, name="b"), *(spectra(n) for n in range(2, 15)))
    assert gaps(store) == []
    tell(store, alarm_of(9, state="normal", name="b"))
    fill(store, range(15, 18))
    tell(store, *(alarm_of(n, name="c") for n in range(15, 18)))
    told = [(gap.what, gap.source, gap.first, gap.count) for gap in gaps(store)]
    assert told == [("pinned capture", f"{POINT} boot 1", n, 1) for n in (1, 2, 3)]
    assert "pinned_bytes = 1048576 were full; it was kept for: alarm bbbb" in gaps(store)[0].reason
    assert store.counts()["pins_left"] == 3
    fill(store, range(18, 60))
    assert here(store, range(18)) == set(range(18)) - {1, 2, 3}


def test_full_of_pins_of_standing_alarms_how_they_began_stays(opened: Opener) -> None:
    store = opened(pinned_bytes=MB, raw_bytes=2 * MB)
    fill(store, range(17))
    tell(store, *(alarm_of(n) for n in range(17)))
    assert {gap.first for gap in gaps(store)} == {15, 16}


def test_segments_older_than_raw_days_leave_though_there_is_room(opened: Opener) -> None:
    store = opened(raw_days=10.0)
    fill(store, range(3))
    tell(store, alarm_of(1))
    fill(store, range(3, 3 + TIDY_EVERY), now_us=T0_US + 6 * DAY_US, raw=b"small")
    assert here(store, range(5)) == set(range(5))
    fill(store, range(200, 200 + TIDY_EVERY), now_us=T0_US + 11 * DAY_US, raw=b"small")
    assert here(store, range(3)) == {1}
    assert store.captures_stored() == 3 + 2 * TIDY_EVERY
    assert store.counts()["raw_left"] == 2


def test_clock_that_leaps_for_a_day_empties_nothing_and_one_that_stays_does(opened: Opener) -> None:
    store = opened(raw_days=10.0)
    fill(store, range(3))
    far_us = T0_US + 4000 * DAY_US
    fill(store, range(3, 3 + TIDY_EVERY), now_us=far_us, raw=b"small")
    assert here(store, range(3)) == {0, 1, 2}
    fill(store, range(200, 200 + TIDY_EVERY), now_us=far_us + DAY_US, raw=b"small")
    assert here(store, range(3)) == set()


def test_segment_written_while_the_clock_was_ahead_does_not_keep_those_behind_it(opened: Opener) -> None:
    store = opened(raw_days=1.0)
    store.commit(Batch(T0_US - DAY_US, commands_done=["0" * 32]))
    fill(store, range(1), now_us=T0_US + 5 * DAY_US)
    fill(store, range(1, 4))
    for sequence in range(4, 4 + TIDY_EVERY):  # without a leap: one an hour
        fill(store, range(sequence, sequence + 1), now_us=T0_US + (sequence - 3) * DAY_US // 25, raw=b"small")
    assert here(store, range(4)) == {0}


def test_alarm_raised_by_real_captures_pins_the_capture_that_raised_it(opened: Opener) -> None:
    store, judge = opened(segment_bytes=1 << 16), judge_with()
    for n in range(60):
        capture = healthy(n) if n < 40 else faulty(n)
        store.commit(judge.process([taken(capture)], now_us=T0_US + n).batch)
    (pinned,) = store._all(sa.select(pin_table.c.boot, pin_table.c.sequence, pin_table.c.open))
    assert (pinned.boot, pinned.open) == (1, True)
    assert 40 <= pinned.sequence < 60
    fill(store, range(1000, 1040))
    raw = store.raw_capture(POINT, 1, pinned.sequence)
    assert raw == encode_capture(faulty(pinned.sequence))
    assert store.raw_capture(POINT, 1, 40 if pinned.sequence != 40 else 41) is None


@pytest.mark.parametrize(
    ("bound", "later_us", "left"), [({"health_rows": 1000}, 0, 600), ({"health_days": 30.0}, 31 * DAY_US, 1100)]
)
def test_results_leave_by_count_and_by_age_and_are_counted(
    opened: Opener, bound: dict[str, Any], later_us: int, left: int
) -> None:
    store = opened(**bound)
    for start in range(0, 1100, 100):
        store.commit(Batch(T0_US, captures=[row(start + n, b"x") for n in range(100)]))
    at_us = T0_US
    while at_us < T0_US + later_us:  # as time goes by, without a leap
        at_us += 6 * DAY_US
        store.commit(Batch(at_us, commands_done=["0" * 32]))
    for sequence in range(5000, 5000 + 5 * TIDY_EVERY):
        store.commit(Batch(at_us, captures=[row(sequence, b"x")]))
    rows = store._all(sa.select(sa.func.count().label("n"), sa.func.min(capture_table.c.id).label("first")))[0]
    assert store.captures_stored() == 1600
    assert left - TIDY_EVERY < rows.first - 1 <= left
    assert store.counts()["results_left"] == 1600 - rows.n == rows.first - 1


def test_disk_that_is_full_takes_segments_and_not_what_is_pinned(opened: Opener) -> None:
    store = opened()
    fill(store, range(3))
    tell(store, alarm_of(0))
    with store._lock:
        pages = store._connection.exec_driver_sql("PRAGMA page_count").scalar()
        store._connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        store._connection.rollback()
    assert store.make_room()
    assert here(store, range(3)) == {1, 2}
    with store._lock:
        store._connection.exec_driver_sql("PRAGMA max_page_count=100000")
        store._connection.rollback()
    store._commits = 0
    fill(store, range(3, 4), raw=b"small")
    told = gaps(store)
    assert [(gap.first, gap.reason.split(";")[0]) for gap in told] == [
        (0, "its bytes could not be kept when its segment went")
    ]


def test_crash_between_the_database_and_the_ring_loses_nothing_pinned(opened: Opener, tmp_path: Path) -> None:
    """Killed after the transaction and before the file went, or, on a full disk, the other way round."""
    store = opened()
    fill(store, range(4))
    tell(store, alarm_of(0), alarm_of(1))
    segment = (tmp_path / "var" / "raw" / "0000000000.seg").read_bytes()
    store._give_up_segment(0)
    (tmp_path / "var" / "raw" / "0000000000.seg").write_bytes(segment)
    store.close()
    store = opened()
    assert here(store, range(4)) == {0, 1, 2, 3}
    fill(store, range(4, 5))
    assert not (tmp_path / "var" / "raw" / "0000000000.seg").exists()
    store.close()
    (tmp_path / "var" / "raw" / "0000000001.seg").unlink()
    store = opened()
    fill(store, range(5, 6))
    assert [(gap.what, gap.first) for gap in gaps(store)] == [("pinned capture", 1)]
    assert here(store, range(6)) == {0, 2, 3, 4, 5}


def test_refused_payloads_are_kept_whole_while_there_is_room_and_those_to_be_taken_in_again_longest(
    opened: Opener,
) -> None:
    store = opened(dead_letter_payload_bytes=1000, dead_letter_bytes=2500)
    c = dead_letter_table.c

    def refuse(*sizes: int) -> None:
        store.commit(Batch(T0_US, dead_letters=[DeadLetter("t", "bad_crc", "x", b"?" * size, 7) for size in sizes]))

    refuse(0, 300, 1001, 900, 900)
    kept = store._all(sa.select(c.size_bytes, c.payload).order_by(c.id))
    assert [row.payload and len(row.payload) for row in kept] == [None, 300, None, 900, 900]
    assert [row.size_bytes for row in kept] == [0, 300, 1001, 900, 900]
    with store._lock, store._writing():
        store._connection.execute(sa.update(dead_letter_table).where(c.id == 4).values(reinject_at_us=1))
    refuse(800)
    kept = store._all(sa.select(c.id, c.payload, c.head).order_by(c.id))
    assert [row.id for row in kept if row.payload] == [4, 6]
    assert [len(row.head) for row in kept] == [0, 256, 256, 256, 256, 256]
    assert store.counts() == {"dead:bad_crc": 6, "dead_letter_payloads_left": 2}


def test_store_is_for_one_process(opened: Opener, tmp_path: Path) -> None:
    opened()
    other = "from gateway_agent.store import Store; from gateway_agent.settings import StoreSettings as S; import sys; "
    other += "from pathlib import Path; Store(S(folder=Path(sys.argv[1])))"
    done = subprocess.run(
        [sys.executable, "-c", other, str(tmp_path / "var")], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "is in use by process" in done.stderr
