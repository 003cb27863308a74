"""The same unmodified Flower apps over every carrier give the same merged parameters, bit for bit."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from aggregator.carriers.local import LocalCarrier
from aggregator.carriers.mqtt import MqttCarrier, Server
from aggregator.carriers.port import Carrier
from aggregator.learning.strategy import MergeStrategy, Plan, RoundResult, run_rounds
from schemas.flower_codec import ClientCall
from schemas.member_link import MemberLink, Membership, node_id_of
from schemas.release import TRAIN_STEP
from tests.support.brokers import embedded_broker
from tests.support.learning import People, builtin, client_app, healthy_rows, wait_until

MEMBERS = ("gw-1", "gw-2", "gw-3")
PEOPLE = People([("site-a", "site"), ("product", "releaser"), *((name, "gateway") for name in MEMBERS)])
FIRST = builtin(PEOPLE["product"])
SMALL_PACKETS = 16_384


@contextmanager
def local(members: dict[str, ClientCall]) -> Iterator[Carrier]:
    yield LocalCarrier(members)


@contextmanager
def mqtt(members: dict[str, ClientCall], max_packet_bytes: int = 262_144) -> Iterator[MqttCarrier]:
    with embedded_broker(["site-a", *members]) as broker, ExitStack() as stack:
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


@contextmanager
def mqtt_in_small_packets(members: dict[str, ClientCall]) -> Iterator[Carrier]:
    with mqtt(members, SMALL_PACKETS) as carrier:
        yield carrier


def rounds_over(carrier: Carrier) -> list[RoundResult]:
    plan = Plan(graph=FIRST.manifest.files[TRAIN_STEP].sha256, steps=10, learning_rate=3e-3)
    strategy = MergeStrategy(carrier, plan, FIRST.parameters(), base_version=1)
    return run_rounds(carrier, strategy, rounds=2, deadline_s=20)


def apps() -> dict[str, ClientCall]:
    return {name: client_app(FIRST, healthy_rows(number)) for number, name in enumerate(MEMBERS)}


def test_two_rounds_over_a_broker_merge_to_the_same_parameters_as_in_one_process() -> None:
    expected = rounds_over(LocalCarrier(apps()))
    assert [result.void for result in expected] == ["", ""]
    for carried_by in (mqtt, mqtt_in_small_packets):
        with carried_by(apps()) as carrier:
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


CARRIERS = pytest.mark.parametrize("carried_by", [local, mqtt], ids=["local", "mqtt"])


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
