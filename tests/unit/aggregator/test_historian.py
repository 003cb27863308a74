"""What is stored of what gateways say: once, in whatever order it comes, and nothing of a transaction that failed."""

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.historian import Arrived, Historian
from aggregator.intake import Refused
from schemas import site_tables as tables
from schemas.messages import (
    CommandResult,
    Evidence,
    Health,
    PointNotice,
    PointStatus,
    RecordBatch,
    RecordsAck,
    RemainingLife,
    Series,
)
from schemas.nameplate import Nameplate
from tests.support import gateway_talk as talk

NOW_US = 50_000_000


@pytest.fixture
def historian(engine: Engine) -> Historian:
    return Historian(engine, now_us=lambda: NOW_US, dead_letter_rows=10)


def store(historian: Historian, *said: object) -> list[RecordsAck]:
    return historian.store([Arrived(one) for one in said])  # type: ignore[arg-type]


def rows(engine: Engine, table: sa.Table) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table)))


def count(engine: Engine, table: sa.Table) -> int:
    return len(rows(engine, table))


def through(ack: RecordsAck) -> tuple[int, tuple[int, ...]]:
    return ack.through, ack.also


def test_records_are_stored_and_answered(historian: Historian, engine: Engine) -> None:
    (ack,) = store(historian, talk.healths(0, 1, 2))
    assert (ack.gateway, ack.boot, ack.through, ack.also) == (talk.GATEWAY, talk.BOOT, 2, ())
    assert [row.sequence for row in rows(engine, tables.health)] == [0, 1, 2]


def test_what_is_stored_equals_what_was_said(historian: Historian, engine: Engine) -> None:
    said = talk.health(0)
    store(historian, talk.batch((0, said)))
    (row,) = rows(engine, tables.health)
    stored = row._asdict()
    for name, value in said.model_dump(mode="json", exclude={"kind", "version", "limit", "remaining_life"}).items():
        assert stored[name] == value, name
    assert (row.score_limit, row.received_at_us) == (said.limit, NOW_US)


def test_remaining_life_is_stored_where_it_is_said_and_empty_where_it_is_not(
    historian: Historian, engine: Engine
) -> None:
    life = RemainingLife(low_s=3600.0, median_s=7200.0, high_s=18_000.0)
    with_life = talk.health(1).model_copy(update={"remaining_life": life, "remaining_life_basis": "grown by 9 dB"})
    without = talk.health(2).model_copy(update={"remaining_life_basis": "no trend"})
    store(historian, talk.batch((0, talk.health(0)), (1, with_life), (2, without)))
    assert [
        (row.remaining_life_low_s, row.remaining_life_median_s, row.remaining_life_high_s, row.remaining_life_basis)
        for row in rows(engine, tables.health)
    ] == [(None, None, None, ""), (3600.0, 7200.0, 18_000.0, "grown by 9 dB"), (None, None, None, "no trend")]


def test_the_same_batch_twice_is_stored_once_counted_and_answered_again(historian: Historian, engine: Engine) -> None:
    store(historian, talk.healths(0, 1))
    (ack,) = store(historian, talk.healths(0, 1))
    assert ack.through == 1
    (uplink,) = rows(engine, tables.uplink)
    assert (uplink.stored, uplink.duplicates, uplink.through) == (2, 2, 1)
    assert count(engine, tables.health) == 2


def test_the_same_record_twice_within_one_commit_is_stored_once(historian: Historian, engine: Engine) -> None:
    store(historian, talk.healths(0, 1), talk.healths(1, 2))
    (uplink,) = rows(engine, tables.uplink)
    assert (uplink.stored, uplink.duplicates) == (3, 1)
    assert count(engine, tables.health) == 3


def test_records_that_overtake_are_answered_singly_until_the_hole_is_filled(
    historian: Historian, engine: Engine
) -> None:
    assert [through(ack) for ack in store(historian, talk.healths(0, 3, 4))] == [(0, (3, 4))]
    assert [row.sequence for row in rows(engine, tables.uplink_ahead)] == [3, 4]
    assert [through(ack) for ack in store(historian, talk.healths(1, 2))] == [(4, ())]
    assert count(engine, tables.uplink_ahead) == 0


def test_a_restarted_historian_knows_what_is_stored(historian: Historian, engine: Engine) -> None:
    store(historian, talk.healths(0, 3), talk.batch((9, talk.dropped(5, 7))))
    again = Historian(engine, now_us=lambda: NOW_US)
    assert [through(ack) for ack in store(again, talk.healths(0, 3, 1, 2))] == [(3, ())]
    assert [through(ack) for ack in store(again, talk.healths(4))] == [(7, ())]
    assert [through(ack) for ack in store(again, talk.healths(8))] == [(9, ())]
    assert sorted(row.sequence for row in rows(engine, tables.health)) == [0, 1, 2, 3, 4, 8]


def test_the_sequence_passes_over_records_the_gateway_dropped(historian: Historian, engine: Engine) -> None:
    (ack,) = store(historian, talk.batch((0, talk.health(0)), (10, talk.dropped(1, 9))))
    assert through(ack) == (10, ())
    (gap,) = rows(engine, tables.gap)
    assert (gap.what, gap.first, gap.last, gap.count) == ("records", 1, 9, 9)


def test_a_gap_in_captures_does_not_move_the_sequence_of_records(historian: Historian) -> None:
    captures = talk.dropped(0, 5).model_copy(update={"what": "captures"})
    (ack,) = store(historian, talk.batch((9, captures)))
    assert through(ack) == (-1, (9,))


def test_a_gateway_that_lost_its_disk_starts_again_from_nothing(historian: Historian, engine: Engine) -> None:
    store(historian, talk.healths(0, 1, boot=7))
    (ack,) = store(historian, talk.healths(0, boot=8))
    assert (ack.boot, ack.through) == (8, 0)
    assert count(engine, tables.health) == 3
    (gateway,) = rows(engine, tables.gateway)
    assert (gateway.boot, gateway.last_sequence) == (8, 0)


def test_two_gateways_have_sequences_of_their_own(historian: Historian, engine: Engine) -> None:
    acks = store(historian, talk.healths(0, 1), talk.healths(0, gateway="gw-2", point="fan-01/de"))
    assert {(ack.gateway, ack.through) for ack in acks} == {("gw-1", 1), ("gw-2", 0)}


def test_machines_and_points_become_known_from_what_is_said_of_them(historian: Historian, engine: Engine) -> None:
    store(historian, talk.healths(0, 1, 2, 3))
    (machine,) = rows(engine, tables.machine)
    assert (machine.machine, machine.first_seen_us) == ("pump-07", NOW_US)
    (point,) = rows(engine, tables.point)
    assert (point.point, point.machine, point.gateway) == (talk.POINT, "pump-07", talk.GATEWAY)
    assert (point.learning, point.quality, point.last_measured_us, point.last_received_us) == (
        "ready", "ok", 4_000_000, NOW_US,
    )  # fmt: skip
    assert point.interval_s == 1.0


def test_usual_interval_survives_a_restart_and_one_long_pause(historian: Historian, engine: Engine) -> None:
    store(historian, talk.healths(0, 1, 2, 3))
    again = Historian(engine, now_us=lambda: NOW_US)
    store(again, talk.batch((4, talk.health(4, measured_at_us=3_600_000_000))))
    assert rows(engine, tables.point)[0].interval_s == 1.0


def test_a_late_record_does_not_turn_a_points_state_back(historian: Historian, engine: Engine) -> None:
    suspect = talk.health(5).model_copy(update={"learning": "suspect"})
    store(historian, talk.batch((5, suspect)))
    store(historian, talk.healths(4))
    assert rows(engine, tables.point)[0].learning == "suspect"


def test_baseline_is_from_the_first_capture_learnt_to_the_one_that_made_the_point_ready(
    historian: Historian, engine: Engine
) -> None:
    def heard(number: int, learning: str, quality: str = "ok") -> tuple[int, Health]:
        said = talk.health(number, measured_at_us=1_000_000 * number)
        return number, said.model_copy(update={"learning": learning, "quality": quality})

    def baseline() -> tuple[int | None, int | None]:
        row = rows(engine, tables.point)[0]
        return row.baseline_from_us, row.baseline_until_us

    store(historian, talk.batch(heard(1, "learning", "stuck"), heard(2, "learning"), heard(3, "learning")))
    assert baseline() == (2_000_000, None)
    again = Historian(engine, now_us=lambda: NOW_US)
    store(again, talk.batch(heard(4, "suspect"), heard(5, "ready"), heard(6, "ready")))
    assert baseline() == (2_000_000, 5_000_000)
    store(again, talk.batch(heard(7, "learning"), heard(8, "learning")))  # maintenance was recorded
    assert baseline() == (7_000_000, None)


def test_point_that_moves_to_another_gateway_is_audited_once(historian: Historian, engine: Engine) -> None:
    store(historian, talk.healths(0))
    store(historian, talk.healths(0, 1, gateway="gw-2"))
    store(historian, talk.healths(2, gateway="gw-2"))
    assert rows(engine, tables.point)[0].gateway == "gw-2"
    assert [row.action for row in rows(engine, tables.audit)] == ["point_moved"]


def test_nameplates_of_the_settings_show_beside_the_machine(historian: Historian, engine: Engine) -> None:
    store(historian, talk.healths(0))
    plate = Nameplate(machine="pump-07", title="Cooling water", criticality=1, rpm=1480)
    historian.write_nameplates([plate, Nameplate(machine="fan-01")])
    by_name = {row.machine: row for row in rows(engine, tables.machine)}
    assert (by_name["pump-07"].title, by_name["pump-07"].criticality) == ("Cooling water", 1)
    assert by_name["pump-07"].nameplate["rpm"] == 1480
    assert set(by_name) == {"pump-07", "fan-01"}


def test_an_alarm_opens_a_case_and_its_end_closes_it(historian: Historian, engine: Engine) -> None:
    store(historian, talk.batch((0, talk.alarm())))
    (case,) = rows(engine, tables.machine_case)
    assert (case.machine, case.state, case.priority, case.points) == (
        "pump-07", "open", "alert", {talk.POINT: "unacknowledged"},
    )  # fmt: skip
    store(historian, talk.batch((1, talk.alarm("returned")), (2, talk.alarm("normal"))))
    (case,) = rows(engine, tables.machine_case)
    assert (case.state, case.closed_at_us) == ("closed", NOW_US)
    assert [row.case_id for row in rows(engine, tables.alarm)] == [case.case_id] * 3
    assert [row.kind for row in rows(engine, tables.case_event)] == ["opened", "alarm", "alarm", "closed"]


def test_alarms_out_of_order_leave_the_case_as_the_last_one_says(historian: Historian, engine: Engine) -> None:
    store(historian, talk.batch((0, talk.alarm()), (2, talk.alarm("latched"))))
    store(historian, talk.batch((1, talk.alarm("acknowledged"))))
    (case,) = rows(engine, tables.machine_case)
    assert case.points == {talk.POINT: "latched"}
    assert count(engine, tables.alarm) == 3


def test_alarm_raised_and_ended_while_the_site_was_away_is_a_closed_case(historian: Historian, engine: Engine) -> None:
    store(historian, talk.batch((0, talk.alarm()), (1, talk.alarm("normal"))))
    assert [row.state for row in rows(engine, tables.machine_case)] == ["closed"]


def test_case_a_person_closed_is_not_reopened_by_the_same_alarm(historian: Historian, engine: Engine) -> None:
    store(historian, talk.batch((0, talk.alarm())))
    with engine.begin() as connection:
        connection.execute(sa.update(tables.machine_case).values(state="closed"))
    store(historian, talk.batch((1, talk.alarm("acknowledged"))))
    assert count(engine, tables.machine_case) == 1
    assert [row.case_id for row in rows(engine, tables.alarm)] == [1, 1]
    store(historian, talk.batch((2, talk.alarm("acknowledged", priority="danger"))))
    assert [row.state for row in rows(engine, tables.machine_case)] == ["closed", "open"]


def test_evidence_and_notices_are_kept(historian: Historian, engine: Engine) -> None:
    flat = Series(start=0, step=1, axis_unit="Hz", value_unit="g", values="eJwDAAAAAAE=")
    evidence = Evidence(
        point=talk.POINT, capture_boot=1, capture_sequence=1, measured_at_us=1, why="alarm", axis=0, rpm=None,
        spectrum=flat, envelope=flat, envelope_band_hz=(500.0, 1000.0),
    )  # fmt: skip
    notice = PointNotice(point=talk.POINT, learning="suspect", quality="loose", text="sensor moved", at_us=1)
    store(historian, talk.batch((0, talk.alarm()), (1, evidence), (2, notice)))
    assert rows(engine, tables.evidence)[0].detail == evidence.model_dump(mode="json")
    (point,) = rows(engine, tables.point)
    assert (point.learning, point.quality, point.notice) == ("suspect", "loose", "sensor moved")
    assert [row.kind for row in rows(engine, tables.case_event)] == ["opened", "notice"]


def test_status_makes_a_gateway_present_and_its_points_known(historian: Historian, engine: Engine) -> None:
    point = PointStatus(
        point="fan-01/de", learning="learning", captures=3, learning_share=0.25, quality="ok", model="builtin"
    )
    store(historian, talk.status().model_copy(update={"points": (point,)}))
    (gateway,) = rows(engine, tables.gateway)
    assert (gateway.online, gateway.last_seen_us, gateway.release_version, gateway.boot) == (True, NOW_US, 3, talk.BOOT)
    assert gateway.status["software"] == "0.1.0"
    assert rows(engine, tables.point)[0].learning_share == 0.25


def test_last_will_makes_a_gateway_absent_and_keeps_when_it_was_seen(historian: Historian, engine: Engine) -> None:
    store(historian, talk.status())
    store(historian, talk.status(online=False))
    (gateway,) = rows(engine, tables.gateway)
    assert (gateway.online, gateway.last_seen_us) == (False, NOW_US)


def test_old_status_that_the_broker_remembered_does_not_make_a_gateway_present(engine: Engine) -> None:
    historian = Historian(engine, now_us=lambda: 1_000 * NOW_US, offline_after_s=60)
    historian.store([Arrived(talk.status(at_us=NOW_US), retained=True)])
    (gateway,) = rows(engine, tables.gateway)
    assert (gateway.online, gateway.last_seen_us) == (False, NOW_US)
    historian.store([Arrived(talk.status(at_us=NOW_US), retained=False)])
    assert rows(engine, tables.gateway)[0].online


def test_silent_gateways_are_noted_as_lost(historian: Historian, engine: Engine) -> None:
    store(historian, talk.status(), talk.status("gw-2"))
    assert historian.online() == ["gw-1", "gw-2"]
    historian.write_lost(["gw-1"])
    assert historian.online() == ["gw-2"]


def refused(number: int, reason: str = "not_json") -> Refused:
    return Refused("t", reason, f"number {number}", b"x", 1)


def test_bad_input_is_counted_in_full_and_the_newest_is_kept(historian: Historian, engine: Engine) -> None:
    for start in range(0, 35, 7):
        store(historian, *(refused(number) for number in range(start, start + 7)), refused(0, "unsigned"))
    counts = {row.reason: row.count for row in rows(engine, tables.dead_letter_count)}
    assert counts == {"not_json": 35, "unsigned": 5}
    assert count(engine, tables.dead_letter) == 10
    assert "number 34" in {row.text for row in rows(engine, tables.dead_letter)}


def test_bad_input_between_good_does_not_hold_the_good_up(historian: Historian, engine: Engine) -> None:
    store(historian, talk.healths(0), refused(1), talk.healths(1))
    assert count(engine, tables.health) == 2


def test_record_that_no_column_takes_is_a_dead_letter_and_its_neighbours_are_stored(
    historian: Historian, engine: Engine
) -> None:
    too_far = talk.health(1).model_copy(update={"model_version": 1 << 70})
    acks = store(
        historian, talk.batch((0, talk.health(0)), (1, too_far), (2, talk.health(2))), talk.healths(0, gateway="gw-2")
    )
    assert [row.sequence for row in rows(engine, tables.health) if row.gateway == talk.GATEWAY] == [0, 2]
    assert [row.reason for row in rows(engine, tables.dead_letter)] == ["not_storable"]
    assert max(ack.through for ack in acks if ack.gateway == talk.GATEWAY) == 2
    assert any(ack.gateway == "gw-2" for ack in acks)


def test_absurd_count_in_a_gap_is_stored_as_the_largest_there_is(historian: Historian, engine: Engine) -> None:
    store(historian, talk.batch((0, talk.dropped(1, 2).model_copy(update={"count": 1 << 80}))))
    assert rows(engine, tables.gap)[0].count == (1 << 63) - 1


def test_words_longer_than_their_column_are_cut(historian: Historian, engine: Engine) -> None:
    long = talk.health(0).model_copy(update={"quality": "q" * 100})
    store(historian, talk.batch((0, long)))
    assert rows(engine, tables.health)[0].quality == "q" * 32


def test_locked_database_stores_nothing_and_the_next_try_everything(historian: Historian, engine: Engine) -> None:
    store(historian, talk.healths(0))
    url = engine.url
    impatient = sa.create_engine(url, connect_args={"timeout": 0.01})
    blocked = Historian(impatient, now_us=lambda: NOW_US)
    with engine.connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(sa.exc.OperationalError):
            store(blocked, talk.healths(1, 2))
        other.rollback()
    (ack,) = store(blocked, talk.healths(1, 2))
    impatient.dispose()
    assert ack.through == 2
    assert count(engine, tables.health) == 3


def test_failure_in_the_middle_of_a_commit_leaves_nothing_of_it(
    historian: Historian, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(historian, talk.healths(0))
    monkeypatch.setattr("aggregator.historian.write_gateway", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store(historian, talk.healths(1))
    monkeypatch.undo()
    assert count(engine, tables.health) == 1
    assert Historian(engine, now_us=lambda: 0).store([Arrived(talk.healths(1))])[0].through == 1


def test_answer_to_a_command_nobody_gave_changes_nothing(historian: Historian, engine: Engine) -> None:
    result = CommandResult(command_id="f" * 32, done=True, text="", at_us=1)
    (ack,) = store(historian, talk.batch((0, result)))
    assert ack.through == 0
    assert count(engine, tables.request) == 0


def test_empty_batch_is_answered(historian: Historian) -> None:
    (ack,) = store(historian, RecordBatch(gateway="gw-1", boot=1, records=()))
    assert through(ack) == (-1, ())
