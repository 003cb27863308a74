"""This file knows the carrier of a plant: Flower's messages over the plant's own broker, sealed and in fragments.

A member is who its key says, and only on its own topic. A task is sent again when its member or the broker has been
away; the member knows a task by its id and does it once. A reply counts once, and only until its deadline.
"""

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from flwr.app import Message

from aggregator.carriers.port import Carrier, nobody_there, task_id
from aggregator.intake import HEAD_BYTES, Refused
from schemas.errors import RejectedInput, SignatureRejected
from schemas.flower_codec import (
    REPLY_OVERSIZED,
    UNUSABLE_REPLY,
    dump_message,
    error_reply,
    load_message,
    name_message,
)
from schemas.fragments import Reassembly, decode_fragment
from schemas.link import Link, Received
from schemas.logs import event
from schemas.member_link import node_id_of, send_in_fragments
from schemas.messages import MemberPresence, decode
from schemas.offer import OFFER
from schemas.settings import BrokerSettings
from schemas.signing import KeyRing, Role, Signer
from schemas.topics import MEMBER, REPLY, TASK

log = logging.getLogger(__name__)

MAX_REPLIES_BYTES = 64 << 20  # of all members together, unfinished
MAX_REPLY_AGE_S = 300.0
REMEMBERED_TASKS = 4096  # to tell a reply that came twice from one that came too late
NO_ANSWER_WILL_COME = frozenset({"oversized", "bad_magic", "bad_head", "bad_message", "bad_dtype", "bad_shape"})
EXPECTED = frozenset({"late", "duplicate", "unasked", "unusable"})  # nobody's fault, or said already
WAKE_S = 1.0
ASK_AGAIN_S = 20.0  # a member that trains longer answers twice, which is counted; one that missed the task is not lost
REANNOUNCE_WITHIN_S = 15.0  # after our own reconnect; members come back within some seconds of us


@dataclass(frozen=True, slots=True)
class Server:
    """Who asks whom: a site its gateways, or an enterprise its sites."""

    name: str
    role: Role
    member_role: Role


@dataclass(frozen=True, slots=True)
class _Task:
    """A task that waits for its answer; written when it is sent, so that all members' share one set of parameters."""

    member: str
    node_id: int
    message: Message


@dataclass(frozen=True, slots=True)
class _Presence:
    member: str
    session: int
    connection: int


class MqttCarrier(Carrier):
    """Carries between one server and its members over a broker.

    Attributes:
        counters: What was dropped, by reason; `late`, `duplicate` and `wrong_sender` among them.
        on_refused: Told what was dropped and should not have come, and whether its member is to hear of it: else its
            round says so. On the network's thread; it must not wait.
    """

    def __init__(self, broker: BrokerSettings, server: Server, *, signer: Signer, keys: KeyRing) -> None:
        super().__init__()
        self._server = server
        self._signer = signer
        self._keys = keys
        self._changed = threading.Condition()
        self._members: dict[int, _Presence] = {}
        self._connection = 0
        self._connected_at_s = 0.0
        self._pending: dict[str, _Task] = {}
        self._unsent: set[str] = set()
        self._sent_at_s: dict[str, float] = {}
        self._inbox: dict[str, Message] = {}
        self._done: OrderedDict[str, str] = OrderedDict()
        self._reassembly = Reassembly(max_bytes=MAX_REPLIES_BYTES, max_age_s=MAX_REPLY_AGE_S)
        self._stopping = threading.Event()
        self._stream = time.time_ns() & (1 << 63) - 1
        self._items = 0
        self.on_refused: Callable[[Refused, bool], None] | None = None
        self.counters: Final[Counter[str]] = Counter()
        self._link = Link(
            broker,
            f"{server.name}-learning",
            subscriptions=[(MEMBER.filter(site=server.name), MEMBER.qos), (REPLY.filter(site=server.name), REPLY.qos)],
            on_message=self._receive,
            on_connected=self._reconnected,
            persistent=False,  # presence must come again; a reply that was missed is asked for again
        )

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and not gone since."""
        return self._link.connected

    def start(self) -> None:
        """Connect in the background."""
        self._link.start()

    def stop(self) -> None:
        """End a `send_and_receive` under way and disconnect."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._link.stop()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called: replies may be missing because we ended, not because members failed."""
        return self._stopping.is_set()

    def member_of(self, node_id: int) -> str | None:
        """Name the member behind a node's number."""
        with self._changed:
            presence = self._members.get(node_id)
            return presence.member if presence else None

    def get_node_ids(self) -> list[int]:
        """Numbers of the members that say they are there, in the order of their names."""
        with self._changed:
            return self._present()

    def wait_members(self, count: int, timeout_s: float) -> bool:
        """Wait until so many members are there; tell whether it came to that."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._present()) >= count, timeout_s)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send each message to its member; see Flower's `Grid`."""
        return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Hand over the replies that are here to these messages."""
        with self._changed:
            return [self._inbox.pop(message_id) for message_id in list(message_ids) if message_id in self._inbox]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send tasks and wait for replies, at most `timeout` seconds; the rest of the replies will be late."""
        give_up_at_s = time.monotonic() + (timeout if timeout is not None else float("inf"))
        waiting = set(self.push_messages(messages))
        replies: list[Message] = []
        while waiting and not self._stopping.is_set():
            left_s = give_up_at_s - time.monotonic()
            if left_s > 0:
                with self._changed:
                    self._changed.wait_for(lambda: self._something_for(waiting), min(left_s, WAKE_S))
            for reply in self.pull_messages(waiting):
                waiting.discard(reply.metadata.reply_to_message_id)
                replies.append(reply)
                if self.on_reply is not None:
                    self.on_reply(reply)
            if left_s <= 0:
                break
            self._send_again(waiting)
        with self._changed:
            for message_id in waiting:
                self._finish(message_id, "late")
        return replies

    def _something_for(self, waiting: set[str]) -> bool:
        unsent = self._link.connected and not self._unsent.isdisjoint(waiting)
        return self._stopping.is_set() or unsent or not waiting.isdisjoint(self._inbox)

    def _push(self, message: Message) -> str:
        message_id = task_id(message)
        name_message(message, message_id)
        node_id = message.metadata.dst_node_id
        member = self.member_of(node_id)
        with self._changed:
            if member is None:
                self._inbox[message_id] = nobody_there(message)
                return message_id
            self._pending[message_id] = _Task(member, node_id, message)
            self._done.pop(message_id, None)
        self._send(message_id)
        return message_id

    def _send(self, message_id: str) -> None:
        with self._changed:
            task = self._pending.get(message_id)
            self._unsent.discard(message_id)
            self._items += 1
            item = self._items
        if task is None:
            return
        topic = TASK.path(site=self._server.name, member=task.member)
        sent_bytes = send_in_fragments(
            self._link, self._signer, topic, dump_message(task.message),
            stream=self._stream, item=item, give_up=self._stopping, patience_s=WAKE_S,
        )  # fmt: skip
        with self._changed:
            self.bytes_down += sent_bytes
            self._sent_at_s[message_id] = time.monotonic()
            if not sent_bytes:
                self._unsent.add(message_id)

    def _send_again(self, waiting: set[str]) -> None:
        if not self._link.connected:
            return
        now_s = time.monotonic()
        unanswered = {m for m in waiting if now_s - self._sent_at_s.get(m, now_s) >= ASK_AGAIN_S}
        for message_id in sorted(self._unsent & waiting | unanswered):
            self._send(message_id)

    def _finish(self, message_id: str, how: str) -> None:
        self._pending.pop(message_id, None)
        self._unsent.discard(message_id)
        self._sent_at_s.pop(message_id, None)
        self._done[message_id] = how
        while len(self._done) > REMEMBERED_TASKS:
            self._done.popitem(last=False)

    def _reconnected(self) -> None:
        with self._changed:
            self._connection += 1
            self._connected_at_s = time.monotonic()
            self._unsent.update(self._pending)
            self._changed.notify_all()

    def _present(self) -> list[int]:
        """Members that have said so on this connection, or may still: the broker's memory may be gone."""
        grace = time.monotonic() - self._connected_at_s < REANNOUNCE_WITHIN_S
        present = {
            node_id: presence.member
            for node_id, presence in self._members.items()
            if grace or presence.connection == self._connection
        }
        return sorted(present, key=lambda node_id: present[node_id])

    def _receive(self, received: Received) -> None:
        try:
            if (names := MEMBER.match(received.topic)) is not None:
                self._note_presence(names["member"], received)
            elif (names := REPLY.match(received.topic)) is not None:
                self._take_fragment(names["member"], received)
        except (RejectedInput, SignatureRejected) as error:
            self._count(error.reason, received.topic, str(error), received.payload)

    def _note_presence(self, member: str, received: Received) -> None:
        node_id = node_id_of(member)
        if not received.payload:
            with self._changed:
                self._members.pop(node_id, None)
                self._changed.notify_all()
            return
        body = self._keys.open(received.topic, received.payload, role=self._server.member_role, name=member)
        presence = decode(MemberPresence, body)
        if presence.member != member or presence.node_id != node_id:
            text = f"presence of {presence.member!r} found, {member!r} must say it"
            self._count("wrong_sender", received.topic, text, received.payload)
            return
        with self._changed:
            known = self._members.get(node_id)
            here = self._members[node_id] = _Presence(member, presence.session, self._connection)
            if known != here:  # one started anew; or one that a broker without memory had no session for until now
                self._unsent.update(m for m, task in self._pending.items() if task.member == member)
            self._changed.notify_all()

    def _take_fragment(self, member: str, received: Received) -> None:
        body = self._keys.open(received.topic, received.payload, role=self._server.member_role, name=member)
        try:
            content = self._reassembly.add(received.topic, decode_fragment(body), now_s=time.monotonic())
            for topic, _, item in self._reassembly.expired(now_s=time.monotonic()):
                self._count("fragments_incomplete", topic, f"message {item} never became whole")
            if content is None:
                return
            reply = load_message(content)
        except RejectedInput as error:
            code = REPLY_OVERSIZED if error.reason == "oversized" else UNUSABLE_REPLY
            answered = error.reason in NO_ANSWER_WILL_COME and self._answer_for(
                member, code, f"{error.reason}: {error}"
            )
            self._count(error.reason, received.topic, str(error), received.payload, tell=not answered)
            return
        message_id = reply.metadata.reply_to_message_id
        with self._changed:
            self.bytes_up += len(content)
            task = self._pending.get(message_id)
            known = self._done.get(message_id)
            if reply.metadata.src_node_id != node_id_of(member) or (task is not None and task.member != member):
                problem = "wrong_sender"
            elif task is not None:
                self._inbox[message_id] = reply
                self._finish(message_id, "duplicate")
                self._changed.notify_all()
                return
            else:
                problem = known or "unasked"
        if problem != "unasked" or not message_id.startswith(OFFER):  # what sites offer is not expected to be asked for
            self._count(problem, received.topic, f"reply to {message_id!r}", content)
        if problem in {"late", "unasked"} and self.on_late is not None:
            self.on_late(member, reply)

    def _answer_for(self, member: str, code: int, text: str) -> bool:
        """Put an error in the place of what a member's own key has signed and nobody can use; whether it was asked."""
        with self._changed:
            asked = [m for m, task in self._pending.items() if task.member == member]
            for message_id in asked:
                self._inbox[message_id] = error_reply(self._pending[message_id].message, code, text)
                self._finish(message_id, "unusable")
            self._changed.notify_all()
        return bool(asked)

    def _count(self, reason: str, topic: str, text: str, payload: bytes = b"", *, tell: bool = True) -> None:
        self.counters[reason] += 1
        event(log, logging.WARNING, "learning_message_dropped", reason=reason, topic=topic, text=text)
        if reason not in EXPECTED and self.on_refused is not None:
            self.on_refused(Refused(topic, reason, text, payload[:HEAD_BYTES], len(payload)), tell)
