"""What a broker, a bad member or a thief can do to the learning's carrier, on real brokers: told apart and survived."""

import datetime as dt
import json
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict

from aggregator.carriers.mqtt import MAX_REPLIES_BYTES, MqttCarrier, Server
from aggregator.enrolment import Office
from aggregator.settings import AggregatorSettings
from gateway_agent.settings import GatewaySettings
from schemas.container import pack
from schemas.flower_codec import ClientCall
from schemas.fragments import Fragment
from schemas.member_link import MAX_REPLY_BYTES, MemberLink, Membership, node_id_of
from schemas.messages import MemberPresence, encode
from schemas.settings import BrokerSettings, load_settings
from schemas.signing import KeyRing, Signer
from schemas.topics import MEMBER, REPLY
from tests.support.brokers import (
    BrokerServer,
    ServiceProcess,
    embedded_broker,
    free_port,
    linked,
    mosquitto_broker,
    require_mosquitto,
)
from tests.support.byte_counter import counting_proxy
from tests.support.fleet import make, rounds_over
from tests.support.hand_member import PIECE_BYTES, hand_member
from tests.support.learning import People, wait_until

MEMBERS = ("gw-1", "gw-2", "gw-3")
BROKERS = {"embedded": embedded_broker, "mosquitto": mosquitto_broker}
SMALL_PACKET_BYTES = 16_384
TWO_GIGABYTES = 2 << 30
IDLE_S, DAY_S = 62, 86_400
MOST_IDLE_BYTES_A_DAY = 1_000_000
TCP_IP_BYTES = 2 * 52  # headers of a segment and of its acknowledgement
PEOPLE = People([("site-a", "site"), *((name, "gateway") for name in MEMBERS)])


@pytest.fixture(params=list(BROKERS))
def broker(request: pytest.FixtureRequest) -> Iterator[BrokerServer]:
    with BROKERS[request.param](["site-a", *MEMBERS, "thief"]) as server:
        yield server


@pytest.fixture
def carrier(broker: BrokerServer) -> Iterator[MqttCarrier]:
    carrier = site_carrier(broker.settings_for("site-a"))
    carrier.start()
    yield carrier
    carrier.stop()


def site_carrier(settings: BrokerSettings, signer: Signer | None = None, keys: KeyRing | None = None) -> MqttCarrier:
    server = Server("site-a", "site", "gateway")
    return MqttCarrier(settings, server, signer=signer or PEOPLE["site-a"], keys=keys or PEOPLE.keys)


def member(settings: BrokerSettings, name: str, app: ClientCall) -> MemberLink:
    return MemberLink(
        settings, Membership("site-a", "site", name), app, signer=PEOPLE[name], keys=PEOPLE.keys,
        clock_us=lambda: time.time_ns() // 1000,
    )  # fmt: skip


def ask(carrier: MqttCarrier, name: str, *, round_number: int = 1, timeout_s: float = 10.0) -> list[Message]:
    content = RecordDict({"config": ConfigRecord({"round": round_number})})
    task = carrier.create_message(content, "train", node_id_of(name), str(round_number))
    return carrier.send_and_receive([task], timeout=timeout_s)


class Asking:
    """A question asked in a thread, while the test plays the member."""

    def __init__(self, carrier: MqttCarrier, name: str, timeout_s: float = 10.0) -> None:
        self.replies: list[Message] = []
        self._thread = threading.Thread(
            target=lambda: self.replies.extend(ask(carrier, name, timeout_s=timeout_s)), daemon=True
        )
        self._thread.start()

    def wait(self, within_s: float = 15.0) -> list[Message]:
        self._thread.join(within_s)
        assert not self._thread.is_alive()
        return self.replies


def echo(message: Message, context: Context) -> Message:
    return Message(message.content, reply_to=message)


@pytest.mark.parametrize("kind", list(BROKERS))
def test_an_update_passes_through_packets_of_16_kib_unchanged(kind: str) -> None:
    """Mosquitto says its limit when we connect; the embedded broker does not, there it is a setting."""
    limit = {"max_packet_bytes": SMALL_PACKET_BYTES} if kind == "embedded" else {}
    theta = np.random.default_rng(3).standard_normal(50_000, np.float32)
    assert theta.nbytes > 10 * SMALL_PACKET_BYTES
    with BROKERS[kind](["site-a", "gw-1"], max_packet_bytes=SMALL_PACKET_BYTES) as broker, ExitStack() as stack:
        site = site_carrier(broker.settings_for("site-a", **limit))
        link = member(broker.settings_for("gw-1", **limit), "gw-1", echo)
        for part in (site, link):
            part.start()
            stack.callback(part.stop)
        assert site.wait_members(1, 10)
        content = RecordDict({"parameters": ArrayRecord({"theta": Array(theta)})})
        (reply,) = site.send_and_receive([site.create_message(content, "train", node_id_of("gw-1"), "1")], timeout=15)
        np.testing.assert_array_equal(reply.content.array_records["parameters"]["theta"].numpy(), theta)
        assert site.counters.total() == 0


def test_a_member_killed_is_no_longer_there_and_back_once_it_runs_again(
    broker: BrokerServer, carrier: MqttCarrier, tmp_path: Path
) -> None:
    PEOPLE["gw-1"].save(tmp_path / "signing.key")
    PEOPLE.keys.save(tmp_path / "keys.toml")
    told = tmp_path / "member.json"
    told.write_text(
        json.dumps(
            {
                "broker": json.loads(broker.settings_for("gw-1").model_dump_json()), "site": "site-a",
                "member": "gw-1", "signing_key": str(tmp_path / "signing.key"), "keys": str(tmp_path / "keys.toml"),
            }
        )
    )  # fmt: skip
    command = [sys.executable, "-m", "tests.support.member_process", str(told)]
    for _ in range(2):
        process = subprocess.Popen(command)
        try:
            assert carrier.wait_members(1, 20)
            assert not ask(carrier, "gw-1")[0].has_error()
        finally:
            process.kill()
            process.wait()
        assert wait_until(lambda: carrier.get_node_ids() == [])


def test_presence_is_kept_for_a_site_that_starts_after_its_members(broker: BrokerServer) -> None:
    with hand_member(broker.settings_for("gw-1"), "gw-1", PEOPLE["gw-1"]) as early:
        assert early.link.wait_published(10)
        site = site_carrier(broker.settings_for("site-a"))
        site.start()
        try:
            assert site.wait_members(1, 10)
        finally:
            site.stop()


def test_presence_said_for_another_or_with_a_key_nobody_knows_makes_no_member(
    broker: BrokerServer, carrier: MqttCarrier
) -> None:
    """The embedded broker has no access list: there the signature alone must hold."""
    topic = MEMBER.path(site="site-a", member="gw-2")
    lie = encode(MemberPresence(member="gw-1", node_id=node_id_of("gw-1"), session=1, at_us=1))
    true = encode(MemberPresence(member="gw-2", node_id=node_id_of("gw-2"), session=1, at_us=1))
    elsewhere = PEOPLE["gw-2"].seal(REPLY.path(site="site-a", member="gw-2"), true)
    with linked(broker.settings_for("thief"), "thief") as (thief, _):
        for said in (
            true,
            PEOPLE["gw-2"].seal(topic, lie),
            PEOPLE["gw-1"].seal(topic, true),
            Signer.generate().seal(topic, true),
            elsewhere,
        ):
            assert thief.publish(topic, said)
        wanted = {"unsigned", "wrong_sender", "wrong_speaker", "unknown_key", "bad_signature"}
        assert wait_until(lambda: wanted <= set(carrier.counters)), carrier.counters
    assert carrier.get_node_ids() == []


def test_a_member_whose_presence_somebody_else_has_taken_away_says_it_again(
    broker: BrokerServer, carrier: MqttCarrier
) -> None:
    """A withdrawal is empty and signed by nobody; without an access list anybody on the broker can say it."""
    link = member(broker.settings_for("gw-1"), "gw-1", echo)
    link.start()
    try:
        assert carrier.wait_members(1, 10)
        with linked(broker.settings_for("thief"), "thief") as (thief, _):
            assert thief.publish(MEMBER.path(site="site-a", member="gw-1"), b"", retained=True)
            assert wait_until(lambda: link.counters["presence_disturbed"] == 1)
        assert wait_until(lambda: carrier.get_node_ids() == [node_id_of("gw-1")])
        assert not ask(carrier, "gw-1")[0].has_error()
    finally:
        link.stop()
    assert wait_until(lambda: carrier.get_node_ids() == [])


def test_an_update_of_two_gigabytes_is_refused_at_its_first_piece_and_the_round_hears_why(
    broker: BrokerServer, carrier: MqttCarrier
) -> None:
    with hand_member(broker.settings_for("gw-1"), "gw-1", PEOPLE["gw-1"]) as huge:
        assert carrier.wait_members(1, 10)
        asking = Asking(carrier, "gw-1")
        huge.next_task()
        huge.send_fragment(Fragment(1, 1, 0, 0xFFFF, TWO_GIGABYTES, b"x" * PIECE_BYTES))
        (reply,) = asking.wait()
    assert reply.has_error()
    assert f"item of {TWO_GIGABYTES} bytes, {MAX_REPLIES_BYTES} allowed" in (reply.error.reason or "")
    assert carrier.counters["oversized"] == 1


def test_pieces_that_never_end_take_bounded_memory_and_others_are_heard(
    broker: BrokerServer, carrier: MqttCarrier
) -> None:
    """Each item is within what is allowed and stays unfinished; together they are far more than is kept."""
    other = member(broker.settings_for("gw-2"), "gw-2", echo)
    other.start()
    pieces = 700
    piece = b"x" * (MAX_REPLIES_BYTES // 512)
    try:
        with hand_member(broker.settings_for("gw-1", max_packet_bytes=2 << 20), "gw-1", PEOPLE["gw-1"]) as endless:
            assert carrier.wait_members(2, 10)
            tracemalloc.start()
            for item in range(pieces):
                endless.send_fragment(Fragment(1, item, 0, 2, len(piece) + 1, piece))
            assert wait_until(lambda: carrier.counters["fragments_incomplete"] > pieces - 600, 60)
            held_bytes = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            assert held_bytes < 2 * MAX_REPLIES_BYTES
            assert not ask(carrier, "gw-2")[0].has_error()
    finally:
        other.stop()


def test_a_reply_too_large_for_the_carrier_is_said_by_the_member_itself(
    broker: BrokerServer, carrier: MqttCarrier
) -> None:
    def boast(message: Message, context: Context) -> Message:
        content = RecordDict({"config": ConfigRecord({"much": b"x" * MAX_REPLY_BYTES})})
        return Message(content, reply_to=message)

    link = member(broker.settings_for("gw-1"), "gw-1", boast)
    link.start()
    try:
        assert carrier.wait_members(1, 10)
        (reply,) = ask(carrier, "gw-1")
    finally:
        link.stop()
    assert reply.has_error()
    assert f"{MAX_REPLY_BYTES} allowed" in (reply.error.reason or "")
    assert link.counters["reply_oversized"] == 1


def test_what_cannot_be_read_ends_the_question_with_its_reason(broker: BrokerServer, carrier: MqttCarrier) -> None:
    with hand_member(broker.settings_for("gw-1"), "gw-1", PEOPLE["gw-1"]) as mumbling:
        assert carrier.wait_members(1, 10)
        for content, reason in ((b"UTB?" + bytes(100), "bad_magic"), (pack({"metadata": 7}, {}), "bad_message")):
            asking = Asking(carrier, "gw-1")
            mumbling.next_task()
            mumbling.send_content(content)
            (reply,) = asking.wait()
            assert reply.has_error()
            assert (reply.error.reason or "").startswith(reason)


def test_a_reply_in_anothers_name_is_dropped_and_the_right_one_counts(
    broker: BrokerServer, carrier: MqttCarrier
) -> None:
    with (
        hand_member(broker.settings_for("gw-1"), "gw-1", PEOPLE["gw-1"]) as right,
        hand_member(broker.settings_for("gw-2"), "gw-2", PEOPLE["gw-2"]) as liar,
    ):
        assert carrier.wait_members(2, 10)
        asking = Asking(carrier, "gw-1")
        task = right.next_task()
        answer = Message(RecordDict({"config": ConfigRecord({"by": "gw-1"})}), reply_to=task)
        liar.send(answer)
        assert wait_until(lambda: carrier.counters["wrong_sender"] == 1)
        right.send(answer)
        (reply,) = asking.wait()
    assert reply.content.config_records["config"]["by"] == "gw-1"


def test_a_reply_that_comes_twice_counts_once_and_one_after_the_deadline_is_told_as_late(
    broker: BrokerServer, carrier: MqttCarrier
) -> None:
    late: list[str] = []
    carrier.on_late = lambda name, _: late.append(name)
    with hand_member(broker.settings_for("gw-1"), "gw-1", PEOPLE["gw-1"]) as slow:
        assert carrier.wait_members(1, 10)
        asking = Asking(carrier, "gw-1")
        answer = Message(RecordDict(), reply_to=slow.next_task())
        slow.send(answer)
        slow.send(answer)
        assert len(asking.wait()) == 1
        assert wait_until(lambda: carrier.counters["duplicate"] == 1)
        began_s = time.monotonic()
        assert ask(carrier, "gw-1", round_number=2, timeout_s=0.5) == []
        assert time.monotonic() - began_s < 5
        slow.send(Message(RecordDict(), reply_to=slow.next_task()))
        assert wait_until(lambda: late == ["gw-1"])
    assert carrier.counters["late"] == 1


def test_a_member_nobody_asked_is_not_merged(broker: BrokerServer, carrier: MqttCarrier) -> None:
    with hand_member(broker.settings_for("gw-1"), "gw-1", PEOPLE["gw-1"]) as eager:
        assert carrier.wait_members(1, 10)
        asking = Asking(carrier, "gw-1")
        task = eager.next_task()
        task.metadata.__dict__["_message_id"] = "f" * 32
        eager.send(Message(RecordDict(), reply_to=task))
        assert wait_until(lambda: carrier.counters["unasked"] == 1)
        assert asking.replies == []
        carrier.stop()


class Enrolled:
    """A site whose broker is mosquitto as `aggregator broker` runs it: TLS, a certificate and topics for each."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "site.toml"
        port = free_port()
        self.file.write_text(
            f'name = "site-a"\nsigning_key_file = "own/signing.key"\nkeys_file = "own/keys.toml"\n'
            f"[broker]\nport = {port}\nkeepalive_s = 30\n"
            'ca_file = "own/ca.crt"\ncertificate_file = "own/site.crt"\nkey_file = "own/site.key"\n'
            f'[broker_server]\nkind = "mosquitto"\nport = {port}\n'
        )
        self.settings = load_settings(AggregatorSettings, self.file, {})
        office = Office(self.settings, by="mosquitto", now=lambda: dt.datetime.now(dt.UTC))
        office.enroll("site-a", "site", folder / "own")
        for name in MEMBERS:
            office.enroll(name, "gateway", folder / name)
        self.gateways = {name: load_settings(GatewaySettings, folder / name / "gateway.toml", {}) for name in MEMBERS}
        self.keys = KeyRing.load(self.settings.keys_file)

    def signer(self, name: str) -> Signer:
        return Signer.load(self.gateways[name].signing_key_file)


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enrolled]:
    require_mosquitto()
    site = Enrolled(tmp_path_factory.mktemp("site"))
    with ServiceProcess(site.file.parent, "aggregator", "broker", "--settings", str(site.file)) as broker:
        broker.wait_notice()
        yield site


@pytest.fixture
def tls_carrier(enrolled: Enrolled) -> Iterator[MqttCarrier]:
    signer = Signer.load(enrolled.settings.signing_key_file)
    carrier = site_carrier(enrolled.settings.broker, signer, enrolled.keys)
    carrier.start()
    yield carrier
    carrier.stop()


def tls_member(enrolled: Enrolled, name: str, app: ClientCall, broker: BrokerSettings | None = None) -> MemberLink:
    settings = enrolled.gateways[name]
    return MemberLink(
        broker or settings.broker, Membership("site-a", "site", name), app, signer=enrolled.signer(name),
        keys=KeyRing.load(settings.keys_file), clock_us=lambda: time.time_ns() // 1000,
    )  # fmt: skip


def test_members_with_their_certificates_learn_over_tls(enrolled: Enrolled, tls_carrier: MqttCarrier) -> None:
    links = [tls_member(enrolled, name, make(name)) for name in MEMBERS]
    for link in links:
        link.start()
    try:
        assert tls_carrier.wait_members(len(MEMBERS), 10)
        assert [result.void for result in rounds_over(tls_carrier)] == ["", ""]
    finally:
        for link in links:
            link.stop()


def test_a_stolen_signing_key_without_its_certificate_says_nothing_in_its_owners_topics(
    enrolled: Enrolled, tls_carrier: MqttCarrier
) -> None:
    """gw-2 has got hold of gw-1's signing key; its own certificate lets it write its own topics only."""
    link = tls_member(enrolled, "gw-2", echo)
    with hand_member(enrolled.gateways["gw-2"].broker, "gw-1", enrolled.signer("gw-1")) as thief:
        assert thief.link.wait_published(10)
        link.start()
        try:
            assert tls_carrier.wait_members(1, 10)  # what the thief said before would have come before
            assert [tls_carrier.member_of(node) for node in tls_carrier.get_node_ids()] == ["gw-2"]
        finally:
            link.stop()


def test_a_stolen_certificate_without_its_signing_key_makes_no_member(
    enrolled: Enrolled, tls_carrier: MqttCarrier
) -> None:
    with hand_member(enrolled.gateways["gw-1"].broker, "gw-1", enrolled.signer("gw-2")):
        assert wait_until(lambda: tls_carrier.counters["wrong_speaker"] == 1)
        assert tls_carrier.get_node_ids() == []


@pytest.mark.nightly
def test_a_member_that_waits_for_a_round_sends_and_gets_less_than_a_megabyte_a_day(
    enrolled: Enrolled, tls_carrier: MqttCarrier
) -> None:
    """A minute over TLS, counted; the day is 1,440 of it, with the headers of TCP and IP that a proxy cannot see."""
    broker = enrolled.gateways["gw-1"].broker
    assert broker.keepalive_s == 30, "the default is measured"
    with counting_proxy(broker.port) as counted:
        link = tls_member(enrolled, "gw-1", echo, broker.model_copy(update={"port": counted.port}))
        link.start()
        try:
            assert tls_carrier.wait_members(1, 10)
            joining_bytes = counted.bytes
            counted.bytes = counted.pieces = 0
            assert not counted.stopping.wait(IDLE_S)
            idle_bytes, pieces = counted.bytes, counted.pieces
        finally:
            link.stop()
    a_day = (idle_bytes + pieces * TCP_IP_BYTES) / IDLE_S * DAY_S
    print(f"joining {joining_bytes} bytes; idle {idle_bytes} bytes in {pieces} pieces in {IDLE_S} s; a day {a_day:.0f}")
    assert pieces >= 4, "two keep-alives and their answers must have been seen"
    assert a_day + joining_bytes < MOST_IDLE_BYTES_A_DAY
