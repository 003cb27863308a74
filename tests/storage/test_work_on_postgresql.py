"""Work on cases over PostgreSQL: what the desk writes, what waits to be told, and what the pages ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.database import open_current
from dashboard.condition import Staleness, in_order, judge
from dashboard.queries import alarms, standing
from dashboard.queries.assets import (
    read_assets,
    read_channels,
    read_deliveries,
    read_operating_states,
    read_rows,
    read_versions,
)
from dashboard.queries.cases import (
    read_asked,
    read_counts,
    read_entries,
    read_entry,
    read_labels,
    read_orders,
    read_similar,
    read_unlabelled,
)
from dashboard.queries.plant import read_plant
from dashboard.queries.reports import count_lost, read_happened, read_rounds
from schemas import site_tables as tables
from schemas.asset_table import LimitRow
from tests.support import gateway_talk as talk
from tests.support.chance_plant import write_chance_plant
from tests.support.postgres import postgres_server
from tests.support.site_database import NOW_US
from tests.support.work_office import Receiver, WorkOffice, settings_for

# apprise 2.2 loads all its ways, and one imports what Python 3.13 takes away.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_a_day_of_work_is_the_same_on_postgresql(tmp_path: Path, receiver: Receiver) -> None:
    with postgres_server() as url:
        engine = open_current(url)
        office = WorkOffice(engine, settings_for(tmp_path, receiver))
        office.notifier.step()
        route = {"name": "shift", "channel": "shift", "danger": True, "alert": True}
        assert office.ask("set_routes", machine=None, values={"rows": [route]}).state == "done"
        office.hear(talk.health(1), talk.alarm())
        asset = {"machine": "pump-07", "area": "L1"}
        assert office.ask("set_assets", machine=None, values={"rows": [asset]}).state == "done"
        limit = {
            "applies_to": "pump-07", "quantity": "velocity_rms_mm_s", "unit": "mm/s RMS", "alert": 4.5, "source": "x",
        }  # fmt: skip
        assert office.ask("set_limits", machine=None, values={"rows": [limit]}).state == "done"
        office.limits.step()
        office.hear(*(talk.health(n).model_copy(update={"velocity_rms_mm_s": 5.0}) for n in range(10, 16)))
        office.limits.step()
        assert "own limit" in " ".join(row.text for row in office.rows(tables.case_event))
        asked = office.ask("shelve", note="known", values={"hours": 1})
        assert asked.state == "done"
        with engine.connect() as connection:
            assert read_counts(connection) == {"active": 0, "shelved": 1, "history": 0}
        office.now_s += 3600
        office.shelves.step()
        office.ask("work_order", values={"text": "look", "due_date": "2026-11-30"})
        office.ask("label", label="outer", values={"iso_14224": "2.6"})
        office.notifier.step()
        assert {row.state for row in office.rows(tables.delivery)} == {"sent"}
        office.ask("close")
        with engine.connect() as connection:
            everything = {"since_us": 0, "until_us": office.now_us()}
            (entry,) = read_entries(connection, "history", find="L1")
            assert read_entry(connection, entry.case_id) == entry
            assert [label.label for label in read_labels(connection, **everything)] == ["outer"]
            assert read_unlabelled(connection) == []
            assert len(read_orders(connection)) == 1
            assert read_asked(connection, [asked.request_id])[0].state == "done"
            counts = alarms.read_counts(connection, **everything)
            assert (counts.alarms, counts.of_own_limits, counts.opened, counts.stale) == (2, 1, 1, 0)
            assert (counts.labelled, counts.false_labelled, counts.chattering) == (1, 0, 0)
            assert counts.top == ((talk.POINT, 2, False),)
            seen = alarms.read_score_windows(connection, talk.POINT, factor=0.1, reach=8, **everything)
            assert seen.captures == 7
            of_value = alarms.read_value_windows(
                connection, talk.POINT, "velocity_rms_mm_s", bounds=[4.5], reach=8, speeds=[(None, None)], **everything
            )
            assert of_value.exceeding == 6
            assert alarms.read_highest(connection, talk.POINT, "velocity_rms_mm_s", **everything) == 5.0
            assert read_similar(connection, "pump-01", kind="general", cause="outer")[0].machine == "pump-07"
            assert {"opened", "shelved", "unshelved", "work_order", "label", "closed"} <= {
                one.kind for one in read_happened(connection, **everything)
            }
            assert (read_rounds(connection, **everything), count_lost(connection, **everything)) == ([], 0)
            assert read_assets(connection)[0][0].area == "L1"
            assert len(read_rows(connection, "limits", LimitRow)) == 1
            assert len(read_versions(connection, "assets")) == 2
            assert [channel.name for channel in read_channels(connection)] == ["cmms", "shift"]
            assert len(read_deliveries(connection)) == 3
            assert read_operating_states(connection, talk.POINT)[0].captures == 7
        engine.dispose()


def test_all_machines_are_judged_alike_by_postgresql_and_by_the_page() -> None:
    limits = Staleness(3.0, 30.0, 900.0)
    with postgres_server() as url:
        engine = open_current(url)
        with engine.begin() as connection:
            write_chance_plant(connection, seed=9, machines=120)
        with engine.connect() as connection:
            wanted = in_order(
                judge(found, None, limits, NOW_US) for found in read_plant(connection, with_trends=False).machines
            )
            names = standing.read_names(connection, limits, NOW_US, standing.View(), limit=None)
            assert [name for name, _ in names] == [found.machine for found in wanted]
            totals = standing.read_totals(connection, limits, NOW_US)
            levels = [found.level.name for found in wanted]
            assert totals.levels == {name: levels.count(name) for name in set(levels)}
            assert standing.read_areas(connection, limits, NOW_US)[1] == 3
            assert sum(group.count for group in standing.read_blind(connection, limits, NOW_US)) > 0
            assert standing.count_machines(connection, limits, NOW_US, standing.View(find="kiln")) > 0
        engine.dispose()
