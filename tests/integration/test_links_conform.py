"""Whichever reader receives captures, its promises are the same: one set of tests over both, on real brokers.

Where a reader differs in what it does (never in what it promises), the test says so.
"""

import contextlib
import datetime as dt
import itertools
import logging
import queue
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, Self

import pytest

from aggregator.enrolment import Office
from aggregator.settings import AggregatorSettings
from gateway_agent.settings import GatewaySettings
from schemas.fast_link import FastLink
from schemas.link import Link, PayloadTooLarge, Received
from schemas.mqtt_packets import LONGEST_HEAD_BYTES, publish_packet
from schemas.settings import BrokerSettings, load_settings
from schemas.topics import RECORDS, RECORDS_ACK
from tests.support.brokers import (
    BrokerServer,
    Inbox,
    ServiceProcess,
    embedded_broker,
    free_port,
    linked,
    mosquitto_broker,
    require_mosquitto,
)
from tests.support.faults.chaos_proxy import ChaosProxy
from tests.support.plant import wait_until

Reader = Literal["paho", "fast"]
USERS = ["gw-1", "sensors"]
BROKERS = {"embedded": embedded_broker, "mosquitto": mosquitto_broker}
BROKER_TAKES_BYTES = 1 << 20
WITHIN_S = 15.0
CONNACK, PINGRESP = b"\x20\x03\x00\x00\x00", b"\xd0\x00"
_names = itertools.count()


@pytest.fixture(params=["paho", "fast"])
def reader(request: pytest.FixtureRequest) -> Reader:
    name: Reader = request.param
    return name


@pytest.fixture(scope="module", params=list(BROKERS))
def broker(request: pytest.FixtureRequest) -> Iterator[BrokerServer]:
    with BROKERS[request.param](USERS, max_packet_bytes=BROKER_TAKES_BYTES) as broker:
        yield broker


@pytest.fixture
def name() -> str:
    """Client and topic of one test: nothing of another's is kept for it."""
    return f"gw-{next(_names)}"


@pytest.fixture
def tries_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has lost its broker waits for a random moment first; here a short one."""
    monkeypatch.setattr(random, "uniform", lambda *_: 0.05)


def make_link(
    reader: Reader, settings: BrokerSettings, client_id: str, hear: Callable[[Received], None], *topics: str,
    on_fault: Callable[[Exception], None] | None = None, max_in_flight: int = 200, receive_maximum: int = 500,
) -> FastLink | Link:  # fmt: skip
    subscriptions = [(topic, 1) for topic in topics]
    if reader == "fast":
        return FastLink(
            settings, client_id, subscriptions=subscriptions, on_messages=lambda messages: _each(hear, messages),
            on_fault=on_fault, max_in_flight=max_in_flight, receive_maximum=receive_maximum,
        )  # fmt: skip
    return Link(
        settings, client_id, subscriptions=subscriptions, on_message=hear, on_fault=on_fault, manual_ack=True,
        max_in_flight=max_in_flight, receive_maximum=receive_maximum,
    )  # fmt: skip


def _each(hear: Callable[[Received], None], messages: Sequence[Received]) -> None:
    for one in messages:
        hear(one)


@contextlib.contextmanager
def listening(
    reader: Reader, settings: BrokerSettings, client_id: str, *topics: str, connected: bool = True
) -> Iterator[tuple[FastLink | Link, Inbox]]:
    inbox = Inbox()
    link = make_link(reader, settings, client_id, inbox, *topics)
    link.start()
    try:
        assert not connected or link.wait_connected(WITHIN_S), f"{client_id} was not let in"
        yield link, inbox
    finally:
        link.stop()


def open_session(reader: Reader, broker: BrokerServer, name: str) -> None:
    """From here on the broker keeps what comes for it."""
    with listening(reader, broker.settings_for("gw-1"), name, name) as (link, _):
        until_the_broker_has_read_all(link)


@contextlib.contextmanager
def sensors(broker: BrokerServer, topic: str) -> Iterator[Callable[..., None]]:
    """Who publishes; returns once the broker has what was said."""
    with linked(broker.settings_for("sensors"), f"sensors-{topic}") as (link, _):

        def say(*payloads: bytes) -> None:
            for payload in payloads:
                while not link.publish(topic, payload):
                    assert link.wait_window(WITHIN_S)
            assert link.wait_published(WITHIN_S)

        yield say


def until_the_broker_has_read_all(link: FastLink | Link) -> None:
    """Else it may not know a subscription yet, or take the next connection of a client before it has read this one."""
    assert link.publish("fence", b"answered after everything before it")
    assert link.wait_published(WITHIN_S)


def payloads(inbox: Inbox, last: bytes) -> list[bytes]:
    """What is heard up to this one."""
    inbox.wait_for(lambda one: one.payload == last)
    return [one.payload for one in inbox.seen]


def numbers(first: int, end: int) -> list[bytes]:
    return [b"%d" % n for n in range(first, end)]


class ScriptedBroker:
    """Speaks MQTT as badly as the test wants; one connection at a time.

    Attributes:
        hello: What it says to CONNECT, connection by connection; the last stands for all later ones.
        answers_pings: Whether it says that it is alive.
        hangs_up: Whether it closes the connection behind its hello.
        asked: The newest CONNECT.
        published: Numbers of the QoS 1 messages that it was sent; all it is sent must be short.
    """

    def __init__(self, *hello: bytes, answers_pings: bool = True) -> None:
        self.hello = hello or (CONNACK,)
        self.answers_pings = answers_pings
        self.hangs_up = False
        self.connections: list[float] = []
        self.asked = b""
        self.pings = 0
        self.published: queue.Queue[int] = queue.Queue()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._peer: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def settings(self, *, keepalive_s: int = 60) -> BrokerSettings:
        """How to reach it; keeps alive faster than settings may ask for."""
        reach = BrokerSettings(port=self._listener.getsockname()[1], allow_anonymous=True)
        return reach.model_copy(update={"keepalive_s": keepalive_s})

    def say(self, encoded: bytes) -> None:
        assert self._peer is not None
        self._peer.sendall(encoded)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._peer, _ = self._listener.accept()
                self.connections.append(time.monotonic())
                with contextlib.suppress(OSError), self._peer:
                    self._talk(self._peer, self.hello[min(len(self.connections), len(self.hello)) - 1])

    def _talk(self, peer: socket.socket, hello: bytes) -> None:
        stream = peer.makefile("rb")
        while head := stream.read(2):
            body = stream.read(head[1])
            if head[0] == 0x10:
                self.asked = body
                peer.sendall(hello)
                if self.hangs_up:
                    return
            elif head[0] == 0x32:
                after_topic = 2 + int.from_bytes(body[:2], "big")
                self.published.put(int.from_bytes(body[after_topic : after_topic + 2], "big"))
            elif head[0] == 0xC0:
                self.pings += 1
                if self.answers_pings:
                    peer.sendall(PINGRESP)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, self._peer):
            with contextlib.suppress(OSError, AttributeError):
                one.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        self._thread.join(WITHIN_S)
        self._listener.close()


def test_what_comes_while_it_is_away_is_kept_and_comes_in_order(
    reader: Reader, broker: BrokerServer, name: str
) -> None:
    open_session(reader, broker, name)
    with sensors(broker, name) as say:
        say(*numbers(0, 20))
    with listening(reader, broker.settings_for("gw-1"), name, name) as (_, inbox):
        assert payloads(inbox, b"19") == numbers(0, 20)
    assert all((one.topic, one.qos, one.retained) == (name, 1, False) for one in inbox.seen)


def test_what_was_acknowledged_never_comes_again_and_everything_else_does(
    reader: Reader, broker: BrokerServer, name: str
) -> None:
    open_session(reader, broker, name)
    with sensors(broker, name) as say:
        with listening(reader, broker.settings_for("gw-1"), name, name) as (link, inbox):
            say(*numbers(0, 10))
            assert payloads(inbox, b"9") == numbers(0, 10)
            link.acknowledge_all(inbox.seen[:4])
            link.acknowledge(inbox.seen[4])
            until_the_broker_has_read_all(link)
        with listening(reader, broker.settings_for("gw-1"), name, name) as (link, inbox):
            say(b"10")
            assert payloads(inbox, b"10") == numbers(5, 11)
            link.acknowledge_all(inbox.seen)
            until_the_broker_has_read_all(link)
        with listening(reader, broker.settings_for("gw-1"), name, name) as (_, inbox):
            say(b"11")
            assert payloads(inbox, b"11") == [b"11"]


@pytest.mark.usefixtures("tries_again_at_once")
def test_acknowledgement_of_an_older_connection_is_ignored(reader: Reader, broker: BrokerServer, name: str) -> None:
    """The broker has given its number to another message since."""
    open_session(reader, broker, name)
    with ChaosProxy(broker.port) as proxy, sensors(broker, name) as say:
        settings = broker.settings_for("gw-1", port=proxy.port)
        with listening(reader, settings, name, name) as (link, inbox):
            say(b"0")
            old = inbox.wait_for(lambda one: one.payload == b"0")
            proxy.cut()
            again = inbox.wait_for(lambda one: one.payload == b"0")
            assert old.is_of_older_connection_than(again)
            assert not again.is_of_older_connection_than(old)
            link.acknowledge_all([old])
            until_the_broker_has_read_all(link)
        with listening(reader, settings, name, name) as (_, inbox):
            say(b"1")
            assert payloads(inbox, b"1") == numbers(0, 2)


def test_no_more_than_the_window_comes_until_something_is_acknowledged_and_then_all_of_it_does(
    reader: Reader, broker: BrokerServer, name: str
) -> None:
    """The embedded broker keeps to a window of its own, and mosquitto 2.0 lets two come for one acknowledgement."""
    open_session(reader, broker, name)
    heard: list[Received] = []
    link = make_link(reader, broker.settings_for("gw-1"), name, heard.append, name, receive_maximum=5)
    link.start()
    assert link.wait_connected(WITHIN_S)
    with sensors(broker, name) as say:
        say(*numbers(0, 60))
        wait_until("the window is full", lambda: len(heard) >= 5, within_s=WITHIN_S, every_s=0.01)
        until_the_broker_has_read_all(link)
        assert broker.kind == "embedded" or len(heard) == 5
        for number in range(60):
            wait_until("the next comes", lambda number=number: len(heard) > number, within_s=WITHIN_S, every_s=0.001)  # type: ignore[misc]
            link.acknowledge(heard[number])
    link.stop()
    assert [one.payload for one in heard] == numbers(0, 60)


@pytest.mark.parametrize("window", [5, 512])
def test_the_window_asked_for_is_the_one_that_was_set(reader: Reader, name: str, window: int) -> None:
    with ScriptedBroker() as broker:
        link = make_link(reader, broker.settings(), name, lambda _: None, receive_maximum=window)
        link.start()
        assert link.wait_connected(WITHIN_S)
        link.stop()
        assert b"\x21" + window.to_bytes(2, "big") in broker.asked


def test_a_handler_that_raises_is_reported_and_its_message_stays_unacknowledged(
    reader: Reader, broker: BrokerServer, name: str
) -> None:
    open_session(reader, broker, name)
    inbox = Inbox()
    faults: list[Exception] = []

    def hear(one: Received) -> None:
        if one.payload == b"bad":
            raise ValueError("cannot take this")
        inbox(one)

    link = make_link(reader, broker.settings_for("gw-1"), name, hear, name, on_fault=faults.append)
    link.start()
    assert link.wait_connected(WITHIN_S)
    with sensors(broker, name) as say:
        say(b"bad")
        wait_until("the fault is reported", lambda: faults, within_s=WITHIN_S)
        assert link.fault is faults[0]
        say(b"good")
        inbox.wait_for(lambda one: one.payload == b"good")
        assert link.connected
        link.stop()
        with listening(reader, broker.settings_for("gw-1"), name, name) as (_, inbox):
            assert payloads(inbox, b"good") == [b"bad", b"good"]


@pytest.mark.usefixtures("tries_again_at_once")
@pytest.mark.parametrize("kind", list(BROKERS))
def test_a_broker_that_is_killed_and_comes_back_is_found_again_and_stop_does_not_wait_for_it(
    reader: Reader, kind: str, name: str
) -> None:
    with (
        BROKERS[kind](USERS) as broker,
        listening(reader, broker.settings_for("gw-1"), name, name) as (link, inbox),
    ):
        broker.kill()
        wait_until("it is noticed", lambda: not link.connected, within_s=WITHIN_S)
        assert not link.publish(name, b"nobody there")
        assert not link.wait_window(0.0)
        broker.start()
        assert link.wait_connected(WITHIN_S)
        assert link.wait_window(WITHIN_S)
        with sensors(broker, name) as say:
            until_the_broker_has_read_all(link)
            say(b"again")
            inbox.wait_for(lambda one: one.payload == b"again")
        broker.kill()
        began_s = time.monotonic()
        link.stop()
        assert time.monotonic() - began_s < 3.0
        assert not link.connected


def test_stop_does_not_wait_for_a_broker_that_takes_connections_and_says_nothing(reader: Reader, name: str) -> None:
    with ScriptedBroker(b"") as broker, listening(reader, broker.settings(), name, connected=False) as (link, _):
        wait_until("it has come", lambda: broker.connections, within_s=WITHIN_S)
        assert not link.publish(name, b"too early")
        began_s = time.monotonic()
        link.stop()
        assert time.monotonic() - began_s < 3.0


@pytest.mark.usefixtures("tries_again_at_once")
def test_why_a_broker_refuses_us_is_said_however_fast_it_hangs_up(
    reader: Reader, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ScriptedBroker(b"\x20\x03\x00\x86\x00") as broker:  # bad user name or password
        broker.hangs_up = True
        with listening(reader, broker.settings(), name, connected=False):
            wait_until("it has tried again", lambda: len(broker.connections) > 3, within_s=WITHIN_S, every_s=0.01)
    reasons = [one.__dict__["fields"]["reason"] for one in caplog.records if one.message == "broker_refused_us"]
    assert len(reasons) >= 3
    assert set(reasons) <= {"0x86", "Bad user name or password"}


@pytest.mark.usefixtures("tries_again_at_once")
def test_wrong_password_is_said_and_tried_again_until_it_is_right(
    reader: Reader, broker: BrokerServer, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "wrong").write_text("guessed\n")
    wrong = broker.settings_for("gw-1", password_file=tmp_path / "wrong")
    with listening(reader, wrong, name, connected=False) as (link, _):
        wait_until("it says so again", lambda: _said(caplog) >= 2, within_s=WITHIN_S)
        assert not link.connected
        assert not link.publish(name, b"not in")


def _said(caplog: pytest.LogCaptureFixture) -> int:
    """How often it was logged that the broker does not let us in."""
    return [one.message in {"broker_refused_us", "broker_away"} for one in caplog.records].count(True)


def test_what_is_larger_than_ours_or_the_brokers_limit_is_not_sent_and_what_just_fits_arrives(
    reader: Reader, broker: BrokerServer, name: str
) -> None:
    own = 4 * BROKER_TAKES_BYTES if broker.kind == "mosquitto" else 100_000  # the embedded one names no limit
    settings = broker.settings_for("gw-1", max_packet_bytes=own)
    with (
        linked(broker.settings_for("sensors", max_packet_bytes=own), f"site-{name}", name) as (_, inbox),
        listening(reader, settings, name) as (link, _),
    ):
        assert link.max_payload_bytes <= min(own, BROKER_TAKES_BYTES)
        with pytest.raises(PayloadTooLarge, match="allowed"):
            link.publish(name, bytes(link.max_payload_bytes + 1))
        largest = bytes(link.max_payload_bytes)
        assert link.publish(name, largest)
        assert link.wait_published(WITHIN_S)
        assert inbox.wait_for(lambda _: True).payload == largest
        assert link.connected


def test_a_message_larger_than_allowed_holds_nobody_up(reader: Reader, broker: BrokerServer, name: str) -> None:
    """The fast reader keeps little more than the head of it; paho has no limit for what comes and hands it all on."""
    open_session(reader, broker, name)
    settings = broker.settings_for("gw-1", max_packet_bytes=80_000)
    large = random.Random(1).randbytes(300_000)
    with linked(broker.settings_for("sensors", max_packet_bytes=BROKER_TAKES_BYTES), f"sensors-{name}") as (say, _):
        with listening(reader, settings, name, name) as (link, inbox):
            for payload in (b"before", large, bytes(79_000), b"after"):
                assert say.publish(name, payload)
            before, cut, fits, after = (inbox.wait_for(lambda _: True) for _ in range(4))
            assert (before.payload, fits.payload, after.payload) == (b"before", bytes(79_000), b"after")
            assert (cut.topic, cut.qos) == (name, 1)
            assert large.startswith(cut.payload)
            if reader == "fast":
                assert LONGEST_HEAD_BYTES // 2 < len(cut.payload) <= LONGEST_HEAD_BYTES
            else:
                assert cut.payload == large
            link.acknowledge_all([before, cut, fits, after])
            until_the_broker_has_read_all(link)
        with listening(reader, settings, name, name) as (_, inbox):
            assert say.publish(name, b"last")
            assert payloads(inbox, b"last") == [b"last"]


def test_many_small_and_large_messages_arrive_whole_and_in_order(
    reader: Reader, broker: BrokerServer, name: str
) -> None:
    draw = random.Random(7)
    said = [draw.randbytes(draw.choice([1, 20, 2_000, 16_384, 60_000, 200_000])) for _ in range(300)]
    open_session(reader, broker, name)
    with (
        linked(broker.settings_for("sensors"), f"sensors-{name}") as (talker, _),
        listening(reader, broker.settings_for("gw-1"), name, name) as (link, inbox),
    ):
        for payload in said:
            while not talker.publish(name, payload):
                assert talker.wait_window(WITHIN_S)
        for payload in said:
            one = inbox.wait_for(lambda _: True)
            assert one.payload == payload
            link.acknowledge(one)


def test_the_window_of_our_own_messages_closes_and_opens_with_the_brokers_answers(reader: Reader, name: str) -> None:
    with ScriptedBroker() as broker:
        link = make_link(reader, broker.settings(), name, lambda _: None, max_in_flight=3)
        link.start()
        try:
            assert link.wait_connected(WITHIN_S)
            assert link.wait_published(0.0)
            assert [link.publish(name, b"x") for _ in range(4)] == [True, True, True, False]
            assert link.publish(name, b"asks for no answer", qos=0)
            assert not link.wait_window(0.0)
            assert not link.wait_published(0.0)
            broker.say(puback(broker.published.get(timeout=WITHIN_S)))
            assert link.wait_window(WITHIN_S)
            assert link.publish(name, b"x")
            for _ in range(3):
                broker.say(puback(broker.published.get(timeout=WITHIN_S)))
            assert link.wait_published(WITHIN_S)
        finally:
            link.stop()


def puback(number: int) -> bytes:
    return b"\x40\x02" + number.to_bytes(2, "big")


@pytest.mark.usefixtures("tries_again_at_once")
def test_a_broker_that_falls_silent_is_noticed(reader: Reader, name: str) -> None:
    """Within one and a half of what it keeps alive; paho asks after one and gives it another one to answer."""
    patience_s = 1.5 if reader == "fast" else 2.0
    with (
        ScriptedBroker(answers_pings=False) as broker,
        listening(reader, broker.settings(keepalive_s=1), name) as (link, _),
    ):
        wait_until("it is noticed", lambda: len(broker.connections) > 1, within_s=WITHIN_S)
        noticed_s = broker.connections[1] - broker.connections[0]
        assert patience_s - 0.6 < noticed_s < patience_s + 1.5
        assert broker.pings >= 1
        assert link.wait_connected(WITHIN_S)


def test_a_broker_that_has_nothing_to_say_is_kept_even_while_we_talk(reader: Reader, name: str) -> None:
    with ScriptedBroker() as broker, listening(reader, broker.settings(keepalive_s=1), name) as (link, _):

        def talked() -> bool:
            assert link.publish(name, b"asks for no answer", qos=0)
            return time.monotonic() - broker.connections[0] > 1.8

        wait_until("the broker would be too silent", talked, within_s=WITHIN_S)
        assert broker.pings >= 1
        assert (link.connected, len(broker.connections)) == (True, 1)


def test_a_handler_that_takes_long_is_no_silence_of_the_broker(reader: Reader, name: str) -> None:
    """A full queue holds the network thread up until there is room."""
    heard, room = threading.Event(), threading.Event()

    def hear(_: Received) -> None:
        heard.set()
        room.wait(WITHIN_S)

    with ScriptedBroker() as broker:
        link = make_link(reader, broker.settings(keepalive_s=1), name, hear, name)
        link.start()
        try:
            assert link.wait_connected(WITHIN_S)
            broker.say(publish_packet(name, b"one", qos=1, retained=False, packet_id=1))
            assert heard.wait(WITHIN_S)
            silent_since_s = time.monotonic()
            wait_until("it was busy for long", lambda: time.monotonic() - silent_since_s > 1.7, within_s=WITHIN_S)
            pings = broker.pings
            room.set()
            wait_until("it is alive", lambda: broker.pings > pings, within_s=WITHIN_S, every_s=0.01)
            assert (link.connected, len(broker.connections)) == (True, 1)
        finally:
            room.set()
            link.stop()


GARBAGE = {
    "another protocol": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" * 9,
    "length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "topic longer than its packet": b"\x32\x05\xff\xff\x41\x41\x41",
    "topic that is no text": b"\x32\x08\x00\x03\xff\xfe\xfd\x00\x01\x00",
    "noise": random.Random(3).randbytes(5000),
}


@pytest.mark.usefixtures("tries_again_at_once")
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_connection_on_which_garbage_comes_is_made_anew_and_works(reader: Reader, name: str, garbage: bytes) -> None:
    good = publish_packet(name, b"good", qos=1, retained=False, packet_id=1)
    with (
        ScriptedBroker(CONNACK + garbage, CONNACK + good) as broker,
        listening(reader, broker.settings(keepalive_s=1), name, name, connected=False) as (link, inbox),
    ):
        assert inbox.wait_for(lambda one: one.payload == b"good").connection
        assert link.connected
        assert len(broker.connections) == 2


@pytest.mark.usefixtures("tries_again_at_once")
def test_a_broker_that_answers_connect_with_garbage_is_asked_again(reader: Reader, name: str) -> None:
    with (
        ScriptedBroker(b"\x32\x05\xff\xff\x41\x41\x41", b"SSH-2.0-OpenSSH_9.2\r\n" * 20, CONNACK) as broker,
        listening(reader, broker.settings(keepalive_s=1), name, connected=False) as (link, _),
    ):
        assert link.wait_connected(WITHIN_S)
        assert len(broker.connections) == 3


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BrokerSettings, BrokerSettings]]:
    """How the site and a gateway reach mosquitto with their certificates."""
    require_mosquitto()
    folder, port = tmp_path_factory.mktemp("plant"), free_port()
    file = folder / "site.toml"
    file.write_text(
        f'name = "plant-a"\n[broker]\nport = {port}\nca_file = "own/ca.crt"\ncertificate_file = "own/site.crt"\n'
        f'key_file = "own/site.key"\n[broker_server]\nkind = "mosquitto"\nport = {port}\n'
    )
    settings = load_settings(AggregatorSettings, file, {})
    office = Office(settings, by="mosquitto", now=lambda: dt.datetime.now(dt.UTC))
    office.enroll("plant-a", "site", folder / "own")
    office.enroll("gw-1", "gateway", folder / "gw-1")
    with ServiceProcess(folder, "aggregator", "broker", "--settings", str(file)) as process:
        process.wait_notice()
        yield settings.broker, load_settings(GatewaySettings, folder / "gw-1" / "gateway.toml", {}).broker


def test_with_certificates_all_goes_over_tls_both_ways(
    reader: Reader, enrolled: tuple[BrokerSettings, BrokerSettings], name: str
) -> None:
    site_broker, gateway_broker = enrolled
    records, answers = (row.path(site="plant-a", gateway="gw-1") for row in (RECORDS, RECORDS_ACK))
    draw = random.Random(11)
    said = [draw.randbytes(draw.choice([1, 2_000, 70_000, 200_000])) for _ in range(60)]
    with (
        linked(site_broker, f"site-{name}", records) as (site, site_inbox),
        listening(reader, gateway_broker, name, answers) as (link, inbox),
    ):
        until_the_broker_has_read_all(site)
        until_the_broker_has_read_all(link)
        for payload in said:
            assert site.publish(answers, payload)
            assert link.publish(records, payload)
        for payload in said:
            one = inbox.wait_for(lambda _: True)
            assert one.payload == payload
            link.acknowledge(one)
            assert site_inbox.wait_for(lambda _: True).payload == payload
        assert link.wait_published(WITHIN_S)


@pytest.mark.usefixtures("tries_again_at_once")
def test_who_has_no_certificate_is_not_let_in_and_it_is_said(
    reader: Reader, enrolled: tuple[BrokerSettings, BrokerSettings], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stranger = enrolled[1].model_copy(update={"certificate_file": None, "key_file": None})
    with listening(reader, stranger, "stranger", connected=False) as (link, _):
        wait_until("it is said", lambda: _said(caplog) >= 2, within_s=WITHIN_S)
        assert not link.connected
