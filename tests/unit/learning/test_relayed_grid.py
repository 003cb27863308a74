"""Flower's grid through a relay that comes and goes: what is asked again, what counts, and who is let in."""

import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo

from aggregator.carriers.relayed_grid import RelayedGrid
from aggregator.carriers.superlink_carrier import members_among
from aggregator.carriers.superlink_relay import OVERSIZED, TICKET, Relay, serve
from schemas.flower_codec import name_message, take_identity
from schemas.local_socket import Channel, Listener
from schemas.member_link import MAX_REPLY_BYTES
from schemas.signing import AllowedKey, KeyRing, Signer
from tests.support.learning import wait_until

NODE, OTHER, GONE = 11, 12, 13


class ScriptedGrid:
    """Flower's end: takes messages to two nodes, and hands over the replies the test has given it."""

    def __init__(self) -> None:
        self.pushed: list[Message] = []
        self.replies: list[Message] = []

    def get_nodes(self) -> list[NodeInfo]:
        return [NodeInfo(node_id=NODE, name="gw-1"), NodeInfo(node_id=OTHER, name="gw-2")]

    def push_messages(self, messages: Iterable[Message]) -> list[str | None]:
        return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        asked = set(message_ids)
        here = [reply for reply in self.replies if reply.metadata.reply_to_message_id in asked]
        self.replies = [reply for reply in self.replies if reply not in here]
        return here

    def answer(self, number: int, content: RecordDict, *, as_node: int | None = None) -> None:
        reply = Message(content, reply_to=self.pushed[number])
        if as_node is not None:
            reply.metadata.__dict__["_src_node_id"] = as_node
        self.replies.append(reply)

    def _push(self, message: Message) -> str | None:
        if message.metadata.dst_node_id == GONE:
            return None
        name_message(message, f"of-flower-{len(self.pushed)}")
        self.pushed.append(message)
        return message.metadata.message_id


class Plant:
    """The site's end, and relays that the test starts and ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._relays: list[Channel] = []
        self.site = RelayedGrid(Listener(path))
        self.site.start()

    def run(self, ticket: str) -> ScriptedGrid:
        flower = ScriptedGrid()
        channel = Channel.connect(self._path, timeout_s=10)
        channel.send({TICKET: ticket}, timeout_s=10)
        self._relays.append(channel)
        threading.Thread(target=serve, args=(channel, Relay(flower)), daemon=True).start()
        return flower

    def submit(self, ticket: str) -> ScriptedGrid:
        self.site.expect(ticket)
        flower = self.run(ticket)
        assert wait_until(lambda: self.site.connected, 30)
        return flower

    def kill(self) -> None:
        self._relays.pop().close()
        assert wait_until(lambda: not self.site.connected, 30)

    def ask(self, node: int = NODE) -> str:
        (message_id,) = self.site.push_messages([Message(words("train"), node, "train", group_id="7")])
        return message_id

    def close(self) -> None:
        self.site.stop()
        for channel in self._relays:
            channel.close()


def words(text: str) -> RecordDict:
    return RecordDict({"said": ConfigRecord({"text": text})})


def text_of(reply: Message) -> object:
    return reply.content.config_records["said"]["text"]


@pytest.fixture
def plant() -> Iterator[Plant]:
    take_identity(1)
    with tempfile.TemporaryDirectory(prefix="ut-") as folder:  # socket paths are short
        plant = Plant(Path(folder) / "relay.sock")
        yield plant
        plant.close()


def test_reply_comes_back_as_the_reply_to_the_sites_own_message_and_once(plant: Plant) -> None:
    flower = plant.submit("one")
    asked = plant.ask()
    assert plant.site.pull_messages([asked]) == []
    flower.answer(0, words("learnt"))
    (reply,) = plant.site.pull_messages([asked])
    assert (text_of(reply), reply.metadata.reply_to_message_id, reply.metadata.src_node_id) == ("learnt", asked, NODE)
    assert reply.metadata.group_id == "7"
    assert plant.site.pull_messages([asked]) == []


def test_what_has_no_reply_when_the_run_dies_is_asked_again_in_the_next_and_nothing_else(plant: Plant) -> None:
    first = plant.submit("one")
    answered, open_still = plant.ask(NODE), plant.ask(OTHER)
    first.answer(0, words("learnt"))
    assert len(plant.site.pull_messages([answered, open_still])) == 1
    plant.kill()
    second = plant.submit("two")
    assert plant.site.pull_messages([open_still]) == []
    assert [message.metadata.dst_node_id for message in second.pushed] == [OTHER]
    second.answer(0, words("learnt again"))
    (reply,) = plant.site.pull_messages([open_still])
    assert text_of(reply) == "learnt again"


def test_what_is_asked_while_there_is_no_run_waits_for_the_next(plant: Plant) -> None:
    plant.submit("one")
    plant.kill()
    asked = plant.ask()
    assert plant.site.pull_messages([asked]) == []
    second = plant.submit("two")
    plant.site.pull_messages([asked])
    assert len(second.pushed) == 1


def test_relay_of_an_older_run_is_not_let_in_whatever_it_brings(plant: Plant) -> None:
    plant.submit("one")
    plant.kill()
    plant.site.expect("two")
    plant.run("one")
    second = plant.run("two")
    assert wait_until(lambda: plant.site.connected, 30)
    plant.ask()
    assert len(second.pushed) == 1


def test_reply_of_another_node_than_was_asked_is_dropped(plant: Plant) -> None:
    flower = plant.submit("one")
    asked = plant.ask(NODE)
    flower.answer(0, words("not mine"), as_node=OTHER)
    assert plant.site.pull_messages([asked]) == []


def test_node_that_flower_does_not_know_is_answered_for_at_once(plant: Plant) -> None:
    plant.submit("one")
    (reply,) = plant.site.pull_messages([plant.ask(GONE)])
    assert "is not here" in reply.error.reason


def test_reply_too_large_becomes_an_answer_with_its_reason(plant: Plant) -> None:
    flower = plant.submit("one")
    asked = plant.ask()
    flower.answer(0, words("x" * (MAX_REPLY_BYTES + 1)))
    (reply,) = plant.site.pull_messages([asked])
    assert reply.error.code == OVERSIZED
    assert "16777216 allowed" in reply.error.reason


def test_late_reply_still_comes_through_its_own_run_and_the_next_is_not_asked(plant: Plant) -> None:
    first = plant.submit("one")
    late, never = plant.ask(NODE), plant.ask(OTHER)
    plant.site.note_late([late, never])
    first.answer(0, words("late"))
    (reply,) = plant.site.pull_messages([late, never])
    assert (text_of(reply), reply.metadata.group_id) == ("late", "7")
    plant.kill()
    second = plant.submit("two")
    assert plant.site.pull_messages([never]) == []
    assert second.pushed == []


def test_nodes_of_a_run_that_has_died_count_as_there_until_the_next_had_time_to_come(plant: Plant) -> None:
    assert plant.site.get_node_ids() == []
    plant.submit("one")
    assert plant.site.get_node_ids() == [NODE, OTHER]
    plant.kill()
    assert plant.site.get_node_ids() == [NODE, OTHER]


def test_node_called_after_nobody_on_the_list_is_no_member() -> None:
    gateway, releaser = Signer.generate().public, Signer.generate().public
    keys = KeyRing([AllowedKey("gw-1", "gateway", gateway), AllowedKey("gw-2", "releaser", releaser)])
    assert members_among({NODE: "gw-1", OTHER: "gw-2", GONE: "gw-3"}, keys) == {NODE: "gw-1"}
