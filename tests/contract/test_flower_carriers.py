"""The same unmodified Flower apps over every carrier give the same merged parameters, bit for bit."""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.proto.node_pb2 import NodeInfo

from aggregator.carriers.flower_grid import FlowerGridCarrier
from aggregator.carriers.local import LocalCarrier
from aggregator.carriers.local_fleet import local_fleet
from aggregator.carriers.mqtt import MqttCarrier, Server
from aggregator.carriers.port import Carrier
from schemas.flower_codec import ClientCall
from schemas.member_link import MemberLink, Membership, node_id_of
from tests.support.brokers import embedded_broker, mosquitto_broker
from tests.support.fleet import MEMBERS, make, rounds_over
from tests.support.learning import People, wait_until

PEOPLE = People([("site-a", "site"), *((name, "gateway") for name in MEMBERS)])
BROKERS = {"embedded": embedded_broker, "mosquitto": mosquitto_broker}
SMALL_PACKETS = 16_384


@contextmanager
def local(members: dict[str, ClientCall]) -> Iterator[Carrier]:
    yield LocalCarrier(members)


@contextmanager
def mqtt(
    members: dict[str, ClientCall], max_packet_bytes: int = 262_144, kind: str = "embedded"
) -> Iterator[MqttCarrier]:
    with BROKERS[kind](["site-a", *members]) as broker, ExitStack() as stack:
        server = Server("site-a", "site", "gateway")
        settings = broker.settings_for("site-a", max_packet_bytes=max_packet_bytes)
        carrier = MqttCarrier(settings, server, signer=PEOPLE["site-a"], keys=PEOPLE.keys)
        for name, app in members.items():
            link = MemberLink(
                broker.settings_for(name, max_packet_bytes=max_packet_bytes), Membership("site-a", "site", name), app,
                signer=PEOPLE[name], keys=PEOPLE.keys, clock_us=lambda: time.time_ns() // 1000,
            )  # fmt: skip
            link.start()
            stack.callback(link.stop)
        carrier.start()
        stack.callback(carrier.stop)
        assert carrier.wait_members(len(members), 10)
        yield carrier


def apps() -> dict[str, ClientCall]:
    return {name: make(name) for name in MEMBERS}


@pytest.mark.parametrize("kind", list(BROKERS))
@pytest.mark.parametrize("max_packet_bytes", [262_144, SMALL_PACKETS])
def test_two_rounds_over_a_broker_merge_to_the_same_parameters_as_in_one_process(
    kind: str, max_packet_bytes: int
) -> None:
    """Flower's own engines do the same: test_flower_engines.py."""
    expected = rounds_over(LocalCarrier(apps()))
    assert [result.void for result in expected] == ["", ""]
    with mqtt(apps(), max_packet_bytes, kind) as carrier:
        found = rounds_over(carrier)
    for result, reference in zip(found, expected, strict=True):
        assert result.theta is not None
        assert reference.theta is not None
        np.testing.assert_array_equal(result.theta, reference.theta)


def echo() -> tuple[ClientApp, list[int]]:
    app, done = ClientApp(), []

    @app.train()
    def train(message: Message, context: Context) -> Message:
        done.append(context.node_id)
        return Message(message.content, reply_to=message)

    return app, done


class NamedGrid(LocalCarrier):
    """A grid as a SuperLink's: it knows under which names its nodes were registered."""

    registered: dict[int, str]

    def get_nodes(self) -> list[NodeInfo]:
        return [NodeInfo(node_id=node, name=self.registered[node]) for node in self.get_node_ids()]


@contextmanager
def flower_grid(members: dict[str, ClientCall]) -> Iterator[FlowerGridCarrier]:
    grid = NamedGrid(members)
    grid.registered = {node_id_of(name): name for name in members}
    yield FlowerGridCarrier(grid)


CARRIERS = pytest.mark.parametrize("carried_by", [local, mqtt, flower_grid], ids=["local", "mqtt", "flower grid"])


@CARRIERS
def test_nodes_have_the_names_of_their_members(carried_by: object) -> None:
    with carried_by({"gw-2": echo()[0], "gw-1": echo()[0]}) as carrier:  # type: ignore[operator]
        assert carrier.get_node_ids() == [node_id_of("gw-1"), node_id_of("gw-2")]
        assert carrier.member_of(node_id_of("gw-1")) == "gw-1"
        assert carrier.member_of(5) is None


@CARRIERS
def test_what_an_app_raises_comes_back_as_an_error_reply(carried_by: object) -> None:
    with carried_by({"gw-1": echo()[0]}) as carrier:  # type: ignore[operator]
        ask = carrier.create_message(RecordDict(), "evaluate", node_id_of("gw-1"), "1")
        (reply,) = carrier.send_and_receive([ask], timeout=10)
        assert reply.has_error()
        assert "No evaluate function registered" in (reply.error.reason or "")


@CARRIERS
def test_a_task_for_a_member_that_is_not_there_is_answered_with_an_error_at_once(carried_by: object) -> None:
    with carried_by({"gw-1": echo()[0]}) as carrier:  # type: ignore[operator]
        ask = carrier.create_message(RecordDict(), "train", node_id_of("gw-3"), "1")
        (reply,) = carrier.send_and_receive([ask], timeout=10)
        assert reply.error == Error(1, f"node {node_id_of('gw-3')} is not here; it has left or never said it was there")


def test_a_task_that_is_sent_twice_is_done_once_and_answered_twice() -> None:
    app, done = echo()
    with mqtt({"gw-1": app}) as carrier:
        for _ in range(2):
            content = RecordDict({"config": ConfigRecord({"round": 7})})
            ask = carrier.create_message(content, "train", node_id_of("gw-1"), "7")
            (reply,) = carrier.send_and_receive([ask], timeout=10)
            assert reply.content.config_records["config"]["round"] == 7
        assert done == [node_id_of("gw-1")]


def test_a_member_that_leaves_is_no_longer_there() -> None:
    with embedded_broker(["site-a", "gw-1"]) as broker:
        carrier = MqttCarrier(
            broker.settings_for("site-a"), Server("site-a", "site", "gateway"), signer=PEOPLE["site-a"],
            keys=PEOPLE.keys,
        )  # fmt: skip
        carrier.start()
        link = MemberLink(
            broker.settings_for("gw-1"), Membership("site-a", "site", "gw-1"), echo()[0], signer=PEOPLE["gw-1"],
            keys=PEOPLE.keys, clock_us=lambda: 1,
        )  # fmt: skip
        link.start()
        assert carrier.wait_members(1, 10)
        link.stop()
        assert wait_until(lambda: carrier.get_node_ids() == [])
        carrier.stop()


def test_rounds_over_a_grid_of_flowers_own_merge_to_the_same_parameters() -> None:
    with flower_grid(apps()) as carrier:
        found = rounds_over(carrier)
    for result, reference in zip(found, rounds_over(LocalCarrier(apps())), strict=True):
        assert result.theta is not None
        np.testing.assert_array_equal(result.theta, reference.theta)


def test_a_node_without_a_members_name_or_with_anothers_is_nobodys(caplog: pytest.LogCaptureFixture) -> None:
    members = {name: echo()[0] for name in ("gw-1", "gw-2", "gw-3", "gw-4", "gw-5")}
    grid = NamedGrid(members)
    names = ("gw-1", "gw-2", "gw-2", "", "gw/5")
    grid.registered = dict(zip(map(node_id_of, sorted(members)), names, strict=True))
    carrier = FlowerGridCarrier(grid)
    assert carrier.get_node_ids() == [node_id_of("gw-1")]
    assert len(caplog.records) == 4
    ask = carrier.create_message(RecordDict(), "train", node_id_of("gw-2"), "1")
    (reply,) = carrier.send_and_receive([ask], timeout=10)
    assert reply.has_error()


def test_a_reply_over_a_grid_of_flowers_own_that_comes_in_the_next_round_is_told_as_late() -> None:
    class Slow(NamedGrid):
        held = True

        def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
            return [] if self.held else super().pull_messages(message_ids)

    grid = Slow({"gw-1": echo()[0]})
    grid.registered = {node_id_of("gw-1"): "gw-1"}
    carrier, late = FlowerGridCarrier(grid), []
    carrier.on_late = lambda member, _: late.append(member)

    def ask(round_number: int) -> list[Message]:
        content = RecordDict({"config": ConfigRecord({"round": round_number})})
        task = carrier.create_message(content, "train", node_id_of("gw-1"), str(round_number))
        return carrier.send_and_receive([task], timeout=0.3)

    assert ask(1) == []
    grid.held = False
    assert len(ask(2)) == 1
    assert late == ["gw-1"]
    assert carrier.counters["late"] == 1


def test_a_fleet_in_several_processes_merges_to_the_same_parameters() -> None:
    with local_fleet(MEMBERS, make, processes=2) as carrier:
        assert [carrier.member_of(node) for node in carrier.get_node_ids()] == list(MEMBERS)
        found = rounds_over(carrier)
        carrier.away.add("gw-2")
        ask = carrier.create_message(RecordDict(), "train", node_id_of("gw-2"), "1")
        (reply,) = carrier.send_and_receive([ask])
        assert reply.has_error()
    for result, reference in zip(found, rounds_over(LocalCarrier(apps())), strict=True):
        assert result.theta is not None
        np.testing.assert_array_equal(result.theta, reference.theta)
