"""This file knows the carrier of a fleet on one machine: members in as many processes as it has cores, each in one.

For trying out what a thousand gateways would learn. A member's app is made in its process, from its name, and stays.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager

from flwr.app import Context, Message

from aggregator.carriers.local import LocalCarrier
from schemas.flower_codec import ClientCall, answer, dump_message, load_message, new_context

AHEAD = 4  # tasks a process has waiting, so that it never waits itself; more would only hold memory

MakeApp = Callable[[str], ClientCall]
"""Makes a member's app from its name; a function of a module, which other processes import."""

_apps: dict[str, tuple[ClientCall, Context]] = {}


class LocalFleetCarrier(LocalCarrier):
    """Carries between a server and members in processes beside it; made by `local_fleet`."""

    def __init__(self, names: Sequence[str], make_app: MakeApp, workers: Sequence[ProcessPoolExecutor]) -> None:
        super().__init__(dict.fromkeys(names, _is_elsewhere))
        self._make_app = make_app
        nodes = sorted(self._members, key=self._name)
        self._worker_of = {node_id: workers[place % len(workers)] for place, node_id in enumerate(nodes)}
        self._ahead = AHEAD * len(workers)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Let each member answer, those of different processes at once; see Flower's `Grid`."""
        under_way: deque[tuple[str, Future[bytes]]] = deque()
        message_ids = []
        for message in messages:
            task = self._take(message)
            message_ids.append(message.metadata.message_id)
            if task is None:
                continue
            node_id = message.metadata.dst_node_id
            worker = self._worker_of[node_id]
            under_way.append(
                (message_ids[-1], worker.submit(_answer, self._make_app, self._name(node_id), node_id, task))
            )
            if len(under_way) >= self._ahead:
                self._collect(*under_way.popleft())
        while under_way:
            self._collect(*under_way.popleft())
        return message_ids

    def _collect(self, message_id: str, reply: Future[bytes]) -> None:
        self._give_back(message_id, reply.result())


@contextmanager
def local_fleet(names: Sequence[str], make_app: MakeApp, processes: int = 0) -> Iterator[LocalFleetCarrier]:
    """Run members in processes for as long as the context lasts.

    Args:
        names: The members.
        make_app: See `MakeApp`.
        processes: How many; as many as this machine has cores when 0.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads of Flower and onnxruntime, halfway
    count = min(len(names), processes or os.cpu_count() or 1)
    workers = [ProcessPoolExecutor(1, mp_context=context) for _ in range(count)]
    try:
        yield LocalFleetCarrier(names, make_app, workers)
    finally:
        for worker in workers:
            worker.shutdown(cancel_futures=True)


def _answer(make_app: MakeApp, name: str, node_id: int, task: bytes) -> bytes:
    """Run in a member's process."""
    if name not in _apps:
        _apps[name] = make_app(name), new_context(node_id, {})
    app, context = _apps[name]
    return dump_message(answer(app, context, load_message(task)))


def _is_elsewhere(_message: Message, _context: Context) -> Message:
    raise AssertionError("members of a fleet answer in their own processes")
