"""This file knows what the learning needs of a carrier: Flower's `Grid`, and who stands behind a node's number."""

import hashlib
import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flwr.app import ArrayRecord, Error, Message, RecordDict
from flwr.serverapp import Grid

from schemas.flower_codec import (
    CLIENT_FAILED,
    NOBODY_THERE,
    REPLY_OVERSIZED,
    RUN_ID,
    UNUSABLE_REPLY,
    error_reply,
    take_identity,
)

if TYPE_CHECKING:
    from flwr.supercore.run import Run

SERVER_NODE_ID = 1
REASONS = {
    NOBODY_THERE: "not_there", CLIENT_FAILED: "refused", UNUSABLE_REPLY: "bad_message", REPLY_OVERSIZED: "oversized",
}  # fmt: skip

logging.getLogger("flwr").setLevel(logging.WARNING)  # its console handler writes a page a round


class Carrier(Grid):
    """A Grid whose nodes have names.

    Attributes:
        on_reply: Told each reply as it comes, in the thread that waits in `send_and_receive`; what is kept there
            survives a restart in the middle of a round.
        on_late: Told a reply after its round's deadline, with the member's name; on whatever thread it came.
        returns_within_s: How long members may take to be there again after the server was restarted.
        bytes_down: Bytes of messages handed to members so far.
        bytes_up: Bytes of replies received so far.
    """

    returns_within_s = 10.0  # retained presence is there within a second; gateways reconnect within ten

    def __init__(self, *, within_flower: bool = False) -> None:
        if not within_flower:  # Flower's own engine has given this process an identity, and counts on it
            take_identity(SERVER_NODE_ID)
        self._run: Run | None = None
        self.on_reply: Callable[[Message], None] | None = None
        self.on_late: Callable[[str, Message], None] | None = None
        self.bytes_down = 0
        self.bytes_up = 0

    @abstractmethod
    def member_of(self, node_id: int) -> str | None:
        """Name the member behind a node's number; None if no such member has been seen."""

    def reason_of(self, error: Error) -> str:
        """Say in one stable word what an error in the place of a reply means."""
        return REASONS.get(error.code, "refused")

    @property
    def connected(self) -> bool:
        """Whether members can be reached at all right now."""
        return True

    def story(self) -> dict[str, Any]:
        """What a round's record should say of how it was carried; nothing where there is nothing to say."""
        return {}

    @abstractmethod
    def get_node_ids(self) -> Sequence[int]:
        """Numbers of the members in reach, in the order of their names."""

    @abstractmethod
    def start(self) -> None:
        """Begin to carry, in the background."""

    @abstractmethod
    def stop(self) -> None:
        """End at once: a `send_and_receive` under way returns what it has."""

    def set_run(self, run: "Run") -> None:
        """Take Flower's run; the learning itself never asks for it."""
        self._run = run

    @property
    def run(self) -> "Run":
        """Flower's run, as it was set."""
        assert self._run is not None, "Flower sets the run before it asks for it"
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Make a message; see Flower's `Grid`."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)


def task_id(message: Message) -> str:
    """Name a task by what it asks of whom: the same task has the same name after a restart.

    So a member that has done it answers again without doing it twice.
    """
    metadata = message.metadata
    digest = hashlib.sha256(
        f"{RUN_ID}|{metadata.group_id}|{metadata.message_type}|{metadata.dst_node_id}".encode()
    )  # fmt: skip
    for name, record in sorted(message.content.items()):
        digest.update(name.encode())
        if isinstance(record, ArrayRecord):
            for key, array in sorted(record.items()):
                digest.update(f"{key}{array.stype}{array.dtype}{array.shape}".encode())
                digest.update(array.data)
        else:
            digest.update(repr(sorted(record.items())).encode())
    return digest.hexdigest()[:32]


def nobody_there(task: Message) -> Message:
    """Answer in the place of a node that nobody knows, or that has left."""
    node_id = task.metadata.dst_node_id
    return error_reply(task, NOBODY_THERE, f"node {node_id} is not here; it has left or never said it was there")
