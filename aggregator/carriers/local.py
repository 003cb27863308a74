"""This file knows the carrier of one process: members are called one after the other; for fits and tests."""

from collections.abc import Iterable, Mapping

from flwr.app import Error, Message

from aggregator.carriers.port import Carrier, no_longer_there, task_id
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
        message_id = task_id(message)
        name_message(message, message_id)
        node_id = message.metadata.dst_node_id
        found = self._members.get(node_id)
        if found is None or found[0] in self.away:
            self._replies[message_id] = Message(Error(1, no_longer_there(node_id)), reply_to=message)
            return message_id
        down = dump_message(message)
        up = dump_message(answer(found[1], self._contexts[node_id], load_message(down)))
        self.bytes_down += len(down)
        self.bytes_up += len(up)
        self._replies[message_id] = load_message(up)
        return message_id
