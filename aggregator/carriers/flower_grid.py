"""This file knows the carrier of a site that already runs Flower: Flower's own grid, with names for its nodes.

The grid is the one a stock `SuperLink` hands to a `ServerApp`, or that of Flower's simulation. A member has the name
under which its key was registered at the SuperLink (`flwr supernode register KEY --name gw-1`): Flower lets nobody in
with another key. A node without a name, or with the name of another node, is nobody's and is not asked.
"""

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from flwr.app import ArrayRecord, Error, Message
from flwr.serverapp import Grid

from aggregator.carriers.port import Carrier, nobody_there, task_id
from schemas.errors import NameError_
from schemas.flower_codec import name_message
from schemas.logs import event
from schemas.names import check_name

log = logging.getLogger(__name__)

POLL_S = 0.2  # Flower's own grids sleep 3 s and 0.1 s between looks; nothing tells of a reply
REMEMBERED_LATE = 4096  # tasks whose round is over and whose replies may still come; the oldest are forgotten
CLIENT_SIDE = frozenset({2, 6, 8})  # Flower's codes of an app that raised, whose mod refused, that crashed
NAMES_HOLD_S = 1.0  # a list of nodes is asked for at most this often

Names = Mapping[int, str]


def registered_names(grid: Grid) -> Names:
    """Names under which the nodes in reach were registered, by their numbers; what is in doubt is left out."""
    said = {node.node_id: node.name for node in grid.get_nodes()}
    often = Counter(said.values())
    names = {}
    for node_id, name in said.items():
        try:
            check_name(name)
        except NameError_:
            _leave_out(node_id, name, "register it again with --name and its member's name")
            continue
        if often[name] > 1:
            _leave_out(node_id, name, f"{often[name]} nodes have this name; unregister all but one")
            continue
        names[node_id] = name
    return names


def _leave_out(node_id: int, name: str, text: str) -> None:
    event(log, logging.WARNING, "node_without_member", node=node_id, called=name[:64], text=text)


class FlowerGridCarrier(Carrier):
    """Carries over a grid of Flower's own, from within the process to which Flower has given it.

    Attributes:
        counters: Replies that came after their deadline, as `late`.
    """

    def __init__(
        self, grid: Grid, names: Callable[[Grid], Names] = registered_names, *, within_flower: bool = True
    ) -> None:
        super().__init__(within_flower=within_flower)
        self._grid = grid
        self._ask_names = names
        self._present: Names = {}
        self._known: dict[int, str] = {}
        self._nobody: dict[str, Message] = {}
        self._names_until_s = float("-inf")
        self._stopping = threading.Event()
        self._late: OrderedDict[str, None] = OrderedDict()
        self.counters: Final[Counter[str]] = Counter()

    def start(self) -> None:
        """Nothing to start: Flower has."""

    def stop(self) -> None:
        """End a `send_and_receive` under way."""
        self._stopping.set()

    def member_of(self, node_id: int) -> str | None:
        """Name the member behind a node's number, also of one that has gone."""
        return self._known.get(node_id)

    def reason_of(self, error: Error) -> str:
        """What Flower's own engines mean; their numbers are others than ours."""
        return "refused" if error.code in CLIENT_SIDE else "not_there"

    def get_node_ids(self) -> list[int]:
        """Numbers of the members in reach, in the order of their names."""
        if time.monotonic() >= self._names_until_s:
            self._present = self._ask_names(self._grid)
            self._known.update(self._present)
            self._names_until_s = time.monotonic() + NAMES_HOLD_S
        present = self._present
        return sorted(present, key=lambda node_id: present[node_id])

    def wait_members(self, count: int, timeout_s: float) -> bool:
        """Wait until so many members are there; tell whether it came to that."""
        give_up_at_s = time.monotonic() + timeout_s
        while len(self.get_node_ids()) < count:
            if time.monotonic() >= give_up_at_s or self._stopping.wait(POLL_S):
                return False
        return True

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send each message to its member; see Flower's `Grid`."""
        messages = list(messages)
        present = set(self.get_node_ids())
        known = [message for message in messages if message.metadata.dst_node_id in present]
        self.bytes_down += sum(map(_content_bytes, known))
        pushed = iter(self._grid.push_messages(known))
        taken = {id(message): next(pushed, None) for message in known}
        return [taken.get(id(message)) or self._refuse(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Hand over the replies that are here to these messages."""
        message_ids = set(message_ids)
        refused = [self._nobody.pop(message_id) for message_id in message_ids & self._nobody.keys()]
        asked = message_ids - {reply.metadata.reply_to_message_id for reply in refused}
        replies = list(self._grid.pull_messages(asked)) if asked else []
        self.bytes_up += sum(map(_content_bytes, replies))
        return refused + replies

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send tasks and wait for replies, at most `timeout` seconds; the rest of the replies will be late."""
        give_up_at_s = time.monotonic() + (timeout if timeout is not None else float("inf"))
        waiting = set(self.push_messages(messages))
        replies: list[Message] = []
        while waiting and not self._stopping.is_set():
            for reply in self.pull_messages(waiting | set(self._late)):
                message_id = reply.metadata.reply_to_message_id
                if message_id in waiting:
                    waiting.discard(message_id)
                    replies.append(reply)
                    if self.on_reply is not None:
                        self.on_reply(reply)
                else:
                    self._note_late(message_id, reply)
            if time.monotonic() >= give_up_at_s or (waiting and self._stopping.wait(POLL_S)):
                break
        self._late.update(dict.fromkeys(waiting))
        while len(self._late) > REMEMBERED_LATE:
            self._late.popitem(last=False)
        return replies

    def _refuse(self, message: Message) -> str:
        """Answer in the place of a node that is not there, or that Flower would not send to."""
        message_id = task_id(message)
        name_message(message, message_id)
        self._nobody[message_id] = nobody_there(message)
        return message_id

    def _note_late(self, message_id: str, reply: Message) -> None:
        self._late.pop(message_id, None)
        self.counters["late"] += 1
        member = self.member_of(reply.metadata.src_node_id)
        if self.on_late is not None and member is not None:
            self.on_late(member, reply)


def _content_bytes(message: Message) -> int:
    """Bytes of a message's arrays; what Flower puts around them it does not tell."""
    if message.has_error():
        return 0
    records = (record for record in message.content.values() if isinstance(record, ArrayRecord))
    return sum(len(array.data) for record in records for array in record.values())
