"""This file knows the ServerApp that a SuperLink runs for a site: it carries, and decides nothing.

The rounds are the site's own, in its own process with its database and keys; this app, which Flower starts, restarts
and ends as it likes, hands messages from the site to Flower's grid and replies back. It speaks over the site's socket
file, says for which submission it was started, and ends when the site hangs up or its SuperLink fails.

A request is {"do": "nodes"}, {"do": "push"} with one message, or {"do": "pull", "ids": [...]}; each has one answer.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

from flwr.app import Context, Message
from flwr.serverapp import Grid, ServerApp

from schemas.errors import TensorsRejected
from schemas.flower_codec import dump_message, error_reply, load_message
from schemas.local_socket import Channel, Frame, PeerGone
from schemas.member_link import MAX_REPLY_BYTES

SOCKET, TICKET = "socket", "ticket"
"""Keys of the run's settings: where the site listens, and the name of the submission."""

UNUSABLE, OVERSIZED = 103, 104  # codes of an error in the place of a reply; Flower's own end at 8
HELLO_WITHIN_S = 10.0
SILENCE_S = 60.0  # the site asks every few seconds, with or without a round
TAKEN_WITHIN_S = 60.0
HANDED_OVER_BYTES = 32 << 20  # in one answer; what Flower has given us beyond that waits here for the next

server = ServerApp()


@server.main()
def carry(grid: Grid, context: Context) -> None:
    """Serve the site until it hangs up."""
    path, ticket = (str(context.run_config[key]) for key in (SOCKET, TICKET))
    channel = Channel.connect(Path(path), timeout_s=HELLO_WITHIN_S)
    try:
        channel.send({TICKET: ticket}, timeout_s=HELLO_WITHIN_S)
        serve(channel, Relay(grid))
    finally:
        channel.close()


def serve(channel: Channel, relay: "Relay") -> None:
    """Answer requests until the other side hangs up."""
    with suppress(PeerGone):
        while True:
            answer, content = relay.answer(*channel.receive(timeout_s=SILENCE_S))
            channel.send(answer, content, timeout_s=TAKEN_WITHIN_S)


class Relay:
    """Does on Flower's grid what the site asks for."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._sent: dict[str, Message] = {}
        self._ready: dict[str, bytes] = {}

    def answer(self, meta: dict[str, Any], blobs: dict[str, bytes]) -> Frame:
        """Do one request."""
        if meta["do"] == "nodes":
            return {"nodes": [[node.node_id, node.name] for node in self._grid.get_nodes()]}, {}
        if meta["do"] == "push":
            return {"id": self._push(load_message(blobs["message"]))}, {}
        return {}, self._pull(set(meta["ids"]))

    def _push(self, said: Message) -> str:
        """Send a message under this run's own name; empty when Flower does not take it."""
        about = said.metadata
        message = Message(said.content, about.dst_node_id, about.message_type, group_id=about.group_id)
        message_id = next(iter(self._grid.push_messages([message])), None)
        if not message_id:
            return ""
        self._sent[message_id] = message
        return message_id

    def _pull(self, wanted: set[str]) -> dict[str, bytes]:
        """Replies that are here; what nobody waits for any more is forgotten."""
        self._sent = {message_id: self._sent[message_id] for message_id in wanted & self._sent.keys()}
        self._ready = {message_id: self._ready[message_id] for message_id in wanted & self._ready.keys()}
        asked = self._sent.keys() - self._ready.keys()
        for reply in self._grid.pull_messages(asked) if asked else ():
            message_id = reply.metadata.reply_to_message_id
            if message_id in self._sent:
                self._ready[message_id] = _written(reply, self._sent[message_id])
        handed: dict[str, bytes] = {}
        size = 0
        for message_id, content in self._ready.items():
            size += len(content)
            if handed and size > HANDED_OVER_BYTES:
                break
            handed[message_id] = content
        for message_id in handed:
            del self._ready[message_id], self._sent[message_id]
        return handed


def _written(reply: Message, task: Message) -> bytes:
    """A reply for the site; in its place why it cannot travel."""
    try:
        content = dump_message(reply)
    except TensorsRejected as error:
        return dump_message(error_reply(task, UNUSABLE, f"{error.reason}: {error}"))
    if len(content) > MAX_REPLY_BYTES:
        text = f"oversized: reply of {len(content)} bytes, {MAX_REPLY_BYTES} allowed"
        return dump_message(error_reply(task, OVERSIZED, text))
    return content
