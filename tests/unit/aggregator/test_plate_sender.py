"""Nameplates on their way to gateways: each gets its own machines, a change a higher number, nothing twice."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.historian import Arrived
from aggregator.plate_sender import LOOK_S, REPEAT_S, PlateSender
from schemas import site_tables as tables
from schemas.messages import GatewayStatus, decode
from schemas.plate_table import MOST_PLATES, PlateTable
from schemas.topics import NAMEPLATES
from tests.support import gateway_talk as talk
from tests.support.work_office import KEYS, SITE_SIGNER, WorkOffice


@dataclass
class Site:
    """A site's office and its sender, with what went out."""

    office: WorkOffice
    sent: list[PlateTable] = field(default_factory=list)
    broker_there: bool = True

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.sender = PlateSender(
            self.office.engine, site=talk.SITE, signer=SITE_SIGNER, publish=self.publish, now_us=self.office.now_us,
            now_s=lambda: self.office.now_s,
        )  # fmt: skip

    def publish(self, topic: str, sealed: bytes) -> bool:
        if not self.broker_there:
            return False
        table = decode(PlateTable, KEYS.open(topic, sealed, role="site", name=talk.SITE))
        assert topic == NAMEPLATES.path(site=talk.SITE, gateway=table.gateway)
        self.sent.append(table)
        return True

    def look(self, after_s: float = LOOK_S) -> list[PlateTable]:
        """What goes out when so much time has passed."""
        self.office.now_s += after_s
        before = len(self.sent)
        self.sender.step()
        return self.sent[before:]

    def put(self, *rows: dict[str, Any]) -> None:
        answer = self.office.ask("set_assets", machine=None, values={"rows": list(rows)})
        assert answer.state == "done", answer.answer

    def hear(self, revision: int | None, *, gateway: str = talk.GATEWAY, machines: tuple[str, ...] = ()) -> None:
        status = GatewayStatus(
            gateway=gateway, online=True, boot=1, at_us=self.office.now_us(), software="0.2", release_version=0,
            release_digest="", plates_revision=revision, machines=machines,
        )  # fmt: skip
        self.office.historian.store([Arrived(status)])


@pytest.fixture
def site(engine: Engine) -> Site:
    made = Site(WorkOffice(engine))
    made.office.hear(talk.health(1))
    made.hear(0)
    return made


def test_nothing_is_sent_before_a_person_has_uploaded_a_table(site: Site) -> None:
    assert site.look() == []


def test_an_uploaded_machine_goes_to_the_gateway_that_hears_it_and_to_no_other(site: Site) -> None:
    site.hear(0, gateway="gw-2")
    site.put({"machine": "pump-07", "power_kw": 55.0, "rpm": 1480.0}, {"machine": "fan-01", "power_kw": 4.0})
    (table,) = site.look()
    assert (table.gateway, table.revision) == (talk.GATEWAY, 1)
    assert [(told.machine, told.power_kw, told.rpm) for told in table.machines] == [("pump-07", 55.0, 1480.0)]


def test_a_machine_of_a_gateways_settings_gets_its_nameplate_before_its_first_capture(site: Site) -> None:
    site.hear(0, gateway="gw-2", machines=("fan-01", "fan-02"))
    site.put({"machine": "fan-01", "power_kw": 4.0})
    (table,) = site.look()
    assert (table.gateway, [told.machine for told in table.machines]) == ("gw-2", ["fan-01"])


def test_what_a_cell_leaves_open_is_left_open_for_the_gateway(site: Site) -> None:
    site.put({"machine": "pump-07", "power_kw": 55.0})
    (told,) = site.look()[0].machines
    assert (told.kind, told.line_frequency_hz, told.foundation, told.bearing) == (None, None, None, None)


def test_a_change_and_its_undoing_go_out_under_higher_numbers(site: Site) -> None:
    for revision, power_kw in ((1, 55.0), (2, 75.0), (3, 55.0)):
        site.put({"machine": "pump-07", "power_kw": power_kw})
        (table,) = site.look()
        assert (table.revision, table.machines[0].power_kw) == (revision, power_kw)


def test_a_change_of_name_or_line_concerns_no_gateway(site: Site) -> None:
    site.put({"machine": "pump-07", "power_kw": 55.0})
    site.look()
    site.put({"machine": "pump-07", "power_kw": 55.0, "title": "Feed pump", "area": "Line 2", "criticality": 5})
    assert site.look(REPEAT_S - 1) == []


def test_it_is_repeated_until_the_gateway_says_that_it_is_in_force(site: Site) -> None:
    site.put({"machine": "pump-07", "power_kw": 55.0})
    assert len(site.look()) == 1
    assert site.look() == []
    assert [table.revision for table in site.look(REPEAT_S)] == [1]
    site.hear(1)
    assert site.look(REPEAT_S) == []
    site.restart()
    assert site.look() == []


def test_older_software_that_takes_no_nameplates_is_not_told_again_and_again(site: Site) -> None:
    site.hear(None)
    site.put({"machine": "pump-07", "power_kw": 55.0})
    assert len(site.look()) == 1
    assert [site.look(REPEAT_S) for _ in range(3)] == [[], [], []]


def test_what_the_broker_did_not_take_is_sent_when_it_is_back(site: Site) -> None:
    site.broker_there = False
    site.put({"machine": "pump-07", "power_kw": 55.0})
    assert site.look() == []
    site.broker_there = True
    assert [table.revision for table in site.look()] == [1]


def test_a_site_brought_back_from_an_old_backup_goes_above_what_its_gateways_have(site: Site) -> None:
    site.put({"machine": "pump-07", "power_kw": 55.0})
    site.hear(41)
    assert [table.revision for table in site.look()] == [42]


def test_a_machine_that_moved_to_another_gateway_moves_with_its_nameplate(site: Site) -> None:
    site.put({"machine": "pump-07", "power_kw": 55.0})
    site.look()
    site.hear(0, gateway="gw-2")
    site.office.hear(talk.health(2), gateway="gw-2")
    sent = {table.gateway: [told.machine for told in table.machines] for table in site.look()}
    assert sent == {talk.GATEWAY: [], "gw-2": ["pump-07"]}


def test_more_machines_than_a_message_holds_are_not_sent_at_all(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    names = tuple(f"m-{number}" for number in range(MOST_PLATES))
    site.hear(0, machines=names)
    site.put(*({"machine": name, "power_kw": 5.0} for name in (*names, "pump-07")))
    assert site.look() == []
    assert "nameplates_not_sent" in caplog.text


def test_a_nameplate_in_the_database_that_no_gateway_would_take_does_not_hold_up_the_others(site: Site) -> None:
    site.put({"machine": "pump-07", "power_kw": 55.0}, {"machine": "fan-01", "power_kw": 4.0})
    site.hear(0, machines=("fan-01",))
    with site.office.engine.begin() as connection:
        connection.execute(
            sa.update(tables.machine)
            .where(tables.machine.c.machine == "fan-01")
            .values(nameplate={"machine": "fan-01", "power_kw": 1e9})
        )
    assert [told.machine for told in site.look()[0].machines] == ["pump-07"]
