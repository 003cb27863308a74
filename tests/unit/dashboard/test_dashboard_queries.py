"""What the pages read, against a plant whose story is known."""

import math
import sqlite3
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from aggregator.database import alembic_config
from dashboard.condition import Staleness, in_order, judge
from dashboard.database import VERSIONS_READ, SiteReader
from dashboard.errors import DatabaseUnavailable
from dashboard.queries.federation import read_federation, read_ledger
from dashboard.queries.machine import (
    BUCKETS,
    QUANTITIES,
    Bucket,
    count_newer,
    read_buckets,
    read_cases,
    read_events,
    read_evidence,
    read_evidence_list,
    read_span_us,
    read_verdict,
)
from dashboard.queries.plant import (
    read_diagnosis,
    read_machine,
    read_plant,
    read_remaining_life,
    read_trends,
    slope_a_day,
)
from dashboard.trend_lines import gap_width_us, gaps_ms, quantity_line
from schemas.database import open_database, sqlite_url
from schemas.site_tables import evidence, health
from tests.support.site_database import BPFO_HZ, DAY_US, NO_LIFE, NOW_US, PUMP_LIFE, PUMP_LIFE_BASIS, create_tables

STALENESS = Staleness(3.0, 30.0, 900.0)


@pytest.fixture
def reader(plant_database):
    return SiteReader(sqlite_url(plant_database))


@pytest.fixture
def connection(reader):
    with reader.read() as opened:
        yield opened


def test_worst_machine_comes_first_and_each_has_its_story(connection):
    plant = read_plant(connection)
    found = in_order(judge(m, plant.trends.get(m.machine), STALENESS, NOW_US) for m in plant.machines)
    assert [(c.machine, c.level.name) for c in found] == [
        ("pump-07", "danger"), ("fan-03", "alert"), ("mixer-04", "sensor"), ("conveyor-11", "unknown"),
        ("compressor-02", "learning"), ("mill-01", "normal"),
    ]  # fmt: skip
    assert found[0].reason.startswith("Outer race damage likely (82%)")


def test_latest_judgement_is_that_of_the_newest_capture(connection):
    plant = read_plant(connection)
    for machine in plant.machines:
        for point in machine.points:
            newest = connection.execute(
                sa.select(sa.func.max(health.c.measured_at_us)).where(health.c.point == point.point)
            ).scalar_one()
            assert point.latest is not None
            assert point.latest.measured_at_us == newest == point.last_measured_us


def test_one_machine_reads_as_it_does_within_the_plant(connection):
    plant = read_plant(connection)
    for machine in plant.machines:
        assert read_machine(connection, machine.machine) == machine
    assert read_machine(connection, "no-such") is None


def test_trend_rises_where_the_damage_grows_and_is_flat_elsewhere(connection):
    trends = {trend.point: trend for trend in read_trends(connection, ["pump-07/drive-end", "mill-01/inlet"])}
    assert trends["pump-07/drive-end"].share_a_day > 0.5
    assert abs(trends["mill-01/inlet"].share_a_day) < 0.05
    assert trends["pump-07/drive-end"].ratios[-1] > 2.5


def test_slope_of_a_known_line():
    at_us = [NOW_US + i * DAY_US // 10 for i in range(20)]
    assert slope_a_day(at_us, [0.2 + 0.03 * i for i in range(20)]) == pytest.approx(0.3)
    assert slope_a_day(at_us[:5], [1.0] * 5) is None
    assert slope_a_day([NOW_US] * 20, [1.0] * 20) is None


def test_buckets_keep_every_extreme_and_lose_no_capture(connection):
    name = "pump-07/drive-end"
    first_us, last_us = read_span_us(connection, name)
    rows = connection.execute(
        sa.select(health.c.measured_at_us, health.c.score).where(health.c.point == name)
    ).all()  # fmt: skip
    buckets = read_buckets(connection, name, since_us=first_us, until_us=last_us)
    column = QUANTITIES.index("score")
    assert sum(bucket.captures for bucket in buckets) == len(rows)
    assert max(bucket.highest[column] for bucket in buckets) == max(row.score for row in rows)
    assert min(bucket.lowest[column] for bucket in buckets) == min(row.score for row in rows)


def test_history_longer_than_the_screen_is_gathered(tmp_path):
    engine = create_tables(tmp_path / "long.db")
    rows = [
        {"gateway": "g", "boot": 0, "sequence": i, "point": "m/p", "capture_boot": 0, "capture_sequence": i,
         "measured_at_us": NOW_US + i * 1_000_000, "received_at_us": NOW_US, "quality": "ok" if i % 7 else "stuck",
         "learning": "ready", "score": float(i % 50), "exceeds": False, "alarm": "normal", "diagnosis": []}
        for i in range(9000)
    ]  # fmt: skip
    with engine.begin() as connection:
        connection.execute(sa.insert(health), rows)
        found = read_buckets(connection, "m/p", since_us=NOW_US, until_us=NOW_US + 9000 * 1_000_000)
    assert len(found) <= BUCKETS + 1
    assert sum(bucket.captures for bucket in found) == 9000
    assert sum(bucket.believed for bucket in found) == sum(1 for i in range(9000) if i % 7)
    engine.dispose()


def test_captures_nobody_believes_give_no_values(connection):
    first_us, last_us = read_span_us(connection, "mixer-04/head")
    buckets = read_buckets(connection, "mixer-04/head", since_us=first_us, until_us=last_us)
    assert buckets[-1].believed == 0
    assert buckets[-1].highest[0] is None


def bucket(at_s: float, value: float | None) -> Bucket:
    at_us = int(at_s * 1e6)
    values = (value,) * len(QUANTITIES)
    return Bucket(at_us, at_us, 1, 0 if value is None else 1, values, values)


def test_pause_interrupts_the_line_and_is_named():
    buckets = [bucket(0, 1.0), bucket(10, 2.0), bucket(20, 3.0), bucket(100, 4.0)]
    width_us = gap_width_us(buckets, 10.0)
    times_ms, values = quantity_line(buckets, "score", gap_us=width_us)
    assert np.isnan(values).tolist() == [False, False, False, True, False]
    assert gaps_ms(buckets, gap_us=width_us, until_us=100_000_000) == [(20_000.0, 100_000.0)]
    assert times_ms[3] == 60_000.0


def test_silence_up_to_now_is_a_gap():
    buckets = [bucket(0, 1.0), bucket(10, 2.0)]
    assert gaps_ms(buckets, gap_us=35e6, until_us=500_000_000) == [(10_000.0, 500_000.0)]


def test_captures_nobody_believes_are_a_gap_too():
    buckets = [bucket(0, 1.0), *(bucket(10 * i, None) for i in range(1, 9)), bucket(90, 2.0)]
    assert gaps_ms(buckets, gap_us=35e6, until_us=90_000_000) == [(0.0, 90_000.0)]
    _, values = quantity_line(buckets, "score", gap_us=35e6)
    assert sum(math.isnan(value) for value in values) == 8


def test_evidence_has_its_lines_where_the_fault_is(connection):
    entries = read_evidence_list(connection, "pump-07")
    found = read_evidence(connection, entries[0])
    assert found is not None
    outer = next(line for line in found.fault_lines if line.name == "BPFO")
    assert outer.frequency_hz == pytest.approx(BPFO_HZ)
    values = found.envelope.unpack()
    assert abs(float(np.argmax(values)) * found.envelope.step - outer.found_hz) < found.envelope.step
    assert read_evidence(connection, replace(entries[0], sequence=1)) is None


def test_evidence_that_cannot_be_read_is_none_and_no_failure(plant_copy):
    engine = open_database(sqlite_url(plant_copy))
    with engine.begin() as connection:
        connection.execute(sa.update(evidence).values(detail={"kind": "evidence", "version": 99}))
        assert read_evidence(connection, read_evidence_list(connection, "pump-07")[0]) is None
    engine.dispose()


def test_verdict_cases_and_history_of_a_machine(connection):
    case = read_cases(connection, "fan-03")[0]
    assert (case.state, case.acknowledged_by) == ("acknowledged", "M. Weber")
    assert [entry.kind for entry in read_events(connection, case.case_id)] == ["acknowledged", "opened"]
    verdict = read_verdict(connection, "fan-03", case.case_id)
    assert verdict is not None
    assert {finding.speaks_for for finding in verdict.findings} == {True, False}


def test_newer_data_than_a_snapshot_is_counted(connection):
    assert count_newer(connection, "pump-07", received_after_us=NOW_US) == (0, None)
    points, newest_us = count_newer(connection, "pump-07", received_after_us=NOW_US - 3_600_000_000)
    assert points == 2
    assert newest_us is not None


def test_federation_has_rounds_members_releases_and_the_ledger(connection):
    found = read_federation(connection)
    assert [entry.row.round_id for entry in found.rounds] == [3, 2, 1]
    assert [u.reason for u in found.updates if not u.accepted] == ["not_finite"]
    assert found.releases[0].size_bytes == 84_000
    assert {row.topic for row in read_ledger(connection)} == {"member", "reply"}


def test_diagnosis_that_cannot_be_read_is_none_at_all():
    assert read_diagnosis([{"label": "outer", "confidence": 7}]) == ()
    assert read_diagnosis(None) == ()


def test_remaining_life_is_read_as_it_was_written(connection):
    pump = read_machine(connection, "pump-07")
    latest = {point.point: point.latest for point in pump.points}
    assert latest["pump-07/drive-end"].remaining_life == PUMP_LIFE
    assert latest["pump-07/drive-end"].remaining_life_basis == PUMP_LIFE_BASIS
    assert latest["pump-07/fan-end"].remaining_life is None
    assert latest["pump-07/fan-end"].remaining_life_basis == NO_LIFE


def test_remaining_life_that_is_no_band_is_none_at_all():
    assert read_remaining_life(3.0, 2.0, 4.0) is None
    assert read_remaining_life(1.0, None, 4.0) is None


def test_pages_understand_the_version_the_aggregator_writes():
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() in VERSIONS_READ


def problem_of(reader: SiteReader) -> DatabaseUnavailable:
    with pytest.raises(DatabaseUnavailable) as caught, reader.read() as connection:
        connection.execute(sa.select(health).limit(1))
    return caught.value


def test_missing_database_is_missing_and_is_not_made(tmp_path):
    path = tmp_path / "none.db"
    assert problem_of(SiteReader(sqlite_url(path))).kind == "missing"
    assert not path.exists()


def test_file_that_is_no_database(tmp_path):
    path = tmp_path / "site.db"
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    assert problem_of(SiteReader(sqlite_url(path))).kind == "no_database"


def test_database_without_tables_waits_for_the_site(tmp_path):
    path = tmp_path / "site.db"
    sqlite3.connect(path).execute("PRAGMA journal_mode=WAL").connection.close()
    assert problem_of(SiteReader(sqlite_url(path))).kind == "unprepared"


def test_database_of_somebody_else(tmp_path):
    path = tmp_path / "site.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE invoices (n INTEGER)")
    other.close()
    assert problem_of(SiteReader(sqlite_url(path))).kind == "foreign"


def test_database_of_another_version(plant_copy):
    with sqlite3.connect(plant_copy) as other:
        other.execute("UPDATE alembic_version SET version_num = 'v9999'")
    other.close()
    problem = problem_of(SiteReader(sqlite_url(plant_copy)))
    assert (problem.kind, "v9999" in problem.detail) == ("wrong_version", True)


def test_locked_database_is_said_to_be_locked_soon(tmp_path):
    path = tmp_path / "site.db"
    create_tables(path).dispose()
    holder = sqlite3.connect(path)
    holder.execute("PRAGMA journal_mode=DELETE")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        assert problem_of(SiteReader(sqlite_url(path))).kind == "locked"
    finally:
        holder.close()


def test_database_that_comes_back_is_read_again(plant_copy):
    reader = SiteReader(sqlite_url(plant_copy))
    with reader.read() as connection:
        assert read_plant(connection).machines
    hidden = plant_copy.rename(plant_copy.with_suffix(".away"))
    assert problem_of(reader).kind == "missing"
    hidden.rename(plant_copy)
    with reader.read() as connection:
        assert read_plant(connection).machines


def test_reader_cannot_write(reader):
    with (
        pytest.raises(DatabaseUnavailable, match=r"readonly|read-only|attempt to write"),
        reader.read() as connection,
    ):
        connection.execute(sa.delete(health))


def test_no_question_walks_the_whole_history(plant_database):
    """A year of captures must not be read to draw one page: each statement goes down an index."""
    reader = SiteReader(sqlite_url(plant_database))
    with reader.read() as connection:
        asked: list[tuple[str, tuple[object, ...]]] = []
        sa.event.listen(connection, "before_cursor_execute", lambda *said: asked.append((said[2], said[3])))
        read_plant(connection)
        read_machine(connection, "pump-07")
        first_us, last_us = read_span_us(connection, "pump-07/drive-end")
        read_buckets(connection, "pump-07/drive-end", since_us=first_us, until_us=last_us)
        read_evidence_list(connection, "pump-07")
        plans = [
            str(step)
            for statement, values in list(asked)
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        ]
    assert any("ix_health_point_measured_at_us" in plan for plan in plans)
    assert [plan for plan in plans if "SCAN health" in plan or "SCAN evidence" in plan] == []
