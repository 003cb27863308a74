"""Records on their way over a real broker into a real database: each stored once, none acknowledged before."""

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aggregator.database import open_current
from aggregator.historian import Historian
from aggregator.recorder import Recorder
from aggregator.settings import AggregatorSettings
from schemas import site_tables as tables
from schemas.database import sqlite_url
from schemas.link import Link, Received
from schemas.messages import Command, CommandResult, RecordsAck, decode, encode
from schemas.requests import REQUEST_TOPIC, Request
from schemas.settings import load_settings
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.topics import COMMAND, RECORDS, RECORDS_ACK
from tests.support import gateway_talk as talk
from tests.support.brokers import BrokerServer, Inbox, ServiceProcess, embedded_broker, linked

ACK_TOPIC = RECORDS_ACK.path(site=talk.SITE, gateway=talk.GATEWAY)
COMMAND_TOPIC = COMMAND.path(site=talk.SITE, gateway=talk.GATEWAY)


@dataclass
class Site:
    """A site's folder, its broker, and the keys of those who talk."""

    folder: Path
    broker: BrokerServer
    settings_file: Path
    settings: AggregatorSettings
    site: Signer
    gateway: Signer
    dashboard: Signer
    keys: KeyRing

    @property
    def database(self) -> Path:
        return self.folder / "var" / "site.db"

    def query(self, sql: str) -> list[Any]:
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10) as connection:
            rows = connection.execute(sql).fetchall()
        connection.close()
        return rows

    def open_ack(self, received: Received) -> RecordsAck:
        assert received.topic == ACK_TOPIC
        return decode(RecordsAck, self.keys.open(received.topic, received.payload, role="site", name=talk.SITE))

    def acked(self, through: int) -> Callable[[Received], bool]:
        return lambda received: received.topic == ACK_TOPIC and self.open_ack(received).through == through

    def gateway_link(self) -> Any:
        return linked(self.broker.settings_for("gw-1"), "gw-1", ACK_TOPIC, COMMAND_TOPIC)

    def publish(self, link: Link, said: Any) -> None:
        assert link.publish(*talk.sealed_records(self.gateway, said))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    plant, gateway, board = Signer.generate(), Signer.generate(), Signer.generate()
    keys = KeyRing(
        [
            AllowedKey(talk.SITE, "site", plant.public),
            AllowedKey(talk.GATEWAY, "gateway", gateway.public),
            AllowedKey("board", "dashboard", board.public),
        ]
    )
    keys.save(tmp_path / "keys.toml")
    plant.save(tmp_path / "signing.key")
    with embedded_broker(["plant-a", "gw-1"]) as broker:
        file = tmp_path / "site.toml"
        file.write_text(
            f'name = "{talk.SITE}"\n[broker]\nport = {broker.port}\nusername = "plant-a"\n'
            f'password_file = "{broker.folder}/plant-a.password"\nkeepalive_s = 5\n'
            "[learning]\nenabled = false\n[desk]\npoll_s = 0.05\nrepeat_s = 0.3\n"
        )
        yield Site(tmp_path, broker, file, load_settings(AggregatorSettings, file, {}), plant, gateway, board, keys)


@pytest.fixture
def recorder(site: Site) -> Iterator[Recorder]:
    engine = open_current(sqlite_url(site.database))
    recorder = Recorder(site.settings, Historian(engine, now_us=lambda: 1), signer=site.site, keys=site.keys)
    recorder.start()
    assert recorder.link.wait_connected(10)
    yield recorder
    recorder.stop()
    assert recorder.fault is None
    engine.dispose()


def test_records_published_twice_and_out_of_order_are_stored_once(site: Site, recorder: Recorder) -> None:
    with site.gateway_link() as (link, inbox):
        for said in (talk.healths(4, 5), talk.healths(0, 1), talk.healths(4, 5), talk.healths(2, 3), talk.healths(0)):
            site.publish(link, said)
        inbox.wait_for(site.acked(5))
        site.publish(link, talk.healths(6))
        inbox.wait_for(site.acked(6))
    assert site.query("SELECT sequence FROM health ORDER BY sequence") == [(n,) for n in range(7)]
    assert site.query("SELECT through, stored, duplicates FROM uplink") == [(6, 7, 3)]


def test_bad_input_becomes_counted_dead_letters_and_the_rest_goes_on(site: Site, recorder: Recorder) -> None:
    topic = RECORDS.path(site=talk.SITE, gateway=talk.GATEWAY)
    foreign = talk.healths(0, gateway="gw-2")
    with site.gateway_link() as (link, inbox):
        for payload in (
            site.gateway.seal(topic, encode(foreign)),
            Signer.generate().seal(topic, encode(talk.healths(0))),
            site.gateway.seal(topic, b"{not json"),
            encode(talk.healths(0)),
            b"\x00" * 3000,
        ):
            assert link.publish(topic, payload)
        assert link.publish(*talk.sealed_records(site.gateway, foreign))
        site.publish(link, talk.healths(0))
        inbox.wait_for(site.acked(0))
    assert dict(site.query("SELECT reason, count FROM dead_letter_count")) == {
        "wrong_gateway": 1, "unknown_key": 1, "not_json": 1, "unsigned": 2, "wrong_speaker": 1,
    }  # fmt: skip
    assert site.query("SELECT gateway, count(*) FROM health GROUP BY 1") == [("gw-1", 1)]
    assert recorder.alive


class _DiesAfterTheCommit(Historian):
    def store(self, arrived: Any) -> Any:
        super().store(arrived)
        raise MemoryError("killed between the commit and the answer")


def test_killed_between_commit_and_acknowledgement_stores_nothing_twice(site: Site) -> None:
    engine = open_current(sqlite_url(site.database))
    dying = Recorder(site.settings, _DiesAfterTheCommit(engine, now_us=lambda: 1), signer=site.site, keys=site.keys)
    dying.start()
    assert dying.link.wait_connected(10)
    with site.gateway_link() as (link, inbox):
        site.publish(link, talk.healths(0, 1))
        dying._thread.join(10)
        assert not dying.alive
        dying.stop()
        assert site.query("SELECT count(*) FROM health") == [(2,)]
        assert inbox.seen == []
        again = Recorder(site.settings, Historian(engine, now_us=lambda: 1), signer=site.site, keys=site.keys)
        again.start()
        inbox.wait_for(site.acked(1))
        again.stop()
    engine.dispose()
    assert site.query("SELECT stored, duplicates FROM uplink") == [(2, 2)]


def test_killed_before_the_commit_stores_it_after_the_restart(site: Site) -> None:
    command = ("aggregator", "run", "--settings", str(site.settings_file))
    with site.gateway_link() as (link, inbox):
        with ServiceProcess(site.folder, *command) as first:
            first.wait_notice()
            _publish_until_acked(site, link, inbox, talk.healths(0), 0)
            blocker = sqlite3.connect(site.database, isolation_level=None)
            blocker.execute("BEGIN IMMEDIATE")
            site.publish(link, talk.healths(1, 2))
            assert link.wait_published(5)
            first.kill()
            blocker.execute("ROLLBACK")
            blocker.close()
        assert site.query("SELECT through FROM uplink") == [(0,)]
        with ServiceProcess(site.folder, *command) as second:
            inbox.wait_for(site.acked(2))
            second.wait_notice("WATCHDOG=1")
            assert second.terminate() == 0
    assert site.query("SELECT sequence FROM health ORDER BY 1") == [(0,), (1,), (2,)]


def test_broker_that_is_away_at_start_goes_and_returns_loses_nothing(site: Site) -> None:
    site.broker.kill()
    with ServiceProcess(site.folder, "aggregator", "run", "--settings", str(site.settings_file)) as service:
        service.wait_notice()
        site.broker.start()
        with site.gateway_link() as (link, inbox):
            _publish_until_acked(site, link, inbox, talk.healths(0), 0)
            site.broker.kill()
            site.broker.start()
            _publish_until_acked(site, link, inbox, talk.healths(1), 1)
        assert service.terminate() == 0


def _publish_until_acked(site: Site, link: Link, inbox: Inbox, said: Any, through: int) -> None:
    """As a gateway does: again until the site has answered."""
    for _ in range(40):
        if link.wait_connected(10):
            link.publish(*talk.sealed_records(site.gateway, said))
        try:
            inbox.wait_for(site.acked(through), within_s=0.5)
        except AssertionError:
            continue
        return
    raise AssertionError(f"no acknowledgement through {through}")


def test_person_asks_and_the_gateways_answer_is_on_the_dashboard(site: Site) -> None:
    with (
        ServiceProcess(site.folder, "aggregator", "run", "--settings", str(site.settings_file)) as service,
        site.gateway_link() as (link, inbox),
    ):
        service.wait_notice()
        _publish_until_acked(site, link, inbox, talk.batch((0, talk.alarm())), 0)
        asked = Request(
            request_id="a" * 32, action="acknowledge", actor="anna", role="technician", machine="pump-07",
            asked_at_us=1,
        )  # fmt: skip
        engine = sa.create_engine(sqlite_url(site.database))
        with engine.begin() as connection:
            sealed = site.dashboard.seal(REQUEST_TOPIC, encode(asked))
            connection.execute(sa.insert(tables.request).values(request_id="a" * 32, sealed=sealed, created_at_us=1))
        engine.dispose()
        for _ in range(2):  # unanswered, it is said again
            heard = inbox.wait_for(lambda received: received.topic == COMMAND_TOPIC)
        command = decode(Command, site.keys.open(heard.topic, heard.payload, role="site", name=talk.SITE))
        assert (command.action, command.point, command.actor) == ("acknowledge", talk.POINT, "anna")
        result = CommandResult(command_id=command.command_id, done=True, text="acknowledged", at_us=2)
        site.publish(link, talk.batch((1, result), (2, talk.alarm("acknowledged"))))
        inbox.wait_for(site.acked(2))
    assert site.query("SELECT state, answer FROM request") == [("done", "acknowledged")]
    assert site.query("SELECT state, acknowledged_by FROM machine_case") == [("acknowledged", "anna")]


def test_status_works_beside_a_running_aggregator(site: Site) -> None:
    with (
        ServiceProcess(site.folder, "aggregator", "run", "--settings", str(site.settings_file)) as service,
        site.gateway_link() as (link, inbox),
    ):
        service.wait_notice()
        link.publish(*talk.sealed_status(site.gateway, talk.status(at_us=time.time_ns() // 1000)), retained=True)
        _publish_until_acked(site, link, inbox, talk.healths(0, 1), 1)
        shown = subprocess.run(
            [sys.executable, "-m", "aggregator", "status", "--json", "--settings", site.settings_file],
            capture_output=True, check=True, text=True,
        )  # fmt: skip
    status = json.loads(shown.stdout)
    assert status["windows"]["stored"] == 2
    assert status["gateways"] == {"gw-1": {"last_seq": 1, "online": True}}


def test_newer_database_ends_the_aggregator_with_one_clear_line(site: Site) -> None:
    engine = open_current(sqlite_url(site.database))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'v0999'"))
    engine.dispose()
    ended = subprocess.run(
        [sys.executable, "-m", "aggregator", "run", "--settings", site.settings_file],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "v0999" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_failing_part_ends_the_process_so_that_it_is_started_again(site: Site) -> None:
    with (
        ServiceProcess(site.folder, "aggregator", "run", "--settings", str(site.settings_file)) as service,
        site.gateway_link() as (link, inbox),
    ):
        service.wait_notice()
        _publish_until_acked(site, link, inbox, talk.healths(0), 0)
        with sqlite3.connect(site.database, timeout=10) as connection:
            connection.execute("DROP TABLE dead_letter_count")
            connection.execute("DROP TABLE health")
        connection.close()
        site.publish(link, talk.healths(1))
        assert service.process.wait(20) == 1
        assert '"event": "part_failed"' in service.log.read_text()


def test_historian_and_desk_publishing_on_one_link_never_wait_for_each_other(site: Site) -> None:
    """Paho calls back with its lock held; ours must not be held when we call it. It was, and everything stood still."""
    said = 2 * [0]
    with linked(site.broker.settings_for("gw-1"), "gw-1") as (link, _):

        def publish(who: int) -> None:
            for _ in range(1500):
                while not link.publish("ut/v1/any", b"x"):
                    link.wait_window(1)
                said[who] += 1

        threads = [threading.Thread(target=publish, args=(who,), daemon=True) for who in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert said == [1500, 1500]
        assert link.wait_published(5)
