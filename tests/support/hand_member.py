"""A member of the learning played by hand: it says it is there, hears tasks, and says whatever the test wants."""

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flwr.app import Message

from schemas.flower_codec import dump_message, load_message
from schemas.fragments import Fragment, Reassembly, decode_fragment, encode_fragment
from schemas.link import Link, Received, Will
from schemas.member_link import node_id_of, send_in_fragments
from schemas.messages import MemberPresence, encode
from schemas.settings import BrokerSettings
from schemas.signing import SEAL_BYTES, Signer
from schemas.topics import MEMBER, REPLY, TASK

PIECE_BYTES = 8192


class HandMember:
    """Speaks as `name` with whatever key and connection it is given."""

    def __init__(
        self, broker: BrokerSettings, name: str, signer: Signer, *, site: str = "site-a", present: bool = True
    ) -> None:
        self.name = name
        self.signer = signer
        names = {"site": site, "member": name}
        self.present_topic, self.task_topic, self.reply_topic = (t.path(**names) for t in (MEMBER, TASK, REPLY))
        self._whole = Reassembly(max_bytes=64 << 20, max_age_s=60)
        self._tasks: queue.Queue[Message] = queue.Queue()
        self._items = 0
        self.link = Link(
            broker, f"{name}-by-hand", subscriptions=[(self.task_topic, 1)], on_message=self._hear,
            on_connected=self.say_present if present else None,
            will=Will(self.present_topic, b"") if present else None,
        )  # fmt: skip

    def say_present(self) -> None:
        presence = MemberPresence(
            member=self.name, node_id=node_id_of(self.name), session=1, at_us=time.time_ns() // 1000
        )
        self.link.publish(self.present_topic, self.signer.seal(self.present_topic, encode(presence)), retained=True)

    def next_task(self, within_s: float = 15.0) -> Message:
        return self._tasks.get(timeout=within_s)

    def send(self, reply: Message) -> None:
        self.send_content(dump_message(reply))

    def send_content(self, content: bytes) -> None:
        """Say anything, in well-formed sealed fragments."""
        self._items += 1
        assert send_in_fragments(
            self.link, self.signer, self.reply_topic, content, stream=2, item=self._items, give_up=threading.Event()
        )

    def send_fragment(self, fragment: Fragment) -> None:
        sealed = self.signer.seal(self.reply_topic, encode_fragment(fragment))
        while not self.link.publish(self.reply_topic, sealed):
            assert self.link.wait_window(10)

    def _hear(self, received: Received) -> None:
        content = self._whole.add(received.topic, decode_fragment(received.payload[SEAL_BYTES:]), now_s=0.0)
        if content is not None:
            self._tasks.put(load_message(content))


@contextmanager
def hand_member(
    broker: BrokerSettings, name: str, signer: Signer, *, site: str = "site-a", present: bool = True
) -> Iterator[HandMember]:
    member = HandMember(broker, name, signer, site=site, present=present)
    member.link.start()
    try:
        assert member.link.wait_connected(10), f"{name} was not let in"
        yield member
    finally:
        member.link.stop()
