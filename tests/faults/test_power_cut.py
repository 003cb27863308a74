"""Row 4: the power goes in the middle of a write, and a log that was cut off: what was acknowledged is there."""

import contextlib
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DatabaseError

from gateway_agent.batch import NORMAL, Batch, CaptureRow
from gateway_agent.settings import StoreSettings
from gateway_agent.store import Store
from schemas.messages import encode
from tests.support.faults.power_cut import MortalDisk
from tests.support.gateway_talk import POINT, health

BOOT = 1
CUTS = range(60)
STEPS = 400  # writes and syncs within which the power goes: some forty commits


def settings(folder: Path) -> StoreSettings:
    return StoreSettings(folder=folder, raw_bytes=1 << 20, segment_bytes=1 << 16, outbox_bytes=1 << 20)


def raw_of(sequence: int) -> bytes:
    return random.Random(sequence).randbytes(100 + 50 * (sequence % 60))


def batch_of(sequences: range) -> Batch:
    """What the ingest worker commits for captures with these sequences."""
    batch = Batch(1_000_000)
    for sequence in sequences:
        told = health(sequence)
        batch.captures.append(
            CaptureRow(
                POINT, BOOT, sequence, 1, 1, "ok", True, 0.5, bytes(400), encode(told).decode(), raw_of(sequence)
            )
        )
        batch.records.append((NORMAL, told))
    batch.counts["captures"] += len(sequences)
    batch.point_states[POINT] = b"state" * 200
    return batch


def commit_until_the_power_goes(store: Store, draw: random.Random) -> int:
    """How many captures may have been acknowledged, from 0 on."""
    acknowledged = 0
    try:
        while True:
            batch = batch_of(range(acknowledged, acknowledged + draw.randint(1, 8)))
            store.commit(batch)
            acknowledged += len(batch.captures)
    except (DatabaseError, OSError):
        return acknowledged


def ask(folder: Path, sql: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(folder / "gateway.db")) as database:
        return [row[0] for row in database.execute(sql)]


def stored(folder: Path) -> list[int]:
    return ask(folder, "SELECT sequence FROM capture ORDER BY id")


def cut_power(folder: Path, seed: int, *, synchronous: str) -> tuple[int, Path]:
    """Run a store until its power goes: captures acknowledged, and where the image of its disk lies."""
    draw, image = random.Random(seed), folder / f"image-{seed}"
    disk = MortalDisk(folder / f"disk-{seed}", image, draw)
    try:
        store = Store(settings(disk.folder), disk.ports())
        store._connection.exec_driver_sql(f"PRAGMA synchronous={synchronous}")
        store._connection.exec_driver_sql("PRAGMA wal_autocheckpoint=40")
        store._connection.rollback()
        disk.arm(draw.randint(1, STEPS))
        acknowledged = commit_until_the_power_goes(store, draw)
        store.close()
    finally:
        disk.close()
    return acknowledged, image


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder that is not on the disk under test: real syncs would only cost time."""
    folder = Path("/dev/shm") / tmp_path.name if Path("/dev/shm").is_dir() else tmp_path
    folder.mkdir(exist_ok=True)
    yield folder
    shutil.rmtree(folder)


def test_no_acknowledged_capture_is_lost_when_the_power_goes_at_any_write(memory: Path) -> None:
    total = 0
    for seed in CUTS:
        acknowledged, image = cut_power(memory, seed, synchronous="FULL")
        store = Store(settings(image))
        there = stored(image)
        assert ask(image, "PRAGMA integrity_check") == ["ok"], f"seed {seed}"
        assert there == list(range(len(there))), f"seed {seed}: {there}"
        assert len(there) >= acknowledged, f"seed {seed}: {acknowledged} acknowledged, {len(there)} there"
        assert ask(image, "SELECT count(*) FROM outbox") == [len(there)], f"seed {seed}: records for the site"
        for sequence in there:
            assert store.raw_capture(POINT, BOOT, sequence) == raw_of(sequence), f"seed {seed}, capture {sequence}"
        store.commit(batch_of(range(len(there), len(there) + 5)))
        assert stored(image)[-1] == len(there) + 4
        store.close()
        total += acknowledged
    print(f"power cut {len(CUTS)} times: 0 of {total} acknowledged captures lost")
    assert total > 1000


def test_with_less_than_full_syncs_the_same_cuts_lose_acknowledged_captures(memory: Path) -> None:
    """Without this the test above might cut nothing at all."""
    lost = 0
    for seed in CUTS:
        acknowledged, image = cut_power(memory, seed, synchronous="NORMAL")
        store = Store(settings(image))
        lost += max(0, acknowledged - len(stored(image)))
        store.close()
    assert lost > 0


def test_a_log_cut_off_anywhere_loses_the_newest_and_nothing_else(memory: Path) -> None:
    """A disk that said a sync was done and lied: the database goes back to an earlier commit, whole."""
    store = Store(settings(memory / "disk"))
    for start in range(0, 120, 4):
        store.commit(batch_of(range(start, start + 4)))
    draw = random.Random(4)
    lengths = []
    for cut in range(20):
        image = memory / f"image-{cut}"
        shutil.copytree(memory / "disk", image, ignore=shutil.ignore_patterns("*-shm", "*.lock"))
        log = image / "gateway.db-wal"
        with log.open("r+b") as file:
            file.truncate(draw.randint(0, log.stat().st_size))
        reopened = Store(settings(image))
        there = stored(image)
        assert ask(image, "PRAGMA integrity_check") == ["ok"], f"cut {cut}"
        assert there == list(range(len(there))), f"cut {cut}: {there}"
        assert len(there) % 4 == 0, f"cut {cut}: half a commit is there"
        reopened.close()
        lengths.append(len(there))
    store.close()
    assert len(set(lengths)) > 3
