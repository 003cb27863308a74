"""What the page of an enterprise says of its sites in each state, in both languages; without a browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from starlette.applications import Starlette
from streamlit.testing.v1 import AppTest

from dashboard import runtime
from dashboard.api.routes import PREFIX, api_routes
from dashboard.languages import speaking
from dashboard.ledger_classes import CLASSES, class_content, example_of
from dashboard.pages.addresses import page_titles
from dashboard.queries.federation import Federation
from dashboard.queries.sites import read_enterprise
from dashboard.settings import DashboardSettings
from dashboard.site_condition import in_order, judge_site
from schemas.errors import SettingsError
from schemas.settings import load_settings
from schemas.site_summary import NamedMachine, SiteSummary
from schemas.site_tables import learning_round, machine, release, rollout, round_update, site_summary
from tests.support.asgi import served
from tests.support.dashboards import make_dashboard, token_of
from tests.support.page_runs import run_page, words_of
from tests.support.people import bearer
from tests.support.site_database import NOW_US, create_tables

ADDRESSES = {"north": "https://screen.north.example/"}
HOSTILE = "<img src=x onerror=alert(1)> **b** [x](http://x)"
MINUTE_US = 60_000_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_tables(tmp_path / "enterprise.db")
    yield made
    made.dispose()
    runtime.install(None)


def summary_of(site: str, **more: Any) -> SiteSummary:
    usual: dict[str, Any] = {
        "at_us": NOW_US, "interval_s": 300.0, "newest_data_us": NOW_US - MINUTE_US, "states": {"normal": 40},
        "acknowledged": 0, "points": 80, "points_assessable": 78, "gateways": 3, "gateways_online": 3,
        "gateways_current": 2, "release_version": 17, "fleet_version": 4, "software": "0.2.0",
    }  # fmt: skip
    return SiteSummary(site=site, **usual | more)


def tell(engine: Engine, site: str, *, age_us: int = 3 * MINUTE_US, **more: Any) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.insert(site_summary).values(
                site=site, received_at_us=NOW_US - age_us, summary=summary_of(site, **more).model_dump(mode="json")
            )
        )


def learn(engine: Engine, *, current: int = 5) -> None:
    with engine.begin() as connection:
        for version in (current - 1, current):
            connection.execute(
                sa.insert(release).values(
                    release_version=version, digest="a" * 64, level="fleet", created_at_us=NOW_US,
                    state="current" if version == current else "superseded", manifest={}, bundle=b"x",
                )
            )  # fmt: skip
        for number, (site, accepted) in enumerate((("north", True), ("south", False)), start=1):
            connection.execute(
                sa.insert(learning_round).values(
                    round_id=number,
                    level="enterprise",
                    state="released",
                    base_version=current - 1,
                    started_at_us=NOW_US - MINUTE_US,
                )
            )
            connection.execute(
                sa.insert(round_update).values(
                    round_id=number,
                    member=site,
                    received_at_us=NOW_US - MINUTE_US,
                    accepted=accepted,
                    reason="" if accepted else "not_finite",
                )
            )
        connection.execute(
            sa.insert(rollout).values(release_version=current, gateway="west", state="running", at_us=NOW_US)
        )


def sites_script() -> None:
    from dashboard.pages.sites import show_sites, show_sites_strip

    show_sites_strip()
    show_sites()


def learning_script() -> None:
    from dashboard.pages.federation import show_federation

    show_federation()


def shown(engine: Engine, folder: Path, *, language: str = "en") -> str:
    board = make_dashboard(
        folder, Path(str(engine.url.database)), more={"role": "enterprise", "site_addresses": ADDRESSES}
    )  # fmt: skip
    runtime.install(board)
    page = AppTest.from_function(sites_script, default_timeout=60)
    page.session_state["language"] = language
    page.run()
    assert not page.exception, page.exception
    links = [f"{one.proto.label} {one.proto.url}" for one in page.get("link_button")]
    html = [one.proto.body for one in page.get("html")]
    return "\n".join([words_of(page.header, page.markdown, page.caption), *links, *html])


def test_empty_enterprise_says_what_to_do_and_is_not_called_calm(engine, tmp_path):
    said = shown(engine, tmp_path)
    assert "No sites yet" in said
    assert "nothing is being watched here" in said
    assert "aggregator enroll" in said
    assert "nothing abnormal" not in said


def test_site_with_the_worst_machine_comes_first_with_counts_ages_versions_and_a_link(engine, tmp_path):
    tell(engine, "south", states={"alert": 2, "normal": 9})
    tell(engine, "north", states={"danger": 1, "alert": 1, "normal": 38})
    tell(engine, "west", states={"normal": 5}, fleet_version=5)
    learn(engine)
    said = shown(engine, tmp_path)
    assert said.index("**north**") < said.index("**south**") < said.index("**west**")
    assert "3 of 3 sites heard" in said
    assert "78 of 80 points assessable" in said
    assert "told 3 min ago" in said
    assert "in it release 4 of the enterprise (1 behind)" in said
    assert "in it release 5 of the enterprise (up to date)" in said
    assert "update merged in round 1" in said
    assert "update of round 2 refused" in said
    assert "release 17 of the site on 2 of 3 gateways" in said
    assert "Open its dashboard https://screen.north.example/" in said
    assert said.count("Open its dashboard") == 1


def test_silent_site_is_stale_and_its_counts_are_called_the_past(engine, tmp_path):
    tell(engine, "north", age_us=16 * MINUTE_US, states={"danger": 2})
    tell(engine, "south", age_us=14 * MINUTE_US)
    said = shown(engine, tmp_path)
    assert ":red[" not in said
    assert "■ D Danger\u00a02" in said
    assert "newest data 17 min ago" in said, "counted on from when it was told, whatever the site's clock says"
    assert "**Silent**: told 16 min ago; what is below is the past." in said
    assert "1 of 2 sites heard" in said
    assert said.index("**north**") < said.index("**south**")


def test_no_site_heard_is_said_above_everything_and_nothing_is_called_live(engine, tmp_path):
    tell(engine, "north", age_us=600 * MINUTE_US, states={"danger": 3})
    said = shown(engine, tmp_path)
    assert "No site is heard" in said
    assert "live" not in said.partition("No site is heard")[0]


def test_site_that_learns_but_tells_nothing_is_not_known_rather_than_well(engine, tmp_path):
    learn(engine)
    tell(engine, "south")
    said = shown(engine, tmp_path)
    assert "It has told nothing of its machines" in said
    with engine.connect() as connection:
        found = read_enterprise(connection)
    judged = {one.site: judge_site(one, now_us=NOW_US, release_version=5) for one in found.sites}
    assert {name: one.level.name for name, one in judged.items()} == {
        "north": "unknown", "south": "normal", "west": "unknown",
    }  # fmt: skip
    assert judged["west"].behind == 0


def test_what_a_newer_site_tells_is_not_guessed_at(engine, tmp_path):
    tell(engine, "north")
    with engine.begin() as connection:
        connection.execute(sa.update(site_summary).values(summary={"kind": "site_summary", "version": 9}))
    said = shown(engine, tmp_path)
    assert "does not understand" in said


def test_machines_are_named_only_where_the_site_has_named_them_and_as_text(engine, tmp_path):
    named = NamedMachine(
        machine="pump-07", title=HOSTILE, state="danger", cause="outer", since_us=NOW_US - 60 * MINUTE_US,
        acknowledged=False,
    )  # fmt: skip
    tell(engine, "north", states={"danger": 1}, names_allowed=True, worst=(named,))
    tell(engine, "south", states={"danger": 1})
    said = shown(engine, tmp_path)
    assert "&lt;img src=x onerror=alert(1)&gt;" in said
    assert "<img" not in said
    assert 'href="https://screen.north.example/machine?machine=pump-07"' in said
    assert said.count("Worst machines") == 1


def test_page_is_german_for_who_reads_german(engine, tmp_path):
    tell(engine, "north", states={"danger": 1}, age_us=99 * MINUTE_US)
    said = shown(engine, tmp_path, language="de")
    assert "Standorte" in said
    assert "Dashboard öffnen" in said
    assert "Still" in said
    assert "Silent" not in said


def test_database_of_a_site_is_called_one(engine, tmp_path):
    with engine.begin() as connection:
        connection.execute(sa.insert(machine).values(machine="pump-07", first_seen_us=NOW_US))
    assert "This is the database of a site" in shown(engine, tmp_path)


def test_missing_database_is_explained_and_not_an_empty_list(engine, tmp_path):
    engine.dispose()
    Path(str(engine.url.database)).unlink()
    said = shown(engine, tmp_path)
    assert "database is not there" in said
    assert "No sites yet" not in said


@pytest.mark.parametrize("part", ["rounds", "benefit", "releases", "ledger"])
def test_page_of_the_learning_stands_on_the_database_of_an_enterprise(engine, tmp_path, part):
    learn(engine)
    page = run_page(learning_script, engine, tmp_path, part=part)
    assert "not known" not in words_of(page.header)
    if part == "rounds":
        assert "south" in "".join(one.value.to_string() for one in page.dataframe)


def test_of_equally_bad_sites_the_one_with_more_machines_there_comes_first(engine):
    tell(engine, "a", states={"alert": 1})
    tell(engine, "b", states={"alert": 3})
    with engine.connect() as connection:
        sites = read_enterprise(connection).sites
    assert [one.record.site for one in in_order(judge_site(s, now_us=NOW_US, release_version=None) for s in sites)] == [
        "b", "a",
    ]  # fmt: skip


def test_enterprise_has_the_pages_that_make_sense_there(tmp_path):
    assert list(page_titles("enterprise")) == ["sites", "learning", "people", "audit"]
    assert "sites" not in page_titles()


@pytest.mark.parametrize("address", ["javascript:alert(1)", "screen.example", "https://a b", 'https://x"onload=y'])
def test_address_that_is_none_is_refused_by_the_settings(tmp_path, address):
    file = tmp_path / "dashboard.toml"
    file.write_text(f"database_url = 'sqlite:///x.db'\nrole = 'enterprise'\n[site_addresses]\nnorth = '{address}'\n")
    with pytest.raises(SettingsError, match="north"):
        load_settings(DashboardSettings, file)


def test_programs_read_the_sites_of_an_enterprise_and_a_site_has_no_such_path(engine, tmp_path):
    tell(engine, "north", states={"danger": 2, "normal": 1})
    board = make_dashboard(tmp_path, Path(str(engine.url.database)), more={"role": "enterprise"})
    with served(Starlette(routes=api_routes(board))) as client:
        (found,) = client.get(f"{PREFIX}/sites", headers=bearer(token_of(board))).json()
        assert client.get(f"{PREFIX}/sites").status_code == 401
    assert (found["site"], found["state"], found["stale"], found["states"]) == (
        "north", "danger", False, {"danger": 2, "normal": 1},
    )  # fmt: skip
    (tmp_path / "site").mkdir()
    board = make_dashboard(tmp_path / "site", Path(str(engine.url.database)))
    with served(Starlette(routes=api_routes(board))) as client:
        assert client.get(f"{PREFIX}/sites", headers=bearer(token_of(board))).status_code == 404


@pytest.mark.parametrize("language", ["en", "de"])
def test_summary_is_in_the_ledger_of_what_left_the_plant_with_an_example(language):
    assert "site_summary" in {topic.name for topic in CLASSES}
    with speaking(language):
        assert "uplink.summary_names_machines" in class_content("site_summary")
    example = example_of("site_summary", Federation((), (), (), (), (), 0))
    assert SiteSummary.model_validate_json(example.text).worst == ()
