"""What a site sums up for its enterprise: the same states as on its own pages, and no name unless allowed."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.engine import Engine

from aggregator.broker_files import access_of
from aggregator.client_list import Client
from aggregator.settings import AggregatorSettings
from aggregator.site_summary import summarise
from aggregator.summary_book import SummaryBook
from dashboard.condition import Staleness, judge
from dashboard.queries.plant import read_plant
from dashboard.settings import LiveSettings
from schemas.link import Received
from schemas.messages import encode
from schemas.settings import BrokerSettings
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.site_summary import STATES, SiteSummary
from schemas.site_tables import machine, machine_case, point, release, site_summary
from schemas.topics import SITE_SUMMARY
from tests.support.site_database import NOW_US, build_site_database, create_tables

DAY_US = 86_400_000_000
WORDS = ("pump", "Cooling", "imbalance", "outer", "Weber", "mm/s")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("summary") / "site.db"
    build_site_database(path, days=1.0).dispose()
    return path


@pytest.fixture
def site(filled: Path, tmp_path: Path) -> Iterator[Engine]:
    with sqlite3.connect(filled) as source, sqlite3.connect(tmp_path / "site.db") as copy:
        source.backup(copy)
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'site.db'}")
    yield engine
    engine.dispose()


def summary_of(engine: Engine, *, now_us: int = NOW_US, name_machines: bool = False) -> SiteSummary:
    with engine.connect() as connection:
        return summarise(connection, "north", now_us=now_us, interval_s=300.0, name_machines=name_machines)


def states_of_pages(engine: Engine, now_us: int) -> Counter[str]:
    live = LiveSettings()
    limits = Staleness(live.stale_after_intervals, live.stale_floor_s, live.assumed_interval_s)
    with engine.connect() as connection:
        plant = read_plant(connection, with_trends=False)
    return Counter(judge(one, None, limits, now_us).level.name for one in plant.machines)


@pytest.mark.parametrize("later_us", [0, 1500 * 1_000_000, DAY_US])
@pytest.mark.parametrize("change", ["nothing", "shelved", "closed", "stopped", "suspect"])
def test_counts_are_those_of_the_sites_own_pages(site, later_us, change):
    with site.begin() as connection:
        if change == "shelved":
            connection.execute(sa.update(machine_case).values(shelved_until_us=NOW_US + 3_600_000_000))
        if change == "closed":
            connection.execute(sa.update(machine_case).values(state="closed"))
        if change == "stopped":
            connection.execute(sa.update(point).values(quality="machine_stopped"))
            connection.execute(sa.update(machine_case).values(state="closed"))
        if change == "suspect":
            connection.execute(sa.update(point).where(point.c.point == "mill-01/inlet").values(learning="suspect"))
    found = summary_of(site, now_us=NOW_US + later_us)
    assert Counter(found.states) == states_of_pages(site, NOW_US + later_us)
    assert found.machines == 6


def test_no_name_cause_person_or_value_is_in_it_unless_the_setting_allows_names(site):
    said = encode(summary_of(site)).decode()
    assert not [word for word in WORDS if word in said]
    named = summary_of(site, name_machines=True)
    assert [(one.machine, one.state, one.cause) for one in named.worst] == [
        ("pump-07", "danger", "outer"), ("fan-03", "alert", "imbalance"),
    ]  # fmt: skip
    assert [one.acknowledged for one in named.worst] == [False, True]
    assert "Weber" not in encode(named).decode()


def test_names_in_a_summary_that_forbids_them_are_refused(site):
    named = summary_of(site, name_machines=True).model_dump()
    with pytest.raises(ValidationError, match="machines are named"):
        SiteSummary.model_validate(named | {"names_allowed": False})
    with pytest.raises(ValidationError, match="6 machines are named, 5 allowed"):
        SiteSummary.model_validate(named | {"worst": named["worst"][:1] * 6})


def test_summary_says_how_fresh_watched_and_up_to_date_the_site_is(site):
    with site.begin() as connection:
        connection.execute(
            sa.update(release).where(release.c.state == "current").values(manifest={"data": {"fleet_version": 3}})
        )
    found = summary_of(site)
    assert (found.release_version, found.fleet_version) == (4, 3)
    assert (found.gateways, found.gateways_online, found.gateways_current) == (3, 2, 2)
    assert (found.points, found.points_assessable, found.acknowledged) == (8, 5, 1)
    assert found.newest_data_us is not None
    assert NOW_US - 60_000_000 < found.newest_data_us < NOW_US


def test_empty_site_has_no_machine_in_any_state(tmp_path):
    engine = create_tables(tmp_path / "empty.db")
    found = summary_of(engine)
    assert (found.states, found.machines, found.newest_data_us, found.release_version) == ({}, 0, None, 0)
    with engine.begin() as connection:
        connection.execute(sa.insert(machine).values(machine="pump-07", first_seen_us=NOW_US))
    assert summary_of(engine).states == {"unknown": 1}, "a machine nobody hears is not well"
    engine.dispose()


def test_states_are_counted_worst_first_and_each_is_one_the_pages_know():
    from dashboard.condition import LEVELS

    assert set(STATES) == set(LEVELS)
    assert [LEVELS[name].weight for name in STATES] == sorted((one.weight for one in LEVELS.values()), reverse=True)


class Enterprise:
    """A book without a broker, two sites whose keys it knows, and a stranger."""

    def __init__(self, folder: Path) -> None:
        self.engine = create_tables(folder / "enterprise.db")
        self.now_us = NOW_US
        self.signers = {name: Signer.generate() for name in ("north", "south", "stranger")}
        keys = KeyRing(AllowedKey(name, "site", self.signers[name].public) for name in ("north", "south"))
        self.book = SummaryBook(
            self.engine, BrokerSettings(host="127.0.0.1", port=1, allow_anonymous=True),
            "group", keys=keys, now_us=lambda: self.now_us,
        )  # fmt: skip

    def hear(self, site: str, *, by: str, of: str, at_us: int = NOW_US) -> None:
        topic = SITE_SUMMARY.path(site="group", member=site)
        said = SiteSummary(
            site=of, at_us=at_us, interval_s=300.0, newest_data_us=None, states={}, acknowledged=0, points=0,
            points_assessable=0, gateways=0, gateways_online=0, gateways_current=0, release_version=0,
            fleet_version=0, software="0.1",
        )  # fmt: skip
        self.book.take(Received(topic, self.signers[by].seal(topic, encode(said)), 1, False, 1, 1))

    def kept(self) -> dict[str, int]:
        with self.engine.connect() as connection:
            return {row.site: row.summary["at_us"] for row in connection.execute(sa.select(site_summary))}


@pytest.fixture
def enterprise(tmp_path: Path) -> Iterator[Enterprise]:
    made = Enterprise(tmp_path)
    yield made
    made.engine.dispose()


def test_enterprise_keeps_the_newest_word_of_each_site(enterprise):
    for site, at_us in (("north", NOW_US), ("south", NOW_US), ("north", NOW_US + 5), ("north", NOW_US + 3)):
        enterprise.hear(site, by=site, of=site, at_us=at_us)
    assert enterprise.kept() == {"north": NOW_US + 5, "south": NOW_US}
    assert enterprise.book.counters == {"stored": 3, "older": 1}


def test_site_whose_clock_was_ahead_is_heard_again_once_it_is_right(enterprise):
    enterprise.hear("north", by="north", of="north", at_us=NOW_US + DAY_US)
    enterprise.hear("north", by="north", of="north", at_us=NOW_US)
    assert enterprise.kept() == {"north": NOW_US}


def test_nobody_speaks_for_another_site(enterprise):
    enterprise.hear("north", by="stranger", of="north")
    enterprise.hear("north", by="south", of="north")
    enterprise.hear("north", by="north", of="south")
    enterprise.book.take(Received(SITE_SUMMARY.path(site="group", member="north"), b"{}", 1, False, 1, 1))
    assert enterprise.kept() == {}
    assert "stored" not in enterprise.book.counters
    assert sum(enterprise.book.counters.values()) == 4
    assert enterprise.book.counters["wrong_speaker"] == 2


def test_broker_lets_a_site_write_its_own_summary_and_read_none(tmp_path):
    settings = AggregatorSettings.model_validate(
        {"role": "enterprise", "name": "group", "broker": {"host": "127.0.0.1", "username": "group",
         "password_file": tmp_path / "p"}}
    )  # fmt: skip
    rules = access_of(Client(name="north", kind="site"), settings)
    summaries = [(right, path) for right, path in rules if "summary" in path]
    assert summaries == [("write", "ut/v1/group/learning/north/summary")]
    assert not [path for right, path in rules if right != "write" and "+" in path]
    gateway = access_of(Client(name="gw-1", kind="gateway"), settings.model_copy(update={"role": "site"}))
    assert not [path for _, path in gateway if "summary" in path]
