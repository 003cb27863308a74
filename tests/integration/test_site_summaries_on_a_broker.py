"""A site's word reaches its enterprise over a real broker, stands in the site's ledger, and stops where forbidden."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.service import Service
from aggregator.settings import AggregatorSettings
from dashboard.people_door import PeopleDoor
from dashboard.queries.people import read_answer
from schemas.settings import BrokerSettings
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.site_summary import SiteSummary
from schemas.site_tables import ledger, machine_case, site_summary
from tests.support.brokers import BrokerServer, embedded_broker
from tests.support.dashboards import make_dashboard
from tests.support.people import PASSWORD, ring_of
from tests.support.plant import wait_until
from tests.support.site_database import build_site_database


@pytest.fixture(scope="module")
def between() -> Iterator[BrokerServer]:
    with embedded_broker(["group", "north"]) as broker:
        yield broker


class Two:
    """Settings and keys of an enterprise and one site that know each other; the site has a filled database."""

    def __init__(self, folder: Path, between: BrokerServer) -> None:
        self.folder = folder
        self._between = between
        signers = {"group": Signer.generate(), "north": Signer.generate()}
        keys = KeyRing(
            [
                AllowedKey("group", "enterprise", signers["group"].public),
                AllowedKey("north", "site", signers["north"].public),
            ]
        )
        for name, signer in signers.items():
            (folder / name).mkdir()
            signer.save(folder / name / "signing.key")
            keys.save(folder / name / "keys.toml")
        build_site_database(folder / "north" / "site.db", days=0.5).dispose()

    def settings(self, role: str, name: str, **more: object) -> AggregatorSettings:
        home, own = self.folder / name, self._between.settings_for(name)
        values = {
            "role": role, "name": name, "broker": own, "folder": home, "learning": {"enabled": False},
            "signing_key_file": home / "signing.key", "keys_file": home / "keys.toml", **more,
        }  # fmt: skip
        return AggregatorSettings.model_validate(values)

    def uplink(self, **more: object) -> dict[str, object]:
        broker: BrokerSettings = self._between.settings_for("north")
        return {"enterprise": "group", "broker": broker, "summary_interval_s": 1.0, **more}


@pytest.fixture
def two(tmp_path: Path, between: BrokerServer) -> Two:
    return Two(tmp_path, between)


def told(engine: Engine) -> SiteSummary | None:
    with engine.connect() as connection:
        found = connection.scalar(sa.select(site_summary.c.summary))
    return None if found is None else SiteSummary.model_validate(found)


def test_enterprise_hears_how_a_site_stands_and_the_site_counts_what_it_told(two):
    enterprise = Service(two.settings("enterprise", "group"))
    site = Service(two.settings("site", "north", uplink=two.uplink()))
    enterprise.start()
    site.start()
    try:
        first = wait_until("the site's word is there", lambda: told(enterprise.engine), within_s=30.0)
        assert (first.site, first.machines, first.worst) == ("north", 6, ())
        with site.engine.begin() as connection:
            connection.execute(sa.update(machine_case).values(state="closed"))
        wait_until("the next word says it", lambda: _without_cases(told(enterprise.engine)), within_s=30.0)
        with site.engine.connect() as connection:
            counted = connection.execute(sa.select(ledger).where(ledger.c.topic == "site_summary")).one()
        assert counted.messages >= 2
        assert 300 * counted.messages < counted.bytes < 1500 * counted.messages
        assert all(part.alive for part in (*site.parts.values(), *enterprise.parts.values()))
    finally:
        site.stop()
        enterprise.stop()


def test_people_of_an_enterprise_come_in_by_its_own_service(two):
    """Its dashboard writes requests as a site's does; without a desk behind it nobody could ever sign in."""
    board = make_dashboard(two.folder, two.folder / "group" / "enterprise.db", by="people", more={"role": "enterprise"})
    keys = KeyRing.load(two.folder / "group" / "keys.toml")
    KeyRing([*keys, *ring_of(board)]).save(two.folder / "group" / "keys.toml")
    enterprise = Service(two.settings("enterprise", "group"))
    enterprise.start()
    try:
        assert isinstance(board.door, PeopleDoor)
        session = board.door.create_first_admin(board.door.make_first_link(), "Ada", PASSWORD, "10.0.0.7")
        visitor = board.door.recognise(session)
        assert visitor is not None
        assert visitor.role == "admin"
        request_id = board.writer.ask("acknowledge", visitor, "pump-07")
        with enterprise.engine.connect() as connection:
            ended = wait_until("the desk has answered", lambda: _answer(connection, request_id))
        assert ended[0] == "refused", "an enterprise has no machines of its own"
    finally:
        enterprise.stop()


def _answer(connection: sa.Connection, request_id: str) -> tuple[str, str] | None:
    connection.rollback()
    found = read_answer(connection, request_id)
    return found if found is not None and found[0] in {"done", "refused"} else None


def test_site_that_forbids_it_has_no_part_that_tells(two):
    silent = Service(two.settings("site", "north", uplink=two.uplink(summary=False)))
    assert "summary" not in silent.parts
    silent.engine.dispose()


def _without_cases(summary: SiteSummary | None) -> bool:
    return summary is not None and not summary.states.get("danger") and not summary.states.get("alert")
