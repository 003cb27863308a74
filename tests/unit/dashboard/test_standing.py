"""What the database says of all machines is what the page would say of each."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection, Engine

from dashboard.condition import QUIET, Condition, Staleness, in_order, judge
from dashboard.queries.plant import read_machines, read_plant
from dashboard.queries.standing import (
    BLIND_NAMED,
    View,
    count_machines,
    read_areas,
    read_blind,
    read_names,
    read_totals,
)
from tests.support.chance_plant import HOUR_US, write_chance_plant
from tests.support.site_database import NOW_US, create_tables

LIMITS = Staleness(3.0, 30.0, 900.0)


def judged(connection: Connection) -> list[Condition]:
    return in_order(judge(found, None, LIMITS, NOW_US) for found in read_plant(connection, with_trends=False).machines)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory):
    opened: Engine = create_tables(Path(tmp_path_factory.mktemp("standing")) / "site.db")
    with opened.begin() as connection:
        write_chance_plant(connection, seed=4, machines=400)
    yield opened
    opened.dispose()


def test_database_and_page_agree_on_every_machine_its_level_and_its_place(engine):
    with engine.connect() as connection:
        wanted = judged(connection)
        names = [name for name, _ in read_names(connection, LIMITS, NOW_US, View(), limit=None)]
        totals = read_totals(connection, LIMITS, NOW_US)
    assert names == [found.machine for found in wanted]
    levels = [found.level.name for found in wanted]
    assert totals.levels == {name: levels.count(name) for name in set(levels)}
    assert set(totals.levels) >= {"danger", "alert", "notice", "sensor", "unknown", "shelved", "learning", "normal"}
    assert totals.points == sum(found.points for found in wanted)
    assert totals.assessable == sum(found.points_assessable for found in wanted)
    assert totals.silent == sum(found.stale for found in wanted)


def test_lists_that_are_narrowed_are_those_machines_of_the_whole_list_in_pieces(engine):
    with engine.connect() as connection:
        wanted = judged(connection)
        needing = [found.machine for found in wanted if found.level.name not in QUIET and found.area == "Kiln"]
        view = View(needing=True, area="Kiln")
        pieces = [
            name
            for first in range(0, len(needing) + 10, 10)
            for name, _ in read_names(connection, LIMITS, NOW_US, replace(view, first=first), limit=10)
        ]
        assert count_machines(connection, LIMITS, NOW_US, view) == len(needing)
        found = read_names(connection, LIMITS, NOW_US, View(find="raw MILL"), limit=None)
        assert len(found) == sum(one.area == "Raw mill" for one in wanted)
        assert read_names(connection, LIMITS, NOW_US, View(find="%"), limit=None) == []
    assert pieces == needing
    assert len(needing) > 20


def test_each_line_has_its_worst_level_and_its_counts(engine):
    with engine.connect() as connection:
        wanted = judged(connection)
        areas, count = read_areas(connection, LIMITS, NOW_US)
    assert count == 3
    assert {area.name for area in areas} == {"", "Kiln", "Raw mill"}
    for area in areas:
        mine = [found for found in wanted if found.area == area.name]
        levels = [found.level.name for found in mine]
        assert area.levels == {name: levels.count(name) for name in set(levels)}
        assert area.worst == max(mine, key=lambda found: found.level.weight).level.name
        assert (area.points, area.machines) == (sum(found.points for found in mine), len(mine))


def test_machines_that_are_not_watched_are_counted_and_only_some_are_named(engine):
    with engine.connect() as connection:
        wanted = judged(connection)
        groups = read_blind(connection, LIMITS, NOW_US)
    blind = [found for found in wanted if found.points_assessable < found.points or not found.points]
    assert sum(group.count for group in groups) == len(blind)
    silent = next(group for group in groups if group.reason == "silent")
    assert silent.count == sum(found.stale for found in blind)
    assert [name for name, _ in silent.named] == [found.machine for found in blind if found.stale][:BLIND_NAMED]


def test_machines_that_were_asked_for_are_read_and_no_others(engine):
    with engine.connect() as connection:
        whole = {found.machine: found for found in read_plant(connection, with_trends=False).machines}
        some = read_machines(connection, ["m-003", "m-001", "no-such"])
        assert read_machines(connection, []) == ()
    assert some == (whole["m-001"], whole["m-003"])


def test_shelved_danger_stands_below_every_machine_that_needs_somebody(engine):
    with engine.connect() as connection:
        wanted = judged(connection)
    shelved = [found for found in wanted if found.level.name == "shelved"]
    assert any(found.case is not None and found.case.priority == "danger" for found in shelved)
    needing = [found for found in wanted if found.level.name not in QUIET]
    assert min(found.attention for found in needing) > max(found.attention for found in shelved)
    first = shelved[0]
    assert (first.level.shape, first.level.letter, first.level.word) == ("shelf", "H", "Shelved")
    assert "on the shelf for 60 min more by somebody" in first.details[0]


def test_shelf_hides_no_sensor_that_fails_and_no_silence(engine):
    with engine.connect() as connection:
        wanted = judged(connection)
    hidden = [found for found in wanted if found.case is not None and found.case.on_shelf(NOW_US)]
    assert {found.level.name for found in hidden} == {"shelved", "sensor", "unknown"}
    assert all("on the shelf for" in found.details[0] for found in hidden)


def test_shelf_whose_time_is_over_hides_nothing_even_where_no_site_says_so(engine):
    with engine.connect() as connection:
        wanted = judged(connection)
    over = [f for f in wanted if f.case is not None and f.case.shelved_until_us == NOW_US - HOUR_US]
    assert over
    assert {found.level.name for found in over} <= {"danger", "alert", "notice", "sensor"}
