"""This file knows the carrier of one process: members are called one after the other; for fits and tests."""

from collections.abc import Iterable, Mapping

from flwr.app import Message

from aggregator.carriers.port import Carrier, nobody_there, task_id
from schemas.flower_codec import ClientCall, answer, dump_message, load_message, name_message, new_context
from schemas.member_link import node_id_of


class LocalCarrier(Carrier):
    """Carries between a server and members in one process.

    Every message passes the codec of the wire: no array is shared between the two sides, and what would not survive
    a broker does not survive here.

    Attributes:
        away: Names of members that cannot be reached at the moment.
    """

    def __init__(self, members: Mapping[str, ClientCall]) -> None:
        super().__init__()
        self._members = {node_id_of(name): (name, app) for name, app in members.items()}
        self._contexts = {node_id: new_context(node_id, {}) for node_id in self._members}
        self._replies: dict[str, Message] = {}
        self.away: set[str] = set()

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to stop."""

    def member_of(self, node_id: int) -> str | None:
        """Name the member behind a node's number."""
        found = self._members.get(node_id)
        return found[0] if found else None

    def get_node_ids(self) -> list[int]:
        """Numbers of the members in reach, in the order of their names."""
        return sorted((n for n, (name, _) in self._members.items() if name not in self.away), key=self._name)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Let each member answer; see Flower's `Grid`."""
        return [self._deliver(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Hand over the replies to these messages."""
        return [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:  # noqa: ARG002
        """Push and pull; nobody is waited for."""
        replies = self.pull_messages(self.push_messages(messages))
        if self.on_reply is not None:
            for reply in replies:
                self.on_reply(reply)
        return replies

    def _name(self, node_id: int) -> str:
        return self._members[node_id][0]

    def _deliver(self, message: Message) -> str:
        task = self._take(message)
        message_id = message.metadata.message_id
        if task is not None:
            node_id = message.metadata.dst_node_id
            reply = answer(self._members[node_id][1], self._contexts[node_id], load_message(task))
            self._give_back(message_id, dump_message(reply))
        return message_id

    def _take(self, message: Message) -> bytes | None:
        """Name a task and write it for the wire; None when it is answered already, in the place of a member away."""
        message_id = task_id(message)
        name_message(message, message_id)
        found = self._members.get(message.metadata.dst_node_id)
        if found is None or found[0] in self.away:
            self._replies[message_id] = nobody_there(message)
            return None
        task = dump_message(message)
        self.bytes_down += len(task)
        return task

    def _give_back(self, message_id: str, reply: bytes) -> None:
        self.bytes_up += len(reply)
        self._replies[message_id] = load_message(reply)
