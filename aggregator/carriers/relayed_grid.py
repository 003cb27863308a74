"""This file knows Flower's grid as a site sees it from its own process: through the relay that its SuperLink runs.

A relay that has gone is replaced by the next that says the right ticket. What was asked through the one before and has
no reply is asked again through it; a reply counts once, and only if it comes from the node that was asked.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flwr.app import Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid

from aggregator.carriers.port import nobody_there, task_id
from aggregator.carriers.superlink_relay import HELLO_WITHIN_S, TICKET
from schemas.errors import RejectedInput
from schemas.flower_codec import dump_message, load_message, name_message
from schemas.local_socket import Channel, Frame, Listener, PeerGone
from schemas.logs import event

if TYPE_CHECKING:
    from flwr.supercore.run import Run

log = logging.getLogger(__name__)

LOOK_S = 0.2
ASK_EVERY_S = 5.0  # also without a round: a SuperLink that hangs is noticed
ANSWER_WITHIN_S = 30.0  # Flower's grid tries for a while on its own when its SuperLink is slow
NODES_STAY_S = 90.0  # without a relay, the nodes of the last one count as there: they come back with the next
REMEMBERED_LATE = 4096  # tasks whose round is over; the oldest are forgotten


class RelayedGrid(Grid):
    """A grid whose other end may go and come back; any thread may use it.

    Attributes:
        fault: What ended the thread that waits for relays, if anything did.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._lock = threading.RLock()
        self._channel: Channel | None = None
        self._ticket = ""
        self._lost = ""
        self._nodes: dict[int, str] = {}
        self._nodes_at_s = float("-inf")
        self._tasks: dict[str, Message] = {}
        self._known_as: dict[str, str] = {}
        self._inbox: dict[str, Message] = {}
        self._late: OrderedDict[str, None] = OrderedDict()
        self._stopping = threading.Event()
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="superlink-relay", daemon=True)

    def start(self) -> None:
        """Wait for relays in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Hang up; the run ends with it."""
        self._stopping.set()
        channel = self._channel
        if channel is not None:
            channel.close()
        if self._thread.is_alive():
            self._thread.join(HELLO_WITHIN_S + LOOK_S)
        self._listener.close()

    def expect(self, ticket: str) -> None:
        """Let in the relay of this submission and no other from now on."""
        with self._lock:
            self._ticket = ticket
            if self._channel is not None:
                self._drop("another run was submitted")

    @property
    def connected(self) -> bool:
        """Whether a relay is there."""
        return self._channel is not None

    @property
    def lost(self) -> str:
        """Why the last relay has gone."""
        return self._lost

    def set_run(self, run: "Run") -> None:
        """Nothing: runs come and go at the other end."""

    @property
    def run(self) -> "Run":
        """See Flower's `Grid`."""
        raise NotImplementedError("the run is the relay's")

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Make a message; see Flower's `Grid`."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Numbers of the nodes in reach."""
        return [node.node_id for node in self.get_nodes()]

    def get_nodes(self) -> list[NodeInfo]:
        """The nodes in reach; for a while those of the last relay."""
        with self._lock:
            self._ask_nodes()
            if time.monotonic() - self._nodes_at_s > NODES_STAY_S:
                return []
            return [NodeInfo(node_id=node_id, name=name) for node_id, name in self._nodes.items()]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Take each message, and send it now, or when there is a relay again."""
        taken = []
        with self._lock:
            for message in messages:
                message_id = task_id(message)
                name_message(message, message_id)
                self._tasks[message_id] = message
                self._late.pop(message_id, None)
                taken.append(message_id)
            self._send_unsent()
        return taken

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Hand over the replies that are here to these messages."""
        with self._lock:
            self._send_unsent()
            self._ask_replies()
            replies = [self._inbox.pop(one) for one in list(message_ids) if one in self._inbox]
            for reply in replies:
                self._forget(reply.metadata.reply_to_message_id)
            return replies

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """See Flower's `Grid`."""
        raise NotImplementedError("a carrier pushes and pulls")

    def note_late(self, message_ids: Iterable[str]) -> None:
        """Nobody waits for these any more: a reply may still come through this relay, the next is not asked."""
        with self._lock:
            for one in set(message_ids) & self._tasks.keys():
                about = self._tasks[one].metadata
                self._tasks[one] = Message(RecordDict(), about.dst_node_id, about.message_type, group_id=about.group_id)
                name_message(self._tasks[one], one)
                self._late[one] = None
                if one not in self._known_as:
                    self._forget(one)
            while len(self._late) > REMEMBERED_LATE:
                self._forget(next(iter(self._late)))

    def _forget(self, message_id: str) -> None:
        for known in (self._tasks, self._known_as, self._late):
            known.pop(message_id, None)

    def _run(self) -> None:
        try:
            self._watch()
        except Exception as error:
            self.fault = error
            log.exception("superlink_relay_failed")

    def _watch(self) -> None:
        asked_at_s = time.monotonic()
        while not self._stopping.is_set():
            channel = self._listener.accept(LOOK_S)
            if channel is not None:
                self._let_in(channel)
            with self._lock:
                if self._channel is not None and self._channel.is_over:
                    self._drop("the relay has hung up")
                if time.monotonic() - asked_at_s >= ASK_EVERY_S:
                    asked_at_s = time.monotonic()
                    self._ask_nodes()
        with self._lock:
            if self._channel is not None:
                self._drop("the site is stopping")

    def _let_in(self, channel: Channel) -> None:
        try:
            meta, _ = channel.receive(timeout_s=HELLO_WITHIN_S)
        except (PeerGone, RejectedInput) as error:
            event(log, logging.WARNING, "superlink_relay_refused", text=str(error))
            channel.close()
            return
        with self._lock:
            if not self._ticket or meta.get(TICKET) != self._ticket or self._channel is not None:
                event(
                    log, logging.WARNING, "superlink_relay_refused", text="it is of another run than the last submitted"
                )
                channel.close()
                return
            self._channel, self._lost = channel, ""
            event(log, logging.INFO, "superlink_relay_there", asked_again=len(self._tasks))
            self._send_unsent()

    def _drop(self, why: str) -> None:
        """The relay has gone, and with it whatever Flower had of ours."""
        assert self._channel is not None
        self._channel.close()
        self._channel, self._lost = None, why
        self._known_as.clear()
        for one in list(self._late):
            self._forget(one)
        event(log, logging.WARNING, "superlink_relay_gone", text=why, waiting=len(self._tasks))

    def _request(self, meta: Mapping[str, Any], blobs: Mapping[str, bytes] | None = None) -> Frame | None:
        """Ask the relay; None when there is none, or no longer."""
        if self._channel is None:
            return None
        try:
            self._channel.send(meta, blobs, timeout_s=ANSWER_WITHIN_S)
            return self._channel.receive(timeout_s=ANSWER_WITHIN_S)
        except (PeerGone, RejectedInput) as error:
            self._drop(str(error))
            return None

    def _ask_nodes(self) -> None:
        answered = self._request({"do": "nodes"})
        if answered is not None:
            self._nodes = {int(node_id): str(name) for node_id, name in answered[0].get("nodes", ())}
            self._nodes_at_s = time.monotonic()

    def _send_unsent(self) -> None:
        for one in [one for one in self._tasks if one not in self._known_as and one not in self._inbox]:
            task = self._tasks[one]
            answered = self._request({"do": "push"}, {"message": dump_message(task)})
            if answered is None:
                return
            self._known_as[one] = str(answered[0].get("id", ""))
            if not self._known_as[one]:
                self._inbox[one] = nobody_there(task)

    def _ask_replies(self) -> None:
        ours = {known_as: one for one, known_as in self._known_as.items() if known_as and one not in self._inbox}
        answered = self._request({"do": "pull", "ids": sorted(ours)}) if ours else None
        for known_as, content in answered[1].items() if answered is not None else ():
            one = ours.get(known_as)
            if one is not None and (reply := self._read(self._tasks[one], content)) is not None:
                self._inbox[one] = reply

    def _read(self, task: Message, content: bytes) -> Message | None:
        """A reply as of our task: Flower's numbers are those of the relay's run."""
        try:
            said = load_message(content)
        except RejectedInput as error:
            event(log, logging.WARNING, "superlink_reply_dropped", reason=error.reason, text=str(error))
            return None
        if not said.has_error() and said.metadata.src_node_id != task.metadata.dst_node_id:
            event(log, logging.WARNING, "superlink_reply_dropped", reason="wrong_sender",
                  text=f"node {said.metadata.src_node_id} answers for node {task.metadata.dst_node_id}")  # fmt: skip
            return None
        return Message(said.error, reply_to=task) if said.has_error() else Message(said.content, reply_to=task)
