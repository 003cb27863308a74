"""A whole gateway agent in a process of its own on a real broker: what is acknowledged is stored, whatever happens."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway_agent.store import read_only
from gateway_agent.store_tables import capture_table, dead_letter_table
from schemas.capture import CaptureFlag, encode_capture
from schemas.fragments import split
from schemas.link import Link
from schemas.messages import CaptureAck, RecordBatch, RecordsAck, decode, encode
from schemas.signing import AllowedKey, KeyRing, Signer
from schemas.topics import CAPTURE, CAPTURE_ACK, CAPTURE_FRAGMENT, RECORDS, RECORDS_ACK
from tests.support.brokers import BrokerServer, Inbox, ServiceProcess, embedded_broker, linked
from tests.support.captures import healthy
from tests.support.plant import wait_until

SITE = {"site": "plant-a", "gateway": "gw-1"}
POINT = {**SITE, "machine": "pump-07", "position": "de"}
TOPIC, PIECES = CAPTURE.path(**POINT), CAPTURE_FRAGMENT.path(**POINT)
USERS = ["gw-1", "site", "sensors"]
WITHIN_S = 30.0


@dataclass
class Gateway:
    """Settings, keys and store of one agent."""

    folder: Path
    broker: BrokerServer
    site_signer: Signer
    ring: KeyRing
    store_folder: Path

    @property
    def settings(self) -> Path:
        return self.folder / "gateway.toml"

    def agent(self) -> ServiceProcess:
        return ServiceProcess(self.folder, "gateway_agent", "run", "--settings", str(self.settings))

    @contextlib.contextmanager
    def running(self) -> Iterator[ServiceProcess]:
        with self.agent() as agent:
            agent.wait_notice()
            yield agent
            assert agent.process.poll() is None, agent.log.read_text()[-3000:]

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "gateway_agent", "status", "--json", "--settings", str(self.settings)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def stored(self) -> list[int]:
        """Sequences in the store, in the order they were committed."""
        with read_only(self.store_folder) as database:
            return list(database.execute(sa.select(capture_table.c.sequence).order_by(capture_table.c.id)).scalars())

    def wait_stored(self, count: int, within_s: float = WITHIN_S) -> list[int]:
        wait_until(f"{count} captures are stored", lambda: len(self.stored()) >= count, within_s=within_s, every_s=0.05)
        return self.stored()

    def dead_letters(self) -> list[str]:
        with read_only(self.store_folder) as database:
            return list(database.execute(sa.select(dead_letter_table.c.reason)).scalars())

    def change_settings(self, **changes: Any) -> None:
        """Write the settings again with other values of [store] or [broker]."""
        self.settings.write_text(settings_text(self.broker, self.store_folder, **changes))


def settings_text(broker: BrokerServer, store_folder: Path, *, port: int | None = None, min_free_bytes: int = 0) -> str:
    return f"""
site = "plant-a"
gateway = "gw-1"
status_interval_s = 0.5
[broker]
port = {port or broker.port}
username = "gw-1"
password_file = "{broker.folder}/gw-1.password"
keepalive_s = 5
[store]
folder = "{store_folder}"
raw_bytes = 67108864
segment_bytes = 1048576
min_free_bytes = {min_free_bytes}
[ingest]
silent_after_s = 3600.0
[commissioning]
captures = 4
[learning]
take_part = false
[[machines]]
machine = "pump-07"
rpm = 1797.0
"""


def open_session(broker: BrokerServer) -> None:
    """Subscribe as the agent would: from then on the broker keeps captures for it, however early they come."""
    inbox = Inbox()
    subscriptions = [(topic.filter(**SITE), 1) for topic in (CAPTURE, CAPTURE_FRAGMENT)]
    link = Link(broker.settings_for("gw-1"), "gw-1-captures", subscriptions=subscriptions, on_message=inbox)
    link.start()
    try:
        assert link.wait_connected(10)
        link.publish(TOPIC, b"heard once the subscription stands")
        inbox.wait_for(lambda _: True)
    finally:
        link.stop()


def make_gateway(folder: Path, broker: BrokerServer, store_folder: Path | None = None, **changes: Any) -> Gateway:
    signer, site = Signer.generate(), Signer.generate()
    ring = KeyRing([AllowedKey("gw-1", "gateway", signer.public), AllowedKey("plant-a", "site", site.public)])
    signer.save(folder / "signing.key")
    ring.save(folder / "keys.toml")
    gateway = Gateway(folder, broker, site, ring, store_folder or folder / "var")
    gateway.settings.write_text(settings_text(broker, gateway.store_folder, **changes))
    open_session(broker)
    return gateway


@pytest.fixture
def broker() -> Iterator[BrokerServer]:
    with embedded_broker(USERS) as broker:
        yield broker


@pytest.fixture
def gateway(tmp_path: Path, broker: BrokerServer) -> Gateway:
    return make_gateway(tmp_path, broker)


@contextlib.contextmanager
def sensors(broker: BrokerServer) -> Iterator[tuple[Link, Inbox]]:
    with linked(broker.settings_for("sensors"), "sensors", CAPTURE_ACK.filter(**SITE)) as one:
        yield one


def publish(link: Link, *sequences: int, boot: int = 1) -> None:
    for sequence in sequences:
        raw = encode_capture(healthy(sequence, boot=boot, flags=CaptureFlag.KEPT_UNTIL_ACK))
        wait_until("the broker takes a capture", lambda raw=raw: link.publish(TOPIC, raw), every_s=0.01)  # type: ignore[misc]


def wait_acknowledged(inbox: Inbox, through: int) -> None:
    inbox.wait_for(lambda one: decode(CaptureAck, one.payload).through >= through, WITHIN_S)


def test_captures_are_stored_judged_and_acknowledged_and_the_status_says_so(gateway: Gateway) -> None:
    with gateway.running(), sensors(gateway.broker) as (link, inbox):
        publish(link, *range(12), 5, 14)
        for piece in split(encode_capture(healthy(15)), stream=1, item=15, piece_bytes=1000):
            link.publish(PIECES, piece)
        assert gateway.wait_stored(14) == [*range(12), 14, 15]
        wait_acknowledged(inbox, 11)
        assert max(decode(CaptureAck, one.payload).through for one in inbox.seen) == 11
        wait_until("the status has caught up", lambda: gateway.status()["points"] == {"pump-07/de": "ready"})
        told = gateway.status()
    assert told["captures"] == {"stored": 14, "duplicates": 1, "gaps": 2, "dead_letters": {}}
    assert told["outbox"]["pending"] == 15
    assert told["outbox"]["oldest_s"] >= 0
    assert told["release"]["version"] >= 1
    assert len(told["release"]["digest"]) == 64


def test_a_gateway_killed_in_the_middle_of_a_burst_has_everything_it_acknowledged_and_nothing_twice(
    gateway: Gateway,
) -> None:
    with sensors(gateway.broker) as (link, inbox):
        with gateway.agent() as agent:
            agent.wait_notice()
            publish(link, *range(80))
            inbox.wait_for(lambda one: decode(CaptureAck, one.payload).through >= 10, WITHIN_S)
            agent.kill()
        acknowledged = max(decode(CaptureAck, one.payload).through for one in inbox.seen)
        assert set(range(acknowledged + 1)) <= set(gateway.stored())
        publish(link, *range(80, 120))
        with gateway.running():
            stored = gateway.wait_stored(120)
            wait_acknowledged(inbox, 119)
    assert stored == sorted(set(stored)) == list(range(120))


def test_a_broker_that_is_away_at_start_comes_goes_and_returns_is_waited_for(gateway: Gateway) -> None:
    gateway.broker.kill()
    with gateway.running():
        for start in (0, 5):
            gateway.broker.start()
            with sensors(gateway.broker) as (link, _):
                wait_until("the agent is back", lambda start=start: heard(gateway, link, start))  # type: ignore[misc]
                publish(link, *range(start, start + 5))
                gateway.wait_stored(start + 5)
            gateway.broker.kill()
    assert sorted(gateway.stored()) == list(range(10))


def heard(gateway: Gateway, link: Link, sequence: int) -> bool:
    """Publish again what a broker without a session of the agent throws away."""
    publish(link, sequence)
    return sequence in gateway.stored()


def test_poison_of_every_kind_is_counted_while_good_captures_go_on(gateway: Gateway) -> None:
    good = encode_capture(healthy(0))
    poison = {
        "truncated": (TOPIC, good[:-9]),
        "bad_length": (TOPIC, good + b"more"),
        "bad_magic": (TOPIC, b"{}" + good),
        "unknown_version": (TOPIC, b"UC\x09" + good[3:]),
        "bad_crc": (TOPIC, good[:-1] + bytes([good[-1] ^ 1])),
        "impossible_value": (TOPIC, encode_poison()),
        "unknown_machine": (CAPTURE.path(**{**POINT, "machine": "pump-08"}), good),
        "impossible_count": (PIECES, split_poison()),
    }
    with gateway.running(), sensors(gateway.broker) as (link, _):
        for number, (topic, payload) in enumerate(poison.values()):
            link.publish(topic, payload)
            publish(link, number)
        assert gateway.wait_stored(len(poison)) == list(range(len(poison)))
        wait_until("the poison is counted", lambda: len(gateway.dead_letters()) == len(poison))
        assert sorted(gateway.dead_letters()) == sorted(poison)
        assert gateway.status()["captures"]["dead_letters"] == dict.fromkeys(poison, 1)


def encode_poison() -> bytes:
    """A boot no database can count to, with a right checksum: it once ended the agent at every start."""
    import struct
    import zlib

    good = encode_capture(healthy(0))
    body = good[:4] + struct.pack("<Q", 1 << 63) + good[12:-4]
    return body + struct.pack("<I", zlib.crc32(body))


def split_poison() -> bytes:
    import struct
    import zlib

    body = split(b"0123456789", stream=1, item=1, piece_bytes=5)[0]
    body = body[:20] + struct.pack("<H", 7) + body[22:-4]
    return body + struct.pack("<I", zlib.crc32(body))


@pytest.mark.root
def test_a_full_disk_holds_captures_at_the_broker_and_they_are_stored_when_there_is_room(
    tmp_path: Path, broker: BrokerServer
) -> None:
    if os.geteuid() != 0:
        pytest.skip("NOT ROOT: A FULL DISK IS NOT TESTED HERE")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"NO SMALL DISK CAN BE MOUNTED HERE: A FULL DISK IS NOT TESTED ({mounted.stderr.decode().strip()})")
    try:
        gateway = make_gateway(tmp_path, broker, disk / "var")
        with gateway.running() as agent, sensors(broker) as (link, inbox):
            publish(link, 0)
            wait_acknowledged(inbox, 0)
            ballast = disk / "ballast"
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
            publish(link, *range(1, 60))
            wait_until("the agent says that the disk is full", lambda: "disk_full" in agent.log.read_text())
            stored = len(gateway.stored())
            ballast.unlink()
            assert gateway.wait_stored(60) == list(range(60))
            wait_acknowledged(inbox, 59)
            assert stored < 60
            assert "disk_has_room_again" in agent.log.read_text()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_records_are_repeated_until_the_site_has_them_and_then_deleted(gateway: Gateway) -> None:
    with (
        gateway.running(),
        linked(broker_site(gateway), "site", RECORDS.path(**SITE)) as (site, heard_by_site),
        sensors(gateway.broker) as (link, _),
    ):
        publish(link, *range(6))
        gateway.wait_stored(6)
        seen: dict[int, int] = {}

        def every_record_came_twice() -> bool:
            batch = decode(
                RecordBatch,
                gateway.ring.open(
                    RECORDS.path(**SITE),
                    heard_by_site.wait_for(lambda _: True, 20).payload,
                    role="gateway",
                    name="gw-1",
                ),
            )
            for one in batch.records:
                seen[one.sequence] = seen.get(one.sequence, 0) + 1
            return set(seen) >= set(range(7)) and min(seen.values()) >= 2

        wait_until("every record came twice", every_record_came_twice)
        boot = wait_until("the store has a name", lambda: decode(RecordBatch, gateway.ring.open(
            RECORDS.path(**SITE), heard_by_site.seen[0].payload, role="gateway")).boot)  # fmt: skip
        topic = RECORDS_ACK.path(**SITE)
        for said_by, ack in (
            (Signer.generate(), RecordsAck(gateway="gw-1", boot=boot, through=99)),
            (gateway.site_signer, RecordsAck(gateway="gw-1", boot=boot + 1, through=99)),
            (gateway.site_signer, RecordsAck(gateway="gw-1", boot=boot, through=2, also=(5,))),
        ):
            site.publish(topic, said_by.seal(topic, encode(ack)))
        wait_until("what the site has is deleted", lambda: gateway.status()["outbox"]["pending"] == 3)


def broker_site(gateway: Gateway) -> Any:
    return gateway.broker.settings_for("site")


class Proxy:
    """Stands between a client and a broker and can cut every connection at once."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                with self._lock:
                    self._open += [near, far]
                    self.connections += 1
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        self._end([source, sink])

    @staticmethod
    def _end(sockets: list[socket.socket]) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def cut(self) -> None:
        with self._lock:
            ended, self._open = self._open, []
        self._end(ended)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()


def test_captures_under_way_while_the_connection_is_cut_are_stored_once_and_none_is_lost(
    gateway: Gateway, broker: BrokerServer
) -> None:
    """An acknowledgement of the old connection must not count for a message of the new one."""
    proxy = Proxy(broker.port)
    try:
        gateway.change_settings(port=proxy.port)
        with gateway.running(), sensors(broker) as (link, inbox):
            publish(link, 0)
            wait_acknowledged(inbox, 0)
            for start in (1, 61, 121):
                publish(link, *range(start, start + 60))
                before = proxy.connections
                proxy.cut()
                wait_until("the agent is back", lambda before=before: proxy.connections >= before + 2)  # type: ignore[misc]
            stored = gateway.wait_stored(181)
            publish(link, 181)
            wait_acknowledged(inbox, 181)
        assert sorted(stored) == list(range(181))
    finally:
        proxy.close()


def test_a_wrong_password_is_no_reason_to_end_and_nothing_is_stored(gateway: Gateway) -> None:
    password = gateway.folder / "wrong"
    password.write_text("not the password\n")
    gateway.settings.write_text(
        gateway.settings.read_text().replace(f"{gateway.broker.folder}/gw-1.password", str(password))
    )
    with gateway.running(), sensors(gateway.broker) as (link, _):
        publish(link, 0)
        assert gateway.stored() == []


def test_a_missing_key_or_password_ends_the_start_with_one_clear_line(gateway: Gateway) -> None:
    for name in ("signing.key", "keys.toml"):
        kept = (gateway.folder / name).read_bytes()
        (gateway.folder / name).unlink()
        done = subprocess.run(
            [sys.executable, "-m", "gateway_agent", "run", "--settings", str(gateway.settings)],
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert done.returncode == 2
        assert name in done.stderr.strip().splitlines()[-1]
        assert "Traceback" not in done.stderr
        (gateway.folder / name).write_bytes(kept)
