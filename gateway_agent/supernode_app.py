"""This file knows the ClientApp that a SuperNode runs beside a gateway: it asks the agent, and knows nothing itself.

The SuperNode runs whatever code its SuperLink sends it; so it runs as a user of its own that can write the agent's
socket and read nothing of the agent's. Where the socket is, the SuperNode says: `--node-config 'socket="..."'`.
"""

from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from schemas.flower_codec import dump_message, load_message
from schemas.local_socket import Channel

SOCKET = "socket"
TASK, REPLY = "task", "reply"
HEARD_WITHIN_S = 10.0
ANSWERED_WITHIN_S = 3600.0  # as long as a site may wait for a round


class GatewayRefused(RuntimeError):
    """The agent will not do the task; Flower tells the site why."""


class AgentApp(ClientApp):
    """Hands each message to the agent of this machine, and its answer back."""

    def __call__(self, message: Message, context: Context) -> Message:
        """Let the agent answer.

        Raises:
            GatewayRefused: It refuses, or the SuperNode does not say where it is.
            PeerGone: It is not there.
        """
        path = context.node_config.get(SOCKET)
        if not path:
            raise GatewayRefused(
                "this SuperNode does not say where its agent is; start it with --node-config 'socket=...'"
            )
        channel = Channel.connect(Path(str(path)), timeout_s=HEARD_WITHIN_S)
        try:
            channel.send({}, {TASK: dump_message(message)}, timeout_s=HEARD_WITHIN_S)
            _, blobs = channel.receive(timeout_s=ANSWERED_WITHIN_S)
        finally:
            channel.close()
        reply = load_message(blobs[REPLY])
        if reply.has_error():
            raise GatewayRefused(reply.error.reason)
        return Message(reply.content, reply_to=message)


client = AgentApp()
