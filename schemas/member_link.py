"""This file knows how a member of the learning serves its Flower app: a gateway to its site, a site to its enterprise.

Presence is a retained sealed message, withdrawn by an empty one: a will is written before it is needed and cannot be
freshly signed. Tasks and replies travel as sealed fragments. A task that comes twice gets the same answer without
being done twice; the work is done in a thread of this link's own.
"""

import contextlib
import hashlib
import itertools
import logging
import queue
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from flwr.app import Context, Message, MessageType, RecordDict

from schemas.errors import RejectedInput, SignatureRejected
from schemas.flower_codec import (
    REPLY_OVERSIZED,
    UNUSABLE_REPLY,
    ClientCall,
    answer,
    dump_message,
    empty_reply,
    error_reply,
    load_message,
    name_message,
    new_context,
)
from schemas.fragments import OVERHEAD_BYTES, Reassembly, decode_fragment, split
from schemas.link import Link, Received, Will
from schemas.logs import event
from schemas.messages import MemberPresence, MemberReport, UpdateRefused, encode
from schemas.settings import BrokerSettings
from schemas.signing import SEAL_BYTES, KeyRing, Role, Signer
from schemas.topics import MEMBER, REPLY, TASK, Topic
from schemas.verdict_task import VERDICT, Verdict

log = logging.getLogger(__name__)

MAX_TASK_BYTES = 16 << 20
MAX_REPLY_BYTES = 16 << 20
MAX_TASK_AGE_S = 300.0
QUEUED_FRAGMENTS = 512  # a full queue drops the fragment and counts it; the server repeats a task nobody answers
REANNOUNCE_S = 1.0  # two that answer each other would fill the broker
REMEMBERED_ANSWERS = 4  # of tasks that may come again; one round has two
SEND_PATIENCE_S = 30.0
STOP_PATIENCE_S = 20.0
UPDATE_REFUSED = "update_"  # before the reason, in the counters
MOST_REPORTED = 32  # counters of either kind, the largest; reasons are the server's words


def node_id_of(member: str) -> int:
    """Number a member for Flower, which knows nodes by number: the same everywhere and for ever."""
    return int.from_bytes(hashlib.sha256(member.encode()).digest()[:8], "big") >> 1 or 1


def send_in_fragments(
    link: Link,
    signer: Signer,
    topic: str,
    content: bytes,
    *,
    stream: int,
    item: int,
    give_up: threading.Event,
    patience_s: float = SEND_PATIENCE_S,
) -> int:
    """Publish `content` as sealed fragments; return the bytes handed over, 0 when the broker stayed away.

    Must not run on the link's network thread: it waits for the window, at most `patience_s` a fragment.
    """
    piece_bytes = link.max_payload_bytes - SEAL_BYTES - OVERHEAD_BYTES
    sent_bytes = 0
    for fragment in split(content, stream=stream, item=item, piece_bytes=piece_bytes):
        sealed = signer.seal(topic, fragment)
        give_up_at_s = time.monotonic() + patience_s
        while not link.publish(topic, sealed):
            if give_up.is_set() or time.monotonic() >= give_up_at_s:
                return 0
            link.wait_window(1.0)
        sent_bytes += len(sealed)
    return sent_bytes


@dataclass(frozen=True, slots=True)
class Membership:
    """Who serves whom.

    Attributes:
        server: The site, or the enterprise, that asks.
        server_role: In which role its key must be on the list.
        member: Who answers.
    """

    server: str
    server_role: Role
    member: str


class MemberLink:
    """Serves one app to one server; `start` connects, `stop` withdraws and waits for the work under way.

    Attributes:
        counters: Tasks answered and repeated, and what was dropped by reason.
        fault: What ended the thread that works, if anything did: a bug, the process should end then.
        last_verdict: Why the server last refused an update of ours, if it ever did since the start.
        verdict_at_us: When we heard it.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        membership: Membership,
        app: ClientCall,
        *,
        signer: Signer,
        keys: KeyRing,
        clock_us: Callable[[], int],
        on_sent: Callable[[Topic, int], None] | None = None,
    ) -> None:
        self._who = membership
        self._app = app
        self._signer = signer
        self._keys = keys
        self._clock_us = clock_us
        self._on_sent = on_sent
        self._node_id = node_id_of(membership.member)
        self._session = clock_us()
        names = {"site": membership.server, "member": membership.member}
        self._task_topic, self._reply_topic = TASK.path(**names), REPLY.path(**names)
        self._member_topic = MEMBER.path(**names)
        self._context = new_context(self._node_id, {})
        self._fragments: queue.Queue[bytes | None] = queue.Queue(QUEUED_FRAGMENTS)
        self._reassembly = Reassembly(max_bytes=MAX_TASK_BYTES, max_age_s=MAX_TASK_AGE_S)
        self._answers: OrderedDict[str, bytes] = OrderedDict()
        self._announced = b""
        self._again: threading.Timer | None = None
        self._items = itertools.count(1)  # `next` of it is one step: two threads send
        self._stopping = threading.Event()
        self.counters: Final[Counter[str]] = Counter()
        self.fault: Exception | None = None
        self.last_verdict: Verdict | None = None
        self.verdict_at_us = 0
        self._worker = threading.Thread(target=self._work, name=f"learning-{membership.member}", daemon=True)
        self._link = Link(
            broker,
            f"{membership.member}-member",
            subscriptions=[(self._task_topic, TASK.qos), (self._member_topic, MEMBER.qos)],
            on_message=self._hand_over,
            on_connected=self._announce,
            will=Will(self._member_topic, b""),
        )

    def start(self) -> None:
        """Connect in the background and answer from now on."""
        self._worker.start()
        self._link.start()

    def stop(self) -> None:
        """Withdraw, finish the task under way, disconnect."""
        self._stopping.set()
        if self._link.publish(self._member_topic, b"", retained=True):
            self._count(MEMBER, 0)
        self._link.wait_published(2.0)
        with contextlib.suppress(queue.Full):  # then the worker sees the event after the fragment it is at
            self._fragments.put_nowait(None)
        if self._worker.is_alive():
            self._worker.join(STOP_PATIENCE_S)
        self._link.stop()

    def report(self) -> MemberReport | None:
        """What this member's people should know; None while the server has asked for nothing. Any thread may ask."""
        return report_of(self.counters.copy(), self.last_verdict, self.verdict_at_us)

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until the broker has accepted us; tell whether it came to that."""
        return self._link.wait_connected(timeout_s)

    def tell(self, content: RecordDict, name: str) -> int:
        """Say something nobody has asked for; bytes handed to the broker, 0 when it stayed away.

        It travels as the reply to a message called `name`: Flower's members only reply. Whether the server has taken
        it, it must say itself.
        """
        question = Message(RecordDict(), self._node_id, str(MessageType.QUERY), group_id=name)
        name_message(question, name)
        return self._send(dump_message(Message(content, reply_to=question)))

    def _announce(self) -> None:
        presence = MemberPresence(
            member=self._who.member, node_id=self._node_id, session=self._session, at_us=self._clock_us()
        )
        self._announced = self._signer.seal(self._member_topic, encode(presence))
        if self._link.publish(self._member_topic, self._announced, retained=True):
            self._count(MEMBER, len(self._announced))

    def _hear_presence(self, payload: bytes) -> None:
        """Say again that we are there when somebody else has said otherwise; where an access list holds, nobody can."""
        if payload == self._announced or self._stopping.is_set() or self._again is not None:
            return
        self._refuse("presence_disturbed")
        self._again = threading.Timer(REANNOUNCE_S, self._announce_again)
        self._again.daemon = True
        self._again.start()

    def _announce_again(self) -> None:
        self._again = None
        if not self._stopping.is_set():
            self._announce()

    def _hand_over(self, received: Received) -> None:
        if received.topic == self._member_topic:
            self._hear_presence(received.payload)
            return
        try:
            self._fragments.put_nowait(received.payload)
        except queue.Full:
            self._refuse("queue_full")

    def _work(self) -> None:
        try:
            self._serve()
        except Exception as error:
            self.fault = error
            log.exception("learning_member_failed")

    def _serve(self) -> None:
        while (payload := self._fragments.get()) is not None and not self._stopping.is_set():
            try:
                body = self._keys.open(self._task_topic, payload, role=self._who.server_role, name=self._who.server)
                content = self._reassembly.add(self._task_topic, decode_fragment(body), now_s=time.monotonic())
                for _ in self._reassembly.expired(now_s=time.monotonic()):
                    self._refuse("fragments_incomplete")
                if content is not None:
                    self._answer(content)
            except (RejectedInput, SignatureRejected) as error:
                self._refuse(error.reason)

    def _answer(self, content: bytes) -> None:
        task = load_message(content)
        if task.metadata.dst_node_id != self._node_id:
            self._refuse("not_for_us")
            return
        message_id = task.metadata.message_id
        reply = self._answers.get(message_id)
        if reply is None:
            reply = self._do(task)
            self._answers[message_id] = reply
            while len(self._answers) > REMEMBERED_ANSWERS:
                self._answers.popitem(last=False)
            self.counters["answered"] += 1
        else:
            self.counters["repeated"] += 1
        if not self._send(reply):
            event(log, logging.WARNING, "reply_not_sent", server=self._who.server, member=self._who.member)

    def _send(self, reply: bytes) -> int:
        sent_bytes = send_in_fragments(
            self._link, self._signer, self._reply_topic, reply,
            stream=self._session, item=next(self._items), give_up=self._stopping,
        )  # fmt: skip
        if sent_bytes:
            self._count(REPLY, sent_bytes)
        return sent_bytes

    def _do(self, task: Message) -> bytes:
        """Let the app answer; what cannot travel becomes an error, so that nobody waits for it."""
        try:
            reply = dump_message(answer(self._hear if _is_verdict(task) else self._app, self._context, task))
        except RejectedInput as error:
            return self._instead(task, UNUSABLE_REPLY, error.reason, str(error))
        if len(reply) > MAX_REPLY_BYTES:
            text = (
                f"reply of {len(reply)} bytes made, {MAX_REPLY_BYTES} allowed; the model is too large for this carrier"
            )
            return self._instead(task, REPLY_OVERSIZED, "reply_oversized", text)
        return reply

    def _hear(self, task: Message, _context: Context) -> Message:
        """Note that the server has refused what we sent it, where this gateway's people look."""
        verdict = Verdict.read(task)
        self.counters[UPDATE_REFUSED + verdict.reason] += 1
        self.verdict_at_us, self.last_verdict = self._clock_us(), verdict
        event(log, logging.WARNING, "update_refused", server=self._who.server, round=verdict.round_number,
              reason=verdict.reason, text=verdict.text)  # fmt: skip
        return empty_reply(task)

    def _instead(self, task: Message, code: int, reason: str, text: str) -> bytes:
        self._refuse(reason)
        return dump_message(error_reply(task, code, text))

    def _count(self, topic: Topic, sent_bytes: int) -> None:
        if self._on_sent is not None:
            self._on_sent(topic, sent_bytes)

    def _refuse(self, reason: str) -> None:
        self.counters[reason] += 1
        event(log, logging.WARNING, "task_refused", reason=reason, member=self._who.member)


def _is_verdict(task: Message) -> bool:
    return task.metadata.message_type == VERDICT


def report_of(counts: Counter[str], verdict: Verdict | None, verdict_at_us: int) -> MemberReport | None:
    """What a member has counted and last heard, for its people; None where it was asked for nothing."""
    refused = Counter(
        {name.removeprefix(UPDATE_REFUSED): n for name, n in counts.items() if name.startswith(UPDATE_REFUSED)}
    )
    tasks = Counter({name: n for name, n in counts.items() if not name.startswith(UPDATE_REFUSED)})
    if not counts:
        return None
    last = verdict and UpdateRefused(
        round_number=verdict.round_number, reason=verdict.reason, text=verdict.text, at_us=verdict_at_us
    )
    return MemberReport(
        tasks=dict(tasks.most_common(MOST_REPORTED)), refused=dict(refused.most_common(MOST_REPORTED)),
        last_refused=last,
    )  # fmt: skip
