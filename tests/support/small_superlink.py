"""A SuperLink in one small process, where Flower's takes too long: `python -m tests.support.small_superlink`.

    PORT gw-1=SOCKET gw-2=SOCKET ...

It takes submissions from `flwr` as made by `small_flwr`, runs our own relay for each, and has each member's message
answered by our own ClientApp at that gateway's socket. What it has been given dies with it, as with Flower's.
"""

import json
import socket
import socketserver
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo

from aggregator.carriers.port import task_id
from aggregator.carriers.superlink_relay import SOCKET, server
from gateway_agent.supernode_app import client
from schemas.flower_codec import RUN_ID, error_reply, name_message, new_context, take_identity
from schemas.member_link import node_id_of

FLWR = """#!{python}
import json, os, shlex, socket, sys, tomllib
home = tomllib.load(open(os.path.join(os.environ["FLWR_HOME"], "config.toml"), "rb"))["superlink"]
host, port = home[home["default"]]["address"].split(":")
config = dict(pair.split("=", 1) for pair in shlex.split(sys.argv[sys.argv.index("--run-config") + 1]))
with socket.create_connection((host, int(port)), 10) as link:
    link.sendall(json.dumps(config).encode() + b"\\n")
    answer = link.makefile().readline()
print(answer)
sys.exit(answer.strip() != "started")
"""


def small_flwr(folder: Path) -> Path:
    """A command that submits as `flwr run` does, to be put where a site looks for Flower's."""
    command = folder / "flwr"
    command.write_text(FLWR.format(python=sys.executable))
    command.chmod(0o755)
    return command


class SmallGrid:
    """A grid whose nodes are sockets of gateways; a message is answered in a thread of its own."""

    def __init__(self, sockets: Mapping[str, str]) -> None:
        self._sockets = {node_id_of(name): (name, path) for name, path in sockets.items()}
        self._replies: dict[str, Message] = {}

    def get_nodes(self) -> list[NodeInfo]:
        return [NodeInfo(node_id=node_id, name=name) for node_id, (name, _) in self._sockets.items()]

    def push_messages(self, messages: Iterable[Message]) -> list[str | None]:
        return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._replies.pop(one) for one in list(message_ids) if one in self._replies]

    def _push(self, message: Message) -> str | None:
        if message.metadata.dst_node_id not in self._sockets:
            return None
        name_message(message, task_id(message))
        threading.Thread(target=self._answer, args=(message,), daemon=True).start()
        return message.metadata.message_id

    def _answer(self, message: Message) -> None:
        node_id = message.metadata.dst_node_id
        context = new_context(node_id, {SOCKET: self._sockets[node_id][1]})
        try:
            reply = client(message, context)
        except Exception as error:  # noqa: BLE001 - as Flower does it
            reply = error_reply(message, ErrorCode.CLIENT_APP_RAISED_EXCEPTION, repr(error))
        self._replies[message.metadata.message_id] = reply


class Submissions(socketserver.StreamRequestHandler):
    """Starts a run for each line."""

    def handle(self) -> None:
        line = self.rfile.readline()
        if not line:
            return  # somebody looks whether we are there
        config: dict[str, Any] = json.loads(line)
        context = Context(RUN_ID, 1, {}, RecordDict(), config)
        threading.Thread(target=server, args=(self.server.grid, context), daemon=True).start()  # type: ignore[attr-defined]
        self.wfile.write(b"started\n")


class SmallSuperLink(socketserver.ThreadingTCPServer):
    """Listens where the site's settings say."""

    allow_reuse_address = True
    daemon_threads = True
    address_family = socket.AF_INET


def main(port: int, sockets: Mapping[str, str]) -> None:
    take_identity(1)
    with SmallSuperLink(("127.0.0.1", port), Submissions) as superlink:
        superlink.grid = SmallGrid(sockets)  # type: ignore[attr-defined]
        superlink.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), dict(pair.split("=", 1) for pair in sys.argv[2:]))
